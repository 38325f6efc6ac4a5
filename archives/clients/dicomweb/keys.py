"""Matching keys of a STUDY level search, in the form that one server can match."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from archives.clients.base import Quirks

_WILDCARD: Final = re.compile(r"[*?]")


def understood(
    keys: Iterable[tuple[str, str]], quirks: Quirks
) -> list[tuple[str, str]]:
    """These keys as the server matches them, without those that it can't match.

    The answer is never narrower for it: callers check answers again in any case.
    """
    kept = []
    is_fuzzy = False
    for name, value in keys:
        if quirks.study_keys is not None and name not in quirks.study_keys:
            continue
        if name in quirks.fuzzy_keys:
            value = _beginnings(value)
            is_fuzzy |= bool(value)
        elif _WILDCARD.search(value) and not quirks.takes_wildcards:
            continue
        if value:
            kept.append((name, value))
    return [*kept, ("fuzzymatching", "true")] if is_fuzzy else kept


def _beginnings(name: str) -> str:
    """``martin*^ali*`` as ``martin ali``: what stands before the wildcards of each part."""
    parts = re.split(r"[\^=]", name)
    return " ".join(filter(None, (_WILDCARD.split(part)[0].strip() for part in parts)))
