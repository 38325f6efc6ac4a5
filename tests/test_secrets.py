"""Archives' credentials are nowhere but where they have to go."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import traceback
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote
from urllib.request import Request, urlopen

import pytest
import redis
from django.core.management import call_command
from django.test import Client

from archives.authentication import AUTHENTICATION_SECRETS
from archives.clients.authentication import tokens
from archives.clients.dicomweb.memory import memory_of
from archives.errors import ArchiveError
from archives.models import Archive
from archives.presets import PRESETS
from archives.verification import verify
from launcher.tasks import build_manifest
from tests.asgi import serve_hub
from tests.dicomweb_server import Answer, content
from tests.factories import make_api_client, make_launch
from tests.vendors.azure import Azure
from tests.vendors.files import studies
from tests.vendors.generic import Generic
from tests.vendors.google import Google
from tests.vendors.healthimaging import HealthImaging
from tests.vendors.kheops import Kheops
from tests.vendors.orthanc import Orthanc
from tests.vendors.server import VendorServer, serving
from tests.vendors.test_vendors import PATIENT, run, search
from tests.weasis_client import open_uri

pytestmark = pytest.mark.django_db(transaction=True)

VENDORS: dict[str, type[VendorServer]] = {
    "basic": Orthanc,
    "bearer": Kheops,
    "oauth2": Azure,
    "google": Google,
    "aws": HealthImaging,
    "headers": Generic,
}


@pytest.fixture
def hub(valkey: Any, settings: Any) -> Iterator[str]:
    with serve_hub() as address:
        settings.VIEWERHUB_PUBLIC_URL = address
        yield address


def make_archive(kind: str, server: VendorServer) -> Archive:
    values = PRESETS[server.product].initial("dicomweb") | server.archive_values()
    if kind == "headers":
        values |= {
            "authentication": "headers",
            "custom_headers": "X-Api-Key: the-key-in-a-header",
        }
    archive = Archive(name="Cloud", slug="cloud", protocol="dicomweb", **values)
    archive.full_clean()
    archive.save()
    assert archive.authentication == kind
    return archive


def markers_of(archive: Archive, server: VendorServer) -> set[str]:
    """The secrets of an archive, their parts, and what is made of them."""
    markers = set()
    for name in AUTHENTICATION_SECRETS:
        text = getattr(archive, name)
        if name == "service_account_key" and text:
            text = json.loads(text)["private_key"].split("\n")[5]
        markers.add(text.rpartition(": ")[2])
    for request in server.requests:
        markers.add(request.headers.get("authorization", ""))
    for asked in server.tokens.requests:
        markers |= {asked.authorization, asked.form.get("assertion", "")}
    return markers - {""}


class Walk:
    """Everything that the hub shows, writes or sends, while an archive is used."""

    def __init__(self, archive: Archive, hub: str, admin: Client) -> None:
        self.archive = archive
        self.hub = hub
        self.admin = admin
        self.seen: dict[str, str] = {}

    def use(self, when: str) -> None:
        """Verify, search, launch and look at every page."""
        archive, seen = self.archive, self.seen
        [(_, verification)] = verify([archive])
        seen[f"verification, {when}"] = repr(verification)
        seen[f"search, {when}"] = repr(search(archive, patient_id="P1"))
        started = make_launch([archive], selection=PATIENT)
        seen[f"uri, {when}"] = unquote(started.uri)
        seen[f"queue, {when}"] = redis_content()
        build_manifest(str(started.launch.build_id))
        result = open_uri(started.uri, "4.7.2")
        seen[f"what Weasis got, {when}"] = repr(
            (result.failures, list(result.downloaded))
        )
        seen[f"manifest, {when}"] = manifest(started.uri)
        seen[f"store, {when}"] = redis_content()
        for path in self.pages(started):
            response = self.admin.get(path, follow=True)
            assert response.status_code == 200, path
            seen[f"{path}, {when}"] = response.content.decode()
        seen[f"API, {when}"] = self.api("studies/search", {"patient_name": "Doe^Jane"})

    def pages(self, started: Any) -> list[str]:
        archive = f"/admin/archives/archive/{self.archive.pk}"
        launch = f"/admin/launcher/launch/{started.launch.pk}"
        return [
            "/admin/archives/archive/",
            *(f"{archive}/{page}/" for page in ("change", "history", "delete")),
            "/admin/launcher/launch/",
            f"{launch}/change/",
            "/",
        ]

    def export(self) -> None:
        output = io.StringIO()
        call_command("dumpdata", "archives", "launcher", "admin", stdout=output)
        self.seen["export"] = output.getvalue()
        self.seen["repr"] = repr(self.archive) + repr(self.archive.endpoint())

    def failure(self) -> None:
        try:
            run(self.archive, lambda client: client.find_whole_studies(PATIENT))
        except ArchiveError as error:
            self.seen["traceback"] = "".join(traceback.format_exception(error))
        assert "traceback" in self.seen

    def api(self, path: str, body: dict[str, Any]) -> str:
        _, key = make_api_client(name=f"RIS {len(self.seen)}")
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        request = Request(
            f"{self.hub}/api/v1/{path}", json.dumps(body).encode(), headers
        )
        with urlopen(request) as answer:
            return answer.read().decode()


def redis_content() -> str:
    """Every key and value: the queue with its tasks, searches, builds and caches."""
    from launcher import store

    pool = redis.Redis.from_url(store.settings.VIEWERHUB_REDIS_URL)
    found = []
    for key in pool.keys("*"):
        kind = pool.type(key).decode()
        match kind:
            case "string":
                value: Any = pool.get(key)
            case "list":
                value = pool.lrange(key, 0, -1)
            case "hash":
                value = pool.hgetall(key)
            case "set":
                value = pool.smembers(key)
            case "zset":
                value = pool.zrange(key, 0, -1)
            case _:
                value = pool.xrange(key)
        found.append(repr((key, value)))
    pool.close()
    return "\n".join(found)


def manifest(uri: str) -> str:
    [address] = [word for word in unquote(uri).split('"') if "/m/" in word]
    with urlopen(address) as answer:
        return answer.read().decode()


def quoting(server: VendorServer) -> Answer:
    """Refuses, and sends back what it was sent."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        body = repr(server.requests[-1]).encode()
        await content(body, status=401, media_type="text/html")(writer)

    return answer


@pytest.mark.parametrize("kind", VENDORS)
def test_secrets_are_nowhere(kind, hub, admin_client, caplog):
    caplog.set_level(logging.DEBUG)
    memory_of.cache_clear()
    tokens._source.cache_clear()

    with serving(VENDORS[kind](studies())) as server:
        archive = make_archive(kind, server)
        walk = Walk(archive, hub, admin_client)
        walk.use("at work")
        assert "<Instance" in walk.seen["manifest, at work"]
        # From now on, nothing that the hub sends is accepted.
        server.answer_with("*", quoting(server))
        server.tokens.refuses = lambda request: (
            401,
            {"error": "invalid_client", "error_description": repr(request)},
        )
        tokens._source.cache_clear()
        walk.use("refused")
        walk.failure()
        walk.export()
        markers = markers_of(archive, server)
    walk.seen["log"] = caplog.text + repr([vars(one) for one in caplog.records])

    assert markers
    for where, text in walk.seen.items():
        for marker in markers:
            assert marker not in text, f"{marker[:12]}… is in the {where}"
