"""Pieces of the admin's own pages, with Unfold's look and without."""

from __future__ import annotations

from typing import Any

from django import template
from django.apps import apps
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from archives.marks import mark_of, moment_of
from archives.models import Archive
from viewerhub.dashboard import Dashboard
from viewerhub.dashboard import dashboard as dashboard_of

register = template.Library()


@register.simple_tag(takes_context=True)
def dashboard(context: Any) -> Dashboard:
    return dashboard_of(context["request"])


@register.simple_tag(takes_context=True)
def what_is_added(context: Any) -> str:
    """The title of a page that adds something; empty on other pages."""
    match = context["request"].resolver_match
    if not match or not (match.url_name or "").endswith("_add"):
        return ""
    return str(gettext("Add %s") % match.func.model_admin.opts.verbose_name)


@register.simple_tag
def has_sidebar() -> bool:
    """Whether every page lists what can be administered, as those of Unfold do."""
    return apps.is_installed("unfold")


@register.filter
def mark(archive: Archive) -> SafeString:
    return mark_of(archive)


@register.filter
def moment(value: Any) -> SafeString | str:
    return moment_of(value)
