"""Who is calling a launch URL or the API, and what they may use."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.contrib.auth.models import User
from django.core.validators import slug_re
from django.http import HttpRequest
from django.utils import timezone

from archives.entities import Selection
from archives.models import Archive, ArchiveQuerySet, Identifier
from launcher.addresses import is_inside
from launcher.criteria import CriteriaError, ForbiddenError, Problem
from launcher.models import ApiClient, LaunchTemplate
from launcher.signed_links import SignedLink


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A user, an API client, or neither: an address of a trusted network.

    ``link`` is what a client signed to let others launch, once.
    """

    user: User | None = None
    api_client: ApiClient | None = None
    link: SignedLink | None = None

    @property
    def is_known(self) -> bool:
        """Whether it is somebody, and not just from somewhere."""
        return bool(self.user or self.api_client)

    def usable_archives(self) -> ArchiveQuerySet:
        if self.api_client:
            return self.api_client.usable_archives()
        return Archive.objects.usable_by(self.user)


def caller_of(request: HttpRequest) -> Caller | None:
    """The caller, or ``None`` if nothing entitles the request to launch.

    A key that is sent must be right: a wrong one is not made up for by a session.
    """
    if key := bearer_token(request):
        client = authenticate(key)
        may_launch = client and client.has_scope(ApiClient.Scope.LAUNCH)
        return Caller(api_client=client) if may_launch else None
    if isinstance(request.user, User) and request.user.is_active:
        return Caller(user=request.user)
    return Caller() if is_trusted(request.META.get("REMOTE_ADDR", "")) else None


def template_named(slug: str) -> LaunchTemplate:
    """The template of a launch, the default if it names none; ``CriteriaError``."""
    if not slug:
        return LaunchTemplate.objects.default()
    template = None
    if slug_re.fullmatch(slug):  # other texts may have what a database can't compare
        templates = LaunchTemplate.objects.select_related("viewer")
        template = templates.filter(slug=slug).first()
    if template is None:
        message = f"There is no launch template “{slug}”."
        raise CriteriaError([Problem(field="template", message=message)])
    return template


def archives_named(
    slugs: Sequence[str],
    caller: Caller,
    template: LaunchTemplate | None = None,
    *,
    field: str,
) -> list[Archive]:
    """Those a caller names, or the template's, or all the caller may use.

    Raises ``CriteriaError`` for the parameter ``field``.
    """
    usable = list(caller.usable_archives())
    if slugs:
        return _archives_by_slug(slugs, usable, field)
    chosen: set[int] = set()
    if template:
        chosen.update(template.archives.values_list("pk", flat=True))
    archives = [archive for archive in usable if not chosen or archive.pk in chosen]
    if not archives:
        message = "There is no archive you may use. Ask your administrator."
        raise CriteriaError([Problem(field=field, message=message)])
    return archives


def _archives_by_slug(
    slugs: Sequence[str], usable: Sequence[Archive], field: str
) -> list[Archive]:
    by_slug = {name: archive for archive in reversed(usable) for name in archive.names}
    by_slug |= {archive.slug: archive for archive in usable}
    unknown = [slug for slug in dict.fromkeys(slugs) if slug not in by_slug]
    if unknown:
        raise CriteriaError(
            Problem(
                field=field,
                message=f"There is no archive “{slug}”, or you may not use it.",
            )
            for slug in unknown
        )
    return list(dict.fromkeys(by_slug[slug] for slug in slugs))


def kinds_of(selection: Selection) -> list[str]:
    """The kinds of identifiers a selection uses, as archives allow them."""
    given = {
        Identifier.PATIENT_ID: selection.patients,
        Identifier.STUDY_UID: selection.study_instance_uids,
        Identifier.ACCESSION_NUMBER: selection.accession_numbers,
        Identifier.SERIES_UID: selection.series,
        Identifier.OBJECT_UID: selection.instances,
    }
    return [kind.value for kind, values in given.items() if values]


def archives_allowing(
    archives: Sequence[Archive], kinds: Collection[str], *, are_named: bool = False
) -> list[Archive]:
    """Those that may be asked by all of these kinds of identifiers (``studyUID``).

    Raises ``ForbiddenError`` if there is none, or for any that may not be where the
    caller named them.
    """
    if are_named and (disabled := list(_disabled(archives, kinds))):
        raise ForbiddenError(disabled)
    allowing = [one for one in archives if set(kinds) <= set(one.identifiers)]
    if allowing or not archives:
        return allowing
    nowhere = [
        kind for kind in kinds if not any(kind in one.identifiers for one in archives)
    ]
    message = "None of the archives may be asked by this. Name the studies another way."
    if not nowhere:
        message = "No archive may be asked by these together. Launch by one of them."
    raise ForbiddenError(
        Problem(field=kind, message=message) for kind in nowhere or kinds
    )


def _disabled(archives: Sequence[Archive], kinds: Collection[str]) -> Iterator[Problem]:
    for archive in archives:
        for kind in kinds:
            if kind not in archive.identifiers:
                message = (
                    f"The archive “{archive.slug}” may not be asked by this. Name the "
                    "studies another way, or leave that archive out."
                )
                yield Problem(field=kind, message=message)


def bearer_token(request: HttpRequest) -> str:
    """What follows ``Bearer`` in the Authorization header (RFC 6750); empty if nothing."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def authenticate(key: str) -> ApiClient | None:
    """The active client of a key; remembers, to the minute, when it was used."""
    client = ApiClient.objects.authenticate(key)
    if client:
        touch(client)
    return client


def touch(client: ApiClient) -> None:
    """Remember, to the minute, when a client was there last."""
    now = timezone.now()
    if not client.last_used or client.last_used < now - timedelta(minutes=1):
        ApiClient.objects.filter(pk=client.pk).update(last_used=now)


def is_trusted(address: str) -> bool:
    """Whether an IP address is in ``VIEWERHUB_TRUSTED_NETWORKS``."""
    return is_inside(address, settings.VIEWERHUB_TRUSTED_NETWORKS)
