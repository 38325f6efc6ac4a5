"""Pictures of series in the portal."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from archives.authentication import AnyUser
from archives.clients import Endpoint, open_client
from archives.entities import InstanceIdentifier
from archives.errors import ArchiveError
from archives.models import Archive
from launcher.gateway.contents import Listed
from launcher.gateway.pictures import picture_of_series
from launcher.manifest.ordering import instance_order
from launcher.search import store as search_store
from launcher.search.store import ShownSeries
from launcher.threads import in_thread
from launcher.views.access import member_required
from launcher.views.search import load_scope


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    archive_id: int
    endpoint: Endpoint


@member_required
@require_safe
async def series_thumbnail(
    request: HttpRequest, search_id: str, study_key: str, series_key: str
) -> HttpResponse:
    """What stands for a series in a page: a JPEG file that fits in 256 x 256 pixels.

    ``{% url "launcher:series_thumbnail" search.id row.key key %}``, where ``key`` is
    ``one.series_instance_uid|key_in:search`` of a series that ``search_study`` has listed
    to this user in this search. 404 for all else, and when the search has expired or the
    archive may no longer be used. The archive's own picture or one made from the middle
    image; an icon with the modality where there is none, or none after a few seconds.
    Pages should ask for those in sight alone (``loading="lazy"``).
    """
    scope = await load_scope(request, search_id)
    shown = archive = None
    if scope is not None:
        shown = await in_thread(
            search_store.shown_series, scope.search, study_key, series_key
        )
        archive = scope.archive(shown.slug) if shown else None
    if shown is None or archive is None:
        return HttpResponse(status=404)
    try:
        endpoint = archive.image_endpoint(request.user)
    except ArchiveError:  # it has no credentials that could be used
        return HttpResponse(status=404)
    source = _Source(archive_id=archive.pk, endpoint=endpoint)
    content = await picture_of_series(
        source, shown.modality, lambda: _middle(archive, shown, request.user)
    )
    return HttpResponse(
        content,
        content_type="image/jpeg",
        headers={"Content-Length": str(len(content))},
    )


async def _middle(archive: Archive, shown: ShownSeries, user: AnyUser) -> Listed | None:
    """The instance in the middle of a series; raises ``ArchiveError``."""
    async with open_client(archive.endpoint(user)) as client:
        found = await client.find_instances(
            shown.study_instance_uid, shown.series_instance_uid
        )
    if not found:
        return None
    instance = sorted(found, key=instance_order)[len(found) // 2]
    identifier = InstanceIdentifier(
        study_instance_uid=shown.study_instance_uid,
        series_instance_uid=shown.series_instance_uid,
        sop_instance_uid=instance.sop_instance_uid,
    )
    return Listed(identifier, instance.sop_class_uid, shown.modality)
