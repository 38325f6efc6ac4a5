"""The table of products: complete, and in agreement with the settings of an archive."""

import re
import shlex
from pathlib import Path
from urllib.parse import unquote

import pytest

from archives.entities import PatientIdentifier, Selection
from archives.management.commands.add_archive import Command
from archives.management.logins import chosen_login
from archives.models import Archive
from archives.presets import DICOMWEB, DIMSE, PRESETS, LaunchMode, offering
from launcher.weasis import RsArchive, open_dicom_rs
from tests.token_server import service_account_key

FIELDS = {field.name for field in Archive._meta.get_fields()}
DIMSE_PRODUCTS = [preset.slug for preset in offering(DIMSE)]
DICOMWEB_PRODUCTS = [preset.slug for preset in offering(DICOMWEB)]

LOGIN = {
    "bearer_token": "t",
    "token_url": "https://login.example.org/token",
    "client_id": "hub",
    "client_secret": "s",
    "service_account_key": service_account_key("https://login.example.org/token")[0],
    "aws_region": "us-east-1",
    "aws_access_key_id": "AKIDEXAMPLE",
    "aws_secret_access_key": "s",
}
# What a token of Weasis's own would be sent as.
WITH_TOKENS = ("bearer", "oauth2", "google")


def filled(preset, protocol):
    """An archive with what the preset fills in, and what the administrator adds."""
    entered = {"host": "127.0.0.1", "port": 104, "called_ae_title": "PACS"}
    if protocol == DICOMWEB:
        entered = {"url": "http://127.0.0.1/dicom-web", "username": "u"}
        entered |= LOGIN
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
        if preset.authentication in WITH_TOKENS:
            assert LaunchMode.DICOM_RS not in preset.launch_modes


# The documentation

DOCUMENT = (Path(__file__).parents[2] / "docs" / "archives.md").read_text()
SECTIONS = dict(
    section.split("\n", 1) for section in re.split(r"^## ", DOCUMENT, flags=re.M)[1:]
)
RS_PRODUCTS = [slug for slug in DICOMWEB_PRODUCTS if slug != "healthimaging"]


def test_every_product_has_a_section_in_the_same_order():
    names = ["Authentication", *(preset.name for preset in PRESETS.values())]
    assert list(SECTIONS) == names


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.slug)
def test_documented_commands_register_the_product(preset):
    command = r"^\.venv/bin/python manage\.py add_archive (.+?)(?: < .+)?$"
    lines = re.findall(command, SECTIONS[preset.name], re.M)
    parser = Command().create_parser("manage.py", "add_archive")

    parsed = [parser.parse_args(shlex.split(line)) for line in lines]

    assert all(options.product == preset.slug for options in parsed)
    assert [bool(options.dicomweb) for options in parsed] == [
        protocol == DICOMWEB for protocol in preset.protocols
    ]
    for options in parsed:
        if options.dicomweb:
            assert options.dicomweb == preset.url
            login = chosen_login(vars(options)) or "none"
            assert login.replace("_key", "") == preset.authentication
            assert options.oauth2 in (None, preset.oauth2_url)
        elif preset.called_ae_title:
            assert options.dimse.startswith(f"{preset.called_ae_title}@")
            assert options.dimse.endswith(f":{preset.port}")


@pytest.mark.parametrize("slug", RS_PRODUCTS)
def test_documented_dicom_rs_command_is_what_weasis_gets(slug):
    preset = PRESETS[slug]
    (line,) = re.findall(r"^(\$.+)$", SECTIONS[preset.name], re.M)
    is_secured = preset.authentication in WITH_TOKENS
    headers = (("Authorization", "Bearer TOKEN"),) if is_secured else ()
    asked = RsArchive(
        preset.url, preset.query_extension, preset.repeats_parameters, headers
    )

    uri = open_dicom_rs([asked], Selection(study_instance_uids=("1.2.3",)))

    assert unquote(uri) == f"weasis://?{line}"


# The examples of Weasis's own documentation, character for character

PATIENT = Selection(patients=(PatientIdentifier(patient_id="ozp00SjY2xG"),))
CHEST_UID = "1.3.6.1.4.1.11129.5.5.184301693334578016850836775758484230512396"
CHEST = Selection(study_instance_uids=(CHEST_UID,))
PROSTATE_UID = "1.3.6.1.4.1.14519.5.2.1.4429.7055.198257099234774234268879426857"
PROSTATE = Selection(study_instance_uids=(PROSTATE_UID,))
DCM4CHEE_URL = "https://pacs2.test.com:8443/dcm4chee-arc/aets/DCM4CHEE/rs"
GOOGLE_URL = (
    "https://healthcare.googleapis.com/v1beta1/projects/chc-nih-chest-xray/locations/"
    "us-central1/datasets/nih-chest-xray/dicomStores/nih-chest-xray/dicomWeb"
)
EXAMPLES = {
    "dcm4chee, patient": (
        DCM4CHEE_URL,
        PATIENT,
        f'$dicom:rs --url "{DCM4CHEE_URL}" -r "patientID=ozp00SjY2xG" '
        '--query-ext "&includedefaults=false" -H "Authorization: Bearer token"',
    ),
    "dcm4chee, study": (
        DCM4CHEE_URL,
        CHEST,
        f'$dicom:rs --url "{DCM4CHEE_URL}" -r "studyUID={CHEST_UID}" '
        '--query-ext "&includedefaults=false" -H "Authorization: Bearer token"',
    ),
    "orthanc": (
        "https://demo.orthanc-server.com/dicom-web",
        PATIENT,
        '$dicom:rs --url "https://demo.orthanc-server.com/dicom-web" '
        '-r "patientID=ozp00SjY2xG"',
    ),
    "google": (
        GOOGLE_URL,
        CHEST,
        '$weasis:config pro="dicom.qido.query.multi.params true" '
        f'$dicom:rs --url "{GOOGLE_URL}" -r "studyUID={CHEST_UID}" '
        '-H "Authorization: Bearer token"',
    ),
    "dicomcloud": (
        "https://dicomcloud.azurewebsites.net/api",
        PROSTATE,
        '$dicom:rs --url "https://dicomcloud.azurewebsites.net/api" '
        f'-r "studyUID={PROSTATE_UID}"',
    ),
    "kheops": (
        "https://demo.kheops.online/api",
        PROSTATE,
        '$dicom:rs --url "https://demo.kheops.online/api" '
        f'-r "studyUID={PROSTATE_UID}" -H "Authorization: Bearer token"',
    ),
    "healthimaging-proxy": (
        "http://proxy.example.org:8080/aetitle",
        PROSTATE,
        '$dicom:rs --url "http://proxy.example.org:8080/aetitle" '
        f'-r "studyUID={PROSTATE_UID}"',
    ),
}


@pytest.mark.parametrize("example", EXAMPLES)
def test_dicom_rs_example_of_weasis_is_made_from_the_preset(example):
    url, selection, line = EXAMPLES[example]
    preset = PRESETS[example.partition(",")[0]]
    headers = (("Authorization", "Bearer token"),) if "-H" in line else ()
    asked = RsArchive(url, preset.query_extension, preset.repeats_parameters, headers)

    uri = open_dicom_rs([asked], selection)

    assert unquote(uri) == f"weasis://?{line}"
