"""What a launch has of one archive: the instances its manifest lists.

Kept in this process for the builds used last; Redis has them all.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from asgiref.sync import sync_to_async

from archives.entities import InstanceIdentifier, Selection, Study
from launcher import store
from launcher.models import Build
from launcher.selections import names_all_of
from launcher.waiting import until_done

# Weasis waits 15 s for the first byte of an image.
REBUILD_DEADLINE: Final = 12.0
MAXIMUM_KEPT: Final = 64


@dataclass(frozen=True, slots=True)
class Listed:
    """An instance, and what is known of it without fetching it."""

    identifier: InstanceIdentifier
    sop_class_uid: str
    modality: str


SeriesContents = Mapping[str, Collection[str]]


@dataclass(frozen=True, slots=True)
class Contents:
    """Instances by their UID, and UIDs by study and series, in the archive's order.

    ``whole_studies`` and ``whole_series`` are those of which everything is selected: an
    answer that the hub passes on unread may have all of them, and no others.
    """

    instances: Mapping[str, Listed] = field(default_factory=dict)
    studies: Mapping[str, SeriesContents] = field(default_factory=dict)
    whole_studies: frozenset[str] = frozenset()
    whole_series: frozenset[str] = frozenset()

    def find(self, sop_instance_uid: str, series: str, study: str) -> Listed | None:
        """The instance, if it is where the request says; empty parents are not checked."""
        found = self.instances.get(sop_instance_uid)
        if found is None:
            return None
        identifier = found.identifier
        is_consistent = study in {"", identifier.study_instance_uid} and (
            series in {"", identifier.series_instance_uid}
        )
        return found if is_consistent else None

    def series_of(self, study: str) -> SeriesContents:
        return self.studies.get(study, {})

    def instances_of(self, study: str, series: str) -> Collection[str]:
        return self.series_of(study).get(series, ())

    def below(self, study: str, series: str = "", instance: str = "") -> list[Listed]:
        """The instances of a study or series, or the one that is named."""
        return [
            self.instances[uid]
            for one, uids in self.series_of(study).items()
            if series in ("", one)
            for uid in uids
            if instance in ("", uid)
        ]

    def middle_of(self, study: str, series: str = "") -> Listed | None:
        """What stands for a series, or for the study, in pictures."""
        found = self.series_of(study)
        uids = list(found.get(series or next(iter(found), ""), ()))
        return self.instances.get(uids[len(uids) // 2]) if uids else None

    def is_whole(self, study: str, series: str) -> bool:
        """Of a series, or of a study if ``series`` is empty."""
        return study in self.whole_studies or series in self.whole_series


_kept: OrderedDict[tuple[str, int], Contents] = OrderedDict()


async def contents_of(build_id: str, archive_id: int) -> Contents:
    """Empty if the archive has nothing, or the build is lost and can't be repeated."""
    key = build_id, archive_id
    if key in _kept:
        _kept.move_to_end(key)
        return _kept[key]
    answer = await store.load_answer(*key)
    if answer is None:  # Redis lost it: ask the archives again
        async for _ in until_done(
            build_id, [archive_id], was_finished=True, deadline=REBUILD_DEADLINE
        ):
            pass
        answer = await store.load_answer(*key)
    if answer is None:
        return Contents()
    build = await sync_to_async(Build.objects.filter(pk=build_id).first)()
    selection = build.get_selection() if build else Selection()
    _kept[key] = contents = index(answer.studies, selection)
    while len(_kept) > MAXIMUM_KEPT:
        _kept.popitem(last=False)
    return contents


def index(studies: Iterable[Study], selection: Selection) -> Contents:
    """The contents that these studies are, found for this selection."""
    found = list(studies)
    whole = frozenset(
        study.study_instance_uid for study in found if names_all_of(selection, study)
    )
    named = {item.series_instance_uid for item in selection.series}
    return Contents(
        instances={
            instance.sop_instance_uid: Listed(
                InstanceIdentifier(
                    study_instance_uid=study.study_instance_uid,
                    series_instance_uid=series.series_instance_uid,
                    sop_instance_uid=instance.sop_instance_uid,
                ),
                instance.sop_class_uid,
                series.modality,
            )
            for study in found
            for series in study.series
            for instance in series.instances
        },
        studies={
            study.study_instance_uid: {
                series.series_instance_uid: dict.fromkeys(
                    instance.sop_instance_uid for instance in series.instances
                )
                for series in study.series
            }
            for study in found
        },
        whole_studies=whole,
        whole_series=frozenset(
            series.series_instance_uid
            for study in found
            for series in study.series
            if study.study_instance_uid in whole or series.series_instance_uid in named
        ),
    )
