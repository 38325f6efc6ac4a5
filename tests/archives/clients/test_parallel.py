from __future__ import annotations

import asyncio

import pytest

from archives.clients.parallel import run_all
from archives.clients.pool import close_connections, on_close
from tests.loops import run


async def answer(value: int, *, after: int) -> int:
    for _ in range(after):
        await asyncio.sleep(0)
    return value


async def fail() -> int:
    try:
        raise KeyError("the cause")
    except KeyError as error:
        raise ValueError("the failure") from error


def test_run_all_gives_results_in_order():
    results = run(run_all([answer(1, after=5), answer(2, after=0)]))

    assert results == [1, 2]


def test_run_all_of_nothing_is_nothing():
    assert run(run_all([])) == []


def test_run_all_cancels_the_others_and_raises_the_first_failure():
    was_cancelled = False

    async def wait() -> int:
        nonlocal was_cancelled
        try:
            return await asyncio.Event().wait()
        except asyncio.CancelledError:
            was_cancelled = True
            raise

    with pytest.raises(ValueError, match="the failure") as failure:
        run(run_all([wait(), fail(), wait()]))

    assert was_cancelled
    assert isinstance(failure.value.__cause__, KeyError)


def test_close_connections_closes_what_its_own_loop_opened():
    closed: list[str] = []

    async def open_one(name: str) -> None:
        async def close() -> None:
            closed.append(name)

        on_close(close)

    async def first() -> None:
        await open_one("first")

    async def second() -> None:
        await open_one("second")
        await close_connections()
        await close_connections()

    asyncio.run(first())
    asyncio.run(second())

    assert closed == ["second"]
