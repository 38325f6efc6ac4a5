"""Opening studies from the portal, for the first time or again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

from asgiref.sync import async_to_sync
from django.conf import settings
from django.contrib.auth.models import User
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from archives.entities import Patient, Selection, Study
from archives.models import Archive
from launcher import services
from launcher.criteria import CriteriaError
from launcher.launching.callers import template_named
from launcher.launching.lookup import find_now
from launcher.launching.offers import Found, Offers, found_of, offer
from launcher.models import Launch, LaunchTemplate
from launcher.search import store as search_store
from launcher.search.asking import FoundStudy, merge, patient_key
from launcher.search.forms import LaunchForm
from launcher.search.priors import MAXIMUM as PRIORS_MAXIMUM
from launcher.search.priors import Priors, priors_of
from launcher.threads import release_connection
from launcher.views.access import member_required
from launcher.views.launch_pages import visible_launch
from launcher.views.launch_requests import address_of
from launcher.views.progress import help_context, state_context
from launcher.views.responses import ViewerRedirect
from launcher.views.search_page import SearchScope, scope_of

AHEAD_PER_MINUTE: Final = 20
LAUNCH_FIELDS: Final = (
    "study_instance_uid",
    "series_instance_uid",
    "archive",
    "template",
    "search",
    "priors",
)


@member_required
@require_POST
def launch_create(request: HttpRequest) -> HttpResponse:
    """Open studies in a viewer: straight away, or by htmx with progress in place."""
    searched = _searched(request)
    if not _name_studies(request, searched):
        message = _("This search has ended. Search again to open its studies.")
        return _problem(request, message, status=400)
    usable = Archive.objects.usable_by(request.user)
    form = LaunchForm(request.POST, archives=usable)
    if not form.is_valid():
        return _problem(
            request, " ".join(map(str, form.non_field_errors())), status=400
        )
    values = form.cleaned_data
    known = _known_of(searched, values["selection"])
    if known and len(known.patients) > 1 and "several_patients" not in request.POST:
        return _confirmation(request, known.patients)
    if "priors" in request.POST:
        return _with_priors(request, known, values["template"])
    archives = values["archives"]
    if known and known.found and not request.POST.getlist("archive"):
        archives = [archive for archive in usable if archive.slug in known.holders]
    found = _found(values["selection"], archives, known)
    return _start(request, found, values["template"])


@dataclass(frozen=True, slots=True)
class _Searched:
    """A search of the user's, and the studies that archives have answered so far."""

    scope: SearchScope
    studies: tuple[FoundStudy, ...]


def _searched(request: HttpRequest) -> _Searched | None:
    """``None`` without a search, or where it has expired."""
    user: Any = request.user
    search_id = request.POST.get("search")
    stored = search_store.load(search_id, user.pk) if search_id else None
    if stored is None:
        return None
    scope = scope_of(stored, user)
    return _Searched(scope, merge(search_store.answers(stored, scope.slugs)))


def _name_studies(request: HttpRequest, searched: _Searched | None) -> bool:
    """Replace the keys of studies in a search by UIDs; false if one is not known."""
    keys = request.POST.getlist("study")
    if not keys:
        return True
    if searched is None:
        return False
    key_of = searched.scope.key_of
    uids = {key_of(one): one.study.study_instance_uid for one in searched.studies}
    if not uids.keys() >= set(keys):
        return False
    posted = request.POST.copy()
    posted.setlist("study_instance_uid", [uids[key] for key in dict.fromkeys(keys)])
    request.POST = posted  # type: ignore[assignment]
    return True


@dataclass(frozen=True, slots=True)
class _Known:
    """What a search tells of the studies of a selection; perhaps not of all of them."""

    found: tuple[FoundStudy, ...]
    is_complete: bool

    @property
    def patients(self) -> list[Patient]:
        """Each once."""
        patients = (one.study.patient for one in self.found)
        return list({patient_key(one): one for one in patients}.values())

    @property
    def holders(self) -> set[str]:
        """The slugs of all archives that hold something of it."""
        return {slug for one in self.found for slug in one.archives}


def _known_of(searched: _Searched | None, selection: Selection) -> _Known | None:
    if searched is None:
        return None
    wanted = {
        *selection.study_instance_uids,
        *(one.study_instance_uid for one in selection.series),
    }
    found = tuple(
        one for one in searched.studies if one.study.study_instance_uid in wanted
    )
    return _Known(found, is_complete=len(found) == len(wanted))


