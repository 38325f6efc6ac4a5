"""Threads of requests: one each, and the same again for later ones."""

from __future__ import annotations

import asyncio
import re
import threading

import httpx2
import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.test import Client

from launcher import threads
from launcher.threads import in_thread, own_thread
from tests.asgi import serve_hub
from tests.loops import run
from tests.processes import wait_until

# Threads that other tests left may have a connection, which is looked at.
pytestmark = pytest.mark.django_db


async def ident() -> int:
    return await sync_to_async(threading.get_ident)()


def test_calls_within_share_a_thread_and_others_have_another():
    entered = asyncio.Barrier(2)

    async def request() -> tuple[int, int]:
        async with own_thread():
            first = await ident()
            await entered.wait()
            return first, await ident()

    async def both():
        return await asyncio.gather(request(), request())

    (one, same), (other, also_same) = run(both())
    assert one == same
    assert other == also_same
    assert one != other


def test_threads_are_used_again_and_not_too_many_are_kept():
    async def request(gate: asyncio.Barrier) -> threading.Thread:
        async with own_thread():
            await gate.wait()
            return await sync_to_async(threading.current_thread)()

    async def many(number: int) -> set[threading.Thread]:
        gate = asyncio.Barrier(number)
        return set(await asyncio.gather(*(request(gate) for _ in range(number))))

    assert len(run(many(threads.KEPT + 4))) == threads.KEPT + 4
    assert wait_until(lambda: len(threads._idle) == threads.KEPT)
    known = set(threading.enumerate())  # earlier tests may just have given theirs back
    assert run(many(threads.KEPT)) <= known


def test_thread_that_is_still_busy_is_nobody_elses():
    release, started = threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        release.wait(20)

    async def cancelled() -> int:
        async with own_thread():
            busy = await ident()
            call = asyncio.create_task(sync_to_async(work)())
            await asyncio.to_thread(started.wait, 20)
            call.cancel()
        return busy

    async def both() -> tuple[int, int]:
        busy = await cancelled()
        async with own_thread():
            other = await ident()
        release.set()
        return busy, other

    busy, other = run(both())
    assert busy != other


def test_call_within_a_request_has_its_thread():
    async def request() -> tuple[int, int]:
        async with own_thread():
            return await ident(), await in_thread(threading.get_ident)

    here, there = run(request())
    assert here == there


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("valkey")
def test_threads_carry_neither_user_nor_language_to_the_next_request(settings):
    people = []
    for number, language in enumerate(["en", "fr", "de"] * 3):
        user = User.objects.create_user(f"somebody{number}")
        client = Client()
        client.force_login(user)
        session = client.cookies[settings.SESSION_COOKIE_NAME].value
        cookies = f"{settings.SESSION_COOKIE_NAME}={session}; language={language}"
        people.append((user.username, language, cookies))
    paths = ["/", "/launches/", "/search/r/none/", "/searches/", "/m/none"] * 3

    async def visit(hub, name, language, cookies):
        for path in paths:
            page = (await hub.get(path, headers={"Cookie": cookies})).text
            names = set(re.findall(r"somebody\d", page))
            languages = set(re.findall(r'<html lang="(\w+)"', page))
            if not path.startswith("/m/"):
                assert (names, languages) == ({name}, {language})
            assert names <= {name}

    async def visit_as_nobody(hub):
        for path in [*paths, "/accounts/login/"]:
            page = (await hub.get(path)).text
            assert not re.search(r"somebody\d", page)
            assert set(re.findall(r'<html lang="(\w+)"', page)) <= {"en"}

    async def main(address):
        async with httpx2.AsyncClient(base_url=address, timeout=60) as hub:
            visits = [visit(hub, *person) for person in people]
            await asyncio.gather(*visits, visit_as_nobody(hub))

    with serve_hub() as address:
        run(main(address))
