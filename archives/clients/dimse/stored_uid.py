"""To which series an object belongs that an archive sent."""

from __future__ import annotations

import warnings
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final

from pydicom.filereader import read_partial
from pydicom.tag import BaseTag

from archives.clients.deflated import deflated_head, inflated_start
from archives.clients.dimse import uids
from archives.clients.dimse.part10 import file_head

_SERIES_INSTANCE_UID: Final = 0x0020000E
# In which the UIDs of an object are.
_BEGINNING: Final = 4 << 20


def series_instance_uid(path: Path) -> str | None:
    """Of a DICOM file; ``None`` if the object can't be read or has none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # values that break the rules are no reason
        try:
            with path.open("rb") as file:
                dataset = read_partial(_not_deflated(file), stop_when=_is_after_uid)
            return str(dataset.SeriesInstanceUID) or None
        except Exception:  # pydicom raises almost anything for what is no DICOM
            return None


def _is_after_uid(tag: BaseTag, vr: str | None, length: int) -> bool:
    return int(tag) > _SERIES_INSTANCE_UID


def _not_deflated(file: BinaryIO) -> BinaryIO:
    """The file, or the beginning of what it inflates to: pydicom would inflate it all."""
    start = file.read(_BEGINNING)
    file.seek(0)
    head = deflated_head(start)
    if head is None:
        return file
    plain = file_head("", head.sop_instance_uid, uids.EXPLICIT_VR_LITTLE_ENDIAN)
    return BytesIO(plain + inflated_start(start[head.size :], _BEGINNING))
