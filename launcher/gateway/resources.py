"""The resources of PS3.18 10 that the gateway knows, by their paths."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final
from urllib.parse import parse_qsl, urlencode

from archives.clients import Level


class Kind(Enum):
    SEARCH = auto()
    OBJECTS = auto()  # DICOM files: an instance, or all of a series or study
    METADATA = auto()
    PICTURE = auto()  # rendered, thumbnail
    PART = auto()  # of an instance: frames, bulk data


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """``level`` is what is searched; ``rest`` what stands behind the UIDs."""

    kind: Kind
    study: str = ""
    series: str = ""
    instance: str = ""
    level: Level | None = None
    rest: tuple[str, ...] = ()

    @property
    def path(self) -> tuple[str, ...]:
        """Its segments, with the UIDs as they are."""
        pairs = (
            ("studies", self.study),
            ("series", self.series),
            ("instances", self.instance),
        )
        parents = [part for pair in pairs if pair[1] for part in pair]
        searched = [self.level.name.lower()] if self.level else []
        return (*parents, *searched, *self.rest)


_LEVELS: Final = {level.name.lower(): level for level in Level}
_PICTURES: Final = frozenset({"rendered", "thumbnail"})
_FRAMES: Final = re.compile(r"[1-9][0-9]{0,8}(?:,[1-9][0-9]{0,8}){0,999}")
_BULK_DATA: Final = frozenset({"bulk", "bulkdata", "pixeldata"})
_BYTES: Final = frozenset({"offset", "length"})
_NUMBER: Final = re.compile(r"-?[0-9]{1,19}")
_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_MAXIMUM_DEPTH: Final = 32


def parse(path: str) -> Resource | None:
    """The resource, or ``None``; a UID may be any text that is a segment."""
    segments = path.split("/")
    if "" in segments:
        return None
    match segments:
        case ["studies" | "series" | "instances"]:
            return _search(segments[-1])
        case ["studies", study, "series" | "instances"]:
            return _search(segments[-1], study)
        case ["studies", study, "series", series, "instances"]:
            return _search(segments[-1], study, series)
        case ["studies", study, "series", series, "instances", instance, *rest]:
            return _below(study, series, instance, rest)
        case ["studies", study, "series", series, *rest]:
            return _below(study, series, "", rest)
        case ["studies", study, *rest]:
            return _below(study, "", "", rest)
    return None


def part_query(resource: Resource, query: str) -> str:
    """Which bytes of bulk data are asked for: ``offset`` and ``length``, if they are.

    Archives tell so pieces of one file apart. Everything else is left out; raises
    ``ValueError`` for what is no number.
    """
    if resource.kind is not Kind.PART or resource.rest[0] not in _BULK_DATA:
        return ""
    asked = [
        (name, value)
        for name, value in parse_qsl(query, keep_blank_values=True, max_num_fields=10)
        if name in _BYTES
    ]
    if not all(_NUMBER.fullmatch(value) for _, value in asked):
        raise ValueError("An offset or length is no number.")
    return urlencode(asked)


def _search(level: str, study: str = "", series: str = "") -> Resource:
    return Resource(kind=Kind.SEARCH, level=_LEVELS[level], study=study, series=series)


def _below(
    study: str, series: str, instance: str, rest: Sequence[str]
) -> Resource | None:
    kind = _kind(rest, is_instance=bool(instance))
    if kind is None:
        return None
    return Resource(
        kind=kind, study=study, series=series, instance=instance, rest=tuple(rest)
    )


def _kind(rest: Sequence[str], *, is_instance: bool) -> Kind | None:
    match rest:
        case []:
            return Kind.OBJECTS
        case ["metadata"]:
            return Kind.METADATA
        case [name] if name in _PICTURES:
            return Kind.PICTURE
        case ["frames", frames, *picture] if is_instance and _FRAMES.fullmatch(frames):
            if not picture:
                return Kind.PART
            return (
                Kind.PICTURE if picture[1:] == [] and picture[0] in _PICTURES else None
            )
        case [name, *names] if is_instance and name in _BULK_DATA:
            is_plain = len(names) <= _MAXIMUM_DEPTH and all(map(_NAME.fullmatch, names))
            return Kind.PART if is_plain else None
    return None
