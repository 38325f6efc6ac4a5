"""Where connections may go: the rules, and every client that has to obey them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archives.clients import close_connections, open_client
from archives.clients.base import Deadlines, DicomWebEndpoint, DimseEndpoint
from archives.clients.outgoing import ForbiddenAddressError, OutgoingRules, connect
from archives.entities import StudyQuery
from archives.errors import ArchiveError, ArchiveRefusedError
from tests.dicomweb_server import Behaviour, DicomWebServer, status
from tests.dicomweb_studies import make_study
from tests.loops import run

ANY = OutgoingRules.of([], has_loopback=True)
PRODUCTION = OutgoingRules.of([], has_loopback=False)
METADATA = [
    "169.254.169.254",
    "100.100.100.200",
    "168.63.129.16",
    "fd00:ec2::254",
    "fd20:ce::254",
]
NOWHERE = ["0.0.0.0", "169.254.1.1", "224.0.0.1", "255.255.255.255", "fe80::1", "::"]


def disguises(address: str) -> list[str]:
    """Ways of writing an IPv4 address that resolvers understand."""
    number = int(IPv4Address(address))
    a, b, c, d = address.split(".")
    low = number & 0xFFFFFF
    return [
        address,
        str(number),
        hex(number),
        f"0{number:o}",
        ".".join(f"0{int(part):o}" for part in (a, b, c, d)),
        ".".join(hex(int(part)) for part in (a, b, c, d)),
        f"{a}.{low}",
        f"{a}.{b}.{low & 0xFFFF}",
        f"::ffff:{address}",
        f"0:0:0:0:0:ffff:{number >> 16:x}:{number & 0xFFFF:x}",
        f"64:ff9b::{address}",
        f"2002:{number >> 16:x}:{number & 0xFFFF:x}::1",
    ]


def reached(host: str, rules: OutgoingRules, monkeypatch: Any) -> list[str]:
    """The addresses that ``connect`` would open a socket to; none leaves the test."""
    opened: list[str] = []

    async def note(address: str, port: int) -> socket.socket:
        opened.append(address)
        raise ConnectionRefusedError

    async def main() -> None:
        with suppress(OSError, TimeoutError):
            await connect(host, 80, rules, timeout=5)

    with monkeypatch.context() as patch:
        patch.setattr("archives.clients.outgoing._connected", note)
        run(main())
    return opened


# The rules


@pytest.mark.parametrize("address", METADATA + NOWHERE)
@pytest.mark.parametrize(
    "rules",
    [
        ANY,
        PRODUCTION,
        OutgoingRules.of(["0.0.0.0/0", "::/0", "x.org"], has_loopback=True),
    ],
    ids=["any", "production", "everything listed"],
)
def test_addresses_without_archives_are_never_permitted(address, rules):
    assert not rules.permits("x.org", address)


@pytest.mark.parametrize(
    "address", ["10.1.2.3", "192.168.0.1", "8.8.8.8", "2001:db8::1"]
)
def test_any_other_address_is_permitted_where_nothing_is_listed(address):
    assert ANY.permits("x.org", address)
    assert PRODUCTION.permits("x.org", address)


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"]
)
def test_loopback_is_a_matter_of_its_own(address):
    listed = OutgoingRules.of(["127.0.0.0/8", "::1"], has_loopback=False)

    assert ANY.permits("localhost", address)
    assert not PRODUCTION.permits("localhost", address)
    assert listed.permits("localhost", address)
    # A listed name is no permission for whatever it resolves to.
    named = OutgoingRules.of(["localhost"], has_loopback=False)
    assert not named.permits("localhost", address)


def test_listed_networks_and_names_exclude_all_others():
    rules = OutgoingRules.of(
        ["10.0.0.0/8", "pacs.example.org", "*.example.com", "bücher.example"],
        has_loopback=True,
    )

    assert rules.permits("anything", "10.200.0.1")
    assert rules.permits("anything", "::ffff:10.200.0.1")
    assert rules.permits("PACS.example.org.", "8.8.8.8")
    assert rules.permits("a.b.example.com", "8.8.8.8")
    assert rules.permits("xn--bcher-kva.example", "8.8.8.8")
    assert not rules.permits("example.com", "8.8.8.8")
    assert not rules.permits("notexample.com", "8.8.8.8")
    assert not rules.permits("pacs.example.org.evil.net", "8.8.8.8")
    assert not rules.permits("8.8.8.8", "8.8.8.8")
    assert not rules.permits("anything", "127.0.0.1")


FORBIDDEN_V4 = st.one_of(
    st.ip_addresses(v=4, network="127.0.0.0/8"),
    st.ip_addresses(v=4, network="169.254.0.0/16"),
    st.ip_addresses(v=4, network="0.0.0.0/8"),
    st.ip_addresses(v=4, network="224.0.0.0/3"),
    st.sampled_from([ip_address(one) for one in METADATA[:3]]),
)


@given(address=FORBIDDEN_V4, choice=st.integers(0, 11))
def test_no_disguise_of_a_forbidden_address_is_connected_to(address, choice):
    host = disguises(str(address))[choice]
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert reached(host, PRODUCTION, monkeypatch) == []


@given(
    host=st.one_of(
        st.ip_addresses(v=6).map(str),
        st.ip_addresses(v=4).flatmap(lambda one: st.sampled_from(disguises(str(one)))),
        st.integers(0, 2**33).map(str),
        st.text(max_size=6).map(lambda text: f"127.0.0.1{text}"),
        st.text(max_size=12),
    )
)
def test_what_is_connected_to_is_an_address_that_is_permitted(host):
    """Whatever is entered; names are not asked of any server."""

    async def no_names(self: Any, host: Any, port: Any, **options: Any) -> Any:
        flags = socket.AI_NUMERICHOST
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", no_names)
        for one in reached(host, PRODUCTION, monkeypatch):
            address = ip_address(one)
            inner = getattr(address, "ipv4_mapped", None) or address
            assert not any(
                getattr(inner, f"is_{kind}")
                for kind in ("loopback", "link_local", "multicast", "unspecified")
            )
            assert str(inner) not in METADATA


# Names, which are resolved once


def resolving(answers: list[list[str]], monkeypatch: Any) -> list[str]:
    """Have every name resolved to the next answer; returns the names that were asked."""
    asked: list[str] = []

    async def getaddrinfo(self: Any, host: Any, port: Any, **options: Any) -> Any:
        asked.append(host)
        found = answers[min(len(asked), len(answers)) - 1]
        return [
            (
                socket.AF_INET6 if isinstance(ip_address(one), IPv6Address) else None,
                socket.SOCK_STREAM,
                6,
                "",
                (one, 0),
            )
            for one in found
        ]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)
    return asked


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", *METADATA])
def test_name_of_a_forbidden_address_is_refused(address, monkeypatch):
    resolving([[address]], monkeypatch)

    async def main() -> None:
        with pytest.raises(ForbiddenAddressError):
            await connect("pacs.example.org", 80, PRODUCTION, timeout=5)

    run(main())


def test_only_permitted_addresses_of_a_name_are_tried(monkeypatch):
    resolving([["127.0.0.1", "192.0.2.1", "169.254.169.254", "192.0.2.2"]], monkeypatch)

    assert reached("x.org", PRODUCTION, monkeypatch) == ["192.0.2.1", "192.0.2.2"]


def search(endpoint: DicomWebEndpoint | DimseEndpoint) -> ArchiveError | None:
    async def main() -> ArchiveError | None:
        try:
            async with open_client(endpoint) as client:
                await client.find_studies(StudyQuery(patient_id="P1"))
        except ArchiveError as error:
            return error
        finally:
            await close_connections()
        return None

    return run(main())


def dimse(host: str, port: int, rules: OutgoingRules) -> DimseEndpoint:
    return DimseEndpoint(
        name="North",
        host=host,
        port=port,
        called_ae_title="NORTH",
        outgoing=rules,
        deadlines=Deadlines(connect=2, association=2, first_answer=2),
    )


def dicomweb(host: str, port: int, rules: OutgoingRules) -> DicomWebEndpoint:
    return DicomWebEndpoint(
        name="North", url=f"http://{host}:{port}/dicom-web", outgoing=rules
    )


@pytest.mark.parametrize("make", [dimse, dicomweb])
@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "localhost"])
def test_clients_connect_to_no_forbidden_address(make: Callable[..., Any], host):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        error = search(make(host, listener.getsockname()[1], PRODUCTION))

        with pytest.raises(BlockingIOError):
            listener.accept()
    assert isinstance(error, ArchiveRefusedError)
    assert "North" in str(error)
    assert "VIEWERHUB_OUTGOING_NETWORKS" in str(error)


@pytest.mark.parametrize("make", [dimse, dicomweb])
def test_verification_connects_to_no_forbidden_address(make: Callable[..., Any]):
    async def main(endpoint: Any) -> Any:
        async with open_client(endpoint) as client:
            return await client.verify()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        (step,) = run(main(make("127.0.0.1", listener.getsockname()[1], PRODUCTION)))

        with pytest.raises(BlockingIOError):
            listener.accept()
    assert not step.is_ok
    assert "VIEWERHUB_OUTGOING_NETWORKS" in step.message


def test_http_goes_to_the_address_that_was_judged_and_names_the_host(monkeypatch):
    """A second answer of the name's server (DNS rebinding) is never asked for."""
    rules = OutgoingRules.of(["127.0.0.1"], has_loopback=False)

    async def main() -> tuple[list[str], list[str]]:
        asked = resolving([["127.0.0.1"], ["169.254.169.254"]], monkeypatch)
        async with DicomWebServer([make_study()], Behaviour()).running() as server:
            port = int(server.url.split(":")[2].split("/")[0])
            endpoint = dicomweb("pacs.example.org", port, rules)
            async with open_client(endpoint) as client:
                for _ in range(3):
                    await client.find_studies(StudyQuery(patient_id="P1"))
            await close_connections()
            return asked, [one.headers["host"] for one in server.requests]

    asked, hosts = run(main())

    assert asked == ["pacs.example.org"]
    assert len(hosts) > 1
    assert {name.partition(":")[0] for name in hosts} == {"pacs.example.org"}


