"""The fields of the REST API, as its schema describes them.

The schema tells those who generate clients the same rules that ``launcher.identifiers``
and ``launcher.dates`` check: pydantic lets the text pass, so that every problem is named
at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StrictInt,
    StringConstraints,
    WithJsonSchema,
)

from launcher.identifiers import (
    MAXIMUM_COUNT,
    MAXIMUM_LENGTH,
    MAXIMUM_NAME,
    MAXIMUM_TEXT,
)
from launcher.models import Launch
from launcher.search.forms import MODALITIES, SEXES

_UID = r"[0-9]+(\.[0-9]+)*"
_NOT_IN_IDENTIFIERS = r"\u0000-\u001f\u007f-\u009f\u2028\u2029\\*?"


def _text(pattern: str, *, maximum: int = MAXIMUM_LENGTH, **schema: Any) -> Any:
    return WithJsonSchema(
        {"type": "string", "maxLength": maximum, "pattern": f"^{pattern}$", **schema}
    )


def one_of(values: Iterable[str]) -> Any:
    return WithJsonSchema({"type": "string", "enum": list(values)})


def _day(text: str) -> str:
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        raise ValueError("Write the day as 2026-01-31.")
    try:
        date.fromisoformat(text)
    except ValueError as error:
        raise ValueError("There is no such day.") from error
    return text


Uid = Annotated[str, _text(_UID, examples=["1.2.840.113619.2.5.1"])]
OptionalUid = Annotated[str, _text(f"({_UID})?")]
Identifier = Annotated[
    str,
    _text(
        rf"[^{_NOT_IN_IDENTIFIERS}]*[^\s{_NOT_IN_IDENTIFIERS}][^{_NOT_IN_IDENTIFIERS}]*"
    ),
]
OptionalIdentifier = Annotated[
    str,
    _text(
        rf"([^{_NOT_IN_IDENTIFIERS}]*[^\s{_NOT_IN_IDENTIFIERS}]"
        rf"[^{_NOT_IN_IDENTIFIERS}]*)?"
    ),
]
PatientId = Annotated[
    str,
    WithJsonSchema(
        {"type": "string", "format": "patient-id", "examples": ["4711^^^HOSPITAL"]}
    ),
]
Slug = Annotated[str, _text("[-a-zA-Z0-9_]+", maximum=40)]
OptionalSlug = Annotated[str, _text("[-a-zA-Z0-9_]*", maximum=40)]
Day = Annotated[
    str, AfterValidator(_day), WithJsonSchema({"type": "string", "format": "date"})
]
Moment = Annotated[
    str,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "format": "date"},
                {"type": "string", "format": "date-time"},
            ],
            "examples": ["2026-01-31", "2026-01-31T10:15:30+01:00"],
        }
    ),
]
ModalityCode = Annotated[
    str, _text("[A-Za-z0-9_][A-Za-z0-9_ ]*", maximum=16, examples=["CT"])
]
DescriptionText = Annotated[
    str,
    _text(
        r"[^\u0000-\u001f\u007f-\u009f\u2028\u2029]*"
        r"[^\s\u0000-\u001f\u007f-\u009f\u2028\u2029]"
        r"[^\u0000-\u001f\u007f-\u009f\u2028\u2029]*",
        maximum=MAXIMUM_TEXT,
    ),
]
PersonName = Annotated[
    str,
    _text(
        rf"([^{_NOT_IN_IDENTIFIERS}]*[^\s{_NOT_IN_IDENTIFIERS}]"
        rf"[^{_NOT_IN_IDENTIFIERS}]*)?",
        maximum=MAXIMUM_NAME,
    ),
]


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


# JSON Schema takes 2.0 for an integer, too; neither "2" nor true is one.
Count = Annotated[StrictInt, Field(ge=1, le=MAXIMUM_COUNT), BeforeValidator(_whole)]
SearchText = Annotated[str, StringConstraints(max_length=MAXIMUM_LENGTH)]
Modality = Annotated[str, one_of(MODALITIES)]
Sex = Annotated[str, one_of(value for value, _ in SEXES)]
LaunchState = Annotated[str, one_of(Launch.State.values)]
