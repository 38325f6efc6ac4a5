"""Viewers other than Weasis, as addresses with placeholders.

An address is plain text with ``{placeholders}``. A part in square brackets is left out
where one of its placeholders has no value; ``[a|b]`` takes the first part that has all
of its values. Nothing else is evaluated, and every value is percent-encoded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final
from urllib.parse import quote

from archives.texts import gettext_noop as _
from launcher.weasis import NotCarriableError

# What placeholders stand for. Those in the singular have a value only if there is
# exactly one.
PLACEHOLDERS: Final = {
    "study_uids": _("Study Instance UIDs, with commas between them"),
    "study_uid": _("the only Study Instance UID"),
    "series_uids": _("Series Instance UIDs, where only series were asked for"),
    "series_uid": _("the only Series Instance UID"),
    "object_uids": _("SOP Instance UIDs, where only objects were asked for"),
    "object_uid": _("the only SOP Instance UID"),
    "patient_id": _("the only patient's ID"),
    "issuer": _("the issuer of that ID"),
    "accession_number": _("the only accession number"),
    "archive": _("short name of the archive"),
    "archive_url": _("DICOMweb address of the archive"),
    "host": _("host name of a DIMSE archive"),
    "port": _("port of a DIMSE archive"),
    "ae_title": _("AE title of a DIMSE archive"),
    "user": _("the user, as the launch names them"),
}
# Without any of these an address opens nothing.
IDENTIFYING: Final = frozenset(
    (
        *("study_uids", "study_uid", "series_uids", "series_uid"),
        *("object_uids", "object_uid", "patient_id", "accession_number"),
    )
)
# The administrator's values: others would let a link choose the host it leads to.
_IN_AUTHORITY = {"host", "port"}
# Programs of the hospital are started by any scheme; these run code, or read files.
_FORBIDDEN_SCHEMES = {
    *("javascript", "data", "file", "vbscript", "blob", "about", "view-source"),
    *("filesystem", "jar", "ms-msdt", "search-ms", "weasis"),
    *("feed", "mhtml", "shell", "ms-officecmd"),
}
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(?=[^\s])")
_TOKEN = re.compile(r"\{(?P<name>[^{}]*)\}|(?P<mark>[\[\]|{}])|(?P<text>[^\[\]|{}]+)")
_UNSAFE = re.compile(r"[^\x21-\x7e]|[\"<>\\^`]")

# Windows cuts what it hands to programs near 2,083 characters; web servers take more.
_MAXIMUM_LENGTH: Final = 1800
_MAXIMUM_WEB_LENGTH: Final = 7500

Values = Mapping[str, str | Sequence[str]]


@dataclass(frozen=True, slots=True)
class _Placeholder:
    name: str


_Text = tuple[str | _Placeholder, ...]


@dataclass(frozen=True, slots=True)
class _Part:
    """Alternatives, of which the first with all its values is taken."""

    alternatives: tuple[_Text, ...]
    is_optional: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a viewer can open; ``maximum_studies`` is ``None`` for any number."""

    maximum_studies: int | None = None
    needs_one_archive: bool = False
    needs_dicomweb: bool = False


class Limit(Enum):
    """What keeps a viewer from opening something."""

    STUDIES = auto()
    ONE_ARCHIVE = auto()
    DICOMWEB = auto()
    DIMSE = auto()


# Filling in


def viewer_url(url_template: str, values: Values) -> str:
    """The address with the values in it; a list has commas between its values.

    Raises ``NotCarriableError`` naming what is missing or can't stand where it would.
    """
    url, names = "", set()
    for part in _parse(url_template):
        chosen = _choose(part, values)
        for piece in chosen:
            if isinstance(piece, _Placeholder):
                names.add(piece.name)
                url += _encoded(piece.name, values[piece.name], url)
            else:
                url += piece
    if not names & IDENTIFYING and placeholders(url_template) & IDENTIFYING:
        raise NotCarriableError("The launch names nothing that this viewer can open.")
    is_web = url.lower().startswith(("http:", "https:"))
    if len(url) > (_MAXIMUM_WEB_LENGTH if is_web else _MAXIMUM_LENGTH):
        raise NotCarriableError(
            "The viewer's address would be too long. Open fewer studies at once."
        )
    return url


def missing_values(url_template: str, values: Values) -> frozenset[str]:
    """The placeholders that keep an address from being filled in; empty if it can be.

    Parts in brackets may be left out, but an address that names nothing to open is not
    filled in: all that could name something are missing then.
    """
    required: set[str] = set()
    has_identity = False
    for part in _parse(url_template):
        try:
            chosen = _choose(part, values)
        except NotCarriableError:
            chosen = part.alternatives[0]
        names = {piece.name for piece in chosen if isinstance(piece, _Placeholder)}
        required |= {name for name in names if not values.get(name)}
        has_identity = has_identity or bool(names & IDENTIFYING)
    identifying = placeholders(url_template) & IDENTIFYING
    if identifying and not has_identity:
        return frozenset(identifying | required)
    return frozenset(required)


def placeholders(url_template: str) -> frozenset[str]:
    """The names in an address, in brackets or not."""
    return frozenset(
        piece.name
        for part in _parse(url_template)
        for text in part.alternatives
        for piece in text
        if isinstance(piece, _Placeholder)
    )