def test_another_permitted_address_is_tried_where_one_refuses(monkeypatch):
    async def main() -> None:
        resolving([["127.0.0.2", "127.0.0.1"]], monkeypatch)
        async with DicomWebServer([make_study()], Behaviour()).running() as server:
            port = int(server.url.split(":")[2].split("/")[0])
            async with open_client(dicomweb("pacs.example.org", port, ANY)) as client:
                assert (await client.find_studies(StudyQuery(patient_id="P1"))).studies
            await close_connections()

    run(main())


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data/",
        "//127.0.0.1:1/",
        "https://127.0.0.1/dicom-web/studies",
        "http://2130706433/",
        "file:///etc/passwd",
        "http://[::ffff:127.0.0.1]:1/",
    ],
)
def test_redirect_to_another_origin_is_refused(target):
    async def main() -> tuple[ArchiveError | None, int]:
        server = DicomWebServer([make_study()], Behaviour())
        server.answer_with("*/studies", status(302, Location=target))
        async with server.running():
            error = None
            try:
                async with open_client(
                    DicomWebEndpoint(name="North", url=server.url)
                ) as client:
                    await client.find_studies(StudyQuery(patient_id="P1"))
            except ArchiveError as raised:
                error = raised
            await close_connections()
            return error, len(server.requests)

    error, requests = run(main())

    assert "redirects to another server" in str(error)
    assert requests == 1
