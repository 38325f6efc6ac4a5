from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from archives.clients.steps import clock_finding
from archives.entities import Study, VerificationStep
from tests.archives.clients.test_tls import (
    AUTHORITY,
    SERVER,
    TRUSTED,
    make_certificate,
    server_context,
)
from tests.dicomweb_server import DicomWebServer, content, status
from tests.dicomweb_studies import make_study, serving
from tests.loops import run

OLD = make_study("1.1", study_date="20100704")
TODAY = date.today()
RECENT = make_study("1.2", study_date=f"{TODAY:%Y%m%d}")


def verify(
    *studies: Study,
    prepare: Callable[[DicomWebServer], None] = lambda server: None,
    **options: Any,
) -> tuple[VerificationStep, ...]:
    async def main() -> tuple[VerificationStep, ...]:
        async with serving(*studies, **options) as (client, server):
            prepare(server)
            return await client.verify()

    return run(main())


def test_verify_tells_of_each_step():
    steps = verify(OLD, RECENT)

    assert [step.name for step in steps] == ["Reached", "Query", "Clock", "Image"]
    assert all(step.is_ok and step.milliseconds > 0 for step in steps)
    assert f"{TODAY:%Y-%m-%d}" in steps[1].message
    assert "agrees" in steps[2].message
    assert "WADO-RS" in steps[3].message


def test_verify_shows_no_patient_data():
    messages = " ".join(step.message for step in verify(OLD))

    assert "2010-07-04" in messages
    for secret in ("P1", "Doe", "1.1"):
        assert secret not in messages.replace("127.0.0.1", "")


def test_verify_tells_of_tls(tmp_path):
    steps = verify(OLD, context=server_context(tmp_path), endpoint={"tls": TRUSTED})

    assert [step.name for step in steps] == [
        "Reached",
        "TLS",
        "Query",
        "Clock",
        "Image",
    ]
    assert "TLSv1.3" in steps[1].message
    assert "valid until 20" in steps[1].message


def test_verify_ends_at_a_certificate_that_is_not_trusted(tmp_path):
    steps = verify(OLD, context=server_context(tmp_path, SERVER))

    assert [(step.name, step.is_ok) for step in steps] == [
        ("Reached", True),
        ("TLS", False),
    ]
    assert "unknown CA" in steps[-1].message


def test_verify_warns_of_a_certificate_that_ends_soon(tmp_path):
    expires = datetime.now(UTC) + timedelta(days=12, hours=1)
    pair = make_certificate(issued_by=AUTHORITY, expires=expires)

    steps = verify(
        OLD, context=server_context(tmp_path, pair), endpoint={"tls": TRUSTED}
    )

    assert [(step.name, step.is_warning) for step in steps[:2]] == [
        ("Reached", False),
        ("TLS", True),
    ]
    assert "ends in 12 days" in steps[1].message
    assert all(step.is_ok for step in steps)


@pytest.mark.parametrize(
    ("hours", "words"),
    [
        (0, "agrees"),
        (2.4, "2 hours ahead"),
        (-3, "3 hours behind"),
        (-0.1, "6 minutes behind"),
    ],
)
def test_verify_compares_clocks(hours, words):
    def set_clock(server: DicomWebServer) -> None:
        date = datetime.now(UTC) + timedelta(hours=hours)
        server.answer_with("*/studies", content(b"[]", Date=format_datetime(date)))

    steps = verify(prepare=set_clock)

    assert (steps[-1].name, steps[-1].is_ok) == ("Clock", True)
    assert words in steps[-1].message
    assert steps[-1].is_warning is bool(hours)


@pytest.mark.parametrize("date", ["", "yesterday", "Fri, 31 Dec 9999 23:59:59 -2300"])
def test_verify_goes_on_where_an_archive_does_not_tell_its_time(date):
    def set_clock(server: DicomWebServer) -> None:
        server.answer_with("*/studies", content(b"[]", Date=date))

    steps = verify(prepare=set_clock)

    assert (steps[-1].name, steps[-1].is_warning) == ("Clock", False)
    assert (steps[-1].is_ok, steps[-1].is_unknown) == (True, True)
    assert "not compared" in steps[-1].message


@pytest.mark.parametrize(
    ("seconds", "is_warning"), [(-62, True), (-60, False), (60, False), (61, True)]
)
def test_clocks_may_differ_by_a_minute(seconds, is_warning):
    """And by what the header leaves out: its second may have begun just before."""
    now = datetime(2026, 1, 31, 12, tzinfo=UTC)
    date = format_datetime(now + timedelta(seconds=seconds))

    assert clock_finding(date, now, now).is_warning is is_warning


def test_verify_ends_where_nobody_listens():
    (step,) = verify(OLD, endpoint={"url": "http://127.0.0.1:1/dicom-web"})

    assert (step.name, step.is_ok) == ("Reached", False)
    assert "refuses connections" in step.message


def test_verify_of_an_empty_archive_is_well():
    steps = verify()

    assert [(step.name, step.is_ok) for step in steps] == [
        ("Reached", True),
        ("Query", True),
        ("Clock", True),
    ]
    assert "holds no studies" in steps[1].message


def test_verify_doubts_an_address_without_dicomweb():
    steps = verify(
        prepare=lambda server: server.answer_with("/dicom-web/*", status(404))
    )

    assert (steps[-1].name, steps[-1].is_ok) == ("Query", False)
    assert "no DICOMweb service at this address" in steps[-1].message


def test_verify_says_that_the_login_is_refused():
    steps = verify(OLD, login="viewer:right")

    assert (steps[-1].name, steps[-1].is_ok) == ("Query", False)
    assert "user name" in steps[-1].message


def test_verify_says_that_images_do_not_come():
    def break_images(server: DicomWebServer) -> None:
        page = content(b"<html>", media_type="text/html")
        server.answer_with("*/instances/*", page)

    steps = verify(OLD, prepare=break_images)

    assert (steps[-1].name, steps[-1].is_ok) == ("Image", False)
    assert "something else than a DICOM file" in steps[-1].message


def test_verify_retrieves_by_wado_uri_where_it_is_configured():
    async def main() -> tuple[VerificationStep, ...]:
        async with serving(OLD) as (_, server):
            endpoint = {
                "url": server.url,
                "wado_uri_url": server.url.replace("dicom-web", "wado"),
            }
            async with serving(endpoint=endpoint) as (client, _):
                steps = await client.verify()
            assert server.requests[-1].path == "/wado"
            return steps

    steps = run(main())

    assert steps[-1].is_ok
    assert "WADO-URI" in steps[-1].message
