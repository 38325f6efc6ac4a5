"""One step of "Verify connection" after the other, each with its time."""

from __future__ import annotations

import ssl
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

from archives.entities import VerificationStep
from archives.errors import (
    ArchiveError,
)

EXPIRES_SOON: Final = timedelta(days=30)
# The header has whole seconds; links and tokens are usually good for minutes.
CLOCK_TOLERANCE: Final = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a step that worked has to say; a warning is for the administrator to act on.

    It is unknown if there was nothing to look at.
    """

    message: str
    is_warning: bool = False
    is_unknown: bool = False


Action = Callable[[], Awaitable[Finding]]


async def take_step(
    name: str, action: Action, deadline: AbstractAsyncContextManager[None]
) -> VerificationStep:
    """The result of an action; its ``ArchiveError`` is one too."""
    started, state = time.perf_counter(), ""
    try:
        async with deadline:
            finding, is_ok = await action(), True
    except ArchiveError as error:
        finding, is_ok, state = Finding(str(error)), False, error.state
    return VerificationStep(
        name=name,
        is_ok=is_ok,
        is_warning=finding.is_warning,
        is_unknown=finding.is_unknown,
        message=finding.message,
        milliseconds=(time.perf_counter() - started) * 1000,
        state=state,
    )


def tls_finding(connection: ssl.SSLObject) -> Finding:
    """The TLS version, and how long the archive's certificate is still valid."""
    version = connection.version()
    certificate = connection.getpeercert()
    if not certificate or "notAfter" not in certificate:
        return Finding(f"{version}.")
    seconds = ssl.cert_time_to_seconds(str(certificate["notAfter"]))
    expires = datetime.fromtimestamp(seconds, UTC)
    day = expires.date().isoformat()
    left = expires - datetime.now(UTC)
    if left > EXPIRES_SOON:
        return Finding(f"{version}; the archive's certificate is valid until {day}.")
    return Finding(
        f"{version}; the archive's certificate ends in {_days(left)}, on {day}: the "
        "archive needs a new one.",
        is_warning=True,
    )


def clock_finding(date: str, asked: datetime, answered: datetime) -> Finding:
    """The ``Date`` header of an answer (RFC 9110 6.6.1) against the hub's own clock.

    ``asked`` and ``answered`` are when the hub sent the request and got the answer.
    """
    try:
        moment = parsedate_to_datetime(date).astimezone(UTC)
    except (ValueError, OverflowError):
        return Finding(
            "The archive does not tell its time, so it was not compared.",
            is_unknown=True,
        )
    # It was written somewhere in between, and its fractions of a second were cut.
    ahead = moment - answered
    behind = asked - timedelta(seconds=1) - moment
    if max(ahead, behind) <= CLOCK_TOLERANCE:
        return Finding("The archive's clock agrees with the hub's.")
    word, difference = ("ahead of", ahead) if ahead > behind else ("behind", behind)
    return Finding(
        f"The archive's clock is {_readable(difference)} {word} the hub's: certificates, "
        "tokens and searches by date may fail. Set both clocks by NTP.",
        is_warning=True,
    )


def newest_finding(day: str) -> Finding:
    """``20260131`` is told as ``2026-01-31``; what is no date means that it has none."""
    try:
        words = datetime.strptime(day, "%Y%m%d").date().isoformat()
    except ValueError:
        words = "an unknown date"
    return Finding(f"The newest study found is of {words}.")


def image_finding(size: int, service: str) -> Finding:
    """An image of so many bytes was received."""
    return Finding(f"One image of {max(size // 1024, 1)} KB came by {service}.")


def _days(left: timedelta) -> str:
    days = max(left.days, 0)
    return "1 day" if days == 1 else f"{days} days"


def _readable(difference: timedelta) -> str:
    seconds = round(difference.total_seconds())
    if seconds < 120:
        return f"{seconds} seconds"
    if seconds < 7200:
        return f"{round(seconds / 60)} minutes"
    return f"{round(seconds / 3600):,} hours"
