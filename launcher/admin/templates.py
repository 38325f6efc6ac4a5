"""Launch templates, with a preview of what Weasis will read."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from archives.models import Archive
from launcher.admin.tools import LaunchTools
from launcher.forms import LaunchTemplateForm, TemplatePreviewForm
from launcher.models import LaunchTemplate
from launcher.preview import Preview, preview, refused

_FOLDED = {"classes": ["collapse"]}


@admin.register(LaunchTemplate)
class LaunchTemplateAdmin(LaunchTools):
    form = LaunchTemplateForm
    list_display = [
        "name",
        "slug",
        "is_default",
        "viewer_name",
        "mode_name",
        "archive_names",
    ]
    list_filter = ["viewer", "mode", "archives"]
    list_select_related = ["viewer"]
    search_fields = ["name", "slug"]
    prepopulated_fields = {"slug": ["name"]}
    readonly_fields = ["is_default"]
    empty_labels = {"viewer": "Weasis"}

    @admin.display(description=_("viewer"), ordering="viewer__name")
    def viewer_name(self, template: LaunchTemplate) -> str:
        return str(template.viewer or "Weasis")

    @admin.display(description=_("mode"), ordering="mode")
    def mode_name(self, template: LaunchTemplate) -> str:
        name = template.get_mode_display().partition(":")[0].partition(",")[0]
        return "" if template.viewer else name

    @admin.display(description=_("archives"))
    def archive_names(self, template: LaunchTemplate) -> str:
        return ", ".join(map(str, template.archives.all())) or gettext("All")

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("archives")

    def get_fieldsets(
        self, request: HttpRequest, obj: LaunchTemplate | None = None
    ) -> Any:
        may_write = (
            self.has_change_permission(request, obj)
            if obj
            else self.has_add_permission(request)
        )
        is_settled = (obj and obj.is_default) or not may_write
        default = "is_default" if is_settled else "becomes_default"
        images = [
            *("images", "retrieval", "transfer_syntax", "compression_rate"),
            *("override_tags", "http_tags", "opens_primary_study_first"),
        ]
        allowed = ["allowed_properties", "allowed_commands", "allowed_addresses"]
        weasis = ["mode", "commands", "properties", "cdb", "wcfg"]
        return [
            (_("General"), {"fields": ["name", "slug", default]}),
            (_("Launch"), {"fields": ["viewer", "archives", "policy"]}),
            (_("Weasis"), {"fields": weasis}),
            (_("Images in Weasis"), {"fields": images, **_FOLDED}),
            (
                _("What links may say"),
                {"fields": ["date_meaning", *allowed], **_FOLDED},
            ),
        ]

    def save_model(
        self, request: HttpRequest, obj: LaunchTemplate, form: Any, change: bool
    ) -> None:
        super().save_model(request, obj, form, change)
        if form.cleaned_data.get("becomes_default"):
            LaunchTemplate.objects.make_default(obj)

    # There is always a default

    def has_delete_permission(
        self, request: HttpRequest, obj: LaunchTemplate | None = None
    ) -> bool:
        is_default = obj is not None and obj.is_default
        return not is_default and super().has_delete_permission(request, obj)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        deleted, counts, forbidden, protected = super().get_deleted_objects(
            objs, request
        )
        if super().has_delete_permission(request):
            forbidden = forbidden - {self.opts.verbose_name}
        protected = [
            *protected,
            *(
                gettext(
                    "%(template)s, the default: make another template the default first"
                )
                % {"template": template}
                for template in objs
                if template.is_default
            ),
        ]
        return deleted, counts, forbidden, protected

    # The preview of the template itself

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.preview_view)
        preview_path = path("preview/", view, name="launcher_launchtemplate_preview")
        return [preview_path, *super().get_urls()]

    def preview_view(self, request: HttpRequest) -> HttpResponse:
        """The preview of what the form holds: a page, or its part for the script."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        context = {"preview": self._preview_of_form(request)}
        if request.headers.get("X-Requested-With") == "fetch":
            return TemplateResponse(
                request, "admin/launcher/launchtemplate/_preview.html", context
            )
        return self._page(request, "preview", gettext("Preview"), **context)

    def _preview_of_form(self, request: HttpRequest) -> Preview:
        form = TemplatePreviewForm(request.POST)
        if not form.is_valid():
            return refused(form.errors)
        usable = Archive.objects.usable_by(request.user)
        return preview(form.instance, form.cleaned_data["archives"], usable)

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: LaunchTemplate | None = None,
    ) -> HttpResponse:
        usable = Archive.objects.usable_by(request.user)
        if request.method == "POST":
            context["preview"] = self._preview_of_form(request)
        elif obj:
            context["preview"] = preview(obj, obj.archives.all(), usable)
        else:
            context["preview"] = preview(LaunchTemplate(), [], usable)
        return super().render_change_form(request, context, add, change, form_url, obj)
