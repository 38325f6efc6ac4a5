from __future__ import annotations

import json
import logging
import secrets
import sys
from collections.abc import Iterator
from io import StringIO
from logging.config import DictConfigurator  # type: ignore[attr-defined]
from typing import Any

import pytest
import structlog
from django.http import HttpRequest
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from viewerhub.logs import MASK, RouteFilter, logging_settings, scrub


class Lines(StringIO):
    """What was logged, decoded."""

    def decoded(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """The root logger's lines, written by the product's own handler."""
    stream = Lines()
    configurator = DictConfigurator(logging_settings("DEBUG"))
    formatter = configurator.configure_formatter(
        configurator.config["formatters"]["json"]
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    handler.addFilter(RouteFilter())
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel("DEBUG")
    yield stream
    root.removeHandler(handler)
    root.setLevel(level)


def scrubbed(**event: Any) -> dict[str, Any]:
    return dict(scrub(None, "info", event))


def test_scrub_masks_tokens_anywhere_in_a_text() -> None:
    token = secrets.token_urlsafe(32)
    texts = (
        f"/m/{token}",
        f"weasis://?%22http%3A%2F%2Fhub%2Fm%2F{token}%22",
        f"vh_{token}",
    )

    assert not any(token in scrubbed(event=text)["event"] for text in texts)


@given(st.binary(min_size=32, max_size=32))
def test_scrub_masks_nearly_every_token(content: bytes) -> None:
    """All that mix digits and letters of both cases, which 999 of 1,000 do."""
    import base64

    token = base64.urlsafe_b64encode(content).decode().rstrip("=")
    is_mixed = all(
        any(check(letter) for letter in token)
        for check in (str.isdigit, str.islower, str.isupper)
    )

    assert (scrubbed(event=token)["event"] == MASK) == is_mixed


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "client_secret",
        "csrf_token",
        "Authorization",
        "patient_id",
        "patientName",
    ],
)
def test_scrub_masks_values_by_their_name(name: str) -> None:
    assert scrubbed(**{name: "1CT1"}) == {name: MASK}
    assert scrubbed(inner=[{name: "1CT1"}]) == {"inner": [{name: MASK}]}


def test_scrub_masks_parameters_and_passwords_in_addresses() -> None:
    text = "/weasis?patientID=1CT1&studyUID=1.2.3 from redis://:word@127.0.0.1:6379/0"

    event = scrubbed(event=text)["event"]

    assert (
        event
        == f"/weasis?patientID={MASK}&studyUID=1.2.3 from redis://:{MASK}@127.0.0.1:6379/0"
    )


def test_scrub_keeps_what_operators_need() -> None:
    event = {
        "event": "build_finished",
        "build_id": "0b16fd6f-e472-4875-b3a8-e879e02a8fef",
        "study": "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322.99999999999999",
        "function": "test_a_long_name_of_a_function_with_digits_like_3_in_it",
        "count": 3000,
        "is_complete": True,
        "error": None,
    }

    assert scrubbed(**event) == event


@pytest.mark.django_db
def test_request_log_names_the_route_and_neither_path_nor_query(
    lines: Lines, client: Client
) -> None:
    client.get("/launch/0b16fd6f-e472-4875-b3a8-e879e02a8fef/?patientID=1CT1&x=MARKER")
    client.get("/nothing/here/MARKER?patientID=1CT1")

    finished = [line for line in lines.decoded() if line["event"] == "request_finished"]
    assert [line["request"] for line in finished] == [
        "GET /launch/<uuid:launch_id>/",
        "GET (no route)",
    ]
    assert finished[0]["ip"] == "127.0.0.1"
    assert "1CT1" not in lines.getvalue()
    assert "MARKER" not in lines.getvalue()


@pytest.mark.django_db
def test_request_log_ignores_addresses_that_clients_claim(
    lines: Lines, client: Client
) -> None:
    client.get("/livez", headers={"x-forwarded-for": "203.0.113.9"})

    assert "203.0.113.9" not in lines.getvalue()


def test_route_filter_replaces_the_paths_of_django(lines: Lines) -> None:
    request = HttpRequest()
    request.method, request.path, request.path_info = "GET", "/m/MARKER", "/m/MARKER"

    logging.getLogger("django.request").error(
        "%s: %s", "Internal Server Error", request.path, extra={"request": request}
    )

    (line,) = lines.decoded()
    assert line["event"] == "Internal Server Error: GET (no route)"


def test_log_lines_of_libraries_have_their_traceback_and_context(lines: Lines) -> None:
    with structlog.contextvars.bound_contextvars(request_id="4711"):
        try:
            raise ValueError("broken")
        except ValueError:
            logging.getLogger("library").exception("failed", exc_info=sys.exc_info())

    (line,) = lines.decoded()
    assert line["request_id"] == "4711"
    assert "ValueError: broken" in line["exception"]
