"""Everything a manifest needs of a selection, over DICOMweb."""

from __future__ import annotations

from collections.abc import Iterable

from archives.clients.base import Progress, ProgressCallback
from archives.clients.dicomweb.contents import StudyContents
from archives.clients.dicomweb.named_studies import find_named_studies
from archives.clients.dicomweb.relational import name_studies
from archives.clients.dicomweb.search import Search
from archives.clients.parallel import run_all
from archives.clients.selection import belongs_whole, restrict
from archives.entities import Selection, Study, WholeStudies


async def find_whole_studies(
    search: Search, selection: Selection, on_progress: ProgressCallback | None
) -> WholeStudies:
    selection = await name_studies(search, selection)
    named = await find_named_studies(search, selection)
    studies = list(named.studies.values())
    counter = _Counter(studies, on_progress)
    contents = [StudyContents(search, study, counter.add) for study in studies]
    await run_all(
        [
            each.gather_all()
            if belongs_whole(study, selection)
            else each.gather_selected(selection)
            for each, study in zip(contents, studies, strict=True)
        ]
    )
    found = (restrict(each.study(), selection) for each in contents)
    missing = sum(each.missing_instances for each in contents)
    return WholeStudies(
        studies=tuple(study for study in found if study.series),
        is_truncated=(
            named.is_truncated
            or missing > 0
            or any(each.is_truncated for each in contents)
        ),
        missing_instances=missing,
        dropped_studies=len(named.dropped),
    )


async def find_selected_studies(
    search: Search, selection: Selection
) -> tuple[Study, ...]:
    selection = await name_studies(search, selection)
    named = await find_named_studies(search, selection)
    return tuple(named.studies.values())


class _Counter:
    """Tells how far it is, after every answer."""

    def __init__(
        self, studies: Iterable[Study], on_progress: ProgressCallback | None
    ) -> None:
        studies = tuple(studies)
        self._on_progress = on_progress
        self._studies = len(studies)
        self._series = self._instances = 0
        self._total_series = _sum(s.number_of_study_related_series for s in studies)
        self._total_instances = _sum(
            s.number_of_study_related_instances for s in studies
        )
        self.add(0, 0)

    def add(self, series: int, instances: int) -> None:
        self._series += series
        self._instances += instances
        if self._on_progress:
            self._on_progress(
                Progress(
                    studies=self._studies,
                    series=self._series,
                    instances=self._instances,
                    total_series=self._total_series,
                    total_instances=self._total_instances,
                )
            )


def _sum(counts: Iterable[int | None]) -> int | None:
    known = list(counts)
    return None if None in known else sum(filter(None, known))