def _choose(part: _Part, values: Values) -> _Text:
    for text in part.alternatives:
        names = [piece.name for piece in text if isinstance(piece, _Placeholder)]
        if all(values.get(name) for name in names):
            return text
        if not part.is_optional:
            lacking = [name for name in names if not values.get(name)]
            words = ", ".join(PLACEHOLDERS.get(name, name) for name in lacking)
            raise NotCarriableError(
                f"This viewer needs to know {words}, which this launch does not have."
            )
    return ()


def _encoded(name: str, value: str | Sequence[str], before: str) -> str:
    """A value for the place after ``before``: host, path or query."""
    texts = [value] if isinstance(value, str) else value
    if _is_in_authority(before):
        if name not in _IN_AUTHORITY:
            raise NotCarriableError(f"{{{name}}} can't choose the host of an address.")
        texts = [f"[{text}]" if ":" in text else text for text in texts]
        return quote(texts[0], safe=":[]")
    if not set("?#") & set(before) and any(text in {".", ".."} for text in texts):
        raise NotCarriableError(f"The value of {{{name}}} would change the path.")
    try:
        return ",".join(quote(text, safe="") for text in texts)
    except UnicodeEncodeError as error:  # a lone surrogate
        raise NotCarriableError(f"The value of {{{name}}} is not text.") from error


def _is_in_authority(before: str) -> bool:
    scheme, separator, rest = before.partition("://")
    is_web = scheme.lower() in {"http", "https"}
    return is_web and bool(separator) and not set("/?#") & set(rest)


# Reading


def _parse(url_template: str) -> tuple[_Part, ...]:
    """Raises ``ValueError`` with a sentence for the administrator."""
    parts: list[_Part] = []
    group: list[list[str | _Placeholder]] | None = None
    for token in _TOKEN.finditer(url_template):
        mark, piece = token["mark"], _piece(token)
        if mark == "[":
            if group is not None:
                raise ValueError("brackets can't stand inside brackets.")
            group = [[]]
        elif mark == "]":
            if group is None:
                raise ValueError("a ] has no [ before it.")
            parts.append(_Part(tuple(map(tuple, group)), is_optional=True))
            group = None
        elif group is None:
            parts.append(_Part(((piece,),), is_optional=False))
        elif mark == "|":
            group.append([])
        else:
            group[-1].append(piece)
    if group is not None:
        raise ValueError("a [ has no ] after it.")
    return tuple(parts)


def _piece(token: re.Match[str]) -> str | _Placeholder:
    if token["mark"] in {"{", "}"}:
        raise ValueError("a brace has no partner.")
    name = token["name"]
    if name is None:
        return token[0]
    if name not in PLACEHOLDERS:
        known = ", ".join(f"{{{known}}}" for known in PLACEHOLDERS)
        raise ValueError(f"there is no {{{name}}}. Known are {known}.")
    return _Placeholder(name)


def template_problem(url_template: str) -> str:
    """Why an address can't be used; empty if it can."""
    scheme = _SCHEME.match(url_template)
    if not scheme:
        return "begin with a scheme, such as https:// or the one of a program."
    if scheme[1].lower() in _FORBIDDEN_SCHEMES:
        return f"addresses that begin with {scheme[1].lower()}: are not allowed."
    if _UNSAFE.search(url_template):
        return "spaces, quotes, backslashes and the like must be percent-encoded."
    try:
        names = placeholders(url_template)
        return _host_problem(url_template) or (
            ""
            if names & IDENTIFYING
            else "it names nothing to open. Use {study_uids}, for example."
        )
    except ValueError as error:
        return str(error)


def _host_problem(url_template: str) -> str:
    """Why the host of a web address is not the administrator's choice alone."""
    before = ""
    for part in _parse(url_template):
        for piece in (piece for text in part.alternatives for piece in text):
            if isinstance(piece, _Placeholder):
                if _is_in_authority(before) and piece.name not in _IN_AUTHORITY:
                    return f"{{{piece.name}}} can't choose the host of an address."
                before += "x"
            else:
                before += piece
    if before.lower().startswith(("http:", "https:")) and not re.match(
        r"https?://[^/?#@]+([/?#]|$)", before, re.IGNORECASE
    ):
        return "a web address has a host, such as https://viewer.example.org/."
    return ""


# Limits


def limit_exceeded(
    limits: Limits, *, studies: int | None, archives: int, dicomweb_archives: int
) -> Limit | None:
    """What keeps a viewer from opening so much. ``studies`` may be unknown."""
    if limits.maximum_studies and studies and studies > limits.maximum_studies:
        return Limit.STUDIES
    if limits.needs_one_archive and archives > 1:
        return Limit.ONE_ARCHIVE
    if limits.needs_dicomweb and dicomweb_archives < archives:
        return Limit.DICOMWEB
    return None


def limit_problem(
    limit: Limit | None, limits: Limits, studies: int | None = None
) -> str:
    """The same in words, for those who make links; empty if nothing does."""
    match limit:
        case Limit.STUDIES:
            number = limits.maximum_studies
            many = "one study" if number == 1 else f"{number} studies"
            return (
                f"It opens at most {many} at once, and this launch has {studies}. Open "
                "fewer, or open them in Weasis."
            )
        case Limit.ONE_ARCHIVE:
            return (
                "It opens studies of one archive only. Name the archive (archive=…), or "
                "open them in Weasis."
            )
        case Limit.DICOMWEB:
            return (
                "It only opens studies of DICOMweb archives. Name one (archive=…), or "
                "open them in Weasis."
            )
        case Limit.DIMSE:
            return (
                "It only opens studies of DIMSE archives. Name one (archive=…), or open "
                "them in Weasis."
            )
    return ""
