"""What builds keep in Redis: who may write it, how long it stays, and what is unreadable."""

import zlib

import pytest

from archives.clients.base import Progress
from launcher import store
from launcher.answers import FORMAT, Answer, UnreadableAnswerError, decode_answer
from tests.loops import run

pytestmark = pytest.mark.usefixtures("valkey")

BUILD = "00000000-0000-4000-8000-000000000000"
HASH = f"viewerhub:build:{BUILD}"
LEASE = f"{HASH}:lease"


@pytest.fixture(autouse=True)
def empty(valkey):
    run(forget())


async def forget():
    await store.redis().delete(HASH, LEASE)


async def has_worker():
    return (await store.look(BUILD)).has_worker


def test_worker_that_stood_still_leaves_the_lease_of_its_successor():
    async def overtaken():
        async with store.lease(BUILD) as first:
            assert first
            await store.redis().delete(LEASE)  # as if its time was over
            async with store.lease(BUILD) as second:
                assert second
                owner = await store.redis().get(LEASE)
                await first.renew()
                assert await store.redis().get(LEASE) == owner
            async with store.lease(BUILD) as third:
                assert third

                async def late_end():
                    async with store.lease(BUILD) as nothing:
                        assert nothing is None

                await late_end()
                assert await has_worker()
                owner = await store.redis().get(LEASE)
            await store.redis().set(LEASE, "another worker")
        assert await store.redis().get(LEASE) == b"another worker"

    run(overtaken())


def test_lease_is_renewed_after_redis_lost_it():
    async def lost():
        async with store.lease(BUILD) as lease:
            assert lease
            await forget()
            await lease.renew()
            standing = await store.look(BUILD)
            assert standing.has_worker
            assert standing.was_started
        assert not await has_worker()

    run(lost())


def test_nothing_stays_for_ever():
    async def lifetimes():
        writers = [
            store.save_progress(BUILD, {1: Progress(studies=1)}),
            store.save_answer(BUILD, Answer(archive_id=1, state="ok")),
            store.finish(BUILD),
        ]
        for writing in writers:
            await forget()
            await writing
            assert await store.redis().ttl(HASH) > 0

    run(lifetimes())


@pytest.mark.parametrize(
    "value",
    [
        zlib.compress(b'[1,"ok","",0,[]]'),  # what an earlier version wrote
        FORMAT,
        FORMAT + b"nothing",
        FORMAT + zlib.compress(b"{"),
        FORMAT + zlib.compress(b'[1,"ok","",0]'),
        FORMAT + zlib.compress(b'[1,"ok","",0,[null]]'),
    ],
)
def test_answer_that_can_not_be_read_is_lost(value):
    with pytest.raises(UnreadableAnswerError):
        decode_answer(value)

    async def load_twice():
        await store.finish(BUILD, [Answer(archive_id=n, state="ok") for n in (1, 2)])
        await store.redis().hset(HASH, "answer:1", value)
        collected = await store.load(BUILD)
        assert not collected.is_done
        assert list(collected.answers) == [2]
        assert await store.answer_version(BUILD, 1) is None
        assert await store.answer_version(BUILD, 2)
        assert not (await store.look(BUILD)).is_done

    run(load_twice())


def test_each_answer_that_is_saved_has_a_version_of_its_own():
    async def versions():
        answer = Answer(archive_id=1, state="ok")
        await store.save_answer(BUILD, answer)
        first = await store.answer_version(BUILD, 1)
        await store.finish(BUILD, [answer])
        return first, await store.answer_version(BUILD, 1)

    first, second = run(versions())

    assert first
    assert second
    assert first != second
