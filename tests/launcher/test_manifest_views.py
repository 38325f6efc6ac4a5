"""``GET /m/<token>`` as Weasis asks for it, while archives answer or fail."""

import asyncio
import gzip
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.db import DatabaseError
from django.test import AsyncClient
from django.utils import timezone, translation
from lxml import etree

from archives.entities import PatientIdentifier, Selection
from archives.models import Archive
from launcher import background, delivery, store, waiting
from launcher.models import Build, Launch
from launcher.models.launches import LaunchQuerySet
from launcher.tasks import build_manifest
from tests.factories import (
    make_api_client,
    make_dicomweb_archive,
    make_dimse_archive,
    make_launch,
)
from tests.loops import run

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("valkey"),
]

CT_SMALL = Selection(patients=(PatientIdentifier(patient_id="1CT1"),))
WEASIS = "Weasis/{0} (Linux; 6; amd64; pf:default; rv:{0}) Java/26"


def path_of(started):
    return "/m/" + started.manifest_url.rpartition("/m/")[2]


async def fetch(path, version="4.7.2", **headers):
    """Status, body and headers, as one request of Weasis gets them."""
    headers = {"user-agent": WEASIS.format(version)} | headers
    response = await AsyncClient().get(path, headers=headers)
    if response.streaming:
        body = b"".join([chunk async for chunk in response.streaming_content])
    else:
        body = response.content
    return response, body


def read(body):
    root = etree.fromstring(body)
    for element in root.iter():
        element.tag = etree.QName(element).localname
    return root


def built(archives, selection=CT_SMALL):
    started = make_launch(archives, selection=selection)
    build_manifest(str(started.launch.build_id))
    return started


def messages_of(body):
    return {
        message.get("title"): message.get("description")
        for message in read(body).iter("Message")
    }


def test_manifest_lists_the_images_and_opens_the_gateway(embedded_archive):
    started = built([make_dimse_archive(embedded_archive)])

    response, body = run(fetch(path_of(started)))

    assert response.status_code == 200
    query = read(body).find("arcQuery")
    assert query.get("baseUrl") == "http://127.0.0.1:8000/gateway/main/wado"
    assert query.find("httpTag").get("key") == "Authorization"
    assert query.find("Patient").get("PatientID") == "1CT1"
    assert len(list(query.iter("Instance"))) == 1
    started.launch.refresh_from_db()
    assert started.launch.state == Launch.State.FETCHED
    assert started.launch.viewer == "Weasis 4.7.2"


def test_manifest_can_be_fetched_again(embedded_archive):
    started = built([make_dimse_archive(embedded_archive)])

    first = run(fetch(path_of(started)))[1]

    assert run(fetch(path_of(started)))[1] == first


def test_manifest_that_is_also_fetched_by_hand_keeps_its_viewer(embedded_archive):
    started = built([make_dimse_archive(embedded_archive)])
    run(fetch(path_of(started)))

    run(fetch(path_of(started), **{"user-agent": "curl/8.5.0"}))

    started.launch.refresh_from_db()
    assert started.launch.viewer == "Weasis 4.7.2"


def test_manifest_is_compressed_for_those_who_ask(embedded_archive):
    started = built([make_dimse_archive(embedded_archive)])

    plain = run(fetch(path_of(started)))[1]
    response, body = run(fetch(path_of(started), **{"accept-encoding": "gzip"}))

    assert response["Content-Encoding"] == "gzip"
    assert int(response["Content-Length"]) == len(body)
    assert gzip.decompress(body) == plain


def test_manifest_waits_for_the_build_and_wakes_with_it(embedded_archive):
    started = make_launch([make_dimse_archive(embedded_archive)], selection=CT_SMALL)

    async def wait_while_it_is_built():
        request = asyncio.create_task(fetch(path_of(started)))
        await sync_to_async(build_manifest, thread_sensitive=False)(
            str(started.launch.build_id)
        )
        return await request

    _, body = run(wait_while_it_is_built())

    assert body.startswith(b'<?xml version="1.0" encoding="UTF-8"?>')
    assert len(list(read(body).iter("Instance"))) == 1


