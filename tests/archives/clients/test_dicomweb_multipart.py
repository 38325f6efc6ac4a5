from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from archives.clients.dicomweb.multipart import (
    MAXIMUM_HEAD,
    MalformedMultipartError,
    PartReader,
    PartsReader,
    boundary_of,
)

BOUNDARY = "b0-und"
# Content that looks like delimiters, at every place where it can be cut.
contents = st.lists(
    st.sampled_from([b"\r\n", b"--", b"b0-und", b"\r\n--b0-un", b"\r", b"-", b"\0\xff"])
    | st.binary(max_size=20)
).map(b"".join)


def read(body: bytes, cuts: list[int]) -> tuple[bytes, PartReader]:
    reader = PartReader(BOUNDARY)
    places = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    pieces = [body[start:end] for start, end in pairwise(places)]
    content = b"".join(map(reader.feed, pieces))
    reader.close()
    return content, reader


def body_of(
    content: bytes, headers: bytes = b"Content-Type: application/dicom\r\n"
) -> bytes:
    return b"--b0-und\r\n" + headers + b"\r\n" + content + b"\r\n--b0-und--\r\n"


@given(contents, st.lists(st.integers(0, 2**16)))
@example(b"\r\n--b0-undx", [18, 30])
def test_reader_finds_the_content_wherever_the_body_is_cut(content, cuts):
    if b"\r\n--b0-und" in content + b"\r\n--b0-un":
        content = content.replace(b"b0-und", b"b0_und")

    found, reader = read(body_of(content), cuts)

    assert found == content
    assert reader.content_length is None


@given(contents, st.lists(st.integers(0, 2**16)))
@example(b"a\r\n--b0-und--b", [])
def test_reader_trusts_a_content_length_more_than_delimiters(content, cuts):
    headers = b"content-length: %d\r\nContent-Type: application/dicom\r\n" % len(
        content
    )

    found, reader = read(body_of(content, headers), cuts)

    assert found == content
    assert reader.content_length == len(content)


@given(contents, st.integers(0, 2**16), st.booleans())
def test_reader_never_takes_a_cut_part_for_a_whole_one(content, cut, has_length):
    content = content.replace(b"b0-und", b"b0_und")
    headers = b"Content-Length: %d\r\n" % len(content) if has_length else b""
    body = body_of(content, headers)
    whole = len(body) - len(b"--\r\n")

    with pytest.raises(MalformedMultipartError):
        read(body[: cut % whole], [])


@given(st.binary(max_size=200))
def test_reader_refuses_or_reads_anything(body):
    reader = PartReader(BOUNDARY)
    try:
        reader.feed(body)
        reader.close()
    except MalformedMultipartError:
        assert not reader.is_complete


def test_reader_skips_preamble_and_other_parts():
    body = (
        b"preamble\r\n" + body_of(b"one", b"")[:-4] + b"\r\n\r\nother" + body_of(b"two")
    )

    assert read(body, [])[0] == b"one"


def test_reader_holds_back_no_more_than_a_delimiter():
    reader = PartReader(BOUNDARY)

    given = reader.feed(body_of(b"x" * 1000)[: 8 + 2 + 33 + 2 + 1000])

    assert len(given) > 1000 - len("\r\n--b0-und")


@pytest.mark.parametrize(
    "body",
    [
        b"--b0-und--\r\n\r\n",
        b"--b0-undish\r\n\r\ncontent",
        b"x" * (MAXIMUM_HEAD + 1),
        b"--b0-und\r\nContent-Length: 3\r\n\r\nlonger\r\n--b0-und--",
        b"",
    ],
)
def test_reader_refuses_what_is_not_one_part(body):
    with pytest.raises(MalformedMultipartError):
        read(body, [])


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ('multipart/related; type="application/dicom"; boundary=abc', "abc"),
        ('multipart/related; boundary="a b;c"; type=x', "a b;c"),
        ("Multipart/Related;BOUNDARY=abc", "abc"),
        ("multipart/related", ""),
        ("", ""),
    ],
)
def test_boundary_is_the_parameter(content_type, boundary):
    assert boundary_of(content_type) == boundary


def test_reader_needs_a_boundary():
    with pytest.raises(MalformedMultipartError):
        PartReader("")


def read_all(body: bytes, cuts: list[int]) -> list[bytes]:
    reader = PartsReader(BOUNDARY)
    places = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    found, part = [], b""
    for start, end in pairwise(places):
        for content, is_last in reader.feed(body[start:end]):
            part += content
            if is_last:
                found.append(part)
                part = b""
    reader.close()
    assert part == b""
    return found


def body_of_all(parts: list[bytes], *, has_length: bool) -> bytes:
    body = b""
    for content in parts:
        length = b"Content-Length: %d\r\n" % len(content) if has_length else b""
        body += b"\r\n--b0-und\r\n" + length + b"X: y\r\n\r\n" + content
    return body + b"\r\n--b0-und--\r\nepilogue\r\n\r\n"


@given(
    st.lists(contents, min_size=1, max_size=5),
    st.lists(st.integers(0, 2**16)),
    st.booleans(),
)
@example([b""], [30], True)  # between the hyphens of the last delimiter
@example([b""], list(range(60)), False)
def test_reader_finds_every_part_wherever_the_body_is_cut(parts, cuts, has_length):
    if not has_length:
        parts = [one.replace(b"b0-und", b"b0_und") for one in parts]

    assert read_all(body_of_all(parts, has_length=has_length), cuts) == parts


@given(st.lists(contents, min_size=1, max_size=5), st.integers(0, 2**16))
def test_reader_never_takes_a_cut_body_for_a_whole_one(parts, cut):
    body = body_of_all(parts, has_length=True)
    whole = body.rindex(b"--\r\nepilogue")

    with pytest.raises(MalformedMultipartError):
        read_all(body[: cut % (whole + 2)], [])
