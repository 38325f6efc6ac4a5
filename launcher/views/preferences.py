"""What a visitor likes; kept in a cookie, so that it holds before the login too."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from launcher.views.access import page_of

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
