"""What a visitor likes, in a cookie, so that it holds before the login too; and what a
user chooses, in the database, so that it holds wherever they log in."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from launcher.models.preferences import FACTS, Preferences
from launcher.views.access import member_required, page_of

THEMES = ("auto", "light", "dark")
YEAR = 365 * 86400


@require_POST
def theme(request: HttpRequest) -> HttpResponse:
    """Choose light, dark, or what the system says; then back to the page."""
    chosen = request.POST.get("theme", "auto")
    response = redirect(page_of(request))
    if chosen in THEMES:
        response.set_cookie(
            "theme", chosen, max_age=YEAR, samesite="Lax", secure=request.is_secure()
        )
    return response


@member_required
@require_POST
def facts(request: HttpRequest) -> HttpResponse:
    """Choose what rows of studies show, or the usual again; then back to the page."""
    user: User = request.user  # type: ignore[assignment]
    if "usual" in request.POST:
        Preferences.objects.filter(user=user).delete()
    else:
        chosen = [name for name in FACTS if name in request.POST.getlist("facts")]
        Preferences.objects.update_or_create(user=user, defaults={"facts": chosen})
    return redirect(page_of(request))
