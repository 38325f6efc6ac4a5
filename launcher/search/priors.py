"""The other studies of a patient, for those who read a study beside them.

Only those are taken that are surely of the same patient: the same Patient ID and issuer,
and no other birth date. A name may have changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from archives.authentication import AnyUser
from archives.entities import Patient, Study, StudyQuery
from archives.models import Archive
from launcher.launching.lookup import FAREWELL
from launcher.search import asking
from launcher.search.asking import patient_key

# How long the user waits for archives to list them (seconds).
DEADLINE: Final = 5.0
# More are not opened at once.
MAXIMUM: Final = 50
# What is about images, and not what a study is compared by.
_WITHOUT_IMAGES: Final = frozenset(("AU", "DOC", "KO", "PR", "REG", "SR"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Priors:
    """The other studies each archive has; ``silent`` are archives that did not tell."""

    studies: Mapping[Archive, tuple[Study, ...]]
    silent: tuple[Archive, ...]
    has_more: bool


async def priors_of(
    study: Study, archives: Sequence[Archive], user: AnyUser, *, same_modality: bool
) -> Priors:
    """What these archives have of the patient besides a study; never raises."""
    patient = study.patient
    query = StudyQuery(
        patient_id=patient.patient_id.strip(),
        issuer_of_patient_id=patient.issuer_of_patient_id.strip(),
        limit=MAXIMUM + 1,  # and the study itself
    )
    tasks = [
        asyncio.create_task(asking.ask_archive(one, [query], user)) for one in archives
    ]
    try:
        await asyncio.wait(tasks, timeout=DEADLINE)
        answers = {
            archive: task.result()
            for archive, task in zip(archives, tasks, strict=True)
            if task.done() and task.result().is_answered
        }
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=FAREWELL)
    wanted = set(imaging_modalities(study)) if same_modality else None
    return Priors(
        studies={
            archive: tuple(others_of(study, answer.studies, wanted))
            for archive, answer in answers.items()
        },
        silent=tuple(one for one in archives if one not in answers),
        has_more=any(answer.has_more for answer in answers.values()),
    )


def others_of(
    study: Study, found: Iterable[Study], wanted: set[str] | None
) -> Iterator[Study]:
    """Those of its patient, with one of the wanted modalities, or with any."""
    same = [one for one in found if _is_same_patient(study.patient, one.patient)]
    birth_dates = {one.patient.patient_birth_date.strip() for one in same}
    if len(birth_dates - {""}) > 1:
        return  # several people have this ID, and the study does not say whose it is
    for one in same:
        is_wanted = wanted is None or wanted.intersection(one.modalities_in_study)
        if is_wanted and one.study_instance_uid != study.study_instance_uid:
            yield one


def _is_same_patient(one: Patient, other: Patient) -> bool:
    birth_dates = {one.patient_birth_date.strip(), other.patient_birth_date.strip()}
    return patient_key(one) == patient_key(other) and len(birth_dates - {""}) < 2


def imaging_modalities(study: Study) -> list[str]:
    """Those of its modalities that have images."""
    return [one for one in study.modalities_in_study if one not in _WITHOUT_IMAGES]