def test_manifest_sends_white_space_until_the_deadline_then_says_who_is_missing(
    settings, monkeypatch
):
    settings.VIEWERHUB_MANIFEST_DEADLINE = 0.3
    monkeypatch.setattr(waiting, "KEEP_ALIVE", 0.05)
    started = make_launch([make_dimse_archive()], selection=CT_SMALL)

    response, body = run(fetch(path_of(started)))

    assert response.status_code == 200
    assert b"?>\n \n \n" in body
    assert messages_of(body)["Main PACS: no answer yet"]
    started.launch.refresh_from_db()
    assert started.launch.state == Launch.State.PENDING


def test_manifest_at_the_deadline_holds_what_has_arrived(embedded_archive, settings):
    settings.VIEWERHUB_MANIFEST_DEADLINE = 0.1
    archive = make_dimse_archive(embedded_archive)
    slow = make_dimse_archive(name="Slow archive", slug="slow")
    done = built([archive])
    answer = background.run(store.load_answer(str(done.launch.build_id), archive.pk))
    started = make_launch([archive, slow], selection=CT_SMALL)
    background.run(store.save_answer(str(started.launch.build_id), answer))

    _, body = run(fetch(path_of(started)))

    assert len(list(read(body).iter("Instance"))) == 1
    assert list(messages_of(body)) == ["Slow archive: no answer yet"]


def test_manifest_names_the_archive_that_failed(embedded_archive):
    dead = make_dimse_archive(name="Old archive", slug="old")
    started = built([make_dimse_archive(embedded_archive), dead])

    _, body = run(fetch(path_of(started)))

    assert len(list(read(body).iter("Instance"))) == 1
    assert "Old archive" in messages_of(body)["Old archive: not answering"]


def test_manifest_says_when_nothing_was_found(embedded_archive):
    nobody = Selection(patients=(PatientIdentifier(patient_id="NOBODY"),))
    started = built([make_dimse_archive(embedded_archive)], nobody)

    _, body = run(fetch(path_of(started)))

    assert "Main PACS" in messages_of(body)["No images found"]


@pytest.mark.parametrize(
    "values",
    [{"state": Launch.State.REVOKED}, {"expires": timezone.now() - timedelta(hours=1)}],
)
def test_manifest_of_a_launch_that_is_over_says_so(embedded_archive, values):
    started = built([make_dimse_archive(embedded_archive)])
    Launch.objects.update(**values)

    response, body = run(fetch(path_of(started)))

    assert response.status_code == 200
    assert "expired or was revoked" in messages_of(body)["This launch is over"]
    assert not list(read(body).iter("Patient"))


@pytest.mark.parametrize("bars", ["inactive", "disabled", "expired"])
def test_manifest_ends_with_the_rights_of_who_launched(
    embedded_archive, bars, django_user_model
):
    started = built([make_dimse_archive(embedded_archive)])
    user = django_user_model.objects.create(is_active=bars != "inactive")
    past = timezone.now() - timedelta(seconds=1)
    client, _ = make_api_client(
        is_enabled=bars != "disabled", expires=past if bars == "expired" else None
    )
    Launch.objects.update(user=user, api_client=client)

    _, body = run(fetch(path_of(started)))

    assert "This launch is over" in messages_of(body)


def test_manifest_says_in_the_language_of_the_launch_what_is_missing(free_port):
    archive = make_dimse_archive(host="127.0.0.1", port=free_port())
    with translation.override("de"):
        started = built([archive])

    ((title, description),) = messages_of(run(fetch(path_of(started)))[1]).items()

    assert title == "Main PACS: antwortet nicht"
    assert "hat die Verbindung abgelehnt" in description


def test_manifest_of_an_unknown_token_is_404():
    response, _ = run(fetch("/m/" + "A" * 43))

    assert response.status_code == 404


