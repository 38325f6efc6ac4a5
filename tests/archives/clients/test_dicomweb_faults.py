"""Answers of slow, broken and hostile archives: an ``ArchiveError``, soon, in words."""

from __future__ import annotations

import asyncio
import gzip
import logging
import socket
from typing import Any

import pytest

from archives.clients.base import Deadlines, DicomWebEndpoint
from archives.clients.credentials import BasicCredentials, BearerToken
from archives.clients.dicomweb import DicomWebClient
from archives.clients.dicomweb.search import MAXIMUM_PAGE_BYTES
from archives.clients.pool import close_connections
from archives.entities import PatientIdentifier, Selection, StudyQuery
from archives.errors import (
    ArchiveError,
    ArchiveRefusedError,
    ArchiveResponseError,
    ArchiveUnavailableError,
)
from tests.dicomweb_server import (
    DICOM_JSON,
    Answer,
    DicomWebServer,
    content,
    endless,
    head,
    raw,
    status,
)
from tests.dicomweb_studies import IMPATIENT, make_study, serving
from tests.loops import run

STUDY = make_study()
SECRETS = ("Secret^Name", "SECRET-ID", "secret-password", "secret body")
QUERY = StudyQuery(patient_name="Secret^Name", patient_id="SECRET-ID")
CHUNKED = head(Content_Type=DICOM_JSON, Transfer_Encoding="chunked")
PASSWORD = {
    "credentials": BasicCredentials(username="viewer", password="secret-password")
}


def search(answer: Answer, **options: Any) -> None:
    async def main() -> None:
        async with serving(STUDY, **options) as (client, server):
            server.answer_with("*/studies", answer)
            await client.find_studies(QUERY)

    run(main())


def assert_fails(
    kind: type[ArchiveError], words: str, answer: Answer, **options: Any
) -> ArchiveError:
    with pytest.raises(kind, match=words) as failure:
        search(answer, **options)
    message = str(failure.value)
    assert "North" in message
    assert not any(secret in message for secret in SECRETS)
    return failure.value


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (400, ArchiveResponseError, "narrow it"),
        (401, ArchiveRefusedError, "user name and password"),
        (403, ArchiveRefusedError, "user name and password"),
        (405, ArchiveResponseError, "address"),
        (413, ArchiveResponseError, "narrow the search"),
        (429, ArchiveUnavailableError, "try again"),
        (500, ArchiveResponseError, "administrator"),
        (502, ArchiveUnavailableError, "try again"),
        (503, ArchiveUnavailableError, "try again"),
        (504, ArchiveUnavailableError, "try again"),
    ],
)
def test_statuses_become_errors_in_words(code, kind, words):
    answer = content(b"secret body", status=code, media_type="text/plain")

    error = assert_fails(kind, words, answer, endpoint=PASSWORD)

    assert f"HTTP {code}" in str(error)
    if isinstance(error, ArchiveResponseError):
        assert error.status == str(code)


@pytest.mark.parametrize(
    ("media_type", "words"),
    [
        ("text/html; charset=utf-8", "web page"),
        ("application/dicom+xml", "something else than DICOM JSON"),
        ("multipart/related; boundary=x", "something else than DICOM JSON"),
        ("application/octet-stream", "something else than DICOM JSON"),
    ],
)
def test_other_content_types_are_refused(media_type, words):
    answer = content(b"secret body", media_type=media_type)

    assert_fails(ArchiveResponseError, words, answer)


@pytest.mark.parametrize(
    "body",
    [
        b"secret body",
        b'{"error": ',
        b'[{"0020000D": {"vr": "UI", "Value": ["1.2"]}}',
        b"[" * 200_000,
        b'[{"0020000D":' + b"[" * 200_000,
        b"[1, 2]",
        b"\xff\xfe[",
    ],
)
def test_malformed_json_is_refused(body):
    assert_fails(ArchiveResponseError, "not DICOM JSON", content(body))


@pytest.mark.parametrize(
    "answer",
    [
        raw(then="close"),
        raw(b"\0\1\2\3" * 10, then="close"),
        raw(b"HTTP/1.1 200 OK\r\nContent-Le", then="close"),
        raw(b"x" * 200_000, then="close"),
        raw(head(Content_Length="99") + b"[", then="close"),
        raw(CHUNKED + b"5\r\n[", then="close"),
        raw(CHUNKED + b"zz\r\n[", then="close"),
    ],
)
def test_broken_http_is_an_error(answer):
    assert_fails(ArchiveUnavailableError, "broke off", answer)


