"""From a DICOM file to a picture, for archives that have no renderer of their own."""

from __future__ import annotations

import logging
import warnings
from io import BytesIO
from typing import Any, Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pydicom import Dataset, dcmread
from pydicom.multival import MultiValue
from pydicom.pixels import (
    apply_color_lut,
    apply_modality_lut,
    apply_voi_lut,
    pixel_array,
)

from archives.clients.deflated import inflates_beyond
from archives.clients.pictures import Rendering, RenderingError

Array = np.ndarray[Any, Any]

# Bytes of one decoded frame: 8,000 x 8,000 pixels of 16 bits.
MAXIMUM_FRAME: Final = 128 * 2**20
MAXIMUM_INFLATED: Final = 256 * 2**20
_FORMATS: Final = {"image/jpeg": "JPEG", "image/png": "PNG"}
_DARK, _LIGHT, _ICON_SIDE = (38, 42, 48), (176, 184, 194), 256
# It reports each codec that can't read a frame as an error of its own, at length.
logging.getLogger("pydicom.pixels.decoders.base").setLevel(logging.CRITICAL)

# The darkest and the brightest pixels say little of the rest.
_PERCENTILES: Final = (0.5, 99.5)


def render(content: bytes, wanted: Rendering) -> bytes:
    """One frame of a DICOM file as a JPEG or PNG file; raises ``RenderingError``."""
    if inflates_beyond(content, MAXIMUM_INFLATED):
        raise RenderingError("The object is too large for a picture.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # values that break the standard, often
        try:
            dataset = dcmread(BytesIO(content))
            image = Image.fromarray(_frame(dataset, wanted))
        except RenderingError:
            raise
        # A codec may raise anything about what it can't read.
        except Exception as error:
            raise RenderingError("The pixels can't be decoded.") from error
    return _written(_fitted(image, wanted), wanted)


def icon(label: str, wanted: Rendering) -> bytes:
    """A tile with a few letters, for what has no pixels."""
    image = Image.new("RGB", (_ICON_SIDE, _ICON_SIDE), _DARK)
    font = ImageFont.load_default(_ICON_SIDE / 3)
    middle = (_ICON_SIDE / 2, _ICON_SIDE / 2)
    ImageDraw.Draw(image).text(middle, label, fill=_LIGHT, font=font, anchor="mm")
    return _written(_fitted(image, wanted), wanted)


def _frame(dataset: Dataset, wanted: Rendering) -> Array:
    """8 bits a sample: rows x columns, or rows x columns x 3."""
    if "PixelData" not in dataset:
        raise RenderingError("There are no pixels of integers.")
    samples = int(dataset.get("SamplesPerPixel", 1))
    size = dataset.Rows * dataset.Columns * samples * dataset.BitsAllocated // 8
    if size > MAXIMUM_FRAME:
        raise RenderingError("The frame is too large.")
    count = int(dataset.get("NumberOfFrames") or 1)
    number = wanted.frame_number or 1 + count // 2 - (count > 1 and count % 2 == 0)
    if number > count:
        raise RenderingError("There is no such frame.")
    pixels = pixel_array(dataset, index=number - 1)
    if samples > 1:
        return _eight_bits(pixels, int(dataset.BitsStored))
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        colors = apply_color_lut(pixels, dataset)
        return _eight_bits(colors, colors.dtype.itemsize * 8)
    return _windowed(pixels, dataset, wanted)


def _eight_bits(pixels: Array, bits: int) -> Array:
    return (pixels >> max(0, bits - 8)).astype(np.uint8)


def _windowed(pixels: Array, dataset: Dataset, wanted: Rendering) -> Array:
    values: Array = apply_modality_lut(pixels, dataset)
    window = wanted.window or _window(dataset)
    if window:
        center, width = window
        low, high = center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2
    else:
        if "VOILUTSequence" in dataset:
            values = apply_voi_lut(values, dataset, prefer_lut=True)
        low, high = np.percentile(values, _PERCENTILES)
    scaled = (values.astype(np.float32) - low) * (255 / max(high - low, 1e-6))
    shown: Array = np.clip(scaled, 0, 255).astype(np.uint8)
    is_inverted = dataset.PhotometricInterpretation == "MONOCHROME1"
    return np.invert(shown) if is_inverted else shown


def _window(dataset: Dataset) -> tuple[float, float] | None:
    """The first window of the image, if it has one that shows something."""
    if "VOILUTSequence" in dataset:
        return None
    values = []
    for keyword in ("WindowCenter", "WindowWidth"):
        value = dataset.get(keyword)
        first = next(iter(value), None) if isinstance(value, MultiValue) else value
        if first in (None, ""):
            return None
        values.append(float(first))
    return (values[0], values[1]) if values[1] >= 1 else None


def _fitted(image: Image.Image, wanted: Rendering) -> Image.Image:
    """As large as fits, in its own proportions; the size it has if none is asked for."""
    ratios = [
        side / own
        for side, own in ((wanted.columns, image.width), (wanted.rows, image.height))
        if side
    ]
    if not ratios:
        return image
    width, height = (
        max(1, round(own * min(ratios))) for own in (image.width, image.height)
    )
    return image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)


def _written(image: Image.Image, wanted: Rendering) -> bytes:
    output = BytesIO()
    options = {"quality": wanted.quality} if wanted.media_type == "image/jpeg" else {}
    image.save(output, _FORMATS[wanted.media_type], **options)
    return output.getvalue()
