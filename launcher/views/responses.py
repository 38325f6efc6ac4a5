"""Answers that Django has no class for."""

from django.http import HttpResponseRedirect


class WeasisRedirect(HttpResponseRedirect):
    """302 to a ``weasis://`` URI; any other scheme is refused."""

    allowed_schemes = ["weasis"]
