"""Pictures of DICOM files in every encoding a hospital has, and of broken ones."""

import subprocess
import tracemalloc
import zlib
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom import dcmread
from pydicom.data import get_testdata_file

from archives.clients import Rendering, RenderingError, icon, label_of, render
from archives.clients import rendering as renderer
from archives.clients.deflated import inflates_beyond
from archives.clients.dimse.part10 import file_head
from archives.clients.dimse.stored_uid import series_instance_uid
from tests.requirements import needs, program

PNG = Rendering(media_type="image/png")


def content_of(name):
    with open(get_testdata_file(name), "rb") as file:
        return file.read()


def changed(name, **values):
    dataset = dcmread(get_testdata_file(name))
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    output = BytesIO()
    dataset.save_as(output)
    return output.getvalue()


def picture(content):
    image = Image.open(BytesIO(content))
    image.load()
    return image


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("CT_small.dcm", "L"),
        ("MR_small_implicit.dcm", "L"),
        ("MR_small_bigendian.dcm", "L"),
        ("MR_small_RLE.dcm", "L"),
        ("MR_small_jp2klossless.dcm", "L"),
        ("MR_small_jpeg_ls_lossless.dcm", "L"),
        ("image_dfl.dcm", "L"),
        ("JPEG2000.dcm", "L"),
        ("SC_rgb_jpeg_dcmtk.dcm", "RGB"),
        ("SC_rgb_rle_2frame.dcm", "RGB"),
        ("SC_rgb_rle_16bit.dcm", "RGB"),
        ("examples_palette.dcm", "RGB"),
        ("examples_ybr_color.dcm", "RGB"),
    ],
)
def test_picture_shows_something_in_every_encoding(name, mode):
    dataset = dcmread(get_testdata_file(name))

    image = picture(render(content_of(name), PNG))

    assert image.mode == mode
    assert image.size == (dataset.Columns, dataset.Rows)
    bands = image.getextrema()
    widest = max(high - low for low, high in (bands if mode == "RGB" else [bands]))
    assert widest > 100


@pytest.mark.parametrize("encoding", ["+el", "+e1"])
def test_picture_of_lossless_jpeg_is_that_of_the_image(encoding, tmp_path):
    needs("dcmtk")
    compress, source = program("dcmcjpeg"), get_testdata_file("CT_small.dcm")
    assert compress is not None
    target = tmp_path / "compressed.dcm"
    subprocess.run([compress, encoding, source, target], check=True)

    assert dcmread(target).file_meta.TransferSyntaxUID.is_compressed
    assert render(target.read_bytes(), PNG) == render(content_of("CT_small.dcm"), PNG)


def test_picture_fits_in_its_own_proportions():
    content = content_of("JPEG2000.dcm")  # 1024 x 256, a wide one
    dataset = dcmread(BytesIO(content))
    ratio = dataset.Rows / dataset.Columns

    image = picture(render(content, Rendering(columns=100, rows=100)))

    assert image.format == "JPEG"
    assert max(image.size) == 100
    assert image.height / image.width == pytest.approx(ratio, abs=0.02)


def test_window_that_is_asked_for_wins():
    content = changed("CT_small.dcm", WindowCenter=[40, 300], WindowWidth=[400, 1500])

    own = picture(render(content, PNG))
    wide = picture(render(content, Rendering(media_type="image/png", window=(0, 8000))))

    assert own.getextrema() == (0, 255)
    low, high = wide.getextrema()
    assert 90 < low < high < 200


def test_monochrome1_is_shown_inverted():
    plain = picture(render(content_of("CT_small.dcm"), PNG))
    content = changed("CT_small.dcm", PhotometricInterpretation="MONOCHROME1")

    inverted = picture(render(content, PNG))

    assert inverted.getpixel((64, 64)) == 255 - plain.getpixel((64, 64))


