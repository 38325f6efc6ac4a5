"""Launches end, and the image cache forgets what no open launch lists any more."""

import asyncio

import pytest
from django.contrib.auth.models import User
from django.test import AsyncClient, Client
from django.urls import reverse
from django.utils import timezone

from archives.entities import PatientIdentifier, Selection
from archives.models import image_cache
from launcher import background, cached_images, store
from launcher.models import Launch
from launcher.tasks import build_manifest, sweep_launches
from launcher.tokens import image_token
from tests.factories import make_api_client, make_dimse_archive, make_launch
from tests.loops import run

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("valkey"),
]

IMAGE = "1.2.3.4"


@pytest.fixture(autouse=True)
def folder(settings, tmp_path):
    """Where this machine caches images."""
    settings.VIEWERHUB_IMAGE_CACHE_DIR = tmp_path / "images"
    return settings.VIEWERHUB_IMAGE_CACHE_DIR


@pytest.fixture
def archive(embedded_archive):
    return make_dimse_archive(embedded_archive)


def launched(archive, patient_id, **values):
    """A launch that is ready, of one patient."""
    selection = Selection(patients=(PatientIdentifier(patient_id=patient_id),))
    started = make_launch([archive], selection=selection, **values)
    build_manifest(str(started.launch.build_id))
    return started


def cached_series(started, archive):
    """The series of a launch, with an image of each in the cache."""
    build_id = str(started.launch.build_id)
    answer = background.run(store.load_answer(build_id, archive.pk))
    found = [
        image_cache().series(archive.endpoint().cache_owner, series.series_instance_uid)
        for study in answer.studies
        for series in study.series
    ]
    assert found
    for series in found:
        fill(series)
    return found


def fill(series):
    lock = series.lock()
    with lock:
        image = series.create(IMAGE)
        image.write(b"pixels")
        image.finish()


def kept(series):
    return [one.has(IMAGE) for one in series]


def revoke_by_admin(launch):
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    fields = {"action": "revoke", "_selected_action": [str(launch.pk)]}
    client.post(reverse("admin:launcher_launch_changelist"), fields)


def revoke_by_api(launch):
    api_client, key = make_api_client()
    Launch.objects.update(api_client=api_client)
    response = Client().delete(
        f"/api/v1/launches/{launch.pk}", headers={"authorization": f"Bearer {key}"}
    )
    assert response.status_code == 204


def expire(launch):
    Launch.objects.filter(pk=launch.pk).update(expires=timezone.now())
    sweep_launches()


ENDS = pytest.mark.parametrize("end", [revoke_by_admin, revoke_by_api, expire])


@ENDS
def test_images_go_with_the_launch(archive, end):
    started, other = launched(archive, "1CT1"), launched(archive, "4MR1")
    mine, theirs = cached_series(started, archive), cached_series(other, archive)

    end(started.launch)

    assert not any(kept(mine))
    assert all(kept(theirs))


@ENDS
def test_images_that_another_open_launch_lists_stay(archive, end):
    started, other = launched(archive, "1CT1"), launched(archive, "1CT1")
    assert started.launch.build_id != other.launch.build_id
    series = cached_series(started, archive)

    end(started.launch)
    assert all(kept(series))
    other.launch.revoke()
    cached_images.forget([other.launch.build_id])

    assert not any(kept(series))


def test_images_stay_for_a_launch_of_the_same_build(archive):
    selection = Selection(patients=(PatientIdentifier(patient_id="1CT1"),))
    waiting = make_launch([archive], selection=selection)
    started = launched(archive, "1CT1")
    assert started.launch.build_id == waiting.launch.build_id
    series = cached_series(started, archive)

    expire(started.launch)

    assert all(kept(series))


def test_machines_hear_of_launches_that_end_elsewhere(archive):
    """From the first image they serve on."""
    started = launched(archive, "1CT1")
    series = cached_series(started, archive)
    token = image_token(started.manifest_url.rpartition("/m/")[2])
    headers = {"authorization": f"Bearer {token}"}

    async def hear():
        await AsyncClient().get("/gateway/main/wado?objectUID=1.2", headers=headers)
        async with store.redis().pubsub() as other:
            await other.subscribe(cached_images.CHANNEL)
            while (await listeners())[0] < 2:
                await asyncio.sleep(0.01)
            await asyncio.to_thread(expire, started.launch)
            message = None
            while message is None:
                message = await other.get_message(ignore_subscribe_messages=True)
        assert not any(kept(series))
        for one in series:
            fill(one)
        await store.redis().publish(cached_images.CHANNEL, message["data"])
        while any(kept(series)):
            await asyncio.sleep(0.01)

    async def listeners():
        found = await store.redis().pubsub_numsub(cached_images.CHANNEL)
        return [count for _, count in found]

    run(asyncio.wait_for(hear(), 60))


def test_launch_ends_without_redis_too(archive, settings):
    """Its images go by their age."""
    started = launched(archive, "1CT1")
    series = cached_series(started, archive)
    settings.VIEWERHUB_REDIS_URL = "redis://127.0.0.1:9"

    async def forget_connection():
        await store.redis().aclose()
        store._connections.pop(asyncio.get_running_loop())

    background.run(forget_connection())
    try:
        expire(started.launch)
    finally:
        background.run(forget_connection())

    assert Launch.objects.get().state == Launch.State.EXPIRED
    assert all(kept(series))


def test_without_a_cache_nothing_is_noted(archive, settings):
    settings.VIEWERHUB_IMAGE_CACHE_MB = 0
    started = launched(archive, "1CT1")

    expire(started.launch)

    build_id = str(started.launch.build_id)
    assert background.run(cached_images._load([build_id])) == {}
