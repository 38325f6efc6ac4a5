"""The series and instances of one study, by the fastest way that gives all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from archives.clients.dicomweb.memory import Resource
from archives.clients.dicomweb.search import Answers, Level, Search, path_to
from archives.clients.matches import (
    INSTANCE_ATTRIBUTES,
    NUMBER_OF_SERIES_RELATED_INSTANCES,
    SERIES_ATTRIBUTES,
    SERIES_INSTANCE_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    Attributes,
    count,
    instance_of,
    series_of,
)
from archives.clients.parallel import run_all
from archives.entities import Instance, Selection, Study
from archives.errors import ArchiveResponseError

SERIES_TAGS: Final = (*SERIES_ATTRIBUTES, NUMBER_OF_SERIES_RELATED_INSTANCES)
INSTANCE_TAGS: Final = (*INSTANCE_ATTRIBUTES, SERIES_INSTANCE_UID, STUDY_INSTANCE_UID)
_WHOLE_STUDY_TAGS: Final = (*INSTANCE_TAGS, *SERIES_ATTRIBUTES)
_NOT_SUPPORTED: Final = frozenset({"400", "405", "406", "501"})
_SINGLE_INSTANCES: Final = 16


class StudyContents:
    """Gathers a study; every instance is kept once, in the series it was found in first."""

    def __init__(
        self, search: Search, study: Study, on_change: Callable[[int, int], None]
    ) -> None:
        """``on_change`` is told how many series and instances came in addition."""
        self._search = search
        self._study = study
        self._on_change = on_change
        self._path = path_to("studies", study.study_instance_uid)
        self._reads_whole_studies = search.endpoint.quirks.reads_whole_studies
        self._series: dict[str, Attributes] = {}
        self._instances: dict[str, dict[str, Instance]] = {}
        self._known: set[str] = set()
        self._expected = study.number_of_study_related_instances or None
        self._wanted_series: list[str] = []
        self.is_truncated = False

    @property
    def missing_instances(self) -> int:
        """How many the archive counts and did not name, by the counts it gave."""
        gaps = (
            _count_of(self._series[uid]) - len(self._instances.get(uid, ()))
            for uid in self._wanted_series
        )
        in_study = (self._expected or 0) - len(self._known)
        return max(0, in_study, sum(max(0, gap) for gap in gaps))

    def study(self) -> Study:
        series = (
            series_of(
                self._series.get(uid, {SERIES_INSTANCE_UID: uid}), tuple(found.values())
            )
            for uid, found in self._instances.items()
        )
        return replace(self._study, series=tuple(series))

    async def gather_all(self) -> None:
        """Everything in the study: in one request if it is small, else by series at once."""
        is_asked_whole = self._fits_one_request()
        if is_asked_whole:
            resource = await self._gather_instances(self._path, self._expected)
            # only metadata has all attributes of the series with each instance
            if resource is Resource.METADATA:
                return
        await self._gather_series()
        self._wanted_series = list(self._series)
        await run_all(
            [self._gather_series_instances(uid) for uid in self._wanted_series]
        )
        is_short = len(self._known) < (self._expected or 0)
        if is_short and not is_asked_whole and self._reads_whole_studies:
            await self._gather_instances(self._path, self._expected)

    async def gather_selected(self, selection: Selection) -> None:
        """What the selection names in the study: whole series, and single instances."""
        uid = self._study.study_instance_uid
        instances = [
            each for each in selection.instances if each.study_instance_uid == uid
        ]
        is_all_simpler = len(instances) > _SINGLE_INSTANCES or (
            not self._search.endpoint.quirks.is_relational
            and not all(each.series_instance_uid for each in instances)
        )
        if is_all_simpler:
            await self.gather_all()
            return
        self._expected = None
        await self._gather_series()
        self._wanted_series = [
            each.series_instance_uid
            for each in selection.series
            if each.study_instance_uid == uid
            and each.series_instance_uid in self._series
        ]
        await run_all(
            [
                *map(self._gather_series_instances, self._wanted_series),
                *(
                    self._gather_instance(
                        each.sop_instance_uid, each.series_instance_uid
                    )
                    for each in instances
                ),
            ]
        )

    def _fits_one_request(self) -> bool:
        """Small, or in series so small that a request for each costs more than it gains."""
        expected, series = self._expected, self._study.number_of_study_related_series
        if not expected or not self._reads_whole_studies:
            return False
        if series == 1 or expected < 100:
            return True
        return expected < 2000 and expected < 20 * (series or 1)

    async def _gather_series(self) -> None:
        answers = await self._search.find(
            Level.SERIES,
            f"{self._path}/series",
            [],
            (*SERIES_TAGS, STUDY_INSTANCE_UID),
            expected=self._study.number_of_study_related_series or None,
        )
        for match in answers.matches:
            if self._is_ours(match):
                self._series[match[SERIES_INSTANCE_UID]] = match

    async def _gather_series_instances(self, series_uid: str) -> None:
        expected = _count_of(self._series[series_uid]) or None
        if expected is None or len(self._instances.get(series_uid, ())) < expected:
            path = f"{self._path}/{path_to('series', series_uid)}"
            await self._gather_instances(path, expected, series_uid)

    async def _gather_instances(
        self, path: str, expected: int | None, series_uid: str = ""
    ) -> Resource | None:
        """Ask one way, and the other if that is not all; returns what was enough."""
        memory = self._search.memory
        failure: ArchiveResponseError | None = None
        failed: set[Resource] = set()
        for resource in memory.order(expected):
            try:
                answers = await self._ask(resource, path, expected, bool(series_uid))
            except ArchiveResponseError as error:
                failure = error
                if error.status in _NOT_SUPPORTED:
                    failed.add(resource)
                continue
            self.is_truncated |= answers.is_truncated
            added = self._add(answers.matches, series_uid)
            if added >= (expected or 1):
                memory.complete(resource, added, answers.seconds)
                memory.unusable |= failed
                return resource
            failed.add(resource)
        if failure and not self._known:
            raise failure
        return None

    async def _ask(
        self, resource: Resource, path: str, expected: int | None, is_series: bool
    ) -> Answers:
        tags = INSTANCE_TAGS if is_series else _WHOLE_STUDY_TAGS
        if resource is Resource.METADATA:
            return await self._search.metadata(path, tags)
        return await self._search.find(
            Level.INSTANCES, f"{path}/instances", [], tags, expected=expected
        )

    async def _gather_instance(self, sop_instance_uid: str, series_uid: str) -> None:
        parent = (
            f"{self._path}/{path_to('series', series_uid)}"
            if series_uid
            else self._path
        )
        answers = await self._search.find(
            Level.INSTANCES,
            f"{parent}/instances",
            [("SOPInstanceUID", sop_instance_uid)],
            _WHOLE_STUDY_TAGS,
            expected=1,
        )
        matches = [
            m for m in answers.matches if m.get(SOP_INSTANCE_UID) == sop_instance_uid
        ]
        self._add(matches, series_uid)

    def _add(self, matches: Iterable[Attributes], series_uid: str) -> int:
        """How many of them are instances of the study, and of the series if it is named."""
        before = len(self._instances), len(self._known)
        seen = set()
        for match in matches:
            uid = match.get(SOP_INSTANCE_UID, "")
            parent = match.get(SERIES_INSTANCE_UID) or series_uid
            if not uid or not parent or parent != (series_uid or parent):
                continue
            if not self._is_ours(match):
                continue
            seen.add(uid)
            if uid not in self._known:
                self._known.add(uid)
                self._series.setdefault(parent, match)
                self._instances.setdefault(parent, {})[uid] = instance_of(match)
        self._on_change(len(self._instances) - before[0], len(self._known) - before[1])
        return len(seen)

    def _is_ours(self, match: Attributes) -> bool:
        uid = self._study.study_instance_uid
        return match.get(STUDY_INSTANCE_UID, uid) in ("", uid)


def _count_of(series: Attributes) -> int:
    return count(series.get(NUMBER_OF_SERIES_RELATED_INSTANCES, "")) or 0
