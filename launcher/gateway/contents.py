"""What a launch has of one archive: the instances its manifest lists.

Kept in this process for the answers used last; Redis has them all.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final
from weakref import WeakKeyDictionary

from redis.exceptions import RedisError

from archives.entities import InstanceIdentifier, Selection, Study
from launcher import store
from launcher.models import ArchiveOutcome, Build
from launcher.selections import names_all_of
from launcher.threads import in_shared_thread
from launcher.waiting import until_done

# Weasis waits 15 s for the first byte of an image.
DEADLINE: Final = 12.0
# Of instances in all that is kept: about 100 MB.
MAXIMUM_KEPT: Final = 200_000
# How long an instance that is known is served without asking Redis for a newer answer,
# since viewers ask for thousands (seconds).
FRESH: Final = 1.0


@dataclass(frozen=True, slots=True)
class Listed:
    """An instance, and what is known of it without fetching it."""

    identifier: InstanceIdentifier
    sop_class_uid: str
    modality: str


class Patience(Enum):
    """What a request waits for, if the archive's answer is not there.

    ``FOR_LOST``: an answer that was there once, to be given again. ``FOR_FIRST``: the
    first one, too, since it is asked for without a manifest that lists it.
    """

    NONE = auto()
    FOR_LOST = auto()
    FOR_FIRST = auto()


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


@dataclass(frozen=True, slots=True)
class _Kept:
    """Contents, the version of the answer they are made from, and when that was looked up."""

    version: str
    contents: Contents
    checked: float = field(default_factory=time.monotonic)

    def has_fresh(self, sop_instance_uid: str) -> bool:
        age = time.monotonic() - self.checked
        return age < FRESH and sop_instance_uid in self.contents.instances


_Key = tuple[str, int]
_kept: OrderedDict[_Key, _Kept] = OrderedDict()
_loading: WeakKeyDictionary[
    asyncio.AbstractEventLoop, dict[tuple[_Key, str], asyncio.Task[Contents]]
]
_loading = WeakKeyDictionary()


async def contents_of(
    build_id: str,
    archive_id: int,
    *,
    sop_instance_uid: str = "",
    patience: Patience = Patience.FOR_LOST,
) -> Contents:
    """Empty if the archive has nothing, or has not answered in time.

    Meanwhile, what this process still has of what Redis lost is good enough. Where only
    one instance is wanted, it need not be the newest answer, if that is there.
    """
    key = build_id, archive_id
    kept = _kept.get(key)
    if kept and kept.has_fresh(sop_instance_uid):
        return kept.contents
    try:
        version = await store.answer_version(*key)
    except RedisError:
        if kept is None:
            raise
        version = None
    if version is None and kept is None and patience is not Patience.NONE:
        was_listed, is_under_way = await in_shared_thread(_expected, *key)
        if was_listed or (is_under_way and patience is Patience.FOR_FIRST):
            version = await _built(*key, was_finished=was_listed)
    kept = _kept.get(key)  # others may have read it meanwhile
    if version is not None and (kept is None or kept.version != version):
        return await _loaded_once(key, version)
    if kept is None:
        return Contents()
    _keep(key, _Kept(kept.version, kept.contents))
    return kept.contents


def _expected(build_id: str, archive_id: int) -> tuple[bool, bool]:
    """Whether the build had images of the archive once, and whether it is under way."""
    was_listed = ArchiveOutcome.objects.filter(
        build_id=build_id, archive_id=archive_id, state__in=ArchiveOutcome.WITH_IMAGES
    ).exists()
    return was_listed, Build.objects.unfinished().filter(pk=build_id).exists()


async def _built(build_id: str, archive_id: int, *, was_finished: bool) -> str | None:
    """The version of the answer to come; the other archives are not waited for."""
    waiting = until_done(
        build_id, [archive_id], was_finished=was_finished, deadline=DEADLINE
    )
    try:
        async with asyncio.timeout(DEADLINE), aclosing(waiting):
            async for _ in waiting:
                if version := await store.answer_version(build_id, archive_id):
                    return version
    except TimeoutError:  # it is still receiving
        pass
    return await store.answer_version(build_id, archive_id)


async def _loaded_once(key: _Key, version: str) -> Contents:
    """Viewers begin with many requests at once: one of them reads for all."""
    loading = _loading.setdefault(asyncio.get_running_loop(), {})
    task = loading.get((key, version))
    if task is None:
        task = loading[key, version] = asyncio.create_task(_load(key, version))
        task.add_done_callback(lambda _: loading.pop((key, version)))
    return await asyncio.shield(task)


async def _load(key: _Key, version: str) -> Contents:
    answer = await store.load_answer(*key)
    if answer is None:
        return Contents()
    selection = await in_shared_thread(_selection, key[0])
    contents = index(answer.studies, selection)
    if contents.instances:
        _keep(key, _Kept(version, contents))
    else:
        _kept.pop(key, None)
    return contents


def _selection(build_id: str) -> Selection:
    build = Build.objects.filter(pk=build_id).first()
    return build.get_selection() if build else Selection()


def _keep(key: _Key, new: _Kept) -> None:
    _kept[key] = new
    _kept.move_to_end(key)
    count = sum(len(one.contents.instances) for one in _kept.values())
    while count > MAXIMUM_KEPT and len(_kept) > 1:
        _, oldest = _kept.popitem(last=False)
        count -= len(oldest.contents.instances)


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
