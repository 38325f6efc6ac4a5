"""Logs: one JSON object a line, with ids and routes, never with patient data or secrets.

Query strings carry patient IDs and paths carry launch tokens, so requests are named by
the pattern of their route. What slips through in the text of others is masked last.
"""

from __future__ import annotations

import logging
import re
from typing import Any, Final

import structlog
from django.http import HttpRequest
from structlog.types import EventDict, Processor, WrappedLogger

MASK: Final = "***"

_SECRET_NAME: Final = re.compile(
    r"passw|passcode|secret|token|authorization|cookie|api_?key|patient|accession",
    re.IGNORECASE,
)
# 256 bits or more in base64url hold, beyond any reasonable doubt, digits and letters of
# both cases; long names in the code do not.
_TOKEN: Final = re.compile(
    r"(?<![\w-])(?=[\w-]*\d)(?=[\w-]*[a-z])(?=[\w-]*[A-Z])[\w-]{43,}(?![\w-])"
)
_PARAMETER: Final = re.compile(
    r"\b((?:patient|accession|issuer|studyDesc|referring)\w*(?:=|%3D))[^&\s\"'<>]+",
    re.IGNORECASE,
)
_CREDENTIALS: Final = re.compile(r"(://[^/\s:@]*:)[^/\s@]+@")

_COMMON: Final[list[Processor]] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
]


def route_of(request: HttpRequest) -> str:
    """Method and route pattern, such as ``GET /m/<str:token>``."""
    match = request.resolver_match
    return f"{request.method} {f'/{match.route}' if match else '(no route)'}"


class RouteFilter(logging.Filter):
    """Replaces paths in the messages of Django's own loggers by the route."""

    def filter(self, record: logging.LogRecord) -> bool:
        request = getattr(record, "request", None)
        if isinstance(request, HttpRequest) and isinstance(record.args, tuple):
            paths = {request.path, request.path_info, request.get_full_path()}
            route = route_of(request)
            record.args = tuple(
                route if argument in paths else argument for argument in record.args
            )
        return True


def scrub(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Mask what must not be in a log, whoever wrote it."""
    return {name: _scrubbed(name, value) for name, value in event.items()}


def _scrubbed(name: str, value: Any) -> Any:
    if _SECRET_NAME.search(name):
        return MASK
    match value:
        case str():
            value = _TOKEN.sub(MASK, value)
            value = _PARAMETER.sub(rf"\1{MASK}", value)
            return _CREDENTIALS.sub(rf"\1{MASK}@", value)
        case dict():
            return {key: _scrubbed(str(key), item) for key, item in value.items()}
        case list() | tuple():
            return [_scrubbed("", item) for item in value]
        case None | bool() | int() | float():
            return value
        case _:
            return _scrubbed("", str(value))


def configure() -> None:
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_COMMON,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def logging_settings(level: str) -> dict[str, Any]:
    """Django's ``LOGGING``."""
    quiet = (
        "httpx2",
        "httpcore2",
        "pynetdicom",
        "pydicom",
        "celery.app.trace",
        "celery.worker.strategy",
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"routes": {"()": RouteFilter}},
        "formatters": {
            "json": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": _COMMON,
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    scrub,
                    structlog.processors.JSONRenderer(),
                ],
            }
        },
        "handlers": {
            "console": {
                "class": "logging.StreamHandler",
                "formatter": "json",
                "filters": ["routes"],
            }
        },
        "root": {"handlers": ["console"], "level": level},
        "loggers": {
            # Each response is logged once, by the middleware.
            "django.request": {"level": "ERROR"},
            **{name: {"level": "WARNING"} for name in quiet},
        },
    }
