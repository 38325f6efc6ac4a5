"""What clients prove who they are with, against servers that check it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import h11
import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archives.clients import close_connections, open_client
from archives.clients.authentication import tokens
from archives.clients.authentication.tokens import TokenSource
from archives.clients.base import ArchiveClient, DicomWebEndpoint
from archives.clients.credentials import (
    AwsKeys,
    ClientCredentials,
    CustomHeaders,
    Grant,
    ServiceAccountKey,
)
from archives.clients.outgoing import OutgoingRules
from archives.custom_headers import headers_problem, parse_headers
from archives.entities import StudyQuery
from archives.errors import ArchiveError, ArchiveRefusedError, ArchiveUnavailableError
from tests.aws import is_signed, signature
from tests.dicomweb_server import Behaviour, DicomWebServer, Request, status
from tests.dicomweb_studies import identifier_of, make_study
from tests.token_server import (
    ManualClock,
    ProtectedServer,
    TokenServer,
    service_account_key,
)

STUDY = make_study()
QUERY = StudyQuery(patient_id="P1")
CLIENT = ClientCredentials(
    token_url="",
    client_id="hub",
    client_secret="a secret: +/%&=ü",
    scope="dicom/.default",
    audience="https://pacs.example.org",
)
AWS = AwsKeys(
    region="us-east-1",
    access_key_id="AKIDEXAMPLE",
    secret_access_key="secret-access-key",
    session_token="session/token==",
)


@dataclass
class Site:
    """A token server, an archive that wants its tokens, and a clock for both."""

    clock: ManualClock
    tokens: TokenServer
    archive: ProtectedServer
    endpoint: DicomWebEndpoint

    async def search(self) -> int:
        async with open_client(self.endpoint) as client:
            return len((await client.find_studies(QUERY)).studies)

    async def failure(self) -> ArchiveError:
        with pytest.raises(ArchiveError) as raised:
            await self.search()
        return raised.value


@pytest.fixture(autouse=True)
def no_tokens_of_other_tests() -> None:
    tokens._source.cache_clear()  # ports come back


def at_a_site(
    action: Callable[[Site], Any],
    monkeypatch: pytest.MonkeyPatch,
    *,
    seconds: float = 2,
    **endpoint: Any,
) -> Any:
    """Run an action; the hub's clock for tokens is the site's."""

    @asynccontextmanager
    async def site() -> AsyncIterator[Site]:
        clock = ManualClock()
        server = TokenServer(clock, seconds)
        archive = ProtectedServer([STUDY], server)
        async with server.running(), archive.running():
            credentials = endpoint.pop("credentials", CLIENT)
            if isinstance(credentials, ClientCredentials):
                credentials = replace(credentials, token_url=server.url)
            chosen = {"name": "North", "url": archive.url, "credentials": credentials}
            yield Site(clock, server, archive, DicomWebEndpoint(**(chosen | endpoint)))

    async def main() -> Any:
        async with site() as place:
            source = TokenSource.__init__
            with monkeypatch.context() as patch:
                patch.setattr(
                    TokenSource,
                    "__init__",
                    lambda self, fetch: source(self, fetch, place.clock),
                )
                try:
                    return await action(place)
                finally:
                    await close_connections()

    return asyncio.run(main())


# OAuth2 client credentials


def test_token_is_asked_for_as_the_standard_says(monkeypatch):
    async def action(site: Site) -> None:
        assert await site.search() == 1

        (request,) = site.tokens.requests
        assert request.form == {
            "grant_type": "client_credentials",
            "scope": "dicom/.default",
            "audience": "https://pacs.example.org",
        }
        assert request.login == ("hub", "a secret: +/%&=ü")

    at_a_site(action, monkeypatch)


@pytest.mark.parametrize("step", [0.05, 0.3, 0.7])
def test_twenty_seconds_of_requests_never_fail_and_take_one_token_a_life(
    step, monkeypatch
):
    """Searches and images, several at a time, with tokens that live for 2 seconds."""

    async def use(site: Site, client: ArchiveClient) -> None:
        async with client.retrieve_instance(identifier_of(STUDY)) as stream:
            assert [piece async for piece in stream]
        assert await site.search() == 1

    async def action(site: Site) -> None:
        began = site.clock.now
        async with open_client(site.endpoint) as client:
            while site.clock.now < began + 20:
                await asyncio.gather(*(use(site, client) for _ in range(4)))
                site.clock.now += step

        assert site.archive.refused == 0
        assert len(site.tokens.requests) <= 20 / 2 + 1
        assert len(set(site.tokens.asked_at)) == len(site.tokens.requests)

    at_a_site(action, monkeypatch)


def test_token_is_renewed_while_the_old_one_still_serves(monkeypatch):
    async def action(site: Site) -> None:
        await site.search()
        site.clock.now += 3600 - 61
        await site.search()
        assert len(site.tokens.requests) == 1

        site.tokens.gate.clear()
        site.clock.now += 2
        await site.search()  # does not wait for the gate
        while len(site.tokens.requests) < 2:
            await asyncio.sleep(0)
        await asyncio.gather(*(site.search() for _ in range(10)))
        site.tokens.gate.set()
        while site.archive.requests[-1].headers["authorization"] != "Bearer token-2":
            await site.search()

        assert len(site.tokens.requests) == 2
        assert site.archive.refused == 0

    at_a_site(action, monkeypatch, seconds=3600)


def test_valid_token_serves_while_the_token_server_is_down(monkeypatch):
    async def action(site: Site) -> None:
        await site.search()
        site.tokens.refuses = lambda request: (503, {})
        site.clock.now += 3595
        assert await site.search() == 1
        assert await site.search() == 1

        site.clock.now += 10
        assert isinstance(await site.failure(), ArchiveUnavailableError)
        site.tokens.refuses = lambda request: None
        assert await site.search() == 1

    at_a_site(action, monkeypatch, seconds=3600)


def test_requests_that_begin_together_wait_for_one_token(monkeypatch):
    async def action(site: Site) -> None:
        site.tokens.gate.clear()
        searches = [asyncio.create_task(site.search()) for _ in range(20)]
        while not site.tokens.requests:
            await asyncio.sleep(0)
        searches[0].cancel()  # the others don't depend on who asked first
        site.tokens.gate.set()
        await asyncio.gather(*searches, return_exceptions=True)

        assert [search.result() for search in searches[1:]] == [1] * 19
        assert len(site.tokens.requests) == 1

    at_a_site(action, monkeypatch, maximum_connections=20)


def test_401_brings_one_new_token_and_one_more_request(monkeypatch):
    async def action(site: Site) -> None:
        await site.search()
        site.tokens.revoke_all()
        before = len(site.archive.requests)
        async with (
            open_client(site.endpoint) as client,
            client.retrieve_instance(identifier_of(STUDY)),
        ):
            pass

        assert len(site.tokens.requests) == 2
        assert len(site.archive.requests) == before + 2

    at_a_site(action, monkeypatch)


def test_401_again_is_the_answer(monkeypatch):
    async def action(site: Site) -> None:
        site.archive.answer_with("*/studies", status(401))

        error = await site.failure()

        assert isinstance(error, ArchiveRefusedError)
        assert "scope and audience" in str(error)
        assert len(site.archive.requests) == 2
        assert len(site.tokens.requests) == 2

    at_a_site(action, monkeypatch)


def test_401_for_every_token_does_not_bring_one_for_each_request(monkeypatch):
    async def action(site: Site) -> None:
        site.tokens.seconds = 3600
        site.archive.answer_with("*/studies", status(401))
        for _ in range(5):
            assert isinstance(await site.failure(), ArchiveRefusedError)
        assert len(site.tokens.requests) == 2
        assert len(site.archive.requests) == 6

        site.tokens.clock.now += tokens.REFUSED_SECONDS
        assert isinstance(await site.failure(), ArchiveRefusedError)
        assert len(site.tokens.requests) == 3

    at_a_site(action, monkeypatch)


def test_401_of_many_requests_brings_one_new_token(monkeypatch):
    async def action(site: Site) -> None:
        await site.search()
        site.tokens.revoke_all()
        site.tokens.gate.clear()
        searches = [asyncio.create_task(site.search()) for _ in range(8)]
        while site.archive.refused < 8:
            await asyncio.sleep(0)
        site.tokens.gate.set()

        assert await asyncio.gather(*searches) == [1] * 8
        assert len(site.tokens.requests) == 2

    at_a_site(action, monkeypatch, maximum_connections=8)


def test_403_brings_no_new_token(monkeypatch):
    async def action(site: Site) -> None:
        site.archive.answer_with("*/studies", status(403))

        assert isinstance(await site.failure(), ArchiveRefusedError)
        assert len(site.archive.requests) == 1
        assert len(site.tokens.requests) == 1

    at_a_site(action, monkeypatch)


def test_secret_goes_into_the_form_where_basic_is_refused(monkeypatch):
    async def action(site: Site) -> None:
        site.tokens.refuses = lambda request: (
            (401, {"error": "invalid_client"}) if request.authorization else None
        )
        await site.search()
        site.tokens.revoke_all()
        await site.search()

        kinds = [bool(request.authorization) for request in site.tokens.requests]
        assert kinds == [True, False, False]
        assert site.tokens.requests[-1].form["client_secret"] == CLIENT.client_secret

    at_a_site(action, monkeypatch)


@pytest.mark.parametrize(
    ("code", "answer", "words"),
    [
        (401, {"error": "invalid_client"}, "client id and client secret"),
        (401, b"<html>", "client id and client secret"),
        (400, {"error": "invalid_scope"}, "scope and audience"),
        (400, {"error": "unauthorized_client"}, "let its administrator"),
        (400, {"error": ["x"]}, "gives no token"),
        (404, b"", "check its address"),
        (302, b"", "check its address"),
        (500, {}, "try again"),
        (429, {}, "try again"),
        (200, b"<html>", "not with a token"),
        (200, [], "not with a token"),
        (200, {"access_token": ""}, "not with a token"),
        (200, {"access_token": "a\r\nX: b"}, "not with a token"),
        (200, {"access_token": "t", "token_type": "mac"}, "not with a token"),
        (200, b"[" * 100_000, "not with a token"),
        (200, b'"' + b"x" * 1_000_000, "not with a token"),
    ],
)
def test_what_the_token_server_answers_is_told_in_our_words(
    code, answer, words, monkeypatch
):
    quoted = {"error_description": f"secret {CLIENT.client_secret}"}

    async def action(site: Site) -> None:
        site.tokens.headers = "Location: http://169.254.169.254/\r\n"
        body = answer | quoted if isinstance(answer, dict) else answer
        site.tokens.refuses = lambda request: (code, body)

        message = str(await site.failure())

        assert words in message
        assert "token server of North" in message
        assert CLIENT.client_secret not in message
        assert not site.archive.requests

    at_a_site(action, monkeypatch)


@pytest.mark.parametrize(
    "expires_in", [None, "soon", -5, 0, "nan", 1e400, [], True], ids=str
)
def test_odd_lifetimes_of_tokens_do_no_harm(expires_in, monkeypatch):
    async def action(site: Site) -> None:
        grant = {"access_token": "token-1", "expires_in": expires_in}
        site.tokens.refuses = lambda request: (200, grant)
        site.tokens._expires["token-1"] = float("inf")

        for _ in range(3):
            assert await site.search() == 1
        assert len(site.tokens.requests) == 1

    at_a_site(action, monkeypatch)


def test_token_server_obeys_the_outgoing_rules(monkeypatch):
    async def action(site: Site) -> None:
        site.endpoint = replace(
            site.endpoint,
            outgoing=OutgoingRules.of([], has_loopback=False),
        )
        message = str(await site.failure())

        assert "token server of North" in message
        assert "VIEWERHUB_OUTGOING_NETWORKS" in message
        assert not site.tokens.requests

    at_a_site(action, monkeypatch)


def test_replacement_that_expires_on_its_way_is_replaced_too():
    clock = ManualClock()
    fetched: list[str] = []

    async def fetch(old: str, *, refused: bool) -> Grant:
        fetched.append(f"token-{len(fetched)}")
        return Grant(fetched[-1], 2)

    async def main() -> list[str]:
        source = TokenSource(fetch, clock)
        replacement = await source.replace(await source.current())
        at_once = await source.replace(replacement)
        clock.now += 1.95
        return [replacement, at_once, await source.replace(replacement)]

    assert asyncio.run(main()) == ["token-1", "token-1", "token-2"]


def test_event_loops_of_a_process_share_a_token():
    """Also where the loop that asks ends before its answer has come."""
    asked = []

    async def fetch(old: str, *, refused: bool) -> Grant:
        asked.append(threading.get_ident())
        if len(asked) == 1:
            await asyncio.Event().wait()
        return Grant("token", 3600)

    source = TokenSource(fetch)

    async def give_up() -> None:
        task = asyncio.create_task(source.current())
        while not asked:
            await asyncio.sleep(0)
        task.cancel()

    asyncio.run(give_up())
    found = [asyncio.run(source.current()) for _ in range(3)]

    assert found == ["token"] * 3
    assert len(asked) == 2


def test_waiting_loop_takes_over_from_one_that_ends():
    is_asked, may_end = threading.Event(), threading.Event()
    asked: list[int] = []

    async def fetch(old: str, *, refused: bool) -> Grant:
        asked.append(1)
        if len(asked) == 1:
            is_asked.set()
            await asyncio.Event().wait()
        return Grant("token", 3600)

    source = TokenSource(fetch)

    async def leader() -> None:
        task = asyncio.create_task(source.current())
        await asyncio.to_thread(may_end.wait)
        task.cancel()

    thread = threading.Thread(target=asyncio.run, args=[leader()])
    thread.start()
    is_asked.wait()

    async def follower() -> str:
        task = asyncio.create_task(source.current())
        await asyncio.sleep(0)
        may_end.set()
        return await task

    assert asyncio.run(follower()) == "token"
    thread.join()


# A service account of Google


def test_service_account_signs_for_its_token(monkeypatch):
    async def action(site: Site) -> None:
        text, public = service_account_key(site.tokens.url)
        site.endpoint = replace(site.endpoint, credentials=ServiceAccountKey(key=text))

        assert await site.search() == 1

        (request,) = site.tokens.requests
        assertion = request.form.pop("assertion")
        assert request.form == {
            "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer"
        }
        claims = jwt.decode(
            assertion, public, algorithms=["RS256"], audience=site.tokens.url
        )
        assert claims["iss"] == "hub@p.iam.gserviceaccount.com"
        assert claims["scope"].endswith("/auth/cloud-healthcare")
        assert claims["exp"] - claims["iat"] == 3600
        assert jwt.get_unverified_header(assertion)["kid"] == "key-1"

    at_a_site(action, monkeypatch)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "{}",
        "[1]",
        '{"token_uri": "https://x.example"}',
        '{"token_uri": "https://x.example", "client_email": "a", "private_key": "key"}',
    ],
)
def test_key_that_is_none_says_so(key, monkeypatch):
    async def action(site: Site) -> None:
        error = await site.failure()

        assert isinstance(error, ArchiveRefusedError)
        assert "JSON file" in str(error)

    at_a_site(action, monkeypatch, credentials=ServiceAccountKey(key=key))


# AWS Signature Version 4


class AwsServer(DicomWebServer):
    """Signs each request again, as AWS does, and compares."""

    def __init__(self, keys: AwsKeys) -> None:
        super().__init__([STUDY], Behaviour())
        self.keys = keys

    def _is_welcome(self, request: Request) -> bool:
        return is_signed(request, self.keys)


def with_aws(keys: AwsKeys, action: Callable[[ArchiveClient], Any]) -> AwsServer:
    async def main() -> AwsServer:
        server = AwsServer(AWS)
        async with server.running():
            endpoint = DicomWebEndpoint(name="Cloud", url=server.url, credentials=keys)
            try:
                async with open_client(endpoint) as client:
                    await action(client)
            finally:
                await close_connections()
        return server

    return asyncio.run(main())


def test_aws_accepts_the_signature_of_searches_and_images():
    async def action(client: ArchiveClient) -> None:
        query = StudyQuery(patient_name="Dö*", patient_id="P1")
        await client.find_studies(query)
        assert len((await client.find_studies(QUERY)).studies) == 1
        async with client.retrieve_instance(identifier_of(STUDY)) as stream:
            assert [piece async for piece in stream]

    server = with_aws(AWS, action)

    assert {one.headers["x-amz-security-token"] for one in server.requests} == {
        "session/token=="
    }
    assert "/us-east-1/medical-imaging/" in server.requests[0].headers["authorization"]


@pytest.mark.parametrize(
    "query",
    [
        StudyQuery(patient_name="O'Neil^J*n"),
        StudyQuery(study_instance_uids=("1.1", "1.2")),
        StudyQuery(patient_id="a:b,c/d@e!$(f)"),
        StudyQuery(patient_id="P1 + ü&=%2A~"),
    ],
)
def test_aws_accepts_the_signature_of_every_character(query):
    async def action(client: ArchiveClient) -> None:
        await client.find_studies(query)

    server = with_aws(AWS, action)

    keys = server.requests[0].keys
    assert keys.get("PatientName", "") == query.patient_name
    assert keys.get("PatientID", "") == query.patient_id
    assert keys.get("StudyInstanceUID", "") == ",".join(query.study_instance_uids)


AWS_EXAMPLES = [
    (
        "service",
        "example.amazonaws.com",
        "Param2=value2&Param1=value1",
        {},
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    ),
    (
        "iam",
        "iam.amazonaws.com",
        "Action=ListUsers&Version=2010-05-08",
        {"content-type": "application/x-www-form-urlencoded; charset=utf-8"},
        "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
    ),
]


@pytest.mark.parametrize(("service", "host", "query", "more", "signed"), AWS_EXAMPLES)
def test_aws_signatures_are_checked_as_published(service, host, query, more, signed):
    """The examples of its documentation and its test suite."""
    keys = AwsKeys(
        region="us-east-1",
        access_key_id="AKIDEXAMPLE",
        secret_access_key="wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        service=service,
    )
    headers = {"host": host, "x-amz-date": "20150830T123600Z", **more}
    request = Request(path="/", raw_path="/", query=query, headers=headers)

    assert signature(request, keys, sorted(headers)) == signed


def test_aws_refuses_another_key():
    async def action(client: ArchiveClient) -> None:
        with pytest.raises(ArchiveRefusedError, match="region and access keys"):
            await client.find_studies(QUERY)

    server = with_aws(replace(AWS, secret_access_key="another"), action)

    assert len(server.requests) == 1


def test_aws_keys_that_can_not_be_sent_say_so():
    async def action(client: ArchiveClient) -> None:
        with pytest.raises(ArchiveRefusedError, match="enter them again"):
            await client.find_studies(QUERY)

    assert not with_aws(replace(AWS, access_key_id="ü"), action).requests


# Headers


def test_headers_go_with_every_request():
    sent = (("X-Api-Key", "a key"), ("Authorization", "Custom x"))

    async def main() -> list[Request]:
        async with DicomWebServer([STUDY], Behaviour()).running() as server:
            endpoint = DicomWebEndpoint(
                name="North", url=server.url, credentials=CustomHeaders(headers=sent)
            )
            async with open_client(endpoint) as client:
                await client.find_studies(QUERY)
                async with client.retrieve_instance(identifier_of(STUDY)):
                    pass
            await close_connections()
            return server.requests

    requests = asyncio.run(main())

    assert len(requests) > 1
    for request in requests:
        assert request.headers["x-api-key"] == "a key"
        assert request.headers["authorization"] == "Custom x"


# Nothing secret shows


@pytest.mark.parametrize(
    "credentials",
    [
        ClientCredentials(token_url="https://x", client_id="c", client_secret="marker"),
        ServiceAccountKey(key="marker"),
        replace(AWS, secret_access_key="marker", session_token="marker"),
        CustomHeaders(headers=(("X-Api-Key", "marker"),)),
    ],
    ids=lambda each: type(each).__name__,
)
def test_no_secret_is_in_a_repr_or_a_log(credentials, caplog):
    endpoint = DicomWebEndpoint(
        name="North", url="http://127.0.0.1:1", credentials=credentials
    )
    assert "marker" not in repr(endpoint)

    async def main() -> None:
        try:
            async with open_client(endpoint) as client:
                with pytest.raises(ArchiveError) as raised:
                    await client.find_studies(QUERY)
                assert "marker" not in str(raised.value)
        finally:
            await close_connections()

    with caplog.at_level(logging.DEBUG):
        asyncio.run(main())
    assert "marker" not in caplog.text


# Properties


@given(
    life=st.floats(1, 7200),
    steps=st.lists(st.floats(0, 300), min_size=1, max_size=60),
)
def test_no_token_is_used_after_its_life_nor_fetched_twice_in_it(life, steps):
    clock = ManualClock()
    fetched: list[float] = []

    async def fetch(old: str, *, refused: bool) -> Grant:
        fetched.append(clock.now)
        return Grant(str(len(fetched)), life)

    async def main() -> None:
        source = TokenSource(fetch, clock)
        for step in steps:
            for token in await asyncio.gather(*(source.current() for _ in range(3))):
                assert clock.now < fetched[int(token) - 1] + life
            await asyncio.sleep(0)  # what was begun early ends
            await asyncio.sleep(0)
            clock.now += step

    asyncio.run(main())

    for first, second in pairwise(fetched):
        assert second - first >= life - min(60.0, 0.05 * life) - 1e-6


@given(text=st.text(st.characters(codec="utf-8"), max_size=80))
def test_lines_that_are_taken_as_headers_can_be_sent(text):
    """Whatever is entered; the HTTP library sends them as they are."""
    problem = headers_problem(text)
    for name, value in parse_headers(text):
        field = h11.Request(
            method="GET", target="/", headers=[("Host", "x"), (name, value)]
        )
        assert (name.encode(), value.encode()) in [
            (raw, sent) for raw, sent in field.headers.raw_items()
        ]
        assert problem or name.lower() not in ("host", "content-length")
