"""The search page, the answer of each archive, and the series of a study."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from django.conf import settings
from django.contrib.auth.models import User
from django.core.validators import slug_re
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_safe

from archives.authentication import AnyUser
from archives.entities import Series, StudyQuery
from archives.errors import ArchiveError
from archives.models import Archive
from launcher.search import asking
from launcher.search import store as search_store
from launcher.search.asking import ArchiveAnswer
from launcher.search.forms import StudySearchForm
from launcher.search.ordering import NEWEST_FIRST
from launcher.search.store import StoredSearch
from launcher.threads import in_thread
from launcher.views.access import member_required
from launcher.views.compression import render_compressed
from launcher.views.search_page import (
    Chip,
    Row,
    SearchScope,
    merged_context,
    results_context,
    scope_of,
    start_context,
    table_context,
)
from launcher.views.search_table import columns_of

# Where a visitor's session keeps the search that was started before the login.
PENDING_SEARCH = "pending_search"
OTHER_STUDIES_LIMIT = 50
VISITORS_ARCHIVES = 100


@member_required
@require_safe
def search_start(request: HttpRequest) -> HttpResponse:
    """The page before a search."""
    return render(request, "launcher/search.html", start_context(request))


def search_create(request: HttpRequest) -> HttpResponse:
    """Keep the criteria of a POST and go to the page of their results.

    A session that has expired loses nothing: the search waits for its user's login.
    """
    if request.method != "POST":
        return redirect("launcher:search_start")
    is_member = request.user.is_authenticated
    archives = Archive.objects.usable_by(request.user)
    form = StudySearchForm(request.POST, archives=archives)
    if not is_member:  # which archives there are is none of a visitor's business
        del form.fields["archives"]
    if not form.is_valid():
        response: HttpResponse = _correction(request, form)
        return response
    criteria = form.criteria()
    if not is_member:  # those the user may use are asked, after the login
        criteria = replace(criteria, archives=_slugs_of(request))
    stored = search_store.save(
        criteria, preset=form.chosen_preset(), owner=request.user.pk
    )
    if not is_member:
        request.session[PENDING_SEARCH] = stored.id
    return redirect("launcher:search_results", stored.id)


def _slugs_of(request: HttpRequest) -> tuple[str, ...]:
    """What could be archives' short names, in a form that can't be checked yet."""
    slugs = request.POST.getlist("archives")[:VISITORS_ARCHIVES]
    return tuple(slug for slug in slugs if len(slug) <= 40 and slug_re.fullmatch(slug))


@member_required
def _correction(request: HttpRequest, form: StudySearchForm) -> HttpResponse:
    context = start_context(request, form)
    return render(request, "launcher/search.html", context, status=400)


@member_required
@require_GET
async def search_results(request: HttpRequest, search_id: str) -> HttpResponse:
    """Results so far; browsers ask the rest archive by archive.

    With ``?wait`` in the address, as browsers without JavaScript send it, all archives
    are asked before the page is sent.
    """
    scope = await load_scope(request, search_id)
    if scope is None:
        return await in_thread(_expired, request)
    # Old answers too: their studies are there at once, and replaced by new ones.
    answers = await in_thread(search_store.answers, scope.search, scope.slugs)
    fresh = {slug: one for slug, one in answers.items() if search_store.is_fresh(one)}
    if "wait" in request.GET:
        missing = [one for one in scope.archives if one.slug not in fresh]
        asked = await asyncio.gather(
            *(_ask(scope.search, one, request.user) for one in missing)
        )
        fresh |= {one.slug: it for one, it in zip(missing, asked, strict=True)}
        answers = scope.in_order(answers | fresh)

    def page() -> HttpResponse:
        context = results_context(request, scope, answers, fresh)
        return render_compressed(request, "launcher/search.html", context)

    return await in_thread(page)


@member_required
@require_GET
async def search_archive(
    request: HttpRequest, search_id: str, slug: str
) -> HttpResponse:
    """One archive's chip, with the page's part of what is merged so far.

    ``?again`` asks the archive even if it has just answered.
    """
    scope = await load_scope(request, search_id)
    archive = scope.archive(slug) if scope else None
    if scope is None or archive is None:
        return await in_thread(
            render, request, "launcher/_chip_ended.html", {"slug": slug}
        )
    known = await in_thread(search_store.answers, scope.search, [slug])
    answer = known.get(slug)
    if not answer or not search_store.is_fresh(answer) or "again" in request.GET:
        answer = await _ask(scope.search, archive, request.user)

    def chip() -> HttpResponse:
        # Read after writing: of two archives that answer at once, the later one always
        # sees both.
        answers = search_store.answers(scope.search, scope.slugs)
        context = {
            "chip": Chip(archive=archive, answer=answer),
            "is_answer": True,
            **merged_context(request, scope, answers),
        }
        return render_compressed(request, "launcher/_chip.html", context)

    return await in_thread(chip)


@member_required
@require_GET
async def search_study(request: HttpRequest, search_id: str, key: str) -> HttpResponse:
    """The series of a study, and how many more studies its patient has, if known."""
    scope = await load_scope(request, search_id)
    row = await in_thread(scope.row, key) if scope else None
    if scope is None or row is None:
        return await in_thread(_expired, request)
    series, other_studies, message = await _details(scope, row, request.user)

    def page() -> HttpResponse:
        context = {
            "series": series,
            "other_studies": other_studies,
            "message": message,
            "row": row,
            "columns": columns_of(NEWEST_FIRST),
            **table_context(request, scope, [row]),
        }
        name = "_series.html" if request.htmx else "study_detail.html"  # type: ignore[attr-defined]
        return render_compressed(request, f"launcher/{name}", context)

    return await in_thread(page)


async def load_scope(request: HttpRequest, search_id: str) -> SearchScope | None:
    """The user's search; ``None`` if it has expired, or is not theirs."""
    return await in_thread(_load, request, search_id)


