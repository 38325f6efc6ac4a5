"""Queries of one call: over pooled associations, decoded, with a cap on all answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from archives.clients.base import DimseEndpoint
from archives.clients.dimse import failures
from archives.clients.dimse.association import Association
from archives.clients.dimse.dataset import AnswerDecoder, Elements
from archives.clients.dimse.negotiation import query_proposal
from archives.clients.dimse.operations import find
from archives.clients.dimse.pool import pool_of
from archives.clients.matches import Attributes

Result = TypeVar("Result")


class Queries:
    """``is_capped`` tells whether answers were cut at the endpoint's maximum."""

    def __init__(self, endpoint: DimseEndpoint) -> None:
        self.endpoint = endpoint
        self.is_capped = False
        self.decoder = AnswerDecoder(endpoint.specific_character_set)
        self._pool = pool_of(endpoint)
        self._proposal = query_proposal(endpoint.root)
        self._remaining = endpoint.maximum_answers

    async def attributes(
        self, level: str, keys: Mapping[int, str], *, limit: int | None = None
    ) -> list[Attributes]:
        """All answers, or the first ``limit``."""
        found: list[Attributes] = []

        def take(elements: Elements) -> bool:
            found.append(self.decoder.attributes(elements))
            return limit is None or len(found) < limit

        await self.each(level, keys, take)
        return found

    async def each(
        self,
        level: str,
        keys: Mapping[int, str],
        take: Callable[[Elements], bool],
    ) -> None:
        """Have ``take`` called with each answer until it is false."""

        def take_below_cap(elements: Elements) -> bool:
            if self._remaining <= 0:
                self.is_capped = True
                return False
            self._remaining -= 1
            return take(elements)

        async def query(association: Association) -> bool:
            return await find(association, level, keys, take_below_cap)

        if not self.is_capped:
            await self._pool.run(self._proposal, query)


async def together(*coroutines: Coroutine[Any, Any, Result]) -> list[Result]:
    """All results, in order. The first error cancels the others and is raised."""
    if len(coroutines) == 1:
        return [await coroutines[0]]
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


@asynccontextmanager
async def within(endpoint: DimseEndpoint) -> AsyncIterator[None]:
    """The total deadline of a call, its wait for a free association included."""
    deadline = asyncio.timeout(endpoint.deadlines.total)
    try:
        async with deadline:
            yield
    except TimeoutError:
        if deadline.expired():
            raise failures.too_slow(endpoint) from None
        raise
