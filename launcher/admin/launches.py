"""Launches, to look at, to revoke and to audit.

Patients and studies are shown to, searched and exported by those alone who may audit.
"""

from __future__ import annotations

from typing import Any

import structlog
from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, OuterRef, QuerySet
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from archives.models import Archive
from launcher import audit
from launcher.admin.base import BaseAdmin
from launcher.messages import translated
from launcher.models import ArchiveOutcome, Build, Launch
from launcher.results import LaunchResult
from launcher.services import revoke_launch

logger = structlog.get_logger(__name__)

IDENTIFIER = "identifier"
_KINDS = {
    ArchiveOutcome.State.OK: ("ok", "✓"),
    ArchiveOutcome.State.EMPTY: ("none", "○"),
    ArchiveOutcome.State.TRUNCATED: ("warn", "⚠"),
    ArchiveOutcome.State.UNAVAILABLE: ("warn", "⚠"),
    ArchiveOutcome.State.REFUSED: ("bad", "✗"),
    ArchiveOutcome.State.FAILED: ("bad", "✗"),
}


_RESULTS = {
    LaunchResult.OPENED: ("ok", "✓"),
    LaunchResult.FAILED: ("bad", "✗"),
    LaunchResult.UNDER_WAY: ("none", "…"),
    LaunchResult.NOT_OPENED: ("none", "○"),
    LaunchResult.REVOKED: ("warn", "⊘"),
}


def _spoken(seconds: float) -> str:
    """A duration, in milliseconds where it is less than a second."""
    if seconds < 1:
        return f"{number_format(seconds * 1000, 0)} ms"
    return f"{number_format(seconds, 1)} s"


class OutcomeFilter(admin.SimpleListFilter):
    title = _("archive outcome")
    parameter_name = "outcome"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return ArchiveOutcome.State.choices

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Launch]
    ) -> QuerySet[Launch]:
        if not self.value():
            return queryset
        outcomes = ArchiveOutcome.objects.filter(
            build=OuterRef("build"), state=self.value()
        )
        return queryset.filter(Exists(outcomes))


class ResultFilter(admin.SimpleListFilter):
    title = _("result")
    parameter_name = "result"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return LaunchResult.choices

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Launch]
    ) -> QuerySet[Launch]:
        value = self.value()
        if value not in LaunchResult.values:
            return queryset
        return queryset.filter(LaunchResult(str(value)).condition)


class ArchiveFilter(admin.SimpleListFilter):
    title = _("archive")
    parameter_name = "archive"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return [(one.slug, one.name) for one in Archive.objects.all()]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Launch]
    ) -> QuerySet[Launch]:
        if not (slug := self.value()):
            return queryset
        asked = Build.archives.through.objects.filter(
            build_id=OuterRef("build"), archive__slug=slug
        )
        return queryset.filter(Exists(asked))


class IdentifierFilter(admin.SimpleListFilter):
    """What was entered in the form above the list; its address has a token only."""

    title = _("identifier")
    parameter_name = IDENTIFIER

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        value = self.value() if model_admin.has_audit_permission(request) else None
        return [(value, _("The one you searched for"))] if value else []

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Launch]
    ) -> QuerySet[Launch]:
        identifier = audit.kept(str(self.value()), request.user.pk)
        return (
            audit.of_identifier(queryset, identifier) if identifier else queryset.none()
        )