def test_each_frame_has_its_picture_and_others_have_none():
    content = content_of("SC_rgb_rle_2frame.dcm")

    def frame(number):
        wanted = Rendering(media_type="image/png", frame_number=number)
        return picture(render(content, wanted)).tobytes()

    assert frame(1) != frame(2)
    assert picture(render(content, PNG)).tobytes() in {frame(1), frame(2)}
    with pytest.raises(RenderingError):
        frame(3)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(content_of("reportsi.dcm"), id="report"),
        pytest.param(content_of("MR_small_RLE.dcm")[:6000], id="cut"),
        pytest.param(content_of("JPEG-lossy.dcm"), id="JPEG of 12 bits"),
        pytest.param(changed("CT_small.dcm", Rows=60000, Columns=60000), id="huge"),
        pytest.param(changed("CT_small.dcm", Rows=0), id="flat"),
        pytest.param(changed("CT_small.dcm", NumberOfFrames=10**9), id="frames"),
    ],
)
def test_what_is_no_image_is_told_so(content):
    with pytest.raises(RenderingError):
        render(content, PNG)


@settings(max_examples=60)
@given(position=st.integers(128, 5000), junk=st.binary(min_size=1, max_size=8))
def test_broken_files_raise_nothing_else(position, junk):
    content = bytearray(content_of("MR_small_RLE.dcm"))
    content[position : position + len(junk)] = junk

    with suppress(RenderingError):
        assert picture(render(bytes(content), Rendering(columns=16, rows=16)))


def test_frames_are_limited_before_they_are_decoded(monkeypatch):
    content = content_of("CT_small.dcm")
    monkeypatch.setattr(renderer, "MAXIMUM_FRAME", 128 * 128 * 2 - 1)

    with pytest.raises(RenderingError, match="too large"):
        render(content, PNG)


@pytest.mark.parametrize(
    ("sop_class_uid", "modality", "label"),
    [
        ("1.2.840.10008.5.1.4.1.1.88.67", "SR", "SR"),
        ("1.2.840.10008.5.1.4.1.1.88.59", "KO", "KO"),
        ("1.2.840.10008.5.1.4.1.1.11.1", "PR", "PR"),
        ("1.2.840.10008.5.1.4.1.1.104.1", "DOC", "PDF"),
        ("1.2.840.10008.5.1.4.1.1.2", "CT", ""),
        ("1.2.840.10008.5.1.4.1.1.2", "SR", ""),
        ("", "SR", "SR"),
        ("", "CT", ""),
    ],
)
def test_what_has_no_pixels_has_a_label(sop_class_uid, modality, label):
    assert label_of(sop_class_uid, modality) == label


def test_icon_has_the_size_that_is_asked_for():
    image = picture(icon("SR", Rendering(columns=64, rows=64)))

    assert (image.format, image.size) == ("JPEG", (64, 64))
    assert picture(icon("PDF", PNG)).tobytes() != picture(icon("SR", PNG)).tobytes()


# Deflated objects


def bomb(first: bytes = b"") -> bytes:
    """48 MiB of zeros behind ``first``, in some 48 KiB."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    zeros = bytes(1 << 20)
    pieces = [deflater.compress(first), *(deflater.compress(zeros) for _ in range(48))]
    head = file_head("1.2", "1.3", "1.2.840.10008.1.2.1.99")
    return head + b"".join(pieces) + deflater.flush()


def test_object_that_inflates_to_too_much_has_no_picture(monkeypatch):
    file = content_of("image_dfl.dcm")
    assert picture(render(file, PNG))

    monkeypatch.setattr(renderer, "MAXIMUM_INFLATED", 100_000)
    with pytest.raises(RenderingError, match="too large"):
        render(file, PNG)


def test_bomb_is_recognised_without_its_memory():
    file = bomb()

    tracemalloc.start()
    try:
        assert inflates_beyond(file, 32 << 20)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()

    assert not inflates_beyond(file, 48 << 20)
    assert inflates_beyond(file[:400] + b"nothing deflated" * 9, 32 << 20)
    assert not inflates_beyond(content_of("CT_small.dcm"), 0)


def test_series_of_a_bomb_is_read_without_its_memory(tmp_path):
    uid = b"\x20\0\x0e\0UI\4\x001.2\0"
    uid += b"\xe0\x7f\x10\0OB\0\0" + (48 << 20).to_bytes(4, "little")
    path = tmp_path / "bomb.dcm"
    path.write_bytes(bomb(uid))

    tracemalloc.start()
    try:
        assert series_instance_uid(path) == "1.2"
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "image_dfl.dcm", "MR_small_bigendian.dcm", "reportsi.dcm"]
)
def test_series_of_an_object_is_read_in_every_encoding(name):
    path = get_testdata_file(name)

    assert series_instance_uid(Path(path)) == dcmread(path).SeriesInstanceUID