def test_content_encoding_is_checked():
    broken = raw(
        head(Content_Type=DICOM_JSON, Content_Encoding="gzip", Content_Length="7")
        + b"no gzip"
    )

    assert_fails(ArchiveResponseError, "can't be decompressed", broken)


@pytest.mark.parametrize("start", [b"", CHUNKED, CHUNKED + b"1\r\n[\r\n"])
def test_silence_ends_at_the_deadline(start):
    assert_fails(
        ArchiveUnavailableError,
        "stopped answering",
        raw(start, then="silent"),
        endpoint={"deadlines": IMPATIENT},
    )


def test_a_drip_ends_at_the_total_deadline():
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED)
        while True:
            writer.write(b"1\r\n \r\n")
            await asyncio.sleep(0.02)

    deadlines = Deadlines(first_answer=5, total=0.5)

    assert_fails(
        ArchiveUnavailableError,
        "needed more than 0.5 seconds",
        drip,
        endpoint={"deadlines": deadlines},
    )


def test_endless_answers_end_at_the_cap():
    answer = endless(b" " * 1_000_000, CHUNKED)

    assert_fails(ArchiveResponseError, "more than the hub accepts", answer)


def test_an_endless_object_ends_at_the_cap():
    answer = endless(b"x" * 1_000_000, CHUNKED + b'3\r\n[{"\r\n')

    assert_fails(ArchiveResponseError, "more than the hub accepts", answer)


def test_a_gzip_bomb_ends_at_the_cap():
    bomb = gzip.compress(b" " * (MAXIMUM_PAGE_BYTES + 1_000_000), compresslevel=1)
    fields = {"Content-Encoding": "gzip"}

    assert_fails(
        ArchiveResponseError, "more than the hub accepts", content(bomb, **fields)
    )


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("http://192.0.2.1/dicom-web/studies", r"another server \(http://192.0.2.1\)"),
        ("https://127.0.0.1/login?next=secret%20body", r"\(https://127.0.0.1\)"),
        ("//example.org/", "another server"),
        ("/dicom-web/studies", "in a circle"),
    ],
)
def test_redirects_to_elsewhere_are_refused(location, words):
    answer = raw(head(302, Location=location, Content_Length="0"))

    assert_fails(ArchiveResponseError, words, answer)


def test_redirects_on_the_same_server_are_followed():
    async def main() -> int:
        async with serving(STUDY) as (_, server):
            answer = head(
                301, Location="/dicom-web/moved/../studies", Content_Length="0"
            )
            server.answer_with("/old/studies", raw(answer))
            old = server.url.replace("/dicom-web", "/old")
            endpoint = DicomWebEndpoint(name="North", url=old)
            return len(
                (await DicomWebClient(endpoint).find_studies(StudyQuery())).studies
            )

    assert run(main()) == 1


@pytest.mark.parametrize(
    ("endpoint", "behaviour", "words"),
    [
        ({}, {"login": "viewer:right"}, "enter a user name"),
        (PASSWORD, {"login": "viewer:right"}, "check the user name and password"),
        (
            {"credentials": BearerToken(token="old")},
            {"token": "new"},
            "check it, and whether it has expired",
        ),
    ],
)
def test_a_refused_login_says_what_to_check(endpoint, behaviour, words):
    async def main() -> None:
        async with serving(STUDY, endpoint=endpoint, **behaviour) as (client, _):
            await client.find_studies(QUERY)

    with pytest.raises(ArchiveRefusedError, match=words) as failure:
        run(main())

    assert "HTTP 401" in str(failure.value)


