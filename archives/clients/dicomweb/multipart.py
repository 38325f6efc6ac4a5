"""The parts of a ``multipart/related`` answer (RFC 2046 5.1), while they arrive."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.message import Message
from typing import Final

MAXIMUM_HEAD: Final = 16 * 1024
_CONTENT_LENGTH: Final = re.compile(
    rb"(?mi)^content-length:[ \t]*([0-9]{1,15})[ \t]*\r?$"
)
_DELIMITER_END: Final = re.compile(rb"--|\r\n|[ \t]")
_DELIMITER_UNDECIDED: Final = (b"", b"-", b"\r")


class MalformedMultipartError(ValueError):
    """Not one whole part between delimiters."""


def boundary_of(content_type: str) -> str:
    """The boundary parameter; empty if there is none."""
    message = Message()
    message["Content-Type"] = content_type
    boundary = message.get_param("boundary", "")
    return boundary if isinstance(boundary, str) else ""


class PartReader:
    """Reads the first part of a body that comes in pieces of any size.

    ``content_length`` is that of the part, once its head has come and if it says so.
    Holds back no more than a delimiter.
    """

    def __init__(self, boundary: str) -> None:
        if not boundary:
            raise MalformedMultipartError("There is no boundary.")
        # The first delimiter may be the first line: the line break before it is ours.
        self._start(b"\r\n--" + boundary.encode("utf-8", "replace"), b"\r\n")

    def _start(self, delimiter: bytes, buffer: bytes) -> None:
        self._delimiter = delimiter
        self._buffer = buffer
        self._is_in_part = False
        self._remaining: int | None = None
        self.content_length: int | None = None
        self.is_complete = False

    def feed(self, data: bytes) -> bytes:
        """What of ``data``, and of what was held back, is content for sure."""
        if self.is_complete:
            return b""  # an epilogue, or parts nobody asked for
        self._buffer += data
        if not self._is_in_part and not self._read_head():
            return b""
        if self._remaining is not None:
            return self._counted_content(self._remaining)
        return self._delimited_content()

    def close(self) -> None:
        """Raises if the body ended before the part did."""
        if not self.is_complete:
            raise MalformedMultipartError("The part ends early.")

    def _read_head(self) -> bool:
        """Skip the preamble, the delimiter and the part's headers, once all are there."""
        start = self._buffer.find(self._delimiter)
        end = -1 if start < 0 else self._buffer.find(b"\r\n\r\n", start + 2)
        if end < 0:
            if len(self._buffer) > MAXIMUM_HEAD:
                raise MalformedMultipartError("The part has no head.")
            return False
        head = self._buffer[start + len(self._delimiter) : end]
        if not _DELIMITER_END.match(head + b"\r\n") or head.startswith(b"--"):
            raise MalformedMultipartError("There is no part.")
        self._buffer = self._buffer[end + 4 :]
        if length := _CONTENT_LENGTH.search(head):
            self.content_length = self._remaining = int(length[1])
        self._is_in_part = True
        return True

    def _counted_content(self, remaining: int) -> bytes:
        content, self._buffer = self._buffer[:remaining], self._buffer[remaining:]
        self._remaining = remaining - len(content)
        if self._remaining == 0 and len(self._buffer) >= len(self._delimiter):
            if not self._buffer.startswith(self._delimiter):
                raise MalformedMultipartError("The part is longer than it says.")
            self.is_complete = True
        return content

    def _delimited_content(self) -> bytes:
        end = self._buffer.find(self._delimiter)
        while end >= 0:
            place = end + len(self._delimiter)
            after = self._buffer[place : place + 2]
            self.is_complete = bool(_DELIMITER_END.match(after))
            if self.is_complete or after in _DELIMITER_UNDECIDED:
                break
            end = self._buffer.find(self._delimiter, end + 1)
        if end < 0:
            end = max(0, len(self._buffer) - len(self._delimiter) + 1)
        content, self._buffer = self._buffer[:end], self._buffer[end:]
        return content

    @property
    def is_end(self) -> bool:
        """Whether what stands in place of a part is the last delimiter."""
        return not self._is_in_part and self._buffer.startswith(self._delimiter + b"--")

    def following(self) -> PartReader:
        """For the next part, with what of it has come already."""
        reader = PartReader.__new__(PartReader)
        reader._start(self._delimiter, self._buffer)
        return reader


class PartsReader:
    """Reads all parts of a body, one after the other."""

    def __init__(self, boundary: str) -> None:
        self._part = PartReader(boundary)

    def feed(self, data: bytes) -> Iterator[tuple[bytes, bool]]:
        """What of ``data`` is content, and whether its part ends with it."""
        self._part._buffer += data  # first: it may complete the last delimiter
        while not self._part.is_end:
            content = self._part.feed(b"")
            is_last = self._part.is_complete
            if is_last:
                self._part = self._part.following()
            if content or is_last:
                yield content, is_last
            if not is_last:
                return

    def close(self) -> None:
        """Raises if the body ended before the last delimiter."""
        if not self._part.is_end:
            raise MalformedMultipartError("The body ends early.")
