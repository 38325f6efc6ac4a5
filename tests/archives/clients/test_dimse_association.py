"""Associations with pynetdicom: what is negotiated, TLS, and how they are shared."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import pytest
import uvloop
from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind as Find,
)
from pynetdicom.sop_class import Verification

from archives.clients import outgoing
from archives.clients.base import Deadlines, DimseEndpoint, TlsSettings, UserIdentity
from archives.clients.dimse import DimseClient, pool
from archives.clients.pool import close_connections
from archives.entities import InstanceIdentifier, StudyQuery, VerificationStep
from archives.errors import (
    ArchiveError,
    ArchiveRefusedError,
    ArchiveUnavailableError,
    InstanceNotFoundError,
)
from tests.archives.clients.test_tls import (
    AUTHORITY,
    SERVER,
    make_certificate,
    server_context,
)
from tests.hostile import (
    Hostile,
    Peer,
    answers,
    hostile,
    p_data,
    response,
)
from tests.servers import Choosy

T = TypeVar("T")

EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
STUDY = {"StudyInstanceUID": "1.2.3", "PatientName": "Zoë"}


@dataclass
class Peculiar:
    """A pynetdicom archive with one study, and what it saw."""

    port: int = 0
    associations: list[Any] = field(default_factory=list)
    queries: list[Dataset] = field(default_factory=list)
    application_information: dict[str, bytes] = field(default_factory=dict)
    identities: list[tuple[bytes, bytes]] = field(default_factory=list)

    def endpoint(self, **options: Any) -> DimseEndpoint:
        return DimseEndpoint(
            **{
                "name": "Peculiar",
                "host": "127.0.0.1",
                "port": self.port,
                "called_ae_title": "PECULIAR",
                **options,
            }
        )


@contextmanager
def serving(
    *,
    syntaxes: tuple[str, ...] = (EXPLICIT, IMPLICIT),
    context: ssl.SSLContext | None = None,
    maximum_pdu_size: int = 16384,
    allow: bool = True,
    studies: int = 1,
) -> Iterator[Peculiar]:
    seen = Peculiar()

    def find(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        seen.queries.append(event.identifier)
        for number in range(studies):
            match = Dataset()
            match.SpecificCharacterSet = "ISO_IR 192"
            match.PatientName = "Zoë"
            match.StudyInstanceUID = f"1.2.3.{number}"
            match.StudyDescription = "x" * 60
            yield 0xFF00, match

    def extended(event: evt.Event) -> dict[str, bytes]:
        seen.application_information.update(event.app_info)
        return dict(event.app_info)

    def identity(event: evt.Event) -> tuple[bool, bytes | None]:
        seen.identities.append((event.primary_field, event.secondary_field))
        return allow, None

    ae = AE(ae_title="PECULIAR")
    ae.maximum_pdu_size = maximum_pdu_size
    ae.add_supported_context(Find, list(syntaxes))
    ae.add_supported_context(Verification)
    server = ae.start_server(
        ("127.0.0.1", 0),
        block=False,
        ssl_context=context,
        evt_handlers=[
            (evt.EVT_ACCEPTED, lambda event: seen.associations.append(event.assoc)),
            (evt.EVT_C_FIND, find),
            (evt.EVT_SOP_EXTENDED, extended),
            (evt.EVT_USER_ID, identity),
        ],
    )
    seen.port = server.server_address[1]
    try:
        yield seen
    finally:
        wait_for_associations()
        ae.shutdown()


def wait_for_associations() -> None:
    """Until pynetdicom saw the end of each: stopped meanwhile, its threads may raise."""
    for thread in threading.enumerate():
        if isinstance(thread, Association):
            thread.join(5)


def run(main: Coroutine[Any, Any, T], *, loop: str = "asyncio") -> T:
    async def closing() -> T:
        try:
            return await main
        finally:
            await close_connections()

    return {"asyncio": asyncio.run, "uvloop": uvloop.run}[loop](closing())


async def search(endpoint: DimseEndpoint, **query: Any) -> list[str]:
    async with DimseClient(endpoint) as client:
        found = await client.find_studies(StudyQuery(**query))
    return [study.study_instance_uid for study in found.studies]


# Negotiation


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_either_transfer_syntax_and_either_loop_works(syntax, loop):
    with serving(syntaxes=(syntax,)) as archive:
        endpoint = archive.endpoint()
        found = run(search(endpoint, patient_name="Zoë*"), loop=loop)

    assert found == ["1.2.3.0"]
    (query,) = archive.queries
    assert query.PatientName == "Zoë*"
    assert query.SpecificCharacterSet == "ISO_IR 192"
    assert query.QueryRetrieveLevel == "STUDY"


def test_relational_queries_are_asked_for():
    with serving() as archive:
        run(search(archive.endpoint()))

    assert archive.application_information == {Find: b"\x01"}


def test_ae_titles_and_pdu_length_are_announced():
    with serving() as archive:
        run(search(archive.endpoint(calling_ae_title="HUB")))

    (association,) = archive.associations
    assert association.requestor.ae_title == "HUB"
    assert association.requestor.primitive.called_ae_title == "PECULIAR"
    assert association.requestor.maximum_length == 131072


def test_requests_respect_the_archives_pdu_length():
    uids = tuple(f"1.2.826.0.1.3680043.8.498.{number}" for number in range(200))
    with serving(maximum_pdu_size=256) as archive:
        run(search(archive.endpoint(), study_instance_uids=uids))

    (query,) = archive.queries
    assert tuple(query.StudyInstanceUID) == uids


def test_a_user_identity_is_sent():
    identity = UserIdentity(username="hub", passcode="s3cret")
    with serving() as archive:
        run(search(archive.endpoint(user_identity=identity)))

    assert archive.identities == [(b"hub", b"s3cret")]


def test_a_user_that_is_not_accepted_is_refused():
    identity = UserIdentity(username="hub", passcode="s3cret")
    with (
        serving(allow=False) as archive,
        pytest.raises(ArchiveError, match="Peculiar rejected") as caught,
    ):
        run(search(archive.endpoint(user_identity=identity)))

    assert "s3cret" not in str(caught.value)


def test_an_unknown_calling_ae_title_is_refused():
    with Choosy([]) as archive:
        endpoint = DimseEndpoint(
            name="Choosy",
            host=archive.host,
            port=archive.port,
            called_ae_title=archive.ae_title,
            calling_ae_title="STRANGER",
        )
        with pytest.raises(ArchiveRefusedError, match="our AE title STRANGER"):
            run(search(endpoint))
        wait_for_associations()


def test_nobody_listening_is_unavailable(free_port):
    endpoint = Peculiar(port=free_port()).endpoint()

    with pytest.raises(ArchiveUnavailableError, match="refused the connection"):
        run(search(endpoint))


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 70 + ".example"])
def test_an_unknown_host_is_unavailable(host):
    endpoint = replace(Peculiar(port=104).endpoint(), host=host)

    words = f"the host name {host} is unknown. Check the address."
    with pytest.raises(ArchiveUnavailableError, match=words):
        run(search(endpoint))


# TLS


TRUSTED = TlsSettings(ca_certificates=AUTHORITY[0])


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_tls_protects_the_association(tmp_path: Path, loop):
    with serving(context=server_context(tmp_path), studies=500) as archive:
        endpoint = archive.endpoint(tls=TRUSTED)
        found = run(search(endpoint, limit=1000), loop=loop)

    assert len(found) == 500


def test_verify_tells_of_tls_and_of_a_certificate_that_ends_soon(tmp_path: Path):
    soon = datetime.now(UTC) + timedelta(days=1, hours=1)
    expiring = make_certificate(issued_by=AUTHORITY, expires=soon)

    async def verify(endpoint: DimseEndpoint) -> list[VerificationStep]:
        async with DimseClient(endpoint) as client:
            return list(await client.verify())

    for pair, words, is_warning in (
        (SERVER, "TLSv1.3; the archive's certificate is valid until 20", False),
        (expiring, "ends in 1 day, on 20", True),
    ):
        with serving(context=server_context(tmp_path, pair)) as archive:
            steps = run(verify(archive.endpoint(tls=TRUSTED)))
        assert [step.name for step in steps[:3]] == ["Reached", "TLS", "Association"]
        assert words in steps[1].message
        assert (steps[1].is_ok, steps[1].is_warning) == (True, is_warning)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_client_certificate_is_shown(tmp_path: Path, version, loop):
    context = server_context(tmp_path)
    context.maximum_version = context.minimum_version = version
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=AUTHORITY[0])
    certificate, key = make_certificate(issued_by=AUTHORITY, host="client")
    known = replace(TRUSTED, client_certificate=certificate, client_key=key)
    with serving(context=context) as archive:
        assert run(search(archive.endpoint(tls=known)), loop=loop) == ["1.2.3.0"]
        with pytest.raises(ArchiveError, match="Peculiar"):
            run(search(archive.endpoint(tls=TRUSTED)), loop=loop)


@pytest.mark.parametrize(
    ("tls", "words"),
    [
        (TlsSettings(), "signed by an unknown CA"),
        (TlsSettings(ca_certificates=SERVER[0]), "signed by an unknown CA"),
        (TlsSettings(ca_certificates="no PEM"), "certificates entered for Peculiar"),
    ],
)
def test_an_archive_that_is_not_trusted_is_refused(tmp_path: Path, tls, words):
    with (
        serving(context=server_context(tmp_path)) as archive,
        pytest.raises(ArchiveRefusedError, match=words),
    ):
        run(search(archive.endpoint(tls=tls)))


def test_a_certificate_of_another_host_is_refused(tmp_path: Path):
    pair = make_certificate(issued_by=AUTHORITY, host="another.example")
    with serving(context=server_context(tmp_path, pair)) as archive:
        with pytest.raises(ArchiveRefusedError, match="host name"):
            run(search(archive.endpoint(tls=TRUSTED)))
        unchecked = replace(TRUSTED, check_hostname=False)
        assert run(search(archive.endpoint(tls=unchecked))) == ["1.2.3.0"]


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        pytest.param(b"\x07\0\0\0\0\4\0\0\2\1", "does not speak TLS", id="abort"),
        pytest.param(b"", "closed the connection during the TLS", id="close"),
    ],
)
def test_tls_to_an_archive_without_it_is_refused(reply, words):
    async def behave(peer: Peer) -> None:
        await peer.send(reply)
        await peer.close()

    async def action(endpoint: DimseEndpoint, archive: Hostile) -> None:
        with pytest.raises(ArchiveRefusedError, match=words):
            await search(endpoint)

    served(behave, action, tls=TRUSTED)


# Sharing


def answering(open_at_once: list[int]) -> Any:
    """Answers every query with one study; notes how many associations were open."""
    count = 0

    async def behave(peer: Peer) -> None:
        nonlocal count
        count += 1
        open_at_once.append(count)
        try:
            await peer.accept()
            while True:
                request = await peer.request()
                await asyncio.sleep(0)
                found = answers(request, [{"StudyInstanceUID": "1.2.3"}])
                is_get = request.name == "get"
                nothing = p_data(response(request, 0, field=0x8010))
                await peer.send(nothing if is_get else found)
        finally:
            count -= 1

    return behave


def served(behaviour: Any, action: Any, **options: Any) -> Any:
    async def main() -> Any:
        async with hostile(behaviour) as archive:
            try:
                return await action(archive.endpoint(**options), archive)
            finally:
                await close_connections()

    return asyncio.run(main())


def test_one_association_serves_query_after_query():
    async def action(endpoint: DimseEndpoint, archive: Hostile) -> int:
        for _ in range(10):
            assert await search(endpoint) == ["1.2.3"]
        return archive.associations

    assert served(answering([]), action) == 1


def test_no_more_associations_are_open_than_allowed():
    open_at_once: list[int] = []

    async def action(endpoint: DimseEndpoint, archive: Hostile) -> list[Any]:
        return await asyncio.gather(*(search(endpoint) for _ in range(30)))

    found = served(answering(open_at_once), action, maximum_associations=3)

    assert found == [["1.2.3"]] * 30
    assert max(open_at_once) == 3


def test_an_idle_association_gives_way_to_one_of_another_kind():
    open_at_once: list[int] = []
    image = InstanceIdentifier(
        study_instance_uid="1.2", series_instance_uid="1.3", sop_instance_uid="1.4"
    )

    async def action(endpoint: DimseEndpoint, archive: Hostile) -> int:
        async with DimseClient(endpoint) as client:
            with pytest.raises(InstanceNotFoundError):
                await client.retrieve_instance(image).__aenter__()
            await search(endpoint)
        return archive.associations

    assert served(answering(open_at_once), action, maximum_associations=1) == 3
    assert max(open_at_once) == 1


def test_an_idle_association_is_released(monkeypatch):
    monkeypatch.setattr(pool, "IDLE_SECONDS", 0.05)

    async def action(endpoint: DimseEndpoint, archive: Hostile) -> str:
        await search(endpoint)
        async with asyncio.timeout(2):
            return await archive.ends.get()

    assert served(answering([]), action) == "released"


def test_one_idle_association_is_kept_and_the_others_released_soon(monkeypatch):
    monkeypatch.setattr(pool, "IDLE_SECONDS", 60.0)

    async def action(endpoint: DimseEndpoint, archive: Hostile) -> tuple[int, int]:
        await asyncio.gather(*(search(endpoint) for _ in range(30)))
        opened = archive.associations
        async with asyncio.timeout(10):
            for _ in range(opened - 1):
                assert await archive.ends.get() == "released"
        await search(endpoint)
        return archive.associations - opened, archive.ends.qsize()

    assert served(answering([]), action, maximum_associations=3) == (0, 0)


def test_connections_are_released_when_told_so():
    async def action(endpoint: DimseEndpoint, archive: Hostile) -> tuple[str, int]:
        await search(endpoint)
        await close_connections()
        end = await archive.ends.get()
        await search(endpoint)
        return end, archive.associations

    assert served(answering([]), action) == ("released", 2)


@pytest.mark.parametrize("when", ["idle", "asked", "aborted"])
def test_an_association_that_the_archive_closed_is_replaced(when):
    async def behave(peer: Peer) -> None:
        await peer.accept()
        request = await peer.request()
        await peer.send(answers(request, [STUDY]))
        if when == "idle":
            peer.cut()
            closed.set()
            return
        await peer.request()
        if when == "aborted":
            await peer.send(b"\x07\0\0\0\0\4\0\0\0\0")
        peer.cut()

    closed = asyncio.Event()

    async def action(endpoint: DimseEndpoint, archive: Hostile) -> int:
        assert await search(endpoint) == ["1.2.3"]
        if when == "idle":
            await closed.wait()
        assert await search(endpoint) == ["1.2.3"]
        return archive.associations

    assert served(behave, action) == 2


def test_a_query_is_repeated_once_only():
    async def behave(peer: Peer) -> None:
        await peer.accept()
        if is_broken.is_set():
            await peer.request()
            peer.cut()
            return
        await peer.send(answers(await peer.request(), [STUDY]))
        is_broken.set()
        await peer.request()
        peer.cut()

    is_broken = asyncio.Event()

    async def action(endpoint: DimseEndpoint, archive: Hostile) -> int:
        await search(endpoint)
        with pytest.raises(ArchiveUnavailableError, match="closed the connection"):
            await search(endpoint)
        return archive.associations

    assert served(behave, action) == 2


def test_a_query_that_was_answered_in_part_is_not_repeated():
    async def behave(peer: Peer) -> None:
        await peer.accept()
        await peer.send(answers(await peer.request(), [STUDY]))
        whole = answers(await peer.request(), [STUDY])
        await peer.send(whole[: len(whole) // 2])
        await asyncio.sleep(0)
        peer.cut()

    async def action(endpoint: DimseEndpoint, archive: Hostile) -> int:
        await search(endpoint)
        with pytest.raises(ArchiveUnavailableError):
            await search(endpoint)
        return archive.associations

    assert served(behave, action) <= 2


def test_the_wait_for_a_free_association_is_bounded():
    async def behave(peer: Peer) -> None:
        await peer.accept()
        await peer.request()
        asked.set()
        await peer.request()

    asked = asyncio.Event()

    async def action(endpoint: DimseEndpoint, archive: Hostile) -> None:
        first = asyncio.ensure_future(search(endpoint))
        await asked.wait()
        with pytest.raises(ArchiveUnavailableError, match="did not finish within"):
            await search(endpoint)
        with pytest.raises(ArchiveUnavailableError):
            await first

    deadlines = Deadlines(connect=1, association=1, first_answer=5, total=0.3)
    served(behave, action, maximum_associations=1, deadlines=deadlines)


def test_a_cancelled_connection_leaves_a_free_place():
    async def behave(peer: Peer) -> None:
        if archives.pop():
            await peer.requested()
            asked.set()
            await peer.receive()
        await peer.accept()
        while True:
            await peer.send(answers(await peer.request(), [STUDY]))

    archives, asked = [False, True], asyncio.Event()

    async def action(endpoint: DimseEndpoint, archive: Hostile) -> list[str]:
        first = asyncio.ensure_future(search(endpoint))
        await asked.wait()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        return await search(endpoint)

    assert served(behave, action, maximum_associations=1) == ["1.2.3"]


def test_loops_do_not_share_associations_or_leave_any_open():
    with serving() as archive:
        for _ in range(3):
            assert run(search(archive.endpoint())) == ["1.2.3.0"]
        gc.collect()  # an unclosed socket would warn now, and warnings are errors

    assert len(archive.associations) == 3


# TCP


class RecordedSocket(socket.socket):
    """A real connection that notes what is read from it, and its options, in order."""

    def __init__(self, other: socket.socket) -> None:
        super().__init__(other.family, other.type, other.proto, other.detach())
        self.setblocking(False)
        self.notes: list[str] = []

    def recv(self, *arguments: Any) -> bytes:
        data = super().recv(*arguments)
        self.notes.append("read" if data else "end")
        return data

    def setsockopt(self, level: int, option: int, value: Any) -> None:  # type: ignore[override]
        super().setsockopt(level, option, value)
        if (level, option) == (socket.IPPROTO_TCP, socket.TCP_QUICKACK):
            self.notes.append(f"quick {value}")


@pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="an option of Linux")
def test_connections_neither_wait_to_send_nor_to_acknowledge(monkeypatch):
    """The system forgets TCP_QUICKACK: it has to be set again after every read."""
    opened: list[RecordedSocket] = []
    connect = outgoing.connect

    async def recorded(*arguments: Any, **options: Any) -> socket.socket:
        opened.append(RecordedSocket(await connect(*arguments, **options)))
        return opened[-1]

    async def action(endpoint: DimseEndpoint, archive: Hostile) -> int:
        for _ in range(3):
            assert await search(endpoint) == ["1.2.3"]
        (connection,) = opened
        return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    monkeypatch.setattr(outgoing, "connect", recorded)

    assert served(answering([]), action) != 0
    (connection,) = opened
    notes = connection.notes[: 2 * 4]  # before it is released
    assert notes[0] == "quick 1"
    assert notes.count("read") >= 3
    assert all(after == "quick 1" for note, after in pairwise(notes) if note == "read")
