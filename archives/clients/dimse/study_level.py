"""Which studies a selection names, asked at STUDY level and filtered there."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from archives.clients import matches as tags
from archives.clients.base import QueryRetrieveRoot
from archives.clients.dimse.keys import (
    MODALITIES_KEYS,
    SERIES,
    STUDY,
    STUDY_KEYS,
    UNIVERSAL_ID_KEYS,
    Keys,
    uid_list,
)
from archives.clients.dimse.plan import chunks, searches
from archives.clients.dimse.queries import Queries, together
from archives.clients.matches import study_of
from archives.clients.patient_check import is_of_patient
from archives.clients.selection import (
    asks_universal_ids,
    belongs_whole,
    is_near_miss,
)
from archives.clients.study_filter import keep
from archives.entities import Selection, Study


class StudyLevel:
    """Asks for the studies of a selection of which every part names its study.

    ``wanted_uids`` are taken whatever else the answer says; ``dropped_uids`` are answers
    to something else than what was asked. Modalities cost the archive time, and are only
    asked for where the filter needs them, or ``tells_modalities``.
    """

    def __init__(
        self, queries: Queries, selection: Selection, *, tells_modalities: bool = False
    ) -> None:
        self.wanted_uids: set[str] = set()
        self.dropped_uids: set[str] = set()
        self._queries = queries
        self._selection = selection
        self._keys = dict(STUDY_KEYS)
        if tells_modalities or selection.study_filter.modalities_in_study:
            self._keys |= MODALITIES_KEYS
        if asks_universal_ids(selection):
            self._keys |= UNIVERSAL_ID_KEYS

    async def ask(self, keys: Keys) -> list[Study]:
        """The answers that belong to the selection, each study once."""
        found: dict[str, Study] = {}
        for attributes in await self._queries.attributes(STUDY, self._keys | keys):
            study = study_of(attributes)
            if self._belongs(study):
                found.setdefault(study.study_instance_uid, study)
            elif not is_near_miss(study, self._selection):
                self.dropped_uids.add(study.study_instance_uid)
        return list(found.values())

    async def named(self, uids: list[str]) -> list[Study]:
        """Studies by their UIDs, in one query if the archive takes a list."""
        found = await self.ask({tags.STUDY_INSTANCE_UID: uid_list(uids)})
        known = {study.study_instance_uid for study in found}
        if len(uids) > 1 and not known.issuperset(uids):
            # no answer to a list need not mean that there are none
            rest = [uid for uid in uids if uid not in known]
            keys = [{tags.STUDY_INSTANCE_UID: uid} for uid in rest]
            found += chain.from_iterable(await together(*map(self.ask, keys)))
        return found

    async def searched(self, keys: Keys) -> list[Study]:
        """Studies of a patient or with an accession number."""
        found = await self.ask(keys)
        if found or not keys.get(tags.MODALITIES_IN_STUDY):
            return found
        # to match by modality is optional: some answer nothing instead of ignoring it
        return await self.ask(keys | MODALITIES_KEYS)

    async def kept(self) -> list[Study]:
        """All studies of the selection that pass its filter, in the order of the answers."""
        selection = self._selection
        parts = (*selection.series, *selection.instances)
        of_parts = [part.study_instance_uid for part in parts]
        uids = dict.fromkeys([*selection.study_instance_uids, *filter(None, of_parts)])
        self.wanted_uids.update(uids)
        answers = await together(
            *map(self.named, chunks(list(uids))),
            *map(self.searched, searches(selection)),
        )
        found: dict[str, Study] = {}
        for study in chain.from_iterable(answers):
            found.setdefault(study.study_instance_uid, study)
        return await keep(found.values(), selection.study_filter, self._modalities)

    def _belongs(self, study: Study) -> bool:
        uid = study.study_instance_uid
        return (
            bool(uid)
            and is_of_patient(study.patient, self._selection.study_filter)
            and (uid in self.wanted_uids or belongs_whole(study, self._selection))
        )

    async def _modalities(self, study: Study) -> Iterable[str]:
        """Those of the series, for archives that do not list them at STUDY level."""
        keys = {
            tags.STUDY_INSTANCE_UID: study.study_instance_uid,
            tags.SERIES_INSTANCE_UID: "",
            tags.MODALITY: "",
        }
        if self._queries.endpoint.root == QueryRetrieveRoot.PATIENT:
            keys[tags.PATIENT_ID] = study.patient.patient_id
        found = await self._queries.attributes(SERIES, keys)
        uid = study.study_instance_uid
        return {
            series.get(tags.MODALITY, "")
            for series in found
            if series.get(tags.STUDY_INSTANCE_UID) in {None, "", uid}
        }
