"""The first page of the admin: what a member of staff may know of how things are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.contrib.auth.models import User
from django.db.models import Count, DurationField, ExpressionWrapper, F
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from archives.models import Archive
from archives.watching import settle
from launcher.models import ApiClient, ArchiveOutcome, Build, Launch, LaunchTemplate
from launcher.queue import last_seen_working, waiting_tasks
from launcher.results import LaunchResult

FAILURES: Final = 10
SLOW: Final = timedelta(seconds=10)
SLOW_BUILDS: Final = 5
# The scheduler is due every 15 seconds.
SILENCE: Final = timedelta(minutes=2)

_UNWELL: Final = (
    ArchiveOutcome.State.UNAVAILABLE,
    ArchiveOutcome.State.REFUSED,
    ArchiveOutcome.State.FAILED,
    ArchiveOutcome.State.TRUNCATED,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Something a new hub needs. ``url`` is where to do it, if the user may."""

    title: str
    explanation: str
    is_done: bool
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    label: str
    number: int
    url: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    launch: Launch
    reasons: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Today:
    """The launches since midnight."""

    counts: Sequence[Tally]
    failures: Sequence[Failure]
    slow: Sequence[Launch]
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The queue and who works on it; ``waiting`` is ``None`` if Redis does not say."""

    waiting: int | None
    unfinished: int
    last_seen: datetime | None

    @property
    def is_alive(self) -> bool:
        return self.last_seen is not None and timezone.now() - self.last_seen < SILENCE


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """``None`` and empty are what the user may not see."""

    steps: Sequence[Step]
    archives: Sequence[Archive] | None
    today: Today | None
    work: Work | None

    @property
    def steps_left(self) -> int:
        return sum(not step.is_done for step in self.steps)


def dashboard(request: HttpRequest) -> Dashboard:
    user: Any = request.user
    settle()  # what was learnt until now
    may_see_launches = _may(user, "launcher", "launch")
    work = _work() if may_see_launches else None
    return Dashboard(
        steps=_steps(request) if user.is_superuser else (),
        archives=list(Archive.objects.all())
        if _may(user, "archives", "archive")
        else None,
        today=_today() if may_see_launches else None,
        work=work,
    )


def _may(user: Any, app: str, model: str) -> bool:
    return any(user.has_perm(f"{app}.{action}_{model}") for action in _LOOKING)


_LOOKING: Final = ("view", "change")


def _work() -> Work:
    return Work(
        waiting=waiting_tasks(),
        unfinished=Build.objects.unfinished().count(),
        last_seen=last_seen_working(),
    )


# Launches

_KINDS: Final = {
    LaunchResult.OPENED: "ok",
    LaunchResult.FAILED: "bad",
    LaunchResult.UNDER_WAY: "none",
    LaunchResult.NOT_OPENED: "none",
    LaunchResult.REVOKED: "none",
}


def _today() -> Today:
    midnight = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    launches = Launch.objects.filter(created__gte=midnight)
    numbers = launches.aggregate(
        **{one.name: Count("pk", filter=one.condition) for one in LaunchResult}
    )
    address = reverse("admin:launcher_launch_changelist")
    since = f"created__date__gte={midnight.date().isoformat()}"
    return Today(
        counts=[
            Tally(
                label=str(one.label),
                number=numbers[one.name],
                url=f"{address}?result={one.value}&{since}",
                kind=_KINDS[one] if numbers[one.name] else "none",
            )
            for one in LaunchResult
        ],
        failures=_failures(launches),
        slow=_slow(launches),
        total=sum(numbers.values()),
    )


def _failures(launches: Any) -> list[Failure]:
    failed = launches.filter(LaunchResult.FAILED.condition).select_related(
        "user", "api_client", "build"
    )
    return [
        Failure(launch=launch, reasons=_reasons(launch))
        for launch in failed.prefetch_related("build__outcomes__archive")[:FAILURES]
    ]


def _reasons(launch: Launch) -> list[str]:
    """Why there was nothing to open, in the words of each archive."""
    outcomes = list(launch.build.outcomes.all())
    unwell = [one for one in outcomes if one.state in _UNWELL]
    return [
        one.message or f"{one.archive.name}: {one.get_state_display()}"
        for one in unwell or outcomes
    ]


def _slow(launches: Any) -> list[Launch]:
    took = ExpressionWrapper(
        F("build__finished") - F("build__started"), output_field=DurationField()
    )
    slow = launches.annotate(took=took).filter(took__gte=SLOW)
    related = slow.select_related("user", "api_client", "build")
    return list(related.order_by("-took")[:SLOW_BUILDS])


# First steps


def _steps(request: HttpRequest) -> list[Step]:
    """What a new hub needs, for its superusers."""
    public_url = settings.VIEWERHUB_PUBLIC_URL
    here = f"{request.scheme}://{request.get_host()}"
    archives = Archive.objects.all()
    return [
        Step(
            title=_("Register an archive"),
            explanation=_("By DIMSE or by DICOMweb; the form knows many products."),
            is_done=archives.exists(),
            url=reverse("admin:archives_archive_add"),
        ),
        Step(
            title=_("Verify its connection"),
            explanation=_("The button is beside Save, and says what works."),
            is_done=archives.exclude(last_success=None).exists(),
            url=reverse("admin:archives_archive_changelist"),
        ),
        Step(
            title=_("Look at the launch template"),
            explanation=_("It says how Weasis starts; its page previews that."),
            is_done=LaunchTemplate.objects.exists(),
            url=reverse("admin:launcher_launchtemplate_changelist"),
        ),
        Step(
            title=_("Let others in"),
            explanation=_("By users, an identity provider or an API client."),
            is_done=_has_others(request.user),
            url=reverse("admin:auth_user_add"),
        ),
        Step(
            title=_("Check the public address"),
            explanation=_(
                "Viewers are sent to %(public)s (VIEWERHUB_PUBLIC_URL); you are at "
                "%(here)s."
            )
            % {"public": public_url, "here": here},
            is_done=public_url == here,
            url=reverse("admin:system"),
        ),
        Step(
            title=_("Run a worker and the scheduler"),
            explanation=_("Without them, launches stay queued."),
            is_done=_work().is_alive,
            url=reverse("admin:system"),
        ),
        Step(
            title=_("Open a first study"),
            explanation=_("Search for one, and open it in Weasis."),
            is_done=Launch.objects.filter(fetched__isnull=False).exists(),
            url=reverse("launcher:search_start"),
        ),
    ]


def _has_others(user: Any) -> bool:
    providers: Any = settings.SOCIALACCOUNT_PROVIDERS["openid_connect"]["APPS"]
    return (
        bool(providers)
        or User.objects.exclude(pk=user.pk).exists()
        or ApiClient.objects.exists()
    )
