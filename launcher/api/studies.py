"""Searching studies for the REST API, as the search page does."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

from archives.models import Archive
from launcher.api.schemas import (
    FoundPatient,
    FoundStudy,
    SearchedArchive,
    StudyFilters,
    StudySearchResult,
)
from launcher.criteria import CriteriaError, Problem
from launcher.launching.callers import Caller, archives_named
from launcher.search import asking
from launcher.search.asking import ArchiveAnswer
from launcher.search.criteria import SearchCriteria
from launcher.search.forms import StudySearchForm
from launcher.threads import in_thread


async def search_studies(filters: StudyFilters, caller: Caller) -> StudySearchResult:
    """All archives are asked at once; one that fails says so beside the others.

    Raises ``CriteriaError`` for filters that can't be used or are too broad.
    """
    criteria, archives = await in_thread(_check, filters, caller)
    queries = criteria.queries(filters.limit)
    answered = await asyncio.gather(
        *(asking.ask_archive(one, queries, caller.user) for one in archives)
    )
    answers = {one.slug: answer for one, answer in zip(archives, answered, strict=True)}
    found = asking.merge(answers)
    has_more = any(answer.has_more for answer in answered)
    return StudySearchResult(
        studies=[_study(one) for one in found[: filters.limit]],
        has_more=has_more or len(found) > filters.limit,
        archives=[_outcome(one, answers[one.slug]) for one in archives],
    )


def _check(
    filters: StudyFilters, caller: Caller
) -> tuple[SearchCriteria, list[Archive]]:
    problems: list[Problem] = []
    archives: list[Archive] = []
    try:
        archives = archives_named(filters.archives, caller, field="archives")
    except CriteriaError as error:
        problems.extend(error.problems)
    values = filters.model_dump(exclude={"archives", "limit"}, exclude_none=True)
    form = StudySearchForm(values, archives=Archive.objects.none())
    if not form.is_valid():
        problems.extend(
            Problem(field="" if field == "__all__" else field, message=str(message))
            for field, messages in form.errors.items()
            for message in messages
        )
    if problems:
        raise CriteriaError(problems)
    return form.criteria(), archives


def _study(found: asking.FoundStudy) -> FoundStudy:
    values = asdict(found.study)
    del values["series"]
    return FoundStudy(
        **values | {"patient": FoundPatient(**values["patient"])},
        archives=list(found.archives),
        other_patients=list(found.other_patients),
    )


def _outcome(archive: Archive, answer: ArchiveAnswer) -> SearchedArchive:
    return SearchedArchive(
        archive=archive.slug,
        name=archive.name,
        state=answer.state,
        message=answer.message,
        studies=len(answer.studies),
        has_more=answer.has_more,
        left_out=answer.left_out,
        milliseconds=answer.milliseconds,
    )
