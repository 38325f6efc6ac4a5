"""Images straight from the archive, in every way that its preset says Weasis can take."""

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
from launcher.models import LaunchTemplate
from launcher.tasks import build_manifest
from launcher.weasis import RsArchive, open_dicom_rs
from tests.asgi import serve_hub
from tests.factories import make_launch
from tests.vendors.files import files_of
from tests.vendors.products import HEAD, KNEE, running
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
EXPECTED = {
    "series": (SERIES, {"1.2.1.2.1", "1.2.1.2.2", "1.2.1.2.3"}),
    "image": (IMAGE, {"1.2.1.2.3"}),
    "issuer": (ISSUER, files_of([HEAD, KNEE]).keys()),
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
