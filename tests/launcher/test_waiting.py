"""How long a manifest is waited for, and what happens to builds that nobody works on."""

import asyncio

import pytest
import redis
from asgiref.sync import sync_to_async
from django.test import AsyncClient
from kombu.exceptions import OperationalError

from archives.clients.base import Progress
from archives.entities import PatientIdentifier, Selection
from launcher import store, waiting
from launcher.models import Build, Launch
from launcher.services import restart_build
from launcher.tasks import build_manifest
from tests.factories import make_dimse_archive, make_launch
from tests.loops import run

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("valkey"),
]

CT_SMALL = Selection(patients=(PatientIdentifier(patient_id="1CT1"),))
NO_ANSWER = b"no answer yet"
PATIENT = b'PatientID="1CT1"'


@pytest.fixture
def queue(valkey):
    """The queue's Redis, without the tasks of other tests."""
    with redis.Redis.from_url(valkey.url) as connection:
        connection.flushall()
        yield connection


@pytest.fixture
def started(embedded_archive):
    return make_launch([make_dimse_archive(embedded_archive)], selection=CT_SMALL)


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    monkeypatch.setattr(waiting, "KEEP_ALIVE", 0.05)


async def fetch(started):
    """The body, chunk by chunk: each but the first and last is a sign of life."""
    path = "/m/" + started.manifest_url.rpartition("/m/")[2]
    response = await AsyncClient().get(path)
    assert response.status_code == 200
    async for chunk in response.streaming_content:
        yield chunk


async def run_worker(started):
    build_id = str(started.launch.build_id)
    await sync_to_async(build_manifest, thread_sensitive=False)(build_id)


def test_archive_that_sends_is_waited_for_beyond_the_deadline(started, settings):
    """Until it has been silent for a while: here it never is."""
    settings.VIEWERHUB_MANIFEST_DEADLINE = 0.2
    build_id, [archive] = (
        str(started.launch.build_id),
        Build.objects.get().archives.all(),
    )

    async def wait():
        signs, body = 0, b""
        await store.save_progress(build_id, {archive.pk: Progress(instances=1)})
        async for chunk in fetch(started):
            body += chunk
            signs += 1
            await store.save_progress(build_id, {archive.pk: Progress(instances=signs)})
            if signs == 20:  # at 0.05 s each, the deadline is over for long
                await run_worker(started)
        return body

    body = run(wait())

    assert NO_ANSWER not in body
    assert PATIENT in body


def test_archive_that_went_silent_is_not_waited_for(started, settings, monkeypatch):
    settings.VIEWERHUB_MANIFEST_DEADLINE = 0.2
    settings.VIEWERHUB_BUILD_TIMEOUT = 3600
    monkeypatch.setattr(waiting, "RECEIVING", 0.1)
    build_id, [archive] = (
        str(started.launch.build_id),
        Build.objects.get().archives.all(),
    )

    async def wait():
        await store.save_progress(build_id, {archive.pk: Progress(instances=1)})
        async with asyncio.timeout(120):
            return b"".join([chunk async for chunk in fetch(started)])

    assert NO_ANSWER in run(wait())


def test_archive_that_sends_for_ever_is_not_waited_for(started, settings):
    settings.VIEWERHUB_MANIFEST_DEADLINE = 0.2
    settings.VIEWERHUB_BUILD_TIMEOUT = 1.0
    build_id, [archive] = (
        str(started.launch.build_id),
        Build.objects.get().archives.all(),
    )

    async def wait():
        body, count = b"", 0
        async with asyncio.timeout(120):
            async for chunk in fetch(started):
                body, count = body + chunk, count + 1
                progress = {archive.pk: Progress(instances=count)}
                await store.save_progress(build_id, progress)
        return body

    assert NO_ANSWER in run(wait())


def test_build_whose_message_was_lost_is_queued_by_who_waits(
    started, queue, monkeypatch
):
    monkeypatch.setattr(waiting, "UNCLAIMED", 0.1)
    queue.flushall()

    async def wait():
        body, is_queued = b"", False
        async for chunk in fetch(started):
            body += chunk
            if not is_queued and queue.llen("viewerhub"):
                is_queued = True
                await run_worker(started)
        return body

    assert PATIENT in run(wait())
    assert Build.objects.get().state == Build.State.READY


def test_build_that_a_worker_has_is_not_queued_again(
    started, queue, settings, monkeypatch
):
    monkeypatch.setattr(store, "LEASE", 600.0)
    monkeypatch.setattr(waiting, "UNCLAIMED", 0.0)
    settings.VIEWERHUB_MANIFEST_DEADLINE = 0.3
    before = queue.llen("viewerhub")

    async def wait():
        async with store.lease(str(started.launch.build_id)) as lease:
            assert lease
            async for _ in fetch(started):
                pass

    run(wait())

    assert queue.llen("viewerhub") == before


def test_redis_may_be_restarted_while_somebody_waits(started, valkey):
    if valkey.process is None:
        pytest.skip("the Redis server was given, not started by the tests")

    async def restart_and_build():
        signs: asyncio.Queue[bytes] = asyncio.Queue()

        async def wait():
            body = b""
            async for chunk in fetch(started):
                body += chunk
                signs.put_nowait(chunk)
            return body

        waiting_viewer = asyncio.create_task(wait())
        await signs.get()
        valkey.stop()
        for _ in range(3):
            await signs.get()
        valkey.start()
        await run_worker(started)
        return await waiting_viewer

    assert PATIENT in run(restart_and_build())


def test_queue_that_is_away_ends_no_wait(started, settings, monkeypatch):
    """The build can't be queued again then; it is tried later."""
    settings.VIEWERHUB_MANIFEST_DEADLINE = 0.3
    monkeypatch.setattr(waiting, "UNCLAIMED", 0.0)
    tried = []

    def fail(build_id):
        tried.append(build_id)
        raise OperationalError

    monkeypatch.setattr(waiting.services, "restart_build", fail)

    async def wait():
        return b"".join([chunk async for chunk in fetch(started)])

    assert NO_ANSWER in run(wait())
    assert tried == [str(started.launch.build_id)]


def test_viewer_that_came_before_the_last_archive_has_opened_the_launch(
    started, settings
):
    settings.VIEWERHUB_MANIFEST_DEADLINE = 0.1

    async def wait():
        return b"".join([chunk async for chunk in fetch(started)])

    assert NO_ANSWER in run(wait())
    build_manifest(str(started.launch.build_id))

    assert Launch.objects.get().state == Launch.State.FETCHED


def test_restarted_build_is_ready_for_who_had_opened_it(started):
    build_manifest(str(started.launch.build_id))
    Launch.objects.update(state=Launch.State.FETCHED)

    restart_build(str(started.launch.build_id))
    build_manifest(str(started.launch.build_id))

    assert Launch.objects.get().state == Launch.State.FETCHED