@admin.register(Launch)
class LaunchAdmin(BaseAdmin):
    list_display = [
        "created",
        "who",
        "origin",
        "address",
        "result",
        "archives",
        "total",
        "duration",
    ]
    list_filter = [
        IdentifierFilter,
        ResultFilter,
        "state",
        "origin",
        ArchiveFilter,
        OutcomeFilter,
        ("user", admin.RelatedOnlyFieldListFilter),
        ("api_client", admin.RelatedOnlyFieldListFilter),
        "created",
    ]
    date_hierarchy = "created"
    search_fields = ["=id", "user__username", "api_client__name"]
    search_help_text = _("Launch identifier, user or API client")
    list_select_related = ["user", "api_client", "build"]
    list_per_page = 50
    actions = ["revoke"]
    fieldsets = [
        (
            _("Launch"),
            {
                "fields": [
                    *("id", "created", "who", "origin", "address", "template"),
                    *("result", "state"),
                ]
            },
        ),
        (_("Viewer"), {"fields": ["fetched", "viewer", "expires"]}),
        (_("Archives"), {"fields": ["duration", "outcomes"]}),
    ]
    readonly_fields = ["who", "result", "duration", "outcomes", "opened"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Launch]:
        queryset: QuerySet[Launch] = super().get_queryset(request)
        return queryset.prefetch_related("build__outcomes__archive")

    # Read only

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(
        self, request: HttpRequest, obj: Launch | None = None
    ) -> bool:
        return False

    def has_delete_permission(
        self, request: HttpRequest, obj: Launch | None = None
    ) -> bool:
        return False

    def has_view_permission(
        self, request: HttpRequest, obj: Launch | None = None
    ) -> bool:
        allowed: bool = super().has_view_permission(request, obj)
        return allowed or self.has_revoke_permission(request)

    def get_fieldsets(self, request: HttpRequest, obj: Launch | None = None) -> Any:
        fieldsets = list(super().get_fieldsets(request, obj))
        if self.has_audit_permission(request):
            fieldsets.insert(1, (_("What was opened"), {"fields": ["opened"]}))
        return fieldsets

    # Columns

    @admin.display(description=_("result"))
    def result(self, launch: Launch) -> SafeString:
        result = LaunchResult.of(launch)
        return format_html(
            '<span class="vh-state vh-{}"><span aria-hidden="true">{}</span> {}</span>',
            *_RESULTS[result],
            result.label,
        )

    @admin.display(description=_("identifiers"))
    def opened(self, launch: Launch) -> SafeString:
        found = audit.identifiers_of(launch)
        return render_to_string("admin/launcher/launch/_opened.html", {"found": found})

    @admin.display(description=_("user or client"), ordering="user__username")
    def who(self, launch: Launch) -> str:
        return str(launch.user or launch.api_client or gettext("Trusted network"))

    @admin.display(description=_("archives"))
    def archives(self, launch: Launch) -> SafeString:
        lines = format_html_join(
            "",
            '<span class="vh-state vh-{}" title="{}">'
            '<span aria-hidden="true">{}</span> {}: {}</span>',
            (
                (
                    _KINDS[ArchiveOutcome.State(outcome.state)][0],
                    translated(outcome.message),
                    _KINDS[ArchiveOutcome.State(outcome.state)][1],
                    outcome.archive.name,
                    outcome.get_state_display(),
                )
                for outcome in launch.build.outcomes.all()
            ),
        )
        return format_html('<div class="vh-cell vh-lined">{}</div>', lines)

    @admin.display(description=_("images"))
    def total(self, launch: Launch) -> int | None:
        return launch.build.instances

    @admin.display(description=_("duration"))
    def duration(self, launch: Launch) -> str | None:
        started, finished = launch.build.started, launch.build.finished
        if not (started and finished):
            return None
        return _spoken((finished - started).total_seconds())

    @admin.display(description=_("outcomes"))
    def outcomes(self, launch: Launch) -> SafeString:
        rows = [
            (
                outcome,
                *_KINDS[ArchiveOutcome.State(outcome.state)],
                _spoken(outcome.milliseconds / 1000),
            )
            for outcome in launch.build.outcomes.all()
        ]
        return render_to_string("admin/launcher/launch/_outcomes.html", {"rows": rows})

    # Revoking

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("launcher.change_launch")

    @admin.action(description=_("Revoke"), permissions=["revoke"])
    def revoke(self, request: HttpRequest, launches: QuerySet[Launch]) -> None:
        count = 0
        for launch in launches.open():  # type: ignore[attr-defined]
            self._revoke(request, launch)
            count += 1
        self.message_user(
            request,
            ngettext(
                "Revoked %(count)s launch. Its images can't be opened any more.",
                "Revoked %(count)s launches. Their images can't be opened any more.",
                count,
            )
            % {"count": count},
        )

    def _revoke(self, request: HttpRequest, launch: Launch) -> None:
        revoke_launch(launch)
        self.log_change(request, launch, "Revoked.")

    def get_urls(self) -> list[URLPattern]:
        revoke = self.object_action(
            "revoke", self.has_revoke_permission, self._revoke_one
        )
        view = self.admin_site.admin_view
        return [
            path("find/", view(self.find_view), name="launcher_launch_find"),
            path("export/", view(self.export_view), name="launcher_launch_export"),
            revoke,
            *super().get_urls(),
        ]

    def _revoke_one(self, request: HttpRequest, launch: Launch) -> HttpResponse:
        if launch.is_open():
            self._revoke(request, launch)
            self.message_user(
                request,
                gettext("Revoked. The images of this launch can't be opened any more."),
            )
        else:
            self.message_user(
                request, gettext("This launch had ended already."), messages.WARNING
            )
        return HttpResponseRedirect(
            reverse("admin:launcher_launch_change", args=[launch.pk])
        )

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Launch | None = None,
    ) -> HttpResponse:
        context["may_revoke"] = (
            obj is not None and obj.is_open() and self.has_revoke_permission(request)
        )
        return super().render_change_form(request, context, add, change, form_url, obj)

    # Auditing

    def has_audit_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("launcher.audit_launch")

    def find_view(self, request: HttpRequest) -> HttpResponse:
        """Look for an identifier: it is POSTed, so that it gets into no address."""
        if not (
            self.has_view_permission(request) and self.has_audit_permission(request)
        ):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        identifier = request.POST.get("identifier", "").replace("\0", "").strip()
        url = reverse("admin:launcher_launch_changelist")
        if not identifier:
            return HttpResponseRedirect(url)
        logger.info("launches_searched_by_identifier", user_id=request.user.pk)
        identifier = identifier[: audit.MAXIMUM_LENGTH]
        token = audit.keep(identifier, int(request.user.pk or 0))
        return HttpResponseRedirect(f"{url}?{IDENTIFIER}={token}")

    def export_view(self, request: HttpRequest) -> HttpResponseBase:
        """The list with its filters as CSV; with identifiers for those who may audit."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.method != "GET":
            return HttpResponseNotAllowed(["GET"])
        with_identifiers = self.has_audit_permission(request)
        try:
            found = self.get_changelist_instance(request).queryset
        except IncorrectLookupParameters:
            return HttpResponseRedirect(reverse("admin:launcher_launch_changelist"))
        launches = list(found.values_list("pk", flat=True))
        self._log_export(request, len(launches), with_identifiers)
        name = f"launches-{timezone.localdate().isoformat()}.csv"
        return StreamingHttpResponse(
            audit.csv_lines(launches, with_identifiers=with_identifiers),
            content_type="text/csv; charset=utf-8",
            headers={
                "Content-Disposition": f'attachment; filename="{name}"',
                "Cache-Control": "private, no-store",
            },
        )

    def _log_export(
        self, request: HttpRequest, count: int, with_identifiers: bool
    ) -> None:
        what = "with identifiers" if with_identifiers else "without identifiers"
        LogEntry.objects.create(
            user_id=int(request.user.pk or 0),
            content_type=ContentType.objects.get_for_model(Launch),
            object_repr=f"Export of {count} launches, {what}"[:200],
            action_flag=CHANGE,
            change_message="Exported the list of launches.",
        )
        logger.info(
            "launches_exported",
            user_id=request.user.pk,
            count=count,
            with_identifiers=with_identifiers,
            filters=sorted(request.GET),
        )

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = {
            "may_audit": self.has_audit_permission(request),
            "export_query": request.GET.urlencode(),
            **(extra_context or {}),
        }
        return super().changelist_view(request, context)
