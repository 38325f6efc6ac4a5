"""Everything a manifest needs, in the fewest queries the archive answers completely.

Three questions are enough where the archive takes them: STUDY, SERIES, and one IMAGE
level query over whole studies. The last is relational (PS3.4 C.4.1.2.2.2); some archives
refuse it or answer a part, so counts are compared, and what is missing is asked for
series by series, as every archive must support.
"""

from __future__ import annotations

from collections.abc import Iterable

from archives.clients import matches as tags
from archives.clients.base import DimseEndpoint, ProgressCallback, QueryRetrieveRoot
from archives.clients.dimse.dataset import Elements
from archives.clients.dimse.hierarchy import Hierarchy, SeriesNode, StudyNode
from archives.clients.dimse.keys import (
    IMAGE,
    MANIFEST_INSTANCE_KEYS,
    SERIES,
    SERIES_KEYS,
    Keys,
    uid_list,
)
from archives.clients.dimse.knowledge import knowledge_of
from archives.clients.dimse.plan import chunks, searches, selected_parts, shares
from archives.clients.dimse.queries import Queries, together
from archives.clients.dimse.relational import resolve_parents
from archives.clients.dimse.study_level import StudyLevel
from archives.clients.selection import belongs_whole, restrict
from archives.entities import Selection, Study, WholeStudies
from archives.errors import ArchiveResponseError, ConnectionLostError


async def find_whole_studies(
    endpoint: DimseEndpoint,
    selection: Selection,
    on_progress: ProgressCallback | None,
) -> WholeStudies:
    queries = Queries(endpoint)
    selection = await resolve_parents(queries, selection)
    search = _Search(queries, selection, on_progress)
    await search.run()
    return search.result()


async def find_selected_studies(
    endpoint: DimseEndpoint, selection: Selection
) -> tuple[Study, ...]:
    queries = Queries(endpoint)
    selection = await resolve_parents(queries, selection)
    study_level = StudyLevel(queries, selection, tells_modalities=True)
    return tuple(await study_level.kept())


