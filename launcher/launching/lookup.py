"""Asking the archives one short question before a viewer is started."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog
from django.contrib.auth.models import User

from archives.clients import newest_of_each_patient, open_client
from archives.entities import Selection, Study
from archives.errors import ArchiveError
from archives.models import Archive

logger = structlog.get_logger(__name__)

# What a user waits at most before the viewer starts (seconds).
BUDGET: Final = 1.5
# How long archives may take to hear that nobody waits any more (seconds).
FAREWELL: Final = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """What was found in time, by archive in the order they were asked.

    ``silent`` are the archives that did not answer, whatever the reason; those that
    were not waited for are neither. Of ``answers``, ``studies`` are those that are kept:
    the ``most_recent`` ones of each patient, if so many are wanted.
    """

    answers: Mapping[Archive, tuple[Study, ...]]
    silent: tuple[Archive, ...] = ()
    most_recent: int | None = None

    def of(self, archives: Collection[Archive]) -> Lookup:
        """As if only these had been asked."""
        return replace(
            self,
            answers={
                one: found for one, found in self.answers.items() if one in archives
            },
            silent=tuple(one for one in self.silent if one in archives),
        )

    @property
    def studies(self) -> tuple[Study, ...]:
        """Each study once."""
        found: dict[str, Study] = {}
        for studies in self._kept().values():
            for study in studies:
                found.setdefault(study.study_instance_uid, study)
        return tuple(found.values())

    def _kept(self) -> Mapping[Archive, tuple[Study, ...]]:
        if self.most_recent is None:
            return self.answers
        everything = [study for studies in self.answers.values() for study in studies]
        newest = newest_of_each_patient(everything, self.most_recent)
        kept = {study.study_instance_uid for study in newest}
        return {
            archive: tuple(one for one in studies if one.study_instance_uid in kept)
            for archive, studies in self.answers.items()
        }

    @property
    def has_found_nothing(self) -> bool:
        """Whether every archive answered, and none has what was asked for."""
        return not self.silent and not any(self.answers.values())

    @property
    def modalities(self) -> frozenset[str] | None:
        """Of all studies; ``None`` if no archive answered."""
        if not self.answers:
            return None
        return frozenset(
            modality for study in self.studies for modality in study.modalities_in_study
        )

    def holders(self) -> list[Archive]:
        """The first archive that has all of the studies, or else all that have some."""
        answers = self._kept()
        uids = {study.study_instance_uid for study in self.studies}
        for archive, studies in answers.items():
            if uids and uids == {study.study_instance_uid for study in studies}:
                return [archive]
        return [archive for archive, studies in answers.items() if studies]


async def find_now(
    selection: Selection,
    archives: Iterable[Archive],
    budget: float = BUDGET,
    *,
    user: User | None = None,
    until_found: bool = False,
) -> Lookup:
    """The studies of a selection, as far as the archives tell ``user`` within ``budget``
    seconds.

    With ``until_found``, the first study that is found ends the wait.
    """
    asked = list(archives)
    tasks = [asyncio.create_task(_ask(selection, archive, user)) for archive in asked]
    try:
        await _wait(tasks, budget, until_found)
        answers = [task.result() if task.done() else None for task in tasks]
    finally:
        await _dismiss(tasks)
    found = {
        archive: studies
        for archive, studies in zip(asked, answers, strict=True)
        if studies is not None
    }
    return Lookup(
        answers=found,
        silent=tuple(one for one in asked if one not in found),
        most_recent=selection.study_filter.most_recent,
    )


async def _wait(
    tasks: Sequence[asyncio.Task[tuple[Study, ...] | None]],
    budget: float,
    until_found: bool,
) -> None:
    deadline = asyncio.get_running_loop().time() + budget
    pending: set[asyncio.Task[tuple[Study, ...] | None]] = set(tasks)
    while pending:
        remaining = deadline - asyncio.get_running_loop().time()
        done, pending = await asyncio.wait(
            pending, timeout=remaining, return_when=asyncio.FIRST_COMPLETED
        )
        if not done or (until_found and any(task.result() for task in done)):
            return


async def _dismiss(tasks: Iterable[asyncio.Task[tuple[Study, ...] | None]]) -> None:
    pending = [task for task in tasks if not task.done()]
    for task in pending:
        task.cancel()
    if pending:
        await asyncio.wait(pending, timeout=FAREWELL)


async def _ask(
    selection: Selection, archive: Archive, user: User | None
) -> tuple[Study, ...] | None:
    """The studies of one archive; ``None`` if it can't be asked."""
    try:
        async with open_client(archive.endpoint(user)) as client:
            return await client.find_selected_studies(selection)
    except ArchiveError:
        return None  # the launch goes on, and its manifest will say what is wrong
    except Exception:
        logger.exception("archive_client_failed", archive=archive.pk)
        return None
