"""QIDO-RS (PS3.18 10.6) among what a launch has.

The archive is only asked below studies of the launch, and its answers are checked: what
the launch does not have, nobody learns of.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Final
from urllib.parse import parse_qsl

from archives.clients import (
    DicomWebArchive,
    DicomWebEndpoint,
    JsonObject,
    Level,
    run_all,
)
from launcher.gateway import dicom_json
from launcher.gateway.contents import Contents
from launcher.gateway.dicom_json import Rewriting
from launcher.gateway.resources import Resource

Pairs = tuple[tuple[str, str], ...]

MAXIMUM_PARAMETERS: Final = 200
_STUDIES_AT_ONCE: Final = 20
_ATTRIBUTE: Final = re.compile(
    r"(?:[0-9A-Fa-f]{8}|[A-Z][A-Za-z0-9]{1,63})"
    r"(?:\.(?:[0-9A-Fa-f]{8}|[A-Z][A-Za-z0-9]{1,63})){0,5}"
)
_OPTIONS: Final = frozenset({"fuzzymatching", "includedefaults"})
_UID_KEYS: Final = {
    "StudyInstanceUID": Level.STUDIES,
    "0020000D": Level.STUDIES,
    "SeriesInstanceUID": Level.SERIES,
    "0020000E": Level.SERIES,
    "SOPInstanceUID": Level.INSTANCES,
    "00080018": Level.INSTANCES,
}
_NAMES: Final = {
    Level.STUDIES: "StudyInstanceUID",
    Level.SERIES: "SeriesInstanceUID",
    Level.INSTANCES: "SOPInstanceUID",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is searched for; ``uids`` are those that are asked for by level, if any."""

    keys: Pairs = ()
    fields: Pairs = ()
    uids: Mapping[Level, frozenset[str]] = field(default_factory=dict)
    limit: int | None = None
    offset: int = 0

    def wants(self, level: Level) -> Callable[[str], bool]:
        wanted = self.uids.get(level)
        return lambda uid: wanted is None or uid in wanted


@dataclass(frozen=True, slots=True)
class Target:
    """A search of the archive, and the UIDs of the study and series it is below."""

    path: tuple[str, ...]
    keys: Pairs
    parents: tuple[str, ...]


def question_of(query: str) -> Question:
    """Parameters that no archive has to see are left out; raises ``ValueError``."""
    keys, fields = [], []
    uids: dict[Level, frozenset[str]] = {}
    numbers: dict[str, int] = {}
    for name, value in parse_qsl(query, max_num_fields=MAXIMUM_PARAMETERS):
        if name in ("limit", "offset"):
            numbers[name] = int(value)
        elif name == "includefield":  # one by one: not every archive reads lists
            fields += [(name, each) for each in value.split(",") if each]
        elif level := _UID_KEYS.get(name.upper() if name[:1].isdigit() else name):
            asked = frozenset(re.split(r"[,\\]", value))
            if asked != {"*"}:
                uids[level] = asked & uids.get(level, asked)
        elif name in _OPTIONS or _ATTRIBUTE.fullmatch(name):
            keys.append((name, value))
    if any(number < 0 for number in numbers.values()):
        raise ValueError("limit and offset are not negative.")
    return Question(
        keys=tuple(keys),
        fields=tuple(fields),
        uids=uids,
        limit=numbers.get("limit"),
        offset=numbers.get("offset", 0),
    )


def targets(
    question: Question,
    resource: Resource,
    contents: Contents,
    endpoint: DicomWebEndpoint,
) -> Iterator[Target]:
    """The searches that together answer the question; none if the launch has nothing."""
    studies = _studies(question, resource, contents)
    if resource.level is Level.STUDIES:
        at_once = _STUDIES_AT_ONCE if endpoint.quirks.takes_uid_lists else 1
        for start in range(0, len(studies), at_once):
            uids = ",".join(studies[start : start + at_once])
            yield Target(("studies",), ((_NAMES[Level.STUDIES], uids),), ())
        return
    for study in studies:
        series = [
            uid
            for uid in contents.series_of(study)
            if question.wants(Level.SERIES)(uid) and resource.series in ("", uid)
        ]
        if not series:
            continue
        if resource.level is Level.SERIES:
            key = _key(Level.SERIES, question, series)
            yield Target(("studies", study, "series"), key, (study,))
        else:
            yield from _instances(question, resource, contents, endpoint, study, series)


