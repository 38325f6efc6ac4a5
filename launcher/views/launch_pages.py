"""What became of launches, and ending them."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from asgiref.sync import sync_to_async
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import (
    require_GET,
    require_http_methods,
    require_safe,
)
from django_htmx.http import HTMX_STOP_POLLING

from archives.models import Archive
from launcher import services
from launcher.launching.offers import found_of
from launcher.models import Launch
from launcher.views.access import member_required
from launcher.views.progress import help_context, is_heard_of, state_context

LAUNCHES_PER_PAGE: Final = 30


def visible_launch(request: HttpRequest, launch_id: UUID) -> Launch:
    """A launch the user may look at; raises ``Http404``."""
    visible = Launch.objects.visible_to(request.user)
    related = visible.select_related("build", "template__viewer", "user", "api_client")
    return get_object_or_404(related, pk=launch_id)


@member_required
@require_GET
async def launch_state(request: HttpRequest, launch_id: UUID) -> HttpResponse:
    """Progress of a launch; status 286 tells htmx that it will not change any more."""
    context = await _context(request, launch_id)
    name = "_launch_progress.html" if "page" in request.GET else "_launch_state.html"
    status = HTMX_STOP_POLLING if context["is_over"] else 200
    return await sync_to_async(render)(
        request, f"launcher/{name}", context, status=status
    )


@member_required
@require_safe
async def launch_detail(request: HttpRequest, launch_id: UUID) -> HttpResponse:
    """The page of a launch: state, answers of the archives, and what to do next."""
    context = await _context(request, launch_id)

    def page() -> HttpResponse:
        launch = context["launch"]
        context.update(
            _help(request, launch),
            may_revoke=launch.is_open() and _may_revoke(request, launch),
        )
        return render(request, "launcher/launch_detail.html", context)

    return await sync_to_async(page)()


async def _context(request: HttpRequest, launch_id: UUID) -> dict[str, Any]:
    def load() -> tuple[Launch, bool]:
        launch = visible_launch(request, launch_id)
        return launch, is_heard_of(launch)

    launch, is_heard = await sync_to_async(load)()
    progress = await services.progress_of(launch)
    return state_context(launch, progress, is_heard=is_heard)


def _help(request: HttpRequest, launch: Launch) -> dict[str, Any]:
    if launch.build.uploaded_manifest:
        return help_context(request, None)
    usable = Archive.objects.usable_by(request.user)
    archives = list(usable.filter(pk__in=launch.build.archives.values("pk")))
    return help_context(request, found_of(launch.build.get_selection(), archives))


@member_required
@require_http_methods(["GET", "HEAD", "POST"])
def launch_revoke(request: HttpRequest, launch_id: UUID) -> HttpResponse:
    """Ask whether to revoke a launch, and revoke it by POST."""
    launch = visible_launch(request, launch_id)
    if not _may_revoke(request, launch):
        raise PermissionDenied
    if request.method != "POST":
        return render(request, "launcher/launch_revoke.html", {"launch": launch})
    if launch.is_open():
        services.revoke_launch(launch)
        messages.success(request, _("Revoked. Its links open nothing any more."))
    else:
        messages.warning(request, _("This launch had ended already."))
    return redirect(launch)


def _may_revoke(request: HttpRequest, launch: Launch) -> bool:
    """Its own user, and whoever may revoke it in the administration."""
    is_own = launch.user_id == request.user.pk
    return is_own or request.user.has_perm("launcher.change_launch")


@member_required
@require_safe
def launch_list(request: HttpRequest) -> HttpResponse:
    """The user's own launches, newest first; ``?state=`` chooses those in a state."""
    own = Launch.objects.filter(user=request.user.pk)
    counts = {
        row["state"]: row["count"]
        for row in own.order_by().values("state").annotate(count=Count("pk"))
    }
    chosen = request.GET.get("state", "")
    if chosen not in Launch.State.values:
        chosen = ""
    shown = _newest_first(own.filter(state=chosen) if chosen else own)
    context = {
        "page": Paginator(shown, LAUNCHES_PER_PAGE).get_page(request.GET.get("page")),
        "states": [
            (state, state.label, counts[state])
            for state in Launch.State
            if state in counts
        ],
        "total": sum(counts.values()),
        "chosen": chosen,
        "may_revoke": True,
    }
    return render(request, "launcher/launch_list.html", context)


def _newest_first(launches: QuerySet[Launch]) -> QuerySet[Launch]:
    return launches.order_by("-created").select_related(
        "build", "user", "template__viewer"
    )