class _Search:
    def __init__(
        self,
        queries: Queries,
        selection: Selection,
        on_progress: ProgressCallback | None,
    ) -> None:
        self._selection = selection
        self._queries = queries
        self._study_level = StudyLevel(queries, selection)
        self._hierarchy = Hierarchy(self._queries.decoder, on_progress)
        self._on_progress = on_progress
        self._knowledge = knowledge_of(queries.endpoint)
        self._asked_alone: set[str] = set()
        self._asked_in_lists: set[str] = set()

    async def run(self) -> None:
        if self._selection.study_filter:
            await self._gather_filtered()
        else:
            await self._gather_at_once()
        await self._complete_whole_studies()
        if self._on_progress is not None:
            self._on_progress(self._hierarchy.progress())

    def result(self) -> WholeStudies:
        studies, missing = [], 0
        for node in self._hierarchy.studies.values():
            if node.study is None:
                continue
            if belongs_whole(node.study, self._selection):
                missing += max((node.expected or 0) - node.found, 0)
            else:
                missing += sum(map(_missing, node.series.values()))
            study = restrict(node.build(), self._selection)
            if study.series:
                studies.append(study)
        return WholeStudies(
            studies=tuple(studies),
            is_truncated=self._queries.is_capped or missing > 0,
            missing_instances=missing,
            dropped_studies=len(self._study_level.dropped_uids),
        )

    async def _gather_at_once(self) -> None:
        """All levels together, as far as the studies are named."""
        whole = list(dict.fromkeys(self._selection.study_instance_uids))
        parts = selected_parts(self._selection, set(whole))
        self._study_level.wanted_uids.update(whole, parts)
        await together(
            *(self._named(uids) for uids in chunks(whole)),
            *(self._part(uid, series_uids) for uid, series_uids in parts.items()),
            *(self._searched(keys) for keys in searches(self._selection)),
        )

    async def _gather_filtered(self) -> None:
        """The studies first, so that nothing is asked of those that do not pass."""
        kept = await self._study_level.kept()
        uids = self._add(kept)
        whole = [study for study in kept if belongs_whole(study, self._selection)]
        whole_uids = {study.study_instance_uid for study in whole}
        parts = selected_parts(self._selection, whole_uids)
        await together(
            self._contents(whole_uids),
            *(
                self._part_contents(uid, series_uids)
                for uid, series_uids in parts.items()
                if uid in uids
            ),
        )

    # Whole studies

    async def _named(self, uids: list[str]) -> None:
        """Studies whose UIDs are known: all levels at once."""
        await together(
            self._studies_and_series(uids), self._whole_images(frozenset(uids))
        )

    async def _studies_and_series(self, uids: list[str]) -> None:
        self._add(await self._study_level.named(uids))
        await self._series(frozenset(uids))

    async def _searched(self, keys: Keys) -> None:
        """Studies of a patient or with an accession number."""
        found = self._add(await self._study_level.searched(keys))
        new = found - self._study_level.wanted_uids
        self._study_level.wanted_uids |= new
        await self._contents(new)

    async def _contents(self, study_uids: Iterable[str]) -> None:
        """Series and instances of whole studies that are known."""
        nodes = [self._hierarchy.study(uid) for uid in study_uids]
        await together(
            *(
                query
                for chunk in shares(nodes)
                for query in (self._series(chunk), self._whole_images(chunk))
            )
        )

    def _add(self, studies: Iterable[Study]) -> set[str]:
        """Take answers at STUDY level; their UIDs."""
        uids = set()
        for study in studies:
            self._hierarchy.add_study(study)
            uids.add(study.study_instance_uid)
        return uids

    async def _series(self, study_uids: frozenset[str]) -> None:
        def take(elements: Elements) -> bool:
            self._hierarchy.add_series(elements, study_uids)
            return True

        keys = SERIES_KEYS | self._parents(study_uids)
        try:
            await self._queries.each(SERIES, keys, take)
        except ArchiveResponseError:
            if len(study_uids) == 1:
                raise
            # a list is relational at this level: asked again study by study

    async def _whole_images(self, study_uids: frozenset[str]) -> None:
        """One IMAGE level query over whole studies, unless it is known to be in vain."""
        if len(study_uids) > 1 and not self._knowledge.answers_lists:
            each = (self._whole_images(frozenset({uid})) for uid in study_uids)
            await together(*each)
            return
        nodes = [self._hierarchy.study(uid) for uid in study_uids]
        expected = sum(node.expected or 0 for node in nodes)
        if not self._knowledge.answers_whole_studies(expected):
            return
        is_list = len(study_uids) > 1
        (self._asked_in_lists if is_list else self._asked_alone).update(study_uids)

        def take(elements: Elements) -> bool:
            self._hierarchy.add_instance(elements, study_uids)
            return True

        keys = {tags.STUDY_INSTANCE_UID: uid_list(study_uids)}
        try:
            await self._queries.each(IMAGE, MANIFEST_INSTANCE_KEYS | keys, take)
        except ArchiveResponseError:
            if not is_list:
                self._knowledge.remember_limit(0)
        except ConnectionLostError:
            pass  # some abort what they do not support; if it is down, the rest says so

    async def _complete_whole_studies(self) -> None:
        incomplete = [
            node
            for node in self._hierarchy.studies.values()
            if node.study is not None
            and belongs_whole(node.study, self._selection)
            and not node.is_complete
        ]
        await together(*map(self._complete, incomplete))

    async def _complete(self, node: StudyNode) -> None:
        """What a query over whole studies left out: first asked for by study alone."""
        if node.uid not in self._asked_alone:
            answered = node.found
            await self._whole_images(frozenset({node.uid}))
            if node.uid in self._asked_in_lists and node.found > answered:
                self._knowledge.answers_lists = False
        if node.is_complete:
            return
        answered = node.found
        await self._series(frozenset({node.uid}))
        rest = [series for series in node.series.values() if not series.is_complete]
        await together(*(self._images(node.uid, series.uid) for series in rest))
        if node.uid in self._asked_alone and node.found > answered:
            self._knowledge.remember_limit(node.found)

    # Selected series and instances

    async def _part(self, study_uid: str, series_uids: list[str]) -> None:
        """A study of which series are selected; no series means an unknown one."""
        await together(
            self._study(study_uid), self._part_contents(study_uid, series_uids)
        )

    async def _study(self, uid: str) -> None:
        self._add(await self._study_level.ask({tags.STUDY_INSTANCE_UID: uid}))

    async def _part_contents(self, study_uid: str, series_uids: list[str]) -> None:
        await together(
            self._series(frozenset({study_uid})),
            *(self._images(study_uid, series_uid) for series_uid in series_uids),
        )
        if not series_uids:
            series = self._hierarchy.study(study_uid).series
            await together(*(self._images(study_uid, uid) for uid in list(series)))

    async def _images(self, study_uid: str, series_uid: str) -> None:
        def take(elements: Elements) -> bool:
            self._hierarchy.add_instance(elements, frozenset({study_uid}), series_uid)
            return True

        keys = MANIFEST_INSTANCE_KEYS | self._parents(frozenset({study_uid}))
        keys |= {tags.SERIES_INSTANCE_UID: series_uid}
        await self._queries.each(IMAGE, keys, take)

    def _parents(self, study_uids: frozenset[str]) -> Keys:
        """Unique keys of the levels above (PS3.4 C.4.1.2.1), as far as known."""
        keys = {tags.STUDY_INSTANCE_UID: uid_list(study_uids)}
        if self._queries.endpoint.root == QueryRetrieveRoot.PATIENT:
            studies = [self._hierarchy.study(uid).study for uid in study_uids]
            patient_ids = {one.patient.patient_id for one in studies if one is not None}
            if len(patient_ids) == 1:
                keys[tags.PATIENT_ID] = patient_ids.pop()
        return keys


def _missing(series: SeriesNode) -> int:
    if series.series is None or not series.instances:
        return 0
    expected = series.series.number_of_series_related_instances
    return max((expected or 0) - len(series.instances), 0)