@pytest.mark.parametrize(
    ("endpoint", "behaviour"),
    [
        (PASSWORD, {"login": "viewer:secret-password"}),
        (
            {"credentials": BasicCredentials(username="viewer", password="schön:🩻")},
            {"login": "viewer:schön:🩻"},
        ),
        (
            {"credentials": BearerToken(token="a.b-c")},
            {"token": "a.b-c"},
        ),
    ],
)
def test_credentials_are_sent(endpoint, behaviour):
    async def main() -> int:
        async with serving(STUDY, endpoint=endpoint, **behaviour) as (client, _):
            return len((await client.find_studies(StudyQuery())).studies)

    assert run(main()) == 1


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1:{port}/dicom-web", "refuses connections"),
        (
            "http://no-such-host.invalid/dicom-web",
            "North: the host name no-such-host.invalid is unknown",
        ),
        ("ftp://127.0.0.1/dicom-web", "begins with http"),
        ("127.0.0.1", "begins with http"),
        ("http://[bad/dicom-web", "begins with http"),
        ("http://127.0.0.1:99999999/", "begins with http"),
    ],
)
def test_an_address_where_nothing_is_says_so(url, words):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = DicomWebEndpoint(
            name="North", url=url.format(port=unused.getsockname()[1])
        )

        async def main() -> None:
            try:
                await DicomWebClient(endpoint).find_studies(QUERY)
            finally:
                await close_connections()

        with pytest.raises(ArchiveError, match=words):
            run(main())


@pytest.mark.parametrize("token", ["tökén", "a\r\nX-Other: b"])
def test_a_token_that_is_none_is_not_sent(token):
    endpoint = {"credentials": BearerToken(token=token)}

    assert_fails(ArchiveRefusedError, "enter it again", status(204), endpoint=endpoint)


def test_cancelling_closes_the_connection():
    async def main() -> None:
        async with serving(STUDY) as (client, server):
            server.answer_with("*/studies", raw(CHUNKED, then="silent"))
            task = asyncio.create_task(client.find_studies(QUERY))
            while not server.requests:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.wait_for(server.disconnected.wait(), 5)

    run(main())


def test_a_deadline_of_the_caller_is_the_callers_error():
    async def main() -> None:
        async with serving(STUDY) as (client, server):

            async def expire(writer: asyncio.StreamWriter) -> None:
                deadline.reschedule(0)
                await asyncio.Event().wait()

            server.answer_with("*/studies", expire)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(5) as deadline:
                    await client.find_studies(QUERY)
            await asyncio.wait_for(server.disconnected.wait(), 5)

    run(main())


def test_connections_are_kept_and_shared():
    selection = Selection(patients=(PatientIdentifier(patient_id="P1"),))

    async def main() -> DicomWebServer:
        studies = [make_study(f"1.{number}") for number in range(12)]
        async with serving(*studies) as (client, server):
            for _ in range(3):
                async with client:
                    await client.find_whole_studies(selection)
            return server

    server = run(main())

    assert server.connections <= 4
    assert len(server.requests) > 36


def test_a_client_connects_again_after_connections_were_closed():
    async def main() -> int:
        async with serving(STUDY) as (client, server):
            await client.find_studies(StudyQuery())
            await close_connections()
            await client.find_studies(StudyQuery())
            return server.connections

    assert run(main()) == 2


def test_a_kept_connection_that_was_closed_is_replaced():
    async def main() -> tuple[int, int]:
        async with serving(STUDY) as (client, server):
            await client.find_studies(StudyQuery())
            # Answered by closing: on a kept connection, that is no answer at all.
            calls = 0

            async def close_first(writer: asyncio.StreamWriter) -> None:
                nonlocal calls
                calls += 1
                await (raw(then="close") if calls == 1 else content(b"[]"))(writer)

            server.answer_with("*/studies", close_first)
            found = await client.find_studies(StudyQuery())
            return len(found.studies), calls

    assert run(main()) == (0, 2)


def test_a_new_connection_that_is_closed_is_not_tried_again():
    async def main() -> int:
        async with serving(STUDY) as (client, server):
            server.answer_with("*/studies", raw(then="close"))
            with pytest.raises(ArchiveUnavailableError):
                await client.find_studies(QUERY)
            return len(server.requests)

    assert run(main()) == 1


def test_nothing_of_a_query_is_logged(caplog):
    with caplog.at_level(logging.INFO):
        search(status(204), endpoint=PASSWORD)

    assert not any(secret in caplog.text for secret in (*SECRETS, "PatientName"))


def test_endpoints_show_no_secret():
    endpoint = DicomWebEndpoint(
        name="North",
        url="https://north.example",
        **PASSWORD,
    )

    assert "secret" not in repr(endpoint)