def _load(request: HttpRequest, search_id: str) -> SearchScope | None:
    user: User = request.user  # type: ignore[assignment]
    if request.session.get(PENDING_SEARCH) == search_id:
        search_store.claim(search_id, user.pk)
        del request.session[PENDING_SEARCH]
    stored = search_store.load(search_id, user.pk)
    return scope_of(stored, user) if stored else None


def _expired(request: HttpRequest) -> HttpResponse:
    """The same for a search that has expired, never was, or is somebody else's."""
    context = {**start_context(request), "has_expired": True}
    return render(request, "launcher/search.html", context, status=404)


async def _ask(stored: StoredSearch, archive: Archive, user: AnyUser) -> ArchiveAnswer:
    queries = stored.criteria.queries(settings.VIEWERHUB_SEARCH_LIMIT)
    answer = await asking.ask_archive(archive, queries, user)
    await in_thread(search_store.save_answer, stored, archive.slug, answer)
    return answer


async def _details(
    scope: SearchScope, row: Row, user: AnyUser
) -> tuple[tuple[Series, ...], int | None, str]:
    """Series, the number of other studies if known, and why there are none."""
    message = ""
    for archive in row.archives:
        others = asyncio.create_task(_other_studies(scope, archive, row, user))
        try:
            uid = row.found.study.study_instance_uid
            series = await asking.series_of(archive.endpoint(user), uid)
            if series:
                await in_thread(
                    search_store.save_series, scope.search, archive.slug, uid, series
                )
                return series, await others, ""
        except ArchiveError as error:
            message = message or str(error)
            continue
        finally:  # of no use any more, also where the user has left
            others.cancel()
        message = message or _("%(archive)s lists no series of this study.") % {
            "archive": archive.name
        }
    return (), None, message


async def _other_studies(
    scope: SearchScope, archive: Archive, row: Row, user: AnyUser
) -> int | None:
    """How many more studies the archive has of this patient.

    ``None`` if that is unknown, or not the whole truth because others may have some.
    """
    patient = row.found.study.patient
    if not patient.patient_id.strip() or len(scope.archives) > 1:
        return None
    query = StudyQuery(
        patient_id=patient.patient_id.strip(),
        issuer_of_patient_id=patient.issuer_of_patient_id.strip(),
        limit=OTHER_STUDIES_LIMIT,
    )
    answer = await asking.ask_archive(archive, [query], user)
    if not answer.is_answered:
        return None
    uids = {one.study_instance_uid for one in answer.studies}
    return len(uids - {row.found.study.study_instance_uid})
