"""How this hub is configured and what it runs on, to be read in the admin; no secrets.

All of it comes from the environment: it is changed there, and the processes restarted.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.formats import localize
from django.utils.translation import gettext as _
from redis import Redis
from redis.exceptions import RedisError

from launcher.models import Build
from launcher.queue import last_seen_working, waiting_tasks
from viewerhub.accounts import sends_mail
from viewerhub.dashboard import Work

_PACKAGES: Final = ("Django", "celery", "redis", "pydicom", "pynetdicom", "uvicorn")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """``variable`` is what sets it; ``kind`` is ok, warn or bad where that matters."""

    label: str
    value: str
    variable: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    title: str
    entries: Sequence[Entry]


def system_view(request: HttpRequest) -> HttpResponse:
    if not request.user.is_superuser:
        raise PermissionDenied
    context = {
        **admin.site.each_context(request),
        "title": _("System"),
        "sections": [
            _services(),
            _addresses(request),
            _login(),
            _launches(),
            _images(),
            _versions(),
        ],
    }
    return TemplateResponse(request, "admin/system.html", context)


def _services() -> Section:
    work = Work(
        waiting=waiting_tasks(),
        unfinished=_unfinished(),
        last_seen=last_seen_working(),
    )
    seen = (
        _("Seen working a moment ago")
        if work.is_alive
        else _("Not seen working: start a worker and the scheduler")
    )
    return Section(
        title=_("Services"),
        entries=[
            _database(),
            _redis(),
            Entry(
                label=_("Worker and scheduler"),
                value=seen,
                kind="ok" if work.is_alive else "bad",
            ),
            Entry(
                label=_("Tasks waiting in the queue"),
                value=_("Unknown") if work.waiting is None else localize(work.waiting),
            ),
            Entry(label=_("Builds under way"), value=localize(work.unfinished)),
        ],
    )


def _unfinished() -> int:
    return Build.objects.unfinished().count()


def _database() -> Entry:
    try:
        with connection.cursor() as cursor:
            sqlite = connection.vendor == "sqlite"
            cursor.execute(
                "SELECT sqlite_version()" if sqlite else "SHOW server_version"
            )
            number = str(cursor.fetchone()[0])
    except DatabaseError:
        return Entry(label=_("Database"), value=_("Not answering"), kind="bad")
    return Entry(
        label=_("Database"),
        value=f"{connection.display_name} {number}",
        variable="DATABASE_URL",
        kind="ok",
    )


def _redis() -> Entry:
    place = urlsplit(settings.VIEWERHUB_REDIS_URL)
    address = f"{place.hostname or ''}:{place.port or 6379}"
    try:
        with Redis.from_url(
            settings.VIEWERHUB_REDIS_URL, socket_connect_timeout=2, socket_timeout=2
        ) as server:
            information: Any = server.info()
    except RedisError:
        value = _("%(address)s is not answering") % {"address": address}
        kind = "bad"
    else:
        name = information.get("server_name", "redis").capitalize()
        number = information.get(f"{name.lower()}_version", "")
        value, kind = f"{name} {number}, {address}", "ok"
    return Entry(label="Redis", value=value, variable="VIEWERHUB_REDIS_URL", kind=kind)


def _addresses(request: HttpRequest) -> Section:
    here = f"{request.scheme}://{request.get_host()}"
    public_url = settings.VIEWERHUB_PUBLIC_URL
    is_right = here == public_url
    return Section(
        title=_("Addresses"),
        entries=[
            Entry(
                label=_("Public address"),
                value=public_url
                if is_right
                else _("%(public)s, but you are at %(here)s")
                % {"public": public_url, "here": here},
                variable="VIEWERHUB_PUBLIC_URL",
                kind="ok" if is_right else "warn",
            ),
            Entry(
                label=_("Your own address, as the hub sees it"),
                value=request.META.get("REMOTE_ADDR", ""),
                variable="FORWARDED_ALLOW_IPS",
            ),
            Entry(
                label=_("Host names"),
                value=_listed(settings.ALLOWED_HOSTS),
                variable="ALLOWED_HOSTS",
            ),
            _networks(_("Networks that launch without login"), "TRUSTED_NETWORKS"),
            _networks(_("Networks that may read the metrics"), "METRICS_NETWORKS"),
            _networks(_("Pages of viewers that may get images"), "GATEWAY_ORIGINS"),
            Entry(
                label=_("Where the hub may connect to"),
                value=_listed(settings.VIEWERHUB_OUTGOING_NETWORKS) or _("Anywhere"),
                variable="VIEWERHUB_OUTGOING_NETWORKS",
            ),
        ],
    )


def _networks(label: str, name: str) -> Entry:
    value = _listed(getattr(settings, f"VIEWERHUB_{name}"))
    return Entry(label=label, value=value or _("None"), variable=f"VIEWERHUB_{name}")


def _listed(values: Iterable[str]) -> str:
    return ", ".join(values)


def _login() -> Section:
    providers: Any = settings.SOCIALACCOUNT_PROVIDERS["openid_connect"]["APPS"]
    names = [
        f"{one['name']} ({one['provider_id']}, {one['settings']['server_url']})"
        for one in providers
    ]
    requires_mfa = "viewerhub.middleware.require_mfa" in settings.MIDDLEWARE
    return Section(
        title=_("Login"),
        entries=[
            Entry(
                label=_("Identity providers"),
                value=_listed(names) or _("None"),
                variable="VIEWERHUB_OIDC_PROVIDERS",
            ),
            Entry(
                label=_("Accounts at the first login"),
                value=_yes_no(settings.VIEWERHUB_OIDC_CREATE_USERS),
                variable="VIEWERHUB_OIDC_CREATE_USERS",
            ),
            Entry(
                label=_("Second factor required from staff"),
                value=_yes_no(requires_mfa),
                variable="VIEWERHUB_REQUIRE_MFA",
            ),
            _seconds(
                _("Sessions last"),
                settings.SESSION_COOKIE_AGE,
                "VIEWERHUB_SESSION_LIFETIME",
            ),
            Entry(
                label=_("Mail for password resets"),
                value=_yes_no(sends_mail()),
                variable="EMAIL_URL",
            ),
        ],
    )


def _yes_no(value: object) -> str:
    return _("Yes") if value else _("No")


def _seconds(label: str, value: float, variable: str) -> Entry:
    text = _("%(count)s seconds") % {
        "count": localize(int(value) if value == int(value) else value)
    }
    return Entry(label=label, value=text, variable=variable)


def _launches() -> Section:
    def seconds(label: str, name: str) -> Entry:
        variable = f"VIEWERHUB_{name}"
        return _seconds(label, getattr(settings, variable), variable)

    return Section(
        title=_("Launches and searches"),
        entries=[
            seconds(_("Launches stay open"), "LAUNCH_LIFETIME"),
            Entry(
                label=_("Days until launches are forgotten"),
                value=localize(settings.VIEWERHUB_LAUNCH_HISTORY_DAYS),
                variable="VIEWERHUB_LAUNCH_HISTORY_DAYS",
            ),
            seconds(_("Signed links hold at most"), "SIGNED_LINK_LIFETIME"),
            seconds(_("Weasis waits for archives"), "MANIFEST_DEADLINE"),
            seconds(_("A build ends after"), "BUILD_TIMEOUT"),
            seconds(_("Searches are kept"), "SEARCH_LIFETIME"),
            Entry(
                label=_("Studies listed from each archive"),
                value=localize(settings.VIEWERHUB_SEARCH_LIMIT),
                variable="VIEWERHUB_SEARCH_LIMIT",
            ),
            seconds(_("Quiet archives are checked after"), "ARCHIVE_CHECK_SECONDS"),
        ],
    )


def _images() -> Section:
    return Section(
        title=_("Images"),
        entries=[
            Entry(
                label=_("AE title for C-MOVE"),
                value=settings.VIEWERHUB_STORAGE_AE_TITLE,
                variable="VIEWERHUB_STORAGE_AE_TITLE",
            ),
            Entry(
                label=_("Port for C-MOVE"),
                value=str(settings.VIEWERHUB_STORAGE_PORT),
                variable="VIEWERHUB_STORAGE_PORT",
            ),
            Entry(
                label=_("Image cache in megabytes"),
                value=localize(settings.VIEWERHUB_IMAGE_CACHE_MB),
                variable="VIEWERHUB_IMAGE_CACHE_MB",
            ),
            _seconds(
                _("Images are kept"),
                settings.VIEWERHUB_IMAGE_CACHE_SECONDS,
                "VIEWERHUB_IMAGE_CACHE_SECONDS",
            ),
        ],
    )


def _versions() -> Section:
    entries = [Entry(label="Python", value=platform.python_version())]
    for package in ("viewerhub", *_PACKAGES):
        try:
            entries.append(Entry(label=package, value=version(package)))
        except PackageNotFoundError:
            continue  # the hub itself runs from its checkout
    return Section(title=_("Versions"), entries=entries)
