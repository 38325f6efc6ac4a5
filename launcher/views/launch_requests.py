"""Reading launch requests: who sends them, and the parameters of query and body."""

from __future__ import annotations

import json
import re
from typing import Any, Final
from urllib.parse import parse_qsl

from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware

from launcher import signed_links
from launcher.criteria import CriteriaError, Problem
from launcher.launching import pending_launches
from launcher.launching.callers import Caller, caller_of
from launcher.launching.judging import LaunchRequest
from launcher.launching.links import caller_of_link
from launcher.launching.refusals import RefusedError, UnknownCallerError

# More than a browser sends; what is beyond is refused before it is parsed.
MAXIMUM_PARAMETERS: Final = 20_000
MAXIMUM_BODY: Final = 2**20

Pairs = list[tuple[str, str]]

# Half of a pair: JSON can escape it, but it is no character, and no answer can hold it.
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_NOT_TEXT: Final = "Send text in Unicode; this has a lone surrogate."


def read_request(
    request: HttpRequest, *, is_iid: bool = False, members_only: bool = False
) -> LaunchRequest:
    """What a GET, HEAD or POST asks for, and who is asking.

    Raises ``UnknownCallerError``, ``CriteriaError`` or ``RefusedError``.
    """
    body = read_body(request, MAXIMUM_BODY)
    caller = identify(request, body, members_only=members_only)
    return LaunchRequest(
        parameters=[*query_of(request), *_body_parameters(request, body)],
        caller=caller,
        address=address_of(request),
        is_iid=is_iid,
    )


def waiting_request(request: HttpRequest, launch_id: str) -> LaunchRequest | None:
    """A link that waited for a login; ``None`` if its user has not logged in yet.

    Raises ``RefusedError`` if there is none, or none any more.
    """
    caller = caller_of(request)
    if caller is None:
        return None
    pending = pending_launches.load(launch_id)
    if pending is None:
        message = (
            "This link waited too long for the login. Go back to where it came from, "
            "and open it again."
        )
        raise RefusedError(404, [Problem(field="", message=message)])
    if pending.members_only and not caller.is_known:
        return None
    return LaunchRequest(
        parameters=parse_parameters(pending.query),
        caller=caller,
        address=address_of(request),
        is_iid=pending.is_iid,
    )


def address_of(request: HttpRequest) -> str:
    return str(request.META.get("REMOTE_ADDR", ""))


def read_body(request: HttpRequest, maximum: int) -> bytes:
    """The body of a POST, empty for others; ``RefusedError`` (413) beyond ``maximum``."""
    if request.method != "POST":
        return b""
    body: bytes = request.read(maximum + 1)
    if len(body) > maximum:
        message = f"Send at most {maximum // 2**20} MB."
        raise RefusedError(413, [Problem(field="body", message=message)])
    return body


def identify(
    request: HttpRequest, body: bytes = b"", *, members_only: bool = False
) -> Caller:
    """Who is calling; raises ``UnknownCallerError`` or ``RefusedError``.

    A signed link counts for itself alone. ``members_only`` leaves out networks.
    """
    query = request.META.get("QUERY_STRING", "")
    if signed_links.is_signed(query):
        return caller_of_link(request.path, query, body)
    caller = caller_of(request)
    if caller is None or (members_only and not caller.is_known):
        raise UnknownCallerError
    if _needs_token(request, caller) and not _has_token(request):
        message = (
            "Programs send an API key or sign the link. Pages send the token of the "
            "hub's forms, as X-CSRFToken."
        )
        raise RefusedError(403, [Problem(field="", message=message)])
    return caller


def _needs_token(request: HttpRequest, caller: Caller) -> bool:
    """Whether another site may have made the caller's browser send this."""
    if request.method != "POST" or caller.api_client:
        return False
    from_browser = {"Origin", "Sec-Fetch-Site"} & set(request.headers)
    return caller.user is not None or bool(from_browser)


def _has_token(request: HttpRequest) -> bool:
    check = CsrfViewMiddleware(lambda _: HttpResponse())
    check.process_request(request)
    refused = check.process_view(request, None, (), {})  # type: ignore[arg-type]
    return refused is None


# Parameters


def query_of(request: HttpRequest) -> Pairs:
    return parse_parameters(request.META.get("QUERY_STRING", ""))


def parse_parameters(text: str) -> Pairs:
    """Names and values in the order they were sent, which ``QueryDict`` loses."""
    try:
        return parse_qsl(
            text,
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MAXIMUM_PARAMETERS,
        )
    except UnicodeDecodeError as error:
        message = "Encode the values in UTF-8 before percent-encoding them."
        raise CriteriaError([Problem(field="query", message=message)]) from error
    except ValueError as error:
        message = f"More than {MAXIMUM_PARAMETERS:,} parameters."
        raise CriteriaError([Problem(field="query", message=message)]) from error


def _body_parameters(request: HttpRequest, body: bytes) -> Pairs:
    if not body.strip():
        return []
    if request.content_type == "application/x-www-form-urlencoded":
        return parse_parameters(body.decode("ascii", errors="replace"))
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _bad_body("The body is not JSON.") from error
    if not isinstance(data, dict):
        raise _bad_body("Send a JSON object with the parameters as its names.")
    return _pairs(data)


def _pairs(data: dict[str, Any]) -> Pairs:
    pairs: Pairs = []
    problems: list[Problem] = []
    for name, value in data.items():
        if _SURROGATE.search(name):  # it can't be told, either
            problems.append(Problem(field="body", message=f"A name: {_NOT_TEXT}"))
            continue
        for item in value if isinstance(value, list) else [value]:
            match item:
                case None:
                    continue
                case str() if _SURROGATE.search(item):
                    problems.append(Problem(field=name, message=_NOT_TEXT))
                case bool():
                    pairs.append((name, str(item).lower()))
                case str() | int():
                    pairs.append((name, str(item)))
                case _:
                    message = "Give a text, or a list of texts."
                    problems.append(Problem(field=name, message=message))
                    break
    if problems:
        raise CriteriaError(dict.fromkeys(problems))
    if len(pairs) > MAXIMUM_PARAMETERS:
        raise _bad_body(f"More than {MAXIMUM_PARAMETERS:,} parameters.")
    return pairs


def _bad_body(message: str) -> CriteriaError:
    return CriteriaError([Problem(field="body", message=message)])
