"""“Verify connection”: asking archives what works, and keeping the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Self

from django.utils import timezone

from archives.authentication import AnyUser
from archives.clients import Endpoint, open_client
from archives.clients.pool import close_connections
from archives.entities import VerificationStep
from archives.errors import ArchiveError
from archives.health import ArchiveState
from archives.models import Archive

# Somebody watches: give up earlier than a search or a launch would.
MAXIMUM_SECONDS = 30.0
# Steps that ask one short thing: the archive's latency.
QUESTIONS = ("Echo", "Query")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What was found, and when."""

    at: datetime
    steps: tuple[VerificationStep, ...]

    @property
    def failure(self) -> VerificationStep | None:
        return next((step for step in self.steps if not step.is_ok), None)

    @property
    def warnings(self) -> tuple[VerificationStep, ...]:
        return tuple(step for step in self.steps if step.is_warning)

    @property
    def milliseconds(self) -> int:
        return round(sum(step.milliseconds for step in self.steps))

    @classmethod
    def last_of(cls, archive: Archive) -> Self | None:
        """The one that was recorded last; ``None`` if the archive was never verified."""
        if not (stored := archive.last_verification):
            return None
        steps = tuple(VerificationStep(**step) for step in stored["steps"])
        return cls(at=datetime.fromisoformat(stored["at"]), steps=steps)


def verify(
    archives: Iterable[Archive], user: AnyUser = None
) -> list[tuple[Archive, Verification]]:
    """Verify stored archives at the same time, and record each result.

    Those that want their user's own login get that of ``user``.

    Takes as long as the slowest archive, at most ``MAXIMUM_SECONDS``. For threads
    without a running event loop: synchronous views and commands.
    """
    chosen = list(archives)
    found = asyncio.run(_verify_all([_endpoint(archive, user) for archive in chosen]))
    now = timezone.now()
    results = []
    for archive, steps in zip(chosen, found, strict=True):
        verification = Verification(at=now, steps=steps)
        record(archive, verification)
        results.append((archive, verification))
    return results


def record(archive: Archive, verification: Verification) -> None:
    """Keep a result for the list and the archive's page."""
    failure = verification.failure
    values: dict[str, Any] = {
        "last_error" if failure else "last_success": verification.at,
        "last_verification": {
            "at": verification.at.isoformat(),
            "steps": [asdict(step) for step in verification.steps],
        },
    }
    if failure:
        values["last_message"] = failure.message[:500]
        values["last_error_state"] = failure.state or ArchiveState.FAILED
    elif question := next((s for s in verification.steps if s.name in QUESTIONS), None):
        values["last_milliseconds"] = round(question.milliseconds)
    Archive.objects.filter(pk=archive.pk).update(**values)
    for name, value in values.items():
        setattr(archive, name, value)


def _endpoint(archive: Archive, user: AnyUser) -> Endpoint | VerificationStep:
    """Where to connect, or the step that failed before that."""
    try:
        endpoint = archive.endpoint(user)
    except ArchiveError as error:
        return VerificationStep(
            name="Settings",
            is_ok=False,
            message=str(error),
            milliseconds=0.0,
            state=ArchiveState(error.state),
        )
    total = min(endpoint.deadlines.total, MAXIMUM_SECONDS)
    return replace(endpoint, deadlines=replace(endpoint.deadlines, total=total))


async def _verify_all(
    endpoints: Sequence[Endpoint | VerificationStep],
) -> list[tuple[VerificationStep, ...]]:
    try:
        return await asyncio.gather(*map(_verify_one, endpoints))
    finally:
        await close_connections()


async def _verify_one(
    endpoint: Endpoint | VerificationStep,
) -> tuple[VerificationStep, ...]:
    if isinstance(endpoint, VerificationStep):
        return (endpoint,)
    async with open_client(endpoint) as client:
        return await client.verify()
