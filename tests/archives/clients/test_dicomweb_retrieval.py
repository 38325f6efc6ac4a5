from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from archives.clients.base import DicomWebEndpoint
from archives.clients.dicomweb import DicomWebClient
from archives.entities import InstanceIdentifier
from archives.errors import (
    ArchiveError,
    ArchiveRefusedError,
    ArchiveResponseError,
    ArchiveUnavailableError,
    InstanceNotFoundError,
)
from tests.dicomweb_server import (
    BOUNDARY,
    DicomWebServer,
    content,
    dicom_file,
    head,
    raw,
    status,
)
from tests.dicomweb_studies import IMPATIENT, identifier_of, make_study, serving
from tests.loops import run

STUDY = make_study()
FIRST = identifier_of(STUDY)
FILE = dicom_file(FIRST.sop_instance_uid)
MULTIPART = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
PART = b"--the-boundary\r\nContent-Type: application/dicom\r\n\r\n" + FILE


def retrieve(
    identifier: InstanceIdentifier = FIRST,
    prepare: Callable[[DicomWebServer], None] = lambda server: None,
    **options: Any,
) -> tuple[bytes, int | None, DicomWebServer]:
    async def main() -> tuple[bytes, int | None, DicomWebServer]:
        async with serving(STUDY, **options) as (client, server):
            prepare(server)
            async with client.retrieve_instance(identifier) as stream:
                pieces = [piece async for piece in stream]
            return b"".join(pieces), stream.content_length, server

    return run(main())


def answering(*pieces: bytes, then: str = "keep") -> Callable[[DicomWebServer], None]:
    return lambda server: server.answer_with("*/instances/*", raw(*pieces, then=then))


@pytest.mark.parametrize(
    ("behaviour", "length"),
    [
        ({}, len(FILE)),
        ({"tells_part_length": False}, None),
        ({"has_multipart": False}, len(FILE)),
    ],
)
def test_retrieve_instance_gives_the_file(behaviour, length):
    found, content_length, server = retrieve(**behaviour)

    assert found == FILE
    assert content_length == length
    assert server.requests[0].headers["accept-encoding"] == "identity"
    assert server.requests[0].headers["accept"] == (
        'multipart/related; type="application/dicom"; transfer-syntax=*'
    )


def test_retrieve_instance_by_wado_uri():
    async def main() -> None:
        async with serving(STUDY) as (_, server):
            base = server.url.removesuffix("/dicom-web")
            async with (
                serving(STUDY, endpoint={"wado_uri_url": f"{base}/wado"}) as (
                    client,
                    _,
                ),
                client.retrieve_instance(FIRST) as stream,
            ):
                assert b"".join([piece async for piece in stream]) == FILE
                assert stream.content_length == len(FILE)
            (request,) = server.requests
            assert request.query == (
                "requestType=WADO&studyUID=1.1&seriesUID=1.1.1&objectUID=1.1.1.1"
                "&contentType=application/dicom"
            )

    run(main())


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_retrieve_instance_by_pieces_of_any_size(piece):
    body = PART + b"\r\n--the-boundary--"
    pieces = [body[start : start + piece] for start in range(0, len(body), piece)]
    chunks = [b"%x\r\n%s\r\n" % (len(each), each) for each in pieces]
    start = head(Content_Type=MULTIPART, Transfer_Encoding="chunked")

    found, _, _ = retrieve(prepare=answering(start, *chunks, b"0\r\n\r\n"))

    assert found == FILE


@pytest.mark.parametrize("code", [404, 410])
def test_retrieve_instance_says_that_there_is_none(code):
    with pytest.raises(InstanceNotFoundError, match="North does not hold this image"):
        retrieve(
            prepare=lambda server: server.answer_with("*/instances/*", status(code))
        )


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (400, ArchiveResponseError),
        (401, ArchiveRefusedError),
        (403, ArchiveRefusedError),
        (406, ArchiveResponseError),
        (500, ArchiveResponseError),
        (503, ArchiveUnavailableError),
    ],
)
def test_retrieve_instance_translates_failures(code, kind):
    with pytest.raises(kind, match=f"HTTP {code}") as failure:
        retrieve(
            prepare=lambda server: server.answer_with("*/instances/*", status(code))
        )

    assert not isinstance(failure.value, InstanceNotFoundError)


def test_retrieve_instance_asks_differently_where_the_wildcard_is_not_accepted():
    def accept_single_part_only(server: DicomWebServer) -> None:
        async def answer(writer: asyncio.StreamWriter) -> None:
            accept = server.requests[-1].headers["accept"]
            is_single = accept.startswith("application/dicom")
            file = content(FILE, media_type="application/dicom")
            await (file if is_single else status(406))(writer)

        server.answer_with("*/instances/*", answer)

    found, _, server = retrieve(prepare=accept_single_part_only)

    assert found == FILE
    assert len(server.requests) == 3


def undelimited(body: bytes, media_type: str = "application/dicom") -> bytes:
    """An answer that ends with its connection, as servers without keep-alive send."""
    return head(Content_Type=media_type, Connection="close") + body


HTTP_1_0 = undelimited(FILE).replace(b"HTTP/1.1", b"HTTP/1.0", 1)
TRUNCATED = [
    (head(Content_Type="application/dicom", Content_Length="9999") + FILE[:3000]),
    (head(Content_Type=MULTIPART, Content_Length="99999") + PART),
    undelimited(PART, MULTIPART),
    undelimited(PART + b"\r\n--the-bound", MULTIPART),
    (
        head(Content_Type="application/dicom", Transfer_Encoding="chunked")
        + b"1000\r\n"
        + FILE[:0x1000]
        + b"\r\n"
    ),
    undelimited(FILE[:3000]),
    undelimited(FILE[:-1]),
    undelimited(FILE[:-1], "application/octet-stream"),
    undelimited(FILE[: FILE.index(b"\xe0\x7f\x10\x00")]),  # between two elements
    undelimited(FILE + FILE[-100:]),
    HTTP_1_0[:-1],
]


