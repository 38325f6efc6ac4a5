"""Carries out a request to launch, once it was judged.

Archives are asked only where the viewer can't be started without: to verify that there
is a study, for a rule that depends on modalities, or for a viewer whose address needs
more than the request says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from asgiref.sync import async_to_sync

from archives.entities import Study
from archives.models import Archive
from launcher import background
from launcher.criteria import Problem
from launcher.launching import links
from launcher.launching.callers import template_named
from launcher.launching.judging import Judged, LaunchRequest, Question, judge, routed
from launcher.launching.lookup import Lookup, find_now
from launcher.launching.refusals import RefusedError
from launcher.models import Launch, LaunchTemplate
from launcher.services import (
    QueueUnavailableError,
    StartedLaunch,
    rehearse_launch,
    start_launch,
)
from launcher.threads import in_thread, release_connection

_NOT_FOUND: Final = (
    "No archive has what was asked for. Compare the identifiers with those of the system "
    "you came from; images that were made just now may be on their way still."
)


def launch(request: LaunchRequest) -> StartedLaunch:
    """Judge a request, ask the archives if need be, and start the launch.

    Raises ``CriteriaError``, ``RefusedError`` or ``QueueUnavailableError``; nothing was
    stored then.
    """
    judged = _accept(request)
    found = None
    if judged.question != Question.NOTHING:
        # On the loop of the web process, where connections to the archives are kept. The
        # thread of a request waits for its view in any case, so that a view of its own
        # loop would only make every launch slower that asks nothing.
        release_connection()
        found = async_to_sync(_ask)(judged)
    return _start(judged, found)


async def launch_waiting(request: LaunchRequest) -> StartedLaunch:
    """The same for views that keep no thread while archives are asked."""
    judged = await in_thread(_accept, request)
    asks = judged.question != Question.NOTHING
    return await in_thread(_start, judged, await _ask(judged) if asks else None)


async def _ask(judged: Judged) -> Lookup:
    return await find_now(
        judged.criteria.selection,
        judged.archives,
        user=judged.request.caller.user,
        until_found=judged.question == Question.WHETHER,
    )


def _accept(request: LaunchRequest) -> Judged:
    judged = judge(request)
    if request.caller.link:
        links.claim(request.caller.link)
    return judged


def rehearse(request: LaunchRequest) -> str:
    """Where ``launch`` would lead now: judged and asked alike, with nothing stored.

    The address of a manifest in it opens nothing. Not for links, which count once.
    """
    judged = judge(request)
    found = None
    if judged.question != Question.NOTHING:
        release_connection()
        found = background.run(_ask(judged))
    decided = _decide(judged, found)
    user = request.caller.user
    return rehearse_launch(
        selection=decided.judged.criteria.selection,
        archives=decided.archives,
        template=decided.template,
        extras=decided.judged.criteria.extras,
        studies=decided.studies,
        username=user.get_username() if user else "",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decided:
    """``studies`` are those that were found, ``None`` where the viewer needs none."""

    judged: Judged
    template: LaunchTemplate
    archives: Sequence[Archive]
    studies: Sequence[Study] | None = None


def _decide(judged: Judged, found: Lookup | None) -> _Decided:
    if judged.template is None:
        judged = routed(judged, found)
    if found:  # a template that a rule chose may have archives of its own
        found = found.of(judged.archives)
    _check_found(judged, found)
    template = judged.template or template_named("")
    if judged.needs_studies and found:
        return _Decided(
            judged=judged,
            template=template,
            archives=found.holders(),
            studies=found.studies,
        )
    return _Decided(judged=judged, template=template, archives=judged.archives)


def _start(judged: Judged, found: Lookup | None) -> StartedLaunch:
    decided = _decide(judged, found)
    request, criteria = judged.request, decided.judged.criteria
    try:
        return start_launch(
            selection=criteria.selection,
            archives=decided.archives,
            template=decided.template,
            origin=_origin(judged),
            user=request.caller.user,
            api_client=request.caller.api_client,
            address=request.address,
            extras=criteria.extras,
            studies=decided.studies,
            needs_manifest=request.needs_manifest,
        )
    except QueueUnavailableError:
        if request.caller.link:
            links.release(request.caller.link)
        raise


def _check_found(judged: Judged, found: Lookup | None) -> None:
    """Raise ``RefusedError`` where there is no use in starting the viewer.

    Weasis can say itself that nothing was found, or that an archive was silent; others
    can't.
    """
    if found is None:
        return
    if found.has_found_nothing and (judged.is_verified or judged.viewer):
        raise RefusedError(404, [Problem(field="", message=_NOT_FOUND)])
    if judged.needs_studies and not found.studies:
        names = ", ".join(archive.name for archive in found.silent)
        message = f"{names} did not answer in time. Try again in a moment."
        raise RefusedError(503, [Problem(field="", message=message)])


def _origin(judged: Judged) -> Launch.Origin:
    if judged.request.caller.link:
        return Launch.Origin.LINK
    return Launch.Origin.IID if judged.iid else Launch.Origin.URL
