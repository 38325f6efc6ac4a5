"""What Weasis can ask an archive for, and what it asks the hub for instead.

Straight from the archive in every way that its preset says Weasis can take, and through
the hub in all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from archives.entities import (
    InstanceIdentifier,
    PatientIdentifier,
    Selection,
    SeriesIdentifier,
)
from archives.models import Archive
from archives.presets import PRESETS, LaunchMode
from launcher.models import LaunchTemplate
from launcher.tasks import build_manifest
from launcher.weasis import RsArchive, open_dicom_rs
from tests.asgi import serve_hub
from tests.factories import make_launch
from tests.vendors.files import files_of
from tests.vendors.google import Google
from tests.vendors.products import HEAD, KNEE, VARIANTS, VENDORS, running
from tests.weasis_client import open_uri
from tests.weasis_result import Result

pytestmark = pytest.mark.django_db(transaction=True)

PATIENT = Selection(patients=(PatientIdentifier(patient_id="P1"),))
SERIES = Selection(
    series=(
        SeriesIdentifier(study_instance_uid="1.2.1", series_instance_uid="1.2.1.2"),
    )
)
IMAGE = Selection(
    instances=(
        InstanceIdentifier(
            study_instance_uid="1.2.1",
            series_instance_uid="1.2.1.2",
            sop_instance_uid="1.2.1.2.3",
        ),
    )
)
ISSUER = Selection(
    patients=(PatientIdentifier(patient_id="P1", issuer_of_patient_id="HOSPITAL"),)
)
BOTH = files_of([HEAD, KNEE])
EXPECTED = {
    "series": (SERIES, {"1.2.1.2.1", "1.2.1.2.2", "1.2.1.2.3"}),
    "image": (IMAGE, {"1.2.1.2.3"}),
    "issuer": (ISSUER, BOTH.keys()),
}


@pytest.fixture(scope="module")
def hub(valkey: Any) -> Iterator[str]:
    with serve_hub() as address:
        yield address


def launched(
    archive: Archive, selection: Selection, version: str = "4.7.2", **template: Any
) -> tuple[str, Result]:
    """The mode of a launch of the services, and what Weasis gets by it."""
    archive.save()
    chosen = LaunchTemplate.objects.create(name="T", slug="t", **template)
    started = make_launch([archive], selection=selection, template=chosen)
    build_manifest(str(started.launch.build_id))
    mode = "dicom_rs" if "dicom%3Ars" in started.uri else "manifest"
    return mode, open_uri(started.uri, version)


# What Weasis would ask, and the archive refuse


@pytest.mark.parametrize(
    ("product", "kind", "is_refused"),
    [
        ("google", "series", True),
        ("google", "image", True),
        ("google", "issuer", True),
        ("azure", "series", False),  # its documentation knows no lists of attributes
        ("azure", "issuer", True),
        ("kheops", "series", True),
        ("kheops", "image", True),
    ],
)
def test_what_an_archive_would_refuse_to_weasis_comes_by_a_manifest(
    product, kind, is_refused, hub, settings
):
    settings.VIEWERHUB_PUBLIC_URL = hub
    selection, expected = EXPECTED[kind]

    with running(product, is_open=True) as (server, archive):
        mode, result = launched(archive, selection, mode="dicom_rs")
        refused = list(server.refused)
        asked = RsArchive(archive.url, "", archive.product.repeats_parameters)
        otherwise = open_uri(open_dicom_rs([asked], selection))

    assert mode == "manifest"
    assert result.downloaded.keys() == expected
    assert result.failures == []
    assert not refused
    assert bool(server.refused) is is_refused
    assert is_refused is not bool(otherwise.downloaded)


# Straight from the archive

WAYS = {
    "wado_uri": {"retrieval": "wado_uri", "mode": "manifest"},
    "wado_rs": {"retrieval": "wado_rs", "mode": "manifest"},
    "dicom_rs": {"mode": "dicom_rs"},
}
# No workstation has a login for these: their images come through the hub.
LOCKED = ("google", "kheops", "healthimaging")


@pytest.mark.parametrize(
    ("product", "way"),
    [
        (product, str(mode))
        for product in VENDORS
        for mode in PRESETS[product].launch_modes
        if mode != LaunchMode.GATEWAY
    ],
)
def test_preset_names_ways_that_work(product, way, hub, settings):
    settings.VIEWERHUB_PUBLIC_URL = hub
    with running(product, is_open=product not in LOCKED) as (server, archive):
        if way == "wado_uri":
            archive.wado_uri_url = server.wado_address
        mode, result = launched(archive, PATIENT, **WAYS[way])
        place = hub if product in LOCKED else server.url.removesuffix("/dicom-web")

    assert mode == WAYS[way]["mode"]
    assert result.failures == []
    assert result.downloaded == BOTH
    images = [each.url for each in result.requests if each.kind == "image"]
    assert all(url.startswith(f"{place}/") for url in images)
    assert all(("requestType=WADO" in url) is (way == "wado_uri") for url in images)
    assert not server.refused


@pytest.mark.parametrize("product", [slug for slug in VENDORS if slug not in LOCKED])
def test_automatic_takes_the_first_way_of_the_preset(product, hub, settings):
    settings.VIEWERHUB_PUBLIC_URL = hub
    first = str(PRESETS[product].launch_modes[0])
    with running(product, is_open=True) as (server, archive):
        archive.wado_uri_url = server.wado_address if server.wado_path else ""
        mode, result = launched(archive, PATIENT)

    assert mode == WAYS[first]["mode"]
    images = [each.url for each in result.requests if each.kind == "image"]
    assert all(("requestType=WADO" in url) is (first == "wado_uri") for url in images)
    assert result.downloaded == BOTH


# Through the hub

THROUGH_HUB = {
    "dicom_rs": {"mode": "dicom_rs"},
    "wado_rs": {"retrieval": "wado_rs", "mode": "manifest"},
    "wado_rs_series": {"retrieval": "wado_rs_series", "mode": "manifest"},
}


@pytest.mark.parametrize("product", VENDORS | VARIANTS)
@pytest.mark.parametrize(
    ("way", "version"),
    [
        *((way, "4.7.2") for way in THROUGH_HUB),
        ("dicom_rs", "4.5.0"),
        ("dicom_rs", "4.7.0"),
    ],
)
def test_every_product_is_asked_through_the_hub(product, way, version, hub, settings):
    settings.VIEWERHUB_PUBLIC_URL = hub
    with running(product) as (server, archive):
        mode, result = launched(archive, PATIENT, version, **THROUGH_HUB[way])

    assert mode == THROUGH_HUB[way]["mode"]
    assert result.failures == []
    assert result.downloaded == BOTH
    assert all(each.url.startswith(hub) for each in result.requests)
    # A form in which it has no images is asked for, and then another.
    assert all(line.startswith("406") for line in server.refused)
    assert product == "healthimaging" or not server.refused


@pytest.mark.parametrize("product", VENDORS)
@pytest.mark.parametrize("kind", ["series", "image"])
def test_part_of_a_study_is_opened_through_the_hub(product, kind, hub, settings):
    settings.VIEWERHUB_PUBLIC_URL = hub
    selection, expected = EXPECTED[kind]
    with running(product) as (_, archive):
        mode, result = launched(archive, selection, mode="dicom_rs")

    assert mode == "dicom_rs"
    assert result.downloaded.keys() == expected
    assert result.dialogs == []


def test_quota_that_is_used_up_is_told(hub, settings):
    settings.VIEWERHUB_PUBLIC_URL = hub
    with running("google") as (server, archive):
        assert isinstance(server, Google)
        server.quota = 0
        _, result = launched(archive, PATIENT, mode="dicom_rs")

    assert result.downloaded == {}
    [message] = result.messages
    assert message.title == "The archive: not answering"
