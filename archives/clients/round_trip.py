"""How far away the other end of a connection is, as the kernel has measured it."""

from __future__ import annotations

import socket
import struct
import sys
from math import inf
from typing import Any, Final

# Where tcpi_min_rtt is in tcp_info, in microseconds (linux/tcp.h, since 4.6).
_MINIMUM: Final = struct.Struct("148xI")


def round_trip(connection: Any) -> float:
    """The shortest there and back, in seconds; infinite where nobody has measured it.

    ``connection`` is a TCP socket, or what asyncio has in place of one.
    """
    if sys.platform != "linux":
        return inf
    try:
        known = connection.getsockopt(
            socket.IPPROTO_TCP, socket.TCP_INFO, _MINIMUM.size
        )
        (microseconds,) = _MINIMUM.unpack(known)
    except (AttributeError, OSError, struct.error):  # no socket, closed, an old kernel
        return inf
    return float(microseconds) / 1e6
