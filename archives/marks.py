"""How states and moments are shown in lists: an icon with a word, and how long ago."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.utils.formats import localize
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from django.utils.timezone import localtime, now
from django.utils.translation import gettext

from archives.health import ArchiveState
from archives.models import Archive

_MARKS = {
    ArchiveState.WORKING: ("ok", "✓"),
    ArchiveState.UNAVAILABLE: ("warn", "⚠"),
    ArchiveState.REFUSED: ("bad", "⊘"),
    ArchiveState.FAILED: ("bad", "✗"),
    ArchiveState.UNKNOWN: ("none", "–"),
}


def mark_of(archive: Archive) -> SafeString:
    """Its state with icon and word."""
    kind, icon = _MARKS[archive.state]
    word: Any = archive.state.label
    if not archive.is_enabled:
        kind, icon, word = "none", "–", gettext("Disabled")
    return format_html(
        '<span class="vh-state vh-{}"><span aria-hidden="true">{}</span> {}</span>',
        kind,
        icon,
        word,
    )


def moment_of(moment: datetime | None) -> SafeString | str:
    """How long ago something was, with the exact time as its tooltip."""
    if moment is None:
        return gettext("Never")
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        moment.isoformat(),
        localize(localtime(moment)),
        _ago(moment),
    )


def _ago(moment: datetime) -> str:
    if now() - moment < timedelta(minutes=1):
        return gettext("Just now")
    return gettext("%(time)s ago") % {"time": timesince(moment, depth=1)}
