"""The table of products: complete, and in agreement with the settings of an archive."""

import pytest

from archives.clients.base import HttpAuthentication
from archives.entities import Selection
from archives.models import Archive
from archives.presets import DICOMWEB, DIMSE, PRESETS, LaunchMode, offering
from launcher.weasis import RsArchive, decode, open_dicom_rs

FIELDS = {field.name for field in Archive._meta.get_fields()}
DIMSE_PRODUCTS = [preset.slug for preset in offering(DIMSE)]
DICOMWEB_PRODUCTS = [preset.slug for preset in offering(DICOMWEB)]


def filled(preset, protocol):
    """An archive with what the preset fills in, and what the administrator adds."""
    entered = {"host": "127.0.0.1", "port": 104, "called_ae_title": "PACS"}
    if protocol == DICOMWEB:
        entered = {"url": "http://127.0.0.1/dicom-web", "username": "u"}
        entered["bearer_token"] = "t"
    values = preset.initial(protocol)
    return Archive(
        name="N", slug="n", protocol=protocol, preset=preset.slug, **(entered | values)
    )


def test_every_product_of_the_integration_page_has_a_preset():
    assert list(PRESETS) == [
        "dcm4chee",
        "orthanc",
        "google",
        "azure",
        "dicomcloud",
        "kheops",
        "healthimaging",
        "healthimaging-proxy",
        "dicomweb",
        "dimse",
    ]
    assert DIMSE_PRODUCTS == ["dcm4chee", "orthanc", "dimse"]
    assert [slug for slug in PRESETS if slug != "dimse"] == DICOMWEB_PRODUCTS


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.slug)
def test_preset_makes_an_archive_that_is_valid(preset):
    for protocol in preset.protocols:
        assert set(preset.initial(protocol)) <= FIELDS
        assert set(preset.placeholders(protocol)) <= FIELDS
        archive = filled(preset, protocol)
        archive.full_clean(validate_unique=False, validate_constraints=False)
        assert archive.product is preset
        assert preset.instruction(protocol).endswith(".")


@pytest.mark.parametrize("slug", DICOMWEB_PRODUCTS)
def test_preset_shows_an_address_that_would_be_accepted(slug):
    preset = PRESETS[slug]
    values = {"url": preset.url, "wado_uri_url": preset.wado_uri_url}
    archive = Archive(name="N", slug="n", protocol=DICOMWEB, preset=slug, **values)

    archive.full_clean(validate_unique=False, validate_constraints=False)


@pytest.mark.parametrize("slug", DICOMWEB_PRODUCTS)
def test_preset_asks_for_no_page_larger_than_the_product_sends(slug):
    preset = PRESETS[slug]
    largest = preset.quirks.studies_per_page or preset.page_size
    assert preset.page_size <= largest


def test_products_that_want_a_password_are_not_opened_by_dicom_rs():
    """A token in the command would be seen by everybody, and be too long for Windows."""
    for preset in PRESETS.values():
        if preset.authentication is HttpAuthentication.BEARER:
            assert LaunchMode.DICOM_RS not in preset.launch_modes


STUDY = "1.3.6.1.4.1.14519.5.2.1.4429.7055.198257099234774234268879426857"
RS_LINES = {
    "dcm4chee": (
        '$dicom:rs --url "{url}" -r "studyUID={study}" '
        '--query-ext "&includedefaults=false" -H "Authorization: Bearer T"'
    ),
    "orthanc": '$dicom:rs --url "{url}" -r "studyUID={study}"',
    "google": (
        '$weasis:config pro="dicom.qido.query.multi.params true" '
        '$dicom:rs --url "{url}" -r "studyUID={study}" -H "Authorization: Bearer T"'
    ),
    "azure": (
        '$weasis:config pro="dicom.qido.query.multi.params true" '
        '$dicom:rs --url "{url}" -r "studyUID={study}" -H "Authorization: Bearer T"'
    ),
    "dicomcloud": '$dicom:rs --url "{url}" -r "studyUID={study}"',
    "kheops": (
        '$dicom:rs --url "{url}" -r "studyUID={study}" -H "Authorization: Bearer T"'
    ),
    "healthimaging-proxy": '$dicom:rs --url "{url}" -r "studyUID={study}"',
}


@pytest.mark.parametrize("slug", RS_LINES)
def test_dicom_rs_command_is_that_of_the_integration_page(slug):
    preset, line = PRESETS[slug], RS_LINES[slug]
    asked = RsArchive(preset.url, preset.query_extension, preset.repeats_parameters)
    headers = [("Authorization", "Bearer T")] if "-H" in line else []

    uri = open_dicom_rs(
        [asked], Selection(study_instance_uids=(STUDY,)), headers=headers
    )

    assert " ".join(decode(uri)) == line.format(url=preset.url, study=STUDY)
