"""Associations kept open between operations, by event loop and endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Final, TypeVar

from archives.clients.base import DimseEndpoint
from archives.clients.dimse import failures
from archives.clients.dimse.association import Association
from archives.clients.dimse.connection import associate
from archives.clients.dimse.negotiation import Proposal
from archives.clients.pool import Pools
from archives.clients.turns import Turns
from archives.errors import ConnectionLostError

Result = TypeVar("Result")

# How long an association is kept for the next operation. One is enough for a user who
# goes on; more would keep others out: Orthanc serves four at a time, from all callers.
IDLE_SECONDS: Final = 5.0
SPARE_SECONDS: Final = 0.1
# How long an archive may take to obey a C-CANCEL before it is cut off.
GRACE_SECONDS: Final = 2.0
# Another association takes about as long as the final response that is on its way.
_PATIENCE_SECONDS: Final = 0.01


class AssociationPool:
    """At most ``maximum_associations`` open at once, in use or idle.

    Whoever needs one more waits in line; the caller's deadline bounds the wait. Images
    wait a little while only, and leave one of several associations to queries.
    """

    def __init__(self, endpoint: DimseEndpoint) -> None:
        self.endpoint = endpoint
        self._turns = Turns(endpoint.maximum_associations)
        self._operations = 0  # that have a slot, or wait for one
        self._used: dict[Association, bool] = {}  # whether it is for an image
        self._idle: dict[Association, asyncio.TimerHandle] = {}
        self._settling: dict[Association, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(
        self,
        proposal: Proposal,
        operation: Callable[[Association], Awaitable[Result]],
        *,
        is_image: bool = False,
    ) -> Result:
        """Do ``operation`` on an association and give it back."""
        association, result = await self.start(proposal, operation, is_image=is_image)
        self.give_back(association)
        return result

    async def start(
        self,
        proposal: Proposal,
        operation: Callable[[Association], Awaitable[Result]],
        *,
        is_image: bool = False,
    ) -> tuple[Association, Result]:
        """Do ``operation`` on an association, kept or new; the caller gives it back.

        An archive may close a kept association at the moment it is used; then the
        operation is done once more on a new one, unless answers had come already.
        """
        association = await self._acquire(proposal, is_image=is_image)
        try:
            return association, await operation(association)
        except ConnectionLostError:
            self.give_back(association)
            if not association.was_kept or association.has_heard:
                raise
        except BaseException:
            self.give_back(association)
            raise
        self._drop_idle()
        association = await self._acquire(proposal, is_image=is_image)
        try:
            return association, await operation(association)
        except BaseException:
            self.give_back(association)
            raise

    async def _acquire(self, proposal: Proposal, *, is_image: bool) -> Association:
        self._operations += 1
        try:
            await self._turns.acquire(is_image=is_image)
        except BaseException as error:
            self._operations -= 1
            if isinstance(error, TimeoutError):
                raise failures.busy(self.endpoint) from error
            raise
        try:
            association = await self._kept(proposal) or await self._open(proposal)
        except BaseException:
            self._release_turn(is_image=is_image)
            raise
        self._used[association] = is_image
        return association

    async def _kept(self, proposal: Proposal) -> Association | None:
        """An open one: idle, or about to be so."""
        association = self._take(proposal)
        if association is None:
            fitting = [
                task for one, task in self._settling.items() if one.proposal == proposal
            ]
            if fitting:
                await asyncio.wait(fitting, timeout=_PATIENCE_SECONDS)
                association = self._take(proposal)
        return association

    def _take(self, proposal: Proposal) -> Association | None:
        """The idle association used last that fits."""
        for association in reversed(self._idle):
            if association.proposal == proposal and association.is_usable:
                self._idle.pop(association).cancel()
                association.was_kept = True
                return association
        return None

    async def _open(self, proposal: Proposal) -> Association:
        self._forget_closed()
        if self._idle and len(self._idle) + len(self._used) >= self._maximum:
            oldest = next(iter(self._idle))
            self._idle.pop(oldest).cancel()
            await asyncio.shield(self._start(oldest.release()))
        return await associate(self.endpoint, proposal)

    @property
    def _maximum(self) -> int:
        return max(self.endpoint.maximum_associations, 1)

    def give_back(self, association: Association) -> None:
        """Keep it for a while; one that is still busy, as soon as the archive is done."""
        if association.is_busy:
            task = self._start(self._settle(association))
            self._settling[association] = task
            return
        is_image = self._used.pop(association)
        if association.is_usable:
            self._keep(association)
        elif not association.is_closed:
            self._start(association.release())
        self._release_turn(is_image=is_image)

    def _release_turn(self, *, is_image: bool) -> None:
        self._operations -= 1
        self._turns.release(is_image=is_image)

    @property
    def is_idle(self) -> bool:
        return not self._operations

    def _keep(self, association: Association) -> None:
        """Keep it for long; the one that was kept so until now is a spare one."""
        loop = asyncio.get_running_loop()
        if self._idle:
            former, timer = next(reversed(self._idle.items()))
            timer.cancel()
            self._idle[former] = loop.call_later(
                SPARE_SECONDS, self._release_idle, former
            )
        self._idle[association] = loop.call_later(
            IDLE_SECONDS, self._release_idle, association
        )

    async def _settle(self, association: Association) -> None:
        try:
            await association.settle(GRACE_SECONDS)
        finally:
            self._settling.pop(association, None)
            self.give_back(association)

    def _release_idle(self, association: Association) -> None:
        if self._idle.pop(association, None) is not None:
            self._start(association.release())

    def _forget_closed(self) -> None:
        for association in [one for one in self._idle if not one.is_usable]:
            self._idle.pop(association).cancel()

    def _drop_idle(self) -> None:
        """The archive closed one of them; the others are as old."""
        for association in list(self._idle):
            self._idle.pop(association).cancel()
            self._start(association.release())

    def _start(self, coroutine: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Release what is idle, abort what is in use."""
        for association in list(self._used):
            association.abort()
            self._start(association.release())
        self._drop_idle()
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)


_pools: Final = Pools[DimseEndpoint, AssociationPool](AssociationPool)


def pool_of(endpoint: DimseEndpoint) -> AssociationPool:
    """The running loop's pool for an endpoint."""
    return _pools.of(endpoint)
