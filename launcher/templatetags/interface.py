"""Pieces of the interface that are the same everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from archives.clients import label_of
from archives.entities import Study
from archives.models import Archive
from launcher import messages
from launcher.launching.offers import Choices, Offers
from launcher.search import priors
from launcher.search import store as search_store
from launcher.search.store import StoredSearch

register = template.Library()

# Paths in a square of 16, drawn with a line of 1.5.
_PATHS: Final = {
    "alert": "M8 2.2 14.6 13.5H1.4zM8 6.5v3M8 11.4v.2",
    "archive": "M2 3.5h12v3H2zM3 6.5v6.5h10V6.5M6.5 9.5h3",
    "block": "M8 1.8a6.2 6.2 0 1 1 0 12.4A6.2 6.2 0 0 1 8 1.8M3.7 3.7l8.6 8.6",
    "check": "M2.8 8.6 6.2 12 13.2 4.4",
    "chevron": "M6 3.5 10.5 8 6 12.5",
    "close": "M3.5 3.5l9 9M12.5 3.5l-9 9",
    "contrast": "M8 2a6 6 0 1 1 0 12A6 6 0 0 1 8 2M8 2v12M8 5h5M8 8h6M8 11h5",
    "copy": "M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3",
    "down": "M3.5 6 8 10.5 12.5 6",
    "filter": "M2 4h12M4.5 8h7M6.5 12h3",
    "keyboard": "M1.5 4h13v8h-13zM4 6.7v.1M6.7 6.7v.1M9.3 6.7v.1M12 6.7v.1M5 9.5h6",
    "people": "M6 7.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5M1.5 13.5c0-2.5 2-4 4.5-4s4.5 "
    "1.5 4.5 4M10.5 2.7a2.5 2.5 0 0 1 0 4.6M12 9.8c1.6.6 2.5 1.9 2.5 3.7",
    "person": "M8 8a3 3 0 1 0 0-6 3 3 0 0 0 0 6M2.5 14c0-2.8 2.4-4.5 5.5-4.5s5.5 1.7 "
    "5.5 4.5",
    "play": "M4.5 2.8v10.4L13 8z",
    "refresh": "M13.5 8a5.5 5.5 0 1 1-1.7-4M13.5 1.8v3h-3",
    "search": "M7 2.5a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9M10.3 10.3l3.7 3.7",
    "sort": "M5 13V3M2.5 5.5 5 3l2.5 2.5M11 3v10M8.5 10.5 11 13l2.5-2.5",
    "star": "M8 1.9l1.9 3.9 4.3.6-3.1 3 .7 4.3L8 11.7l-3.8 2 .7-4.3-3.1-3 4.3-.6z",
    "up": "M3.5 10 8 5.5 12.5 10",
    "wait": "M8 1.8A6.2 6.2 0 1 1 1.8 8",
}


@register.filter
def key_in(uid: str, search: StoredSearch) -> str:
    """What addresses call a study or series of this search."""
    return search_store.key_of(search, uid)


@register.filter
def translated(message: str) -> str:
    """What the hub said of an archive or a launch, in the reader's language."""
    return messages.translated(str(message))


@register.filter
def has_pictures(modality: str) -> bool:
    """Whether there are pictures of such series, and not just a label in their place."""
    return not label_of("", modality)


@register.filter
def imaging_modalities(study: Study) -> str:
    """The modalities of a study that have images."""
    return " ".join(priors.imaging_modalities(study))


@register.simple_tag
def choices_of(
    offers: Offers, study: Study, archives: Sequence[Archive], series: str
) -> Choices:
    """How a study that all these archives hold may be opened, or a series of it."""
    return offers.of_study(study, archives, series)


@register.simple_tag
def icon(name: str) -> SafeString:
    """An inline SVG that says nothing to a screen reader; the word beside it does."""
    return format_html(
        '<svg class="icon icon-{}" viewBox="0 0 16 16" width="16" height="16" '
        'aria-hidden="true" focusable="false"><path d="{}"/></svg>',
        name,
        _PATHS[name],
    )