def _found(
    selection: Selection, archives: Sequence[Archive], known: _Known | None
) -> Found:
    """What is known without asking an archive."""
    if known is None or not known.is_complete:
        return found_of(selection, archives)
    return Found(
        selection=selection,
        archives=tuple(archives),
        whole=tuple(
            archive
            for archive in archives
            if all(archive.slug in one.archives for one in known.found)
        ),
        studies=tuple(one.study for one in known.found),
    )


@member_required
@require_POST
def launch_ahead(request: HttpRequest) -> HttpResponse:
    """Begin what pressing a button would, for a user who points at it.

    Answers nothing, whether it did or not.
    """
    user: Any = request.user
    done = HttpResponse(status=204)
    form = LaunchForm(request.POST, archives=Archive.objects.usable_by(user))
    if not settings.VIEWERHUB_BUILD_AHEAD or not form.is_valid() or _is_hasty(user):
        return done
    selection, archives = form.cleaned_data["selection"], form.cleaned_data["archives"]
    found = _found(selection, archives, _known_of(_searched(request), selection))
    chosen = Offers(user, address_of(request)).of(found).first
    if not chosen.problem and chosen.template.viewer is None:
        services.build_ahead(selection=selection, archives=chosen.archives, user=user)
    return done


def _is_hasty(user: User) -> bool:
    """Whether a user has pointed at more in a minute than may be asked for."""
    key = f"launch-ahead:{user.pk}"
    cache.add(key, 0, 60)
    try:
        return bool(cache.incr(key) > AHEAD_PER_MINUTE)
    except ValueError:  # it has ended just now
        return False


def _with_priors(
    request: HttpRequest, known: _Known | None, template: LaunchTemplate | None
) -> HttpResponse:
    """Open a study of a search, and what else there is of its patient.

    Without an issuer, the Patient ID says something in the archives of the study alone.
    Archives that did not tell are part of the launch, which then says so.
    """
    user: Any = request.user
    if known is None or len(known.found) != 1 or not known.is_complete:
        message = _("This search has ended. Search for the study again.")
        return _problem(request, message, status=400)
    [one] = known.found
    patient = one.study.patient
    if not patient.patient_id.strip():
        message = _("The study has no patient ID to find other studies by.")
        return _problem(request, message, status=400)
    usable = list(Archive.objects.usable_by(user))
    holders = [archive for archive in usable if archive.slug in one.archives]
    # Under this ID, those who know the patient by another one know somebody else.
    asked = [each for each in holders if each.slug not in one.other_patients]
    release_connection()
    priors = async_to_sync(priors_of)(
        one.study,
        usable if patient.issuer_of_patient_id.strip() else asked,
        user,
        same_modality=request.POST["priors"] == "modality",
    )
    if priors.has_more:
        message = _(
            "The patient has more than %(count)d other studies. Search for them, and "
            "select those to open."
        ) % {"count": PRIORS_MAXIMUM}
        return _problem(request, message, status=400)
    return _start(request, _all_of(one.study, holders, priors), template)


def _all_of(study: Study, holders: Sequence[Archive], priors: Priors) -> Found:
    """A study and its priors, newest first, where each of them is."""
    held = {archive: {study.study_instance_uid: study} for archive in holders}
    for archive, studies in priors.studies.items():
        if studies:
            own = held.setdefault(archive, {})
            own.update((one.study_instance_uid, one) for one in studies)
    for archive in priors.silent:
        held.setdefault(archive, {})
    others = {
        uid: one
        for own in held.values()
        for uid, one in own.items()
        if uid != study.study_instance_uid
    }
    ordered = sorted(others.values(), key=lambda one: one.study_date, reverse=True)
    studies = (study, *ordered)
    return Found(
        selection=Selection(
            study_instance_uids=tuple(one.study_instance_uid for one in studies)
        ),
        archives=tuple(held),
        whole=tuple(one for one in held if len(held[one]) == len(studies)),
        studies=studies,
    )


def _start(
    request: HttpRequest, found: Found, template: LaunchTemplate | None
) -> HttpResponse:
    """Launch by this template, or by the first that opens it."""
    user: Any = request.user
    if template is None:
        template = Offers(user, address_of(request)).of(found).first.template
    if _must_ask(found, template):
        release_connection()
        lookup = async_to_sync(find_now)(found.selection, found.archives, user=user)
        if not lookup.studies:
            message = _("No archive found it in time. Try again in a moment.")
            return _problem(request, message, status=503)
        holders = tuple(lookup.holders())
        whole = holders if len(holders) == 1 else ()
        found = replace(found, archives=holders, whole=whole, studies=lookup.studies)
    chosen = offer(template, found, username=user.get_username())
    if chosen.problem:
        message = _("%(name)s can't open this. %(problem)s") % {
            "name": chosen.template.name,
            "problem": chosen.problem,
        }
        return _problem(request, message, status=400)
    return _answered(
        request,
        lambda: services.start_launch(
            selection=found.selection,
            archives=chosen.archives,
            template=chosen.template,
            origin=Launch.Origin.PORTAL,
            user=user,
            address=address_of(request),
            studies=found.studies,
        ),
        found,
    )


