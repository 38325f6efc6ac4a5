"""Pages beside the launch templates: the preview of a launch, and the URL builder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.translation import gettext

from archives.fields import SecretUnreadableError
from archives.models import Archive, ArchiveQuerySet
from launcher import url_builder
from launcher.admin.base import BaseAdmin
from launcher.forms import LaunchPreviewForm, UrlBuilderForm, default_lifetime
from launcher.launch_preview import (
    LaunchPreview,
    Pasted,
    preview_launch,
)
from launcher.rehearsal import answer_to_call, answer_to_link
from launcher.url_builder import Form, Signer, Wanted, forms_of


class LaunchTools(BaseAdmin):
    """Both are forms that are POSTed, so that no identifier is in an address."""

    def get_urls(self) -> list[URLPattern]:
        return [
            self._tool("preview-launch", "launch_preview", self.launch_preview_view),
            self._tool("url-builder", "url_builder", self.url_builder_view),
            *super().get_urls(),
        ]

    def _tool(
        self, address: str, name: str, view: Callable[[HttpRequest], HttpResponse]
    ) -> URLPattern:
        def guarded(request: HttpRequest) -> HttpResponse:
            if not self.has_view_permission(request):
                raise PermissionDenied
            if request.method not in {"GET", "POST"}:
                return HttpResponseNotAllowed(["GET", "POST"])
            return view(request)

        return path(
            f"{address}/", self.admin_site.admin_view(guarded), name=f"launcher_{name}"
        )

    def _page(
        self, request: HttpRequest, template: str, title: str, **context: Any
    ) -> HttpResponse:
        return TemplateResponse(
            request,
            f"admin/launcher/launchtemplate/{template}.html",
            {
                **self.admin_site.each_context(request),
                "title": title,
                "media": self.media,
                **context,
            },
        )

    # The preview of a launch

    def launch_preview_view(self, request: HttpRequest) -> HttpResponse:
        data = request.POST if request.method == "POST" else None
        form = LaunchPreviewForm(data, archives=_archives(request))
        preview: LaunchPreview | None = None
        if form.is_valid():
            preview = preview_launch(_pasted(request, form))
        return self._page(
            request,
            "launch_preview",
            gettext("Preview a launch"),
            form=form,
            preview=preview,
        )

    # The URL builder

    def url_builder_view(self, request: HttpRequest) -> HttpResponse:
        data = request.POST if request.method == "POST" else None
        may_sign = request.user.has_perm("launcher.change_apiclient")
        may_test = request.user.has_perm("launcher.view_apiclient")
        form = UrlBuilderForm(
            data, archives=_archives(request), may_sign=may_sign, may_test=may_test
        )
        links: list[Form] = []
        answer: HttpResponse | None = None
        if form.is_valid():
            try:
                wanted = _wanted(form)
            except SecretUnreadableError as error:
                form.add_error("client", str(error))
            else:
                links = forms_of(wanted)
                self._log_signing(request, form)
                answer = _tested(request, form, wanted)
        return self._page(
            request,
            "url_builder",
            gettext("URL builder"),
            form=form,
            links=links,
            answer=answer,
            may_test=may_test,
        )

    def _log_signing(self, request: HttpRequest, form: UrlBuilderForm) -> None:
        if client := form.cleaned_data.get("client"):
            self.log_change(request, client, "Signed a link in the URL builder.")


def _tested(
    request: HttpRequest, form: UrlBuilderForm, wanted: Wanted
) -> HttpResponse | None:
    """The answer to the call that is to be tested, if one is."""
    client = form.cleaned_data.get("tester")
    match form.tested:
        case url_builder.CURL if client:
            address = request.META.get("REMOTE_ADDR", "")
            return answer_to_link(wanted.parameters(), client, address)
        case url_builder.REST if client:
            return answer_to_call(url_builder.rest_body(wanted), client)
    return None


def _archives(request: HttpRequest) -> ArchiveQuerySet:
    return Archive.objects.usable_by(request.user)


def _pasted(request: HttpRequest, form: LaunchPreviewForm) -> Pasted:
    data = form.cleaned_data
    user = request.user if isinstance(request.user, User) else None
    return Pasted(
        text=data["text"],
        kind=data["kind"],
        archive=data["archive"].slug if data["archive"] else "",
        template=data["template"].slug if data["template"] else "",
        version=form.get_version(),
        user=user,
        address=data["address"] or request.META.get("REMOTE_ADDR", ""),
    )


def _wanted(form: UrlBuilderForm) -> Wanted:
    data = form.cleaned_data
    signer = None
    if client := data.get("client"):
        secret = client.signing_secret
        lifetime = data["lifetime"] or default_lifetime()
        signer = Signer(client=client.slug, secret=secret, lifetime=lifetime)
    return Wanted(
        hub_url=settings.VIEWERHUB_PUBLIC_URL,
        kind=data["kind"],
        values=form.values(),
        archives=tuple(archive.slug for archive in data["archives"]),
        template=data["template"].slug if data["template"] else "",
        signer=signer,
    )
