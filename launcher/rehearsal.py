"""What a call of an API client would be answered. Nothing is stored or carried out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.http import HttpResponse
from django.urls import reverse
from django.utils import timezone

from launcher.api.accepting import accept
from launcher.api.errors import bad_values, forbidden, needs_scope, unauthenticated
from launcher.api.schemas import LaunchCreated, LaunchRequest
from launcher.criteria import CriteriaError
from launcher.launching import judging
from launcher.launching.callers import Caller
from launcher.launching.launch import rehearse
from launcher.models import ApiClient, Launch
from launcher.services import rehearse_launch
from launcher.views.refusals import problem_of, unknown_caller
from launcher.weasis import example_manifest_url

_LAUNCH = ApiClient.Scope.LAUNCH
_NOBODY = UUID(int=0)


def answer_to_link(
    parameters: Sequence[tuple[str, str]], client: ApiClient, address: str
) -> HttpResponse:
    """The answer to ``GET /weasis`` with the client's key, from an address.

    Archives are asked where the launch would ask them, for at most as long.
    """
    if not client.is_active() or not client.has_scope(_LAUNCH):
        return unknown_caller()
    asked = judging.LaunchRequest(
        parameters=list(parameters), caller=Caller(api_client=client), address=address
    )
    try:
        location = rehearse(asked)
    except Exception as error:
        problem = problem_of(error)
        if problem is None:
            raise
        return problem
    return HttpResponse(status=302, headers={"Location": location})


def answer_to_call(body: Mapping[str, object], client: ApiClient) -> HttpResponse:
    """The answer to ``POST /api/v1/launches`` with the client's key."""
    if not client.is_active():
        return unauthenticated()
    if not client.has_scope(_LAUNCH):
        return forbidden(needs_scope(_LAUNCH.value))
    try:
        accepted = accept(LaunchRequest.model_validate(body), client)
        uri = rehearse_launch(
            selection=accepted.selection,
            archives=accepted.archives,
            template=accepted.template,
            needs_manifest=True,
        )
    except CriteriaError as error:
        return bad_values(error)
    hub = settings.VIEWERHUB_PUBLIC_URL
    created = LaunchCreated(
        id=_NOBODY,
        state=Launch.State.PENDING,
        weasis_uri=uri,
        manifest_url=example_manifest_url(hub),
        launch_url=f"{hub}{reverse('launcher:launch_detail', args=[_NOBODY])}",
        expires=timezone.now() + timedelta(seconds=settings.VIEWERHUB_LAUNCH_LIFETIME),
        archives=[archive.slug for archive in accepted.archives],
    )
    content = created.model_dump_json(indent=2)
    return HttpResponse(content, status=201, content_type="application/json")
