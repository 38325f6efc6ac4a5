"""Answers of all levels, put together to studies as they arrive."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from archives.clients import matches as tags
from archives.clients.base import Progress, ProgressCallback
from archives.clients.dimse.dataset import AnswerDecoder, Elements
from archives.clients.matches import integer, series_of
from archives.entities import Instance, Series, Study

_ANSWERS_PER_PROGRESS: Final = 50


@dataclass(slots=True)
class SeriesNode:
    uid: str
    series: Series | None = None
    instances: dict[str, Instance] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Known to be: its attributes are there, and as many instances as it counts."""
        if self.series is None:
            return False
        expected = self.series.number_of_series_related_instances
        return expected is not None and len(self.instances) >= expected

    def build(self) -> Series:
        series = self.series or Series(series_instance_uid=self.uid)
        return replace(series, instances=tuple(self.instances.values()))


@dataclass(slots=True)
class StudyNode:
    uid: str
    study: Study | None = None
    series: dict[str, SeriesNode] = field(default_factory=dict)

    @property
    def found(self) -> int:
        return sum(len(series.instances) for series in self.series.values())

    @property
    def expected(self) -> int | None:
        """How many instances the archive says there are, if it says so."""
        counts = [
            series.series.number_of_series_related_instances
            for series in self.series.values()
            if series.series is not None
        ]
        known = [count for count in counts if count is not None]
        of_series = sum(known) if known and len(known) == len(self.series) else None
        of_study = self.study.number_of_study_related_instances if self.study else None
        return max((n for n in (of_study, of_series) if n is not None), default=None)

    @property
    def expected_series(self) -> int | None:
        """How many series the archive says there are, if it says so."""
        return self.study.number_of_study_related_series if self.study else None

    @property
    def is_complete(self) -> bool:
        expected = self.expected
        return (
            expected is not None
            and self.found >= expected
            and all(series.series is not None for series in self.series.values())
        )

    def build(self) -> Study:
        study = self.study or Study(study_instance_uid=self.uid)
        series = tuple(
            series.build() for series in self.series.values() if series.instances
        )
        return replace(study, series=series)


class Hierarchy:
    """Studies, series and instances by UID, in the order of the answers.

    An instance that is answered twice is there once.
    """

    def __init__(
        self, decoder: AnswerDecoder, on_progress: ProgressCallback | None
    ) -> None:
        self.studies: dict[str, StudyNode] = {}
        self._decoder = decoder
        self._on_progress = on_progress
        self._answers = 0
        self._by_raw_uids: dict[tuple[bytes, bytes], SeriesNode] = {}

    def study(self, uid: str) -> StudyNode:
        node = self.studies.get(uid)
        if node is None:
            node = self.studies[uid] = StudyNode(uid)
        return node

    def add_study(self, study: Study) -> None:
        node = self.study(study.study_instance_uid)
        node.study = node.study or study
        self._answered()

    def add_series(self, elements: Elements, study_uids: frozenset[str]) -> None:
        """An answer at SERIES level to a query for these studies."""
        series = series_of(self._decoder.attributes(elements))
        study_uid = self._study_uid(elements, study_uids)
        if study_uid is None or not series.series_instance_uid:
            return
        node = self._series(study_uid, series.series_instance_uid)
        node.series = node.series or series
        self._answered()

    def add_instance(
        self, elements: Elements, study_uids: frozenset[str], series_uid: str = ""
    ) -> None:
        """An answer at IMAGE level to a query for these studies, or for one series."""
        raw_uids = (
            elements.get(tags.STUDY_INSTANCE_UID, b""),
            elements.get(tags.SERIES_INSTANCE_UID, b""),
        )
        node = None if series_uid else self._by_raw_uids.get(raw_uids)
        if node is None:
            node = self._place(elements, study_uids, series_uid)
            if node is None:
                return
            if all(raw_uids):
                self._by_raw_uids[raw_uids] = node
        text = self._decoder.text(elements)
        get = elements.get
        uid = text(get(tags.SOP_INSTANCE_UID, b""))
        if uid and uid not in node.instances:
            node.instances[uid] = Instance(
                sop_instance_uid=uid,
                sop_class_uid=text(get(tags.SOP_CLASS_UID, b"")),
                instance_number=integer(text(get(tags.INSTANCE_NUMBER, b""))),
            )
        self._answered()

    def _place(
        self, elements: Elements, study_uids: frozenset[str], wanted_series_uid: str
    ) -> SeriesNode | None:
        """The series of an answer; none if it was not asked for, or can't be told."""
        study_uid = self._study_uid(elements, study_uids)
        text = self._decoder.text(elements)
        series_uid = text(elements.get(tags.SERIES_INSTANCE_UID, b""))
        if wanted_series_uid and series_uid not in {"", wanted_series_uid}:
            return None
        series_uid = series_uid or wanted_series_uid
        if study_uid is None or not series_uid:
            return None
        return self._series(study_uid, series_uid)

    def _study_uid(self, elements: Elements, asked: frozenset[str]) -> str | None:
        """Which of the studies asked for; archives may leave the UID out for one."""
        uid = self._decoder.text(elements)(elements.get(tags.STUDY_INSTANCE_UID, b""))
        if not uid and len(asked) == 1:
            return next(iter(asked))
        return uid if uid in asked else None

    def _series(self, study_uid: str, series_uid: str) -> SeriesNode:
        series = self.study(study_uid).series
        node = series.get(series_uid)
        if node is None:
            node = series[series_uid] = SeriesNode(series_uid)
        return node

    def _answered(self) -> None:
        self._answers += 1
        if self._on_progress is None or self._answers % _ANSWERS_PER_PROGRESS:
            return
        self._on_progress(self.progress())

    def progress(self) -> Progress:
        nodes = [node for node in self.studies.values() if node.study is not None]
        return Progress(
            studies=len(nodes),
            series=sum(len(node.series) for node in self.studies.values()),
            instances=sum(node.found for node in self.studies.values()),
            total_series=_sum(node.expected_series for node in nodes),
            total_instances=_sum(node.expected for node in nodes),
        )


def _sum(counts: Iterable[int | None]) -> int | None:
    """``None`` if one of them is not known, or there is none."""
    found = list(counts)
    known = [count for count in found if count is not None]
    return sum(known) if known and len(known) == len(found) else None
