"""Searches and what archives answered them, in the cache, under an opaque id.

No patient data is in any address: pages name a search by its id, and a study by a key
that is made for that search. Both are of use only to the user who owns the search.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.core.cache import cache
from django.utils import timezone

from archives.entities import Patient, Series, Study
from launcher.search.asking import AnswerState, ArchiveAnswer
from launcher.search.criteria import (
    SearchCriteria,
    criteria_from_json,
    criteria_to_json,
)

# How long an answer is shown again without asking; a search started before the login
# waits for its user this long (seconds).
FRESH: Final = timedelta(seconds=120)
UNCLAIMED_LIFETIME: Final = 900


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSearch:
    """``owner`` is a user's id, or ``None`` until the visitor has logged in."""

    id: str
    criteria: SearchCriteria
    preset: str = ""
    owner: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownSeries:
    """A series that was listed to the owner of a search; ``slug`` names who listed it."""

    slug: str
    study_instance_uid: str
    series_instance_uid: str
    modality: str


def save(criteria: SearchCriteria, *, preset: str, owner: int | None) -> StoredSearch:
    search = StoredSearch(
        id=secrets.token_urlsafe(16), criteria=criteria, preset=preset, owner=owner
    )
    _write(search)
    return search


def load(search_id: str, owner: int) -> StoredSearch | None:
    """The search if it is this user's and has not expired; its lifetime starts anew."""
    search = _read(search_id)
    if search is None or search.owner != owner:
        return None
    cache.touch(_key(search_id), settings.VIEWERHUB_SEARCH_LIFETIME)
    return search


def claim(search_id: str, owner: int) -> None:
    """Give a search that was started before the login to the user who has logged in."""
    search = _read(search_id)
    if search is not None and search.owner is None:
        _write(replace(search, owner=owner))


def save_answer(search: StoredSearch, slug: str, answer: ArchiveAnswer) -> None:
    values = asdict(answer)
    values["asked"] = answer.asked.isoformat()
    cache.set(_key(search.id, slug), values, settings.VIEWERHUB_SEARCH_LIFETIME)


def answers(search: StoredSearch, slugs: Iterable[str]) -> dict[str, ArchiveAnswer]:
    """Answers so far by slug, in the order of ``slugs``."""
    keys = {slug: _key(search.id, slug) for slug in slugs}
    stored = cache.get_many(keys.values())
    return {slug: _answer(stored[key]) for slug, key in keys.items() if key in stored}


def is_fresh(answer: ArchiveAnswer) -> bool:
    """Whether it is new enough to be shown again without asking."""
    return answer.is_answered and answer.asked > timezone.now() - FRESH


def save_series(
    search: StoredSearch, slug: str, study_instance_uid: str, series: Iterable[Series]
) -> None:
    """Keep what an archive listed of a study."""
    values = {
        key_of(search, one.series_instance_uid): (one.series_instance_uid, one.modality)
        for one in series
    }
    key = _key(search.id, "series", key_of(search, study_instance_uid))
    listed = {"slug": slug, "study": study_instance_uid, "series": values}
    cache.set(key, listed, settings.VIEWERHUB_SEARCH_LIFETIME)


def shown_series(
    search: StoredSearch, study_key: str, series_key: str
) -> ShownSeries | None:
    """``None`` for all but series that were listed in this search."""
    listed = cache.get(_key(search.id, "series", study_key))
    if listed is None or series_key not in listed["series"]:
        return None
    uid, modality = listed["series"][series_key]
    return ShownSeries(
        slug=listed["slug"],
        study_instance_uid=listed["study"],
        series_instance_uid=uid,
        modality=modality,
    )


def key_of(search: StoredSearch, uid: str) -> str:
    """What pages call a study or series: it says nothing outside of this search."""
    text = f"{search.id}/{uid}"
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def _key(*parts: str) -> str:
    # Ids come from addresses: hashed, they are always a valid key.
    return f"search:{hashlib.sha256('/'.join(parts).encode()).hexdigest()}"


def _write(search: StoredSearch) -> None:
    lifetime = settings.VIEWERHUB_SEARCH_LIFETIME
    if search.owner is None:
        lifetime = min(lifetime, UNCLAIMED_LIFETIME)
    values = {
        "criteria": criteria_to_json(search.criteria),
        "preset": search.preset,
        "owner": search.owner,
    }
    cache.set(_key(search.id), values, lifetime)


def _read(search_id: str) -> StoredSearch | None:
    values = cache.get(_key(search_id))
    if values is None:
        return None
    return StoredSearch(
        id=search_id,
        criteria=criteria_from_json(values["criteria"]),
        preset=values["preset"],
        owner=values["owner"],
    )


def _answer(values: dict[str, Any]) -> ArchiveAnswer:
    return ArchiveAnswer(
        **{
            **values,
            "state": AnswerState(values["state"]),
            "asked": datetime.fromisoformat(values["asked"]),
            "studies": tuple(map(_study, values["studies"])),
        }
    )


def _study(values: dict[str, Any]) -> Study:
    return Study(
        **{
            **values,
            "patient": Patient(**values["patient"]),
            "modalities_in_study": tuple(values["modalities_in_study"]),
            "series": (),
        }
    )
