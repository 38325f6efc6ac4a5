"""Launches, to look at and to revoke. No patient data is shown or searched here."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.urls import URLPattern, reverse
from django.utils.formats import number_format
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from archives.models import Archive
from launcher.admin.base import BaseAdmin
from launcher.messages import translated
from launcher.models import ArchiveOutcome, Build, Launch
from launcher.results import LaunchResult
from launcher.services import revoke_launch

_KINDS = {
    ArchiveOutcome.State.OK: ("ok", "✓"),
    ArchiveOutcome.State.EMPTY: ("none", "○"),
    ArchiveOutcome.State.TRUNCATED: ("warn", "⚠"),
    ArchiveOutcome.State.UNAVAILABLE: ("warn", "⚠"),
    ArchiveOutcome.State.REFUSED: ("bad", "✗"),
    ArchiveOutcome.State.FAILED: ("bad", "✗"),
}


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


@admin.register(Launch)
class LaunchAdmin(BaseAdmin):
    list_display = [
        "created",
        "who",
        "origin",
        "state",
        "archives",
        "total",
        "duration",
    ]
    list_filter = [
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
            {"fields": ["id", "created", "who", "origin", "template", "state"]},
        ),
        (_("Viewer"), {"fields": ["fetched", "viewer", "expires"]}),
        (_("Archives"), {"fields": ["duration", "outcomes"]}),
    ]
    readonly_fields = ["who", "duration", "outcomes"]

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

    # Columns

    @admin.display(description=_("user or client"), ordering="user__username")
    def who(self, launch: Launch) -> str:
        return str(launch.user or launch.api_client or gettext("Trusted network"))

    @admin.display(description=_("archives"))
    def archives(self, launch: Launch) -> SafeString:
        return format_html_join(
            " · ",
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

    @admin.display(description=_("images"))
    def total(self, launch: Launch) -> int:
        return sum(outcome.instances for outcome in launch.build.outcomes.all())

    @admin.display(description=_("duration"))
    def duration(self, launch: Launch) -> str | None:
        started, finished = launch.build.started, launch.build.finished
        if not (started and finished):
            return None
        return f"{number_format((finished - started).total_seconds(), 1)} s"

    @admin.display(description=_("outcomes"))
    def outcomes(self, launch: Launch) -> SafeString:
        rows = [
            (outcome, *_KINDS[ArchiveOutcome.State(outcome.state)])
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
        return [revoke, *super().get_urls()]

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
