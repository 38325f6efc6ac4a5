"""Files that are whole, and all that are cut short."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from archives.clients.completeness import CompletenessCheck, IncompleteError

NAMES = {  # and of how many bytes of padding after it no object has need
    "CT_small.dcm": 138,  # explicit little endian
    "MR_small_implicit.dcm": 0,
    "MR_small_bigendian.dcm": 0,
    "image_dfl.dcm": 8,  # deflated
    "JPEG2000.dcm": 0,  # fragments
    "SC_rgb_rle_2frame.dcm": 0,
    "examples_palette.dcm": 0,  # with a presentation LUT before the pixels
    "liver_1frame.dcm": 0,
    "reportsi.dcm": 0,
    "test-SR.dcm": 0,
    "rtplan.dcm": 0,
}


def is_whole(content: bytes, piece: int = 1 << 16) -> bool:
    check = CompletenessCheck()
    try:
        for start in range(0, len(content), piece):
            check.feed(content[start : start + piece])
    except IncompleteError:
        return False
    return check.is_whole


def content_of(name: str) -> bytes:
    path = get_testdata_file(name)
    assert isinstance(path, str)
    return Path(path).read_bytes()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("piece", [1, 7, 1 << 16])
def test_whole_files_are_whole_in_pieces_of_any_size(name, piece):
    assert is_whole(content_of(name), piece)


@pytest.mark.parametrize(("name", "padding"), NAMES.items())
def test_files_that_are_cut_anywhere_are_not_whole(name, padding):
    """Between two elements, too, where pydicom and viewers notice nothing."""
    content = content_of(name)
    check = CompletenessCheck()

    position = 0
    while not check.is_whole:
        check.feed(content[position : position + 1])
        position += 1

    assert position == len(content) - padding


@pytest.mark.parametrize("content", [b"", bytes(132), b"<html>" * 100, bytes(70_000)])
def test_what_is_no_dicom_file_is_not_whole(content):
    assert not is_whole(content)
