"""How far a launch is, in the words of the portal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from launcher import weasis
from launcher.criteria import CriteriaError
from launcher.launching.offers import Found, Offers
from launcher.models import ArchiveOutcome, Launch
from launcher.services import ArchiveProgress
from launcher.views.launch_requests import address_of

# Weasis needs a moment to start, once there is something to open. Then the page offers
# help, and asks less and less often whether it came after all.
AT_FIRST: Final = timedelta(seconds=1)  # most builds are done by then
PATIENCE: Final = timedelta(seconds=6)
HOPE: Final = timedelta(minutes=1)
FOLLOWED: Final = timedelta(minutes=10)
ASKING: Final = "asking"
OVER: Final = (
    Launch.State.FAILED,
    Launch.State.FETCHED,
    Launch.State.EXPIRED,
    Launch.State.REVOKED,
)
State = ArchiveOutcome.State


@dataclass(frozen=True, slots=True)
class Appearance:
    """An archive's state as a word, an icon and a colour, and as part of a sentence."""

    word: str | Promise
    sentence: str | Promise
    icon: str
    css: str


APPEARANCES: Final = {
    ASKING: Appearance(_("asking…"), _("%s is being asked"), "wait", "muted"),
    State.OK: Appearance(_("complete"), _("%s is complete"), "check", "ok"),
    State.EMPTY: Appearance(
        _("found nothing"), _("%s found nothing"), "search", "muted"
    ),
    State.TRUNCATED: Appearance(
        _("incomplete"), _("%s is incomplete"), "alert", "warn"
    ),
    State.UNAVAILABLE: Appearance(
        _("not answering"), _("%s is not answering"), "alert", "bad"
    ),
    State.REFUSED: Appearance(
        _("refused the connection"), _("%s refused the connection"), "block", "bad"
    ),
    State.FAILED: Appearance(_("failed"), _("%s failed"), "alert", "bad"),
}


@dataclass(frozen=True, slots=True)
class ProgressLine:
    """One archive of a launch."""

    progress: ArchiveProgress

    @property
    def appearance(self) -> Appearance:
        return APPEARANCES[self.progress.state]

    @property
    def is_problem(self) -> bool:
        return self.progress.state not in (ASKING, State.OK, State.EMPTY)

    @property
    def summary(self) -> str:
        return str(self.appearance.sentence) % self.progress.archive


def state_context(
    launch: Launch, progress: Sequence[ArchiveProgress], *, is_heard: bool = True
) -> dict[str, Any]:
    """What ``_launch_state.html`` and ``_launch_progress.html`` expect.

    ``is_heard`` tells whether the hub would hear from Weasis: see ``is_heard_of``.
    """
    lines = [ProgressLine(one) for one in progress]
    asking = [one for one in lines if one.progress.state == ASKING]
    is_ready = launch.state == Launch.State.READY
    waiting = timezone.now() - _since(launch)
    is_final = launch.state in OVER or (is_ready and not is_heard)
    return {
        "launch": launch,
        "lines": lines,
        # The one that says most: an archive that has begun to answer.
        "current": max(asking, key=lambda one: one.progress.series, default=None),
        "problems": [one for one in lines if one.is_problem]
        or _if_failed(launch, lines),
        "studies": launch.build.studies,
        "instances": launch.build.instances,
        "is_heard": is_heard,
        "needs_help": is_ready and (not is_heard or waiting > PATIENCE),
        "is_over": is_final or not launch.is_open() or waiting > FOLLOWED,
        "interval": _interval(waiting),
    }


def _since(launch: Launch) -> datetime:
    """Since when Weasis could have come, or the launch waits for its build."""
    finished = launch.build.finished
    return max(launch.created, finished) if finished else launch.created


def _interval(waiting: timedelta) -> str:
    if waiting < AT_FIRST:
        return "300ms"
    if waiting < 5 * PATIENCE:
        return "1s"
    return "3s" if waiting < HOPE else "15s"


def is_heard_of(launch: Launch) -> bool:
    """Whether Weasis asks the hub for anything once it has started.

    It does not where a template lets it search the archives by itself.
    """
    template = launch.template
    if template is None or template.viewer or launch.build.uploaded_manifest:
        return True
    if template.mode == template.Mode.MANIFEST or launch.state != Launch.State.READY:
        return True
    example = weasis.example_manifest_url(settings.VIEWERHUB_PUBLIC_URL)
    archives = launch.build.archives.all()
    try:
        uri = template.uri(example, launch.build.get_selection(), archives)
    except CriteriaError:  # the template was changed since
        return True
    return example.rpartition("/")[2] in uri


# Help where Weasis does not come

INSTALLERS: Final = {
    "Windows": "https://weasis.org/en/getting-started/windows/",
    "macOS": "https://weasis.org/en/getting-started/macos/",
    "Linux": "https://weasis.org/en/getting-started/linux/",
}
_SYSTEMS: Final = {"Windows": "Windows", "Macintosh": "macOS", "Linux": "Linux"}


def installers(user_agent: str) -> list[tuple[str, str]]:
    """Systems that Weasis runs on, the visitor's first, and where to get it for each."""
    own = next((name for sign, name in _SYSTEMS.items() if sign in user_agent), "")
    return sorted(INSTALLERS.items(), key=lambda one: one[0] != own)


def help_context(request: HttpRequest, found: Found | None) -> dict[str, Any]:
    """What ``_launch_help.html`` expects; ``found`` is what another viewer may open."""
    other = None
    if found is not None and found.archives:
        offers = Offers(request.user, address_of(request))
        other = offers.of(found).other_viewer
    return {
        "installers": installers(request.headers.get("User-Agent", "")),
        "other_viewer": other,
    }


def _if_failed(launch: Launch, lines: list[ProgressLine]) -> list[ProgressLine]:
    """That nothing was found is a problem only where nothing opens."""
    return lines if launch.state == Launch.State.FAILED else []
