"""What an administrator writes into a launch template: checked, and filled in.

Commands and properties may hold placeholders. A value that the place of its placeholder
can't carry makes the line be left out: nothing a link brought is ever read as syntax.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final
from urllib.parse import quote

from archives.entities import Selection
from launcher import weasis

PLACEHOLDERS: Final = {
    "patient_id": "Patient ID",
    "study_uid": "Study Instance UID",
    "accession_number": "accession number",
    "user": "user (user=)",
    "host": "workstation (host=)",
}
# One line for each patient of a launch is meant; hundreds don't fit into a link.
_MAXIMUM_LINES: Final = 10

_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_QUOTED = re.compile(r'"[^"]*"')
_BARE_VALUE = re.compile(r"[A-Za-z0-9._:@][A-Za-z0-9._:@-]*")
_QUOTED_VALUE = re.compile(r"(?!-)[^\"'$%`\\\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_TAG = re.compile(r"0[xX][0-9A-Fa-f]{1,8}|#[0-9A-Fa-f]{1,8}|[1-9][0-9]{0,9}")
_HTTP_TAG_VALUE: Final = 8192
# Java's client refuses them, and no image would come.
_BANNED_HEADERS = {"host", "connection", "content-length", "expect", "upgrade"}

Values = Mapping[str, Sequence[str]]


def lines_of(text: str) -> tuple[str, ...]:
    """The lines of a text field that have something in them."""
    return tuple(filter(None, map(str.strip, text.splitlines())))


# Checks: each returns why a line can't be used, or nothing


def command_problem(line: str) -> str:
    return _placeholder_problem(line) or weasis.command_problem(example(line))


def property_problem(line: str) -> str:
    return _placeholder_problem(line) or weasis.property_problem(example(line))


def _placeholder_problem(line: str) -> str:
    for name in _PLACEHOLDER.findall(line):
        if name not in PLACEHOLDERS:
            known = ", ".join(f"{{{known}}}" for known in PLACEHOLDERS)
            return f"there is no {{{name}}}. Known are {known}."
    if _PLACEHOLDER.search(line.partition(" ")[0]):
        return "a placeholder can only stand behind the first word."
    return ""


def has_placeholder(line: str) -> bool:
    return bool(_PLACEHOLDER.search(line))


def example(line: str) -> str:
    """The line with an ``x`` for each placeholder."""
    return _PLACEHOLDER.sub("x", line)


def property_name_problem(line: str) -> str:
    if " " in line:
        return "write the name of a property only."
    return weasis.property_problem(f"{line} x")


def address_problem(line: str) -> str:
    """Beginnings of addresses that a link may name: at least scheme and host."""
    if not re.fullmatch(r"https?://[^\s/?#@\"'\\]+(/[^\s?#\"'\\]*)?", line):
        return "write scheme and host at least, such as https://weasis.example.org/."
    return weasis.config_value_problem(line)


def http_tag_problem(line: str) -> str:
    name, separator, value = line.partition(":")
    if not separator or not _TOKEN.fullmatch(name):
        return "write the header's name, a colon and its value."
    if name.lower() in _BANNED_HEADERS:
        return f"Weasis can't send {name}: its images would not load."
    if not value.strip():
        return "the header has no value."
    if len(value) > _HTTP_TAG_VALUE or re.search(r"[\x00-\x1f\x7f]", value):
        return "the value is too long, or has a control character."
    return ""


def http_tags_of(text: str) -> tuple[tuple[str, str], ...]:
    """Names and values of valid lines; of two with one name, Weasis takes the last."""
    pairs = (line.partition(":") for line in lines_of(text))
    return tuple((name, value.strip()) for name, _, value in pairs)


def transfer_syntax_problem(text: str) -> str:
    if text in {"", "*"} or (len(text) <= 64 and _UID.fullmatch(text)):
        return ""
    return "This is not a UID such as 1.2.840.10008.1.2.4.50; * means any."


def override_tags_problem(text: str) -> str:
    """Weasis decodes each tag as Java does: ``0x`` or ``#`` hexadecimal, or decimal."""
    for tag in tags_of(text):
        if not _TAG.fullmatch(tag):
            return f"“{tag}” is not a tag. Write it as 0x00100010."
        number = tag.replace("#", "0x")
        if int(number, 0) > 0x7FFFFFFF:
            return f"“{tag}” is larger than Weasis can read."
    return ""


def tags_of(text: str) -> tuple[str, ...]:
    return tuple(filter(None, map(str.strip, text.split(","))))


