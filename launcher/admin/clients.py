"""API clients, their keys and secrets: made by the hub, and shown once."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from archives.restrictions import set_restricted
from launcher.admin.base import BaseAdmin
from launcher.client_forms import ApiClientForm
from launcher.models import ApiClient


@admin.register(ApiClient)
class ApiClientAdmin(BaseAdmin):
    form = ApiClientForm
    list_display = [
        "name",
        "state",
        "scope_names",
        "archive_names",
        "prefix",
        "expires",
        "last_used",
    ]
    list_filter = ["is_enabled", "encryption", "archives"]
    search_fields = ["name", "slug", "key_prefix"]
    readonly_fields = ["scope_names", "prefix", "signing", "created", "last_used"]

    @admin.display(description=_("state"))
    def state(self, client: ApiClient) -> SafeString:
        kind, icon, word = "ok", "✓", gettext("Active")
        if not client.is_enabled:
            kind, icon, word = "none", "–", gettext("Disabled")
        elif client.expires and client.expires <= timezone.now():
            kind, icon, word = "bad", "✗", gettext("Expired")
        return format_html(
            '<span class="vh-state vh-{}"><span aria-hidden="true">{}</span> {}</span>',
            kind,
            icon,
            word,
        )

    @admin.display(description=_("scopes"))
    def scope_names(self, client: ApiClient) -> str:
        return ", ".join(client.scopes)

    @admin.display(description=_("archives"))
    def archive_names(self, client: ApiClient) -> str:
        names = ", ".join(archive.name for archive in client.archives.all())
        if not client.is_restricted:
            return gettext("all")
        return names or gettext("none")

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiClient]:
        queryset: QuerySet[ApiClient] = super().get_queryset(request)
        return queryset.prefetch_related("archives")

    @admin.display(description=_("key begins with"))
    def prefix(self, client: ApiClient) -> str:
        return f"{client.key_prefix}…" if client.key_prefix else ""

    @admin.display(description=_("signed links"))
    def signing(self, client: ApiClient) -> str:
        return (
            gettext("It has a secret")
            if client.signs_links
            else gettext("It has no secret")
        )

    def get_fieldsets(self, request: HttpRequest, obj: ApiClient | None = None) -> Any:
        may_write = obj is None or self.has_change_permission(request, obj)
        rights = ["scopes" if may_write else "scope_names", "archives"]
        fieldsets: list[Any] = [
            (_("General"), {"fields": ["name", "slug", "is_enabled", "expires"]}),
            (_("Rights"), {"fields": rights}),
        ]
        links = ["date_meaning", "encryption"]
        if may_write:  # what a reader of the page would see is the stored token
            links += ["encryption_key", "encryption_salt"]
        if obj:
            key = ["prefix", "signing", "created", "last_used"]
            fieldsets.append((_("Key"), {"fields": key}))
        fieldsets.append((_("Its links"), {"fields": links}))
        return fieldsets

    # The key

    def save_model(
        self, request: HttpRequest, obj: ApiClient, form: Any, change: bool
    ) -> None:
        if not change:
            # Answered by response_add. It is never stored, nor sent in a cookie as
            # messages are.
            request.issued_key = obj.issue_key()  # type: ignore[attr-defined]
        super().save_model(request, obj, form, change)

    def save_related(
        self, request: HttpRequest, form: Any, formsets: Any, change: bool
    ) -> None:
        was_restricted = form.instance.is_restricted
        super().save_related(request, form, formsets, change)
        if "archives" not in form.cleaned_data:
            return
        client = form.instance
        set_restricted(client, bool(form.cleaned_data["archives"]))
        if was_restricted and not client.is_restricted:
            text = gettext("%(client)s may use every archive now: none is chosen.") % {
                "client": client.name
            }
            self.message_user(request, text, messages.WARNING)

    def response_add(
        self,
        request: HttpRequest,
        obj: ApiClient,
        post_url_continue: str | None = None,
    ) -> HttpResponse:
        key: str = request.issued_key  # type: ignore[attr-defined]
        return self._show_key(request, obj, key)

    def get_urls(self) -> list[URLPattern]:
        actions = {
            "new_key": self._new_key,
            "new_secret": self._new_secret,
            "remove_secret": self._remove_secret,
        }
        may = self.has_change_permission
        own = [self.object_action(name, may, act) for name, act in actions.items()]
        return [*own, *super().get_urls()]

    def _new_key(self, request: HttpRequest, client: ApiClient) -> HttpResponse:
        key = client.issue_key()
        client.save(update_fields=["key_prefix", "key_sha256"])
        self.log_change(request, client, "Issued a new key.")
        return self._show_key(request, client, key)

    def _new_secret(self, request: HttpRequest, client: ApiClient) -> HttpResponse:
        secret = client.issue_signing_secret()
        client.save(update_fields=["signing_secret"])
        self.log_change(request, client, "Issued a new secret for signed links.")
        return self._show_key(request, client, secret, is_signing_secret=True)

    def _remove_secret(self, request: HttpRequest, client: ApiClient) -> HttpResponse:
        client.signing_secret = ""
        client.save(update_fields=["signing_secret"])
        self.log_change(request, client, "Removed the secret for signed links.")
        return redirect("admin:launcher_apiclient_change", client.pk)

    def _show_key(
        self,
        request: HttpRequest,
        client: ApiClient,
        key: str,
        *,
        is_signing_secret: bool = False,
    ) -> HttpResponse:
        title = (
            gettext("Secret of %(client)s")
            if is_signing_secret
            else gettext("Key of %(client)s")
        )
        return TemplateResponse(
            request,
            "admin/launcher/apiclient/key.html",
            {
                **self.admin_site.each_context(request),
                "title": title % {"client": client.name},
                "opts": self.opts,
                "media": self.media,
                "client": client,
                "key": key,
                "is_signing_secret": is_signing_secret,
            },
        )

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: ApiClient | None = None,
    ) -> HttpResponse:
        context["may_issue_key"] = obj is not None and self.has_change_permission(
            request, obj
        )
        return super().render_change_form(request, context, add, change, form_url, obj)
