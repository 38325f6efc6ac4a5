"""Administration of archives; the same with Unfold's look and without."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.contrib import admin, messages
from django.contrib.admin.filters import ChoicesFieldListFilter
from django.contrib.admin.utils import unquote
from django.contrib.admin.widgets import RelatedFieldWidgetWrapper
from django.core.exceptions import PermissionDenied
from django.db.models import Field, ManyToManyField, QuerySet
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.formats import localize
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, pgettext
from django.utils.translation import gettext_lazy as _

from archives.fields import EncryptedTextField
from archives.forms import (
    FOLDED_SECTIONS,
    FORMS,
    HTTP_SECTIONS,
    KINDS,
    SECTIONS,
    TITLES,
    ArchiveForm,
    CheckboxSelectMultiple,
    SecretInput,
    SecretTextarea,
)
from archives.health import ArchiveState
from archives.marks import mark_of, moment_of
from archives.messages import translated
from archives.models import SECRET_FIELDS, Archive
from archives.presets import PRESETS, preset_of
from archives.restrictions import set_restricted
from archives.verification import Verification, verify
from archives.watching import settle

if TYPE_CHECKING or not apps.is_installed("unfold"):
    from django.contrib.admin import ModelAdmin
else:
    from unfold.admin import ModelAdmin


class StateFilter(admin.SimpleListFilter):
    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return ArchiveState.choices

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Archive]
    ) -> QuerySet[Archive]:
        value = self.value()
        if value not in ArchiveState.values:
            return queryset
        condition = ArchiveState(str(value)).condition
        return queryset.filter(condition, is_enabled=True)


class ProductFilter(ChoicesFieldListFilter):
    """Products by their names, which the table of them has in English."""

    def choices(self, changelist: Any) -> Any:
        for choice in super().choices(changelist):
            yield {**choice, "display": gettext(str(choice["display"]))}


@admin.register(Archive)
class ArchiveAdmin(ModelAdmin):  # type: ignore[type-arg]
    list_display = [
        "name",
        "state_mark",
        "succeeded",
        "failed",
        "connection",
        "open_to",
    ]
    list_filter = [
        StateFilter,
        "is_enabled",
        "protocol",
        ("preset", ProductFilter),
        "groups",
    ]
    search_help_text = _("Name, short name, host, address or AE title")
    search_fields = ["name", "slug", "previous_names", "host", "url", "called_ae_title"]
    prepopulated_fields = {"slug": ["name"]}
    actions = ["verify_connection"]
    formfield_overrides = {
        EncryptedTextField: {"widget": SecretInput},
        ManyToManyField: {"widget": CheckboxSelectMultiple},
    }

    class Media:
        css = {"all": ["viewerhub/admin.css"]}
        js = ["viewerhub/admin.js"]

    # The list

    @admin.display(description=_("connection"), ordering="protocol")
    def connection(self, archive: Archive) -> SafeString:
        said = archive.get_protocol_display().partition(" ")[0]
        if not archive.product.is_generic:
            said = f"{said} · {gettext(archive.product.name)}"
        return format_html(
            '<div class="vh-cell">{}<br>'
            '<small class="vh-muted vh-reason">{}</small></div>',
            said,
            archive.address,
        )

    @admin.display(description=_("open to"))
    def open_to(self, archive: Archive) -> str:
        names = ", ".join(group.name for group in archive.groups.all())
        if not archive.is_restricted:
            return gettext("Everybody")
        return names or pgettext("open to", "Nobody")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Archive]:
        queryset: QuerySet[Archive] = super().get_queryset(request)
        return queryset.prefetch_related("groups")

    @admin.display(description=_("state"))
    def state_mark(self, archive: Archive) -> SafeString:
        """With the latency below it."""
        mark, known = mark_of(archive), archive.last_milliseconds
        if known is None:
            return mark
        return format_html(
            '<div class="vh-cell">{}<br><small class="vh-muted">{}\xa0ms</small></div>',
            mark,
            localize(known),
        )

    @admin.display(description=_("last success"), ordering="last_success")
    def succeeded(self, archive: Archive) -> SafeString | str:
        return moment_of(archive.last_success)

    @admin.display(description=_("last error"), ordering="last_error")
    def failed(self, archive: Archive) -> SafeString | str:
        if not archive.last_error:
            return moment_of(None)
        return format_html(
            '<div class="vh-cell">{}<br>'
            '<small class="vh-muted vh-reason">{}</small></div>',
            moment_of(archive.last_error),
            translated(archive.last_message),
        )

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        settle()  # what was learnt until now
        return super().changelist_view(request, extra_context)

    @admin.action(description=_("Verify connection"), permissions=["change"])
    def verify_connection(
        self, request: HttpRequest, archives: QuerySet[Archive]
    ) -> None:
        for archive, verification in verify(archives, request.user):
            self._tell(request, archive, verification)

    def _tell(
        self, request: HttpRequest, archive: Archive, verification: Verification
    ) -> None:
        duration = f"{verification.milliseconds} ms"
        if failure := verification.failure:
            name, message = translated(failure.name), translated(failure.message)
            text = f"{archive.name} ({duration}): {name}: {message}"
            self.message_user(request, text, messages.ERROR)
        elif warnings := verification.warnings:
            told = " ".join(
                f"{translated(step.name)}: {translated(step.message)}"
                for step in warnings
            )
            text = gettext("%(archive)s works (%(duration)s). %(told)s") % {
                "archive": archive.name,
                "duration": duration,
                "told": told,
            }
            self.message_user(request, text, messages.WARNING)
        else:
            text = gettext("%(archive)s: everything works (%(duration)s).") % {
                "archive": archive.name,
                "duration": duration,
            }
            self.message_user(request, text, messages.SUCCESS)

    # The form of the chosen protocol

    def _protocol(self, request: HttpRequest, archive: Archive | None) -> str:
        """The protocol whose fields are asked; empty until one is chosen."""
        chosen = request.POST.get("protocol") or request.GET.get("protocol") or ""
        if chosen in FORMS:
            return chosen
        return archive.protocol if archive else ""

    def get_fieldsets(self, request: HttpRequest, obj: Archive | None = None) -> Any:
        may_write = (
            self.has_change_permission(request, obj)
            if obj
            else self.has_add_permission(request)
        )
        fieldsets = []
        protocol = self._protocol(request, obj)
        for key, names in SECTIONS.get(protocol, ()):
            fields: list[str] = []
            for name in names:
                # A field that may only be viewed is shown with its value.
                if may_write or name not in SECRET_FIELDS:
                    fields.append(name)
                if may_write and name in SECRET_FIELDS and obj and obj.has_secret(name):
                    fields.append(f"clear_{name}")
            classes = ["collapse"] if key in FOLDED_SECTIONS else []
            needs_address = protocol == Archive.Protocol.DIMSE and key in HTTP_SECTIONS
            if needs_address and not may_write and obj and not obj.wado_uri_url:
                continue
            if key in KINDS:
                if not may_write and obj and obj.authentication != key:
                    continue
                classes = ["vh-kind", f"vh-kind-{key}"] if may_write else []
            if needs_address and may_write:
                classes.append("vh-wado-uri")
            fieldsets.append((TITLES[key], {"fields": fields, "classes": classes}))
        return fieldsets

    def get_form(
        self,
        request: HttpRequest,
        obj: Archive | None = None,
        change: bool = False,
        **kwargs: Any,
    ) -> Any:
        form = FORMS.get(self._protocol(request, obj), ArchiveForm)
        return super().get_form(request, obj, change, form=form, **kwargs)

    def formfield_for_dbfield(
        self, db_field: Field[Any, Any], request: HttpRequest, **kwargs: Any
    ) -> Any:
        if db_field.name in ("client_key", "service_account_key", "custom_headers"):
            kwargs["widget"] = SecretTextarea
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field and isinstance(field.widget, RelatedFieldWidgetWrapper):
            field.widget = field.widget.widget  # groups are made on their own page
        return field

    def add_view(
        self,
        request: HttpRequest,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        if self._protocol(request, None):
            return super().add_view(request, form_url, extra_context)
        if not self.has_add_permission(request):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Add archive"),
            "opts": self.opts,
            "media": self.media,
            "products": self._products(request),
        }
        return TemplateResponse(
            request, "admin/archives/archive/choose_product.html", context
        )

    def _products(self, request: HttpRequest) -> list[dict[str, Any]]:
        """What may be added, each with a link for every protocol it speaks."""
        products = []
        for preset in PRESETS.values():
            links = self._protocol_links(request, "", preset=preset.slug)
            spoken = [link for link in links if link["protocol"] in preset.protocols]
            # DICOMweb before DIMSE, as in the table.
            spoken.sort(key=lambda link: preset.protocols.index(link["protocol"]))
            products.append({"preset": preset, "links": spoken})
        return products

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """What the chosen product fills in, unless the address says otherwise."""
        initial: dict[str, Any] = super().get_changeform_initial_data(request)
        protocol = self._protocol(request, None)
        preset = preset_of(request.GET.get("preset", ""), protocol)
        if protocol not in preset.protocols:
            preset = PRESETS[protocol]
        return preset.initial(protocol) | initial | {"preset": preset.slug}

    def _protocol_links(
        self, request: HttpRequest, current: str, **parameters: str
    ) -> list[dict[str, Any]]:
        links = []
        for protocol in Archive.Protocol:
            query = request.GET.copy()
            for name, value in {**parameters, "protocol": protocol.value}.items():
                query[name] = value
            links.append(
                {
                    "protocol": protocol.value,
                    "name": str(protocol.label).partition(" ")[0],
                    "url": f"?{query.urlencode()}",
                    "is_current": protocol == current,
                }
            )
        return links

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Archive | None = None,
    ) -> HttpResponse:
        protocol = self._protocol(request, obj)
        may_verify = bool(obj) and self.has_change_permission(request, obj)
        product = context["adminform"].form.product
        context |= {
            "product": product,
            "instruction": product.instruction(protocol),
            "notes": product.notes_on(protocol),
            "protocol": protocol,
            "protocols": self._protocol_links(request, protocol),
            "may_verify": may_verify,
            "may_write": may_verify or add,
            "verification": Verification.last_of(obj) if obj else None,
        }
        return super().render_change_form(request, context, add, change, form_url, obj)

    def save_related(
        self, request: HttpRequest, form: Any, formsets: Any, change: bool
    ) -> None:
        was_restricted = form.instance.is_restricted
        super().save_related(request, form, formsets, change)
        if "groups" not in form.cleaned_data:
            return
        archive = form.instance
        set_restricted(archive, bool(form.cleaned_data["groups"]))
        if was_restricted and not archive.is_restricted:
            text = gettext(
                "%(archive)s is open to everybody now: it has no groups."
            ) % {"archive": archive.name}
            self.message_user(request, text, messages.WARNING)

    # Verifying one archive

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.verify_view)
        verify_path = path(
            "<path:object_id>/verify/", view, name="archives_archive_verify"
        )
        return [verify_path, *super().get_urls()]

    def verify_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Verify the archive as it is saved, and show its page with the result."""
        archive = self.get_object(request, unquote(object_id))
        if archive is None:
            raise Http404
        if not self.has_change_permission(request, archive):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        return self._verified(request, archive)

    def _verified(self, request: HttpRequest, archive: Archive) -> HttpResponse:
        [(_, verification)] = verify([archive], request.user)
        self._tell(request, archive, verification)
        url = reverse("admin:archives_archive_change", args=[archive.pk])
        return HttpResponseRedirect(f"{url}#connection")

    def response_add(
        self, request: HttpRequest, obj: Archive, post_url_continue: str | None = None
    ) -> HttpResponse:
        if "_verify" in request.POST and self.has_change_permission(request, obj):
            return self._verified(request, obj)
        return super().response_add(request, obj, post_url_continue)

    def response_change(self, request: HttpRequest, obj: Archive) -> HttpResponse:
        if "_verify" in request.POST:
            return self._verified(request, obj)
        return super().response_change(request, obj)
