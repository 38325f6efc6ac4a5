"""Network addresses and the ranges they are in."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from django.utils.translation import gettext as _


@lru_cache
def _networks(ranges: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(text.strip(), strict=False) for text in ranges)


def is_address(text: str) -> bool:
    """Whether it is an IP address: servers on a socket of the file system know none."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def is_inside(address: str, ranges: Iterable[str]) -> bool:
    """Whether an IP address is in one of these CIDR ranges; no address is in none."""
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None)
    return any((mapped or ip) in network for network in _networks(tuple(ranges)))


def network_problem(text: str) -> str:
    """Why this is no address or CIDR range; empty if it is one."""
    try:
        ip_network(text, strict=False)
    except ValueError:
        problem = _("%(text)s is not an address or a network such as 10.1.0.0/16.")
        return problem % {"text": text}
    return ""
