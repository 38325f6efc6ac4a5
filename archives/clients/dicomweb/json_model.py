"""The DICOM JSON Model (PS3.18 F.2) -> attributes, while its bytes arrive."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Final

from archives.clients.matches import (
    INSTANCE_NUMBER,
    ISSUER_OF_PATIENT_ID_QUALIFIERS,
    NUMBER_OF_SERIES_RELATED_INSTANCES,
    NUMBER_OF_STUDY_RELATED_INSTANCES,
    NUMBER_OF_STUDY_RELATED_SERIES,
    SERIES_NUMBER,
    UNIVERSAL_ENTITY_ID,
)

JsonObject = Mapping[str, object]

_INTEGERS: Final = frozenset(
    {
        SERIES_NUMBER,
        INSTANCE_NUMBER,
        NUMBER_OF_STUDY_RELATED_SERIES,
        NUMBER_OF_STUDY_RELATED_INSTANCES,
        NUMBER_OF_SERIES_RELATED_INSTANCES,
    }
)
_NAME_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_BETWEEN: Final = re.compile(r"[ \t\r\n,]*")
# Numbers are kept as they are written: a value is text for us, and a number of a
# million digits costs nothing.
_DECODER: Final = json.JSONDecoder(
    parse_int=str, parse_float=str, parse_constant=str, strict=False
)
_DECODER_OF_NUMBERS: Final = json.JSONDecoder(strict=False)
MAXIMUM_OBJECT: Final = 64 * 2**20  # characters


class MalformedJsonError(ValueError):
    """Not an array of objects, not complete, or nested too deeply to be DICOM."""


class JsonObjectReader:
    """Splits a JSON array into its objects, each as soon as it is complete.

    Never holds more than one chunk and one unfinished object. A single object without
    an array, and nothing at all, are accepted: servers send both. Numbers are read as
    text unless ``keeps_numbers``, for objects that are to be written again.
    """

    def __init__(self, *, keeps_numbers: bool = False) -> None:
        self._decoder = _DECODER_OF_NUMBERS if keeps_numbers else _DECODER
        self._decode = codecs.getincrementaldecoder("utf-8-sig")("replace").decode
        self._pieces: list[str] = []
        self._size = 0
        self._next_attempt = 1
        self._is_open = False
        self._is_ended = False

    def feed(self, data: bytes, *, is_last: bool = False) -> Iterator[JsonObject]:
        """The objects that ``data`` completes, each read when it is asked for.

        Where they are let go one by one, Python's garbage collector has nothing to do.
        """
        text = self._decode(data, is_last)
        self._pieces.append(text)
        self._size += len(text)
        if self._size >= self._next_attempt or is_last:
            yield from self._scan("".join(self._pieces))

    def close(self) -> list[JsonObject]:
        """What is left at the end of the body; raises if the array is not whole."""
        objects = list(self.feed(b"", is_last=True))
        if self._size or (self._is_open and not self._is_ended):
            raise MalformedJsonError("The JSON array ends early.")
        return objects

    def _scan(self, text: str) -> Iterator[JsonObject]:
        position = self._open(text)
        while not self._is_ended:
            position = _end_of_space(text, position)
            if position == len(text):
                break
            if text[position] == "]" and self._is_open:
                self._is_ended = True
                break
            if text[position] != "{":
                raise MalformedJsonError("An array of objects was expected.")
            try:
                value, position = self._decoder.raw_decode(text, position)
            except json.JSONDecodeError:
                break  # not whole yet; if it is malformed, close() will find it
            except (RecursionError, ValueError) as error:
                raise MalformedJsonError("Nested too deeply, or too long.") from error
            yield value
        self._keep("" if self._is_ended else text[position:])

    def _open(self, text: str) -> int:
        """Position after the opening bracket, if it is in this text."""
        if self._is_open or self._is_ended:
            return 0
        position = _end_of_space(text, 0)
        if text[position : position + 1] == "[":
            self._is_open = True
            return position + 1
        return position

    def _keep(self, rest: str) -> None:
        # An unfinished object is tried again when twice as much has come, so that the
        # work stays linear in its size.
        if len(rest) > MAXIMUM_OBJECT:
            raise MalformedJsonError("An object is too long.")
        self._pieces = [rest] if rest else []
        self._size = len(rest)
        self._next_attempt = max(1, 2 * len(rest))


def _end_of_space(text: str, position: int) -> int:
    match = _BETWEEN.match(text, position)
    return match.end() if match else position


def attributes_of(json_object: JsonObject, tags: Iterable[int]) -> dict[int, str]:
    """The named attributes, as ``matches`` wants them; absent ones are left out.

    The universal ID of an issuer is read from the sequence it is in.
    """
    attributes = {}
    for tag in tags:
        parent = json_object
        if tag == UNIVERSAL_ENTITY_ID:
            parent = _first_item(json_object, ISSUER_OF_PATIENT_ID_QUALIFIERS)
        element = _element(parent, tag)
        if element is not None:
            attributes[tag] = _text(element, is_integer=tag in _INTEGERS)
    return attributes


def _element(json_object: JsonObject, tag: int) -> object:
    key = _key(tag)
    element = json_object.get(key)
    return json_object.get(key.lower()) if element is None else element


def _first_item(json_object: JsonObject, sequence: int) -> JsonObject:
    """Of a sequence; empty if there is none."""
    element = _element(json_object, sequence)
    items = element.get("Value") if isinstance(element, dict) else None
    item = items[0] if isinstance(items, list) and items else None
    return item if isinstance(item, dict) else {}


@cache
def _key(tag: int) -> str:
    return f"{tag:08X}"


def _text(element: object, *, is_integer: bool) -> str:
    values = element.get("Value") if isinstance(element, dict) else element
    if not isinstance(values, list):
        values = [] if values is None else [values]
    texts = [_value(value) for value in values]
    if is_integer:  # some servers write every number as a decimal
        texts = [text.removesuffix(".0") for text in texts]
    return "\\".join(texts)


def _value(value: object) -> str:
    if isinstance(value, dict):
        groups = [_value(value.get(group)) for group in _NAME_GROUPS]
        return "=".join(groups).rstrip("=")
    text = value if isinstance(value, str) else "" if value is None else str(value)
    if not text.isascii():  # half a surrogate pair is valid JSON, and no valid text
        text = text.encode("utf-8", "replace").decode()
    return text.strip(" \0")