def _must_ask(found: Found, template: LaunchTemplate) -> bool:
    """Whether a viewer can't be started before archives have told of the studies."""
    viewer = template.viewer
    if viewer is None or not viewer.is_enabled or found.studies is not None:
        return False
    return viewer.must_ask(found.selection, found.archives)


def _answered(
    request: HttpRequest,
    start: Callable[[], services.StartedLaunch],
    found: Found | None = None,
) -> HttpResponse:
    try:
        started = start()
    except services.QueueUnavailableError as error:
        return _problem(request, str(error), status=503)
    except CriteriaError as error:  # a viewer or template that can't open these
        messages = " ".join(problem.message for problem in error.problems)
        return _problem(request, messages, status=400)
    return _started(request, started, found)


def _started(
    request: HttpRequest, started: services.StartedLaunch, found: Found | None
) -> HttpResponse:
    redirect = ViewerRedirect(started.uri, started.viewer)
    if not request.htmx:  # type: ignore[attr-defined]
        return redirect
    if started.viewer:  # nothing to follow: it is over once the browser is on its way
        return HttpResponse(headers={"HX-Redirect": redirect.url})
    context = {
        "uri": started.uri,
        **state_context(started.launch, []),
        **help_context(request, found),
    }
    return render(request, "launcher/_launch.html", context)


def _problem(request: HttpRequest, message: str, *, status: int) -> HttpResponse:
    context = {"message": message, "fields": _posted(request), "action": request.path}
    if request.htmx:  # type: ignore[attr-defined]
        return render(request, "launcher/_launch_problem.html", context, status=422)
    return render(request, "launcher/launch_problem.html", context, status=status)


def _confirmation(request: HttpRequest, patients: Sequence[Patient]) -> HttpResponse:
    context = {
        "patients": patients,
        "search_id": request.POST["search"],
        "fields": _posted(request),
        "action": request.path,
    }
    if request.htmx:  # type: ignore[attr-defined]
        return render(request, "launcher/_launch_confirm.html", context)
    return render(request, "launcher/launch_confirm.html", context)


def _posted(request: HttpRequest) -> list[tuple[str, str]]:
    """The fields of this launch, to send them again."""
    return [
        (name, value) for name in LAUNCH_FIELDS for value in request.POST.getlist(name)
    ]


@member_required
@require_POST
def launch_retry(request: HttpRequest, launch_id: UUID) -> HttpResponse:
    """A new launch of the same selection, of the archives the user may still use."""
    launch = visible_launch(request, launch_id)
    if launch.build.uploaded_manifest:
        return _upload_again(request, launch)
    if not _may_know_what(request, launch):
        message = _("Only who opened this can open it again.")
        return _problem(request, message, status=403)
    usable = Archive.objects.usable_by(request.user)
    archives = list(usable.filter(pk__in=launch.build.archives.values("pk")))
    if not archives:
        message = _(
            "The archives of this launch are not available to you any more. Ask your "
            "administrator for access."
        )
        return _problem(request, message, status=403)
    template = launch.template or LaunchTemplate.objects.default()
    if slug := request.POST.get("template"):
        try:
            template = template_named(slug)
        except CriteriaError as error:
            return _problem(request, error.problems[0].message, status=400)
    found = found_of(launch.build.get_selection(), archives)
    return _start(request, found, template)


def _may_know_what(request: HttpRequest, launch: Launch) -> bool:
    """Whether somebody may learn of whom a launch is, as they would by opening it."""
    is_own = launch.user_id == request.user.pk
    return is_own or request.user.has_perm("launcher.audit_launch")


def _upload_again(request: HttpRequest, launch: Launch) -> HttpResponse:
    """Only for its own user: no archive's rights stand between others and its images."""
    user = request.user if isinstance(request.user, User) else None
    if user is None or launch.user_id != user.pk:
        message = _("Only who opened this can open it again.")
        return _problem(request, message, status=403)
    if launch.state == Launch.State.REVOKED:
        message = _(
            "This launch was revoked. Open it from the system it came from again."
        )
        return _problem(request, message, status=403)
    template = launch.template or LaunchTemplate.objects.default()
    return _answered(
        request,
        lambda: services.start_uploaded(
            launch.build.uploaded_manifest,
            template=template,
            user=user,
            address=address_of(request),
        ),
    )
