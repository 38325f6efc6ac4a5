from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import date
from typing import Any

from archives.entities import Study, VerificationStep
from tests.archives.clients.test_tls import SERVER, TRUSTED, server_context
from tests.dicomweb_server import DicomWebServer, content, status
from tests.dicomweb_studies import make_study, serving

OLD = make_study("1.1", study_date="20100704")
RECENT = make_study("1.2", study_date=f"{date.today():%Y%m%d}")


def verify(
    *studies: Study,
    prepare: Callable[[DicomWebServer], None] = lambda server: None,
    **options: Any,
) -> tuple[VerificationStep, ...]:
    async def main() -> tuple[VerificationStep, ...]:
        async with serving(*studies, **options) as (client, server):
            prepare(server)
            return await client.verify()

    return asyncio.run(main())


def test_verify_tells_of_each_step():
    steps = verify(OLD, RECENT)

    assert [step.name for step in steps] == ["Reached", "Query", "Image"]
    assert all(step.is_ok and step.milliseconds > 0 for step in steps)
    assert f"{date.today():%Y-%m-%d}" in steps[1].message
    assert "WADO-RS" in steps[2].message


def test_verify_shows_no_patient_data():
    messages = " ".join(step.message for step in verify(OLD))

    assert "2010-07-04" in messages
    for secret in ("P1", "Doe", "1.1"):
        assert secret not in messages.replace("127.0.0.1", "")


def test_verify_tells_of_tls(tmp_path):
    steps = verify(OLD, context=server_context(tmp_path), endpoint={"tls": TRUSTED})

    assert [step.name for step in steps] == ["Reached", "TLS", "Query", "Image"]
    assert "TLSv1.3" in steps[1].message
    assert "valid until 20" in steps[1].message


def test_verify_ends_at_a_certificate_that_is_not_trusted(tmp_path):
    steps = verify(OLD, context=server_context(tmp_path, SERVER))

    assert [(step.name, step.is_ok) for step in steps] == [
        ("Reached", True),
        ("TLS", False),
    ]
    assert "unknown CA" in steps[-1].message


def test_verify_ends_where_nobody_listens():
    (step,) = verify(OLD, endpoint={"url": "http://127.0.0.1:1/dicom-web"})

    assert (step.name, step.is_ok) == ("Reached", False)
    assert "refuses connections" in step.message


def test_verify_of_an_empty_archive_is_well():
    steps = verify()

    assert [(step.name, step.is_ok) for step in steps] == [
        ("Reached", True),
        ("Query", True),
    ]
    assert "holds no studies" in steps[-1].message


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

    steps = asyncio.run(main())

    assert steps[-1].is_ok
    assert "WADO-URI" in steps[-1].message
