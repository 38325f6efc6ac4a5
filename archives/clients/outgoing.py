"""Where the hub may connect to, and connections that go where it was checked.

A host name is resolved once; the addresses found are judged, and the connection goes to
one of them: a name that means another address a moment later (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final, Self

from archives.errors import ArchiveRefusedError, ArchiveUnavailableError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# No archive is there, whatever is listed: "this" network, link-local (with the metadata
# services of most clouds), multicast, reserved, and metadata services elsewhere.
_NEVER: Final = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",
            "169.254.0.0/16",
            "224.0.0.0/4",
            "240.0.0.0/4",
            "100.100.100.200/32",  # Alibaba Cloud
            "168.63.129.16/32",  # Azure
            "192.0.0.192/32",  # Oracle Cloud
            "::/128",
            "fe80::/10",
            "fec0::/10",
            "ff00::/8",
            "fd00:ec2::/32",  # Amazon
            "fd20:ce::/32",  # Google
        ),
    )
)
_LOOPBACK: Final = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
# IPv4 addresses are the last 32 bits there (RFC 4291 2.5.5, RFC 6052, RFC 8215).
_TRANSLATED: Final = tuple(
    map(ip_network, ("::/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48"))
)


class ForbiddenAddressError(OSError):
    """No address of a host is one that the hub may connect to."""


class UnknownHostError(OSError):
    """No address is known of a host."""

    def __init__(self, host: str) -> None:
        super().__init__(host)
        self.host = host


def forbidden(archive_name: str) -> ArchiveRefusedError:
    """What a screen says of a ``ForbiddenAddressError``."""
    return ArchiveRefusedError(
        f"{archive_name} is at an address the hub may not connect to: check the address, "
        "or let the hub's operator add its network to VIEWERHUB_OUTGOING_NETWORKS."
    )


def unknown_host(archive_name: str, host: str) -> ArchiveUnavailableError:
    """What a screen says of an ``UnknownHostError``."""
    return ArchiveUnavailableError(
        f"{archive_name}: the host name {host} is unknown. Check the address."
    )


@dataclass(frozen=True, slots=True)
class OutgoingRules:
    """What administrators of the server allow: networks, and host names.

    A host name may begin with ``*.``, for all names below a domain. Nothing listed means
    every address but some that no archive has; loopback as far as ``has_loopback``, which
    doesn't count for listed networks.
    """

    networks: tuple[Network, ...] = ()
    hosts: tuple[str, ...] = ()
    has_loopback: bool = True

    @classmethod
    def of(cls, entries: Iterable[str], *, has_loopback: bool) -> Self:
        """Rules as they are listed: CIDR ranges, IP addresses and host names."""
        networks: list[Network] = []
        hosts: list[str] = []
        for entry in entries:
            try:
                networks.append(ip_network(entry, strict=False))
            except ValueError:
                hosts.append(_canonical(entry))
        return cls(tuple(networks), tuple(hosts), has_loopback)

    def permits(self, host: str, address: str) -> bool:
        """Whether the hub may connect to an address that it found for a host."""
        ways = _meanings(ip_address(address.partition("%")[0]))
        if any(_is_in(way, _NEVER) for way in ways):
            return False
        if any(_is_in(way, self.networks) for way in ways):
            return True
        if any(_is_in(way, _LOOPBACK) for way in ways) and not self.has_loopback:
            return False
        return not (self.networks or self.hosts) or self._lists(_canonical(host))

    def _lists(self, host: str) -> bool:
        parents = [host.partition(".")[2]]
        while parents[-1]:
            parents.append(parents[-1].partition(".")[2])
        return host in self.hosts or any(
            f"*.{parent}" in self.hosts for parent in parents if parent
        )


ANYWHERE: Final = OutgoingRules()


async def permitted_addresses(host: str, rules: OutgoingRules) -> tuple[str, ...]:
    """The IP addresses of a host that may be connected to, in the resolver's order.

    Raises ``ForbiddenAddressError`` where there are others only, and
    ``UnknownHostError`` where the name can't be resolved.
    """
    addresses = await _addresses_of(host)
    permitted = tuple(one for one in addresses if rules.permits(host, one))
    if not permitted:
        raise ForbiddenAddressError
    return permitted


async def _addresses_of(host: str) -> tuple[str, ...]:
    try:
        return (str(ip_address(host)),)
    except ValueError:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (socket.gaierror, UnicodeError) as error:  # it may not be encodable
            raise UnknownHostError(host) from error
        return tuple(dict.fromkeys(str(one[4][0]) for one in found))


async def connect(
    host: str, port: int, rules: OutgoingRules, *, timeout: float
) -> socket.socket:
    """A non-blocking socket connected to one of the permitted addresses of a host.

    Raises as ``permitted_addresses``, ``TimeoutError`` or another ``OSError``.
    """
    async with asyncio.timeout(timeout):
        addresses = await permitted_addresses(host, rules)
        for address in addresses[:-1]:
            try:
                # One that never answers leaves time for the others.
                async with asyncio.timeout(timeout / len(addresses)):
                    return await _connected(address, port)
            except OSError:
                continue
        return await _connected(addresses[-1], port)


async def _connected(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, (address, port))
    except BaseException:
        connection.close()
        raise
    return connection


def _meanings(address: Address) -> tuple[Address, ...]:
    """An address, and the IPv4 address that it may be another form of."""
    if isinstance(address, IPv4Address):
        return (address,)
    inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    # ::1 is no translation, but a loopback address of its own.
    if int(address) > 0xFFFF and _is_in(address, _TRANSLATED):
        inner.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return (address, *(one for one in inner if one))


def _is_in(address: Address, networks: Iterable[Network]) -> bool:
    return any(
        address.version == network.version and address in network
        for network in networks
    )


def _canonical(host: str) -> str:
    """A host name for comparing, as it is on the wire (RFC 5890)."""
    name = host.strip("[]").rstrip(".").lower()
    try:
        return name if name.isascii() else name.encode("idna").decode()
    except UnicodeError:
        return name
