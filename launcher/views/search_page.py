"""What the search page shows, put together for its templates. No archive is asked here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpRequest

from archives.models import Archive
from launcher.launching.offers import Offers
from launcher.models import Launch
from launcher.models.preferences import FACTS, facts_of
from launcher.search import asking
from launcher.search import store as search_store
from launcher.search.asking import ArchiveAnswer, FoundStudy
from launcher.search.forms import ANY, RANGE, StudySearchForm, initial
from launcher.search.ordering import arrange, page_of
from launcher.search.saved import saved_context
from launcher.search.store import StoredSearch
from launcher.views.launch_requests import address_of
from launcher.views.search_table import Place, columns_of, order_sentence

RECENT_LAUNCHES: Final = 5
NAMED_ADMINISTRATORS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """An archive, and its answer unless it is still being asked."""

    archive: Archive
    answer: ArchiveAnswer | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A study as the table shows it. ``key`` is what addresses call it."""

    key: str
    found: FoundStudy
    archives: tuple[Archive, ...]
    other_patients: tuple[Archive, ...]
    patient_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchScope:
    """A search, and the archives of it that its owner may still ask."""

    search: StoredSearch
    archives: tuple[Archive, ...]

    @property
    def slugs(self) -> list[str]:
        return [archive.slug for archive in self.archives]

    def archive(self, slug: str) -> Archive | None:
        return next((one for one in self.archives if one.slug == slug), None)

    def in_order(self, answers: dict[str, ArchiveAnswer]) -> dict[str, ArchiveAnswer]:
        """The same with the best archive first, as they are merged."""
        return {slug: answers[slug] for slug in self.slugs if slug in answers}

    def key_of(self, found: FoundStudy) -> str:
        return search_store.key_of(self.search, found.study.study_instance_uid)

    def row_of(self, found: FoundStudy) -> Row:
        def named(slugs: Sequence[str]) -> tuple[Archive, ...]:
            return tuple(one for one in self.archives if one.slug in slugs)

        patient = asking.patient_key(found.study.patient)
        return Row(
            key=self.key_of(found),
            found=found,
            archives=named(found.archives),
            other_patients=named(found.other_patients),
            patient_key=search_store.key_of(self.search, patient),
        )

    def row(self, key: str) -> Row | None:
        """The study of this key in any answer so far."""
        merged = asking.merge(search_store.answers(self.search, self.slugs))
        return next(
            (self.row_of(one) for one in merged if self.key_of(one) == key), None
        )


def scope_of(stored: StoredSearch, user: User) -> SearchScope:
    usable = Archive.objects.usable_by(user)
    chosen = stored.criteria.archives
    return SearchScope(
        search=stored,
        archives=tuple(one for one in usable if not chosen or one.slug in chosen),
    )


def start_context(
    request: HttpRequest, form: StudySearchForm | None = None
) -> dict[str, Any]:
    """The page before a search, or with a form that has to be corrected."""
    user: User = request.user  # type: ignore[assignment]
    archives = Archive.objects.usable_by(user)
    form = form or StudySearchForm(archives=archives, initial={"preset": ANY})
    launches = Launch.objects.filter(user=user).select_related("build", "user")
    return {
        "form": form,
        "filters": filters_of(form),
        "archives": archives,
        "has_archives": Archive.objects.enabled().exists(),
        "administrators": administrators(),
        "launches": launches[:RECENT_LAUNCHES],
        **saved_context(user, archives),
    }


def administrators() -> list[str]:
    """Names of those who register archives and grant access."""
    users = User.objects.filter(is_superuser=True, is_active=True).order_by("pk")
    return [one.get_full_name() or one.username for one in users[:NAMED_ADMINISTRATORS]]


def results_context(
    request: HttpRequest,
    scope: SearchScope,
    answers: dict[str, ArchiveAnswer],
    fresh: dict[str, ArchiveAnswer],
) -> dict[str, Any]:
    """The page of a search: studies of all answers so far, chips of the fresh ones."""
    user: User = request.user  # type: ignore[assignment]
    criteria = scope.search.criteria
    archives = Archive.objects.usable_by(user)
    form = StudySearchForm(
        archives=archives, initial=initial(criteria, scope.search.preset)
    )
    return {
        "form": form,
        "filters": filters_of(form),
        "archives": archives,
        "has_archives": True,
        "administrators": administrators(),
        "recognised": criteria.recognised,
        **saved_context(user, archives),
        "chips": [
            Chip(archive=one, answer=fresh.get(one.slug)) for one in scope.archives
        ],
        "is_asking": len(fresh) < len(scope.archives),
        "all_facts": FACTS,
        **merged_context(request, scope, answers),
    }


def merged_context(
    request: HttpRequest, scope: SearchScope, answers: dict[str, ArchiveAnswer]
) -> dict[str, Any]:
    """The part of the studies that the address of the request asks for."""
    place = Place.of(request)
    studies = arrange(asking.merge(answers), place.order)
    page = page_of(studies, scope.key_of, after=place.after, before=place.before)
    rows = tuple(map(scope.row_of, page.studies))
    return {
        **table_context(request, scope, rows),
        "place": place,
        "page": page,
        "columns": columns_of(place.order),
        "previous": place.before_row(rows[0].key).query if page.start else "",
        "next": place.after_row(rows[-1].key).query if page.end < page.total else "",
        "sentence": order_sentence(
            place.order,
            received=page.total,
            incomplete=[
                one.name
                for one in scope.archives
                if one.slug in answers and answers[one.slug].has_more
            ],
        ),
        "answered": [one for one in scope.archives if _is_answered(answers, one)],
        "silent": [
            one
            for one in scope.archives
            if one.slug in answers and not _is_answered(answers, one)
        ],
        "version": version_of(answers),
    }


def table_context(
    request: HttpRequest, scope: SearchScope, rows: Iterable[Row]
) -> dict[str, Any]:
    """What rows of ``launcher/_studies.html`` expect."""
    user: User = request.user  # type: ignore[assignment]
    return {
        "search": scope.search,
        "rows": list(rows),
        "offers": Offers(request.user, address_of(request)),
        "facts": facts_of(user),
        "builds_ahead": settings.VIEWERHUB_BUILD_AHEAD,
    }


def version_of(answers: dict[str, ArchiveAnswer]) -> int:
    """Greater with every answer: of two fragments, it tells which knows more."""
    return sum(int(one.asked.timestamp() * 1000) for one in answers.values())


def _is_answered(answers: dict[str, ArchiveAnswer], archive: Archive) -> bool:
    answer = answers.get(archive.slug)
    return answer is not None and answer.is_answered


def filters_of(form: StudySearchForm) -> dict[str, Any]:
    """How many filters are set, and what the menus say about theirs."""

    def value(name: str) -> Any:
        return form[name].value() or ""

    more = (
        "patient_name",
        "patient_id",
        "accession_number",
        "study_description",
        "referring_physician_name",
        "patient_birth_date",
        "patient_sex",
    )
    dates = ("study_date_from", "study_date_to")
    modalities = list(value("modalities") or [])
    preset = RANGE if any(map(value, dates)) else (value("preset") or ANY)
    further = sum(bool(value(name)) for name in more) + bool(value("archives"))
    return {
        "modalities": modalities,
        "preset": preset,
        "further": further,
        "has_further_errors": any(name in form.errors for name in more),
        "count": further + bool(modalities) + (preset != ANY),
        "archives": list(value("archives") or []),
    }
