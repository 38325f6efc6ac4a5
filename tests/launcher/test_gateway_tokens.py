"""What each token opens in the gateway, by every kind of address: its launch, no more."""

import asyncio
import random
import socket
from datetime import timedelta
from urllib.parse import parse_qs, quote, unquote, urlsplit

import pytest
from django.test import AsyncClient
from django.utils import timezone

from archives.entities import Selection
from launcher.gateway import grants
from launcher.models import Launch
from launcher.tasks import build_manifest
from launcher.tokens import image_token
from tests.asgi import serve_hub
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

MUTATIONS = 5000
RAW = 500
AT_ONCE = 8
RESTS = ("", "/metadata", "/rendered", "/thumbnail")
OF_INSTANCES = ("/frames/1", "/frames/1/rendered", "/bulk/7fe00010")


def started(archive, study):
    selection = Selection(study_instance_uids=(study.study_instance_uid,))
    launch = make_launch([archive], selection=selection)
    build_manifest(str(launch.launch.build_id))
    return launch


def manifest_token(launch):
    return launch.manifest_url.rpartition("/m/")[2]


def token_of(launch):
    return image_token(manifest_token(launch))


def addresses(study, instances=1):
    """Everything below ``/gateway/<archive>/`` that a launch of the study opens."""
    study_uid = study.study_instance_uid
    dicomweb = f"dicom-web/studies/{study_uid}"
    yield from (f"{dicomweb}{rest}" for rest in (*RESTS, "/series", "/instances"))
    for series in study.series:
        uid = series.series_instance_uid
        path = f"{dicomweb}/series/{uid}"
        yield from (f"{path}{rest}" for rest in (*RESTS, "/instances"))
        yield f"wado/{study_uid}/{uid}/thumbnail.jpg"
        for one in series.instances[:instances]:
            sop_uid = one.sop_instance_uid
            for rest in (*RESTS, *OF_INSTANCES):
                yield f"{path}/instances/{sop_uid}{rest}"
            yield f"wado/{study_uid}/{uid}/{sop_uid}.dcm"
            yield f"wado?requestType=WADO&objectUID={sop_uid}"
            yield f"wado?studyUID={study_uid}&objectUID={sop_uid}&contentType=image/jpeg"


def statuses(paths, token, slug="web"):
    return run(_statuses(paths, token, slug))


async def _statuses(paths, token, slug):
    headers = {"authorization": f"Bearer {token}"} if token else {}
    client, turns = AsyncClient(), asyncio.Semaphore(AT_ONCE)

    async def status(path):
        async with turns:
            response = await client.get(f"/gateway/{slug}/{path}", headers=headers)
            if response.streaming:
                async for _ in response.streaming_content:
                    pass
            return response.status_code

    return await asyncio.gather(*map(status, paths))


@pytest.fixture
def archive(orthanc):
    return make_dicomweb_archive(orthanc.dicomweb_url)


@pytest.fixture
def study(orthanc):
    return orthanc.dataset.study("cr")


@pytest.fixture
def launch(archive, study):
    return started(archive, study)


def test_no_token_opens_what_is_not_its_own(archive, study, launch, orthanc):
    other_study = orthanc.dataset.study("mr")
    make_dicomweb_archive(orthanc.dicomweb_url, name="Second", slug="second")
    other = started(archive, other_study)
    token = token_of(launch)
    mine, theirs = list(addresses(study)), list(addresses(other_study))

    # Orthanc has the pixels by frames, not by tag.
    own = statuses(mine, token)
    assert set(own) <= {200, 404}
    assert own.count(200) >= len(mine) - len(study.series)
    assert set(statuses(theirs, token)) == {404}
    assert set(statuses(mine, token_of(other))) == {404}
    assert set(statuses(mine, token, slug="second")) == {404}
    assert set(statuses(mine, token, slug="missing")) == {404}
    for wrong in (
        "",
        token[:-1],
        token + "A",
        token.swapcase(),
        manifest_token(launch),
    ):
        assert set(statuses(mine, wrong)) == {401}


@pytest.mark.parametrize(
    "values",
    [{"state": Launch.State.REVOKED}, {"expires": timezone.now() - timedelta(hours=1)}],
    ids=["revoked", "expired"],
)
def test_every_address_closes_with_the_launch(study, launch, values):
    Launch.objects.update(**values)

    assert set(statuses(addresses(study), token_of(launch))) == {401}


def test_token_ends_with_the_rights_of_who_launched(
    embedded_archive, django_user_model, django_assert_max_num_queries
):
    launch = make_launch([make_dimse_archive(embedded_archive)])
    user = django_user_model.objects.create()
    client, _ = make_api_client()
    Launch.objects.update(user=user, api_client=client)
    token = token_of(launch)
    with django_assert_max_num_queries(2):
        assert grants._open(token, "main")

    for barred, off, on in (
        (user, {"is_active": False}, {"is_active": True}),
        (client, {"is_enabled": False}, {"is_enabled": True}),
        (client, {"expires": timezone.now() - timedelta(seconds=1)}, {"expires": None}),
    ):
        type(barred).objects.update(**off)
        assert statuses(["wado?requestType=WADO&objectUID=1.2"], token, "main") == [401]
        type(barred).objects.update(**on)
        assert grants._open(token, "main")


