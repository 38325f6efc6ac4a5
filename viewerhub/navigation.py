"""The sidebar of the admin."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from django.http import HttpRequest
from django.urls import reverse_lazy


def _may_view(name: str, request: HttpRequest) -> bool:
    app, _, model = name.partition("_")
    return any(
        request.user.has_perm(f"{app}.{action}_{model}")
        for action in ("view", "change")
    )


def _section(title: str, entries: Iterable[tuple[str, str, str]]) -> dict[str, Any]:
    return {
        "title": title,
        "items": [
            {
                "title": label,
                "icon": icon,
                "link": reverse_lazy(f"admin:{name}_changelist"),
                "permission": partial(_may_view, name),
            }
            for label, icon, name in entries
        ],
    }


SIDEBAR = [
    _section(
        "Imaging",
        [
            ("Archives", "storage", "archives_archive"),
            ("Launch templates", "tune", "launcher_launchtemplate"),
            ("Launches", "open_in_new", "launcher_launch"),
            ("API clients", "key", "launcher_apiclient"),
        ],
    ),
    _section(
        "People",
        [
            ("Users", "person", "auth_user"),
            ("Groups", "group", "auth_group"),
        ],
    ),
]
