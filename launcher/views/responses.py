"""Answers that Django has no class for."""

from __future__ import annotations

from urllib.parse import urlsplit

from django.core.exceptions import DisallowedRedirect
from django.http import HttpResponse

from launcher.models import Viewer


class ViewerRedirect(HttpResponse):
    """302 to what starts a viewer, ``None`` for Weasis; any other scheme is refused.

    Django's own redirects are for web addresses, and for shorter ones than viewers in
    the browser may need.
    """

    status_code = 302

    def __init__(self, uri: str, viewer: Viewer | None = None) -> None:
        super().__init__()
        address = viewer.url_template if viewer else "weasis:"
        scheme, separator, _ = address.partition(":")
        if not separator or urlsplit(uri).scheme != scheme.lower():
            raise DisallowedRedirect("A viewer's address begins with another scheme.")
        self["Location"] = uri

    @property
    def url(self) -> str:
        return self["Location"]