def problems_of(text: str, check: Callable[[str], str]) -> list[str]:
    """The problems of the lines of a field, each with the number of its line."""
    return [
        f"Line {number}: {problem}"
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip() and (problem := check(line.strip()))
    ]


# Filling in


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """Lines with their values, and why others are not among them.

    ``sources`` are the template's lines that those of ``lines`` were made of.
    """

    lines: tuple[str, ...]
    sources: tuple[str, ...]
    left_out: tuple[str, ...] = ()

    @property
    def longest(self) -> tuple[int, str]:
        """The line with values that takes most of a link, after its length there."""
        lengths = (
            (len(quote(line, safe="")), line)
            for line, source in zip(self.lines, self.sources, strict=True)
            if has_placeholder(source)
        )
        return max(lengths, default=(0, ""))

    def without(self, line: str) -> Filled:
        """The same with a line left out, as there is no room for it."""
        number = self.lines.index(line)
        reason = f"{self.sources[number]}: it makes the link too long for Windows."
        return Filled(
            lines=self.lines[:number] + self.lines[number + 1 :],
            sources=self.sources[:number] + self.sources[number + 1 :],
            left_out=tuple(dict.fromkeys((*self.left_out, reason))),
        )


def values_of(selection: Selection, *, user: str = "", host: str = "") -> Values:
    """The values of the placeholders, as far as the request itself names them."""
    return {
        "patient_id": [patient.patient_id for patient in selection.patients],
        "study_uid": selection.study_instance_uids,
        "accession_number": selection.accession_numbers,
        "user": [user] if user else [],
        "host": [host] if host else [],
    }


def fill_commands(lines: Iterable[str], values: Values) -> Filled:
    """Each command, once for each of the values it names."""
    filled: dict[str, str] = {}
    left_out: list[str] = []
    for line in lines:
        names = list(dict.fromkeys(_PLACEHOLDER.findall(line)))
        chosen = list(product(*(dict.fromkeys(values.get(name, ())) for name in names)))
        made = [_filled(line, dict(zip(names, each, strict=True))) for each in chosen]
        if not chosen or len(chosen) > _MAXIMUM_LINES:
            left_out.append(_reason(line, names, len(chosen)))
            continue
        for command in filter(None, made):
            filled.setdefault(command, line)
        if not all(made):
            left_out.append(f"{line}: a value has characters that can't be sent.")
    return _filled_lines(filled.items(), left_out)


def fill_properties(lines: Iterable[str], values: Values) -> Filled:
    """Each property whose placeholders have exactly one value."""
    filled: list[tuple[str, str]] = []
    left_out: list[str] = []
    for line in lines:
        names = list(dict.fromkeys(_PLACEHOLDER.findall(line)))
        counts = [len(values.get(name, ())) for name in names]
        if any(count != 1 for count in counts):
            left_out.append(_reason(line, names, min(counts) and max(counts)))
            continue
        single = {name: values[name][0] for name in names}
        made = "".join(
            single[part] if is_name else part for part, is_name in _pieces(line)
        )
        if weasis.property_problem(made):
            left_out.append(f"{line}: a value has characters that can't be sent.")
        else:
            filled.append((made, line))
    return _filled_lines(filled, left_out)


def _filled_lines(pairs: Iterable[tuple[str, str]], left_out: Iterable[str]) -> Filled:
    made = tuple(pairs)
    return Filled(
        lines=tuple(line for line, _ in made),
        sources=tuple(source for _, source in made),
        left_out=tuple(left_out),
    )


def _pieces(line: str) -> Iterator[tuple[str, bool]]:
    """The parts of a line, and whether each is the name of a placeholder."""
    for number, part in enumerate(_PLACEHOLDER.split(line)):
        yield part, number % 2 == 1


def _reason(line: str, names: Iterable[str], count: int) -> str:
    if count:
        return f"{line}: the launch names {count} values, and this line takes fewer."
    words = " or no ".join(PLACEHOLDERS[name] for name in names)
    return f"{line}: the launch names no {words}."


def _filled(line: str, values: Mapping[str, str]) -> str:
    """The command, or nothing if a value can't stand where its placeholder does."""
    inside = [match.span() for match in _QUOTED.finditer(line)]

    def value(match: re.Match[str]) -> str:
        is_quoted = any(start < match.start() < end for start, end in inside)
        grammar = _QUOTED_VALUE if is_quoted else _BARE_VALUE
        text = values[match[1]]
        if not grammar.fullmatch(text):
            raise weasis.NotCarriableError
        return text

    try:
        command = _PLACEHOLDER.sub(value, line)
    except weasis.NotCarriableError:
        return ""
    return "" if weasis.command_problem(command) else command
