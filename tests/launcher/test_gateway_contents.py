"""What the gateway knows of a build: while it runs, after a new attempt, without Redis."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import redis
from asgiref.sync import sync_to_async
from django.test import AsyncClient

from archives.entities import Instance, PatientIdentifier, Selection, Series, Study
from launcher import background, store
from launcher.answers import Answer
from launcher.gateway import contents
from launcher.gateway.contents import Patience, contents_of
from launcher.models import Build
from launcher.tasks import build_manifest
from launcher.tokens import image_token
from tests.factories import make_dimse_archive, make_launch
from tests.loops import run
from tests.processes import wait_until
from tests.servers import Slow

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("valkey"),
]

CT_SMALL = Selection(patients=(PatientIdentifier(patient_id="1CT1"),))


@pytest.fixture(autouse=True)
def forgetful():
    """As a web server that was just started."""
    contents._kept.clear()


@pytest.fixture
def connection(valkey):
    with redis.Redis.from_url(valkey.url) as connection:
        yield connection


@pytest.fixture
def archive(embedded_archive):
    return make_dimse_archive(embedded_archive)


@pytest.fixture
def started(archive):
    return make_launch([archive], selection=CT_SMALL)


def answer_of(archive, count, uid="1.2"):
    series = Series(
        series_instance_uid=f"{uid}.1",
        instances=tuple(
            Instance(sop_instance_uid=f"{uid}.1.{number}") for number in range(count)
        ),
    )
    study = Study(study_instance_uid=uid, series=(series,))
    return Answer(archive_id=archive.pk, state="ok", studies=(study,))


def save(started, *answers):
    background.run(store.finish(str(started.launch.build_id), answers))


def count(started, archive, **options):
    """How many instances the gateway would serve."""
    found = run(contents_of(str(started.launch.build_id), archive.pk, **options))
    return len(found.instances)


def test_contents_are_those_of_the_newest_attempt(started, archive):
    for answer, expected in (
        (replace(answer_of(archive, 0), state="unavailable"), 0),
        (answer_of(archive, 3), 3),
        (answer_of(archive, 5), 5),
        (answer_of(archive, 2), 2),
    ):
        save(started, answer)
        assert count(started, archive) == expected


def test_instance_that_is_known_is_served_without_a_look_at_redis(
    started, archive, monkeypatch
):
    """But one that is not known may be in a newer answer, and all else is asked for."""
    monkeypatch.setattr(contents, "FRESH", 3600)
    save(started, answer_of(archive, 3))
    assert count(started, archive) == 3
    save(started, answer_of(archive, 5))

    assert count(started, archive, sop_instance_uid="1.2.1.2") == 3
    assert count(started, archive, sop_instance_uid="1.2.1.4") == 5
    save(started, answer_of(archive, 2))
    assert count(started, archive) == 2

    monkeypatch.setattr(contents, "FRESH", 0)
    save(started, answer_of(archive, 4))
    assert count(started, archive, sop_instance_uid="1.2.1.1") == 4


def test_contents_that_redis_lost_are_served_from_what_is_kept(
    started, archive, connection, valkey
):
    save(started, answer_of(archive, 3))
    assert count(started, archive) == 3

    connection.flushall()
    assert count(started, archive) == 3
    assert connection.llen("viewerhub") == 0
    if valkey.process is not None:
        valkey.stop()
        try:
            assert count(started, archive) == 3
        finally:
            valkey.start()


def test_contents_that_are_lost_are_built_again_for_images(
    started, archive, connection
):
    build_id = str(started.launch.build_id)
    build_manifest(build_id)
    connection.flushall()

    async def ask_while_a_worker_runs():
        asking = asyncio.create_task(contents_of(build_id, archive.pk))
        unfinished = Build.objects.unfinished()
        while not await unfinished.aexists():
            assert not asking.done()
            await asyncio.sleep(0.01)
        await sync_to_async(build_manifest, thread_sensitive=False)(build_id)
        return await asking

    assert len(run(ask_while_a_worker_runs()).instances) == 1


def test_contents_that_are_lost_are_not_built_again_for_pictures(
    started, archive, connection
):
    build_manifest(str(started.launch.build_id))
    connection.flushall()

    assert count(started, archive, patience=Patience.NONE) == 0
    assert connection.llen("viewerhub") == 0
    assert Build.objects.get().is_finished


def test_contents_are_read_once_for_many_requests(started, archive, monkeypatch):
    save(started, answer_of(archive, 3))
    read, load_answer = [], store.load_answer

    async def counted(*key):
        read.append(key)
        return await load_answer(*key)

    async def at_once():
        key = str(started.launch.build_id), archive.pk
        return await asyncio.gather(*(contents_of(*key) for _ in range(12)))

    monkeypatch.setattr(store, "load_answer", counted)

    assert [len(one.instances) for one in run(at_once())] == [3] * 12
    assert len(read) == 1
    assert count(started, archive) == 3
    assert len(read) == 1


def test_contents_are_kept_up_to_a_number_of_instances(archive, monkeypatch):
    monkeypatch.setattr(contents, "MAXIMUM_KEPT", 10)
    launches = []
    for size in (4, 4, 4, 30):
        selection = Selection(study_instance_uids=(f"1.{len(launches)}",))
        launches.append(make_launch([archive], selection=selection))
        save(launches[-1], answer_of(archive, size))
        assert count(launches[-1], archive) == size
        sizes = [len(one.contents.instances) for one in contents._kept.values()]
        assert sum(sizes) <= 10 or len(sizes) == 1

    assert sizes == [30]


# While the build runs


@pytest.fixture
def half_built(archive, dicom_files):
    """A launch of an archive that has answered, and of one that has not."""
    study = dicom_files.study("cr")
    with Slow(dicom_files.paths([study])) as slow, ThreadPoolExecutor() as pool:
        other = make_dimse_archive(slow, name="Slow", slug="slow", answer_timeout=60)
        selection = replace(CT_SMALL, study_instance_uids=(study.study_instance_uid,))
        started = make_launch([archive, other], selection=selection)
        build_id = str(started.launch.build_id)
        building = pool.submit(build_manifest, build_id)
        assert wait_until(
            lambda: background.run(store.load_answer(build_id, archive.pk))
        )
        assert slow.asked.wait(20)
        yield started
        slow.proceed.set()
        building.result(60)


WADO = "/gateway/slow/wado?requestType=WADO&studyUID=1.2&seriesUID=1.3&objectUID=1.4"


@pytest.mark.parametrize(
    "path",
    [
        f"{WADO}&contentType=image/jpeg&imageQuality=75&rows=256&columns=256",
        f"{WADO}&contentType=application%2Fdicom",
        "/gateway/slow/wado/1.2/1.3/thumbnail.jpg",
        "/gateway/slow/dicom-web/studies/1.2/series/1.3/instances/1.4/thumbnail",
        "/gateway/slow/dicom-web/studies/1.2/series?0020000E=1.3",
    ],
)
def test_archive_that_has_not_answered_keeps_no_viewer_waiting(
    half_built, connection, path, monkeypatch
):
    """Weasis asks it for pictures of the other's series, before it loads an image."""
    monkeypatch.setattr(contents, "DEADLINE", 3600)
    queued = connection.llen("viewerhub")
    token = image_token(half_built.manifest_url.rpartition("/m/")[2])

    async def fetch():
        headers = {"authorization": f"Bearer {token}"}
        async with asyncio.timeout(60):
            return await AsyncClient().get(path, headers=headers)

    assert run(fetch()).status_code == 404
    assert connection.llen("viewerhub") == queued
    # Said only where an archive takes its time.
    assert wait_until(lambda: Build.objects.get().state == Build.State.BUILDING)


def test_contents_of_an_archive_that_has_answered_are_there(half_built, archive):
    assert count(half_built, archive) == 1
