"""What becomes of a call when the archive breaks the protocol, at every step."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import pytest
from pydicom import Dataset

from archives.clients.base import Deadlines
from archives.clients.dimse import DimseClient
from archives.clients.pool import close_connections
from archives.entities import InstanceIdentifier, Selection, StudyQuery
from archives.errors import (
    ArchiveError,
    ArchiveRefusedError,
    ArchiveResponseError,
    ArchiveUnavailableError,
    InstanceNotFoundError,
)
from tests.hostile import (
    SHORT_ANSWER,
    SHORT_ASSOCIATION,
    Behaviour,
    EndOfAssociationError,
    Hostile,
    Peer,
    Request,
    acceptance,
    answer,
    answers,
    command_set,
    hostile,
    implicit,
    p_data,
    pdu,
    response,
    store,
    value,
)

T = TypeVar("T")

CT = "1.2.840.10008.5.1.4.1.1.2"
IMAGE = InstanceIdentifier(
    study_instance_uid="1.2.1",
    series_instance_uid="1.2.1.1",
    sop_instance_uid="1.2.1.1.1",
)
STUDIES = [{"StudyInstanceUID": f"1.2.{number}"} for number in range(1, 6)]
ABORT = pdu(0x07, bytes((0, 0, 2, 2)))

Action = Callable[[DimseClient, Hostile], Coroutine[Any, Any, T]]


def run(behaviour: Behaviour, action: Action[T], **options: Any) -> T:
    async def main() -> T:
        async with hostile(behaviour) as archive:
            try:
                async with DimseClient(archive.endpoint(**options)) as client:
                    return await action(client, archive)
            finally:
                await close_connections()

    return asyncio.run(main())


async def search(client: DimseClient, archive: Hostile) -> list[str]:
    found = await client.find_studies(StudyQuery(patient_id="P1"))
    return [study.study_instance_uid for study in found.studies]


async def retrieve(client: DimseClient, archive: Hostile) -> bytes:
    async with client.retrieve_instance(IMAGE) as stream:
        return b"".join([piece async for piece in stream])


def queried(respond: Callable[[Peer, Request], Awaitable[None]]) -> Behaviour:
    """Accept, and let ``respond`` speak after each query."""

    async def behave(peer: Peer) -> None:
        await peer.accept()
        while True:
            request = await peer.request()
            if request.name == "find":
                await respond(peer, request)

    return behave


def sends(make: Callable[[Request], bytes]) -> Behaviour:
    async def respond(peer: Peer, request: Request) -> None:
        await peer.send(make(request))

    return queried(respond)


# Association


def test_garbage_instead_of_an_association_is_refused():
    async def behave(peer: Peer) -> None:
        await peer.requested()
        await peer.send(b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n")

    with pytest.raises(ArchiveResponseError, match=r"Hostile .* not valid DICOM"):
        run(behave, search)


@pytest.mark.parametrize(
    "cut", [5, 70, 100], ids=["in the header", "in the items", "in the contexts"]
)
def test_an_acceptance_that_stops_half_way_is_given_up(cut):
    async def behave(peer: Peer) -> None:
        await peer.send(acceptance(await peer.requested())[:cut])

    with pytest.raises(ArchiveUnavailableError, match=r"association within 0\.3 s"):
        run(behave, search, deadlines=SHORT_ASSOCIATION)


def test_silence_after_the_connection_is_given_up():
    async def behave(peer: Peer) -> None:
        await peer.requested()

    with pytest.raises(ArchiveUnavailableError, match="whether it expects TLS"):
        run(behave, search, deadlines=SHORT_ASSOCIATION)


def test_a_connection_closed_at_once_says_what_to_check():
    async def behave(peer: Peer) -> None:
        await peer.requested()
        peer.cut()

    with pytest.raises(ArchiveUnavailableError, match="knows our AE title VIEWERHUB"):
        run(behave, search)


@pytest.mark.parametrize(
    ("reasons", "kind", "words"),
    [
        ((1, 1, 7), ArchiveRefusedError, "called AE title not recognized.*HOSTILE"),
        ((1, 1, 3), ArchiveRefusedError, "calling AE title not recogn.*VIEWERHUB"),
        ((1, 1, 2), ArchiveRefusedError, "application context"),
        ((1, 2, 2), ArchiveRefusedError, "protocol version"),
        ((1, 1, 1), ArchiveRefusedError, "no reason"),
        ((2, 3, 1), ArchiveUnavailableError, "congested"),
        ((2, 3, 2), ArchiveUnavailableError, "limit of connections"),
        ((1, 3, 2), ArchiveUnavailableError, "limit of connections"),
        ((2, 9, 9), ArchiveUnavailableError, "source 9, reason 9"),
    ],
)
def test_a_rejection_is_told_in_words(reasons, kind, words):
    async def behave(peer: Peer) -> None:
        await peer.requested()
        await peer.send(pdu(0x03, bytes((0, *reasons))))

    with pytest.raises(kind, match=words) as caught:
        run(behave, search)
    assert "Hostile rejected the association" in str(caught.value)


def test_an_abort_during_negotiation_is_told_in_words():
    async def behave(peer: Peer) -> None:
        await peer.requested()
        await peer.send(ABORT)

    with pytest.raises(ArchiveUnavailableError, match=r"aborted .* \(unexpected PDU\)"):
        run(behave, search)


def test_an_association_without_queries_is_refused():
    async def behave(peer: Peer) -> None:
        accepted = acceptance(await peer.requested())
        first, refused = b"\x01\x00\x00\x00\x40", b"\x01\x00\x03\x00\x40"
        await peer.send(accepted.replace(first, refused))
        await peer.request()

    with pytest.raises(ArchiveRefusedError, match=r"does not offer queries \(C-FIND\)"):
        run(behave, search)


# Framing


def one_byte_each(request: Request) -> list[bytes]:
    return [bytes([byte]) for byte in answers(request, STUDIES)]


def values_of_one_byte(request: Request) -> list[bytes]:
    pdus = []
    for one in STUDIES:
        for control, part in zip((1, 0), answer(request, one), strict=True):
            content = part[6:]
            pdus += [
                p_data(value(request.context_id, control, content[at : at + 1]))
                for at in range(len(content) - 1)
            ]
            pdus.append(p_data(value(request.context_id, control | 2, content[-1:])))
    return [*pdus, p_data(response(request, 0))]


def all_values_in_one_pdu(request: Request) -> list[bytes]:
    parts = [part for one in STUDIES for part in answer(request, one)]
    return [p_data(*parts, response(request, 0))]


def empty_last_values(request: Request) -> list[bytes]:
    pdus = []
    for one in STUDIES:
        command, identifier = answer(request, one)
        pdus += [
            p_data(command),
            p_data(value(request.context_id, 0, identifier[6:])),
            p_data(value(request.context_id, 2, b"")),
        ]
    return [*pdus, p_data(response(request, 0))]


@pytest.mark.parametrize(
    "make",
    [one_byte_each, values_of_one_byte, all_values_in_one_pdu, empty_last_values],
)
def test_answers_are_understood_however_they_are_cut(make):
    async def respond(peer: Peer, request: Request) -> None:
        for piece in make(request):
            await peer.send(piece)
            await asyncio.sleep(0)

    assert run(queried(respond), search) == [
        study["StudyInstanceUID"] for study in STUDIES
    ]


def pending(request: Request) -> bytes:
    return p_data(response(request, 0xFF00, has_dataset=True))


BROKEN = {
    "garbage": lambda request: b"\xde\xad\xbe\xef" * 20,
    "no value": lambda request: pdu(0x04, b""),
    "value of no length": lambda request: pdu(0x04, b"\0\0\0\0\x01\x03"),
    "value beyond its PDU": lambda request: pdu(0x04, b"\0\1\0\0\x01\x03abc"),
    "PDU beyond the limit": lambda request: b"\x04\0\x7f\xff\xff\xff",
    "second acceptance": lambda request: pdu(0x02, bytes(68)),
    "unexpected release": lambda request: pdu(0x06, bytes(4)),
    "command in pieces without end": lambda request: (
        p_data(value(request.context_id, 1, b"x" * 8000)) * 4
    ),
    "command of nothing": lambda request: p_data(value(request.context_id, 3, b"")),
    "unknown context": lambda request: p_data(
        response(Request(99, request.command), 0)
    ),
    "response to another request": lambda request: p_data(
        value(
            request.context_id,
            3,
            command_set(
                CommandField=0x8020,
                MessageIDBeingRespondedTo=request.message_id + 1,
                CommandDataSetType=0x0101,
                Status=0,
            ),
        )
    ),
    "identifier before its command": lambda request: p_data(
        value(request.context_id, 2, implicit(Dataset()))
    ),
    "command instead of the identifier": lambda request: (
        pending(request) + pending(request)
    ),
    "identifier in another context": lambda request: (
        pending(request) + p_data(value(3, 2, b""))
    ),
    "pending without identifier": lambda request: p_data(response(request, 0xFF00)),
    "identifier with an absurd length": lambda request: (
        pending(request)
        + p_data(value(request.context_id, 2, b"\x10\x00\x20\x00\xf0\xff\xff\xffID"))
    ),
    "identifier without end": lambda request: (
        pending(request) + p_data(value(request.context_id, 0, b"x" * 65536)) * 17
    ),
    "nested sequences without end": lambda request: (
        pending(request)
        + p_data(
            value(
                request.context_id,
                2,
                b"\x08\x00\x10\x11\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
                * 4000,
            )
        )
    ),
}


@pytest.mark.parametrize("make", BROKEN.values(), ids=BROKEN)
def test_a_broken_answer_is_refused_and_the_association_aborted(make):
    async def action(client: DimseClient, archive: Hostile) -> str:
        with pytest.raises(ArchiveResponseError, match=r"Hostile .* not valid DICOM"):
            await search(client, archive)
        await close_connections()
        return await archive.ends.get()

    assert run(sends(make), action) == "aborted"


# Ends at every step


def test_an_abort_at_every_byte_of_the_answers_is_told():
    whole = answers(Request(1, _command(1)), STUDIES[:1])
    steps = iter(range(0, len(whole), 7))

    async def respond(peer: Peer, request: Request) -> None:
        sent = answers(request, STUDIES[:1])[: next(steps)]
        await peer.send(sent)
        peer.cut()

    async def action(client: DimseClient, archive: Hostile) -> int:
        failed = 0
        for _ in range(0, len(whole), 7):
            with pytest.raises(ArchiveUnavailableError, match="Hostile closed"):
                await search(client, archive)
            failed += 1
        return failed

    assert run(queried(respond), action) > 20


def _command(message_id: int) -> Dataset:
    command = Dataset()
    command.MessageID = message_id
    return command


@pytest.mark.parametrize("sent", [0, 1, 3])
def test_an_abort_between_answers_is_told(sent):
    async def respond(peer: Peer, request: Request) -> None:
        parts = [p_data(*answer(request, one)) for one in STUDIES[:sent]]
        await peer.send(b"".join(parts) + ABORT)

    with pytest.raises(ArchiveUnavailableError, match="aborted the association"):
        run(queried(respond), search)


def test_a_release_in_the_middle_is_told():
    async def respond(peer: Peer, request: Request) -> None:
        await peer.send(pdu(0x05, bytes(4)))

    with pytest.raises(ArchiveUnavailableError, match="closed the connection"):
        run(queried(respond), search)


@pytest.mark.parametrize("sent", [0, 1, 3])
def test_silence_is_given_up(sent):
    async def respond(peer: Peer, request: Request) -> None:
        await peer.send(
            b"".join(p_data(*answer(request, one)) for one in STUDIES[:sent])
        )

    async def action(client: DimseClient, archive: Hostile) -> str:
        with pytest.raises(
            ArchiveUnavailableError, match=r"stopped answering for 0\.3 s"
        ):
            await search(client, archive)
        return await archive.ends.get()

    assert run(queried(respond), action, deadlines=SHORT_ANSWER) == "aborted"


def test_answers_that_drip_end_at_the_total_deadline():
    async def respond(peer: Peer, request: Request) -> None:
        while True:
            await peer.send(p_data(*answer(request, STUDIES[0])))
            await asyncio.sleep(0.02)

    deadlines = Deadlines(total=0.5)

    with pytest.raises(ArchiveUnavailableError, match=r"did not finish within 0\.5 s"):
        run(queried(respond), search, deadlines=deadlines)


# Answers without end


async def endless(peer: Peer, request: Request) -> None:
    number = 0
    while True:
        number += 1
        one = {"StudyInstanceUID": f"1.2.{number}"}
        await peer.send(p_data(*answer(request, one)))
        await asyncio.sleep(0)


def cancellable(is_obedient: bool, *, has_dataset: bool = False) -> Behaviour:
    async def behave(peer: Peer) -> None:
        await peer.accept()
        request = await peer.request()
        sending = asyncio.ensure_future(endless(peer, request))
        try:
            cancel = await peer.request()
            assert cancel.name == "cancel"
            assert cancel.command.MessageIDBeingRespondedTo == request.message_id
            if not is_obedient:
                await peer.request()
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            await peer.send(p_data(response(request, 0xFE00, has_dataset=has_dataset)))
            if has_dataset:
                identifier = implicit(Dataset())
                await peer.send(p_data(value(request.context_id, 2, identifier)))
            again = await peer.request()
            await peer.send(answers(again, STUDIES))
            await peer.request()
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    return behave


# Orthanc sends an identifier with the response to a C-CANCEL
@pytest.mark.parametrize("has_dataset", [False, True])
def test_a_limit_cancels_the_query_and_keeps_the_association(has_dataset):
    async def action(client: DimseClient, archive: Hostile) -> tuple[Any, ...]:
        found = await client.find_studies(StudyQuery(limit=20))
        second = await search(client, archive)
        return found, second, archive.associations

    found, second, associations = run(
        cancellable(True, has_dataset=has_dataset), action, maximum_associations=1
    )

    assert found.has_more
    assert len(found.studies) == 20
    assert second == [study["StudyInstanceUID"] for study in STUDIES]
    assert associations == 1


def test_an_archive_that_ignores_c_cancel_is_cut_off(monkeypatch):
    monkeypatch.setattr("archives.clients.dimse.pool.GRACE_SECONDS", 0.1)

    async def action(client: DimseClient, archive: Hostile) -> str:
        await client.find_studies(StudyQuery(limit=20))
        return await archive.ends.get()

    assert run(cancellable(False), action) == "aborted"


def test_a_cancelled_task_sends_c_cancel():
    cancelled = asyncio.Event()

    async def behave(peer: Peer) -> None:
        await peer.accept()
        request = await peer.request()
        await peer.send(p_data(*answer(request, STUDIES[0])))
        asked.set()
        if (await peer.request()).name == "cancel":
            cancelled.set()
            await peer.send(p_data(response(request, 0xFE00)))
        await peer.request()

    asked = asyncio.Event()

    async def action(client: DimseClient, archive: Hostile) -> None:
        task = asyncio.ensure_future(search(client, archive))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(2):
            await cancelled.wait()

    run(behave, action)


def test_the_cap_on_answers_truncates():
    async def behave(peer: Peer) -> None:
        await peer.accept()
        request = await peer.request()
        sending = asyncio.ensure_future(endless(peer, request))
        try:
            await peer.request()
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        await peer.send(p_data(response(request, 0xFE00)))
        await peer.request()

    async def action(client: DimseClient, archive: Hostile) -> Any:
        return await client.find_whole_studies(
            Selection(accession_numbers=("A1",)),
        )

    found = run(behave, action, maximum_answers=500)

    assert found.is_truncated
    assert found.dropped_studies == 500


# Statuses


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (0xA700, ArchiveResponseError, "0xA700, out of resources"),
        (0xA900, ArchiveResponseError, "0xA900, identifier does not match"),
        (0xC123, ArchiveResponseError, "0xC123, unable to process"),
        (0x0110, ArchiveResponseError, "0x0110, processing failure"),
        (0x7777, ArchiveResponseError, "status 0x7777"),
        (0xFE00, ArchiveResponseError, "status 0xFE00"),
        (0x0122, ArchiveRefusedError, "0x0122, SOP class not supported"),
        (0x0124, ArchiveRefusedError, "0x0124, not authorized"),
    ],
)
def test_a_failure_status_is_told_without_the_archives_words(status, kind, words):
    def make(request: Request) -> bytes:
        content = command_set(
            CommandField=0x8020,
            MessageIDBeingRespondedTo=request.message_id,
            CommandDataSetType=0x0101,
            Status=status,
            ErrorComment="Smith^John not found",
        )
        return p_data(value(request.context_id, 3, content))

    with pytest.raises(kind, match=words) as caught:
        run(sends(make), search)

    assert "Smith" not in str(caught.value)
    if kind is ArchiveResponseError:
        assert caught.value.status == f"0x{status:04X}"


# Retrieval


OBJECT = b"\x08\x00\x18\x00\x0a\x00\x00\x001.2.1.1.1\0" + b"\xe0\x7f\x10\x00" + bytes(4)


def serving(send: Callable[[Peer, Request], Awaitable[None]]) -> Behaviour:
    """Answers the query for the SOP class; ``send`` serves the C-GET."""

    async def behave(peer: Peer) -> None:
        await peer.accept()
        while True:
            request = await peer.request()
            if request.name == "find":
                one = {"SOPClassUID": CT, "SOPInstanceUID": IMAGE.sop_instance_uid}
                await peer.send(answers(request, [one]))
            elif request.name == "get":
                await send(peer, request)

    return behave


def stored(peer: Peer, request: Request, uid: str = IMAGE.sop_instance_uid) -> bytes:
    return store(request, peer.context_id(CT), CT, uid)


def test_an_object_in_values_of_one_byte_is_whole():
    async def send(peer: Peer, request: Request) -> None:
        await peer.send(p_data(stored(peer, request)))
        context_id = peer.context_id(CT)
        for byte in OBJECT:
            await peer.send(p_data(value(context_id, 0, bytes([byte]))))
        await peer.send(p_data(value(context_id, 2, b"")))

    content = run(serving(send), retrieve)

    assert content[128:132] == b"DICM"
    assert content.endswith(OBJECT)


@pytest.mark.parametrize("end", ["cut", "abort", "silence", "response", "next"])
@pytest.mark.parametrize("sent", [0, 1, 20])
def test_a_truncated_object_is_never_taken_for_whole(end, sent):
    async def send(peer: Peer, request: Request) -> None:
        context_id = peer.context_id(CT)
        await peer.send(p_data(stored(peer, request)))
        await peer.send(p_data(value(context_id, 0, OBJECT[:sent])))
        if end == "cut":
            peer.cut()
        elif end == "abort":
            await peer.send(ABORT)
        elif end == "response":
            await peer.send(p_data(response(request, 0, field=0x8010)))
        elif end == "next":
            await peer.send(p_data(stored(peer, request)))

    deadlines = SHORT_ANSWER if end == "silence" else Deadlines()

    with pytest.raises(ArchiveError, match="Hostile"):
        run(serving(send), retrieve, deadlines=deadlines)


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (0x0000, InstanceNotFoundError, "does not have this image"),
        (0x0112, InstanceNotFoundError, "does not have this image"),
        (0xB000, ArchiveResponseError, "could not send it .status 0xB000"),
        (0xA702, ArchiveResponseError, "could not send it .status 0xA702"),
        (0xA701, ArchiveResponseError, "0xA701, out of resources"),
        (0xC000, ArchiveResponseError, "0xC000, unable to process"),
        (0x0124, ArchiveRefusedError, "not authorized"),
    ],
)
def test_a_retrieval_without_object_says_why(status, kind, words):
    async def send(peer: Peer, request: Request) -> None:
        await peer.send(p_data(response(request, status, field=0x8010)))

    with pytest.raises(kind, match=words):
        run(serving(send), retrieve)


def test_an_object_that_was_not_asked_for_is_not_handed_on():
    async def send(peer: Peer, request: Request) -> None:
        context_id = peer.context_id(CT)
        await peer.send(p_data(stored(peer, request, "9.9.9")))
        await peer.send(p_data(value(context_id, 2, OBJECT)))
        await peer.send(p_data(response(request, 0xB000, field=0x8010)))

    with pytest.raises(ArchiveResponseError):
        run(serving(send), retrieve)


def test_an_object_of_another_class_is_refused():
    async def send(peer: Peer, request: Request) -> None:
        context_id = peer.context_id(CT)
        wrong = store(request, context_id, "1.2.840.10008.5.1.4.1.1.4", "1.2.1.1.1")
        await peer.send(p_data(wrong))

    with pytest.raises(ArchiveResponseError, match="not valid DICOM"):
        run(serving(send), retrieve)


def test_an_archive_waits_for_a_slow_consumer():
    piece = bytes(64 * 1024)
    sent = 0
    is_waiting = asyncio.Event()

    async def send(peer: Peer, request: Request) -> None:
        nonlocal sent
        context_id = peer.context_id(CT)
        await peer.send(p_data(stored(peer, request)))
        while sent < 1000:
            sending = asyncio.ensure_future(
                peer.send(p_data(value(context_id, 0, piece)))
            )
            done, _ = await asyncio.wait({sending}, timeout=0.2)
            if not done:
                is_waiting.set()
                await sending
            sent += 1
        await peer.send(p_data(value(context_id, 2, b"")))

    async def action(client: DimseClient, archive: Hostile) -> tuple[int, int]:
        async with client.retrieve_instance(IMAGE) as stream:
            pieces = aiter(stream)
            size = len(await anext(pieces))
            async with asyncio.timeout(4):
                await is_waiting.wait()
            held = sent
            # longer than the archive's permitted silence: it is we who let it wait
            await asyncio.sleep(0.4)
            async for one in pieces:
                size += len(one)
        return held, size

    held, size = run(serving(send), action, deadlines=SHORT_ANSWER)

    assert held < 500
    assert size > 1000 * len(piece)


def test_leaving_early_aborts_the_transfer():
    async def send(peer: Peer, request: Request) -> None:
        await peer.send(p_data(stored(peer, request)))
        await peer.send(p_data(value(peer.context_id(CT), 0, bytes(1000))))
        with pytest.raises(EndOfAssociationError, match="aborted"):
            await peer.request()
        left.set()
        raise EndOfAssociationError("aborted")

    left = asyncio.Event()

    async def action(client: DimseClient, archive: Hostile) -> None:
        async with client.retrieve_instance(IMAGE) as stream:
            await anext(aiter(stream))
        async with asyncio.timeout(2):
            await left.wait()

    run(serving(send), action)
