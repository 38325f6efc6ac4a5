"""The REST API for external systems, at ``/api/v1/``.

A request is made by an API client with its key; sessions do not count here, so nothing
another site makes a browser send has any effect.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated, Any, Final
from uuid import UUID

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import aget_object_or_404, get_object_or_404
from django.urls import reverse
from django.views.decorators.cache import cache_control
from ninja import Header, Query
from ninja.errors import AuthorizationError
from ninja.security import HttpBearer

from launcher.api.accepting import accept
from launcher.api.documentation import DocumentedApi
from launcher.api.errors import handle_errors, needs_scope, refusals
from launcher.api.idempotency import run_once
from launcher.api.schemas import (
    ArchiveList,
    LaunchArchive,
    LaunchCreated,
    LaunchRequest,
    LaunchStatus,
    ListedArchive,
    StudyFilters,
    StudySearch,
    StudySearchResult,
)
from launcher.api.studies import search_studies
from launcher.criteria import CriteriaError, Problem
from launcher.launching import callers
from launcher.launching.callers import Caller
from launcher.models import ApiClient, Launch
from launcher.services import ArchiveProgress, progress_of, start_launch
from launcher.services import revoke_launch as end_launch

Scope = ApiClient.Scope


class ApiKey(HttpBearer):
    """The key of an API client that has a scope."""

    openapi_description = "The key of an API client; shown once, when it was made."

    def __init__(self, scope: Scope) -> None:
        super().__init__()
        self.scope = scope

    def authenticate(self, request: HttpRequest, token: str) -> ApiClient | None:
        client = callers.authenticate(token.strip())
        if client and not client.has_scope(self.scope):
            raise AuthorizationError(message=needs_scope(self.scope))
        return client


api = DocumentedApi()
handle_errors(api)
# Patient data and tokens: nobody on the way may keep them.
api.add_decorator(cache_control(private=True, no_store=True), mode="view")

CREATED: Final = {
    201: {
        "headers": {
            "Location": {
                "required": True,
                "description": "Where the launch's state is.",
                "schema": {"type": "string", "format": "uri"},
            }
        }
    }
}


def _client(request: HttpRequest) -> ApiClient:
    client: ApiClient = request.auth  # type: ignore[attr-defined]
    return client


def _public(path: str) -> str:
    return f"{settings.VIEWERHUB_PUBLIC_URL}{path}"


@api.post(
    "/launches",
    auth=ApiKey(Scope.LAUNCH),
    response={201: LaunchCreated},
    tags=["Launches"],
    operation_id="create_launch",
    summary="Start a launch",
    openapi_extra={"responses": CREATED | refusals(400, 401, 403, 409, 413, 503)},
)
def create_launch(
    request: HttpRequest,
    body: LaunchRequest,
    response: HttpResponse,
    idempotency_key: Annotated[
        str | None,
        Header(
            None,
            alias="Idempotency-Key",
            min_length=1,
            max_length=255,
            pattern="^[!-~]+$",
            description="Within a day, the same request with the same key is carried "
            "out once and answered alike.",
        ),
    ] = None,
) -> LaunchCreated:
    """Start a launch. Send the user's browser to `weasis_uri` at once.

    The archives are asked meanwhile, and Weasis waits for them. The addresses are secrets
    that open the images until `expires`; they can't be asked for again.
    """
    client = _client(request)
    address = request.META.get("REMOTE_ADDR", "")
    answer = run_once(
        client,
        idempotency_key or "",
        json.dumps(body.model_dump(), sort_keys=True),
        lambda: _start(client, body, address).model_dump_json(),
    )
    created = LaunchCreated.model_validate_json(answer)
    location = reverse("api:launch_status", args=[created.id])
    response["Location"] = _public(location)
    return created


def _start(client: ApiClient, body: LaunchRequest, address: str) -> LaunchCreated:
    accepted = accept(body, client)
    started = start_launch(
        selection=accepted.selection,
        archives=accepted.archives,
        template=accepted.template,
        origin=Launch.Origin.API,
        api_client=client,
        address=address,
        needs_manifest=True,  # the answer has addresses of Weasis, whatever the viewer
    )
    launch = started.launch
    return LaunchCreated(
        id=launch.pk,
        state=launch.state,
        weasis_uri=started.uri,
        manifest_url=started.manifest_url,
        launch_url=_public(launch.get_absolute_url()),
        expires=launch.expires,
        archives=[archive.slug for archive in accepted.archives],
    )


@api.get(
    "/launches/{uuid:launch_id}",
    auth=ApiKey(Scope.LAUNCH),
    response=LaunchStatus,
    tags=["Launches"],
    operation_id="get_launch",
    summary="State of a launch",
    url_name="launch_status",
    openapi_extra={"responses": refusals(401, 403, 404, 503)},
)
async def get_launch(request: HttpRequest, launch_id: UUID) -> LaunchStatus:
    """What became of a launch of this client, and how each archive answered."""
    own = Launch.objects.of_client(_client(request)).select_related("build")
    launch = await aget_object_or_404(own, pk=launch_id)
    archives = await progress_of(launch)
    state = launch.state
    if state != Launch.State.REVOKED and not launch.is_open():
        state = Launch.State.EXPIRED
    return LaunchStatus(
        id=launch.pk,
        state=state,
        created=launch.created,
        expires=launch.expires,
        fetched=launch.fetched,
        viewer=launch.viewer,
        launch_url=_public(launch.get_absolute_url()),
        studies=_so_far(launch.build.studies, (one.studies for one in archives)),
        series=_so_far(launch.build.series, (one.series for one in archives)),
        instances=_so_far(launch.build.instances, (one.instances for one in archives)),
        archives=[_progress(one) for one in archives],
    )


def _so_far(known: int | None, counts: Iterable[int]) -> int:
    """What several archives hold counts once, as soon as all have answered."""
    return sum(counts) if known is None else known


def _progress(progress: ArchiveProgress) -> LaunchArchive:
    return LaunchArchive(
        archive=progress.slug,
        name=progress.archive,
        state=progress.state,
        message=progress.message,
        studies=progress.studies,
        series=progress.series,
        instances=progress.instances,
        total_series=progress.total_series,
        total_instances=progress.total_instances,
    )


@api.delete(
    "/launches/{uuid:launch_id}",
    auth=ApiKey(Scope.LAUNCH),
    response={204: None},
    tags=["Launches"],
    operation_id="revoke_launch",
    summary="Revoke a launch",
    openapi_extra={"responses": refusals(401, 403, 404)},
)
def revoke_launch(request: HttpRequest, launch_id: UUID) -> None:
    """Revoke a launch of this client: its addresses open nothing from now on.

    Revoking it again changes nothing.
    """
    own = Launch.objects.of_client(_client(request))
    launch = get_object_or_404(own, pk=launch_id)
    end_launch(launch)


SEARCH: Final[dict[str, Any]] = {
    "auth": ApiKey(Scope.SEARCH),
    "response": StudySearchResult,
    "tags": ["Studies"],
    "openapi_extra": {"responses": refusals(400, 401, 403, 413)},
}


@api.post(
    "/studies/search", operation_id="search_studies", summary="Search studies", **SEARCH
)
async def search_by_body(request: HttpRequest, body: StudySearch) -> StudySearchResult:
    """Search studies in all archives at once.

    Name at least three characters of a name, Patient ID or accession number, a birth
    date, or a period of at most 31 days: broader searches are refused. An archive that
    fails is named in `archives`, beside the studies of the others.
    """
    return await search_studies(body, Caller(api_client=_client(request)))


@api.get(
    "/studies",
    operation_id="list_studies",
    summary="Search studies by an address",
    **SEARCH,
)
async def search_by_query(
    request: HttpRequest, filters: Annotated[StudyFilters, Query(...)]
) -> StudySearchResult:
    """The same search, with its filters in the address.

    Addresses are kept in logs of proxies and in histories of browsers. To search by
    patient data, send `POST /api/v1/studies/search`.
    """
    if problems := _query_problems(request):
        raise CriteriaError(problems)
    return await search_studies(filters, Caller(api_client=_client(request)))


def _query_problems(request: HttpRequest) -> list[Problem]:
    """What the query holds that would be ignored, and so find the wrong studies."""
    problems = []
    for name, values in request.GET.lists():
        if name not in StudyFilters.model_fields:
            problems.append(Problem(field=name, message="There is no such filter."))
        elif len(values) > 1 and name not in {"modalities", "archives"}:
            problems.append(Problem(field=name, message="Give one value only."))
    return problems


@api.get(
    "/archives",
    auth=ApiKey(Scope.ARCHIVES),
    response=ArchiveList,
    tags=["Archives"],
    operation_id="list_archives",
    summary="List archives",
    openapi_extra={"responses": refusals(401, 403)},
)
def list_archives(request: HttpRequest) -> ArchiveList:
    """Archives this client may use; those that are not enabled are not asked."""
    return ArchiveList(
        archives=[
            ListedArchive(
                slug=archive.slug,
                name=archive.name,
                protocol=archive.protocol,
                images=archive.images,
                enabled=archive.is_enabled,
            )
            for archive in _client(request).allowed_archives()
        ]
    )


@api.api_operation(
    ["GET", "POST", "PUT", "PATCH", "DELETE"],
    "/{path:address}",
    include_in_schema=False,
)
def nowhere(request: HttpRequest, address: str) -> None:
    """What is at no other address is answered as problem details too."""
    raise Http404