@pytest.mark.parametrize("answer", TRUNCATED)
def test_retrieve_instance_never_ends_normally_when_cut_short(answer):
    with pytest.raises(ArchiveError, match="North"):
        retrieve(prepare=answering(answer, then="close"))


@pytest.mark.parametrize("answer", [undelimited(FILE), HTTP_1_0])
def test_retrieve_instance_gives_files_that_end_with_their_connection(answer):
    found, content_length, _ = retrieve(prepare=answering(answer, then="close"))

    assert found == FILE
    assert content_length is None


def test_retrieve_instance_gives_up_a_silent_archive():
    start = head(Content_Type="application/dicom", Content_Length="9999") + FILE[:1000]

    with pytest.raises(ArchiveUnavailableError, match="North stopped answering"):
        retrieve(
            prepare=answering(start, then="silent"), endpoint={"deadlines": IMPATIENT}
        )


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        ("text/html", b"<html>Please log in</html>"),
        ("application/dicom", b"<html>" * 100),
        ("application/dicom", b"short"),
        ("application/dicom", b""),
        ("multipart/related", PART),
        ("image/jpeg", b"\xff\xd8"),
    ],
)
def test_retrieve_instance_refuses_what_is_not_dicom(media_type, body):
    def prepare(server: DicomWebServer) -> None:
        server.answer_with("*/instances/*", content(body, media_type=media_type))

    with pytest.raises(ArchiveResponseError, match="something else than a DICOM file"):
        retrieve(prepare=prepare)


OTHER = dicom_file("1.1.1.2")
JPEG = "1.2.840.10008.1.2.4.50"


@pytest.mark.parametrize(
    "refusal",
    [
        status(400),
        status(406),
        status(500),
        content(OTHER, media_type="application/dicom"),
    ],
)
@pytest.mark.parametrize("wado", [False, True])
def test_transfer_syntax_is_asked_for_and_what_is_stored_taken(refusal, wado):
    """Also where the archive makes a new image of it, with a UID of its own."""

    async def main() -> tuple[bytes, DicomWebServer]:
        async with serving(STUDY) as (client, server):
            if wado:
                url = server.url.replace("/dicom-web", "/wado")
                endpoint = DicomWebEndpoint(name="North", url=url, wado_uri_url=url)
                client = DicomWebClient(endpoint)

            async def answer(writer: asyncio.StreamWriter) -> None:
                file = content(FILE, media_type="application/dicom")
                request = server.requests[-1]
                is_wanted = JPEG in request.headers["accept"] + request.query
                await (refusal if is_wanted else file)(writer)

            server.answer_with("*", answer)
            async with client.retrieve_instance(FIRST, JPEG) as stream:
                return b"".join([piece async for piece in stream]), server

    found, server = run(main())

    assert found == FILE
    wanted, _ = server.requests
    if wado:
        assert wanted.keys["transferSyntax"] == JPEG
    else:
        accept = f'multipart/related; type="application/dicom"; transfer-syntax={JPEG}'
        assert wanted.headers["accept"] == accept


def test_failures_of_a_transfer_syntax_are_failures():
    async def main() -> None:
        async with serving(STUDY) as (client, server):
            server.answer_with("*/instances/*", status(404))
            with pytest.raises(InstanceNotFoundError):
                await client.retrieve_instance(FIRST, JPEG).__aenter__()
            assert len(server.requests) == 1

    run(main())


@pytest.mark.parametrize(
    "file",
    [
        OTHER,
        FILE.replace(b"1.1.1.1\0", b"1.1.1.11", 1),
        FILE.replace(b"\2\0\3\0UI", b"\2\0\4\0UI", 1),  # it has none
    ],
)
def test_retrieve_instance_refuses_another_image(file):
    def prepare(server: DicomWebServer) -> None:
        server.answer_with(
            "*/instances/*", content(file, media_type="application/dicom")
        )

    with pytest.raises(ArchiveResponseError, match="sent another image"):
        retrieve(prepare=prepare)


def test_retrieve_instance_closes_the_stream_when_it_is_left():
    start = head(Content_Type="application/dicom", Content_Length="99999") + FILE

    async def main() -> None:
        async with serving(STUDY) as (client, server):
            answering(start, then="silent")(server)
            async with client.retrieve_instance(FIRST) as stream:
                async for _ in stream:
                    break
            await asyncio.wait_for(server.disconnected.wait(), 5)

    run(main())


def test_form_that_was_sent_is_asked_for_first_the_next_time():
    async def main() -> list[str]:
        async with serving(STUDY) as (client, server):

            async def answer(writer: asyncio.StreamWriter) -> None:
                accept = server.requests[-1].headers["accept"]
                is_single = accept.startswith("application/dicom")
                file = content(FILE, media_type="application/dicom")
                await (file if is_single else status(406))(writer)

            server.answer_with("*/instances/*", answer)
            for _ in range(3):
                async with client.retrieve_instance(FIRST) as stream:
                    assert b"".join([piece async for piece in stream]) == FILE
            return [request.headers["accept"] for request in server.requests]

    asked = run(main())

    single = [accept for accept in asked if accept.startswith("application/dicom")]
    assert len(single) == 3
    assert len(asked) == 5
