"""What a picture of an instance is to be like (PS3.18 8.3.5, 9.1.2), and what has none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MAXIMUM_SIDE: Final = 4096
DEFAULT_QUALITY: Final = 75
_MAXIMUM_LEVEL: Final = 1e9
_CLASSES: Final = "1.2.840.10008.5.1.4.1.1."
# Storage SOP Classes without pixels, the longest beginning first.
_LABELS_BY_CLASS: Final = {
    "88.59": "KO",
    "88.": "SR",
    "11.": "PR",
    "104.1": "PDF",
    "104.": "DOC",
    "9.": "ECG",
    "481.3": "RT",
    "481.5": "RT",
}
_LABELS_BY_MODALITY: Final = frozenset({"SR", "KO", "PR", "DOC", "ECG", "AU"})


class RenderingError(Exception):
    """There is no picture of this file: no pixels, too many, or not decodable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """``columns`` and ``rows`` are what the picture has to fit in, in pixels.

    ``quality`` is from 1 to 100. Frames count from 1; without a number, it is one from
    the middle. Without a window, that of the image is used, or one that shows it all.
    """

    media_type: str = "image/jpeg"
    columns: int | None = None
    rows: int | None = None
    quality: int = DEFAULT_QUALITY
    window: tuple[float, float] | None = None  # centre and width
    frame_number: int | None = None

    def __post_init__(self) -> None:
        """Raises ``ValueError`` for what can't be."""
        sides = [side for side in (self.columns, self.rows) if side is not None]
        if not all(1 <= side <= MAXIMUM_SIDE for side in sides):
            raise ValueError(f"Columns and rows are from 1 to {MAXIMUM_SIDE}.")
        if not 1 <= self.quality <= 100 or (self.frame_number or 1) < 1:
            raise ValueError("The quality is from 1 to 100, the first frame 1.")
        if self.window:
            center, width = self.window
            if not (abs(center) < _MAXIMUM_LEVEL and 1 <= width < _MAXIMUM_LEVEL):
                raise ValueError("A window is at least 1 wide.")


def label_of(sop_class_uid: str, modality: str) -> str:
    """What to write in place of a picture; empty if there should be pixels."""
    if sop_class_uid.startswith(_CLASSES):
        part = sop_class_uid.removeprefix(_CLASSES)
        found = (
            label for head, label in _LABELS_BY_CLASS.items() if part.startswith(head)
        )
        return next(found, "")
    return modality if modality in _LABELS_BY_MODALITY else ""
