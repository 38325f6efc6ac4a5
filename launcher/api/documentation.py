"""The OpenAPI document of the REST API and its page, served by the hub alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Final

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, URLResolver
from ninja import NinjaAPI, Swagger
from ninja.openapi.schema import REF_TEMPLATE, OpenAPISchema

from launcher.api.errors import refuse_methods, unauthenticated
from launcher.api.schemas import ProblemDetails
from launcher.launching.callers import authenticate, bearer_token, is_trusted

DESCRIPTION: Final = """\
Open studies in Weasis from a RIS, an EMR or a script, and search the hub's archives.

**Key.** An administrator makes an *API client* in the admin, or with `manage.py
create_api_client NAME --scopes launch,search,archives`, and chooses its scopes, archives
and expiry. Send its key with every request: `Authorization: Bearer vh_...`.

**Errors** are problem details (RFC 9457, `application/problem+json`). `errors` names every
problem at once, each with its field.

**Archives that fail** never hide the others: each archive has its own state, and a message
that says what to do.

**Patient data** belongs into bodies: addresses are logged on their way. So launch with `POST
/api/v1/launches`, and search with `POST /api/v1/studies/search`.
"""

View = Callable[..., HttpResponse]


def _for_readers(view: View) -> View:
    """Only for users, API clients with any scope, and networks the hub trusts."""

    @wraps(view)
    def documentation(request: HttpRequest, **options: Any) -> HttpResponse:
        if key := bearer_token(request):
            may_read = authenticate(key) is not None
        else:
            is_member = request.user.is_authenticated
            may_read = is_member or is_trusted(request.META.get("REMOTE_ADDR", ""))
            if not may_read and "text/html" in request.headers.get("Accept", ""):
                return redirect_to_login(request.path)
        return view(request, **options) if may_read else unauthenticated()

    return documentation


class DocumentedApi(NinjaAPI):
    """Answers every refusal as ``ProblemDetails``, and says so."""

    def __init__(self) -> None:
        super().__init__(
            title="ViewerHub",
            version="1",
            description=DESCRIPTION,
            urls_namespace="api",
            # Swagger would have the document checked by a site elsewhere.
            docs=Swagger({"validatorUrl": None, "tryItOutEnabled": True}),
            docs_decorator=_for_readers,
        )

    @property
    def urls(self) -> tuple[list[URLResolver | URLPattern], str, str]:
        patterns, app_name, namespace = super().urls
        for pattern in patterns:
            if isinstance(pattern, URLPattern):
                pattern.callback = refuse_methods(pattern.callback)
        return patterns, app_name, namespace

    def get_openapi_schema(self, **options: Any) -> OpenAPISchema:
        document = super().get_openapi_schema(**options)
        problem = ProblemDetails.model_json_schema(ref_template=REF_TEMPLATE)
        schemas = document["components"]["schemas"]
        schemas |= problem.pop("$defs") | {ProblemDetails.__name__: problem}
        return document
