"""How far a launch is, in the words of the portal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from launcher.models import ArchiveOutcome, Launch
from launcher.services import ArchiveProgress

# Weasis needs a moment to start. Then the page offers help, and asks less often, until
# nobody is waiting for it any more.
PATIENCE: Final = timedelta(seconds=6)
FOLLOWED: Final = timedelta(minutes=2)
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
    launch: Launch, progress: Sequence[ArchiveProgress]
) -> dict[str, Any]:
    """What ``_launch_state.html`` and ``_launch_progress.html`` expect."""
    lines = [ProgressLine(one) for one in progress]
    asking = [one for one in lines if one.progress.state == ASKING]
    age = timezone.now() - launch.created
    return {
        "launch": launch,
        "lines": lines,
        # The one that says most: an archive that has begun to answer.
        "current": max(asking, key=lambda one: one.progress.series, default=None),
        "problems": [one for one in lines if one.is_problem]
        or _if_failed(launch, lines),
        "instances": sum(one.instances for one in progress),
        "needs_help": launch.state == Launch.State.READY and age > PATIENCE,
        "is_over": launch.state in OVER or not launch.is_open() or age > FOLLOWED,
        "interval": "3s" if age > 5 * PATIENCE else "1s",
    }


def _if_failed(launch: Launch, lines: list[ProgressLine]) -> list[ProgressLine]:
    """That nothing was found is a problem only where nothing opens."""
    return lines if launch.state == Launch.State.FAILED else []
