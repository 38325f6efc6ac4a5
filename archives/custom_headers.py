"""Header fields that an administrator enters, one in each line: ``Name: value``."""

from __future__ import annotations

import re
from typing import Final

from django.utils.translation import gettext as _

# RFC 9110 5.6.2 and 5.5; no byte beyond ASCII, whose meaning differs between servers.
_LINE: Final = re.compile(
    r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*:[ \t]*([\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?)"
)
# What the hub sets itself, or what would part a request otherwise than it does.
_OWN: Final = frozenset(
    {
        *("accept", "accept-encoding", "connection", "content-length"),
        *("content-type", "expect", "host", "keep-alive", "proxy-connection"),
        *("range", "te", "trailer", "transfer-encoding", "upgrade"),
    }
)


def parse_headers(text: str) -> tuple[tuple[str, str], ...]:
    """Name and value of every line that is a header field."""
    return tuple((m[1], m[2]) for m in map(_LINE.fullmatch, _lines(text)) if m)


def headers_problem(text: str) -> str:
    """What to do about lines that are no header fields; never quotes a value."""
    names = set()
    for number, line in enumerate(_lines(text), 1):
        match = _LINE.fullmatch(line)
        if not match:
            text = _("Line %(number)d is not Name: value, in plain letters.")
            return text % {"number": number}
        name = match[1].lower()
        if name in _OWN:
            text = _("Line %(number)d: the hub sets %(name)s itself. Leave it out.")
            return text % {"number": number, "name": match[1]}
        if name in names:
            text = _("Line %(number)d: %(name)s is there twice.")
            return text % {"number": number, "name": match[1]}
        names.add(name)
    return ""


def _lines(text: str) -> list[str]:
    return [line.strip() for line in re.split(r"\r?\n", text) if line.strip()]
