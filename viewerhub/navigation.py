"""The sidebar of the admin."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from django.http import HttpRequest
from django.urls import reverse_lazy
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

TOOLS = ("launcher_launch_preview", "launcher_url_builder")


def _may_view(name: str, request: HttpRequest) -> bool:
    app, _, model = name.partition("_")
    return any(
        request.user.has_perm(f"{app}.{action}_{model}")
        for action in ("view", "change")
    )


def _is_open(name: str, request: HttpRequest) -> bool:
    """Whether a page of the model is shown, and none of the tools below its address."""
    match = request.resolver_match
    page = match.url_name if match else None
    return page not in TOOLS and (page or "").startswith(f"{name}_")


def _section(
    title: Promise, entries: Iterable[tuple[Promise, str, str]]
) -> dict[str, Any]:
    items = [
        _item(label, icon, f"{name}_changelist", name)
        | {"active": partial(_is_open, name)}
        for label, icon, name in entries
    ]
    return {"title": title, "items": items}


def _item(label: Promise, icon: str, view: str, name: str) -> dict[str, Any]:
    """An entry for those who may view the model ``name``."""
    return {
        "title": label,
        "icon": icon,
        "link": reverse_lazy(f"admin:{view}"),
        "permission": partial(_may_view, name),
    }


SIDEBAR = [
    {
        "items": [
            {
                "title": _("Overview"),
                "icon": "monitoring",
                "link": reverse_lazy("admin:index"),
            }
        ],
    },
    _section(
        _("Imaging"),
        [
            (_("Archives"), "storage", "archives_archive"),
            (_("Launch templates"), "tune", "launcher_launchtemplate"),
            (_("Viewers"), "view_in_ar", "launcher_viewer"),
            (_("Viewer rules"), "alt_route", "launcher_viewerrule"),
            (_("Launches"), "open_in_new", "launcher_launch"),
            (_("Saved searches"), "saved_search", "launcher_savedsearch"),
            (pgettext_lazy("navigation", "API clients"), "key", "launcher_apiclient"),
        ],
    ),
    {
        "title": _("Tools"),
        "items": [
            _item(
                _("Preview a launch"),
                "preview",
                "launcher_launch_preview",
                "launcher_launchtemplate",
            ),
            _item(
                _("URL builder"),
                "add_link",
                "launcher_url_builder",
                "launcher_launchtemplate",
            ),
            {
                "title": _("System"),
                "icon": "dns",
                "link": reverse_lazy("admin:system"),
                "permission": lambda request: request.user.is_superuser,
            },
            {
                "title": _("REST API"),
                "icon": "api",
                "link": reverse_lazy("api:openapi-view"),
            },
        ],
    },
    _section(
        _("People"),
        [
            (_("Users"), "person", "auth_user"),
            (_("Groups"), "group", "auth_group"),
            (_("Authenticators"), "phonelink_lock", "mfa_authenticator"),
            (_("Admin log"), "history", "admin_logentry"),
        ],
    ),
]
