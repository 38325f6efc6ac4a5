"""How the REST API refuses: problem details (RFC 9457) for whatever goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from http import HTTPStatus
from inspect import iscoroutinefunction
from typing import Any, Final

from django.core.exceptions import RequestDataTooBig
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError
from redis.exceptions import RedisError

from launcher.api.idempotency import IdempotencyError
from launcher.criteria import CriteriaError, ForbiddenError, Problem
from launcher.problems import CONTENT_TYPE, problem_response
from launcher.services import QueueUnavailableError

# For mistakes in the shape of a request, by pydantic's type of the error.
_ADVICE: Final = {
    "missing": "This is required.",
    "extra_forbidden": "There is no field of this name.",
    "string_type": "Send a text.",
    "list_type": "Send a list.",
    "too_long": "Send at most {max_length}.",
    "model_type": "Send an object.",
    "model_attributes_type": "Send an object.",
    "int_type": "Send a whole number.",
    "int_parsing": "Send a whole number.",
    "string_too_long": "Send at most {max_length} characters.",
    "string_too_short": "Send at least {min_length} characters.",
    "string_pattern_mismatch": "Send visible ASCII characters without spaces.",
    "string_unicode": "Send valid Unicode.",
    "greater_than_equal": "Send {ge} or more.",
    "less_than_equal": "Send {le} or less.",
}

_UNAUTHENTICATED: Final = (
    "Send the key of an API client as “Authorization: Bearer …”. This request has none, "
    "or its client is disabled or has expired."
)
_MEANINGS: Final = {
    400: "Something in the request can't be used; errors names every problem.",
    401: "There is no valid API key in the request.",
    403: "The API client does not have the scope, or the archives allow no such identifier.",
    404: "There is no such launch of this API client.",
    409: "The idempotency key was used for another request, or the first is under way.",
    413: "The body is too large.",
    503: "The hub's queue is not reachable, and nothing was stored. Try again.",
}


def needs_scope(scope: str) -> str:
    return (
        f"This API client needs the scope “{scope}” for that. Ask your administrator."
    )


def refusals(*statuses: int) -> dict[int, Any]:
    """OpenAPI's description of these responses."""
    return {status: _refusal(status) for status in statuses}


def _refusal(status: int) -> dict[str, Any]:
    reference = {"$ref": "#/components/schemas/ProblemDetails"}
    response: dict[str, Any] = {
        "description": _MEANINGS[status],
        "content": {CONTENT_TYPE: {"schema": reference}},
    }
    if status == HTTPStatus.UNAUTHORIZED:
        response["headers"] = {
            "WWW-Authenticate": {"required": True, "schema": {"type": "string"}}
        }
    return response


def handle_errors(api: NinjaAPI) -> None:
    """Have ``api`` answer everything that goes wrong as problem details."""
    handlers: dict[type[Exception], Any] = {
        ValidationError: _bad_shape,
        CriteriaError: _bad_values,
        AuthenticationError: _no_client,
        HttpError: _http_error,
        Http404: _not_found,
        RequestDataTooBig: _too_large,
        IdempotencyError: _conflict,
        QueueUnavailableError: _unavailable,
        RedisError: _unavailable,
    }
    for error, handler in handlers.items():
        api.add_exception_handler(error, handler)


def _refuse(status: int, *problems: Problem) -> HttpResponse:
    return problem_response(status, HTTPStatus(status).phrase, problems)


def _bad_shape(request: HttpRequest, error: ValidationError) -> HttpResponse:
    return _refuse(400, *map(_shape_problem, error.errors))


def _shape_problem(error: dict[str, Any]) -> Problem:
    context = error.get("ctx", {})
    if error["type"] == "value_error":
        message = str(context["error"])
    elif advice := _ADVICE.get(error["type"]):
        message = advice.format(**context)
    else:
        message = f"{error['msg']}."
    return Problem(field=_path(error["loc"]), message=message)


def _path(location: Sequence[str | int]) -> str:
    """``series[0].series_instance_uid`` of pydantic's location of an error.

    It begins with where the value was, and for a body with the name of the argument.
    """
    source, *steps = location
    steps = steps[1:] if source == "body" else steps[-1:]
    path = "".join(f"[{s}]" if isinstance(s, int) else f".{s}" for s in steps)
    return path.removeprefix(".")


def bad_values(error: CriteriaError) -> HttpResponse:
    status = 403 if isinstance(error, ForbiddenError) else 400
    return _refuse(status, *error.problems)


def _bad_values(request: HttpRequest, error: CriteriaError) -> HttpResponse:
    return bad_values(error)


def forbidden(message: str) -> HttpResponse:
    return _refuse(403, Problem(field="", message=message))


def unauthenticated() -> HttpResponse:
    response = _refuse(401, Problem(field="", message=_UNAUTHENTICATED))
    response["WWW-Authenticate"] = 'Bearer realm="ViewerHub"'
    return response


def _no_client(request: HttpRequest, error: AuthenticationError) -> HttpResponse:
    return unauthenticated()


def _http_error(request: HttpRequest, error: HttpError) -> HttpResponse:
    status, message = error.status_code, error.message
    if isinstance(error.__cause__, ValueError | RecursionError):
        message = "The body is not JSON."
    return _refuse(status, Problem(field="", message=message))


def _too_large(request: HttpRequest, error: RequestDataTooBig) -> HttpResponse:
    return _refuse(413, Problem(field="", message="Send a smaller body."))


def _not_found(request: HttpRequest, error: Http404) -> HttpResponse:
    message = "There is nothing at this address, or it belongs to another API client."
    return _refuse(404, Problem(field="", message=message))


def refuse_methods(view: Callable[..., Any]) -> Callable[..., Any]:
    """A view whose refusal of a method is problem details as well."""

    if iscoroutinefunction(view):

        @wraps(view)
        async def async_view(*args: Any, **kwargs: Any) -> HttpResponse:
            return _method_problem(await view(*args, **kwargs))

        return async_view

    @wraps(view)
    def sync_view(*args: Any, **kwargs: Any) -> HttpResponse:
        return _method_problem(view(*args, **kwargs))

    return sync_view


def _method_problem(response: HttpResponse) -> HttpResponse:
    if not isinstance(response, HttpResponseNotAllowed):
        return response
    allowed = response["Allow"]
    message = f"This address takes {allowed} only."
    problem = _refuse(405, Problem(field="", message=message))
    problem["Allow"] = allowed
    return problem


def _conflict(request: HttpRequest, error: IdempotencyError) -> HttpResponse:
    return _refuse(409, Problem(field="Idempotency-Key", message=str(error)))


def _unavailable(request: HttpRequest, error: Exception) -> HttpResponse:
    message = str(QueueUnavailableError())
    return _refuse(503, Problem(field="", message=message))
