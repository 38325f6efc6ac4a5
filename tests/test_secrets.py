"""Archives' credentials are nowhere but where they have to go."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import ssl
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from urllib.request import Request, urlopen

import pytest
import redis
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client

from archives.authentication import FIELDS_OF
from archives.clients import close_connections, open_client
from archives.clients.authentication import tokens, user_login
from archives.clients.dicomweb import DicomWebClient
from archives.clients.dicomweb.memory import memory_of
from archives.clients.dimse import DimseClient
from archives.embedded import EmbeddedArchive
from archives.errors import ArchiveError
from archives.models import SECRET_FIELDS, Archive, UserLogin
from archives.presets import PRESETS
from archives.verification import verify
from launcher.search.asking import ArchiveAnswer, ask_archive
from launcher.search.criteria import SearchCriteria
from launcher.tasks import build_manifest
from tests.archives.clients.test_tls import (
    AUTHORITY,
    make_certificate,
    server_context,
)
from tests.asgi import serve_hub
from tests.dicomweb_server import Answer, DicomWebServer, content
from tests.factories import make_api_client, make_launch
from tests.identity_provider import (
    SECRET,
    IdentityProvider,
    UsersArchive,
    app_of,
    configured,
    log_in,
)
from tests.loops import run
from tests.vendors.azure import Azure
from tests.vendors.files import studies, write
from tests.vendors.generic import Generic
from tests.vendors.google import Google
from tests.vendors.healthimaging import HealthImaging
from tests.vendors.kheops import Kheops
from tests.vendors.orthanc import Orthanc
from tests.vendors.server import VendorServer, serving
from tests.vendors.test_vendors import PATIENT
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
# What administrators enter, and is refused for one reason or another.
ENTERED = "a-secret-that-was-just-entered"
PASSCODE = "the-passcode-of-the-association"
CERTIFICATE = make_certificate(issued_by=AUTHORITY)


@dataclass(frozen=True, kw_only=True)
class Site:
    """An archive, and all that nobody may see of how the hub logs in there.

    From ``refuse`` on it accepts nothing that the hub sends. ``user`` is whose login it
    takes, if it takes one.
    """

    archive: Archive
    markers: Callable[[], set[str]]
    refuse: Callable[[], None]
    user: User | None = None


@pytest.fixture
def hub(valkey: Any, settings: Any) -> Iterator[str]:
    with serve_hub() as address:
        settings.VIEWERHUB_PUBLIC_URL = address
        yield address


def make_archive(**values: Any) -> Archive:
    archive = Archive(name="Cloud", slug="cloud", **values)
    archive.full_clean()
    archive.save()
    return archive


@contextmanager
def vendors_site(kind: str, folder: Path) -> Iterator[Site]:
    """A DICOMweb archive with this kind of authentication."""
    with serving(VENDORS[kind](studies())) as server:
        values = PRESETS[server.product].initial("dicomweb") | server.archive_values()
        if kind == "headers":
            values |= {
                "authentication": "headers",
                "custom_headers": "X-Api-Key: the-key-in-a-header",
            }
        archive = make_archive(protocol="dicomweb", **values)
        assert archive.authentication == kind

        def refuse() -> None:
            server.answer_with("*", quoting(server))
            server.tokens.refuses = lambda request: (
                401,
                {"error": "invalid_client", "error_description": repr(request)},
            )
            tokens._source.cache_clear()

        yield Site(
            archive=archive,
            markers=lambda: stored(archive) | sent(server),
            refuse=refuse,
        )


@contextmanager
def certificates_site(kind: str, folder: Path) -> Iterator[Site]:
    """One that wants a client certificate."""
    context = server_context(folder)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=AUTHORITY[0])

    class Secure(Generic):
        def running(self, _: Any = None) -> Any:
            return super().running(context)

    with serving(Secure(studies())) as server:
        archive = make_archive(
            protocol="dicomweb",
            **server.archive_values(),
            ca_certificates=AUTHORITY[0],
            client_certificate=CERTIFICATE[0],
            client_key=CERTIFICATE[1],
        )
        yield Site(
            archive=archive,
            markers=lambda: stored(archive),
            refuse=lambda: server.answer_with("*", quoting(server)),
        )


@contextmanager
def dimse_site(kind: str, folder: Path) -> Iterator[Site]:
    """One that is told a user name and a passcode in every association."""
    with EmbeddedArchive(write(folder, studies())) as server:
        archive = make_archive(
            protocol="dimse",
            host="127.0.0.1",
            port=server.port,
            called_ae_title=server.ae_title,
            dimse_username="hub",
            dimse_passcode=PASSCODE,
            client_certificate=CERTIFICATE[0],
            client_key=CERTIFICATE[1],
        )
        yield Site(
            archive=archive,
            markers=lambda: stored(archive),
            refuse=server.stop,
        )


@contextmanager
def users_site(kind: str, folder: Path) -> Iterator[Site]:
    """One that wants the login of the user who asks."""
    user_login._discovery_of.cache_clear()
    scope = ["openid", "offline_access"]
    with (
        IdentityProvider().running() as provider,
        configured(app_of(provider, scope=scope)),
        serving(UsersArchive(list(studies()), provider)) as server,
    ):
        archive = make_archive(
            protocol="dicomweb", url=server.url, authentication="user"
        )
        log_in(Client(), provider)
        provider.expire()  # so that it is renewed, too

        def refuse() -> None:
            provider.end("alice")
            provider.expire()
            server.answer_with("*", quoting(server))

        yield Site(
            archive=archive,
            markers=lambda: {SECRET, *provider.given},
            refuse=refuse,
            user=User.objects.get(username="alice"),
        )


SITES: dict[str, Callable[[str, Path], AbstractContextManager[Site]]] = {
    **dict.fromkeys(VENDORS, vendors_site),
    "client certificate": certificates_site,
    "dimse": dimse_site,
    "user": users_site,
}


def stored(archive: Archive) -> set[str]:
    """The secrets of an archive, and their parts."""
    markers = set()
    for name in SECRET_FIELDS:
        text = getattr(archive, name)
        if name == "service_account_key" and text:
            text = json.loads(text)["private_key"].split("\n")[5]
        if name == "client_key" and text:
            text = text.split("\n")[1]
        markers.add(text.rpartition(": ")[2])
    return markers - {""}


def sent(server: VendorServer) -> set[str]:
    """What the hub made of them."""
    markers = set()
    for request in server.requests:
        markers.add(request.headers.get("authorization", ""))
    for asked in server.tokens.requests:
        markers |= {asked.authorization, asked.form.get("assertion", "")}
    return markers - {""}


class Walk:
    """Everything that the hub shows, writes or sends, while an archive is used."""

    def __init__(self, site: Site, hub: str, admin: Client) -> None:
        self.site = site
        self.archive = site.archive
        self.hub = hub
        self.admin = admin
        self.seen: dict[str, str] = {}

    def use(self, when: str) -> None:
        """Verify, search, launch and look at every page."""
        archive, seen, user = self.archive, self.seen, self.site.user
        [(_, verification)] = verify([archive], user)
        seen[f"verification, {when}"] = repr(verification)
        seen[f"search, {when}"] = repr(self.search())
        started = make_launch([archive], selection=PATIENT, user=user)
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
            f"/launch/{started.launch.pk}/",
            "/metrics",
            "/",
        ]

    def search(self) -> ArchiveAnswer:
        async def main() -> ArchiveAnswer:
            queries = SearchCriteria(patient_id="P1").queries(100)
            try:
                return await ask_archive(self.archive, queries, self.site.user)
            finally:
                await close_connections()

        return run(main())

    def mistakes(self) -> None:
        """Pages that say what is wrong with secrets that were just entered."""
        address = f"/admin/archives/archive/{self.archive.pk}/change/"
        for kind in FIELDS_OF:
            entered = {name: f"entered {ENTERED}" for name in SECRET_FIELDS}
            form = entered | {"authentication": kind, "protocol": "dicomweb"}
            response = self.admin.post(address, form)
            assert response.status_code == 200
            assert "error" in response.content.decode()
            self.seen[f"errors of {kind}"] = response.content.decode()

    def command(self) -> None:
        output = io.StringIO()
        call_command("add_archive", self.archive.slug, stdout=output)
        assert self.archive.name in output.getvalue()
        self.seen["add_archive"] = output.getvalue()
        with pytest.raises(CommandError) as refusal:
            call_command("add_archive", self.archive.slug, previous_names="!!")
        self.seen["add_archive refusing"] = str(refusal.value)

    def crash(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An error of the hub while it has everything in its hands."""

        def fail(*_: Any, **__: Any) -> None:
            raise RuntimeError("an error of the hub")

        self.admin.raise_request_exception = False
        with monkeypatch.context() as patch:
            patch.setattr(DicomWebClient, "verify", fail)
            patch.setattr(DimseClient, "verify", fail)
            address = f"/admin/archives/archive/{self.archive.pk}/verify/"
            self.admin.force_login(self.administrator())
            response = self.admin.post(address)
        assert response.status_code == 500
        self.seen["error page"] = response.content.decode()

    def administrator(self) -> User:
        """Who presses the button, and whose login is used."""
        user = self.site.user or User.objects.get(username="admin")
        user.is_staff = user.is_superuser = True
        user.save()
        return user

    def export(self) -> None:
        output = io.StringIO()
        call_command("dumpdata", stdout=output)
        self.seen["export"] = output.getvalue()
        endpoint = self.archive.endpoint(self.site.user)
        self.seen["repr"] = repr([self.archive, endpoint, *UserLogin.objects.all()])

    def failure(self) -> None:
        async def fail() -> None:
            try:
                async with open_client(self.archive.endpoint(self.site.user)) as client:
                    await client.find_whole_studies(PATIENT)
            finally:
                await close_connections()

        try:
            run(fail())
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


def quoting(server: DicomWebServer) -> Answer:
    """Refuses, and sends back what it was sent."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        body = repr(server.requests[-1]).encode()
        await content(body, status=401, media_type="text/html")(writer)

    return answer


@pytest.mark.parametrize("kind", SITES)
def test_secrets_are_nowhere(kind, hub, admin_client, caplog, tmp_path, monkeypatch):
    caplog.set_level(logging.DEBUG)
    memory_of.cache_clear()
    tokens._source.cache_clear()

    with SITES[kind](kind, tmp_path) as site:
        walk = Walk(site, hub, admin_client)
        walk.use("at work")
        assert "<Instance" in walk.seen["manifest, at work"]
        walk.crash(monkeypatch)
        site.refuse()
        walk.use("refused")
        walk.failure()
        walk.export()
        walk.command()
        walk.mistakes()
        markers = site.markers()
    walk.seen["log"] = caplog.text + repr([vars(one) for one in caplog.records])

    assert markers
    for where, text in walk.seen.items():
        for marker in {*markers, ENTERED}:
            assert marker not in text, f"{marker[:12]}… is in the {where}"
