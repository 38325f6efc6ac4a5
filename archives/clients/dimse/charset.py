"""Text in any Specific Character Set (PS3.3 C.12.1.1.2, PS3.5 6.1), both ways."""

from __future__ import annotations

import re
import warnings
from typing import Final

from pydicom import charset

from archives.errors import ArchiveRefusedError

_ESCAPE: Final = b"\x1b"
# Each resets ISO 2022 to the first character set (PS3.5 6.1.2.5.3).
_DELIMITERS: Final = frozenset(b"\t\n\f\r\\^=")
_PADDING: Final = b" \0"
_REMEMBERED_VALUES: Final = 4096
_LONGEST_REMEMBERED: Final = 128
_ISO_IR: Final = re.compile(r"ISO[ _-]?(2022)?[ _-]?IR[ _-]?([0-9]+)")


class TextDecoder:
    """Decodes the values of one answer after the other, each distinct value once.

    Answers to a query repeat most of their values: the patient's name, the study's UID.
    What can't be decoded becomes replacement characters; nothing raises.
    """

    def __init__(self, character_set: str) -> None:
        self._encodings = python_encodings(character_set)
        self._remembered: dict[bytes, str] = {}

    def __call__(self, value: bytes) -> str:
        """The text without its padding."""
        text = self._remembered.get(value)
        if text is None:
            text = self._decode(value.strip(_PADDING))
            if len(value) <= _LONGEST_REMEMBERED:
                if len(self._remembered) >= _REMEMBERED_VALUES:
                    self._remembered.clear()
                self._remembered[value] = text
        return text

    def _decode(self, value: bytes) -> str:
        if _ESCAPE in value:
            return _decode_iso_2022(value, self._encodings)
        if value.isascii():
            return value.decode("ascii")
        return value.decode(self._encodings[0], "replace")


def encode_text(text: str, character_set: str, archive_name: str) -> bytes:
    """Raises ``ArchiveRefusedError`` if the character set can't express the text."""
    if text.isascii():
        return text.encode("ascii")
    encodings = python_encodings(character_set)
    try:
        if character_set in {"", "ISO_IR 6"}:  # which pydicom reads as Latin 1
            return text.encode("ascii")
        if len(encodings) == 1:
            return text.encode(encodings[0])
        return _encode_iso_2022(text, encodings)
    except (UnicodeError, ValueError, UserWarning) as error:
        raise ArchiveRefusedError(
            f"{archive_name} is registered with the character set "
            f"{character_set or 'ISO_IR 6'}, which can't express this search. Search "
            "for something else, or ask an administrator to register another one."
        ) from error


def python_encodings(character_set: str) -> list[str]:
    """Codecs of the values; an unknown value counts as UTF-8, which shows if wrong."""
    values = [_spelled(value.strip()) for value in character_set.split("\\")]
    codecs = [charset.python_encoding.get(value, "utf-8") for value in values]
    if len(codecs) == 1 and values[0].startswith("ISO 2022"):
        # valid only after a first, single-byte set: what follows an escape sequence
        return [charset.default_encoding, *codecs]
    return codecs


def _spelled(value: str) -> str:
    """The defined term for its usual misspellings, ``ISO_IR_100`` or ``ISO-IR 100``."""
    match = _ISO_IR.fullmatch(value)
    if match is None:
        return value
    return f"ISO 2022 IR {match[2]}" if match[1] else f"ISO_IR {match[2]}"


def _encode_iso_2022(text: str, encodings: list[str]) -> bytes:
    # every delimiter ends the set chosen by an escape sequence, so parts begin anew
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what pydicom would replace
        return b"".join(
            charset.encode_string(part, encodings)
            for part in re.split(r"([\\^=])", text)
        )


def _decode_iso_2022(value: bytes, encodings: list[str]) -> str:
    # pydicom warns of what it replaces; whoever reads the name sees it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return charset.decode_bytes(value, encodings, set(_DELIMITERS))
        except (UnicodeError, LookupError):
            return value.decode(encodings[0], "replace")
