"""Asking archives what a search matches, and merging what they answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, Protocol

import structlog

from archives import watching
from archives.authentication import AnyUser
from archives.clients import Endpoint, open_client
from archives.entities import (
    Patient,
    Series,
    Study,
    StudyMatches,
    StudyQuery,
)
from archives.errors import ArchiveError, ArchiveUnavailableError
from launcher.search.criteria import satisfies, spellings
from launcher.threads import in_thread

logger = structlog.get_logger(__name__)

# Seconds the search page waits for one archive.
DEADLINE: Final = 15.0


class AnswerState(StrEnum):
    ANSWERED = "answered"
    UNAVAILABLE = "unavailable"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveAnswer:
    """What one archive answered, or why it did not, in words for the user.

    ``left_out`` counts answers that do not satisfy the search and are not in ``studies``.
    """

    state: AnswerState
    asked: datetime
    studies: tuple[Study, ...] = ()
    has_more: bool = False
    left_out: int = 0
    message: str = ""
    milliseconds: int = 0

    @property
    def is_answered(self) -> bool:
        return self.state == AnswerState.ANSWERED


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundStudy:
    """A study and the slugs of the archives that hold it, best first.

    ``other_patients`` names those archives that hold it under another Patient ID.
    """

    study: Study
    archives: tuple[str, ...]
    other_patients: tuple[str, ...] = ()


class Asked(Protocol):
    """An archive whose endpoint may turn out to be unusable, as the model's."""

    pk: int
    name: str

    def endpoint(self, user: AnyUser = None) -> Endpoint: ...


async def ask_archive(
    archive: Asked, queries: Sequence[StudyQuery], user: AnyUser = None
) -> ArchiveAnswer:
    """The same as ``ask`` for a user, also where there are no credentials to use."""
    try:
        endpoint = archive.endpoint(user)
    except ArchiveError as error:
        return ArchiveAnswer(
            state=AnswerState(error.state), asked=datetime.now(UTC), message=str(error)
        )
    answer = await ask(endpoint, queries)
    learnt = watching.finding_of(
        archive.pk, endpoint, answer.state, answer.message, answer.milliseconds
    )
    await in_thread(watching.note, learnt)
    return answer


async def ask(
    endpoint: Endpoint, queries: Sequence[StudyQuery], *, deadline: float = DEADLINE
) -> ArchiveAnswer:
    """What satisfies one of the queries, all asked at once; never raises."""
    asked, started = datetime.now(UTC), time.monotonic()
    matches: list[list[StudyMatches]] = []
    state, message = AnswerState.ANSWERED, ""
    try:
        async with asyncio.timeout(deadline):
            matches = await _find(endpoint, queries)
    except TimeoutError:
        state = AnswerState.UNAVAILABLE
        message = (
            f"{endpoint.name} did not answer within {deadline:g} seconds. Try again, or "
            "narrow the search; if it stays silent, tell the archive's administrator."
        )
    except ArchiveError as error:
        state, message = AnswerState(error.state), str(error)
    except Exception:  # one archive must not take the others' studies with it
        state, message = AnswerState.FAILED, _fault(endpoint)
    studies = _satisfying(queries, matches)
    answers = [answer for row in matches for answer in row]
    return ArchiveAnswer(
        state=state,
        asked=asked,
        studies=studies,
        has_more=any(answer.has_more for answer in answers),
        left_out=len(_studies(answers)) - len(studies),
        message=message,
        milliseconds=round((time.monotonic() - started) * 1000),
    )


async def _find(
    endpoint: Endpoint, queries: Sequence[StudyQuery]
) -> list[list[StudyMatches]]:
    """For each query, the answers to all of its spellings."""
    try:
        async with open_client(endpoint) as client, asyncio.TaskGroup() as group:
            tasks = [
                [
                    group.create_task(client.find_studies(one))
                    for one in spellings(query)
                ]
                for query in queries
            ]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [[task.result() for task in row] for row in tasks]


def _fault(endpoint: Endpoint) -> str:
    """Log the exception that is being handled; what to tell about it."""
    logger.exception("archive_client_failed", archive=endpoint.name)
    return (
        f"{endpoint.name} could not be asked because of an error in the hub. Tell your "
        "administrator the time of this search."
    )


def _studies(matches: Iterable[StudyMatches]) -> dict[str, Study]:
    return {
        study.study_instance_uid: study for match in matches for study in match.studies
    }


def _satisfying(
    queries: Sequence[StudyQuery], matches: Sequence[Sequence[StudyMatches]]
) -> tuple[Study, ...]:
    found = {
        uid: study
        for query, answers in zip(queries, matches, strict=False)
        for uid, study in _studies(answers).items()
        if uid and satisfies(study, query)
    }
    return tuple(found.values())


async def series_of(
    endpoint: Endpoint, study_instance_uid: str, *, deadline: float = DEADLINE
) -> tuple[Series, ...]:
    """Series of a study in the order of their numbers; raises ``ArchiveError``."""
    try:
        async with asyncio.timeout(deadline), open_client(endpoint) as client:
            found = await client.find_series(study_instance_uid)
    except TimeoutError as error:
        raise ArchiveUnavailableError(
            f"{endpoint.name} did not list the series within {deadline:g} seconds. "
            "Try again."
        ) from error
    except ArchiveError:
        raise
    except Exception as error:
        raise ArchiveError(_fault(endpoint)) from error
    return tuple(
        sorted(
            found,
            key=lambda one: (
                one.series_number is None,
                one.series_number or 0,
                one.series_instance_uid,
            ),
        )
    )


def merge(answers: Mapping[str, ArchiveAnswer]) -> tuple[FoundStudy, ...]:
    """Studies of all answers (by slug, best archive first), newest first, each once."""
    found: dict[str, FoundStudy] = {}
    for slug, answer in answers.items():
        for study in answer.studies:
            uid = study.study_instance_uid
            known = found.get(uid)
            found[uid] = (
                _with_archive(known, slug, study)
                if known
                else FoundStudy(study=study, archives=(slug,))
            )
    return tuple(sorted(found.values(), key=sort_key))


def _with_archive(known: FoundStudy, slug: str, study: Study) -> FoundStudy:
    first = known.study
    others = known.other_patients
    if first.patient.patient_id.strip() != study.patient.patient_id.strip():
        others = (*others, slug)
    modalities = dict.fromkeys((*first.modalities_in_study, *study.modalities_in_study))
    return replace(
        known,
        archives=(*known.archives, slug),
        other_patients=others,
        study=replace(
            first,
            modalities_in_study=tuple(modalities),
            study_description=first.study_description or study.study_description,
            number_of_study_related_series=_largest(
                first.number_of_study_related_series,
                study.number_of_study_related_series,
            ),
            number_of_study_related_instances=_largest(
                first.number_of_study_related_instances,
                study.number_of_study_related_instances,
            ),
        ),
    )


def _largest(*counts: int | None) -> int | None:
    return max((count for count in counts if count is not None), default=None)


def sort_key(found: FoundStudy) -> tuple[int, int, str]:
    """Newest first, undated studies last; the same for every process."""
    study = found.study
    day = "".join(filter(str.isdecimal, study.study_date))[:8]
    clock = "".join(filter(str.isdecimal, study.study_time))[:6].ljust(6, "0")
    return (-int(day or 0), -int(clock), study.study_instance_uid)


def patient_key(patient: Patient) -> str:
    """The same text for the same patient; studies without an ID count by their name."""
    return "^^^".join(
        (
            patient.patient_id.strip() or f" {patient.patient_name}",
            patient.issuer_of_patient_id.strip(),
        )
    )
