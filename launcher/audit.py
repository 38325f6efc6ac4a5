"""Who opened which patient and study: finding launches by identifiers, and exporting them.

An identifier that is looked for is not in an address: it waits under a random token, for
its user alone.
"""

from __future__ import annotations

import csv
import json
import re
import secrets
from collections.abc import AsyncIterator, Iterable, Sequence
from io import StringIO
from typing import Any, Final
from uuid import UUID

from django.core.cache import cache
from django.db.models import Exists, OuterRef, Q, QuerySet, TextField
from django.db.models.functions import Cast

from archives.entities import Selection
from launcher.models import ArchiveOutcome, Build, Launch, OpenedStudy
from launcher.results import LaunchResult
from launcher.threads import in_thread

MAXIMUM_LENGTH: Final = 64  # of a UID, and of all other identifiers
_KEPT: Final = 3600
_ROWS: Final = 500
# Where a cell may begin, before what makes it a formula; full-width signs do, too.
_FORMULA: Final = re.compile(r"((?:^|[;\t\r\n])[^\S\t\r\n]*)(?=[=+\-@\t\r＝＋－＠])")


# Finding


def keep(identifier: str, owner: int) -> str:
    """A token for an identifier that ``owner`` looks for, for an hour."""
    token = secrets.token_urlsafe(12)
    cache.set(_key(token), {"identifier": identifier, "owner": owner}, timeout=_KEPT)
    return token


def kept(token: str, owner: int | None) -> str:
    """The identifier; empty if it is over, or somebody else's."""
    found = cache.get(_key(token)) or {}
    return str(found["identifier"]) if found.get("owner") == owner else ""


def _key(token: str) -> str:
    return f"audit:{token}"


def of_identifier(launches: QuerySet[Launch], identifier: str) -> QuerySet[Launch]:
    """Launches that were asked for exactly this identifier, or found it.

    A Patient ID, an accession number or a UID, written as it is in the archive.
    """
    found = OpenedStudy.objects.filter(
        Q(study_instance_uid=identifier)
        | Q(accession_number=identifier)
        | Q(patient_id=identifier),
        build=OuterRef("build"),
    )
    asked = Q()
    # SQLite keeps JSON as it was written, PostgreSQL in its own way.
    for is_ascii in (True, False):
        asked |= Q(text__contains=json.dumps(identifier, ensure_ascii=is_ascii))
    builds = Build.objects.annotate(text=Cast("selection", TextField()))
    asking = builds.filter(asked, pk=OuterRef("build"))
    return launches.filter(Exists(found) | Exists(asking))


# What launches are about


def identifiers_of(launch: Launch) -> dict[str, list[str]]:
    """Patients, studies and accession numbers, those asked for before those found."""
    selection = launch.build.get_selection() if launch.build.selection else Selection()
    opened = list(launch.build.opened_studies.all())
    patients = [one.patient_id for one in selection.patients]
    return {
        "patients": _unique(patients + [one.patient_id for one in opened]),
        "studies": _unique(
            [
                *selection.study_instance_uids,
                *(one.study_instance_uid for one in opened),
            ]
        ),
        "accession_numbers": _unique(
            [*selection.accession_numbers, *(one.accession_number for one in opened)]
        ),
        "series": _unique([one.series_instance_uid for one in selection.series]),
        "instances": _unique([one.sop_instance_uid for one in selection.instances]),
    }


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(filter(None, values)))


# Exporting

_COLUMNS: Final = (
    *("launch", "created", "user", "api_client", "origin", "address", "result"),
    *("state", "fetched", "viewer", "template", "archives", "images"),
)
_IDENTIFIERS: Final = (
    *("patients", "studies", "accession_numbers", "series", "instances"),
)


async def csv_lines(
    launches: Sequence[UUID], *, with_identifiers: bool
) -> AsyncIterator[str]:
    """These launches as CSV (RFC 4180), in pieces, with a byte order mark for Excel."""
    names = _COLUMNS + (_IDENTIFIERS if with_identifiers else ())
    yield "\ufeff" + _csv([names])
    for start in range(0, len(launches), _ROWS):
        piece = launches[start : start + _ROWS]
        yield await in_thread(_rows, piece, names, with_identifiers=with_identifiers)


def _rows(keys: Sequence[UUID], names: Sequence[str], *, with_identifiers: bool) -> str:
    related = Launch.objects.select_related("user", "api_client", "template", "build")
    found = related.prefetch_related(
        "build__outcomes__archive", "build__opened_studies"
    ).in_bulk(keys)
    rows = []
    for launch in (found[key] for key in keys if key in found):
        values = _values(launch)
        if with_identifiers:
            about = identifiers_of(launch)
            values |= {name: "; ".join(about[name]) for name in _IDENTIFIERS}
        rows.append([_harmless(values[name]) for name in names])
    return _csv(rows)


def _csv(rows: Iterable[Sequence[str]]) -> str:
    text = StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def _values(launch: Launch) -> dict[str, Any]:
    outcomes = list(launch.build.outcomes.all())
    return {
        "launch": launch.pk,
        "created": launch.created.isoformat(timespec="seconds"),
        "user": launch.user.get_username() if launch.user else "",
        "api_client": launch.api_client.name if launch.api_client else "",
        "origin": launch.origin,
        "address": launch.address or "",
        "result": LaunchResult.of(launch).value,
        "state": launch.state,
        "fetched": launch.fetched.isoformat(timespec="seconds")
        if launch.fetched
        else "",
        "viewer": launch.viewer,
        "template": launch.template.name if launch.template else "",
        "archives": "; ".join(map(_answer, outcomes)),
        "images": "" if launch.build.instances is None else launch.build.instances,
    }


def _answer(outcome: ArchiveOutcome) -> str:
    return f"{outcome.archive.slug}: {outcome.state}"


def _harmless(value: Any) -> str:
    """Text that no spreadsheet takes for a formula.

    Nor what follows a character that may end a cell: where the comma is for decimals,
    cells end with semicolons.
    """
    return _FORMULA.sub(r"\1'", str(value))
