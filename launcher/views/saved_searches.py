"""Searches that users keep: their list, the page of one, and searching by it."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.models import User
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST, require_safe

from archives.models import Archive
from launcher.models import SavedSearch
from launcher.search import store as search_store
from launcher.search.saved import SavedSearchForm, restate, shown
from launcher.views.access import member_required
from launcher.views.search_page import start_context

SEARCHES_PER_PAGE: Final = 30


def _user(request: HttpRequest) -> User:
    """The member who asks."""
    user: User = request.user  # type: ignore[assignment]
    return user


@member_required
def saved_search_list(request: HttpRequest) -> HttpResponse:
    """All that the user may use; a POST keeps a search of theirs."""
    if request.method == "POST":
        return _keep(request)
    user = _user(request)
    visible = SavedSearch.objects.visible_to(user).select_related("owner", "group")
    page = Paginator(visible.recent_first(), SEARCHES_PER_PAGE).get_page(
        request.GET.get("page")
    )
    archives = list(Archive.objects.usable_by(user))
    searches = [shown(saved, user, archives) for saved in page.object_list]
    context = {"page": page, "searches": searches}
    return render(request, "launcher/saved_search_list.html", context)


def _keep(request: HttpRequest) -> HttpResponse:
    user = _user(request)
    search = search_store.load(request.POST.get("search", ""), user.pk)
    if search is None:
        context = {**start_context(request), "has_expired": True}
        return render(request, "launcher/search.html", context, status=404)
    form = SavedSearchForm(request.POST, owner=user)
    if not form.is_valid():
        context = {"form": form, "search": search}
        return render(request, "launcher/saved_search_new.html", context, status=400)
    form.keep(search)
    messages.success(request, _("The search is saved."))
    return redirect("launcher:search_results", search.id)


@member_required
@require_safe
def saved_search(request: HttpRequest, saved_id: UUID) -> HttpResponse:
    """The page to link to: for the owner and the group, and it has no patient data
    in its address."""
    user = _user(request)
    found = SavedSearch.objects.visible_to(user).select_related("owner", "group")
    saved = found.filter(pk=saved_id).first()
    if saved is None:
        return render(request, "launcher/saved_search_missing.html", status=404)
    return _page(request, saved, _edit_form(saved, user))


def _edit_form(saved: SavedSearch, user: User) -> SavedSearchForm:
    values = {"name": saved.name, "group": saved.group_id}
    return SavedSearchForm(owner=user, saved=saved, initial=values)


def _page(
    request: HttpRequest, saved: SavedSearch, form: SavedSearchForm, status: int = 200
) -> HttpResponse:
    user = _user(request)
    archives = list(Archive.objects.usable_by(user))
    criteria = saved.get_criteria()
    slugs = {one.slug for one in archives}
    context: dict[str, Any] = {
        "shown": shown(saved, user, archives),
        "form": form,
        "left_out": len(set(criteria.archives) - slugs) if criteria else 0,
        "link": request.build_absolute_uri(saved.get_absolute_url()),
    }
    return render(request, "launcher/saved_search.html", context, status=status)


@member_required
@require_POST
def saved_search_run(request: HttpRequest, saved_id: UUID) -> HttpResponse:
    """Search by it now: a search of the user's own, over archives that are theirs."""
    user = _user(request)
    saved = SavedSearch.objects.visible_to(user).filter(pk=saved_id).first()
    if saved is None:
        return render(request, "launcher/saved_search_missing.html", status=404)
    criteria = saved.get_criteria()
    if criteria is None:
        messages.error(
            request,
            _("The key that this search was encrypted with is gone. Save it again."),
        )
        return redirect(saved)
    restated = restate(criteria, saved.preset, Archive.objects.usable_by(user))
    if not restated.has_archives:
        messages.error(
            request,
            _(
                "None of the archives of this search is available to you. Ask your "
                "administrator for access, or search the archives you have."
            ),
        )
        return redirect(saved)
    form = restated.form
    if not form.is_valid():
        context = start_context(request, form)
        return render(request, "launcher/search.html", context, status=400)
    saved.mark_used()
    if restated.left_out:
        messages.warning(request, left_out_notice(restated.left_out))
    stored = search_store.save(
        form.criteria(), preset=form.chosen_preset(), owner=user.pk
    )
    return redirect("launcher:search_results", stored.id)


def left_out_notice(count: int) -> str:
    """Without names: which other archives there are is not for everybody."""
    return ngettext(
        "%(count)d archive of this saved search is not available to you and was left "
        "out.",
        "%(count)d archives of this saved search are not available to you and were left "
        "out.",
        count,
    ) % {"count": count}


@member_required
@require_POST
def saved_search_change(request: HttpRequest, saved_id: UUID) -> HttpResponse:
    """Give it another name, share it, or keep it to oneself again."""
    user = _user(request)
    saved = get_object_or_404(SavedSearch, pk=saved_id, owner=user)
    form = SavedSearchForm(request.POST, owner=user, saved=saved)
    if not form.is_valid():
        return _page(request, saved, form, status=400)
    form.write(saved)
    messages.success(request, _("The changes are saved."))
    return redirect(saved)


@member_required
@require_POST
def saved_search_delete(request: HttpRequest, saved_id: UUID) -> HttpResponse:
    get_object_or_404(SavedSearch, pk=saved_id, owner=_user(request)).delete()
    messages.success(request, _("The saved search is deleted."))
    return redirect("launcher:saved_search_list")
