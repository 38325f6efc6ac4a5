"""Studies of a patient, of archives that cut every answer and do not say so.

Orthanc's LimitFindResults is one such limit: pages beyond it are empty, without a
Warning. No count tells how many studies a patient has, so the same question is asked
again in two ranges of Study Date: where they hold more, there is a limit.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from archives.clients.dicomweb.search import Answers, Level, Parameters, Search
from archives.clients.matches import STUDY_DATE, STUDY_INSTANCE_UID


async def find_all_studies(
    search: Search,
    keys: Parameters,
    tags: Iterable[int],
    *,
    first: str = "",
    last: str = "",
) -> Answers:
    """All studies with these keys, among which is no Study Date.

    ``first`` and ``last`` are the days (DA) to ask for, without bound if empty.
    """
    return await _Ranges(search, keys, tuple(tags)).find(first, last)


class _Ranges:
    def __init__(self, search: Search, keys: Parameters, tags: tuple[int, ...]) -> None:
        self._search = search
        self._keys = keys
        self._tags = tags
        self._limit = 0

    async def find(self, first: str, last: str) -> Answers:
        answers = await self._find(self._within(first, last))
        memory = self._search.memory
        self._limit = len(answers.matches)
        if self._limit <= memory.studies_at_once or len(_days(answers)) < 2:
            return answers
        everything = await self._halves(answers, first, last)
        if len(everything.matches) == self._limit:
            memory.studies_at_once = self._limit
        else:
            memory.study_limit = self._limit
        return everything

    async def _halves(self, answers: Answers, first: str, last: str) -> Answers:
        """What is asked in two ranges, split where half of the known studies are."""
        days = _days(answers)
        middle = days[(len(days) - 1) // 2]
        # One after the other, as a range is divided again only where it has to be.
        earlier = await self._between(first, middle)
        later = await self._between(_day_after(middle), last)
        matches = {
            match[STUDY_INSTANCE_UID]: match
            for part in (answers, earlier, later)
            for match in part.matches
        }
        is_truncated = earlier.is_truncated or later.is_truncated
        return Answers(list(matches.values()), is_truncated)

    async def _between(self, first: str, last: str) -> Answers:
        answers = await self._find(self._within(first, last))
        days = _days(answers)
        if len(answers.matches) < self._limit or not days:
            return answers
        if days[0] < first or days[-1] > (last or days[-1]):
            return answers  # the archive does not match dates
        if len(days) == 1:
            answers.is_truncated = True
            return answers
        return await self._halves(answers, first, last)

    def _within(self, first: str, last: str) -> Parameters:
        if not first and not last:
            return self._keys
        return [*self._keys, ("StudyDate", f"{first}-{last}")]

    async def _find(self, keys: Parameters) -> Answers:
        return await self._search.find(Level.STUDIES, "studies", keys, self._tags)


def _days(answers: Answers) -> list[str]:
    """The different study dates, in order; without those that are not dates."""
    days = {match.get(STUDY_DATE, "") for match in answers.matches}
    return sorted(day for day in days if _day_after(day))


def _day_after(day: str) -> str:
    try:
        parsed = datetime.strptime(day, "%Y%m%d")
    except ValueError:
        return ""
    return f"{parsed + timedelta(days=1):%Y%m%d}" if parsed.year < 9999 else ""
