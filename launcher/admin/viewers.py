"""Other viewers, and the rules that choose between them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from launcher.admin.base import BaseAdmin
from launcher.forms import Textarea
from launcher.models import LaunchTemplate, Viewer, ViewerRule
from launcher.viewer_presets import PRESETS, ViewerPreset
from launcher.viewers import PLACEHOLDERS


@admin.register(Viewer)
class ViewerAdmin(BaseAdmin):
    list_display = ["name", "slug", "is_enabled", "limits_in_words", "url_template"]
    list_filter = ["is_enabled", "needs_dicomweb", "needs_one_archive"]
    search_fields = ["name", "slug", "url_template"]
    fieldsets = [
        (_("General"), {"fields": ["name", "slug", "is_enabled"]}),
        (_("Address"), {"fields": ["url_template"]}),
        (
            _("What it can open"),
            {"fields": ["maximum_studies", "needs_one_archive", "needs_dicomweb"]},
        ),
    ]

    @admin.display(description=_("limits"))
    def limits_in_words(self, viewer: Viewer) -> str:
        parts = []
        if viewer.maximum_studies:
            count = viewer.maximum_studies
            text = ngettext("%(count)s study", "%(count)s studies", count)
            parts.append(text % {"count": count})
        if viewer.needs_one_archive:
            parts.append(gettext("one archive"))
        if viewer.needs_dicomweb:
            parts.append("DICOMweb")
        return ", ".join(parts) or gettext("None")

    def formfield_for_dbfield(
        self, db_field: Any, request: HttpRequest, **kwargs: Any
    ) -> Any:
        if db_field.name == "url_template":
            kwargs["widget"] = Textarea({"rows": 3, "spellcheck": "false"})
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        preset = _preset(request)
        if preset is None:
            return super().get_changeform_initial_data(request)
        return {
            "name": preset.name,
            "slug": preset.slug,
            "url_template": preset.url_template,
            "maximum_studies": preset.limits.maximum_studies,
            "needs_one_archive": preset.limits.needs_one_archive,
            "needs_dicomweb": preset.limits.needs_dicomweb,
        }

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Viewer | None = None,
    ) -> HttpResponse:
        context |= {
            "presets": PRESETS if add else (),
            "preset": _preset(request) if add else None,
            "placeholders": PLACEHOLDERS.items(),
        }
        return super().render_change_form(request, context, add, change, form_url, obj)


def _preset(request: HttpRequest) -> ViewerPreset | None:
    slug = request.GET.get("preset")
    return next((preset for preset in PRESETS if preset.slug == slug), None)


@admin.register(ViewerRule)
class ViewerRuleAdmin(BaseAdmin):
    list_display = ["name", "position", "conditions", "opens", "is_enabled"]
    list_editable = ["position", "is_enabled"]
    list_select_related = ["template__viewer", "archive", "group"]
    ordering_field = "position"  # rows can be dragged where Unfold is installed
    sortable_by = ()
    list_filter = ["is_enabled", "template", "archive", "group"]
    search_fields = ["name", "modalities", "networks"]
    empty_labels = {"archive": _("Any"), "group": _("Anybody")}
    fieldsets = [
        (_("General"), {"fields": ["name", "is_enabled", "position"]}),
        (
            _("Applies to launches with all of these"),
            {"fields": ["modalities", "archive", "networks", "group"]},
        ),
        (_("Then"), {"fields": ["template"]}),
    ]

    @admin.display(description=_("applies to"))
    def conditions(self, rule: ViewerRule) -> str:
        text = rule.conditions()
        return text[0].upper() + text[1:]

    @admin.display(description=_("opens"))
    def opens(self, rule: ViewerRule) -> str:
        return f"{rule.template} ({rule.template.viewer or 'Weasis'})"

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        default = LaunchTemplate.objects.select_related("viewer").default()
        context = {"default_template": default, **(extra_context or {})}
        return super().changelist_view(request, context)
