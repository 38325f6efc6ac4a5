"""Query strings of QIDO-RS (PS3.18 8.3.4) and WADO-URI (PS3.18 9.1.2)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

# Unescaped as far as RFC 3986 3.4 permits, and "^" with them: Orthanc's plug-in before
# 1.13 compares values without decoding them first.
_UNESCAPED: Final = "/^*?,:-_.~@!$'()"


def query_string(parameters: Iterable[tuple[str, str]]) -> str:
    """``name=value`` pairs in this order; values are UTF-8."""
    return "&".join(f"{name}={escape(value)}" for name, value in parameters)


def escape(value: str) -> str:
    return quote(value, safe=_UNESCAPED, errors="replace")


def include_fields(tags: Iterable[int]) -> list[tuple[str, str]]:
    """One parameter a tag: the form every server reads, unlike a list."""
    return [("includefield", f"{tag:08X}") for tag in tags]


def widened(value: str) -> str:
    """The value with wildcards for whatever has to be escaped; empty if too little is left.

    For servers that compare escaped values: they answer with more than was asked, and
    the caller keeps what belongs.
    """
    pattern = ""
    for character in value:
        if escape(character) == character:
            pattern += character
        elif not pattern.endswith("*"):
            pattern += "*"
    is_selective = len(pattern.replace("*", "").replace("?", "")) >= 2
    return pattern if is_selective and pattern != value else ""