def test_token_in_use_is_looked_up_again_soon(study, launch, django_assert_num_queries):
    uid = study.series[0].instances[0].sop_instance_uid
    address, token = [f"wado?requestType=WADO&objectUID={uid}"], token_of(launch)
    assert statuses(address, token) == [200]
    with django_assert_num_queries(0):
        assert statuses(address, token) == [200]

    Launch.objects.get().revoke()
    grants._kept.clear()  # the second is over

    assert statuses(address, token) == [401]


def test_archive_without_dicomweb_has_none_in_the_gateway(embedded_archive, study):
    archive = make_dimse_archive(embedded_archive)
    ct = Selection(study_instance_uids=("1.3.6.1.4.1.5962.1.2.1.20040119072730.12322",))
    launch = make_launch([archive], selection=ct)
    build_manifest(str(launch.launch.build_id))
    paths = ["dicom-web/studies", f"dicom-web/studies/{ct.study_instance_uids[0]}"]

    assert statuses(paths, token_of(launch), slug="main") == [404, 404]


def mutated(path, others, chance):
    """The address with something in it changed, as somebody might who tries."""
    place = chance.randrange(len(path))
    character = chance.choice("0123456789./%?&=*,;:\\ aZ_-é\0")
    segments = path.split("/")
    match chance.randrange(8):
        case 0:
            return path[:place] + character + path[place + 1 :]
        case 1:
            return path[:place] + character + path[place:]
        case 2:
            return path[:place] + path[place + 1 :]
        case 3:
            return (
                path[:place]
                + chance.choice(["../", "%2e%2e/", "//", "/./"])
                + path[place:]
            )
        case 4:
            segments[chance.randrange(len(segments))] = chance.choice(others)
        case 5:
            segments.insert(chance.randrange(len(segments)), chance.choice(others))
        case 6:
            del segments[chance.randrange(len(segments))]
        case 7:
            return path[:place]
    return "/".join(segments)


def tries(study, foreign, seed, count):
    """Mutated addresses of the study, as they are typed: nothing in them is escaped."""
    series = foreign.series[0]
    others = [
        foreign.study_instance_uid,
        series.series_instance_uid,
        series.instances[0].sop_instance_uid,
        *("..", "*", "studies", "series", "instances", "metadata", "dicom-web", "wado"),
    ]
    chance, paths = random.Random(seed), list(addresses(study))
    return [mutated(chance.choice(paths), others, chance) for _ in range(count)]


def is_of(study, path):
    """Whether an address that is served is one of the study's."""
    path, _, query = unquote(path).partition("?")
    if path == "wado":  # by the instance it names; of several, Django takes the last
        named = parse_qs(query).get("objectUID", [""])[-1]
        return named in study.sop_instance_uids
    searches = {"dicom-web/studies", "dicom-web/series", "dicom-web/instances"}
    return path in searches | set(addresses(study, instances=1000))


def test_mutated_addresses_open_nothing(study, launch, orthanc):
    """But for those that are addresses of the launch again."""
    foreign = orthanc.dataset.study("ct-prior")
    tried = [
        quote(path, safe="/%?&=*,;:")
        for path in tries(study, foreign, 20261124, MUTATIONS)
    ]

    found = statuses(tried, token_of(launch))

    served = [path for path, status in zip(tried, found, strict=True) if status < 400]
    # Some are those of the launch, which shows that others could be.
    assert any(path.startswith("wado?") for path in served)
    assert any(path.startswith("dicom-web/") for path in served)
    assert [path for path in served if not is_of(study, path)] == []
    assert set(found) <= {200, 400, 404, 406, 502}


def raw_status(connection, path, token):
    """The status of a request whose target is sent as it is."""
    head = f"GET /gateway/web/{path} HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n"
    head += f"Authorization: Bearer {token}\r\n\r\n"
    connection.sendall(head.encode("latin-1"))
    with connection.makefile("rb") as answer:
        return int(answer.read().split(b" ", 2)[1])


def test_raw_addresses_open_nothing(study, launch, orthanc):
    """What no client would send is read by the server in its own way."""
    foreign = orthanc.dataset.study("ct-prior")
    token, served, found = token_of(launch), [], set()
    with serve_hub() as hub:
        address = ("127.0.0.1", urlsplit(hub).port)
        for path in tries(study, foreign, 20261126, RAW):
            with socket.create_connection(address, timeout=60) as connection:
                status = raw_status(connection, path, token)
            found.add(status)
            if status < 400:
                served.append(path)

    assert served
    assert [path for path in served if not is_of(study, path.partition(" ")[0])] == []
    assert found <= {200, 400, 404, 406, 502}