def _studies(question: Question, resource: Resource, contents: Contents) -> list[str]:
    wants = question.wants(Level.STUDIES)
    return [
        uid for uid in contents.studies if wants(uid) and resource.study in ("", uid)
    ]


def _instances(
    question: Question,
    resource: Resource,
    contents: Contents,
    endpoint: DicomWebEndpoint,
    study: str,
    series: Iterable[str],
) -> Iterator[Target]:
    is_narrow = resource.series or question.uids.keys() - {Level.STUDIES}
    if not is_narrow and endpoint.quirks.is_relational:
        yield Target(("studies", study, "instances"), (), (study,))
        return
    wants = question.wants(Level.INSTANCES)
    for uid in series:
        found = [each for each in contents.instances_of(study, uid) if wants(each)]
        if found:
            path = ("studies", study, "series", uid, "instances")
            key = _key(Level.INSTANCES, question, found)
            yield Target(path, key, (study, uid))


def _key(level: Level, question: Question, found: Collection[str]) -> Pairs:
    """One UID can be asked for; of several, those not wanted are dropped later."""
    if level not in question.uids or len(found) > 1:
        return ()
    return tuple((_NAMES[level], uid) for uid in found)


async def search(
    archive: DicomWebArchive,
    level: Level,
    question: Question,
    asked: Iterable[Target],
    contents: Contents,
    rewriting: Callable[[tuple[str, ...]], Rewriting],
) -> bytes:
    """The matches that the launch has, as DICOM JSON; raises ``ArchiveError``.

    ``rewriting`` is that of answers from a path of the archive.
    """
    searches = list(asked)
    question = replace(question, keys=_tellable(question.keys, contents))
    answers = await _answers(archive, level, question, searches)
    if level is Level.STUDIES:
        lacking = _lacking(searches, answers)
        searches += lacking
        answers += await _answers(archive, level, question, lacking)
    matches = (
        found
        for each, answer in zip(searches, answers, strict=True)
        for found in _found(
            answer, level, question, each, contents, rewriting(each.path)
        )
    )
    end = None if question.limit is None else question.offset + question.limit
    return dicom_json.array(islice(matches, question.offset, end))


def _tellable(keys: Pairs, contents: Contents) -> Pairs:
    """Without those whose matches would tell of what the launch does not have."""
    is_whole = contents.whole_studies.issuperset(contents.studies)
    hidden = dicom_json.computed(is_whole=is_whole)
    names = {*hidden, *hidden.values()}
    return tuple((name, value) for name, value in keys if name not in names)


async def _answers(
    archive: DicomWebArchive,
    level: Level,
    question: Question,
    searches: Iterable[Target],
) -> list[list[JsonObject]]:
    return await run_all(
        [
            archive.search(level, each.path, each.keys + question.keys, question.fields)
            for each in searches
        ]
    )


def _lacking(
    searches: Iterable[Target], answers: Iterable[Iterable[JsonObject]]
) -> list[Target]:
    """Searches for studies of a list that were not found, one by one.

    Archives need not understand lists (PS3.18 8.3.4.1), and don't say so.
    """
    lacking = []
    for each, answer in zip(searches, answers, strict=True):
        [(name, listed)] = each.keys
        uids = listed.split(",")
        found = {dicom_json.uid(one, dicom_json.STUDY_INSTANCE_UID) for one in answer}
        if len(uids) > 1:
            lacking += [
                Target(each.path, ((name, uid),), ())
                for uid in uids
                if uid not in found
            ]
    return lacking


def _found(
    answer: Iterable[JsonObject],
    level: Level,
    question: Question,
    target: Target,
    contents: Contents,
    rewriting: Rewriting,
) -> Iterator[bytes]:
    depth = list(Level).index(level) + 1
    wants = question.wants(level)
    for each in answer:
        uids = dicom_json.identify(each, contents, target.parents, depth)
        if uids and wants(uids[-1]):
            own = dicom_json.of_launch(each, contents, uids)
            yield dicom_json.dumps(rewriting.rewritten(own, uids))
