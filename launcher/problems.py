"""Problem details (RFC 9457), as launch URLs and the API answer what they can't do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from django.http import JsonResponse

from launcher.criteria import Problem

CONTENT_TYPE: Final = "application/problem+json"
# More than a request of the right shape can have.
MAXIMUM_ERRORS: Final = 2000


def problem_response(
    status: int, title: str, problems: Sequence[Problem]
) -> JsonResponse:
    """Every problem at once; ``field`` is empty where none of the fields is to blame."""
    data = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": _detail(problems),
        "errors": [
            {"field": p.field, "message": p.message} for p in problems[:MAXIMUM_ERRORS]
        ],
    }
    return JsonResponse(data, status=status, content_type=CONTENT_TYPE)


def _detail(problems: Sequence[Problem]) -> str:
    if len(problems) != 1:
        return f"{len(problems)} problems: see errors."
    (only,) = problems
    return f"{only.field}: {only.message}" if only.field else only.message
