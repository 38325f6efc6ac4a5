"""Bodies of several parts (PS3.18 8.6.1), with no address of the archive in their heads."""

from __future__ import annotations

import re
from email.message import Message
from typing import Final

_LOCATION: Final = re.compile(rb"(?im)^(content-location:)([^\r\n]*)")
_MAXIMUM_HEAD: Final = 16 * 1024


class Parts:
    """Blanks the ``Content-Location`` of each part of a body, piece by piece.

    The body keeps its length. One without a boundary stays as it is.
    """

    def __init__(self, content_type: str) -> None:
        head = Message()
        head["Content-Type"] = content_type
        boundary = head.get_boundary() or ""
        self._delimiter = f"--{boundary}".encode() if boundary else b""
        self._rest = b""

    def feed(self, piece: bytes) -> bytes:
        """What is ready to be sent."""
        if not self._delimiter:
            return piece
        data, start, ready = self._rest + piece, 0, []
        while (found := data.find(self._delimiter, start)) >= 0:
            end = data.find(b"\r\n\r\n", found)
            if end < 0:
                if len(data) - found < _MAXIMUM_HEAD:
                    break
                end = len(data)
            ready += [data[start:found], _LOCATION.sub(_blank, data[found:end])]
            start = end
        held = found if found >= 0 else len(data) - len(self._delimiter) + 1
        held = max(held, start)
        ready.append(data[start:held])
        self._rest = data[held:]
        return b"".join(ready)

    def close(self) -> bytes:
        """What was held back, as it may have been the beginning of a part."""
        rest, self._rest = self._rest, b""
        return _LOCATION.sub(_blank, rest) if self._delimiter in rest else rest


def _blank(match: re.Match[bytes]) -> bytes:
    return match[1] + b" " * len(match[2])
