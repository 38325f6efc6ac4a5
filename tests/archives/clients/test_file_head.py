"""Heads of DICOM files, as no archive should send them."""

from __future__ import annotations

import pytest

from archives.clients.file_head import NotDicomError, read_head


def test_head_of_countless_elements_is_none():
    """It would be read from its beginning with each byte that comes."""
    empty = b"\x02\x00\x02\x01UI\x00\x00"

    with pytest.raises(NotDicomError):
        read_head(bytes(128) + b"DICM" + empty * 1000)


def test_value_that_is_still_to_come_is_waited_for():
    element = b"\x02\x00\x03\x00UI\x0a\x001.2.3.4.5\0"
    content = bytes(128) + b"DICM" + element + b"\x08\x00"

    assert [read_head(content[:end]) for end in range(len(content))] == [None] * len(
        content
    )
    head = read_head(content)
    assert head is not None
    assert head.sop_instance_uid == "1.2.3.4.5"
