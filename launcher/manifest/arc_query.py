"""What a manifest says of one archive, and how Weasis is to fetch the images."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from archives.entities import Study

# RFC 9110, 5.6.2, and what Weasis takes as a value.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]{0,8192}")
# The HTTP client of Weasis refuses requests that name one of these.
_RESTRICTED_HEADERS: Final = frozenset(
    {"host", "connection", "content-length", "expect", "upgrade"}
)
_TAG = re.compile(r"\(?(?:0x)?([0-9a-f]{4}),?([0-9a-f]{4})\)?", re.IGNORECASE)


class Severity(StrEnum):
    """The icon of the dialog Weasis shows."""

    INFO = "INFO"
    WARNING = "WARN"
    ERROR = "ERROR"


class Form(StrEnum):
    """How the images of a manifest are fetched.

    ``WADO_RS`` is read by Weasis 4.7.0, ``WADO_RS_SERIES`` by 4.7.2; every version reads
    the others.
    """

    WADO_URI = "wado_uri"
    WADO_RS = "wado_rs"
    WADO_RS_SERIES = "wado_rs_series"
    FILES = "files"

    @property
    def is_dicomweb(self) -> bool:
        return self in {Form.WADO_RS, Form.WADO_RS_SERIES}


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A dialog in Weasis; both texts must have something in them."""

    title: str
    description: str
    severity: Severity = Severity.WARNING


@dataclass(frozen=True, slots=True, kw_only=True)
class ArcQuery:
    """What one archive holds, and where its images are fetched.

    ``base_url`` is absolute, has no query and no trailing slash, and must be the same in
    every launch: Weasis skips a series it knows from another base. ``listed_series``
    are those of which only some instances are selected: with ``WADO_RS_SERIES``, all
    others are fetched whole. ``additional_parameters``, ``needs_only_object``,
    ``transfer_syntax`` and ``compression_rate`` are for ``WADO_URI``; ``override_tags``
    (see ``normal_tags``) must be empty with DICOMweb.
    """

    arc_id: str
    base_url: str
    studies: tuple[Study, ...] = ()
    http_tags: tuple[tuple[str, str], ...] = ()
    message: Message | None = None
    form: Form = Form.WADO_URI
    listed_series: frozenset[str] = frozenset()
    additional_parameters: str = ""
    needs_only_object: bool = False
    transfer_syntax: str = ""
    compression_rate: int | None = None
    override_tags: str = ""


def http_tags(text: str) -> tuple[tuple[str, str], ...]:
    """Headers, one a line; those with a problem (see below) are left out."""
    return tuple(
        (name.strip(), value.strip())
        for line in text.splitlines()
        if line.strip() and not http_tag_problem(line)
        for name, _, value in [line.partition(":")]
    )


def http_tag_problem(line: str) -> str:
    """Why a line can't be a header of Weasis's requests; empty if it can."""
    name, colon, value = line.partition(":")
    if not colon or not _HEADER_NAME.fullmatch(name.strip()):
        return "write the header's name, a colon and its value."
    if name.strip().lower() in _RESTRICTED_HEADERS:
        return f"Weasis doesn't let anybody set {name.strip()}."
    if not _HEADER_VALUE.fullmatch(value.strip()):
        return "the value is too long, or has control characters."
    return ""


def normal_tags(text: str) -> str:
    """Tags as ``overrideDicomTagsList`` wants them: ``0x00100010,0x00100020``."""
    found = [_TAG.fullmatch(word) for word in _words(text)]
    return ",".join(f"0x{tag[1]}{tag[2]}".lower() for tag in found if tag)


def tags_problem(text: str) -> str:
    """Why a list of tags can't be read; empty if it can."""
    for word in _words(text):
        if not _TAG.fullmatch(word):
            return f"{word} is not a tag; write tags as 0x00100010, 0x00100020."
    return ""


def _words(text: str) -> Iterator[str]:
    """Parts between commas and spaces, but not at the comma of ``(0010,0010)``."""
    return iter(re.findall(r"\([^)\s]*\)|[^\s,]+", text))