def test_manifest_is_built_again_when_redis_has_lost_it(embedded_archive, valkey):
    started = built([make_dimse_archive(embedded_archive)])
    valkey.stop()
    valkey.start()

    async def fetch_while_a_worker_runs():
        request = asyncio.create_task(fetch(path_of(started)))
        unfinished = Build.objects.unfinished()
        while not await unfinished.aexists():
            assert not request.done()
            await asyncio.sleep(0.01)
        await sync_to_async(build_manifest, thread_sensitive=False)(
            str(started.launch.build_id)
        )
        return await request

    _, body = run(fetch_while_a_worker_runs())

    assert len(list(read(body).iter("Instance"))) == 1


def test_manifest_with_redis_down_says_so(embedded_archive, valkey, monkeypatch):
    monkeypatch.setattr(waiting, "OUTAGE", 0.1)
    started = built([make_dimse_archive(embedded_archive)])
    valkey.stop()
    try:
        response, body = run(fetch(path_of(started)))
    finally:
        valkey.start()

    assert response.status_code == 200
    assert "again in a minute" in messages_of(body)["ViewerHub has a problem"]


def test_manifest_is_built_again_when_its_bytes_can_not_be_read(embedded_archive):
    """Another version of the hub may have written them."""
    archive = make_dimse_archive(embedded_archive)
    started = built([archive])
    build_id = str(started.launch.build_id)

    async def fetch_while_a_worker_runs():
        name = f"viewerhub:build:{build_id}"
        await store.redis().hset(name, f"answer:{archive.pk}", b"something else")
        request = asyncio.create_task(fetch(path_of(started)))
        unfinished = Build.objects.unfinished()
        while not await unfinished.aexists():
            assert not request.done()
            await asyncio.sleep(0.01)
        await sync_to_async(build_manifest, thread_sensitive=False)(build_id)
        return await request

    _, body = run(fetch_while_a_worker_runs())

    assert len(list(read(body).iter("Instance"))) == 1


@pytest.mark.parametrize("is_ready", [True, False])
def test_manifest_stays_well_formed_whatever_goes_wrong(
    embedded_archive, settings, monkeypatch, is_ready
):
    settings.VIEWERHUB_MANIFEST_DEADLINE = 0.05
    archives = [make_dimse_archive(embedded_archive)]
    started = built(archives) if is_ready else make_launch(archives)

    def fail(*_):
        raise ValueError

    monkeypatch.setattr(delivery, "render", fail)

    response, body = run(fetch(path_of(started)))

    assert response.status_code == 200
    assert response.streaming != is_ready
    assert "again in a minute" in messages_of(body)["ViewerHub has a problem"]


def test_manifest_is_delivered_though_that_can_not_be_recorded(
    embedded_archive, monkeypatch
):
    started = built([make_dimse_archive(embedded_archive)])

    def fail(*_, **__):
        raise DatabaseError

    monkeypatch.setattr(LaunchQuerySet, "update", fail)

    _, body = run(fetch(path_of(started)))

    assert len(list(read(body).iter("Instance"))) == 1


@pytest.mark.parametrize(
    ("version", "mode"),
    [("4.6.6", None), ("4.7.0", "DICOM_WEB"), ("4.7.2", "DICOM_WEB")],
)
def test_manifest_of_direct_images_fits_the_version_that_asks(version, mode):
    archive = make_dicomweb_archive(
        "https://pacs.example.org/rs", images=Archive.Images.DIRECT
    )
    started = make_launch([archive])
    background.run(store.finish(str(started.launch.build_id)))
    answer = store.Answer(archive_id=archive.pk, state="refused", message="No.")
    background.run(store.save_answer(str(started.launch.build_id), answer))

    _, body = run(fetch(path_of(started), version))

    query = read(body).find("arcQuery")
    assert query.get("queryMode") == mode
    assert (query.find("httpTag") is None) == (mode is not None)


def test_manifest_holds_no_archive_credential():
    archive = make_dicomweb_archive(
        "http://127.0.0.1:9",
        authentication=Archive.Authentication.BASIC,
        username="viewer",
        password="marker-secret-value",
    )
    started = built([archive])

    _, body = run(fetch(path_of(started)))

    assert b"marker-secret-value" not in body
    assert b"webLogin" not in body
