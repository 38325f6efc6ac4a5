"""What the documents say of the code is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
# What others read: uvicorn, and the servers in the compose file.
FOREIGN = {"FORWARDED_ALLOW_IPS"}


def settings_read() -> set[str]:
    """The names of all variables that the configuration asks the environment for."""
    reader = re.compile(
        r"(?:env\.\w+|text|networks|https_origins|identity_providers|_secret)\(\s*\"([A-Z][A-Z_]+)\""
    )
    sources = [*(ROOT / "viewerhub").glob("*.py")]
    sources += (ROOT / "viewerhub" / "management").rglob("*.py")
    return {name for path in sources for name in reader.findall(path.read_text())}


def test_readme_lists_every_setting_and_no_other() -> None:
    table = re.findall(r"^\| `([A-Z_]+)` \|", (ROOT / "README.md").read_text(), re.M)

    assert len(table) == len(set(table))
    assert set(table) == settings_read()


def test_compose_passes_settings_that_exist() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]

    for name in ("migrate", "web", "worker", "beat"):
        assert set(services[name]["environment"]) - FOREIGN <= settings_read()


def test_compose_has_what_production_asks_for() -> None:
    settings = (ROOT / "viewerhub" / "settings.py").read_text()
    required = re.findall(
        r'"([A-Z_]+)"', settings.partition("require(\n")[2].partition(")")[0]
    )
    assert required

    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]

    assert set(required) <= set(services["web"]["environment"])


def test_compose_has_no_default_for_a_secret() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    secrets = re.findall(r"(?<!\$)\$\{([A-Z_]*(?:KEYS?|PASSWORD))(:[^}]*)?\}", text)

    assert len(secrets) >= 5
    for name, rest in secrets:
        assert rest.startswith(":?") or (name, rest) == ("ORTHANC_PASSWORD", ":-"), name


def test_compose_variables_are_explained_in_the_example() -> None:
    asked = set(
        re.findall(r"\$\{([A-Z_]+):\?", (ROOT / "docker-compose.yml").read_text())
    )
    example = set(re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.M))

    assert asked <= example


def test_example_environment_contains_no_secret() -> None:
    values = dict(
        re.findall(r"^([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.M)
    )

    assert not any(values[name] for name in values if re.search("KEY|PASSWORD", name))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_document_links_to_files_that_exist(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", document.read_text())

    assert [link for link in links if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_document_names_commands_that_exist(document: Path) -> None:
    text = document.read_text()
    make = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.M))
    commands = {path.stem for path in ROOT.glob("*/management/commands/*.py")}
    django = {
        "check",
        "collectstatic",
        "createsuperuser",
        "migrate",
        "shell",
        "makemessages",
        "makemigrations",
        "changepassword",
    }

    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.M)) <= make
    assert set(re.findall(r"manage\.py ([a-z_]+)", text)) <= commands | django


def test_documents_name_settings_that_exist() -> None:
    text = "".join(path.read_text() for path in DOCUMENTS)
    named = set(re.findall(r"\bVIEWERHUB_[A-Z_]+\b", text))

    others = {"VIEWERHUB_TEST_REQUIRE", "VIEWERHUB_ARCHIVE_PASSWORD"}
    assert {name.removesuffix("_FILE") for name in named} - others <= settings_read()


# Which test shows that a link of weasis-pacs-connector or ViewerHub works unchanged
SAME = {
    "GET /weasis": "test_documented_links.py::test_documented_link_opens_its_studies",
    "GET /manifest": "test_documented_links.py::test_documented_manifest_is_answered",
    "GET /display": "test_documented_links.py::test_documented_link_opens_its_studies",
    "GET /display/auth": "launcher/test_launch_flow.py"
    "::test_address_for_members_asks_networks_to_log_in",
    "POST /display": "launcher/test_launch_flow.py"
    "::test_posted_parameters_are_those_of_the_query",
    "patientID": "test_documented_links.py::test_documented_link_opens_its_studies",
    "studyUID": "test_documented_links.py::test_documented_link_opens_its_studies",
    "Several values: repeated, or between commas": "test_documented_links.py"
    "::test_documented_link_opens_its_studies",
    "Several kinds of identifiers": "test_documented_links.py"
    "::test_documented_link_opens_its_studies",
    "archive": "test_documented_links.py::test_documented_link_opens_its_studies",
    "arc.inherit.ids": "launcher/test_launch_flow.py"
    "::test_archive_answers_to_its_previous_names",
    "containsInDescription": "test_documented_links.py"
    "::test_documented_link_opens_its_studies",
    "requestType": "test_documented_links.py::test_documented_link_opens_its_studies",
    "viewer": "test_documented_links.py::test_documented_link_opens_its_studies",
    "user": "launcher/test_launch_flow.py"
    "::test_user_and_host_go_where_the_template_says",
    "encrypt.key": "launcher/test_launch_flow.py::test_encrypted_identifiers_are_read",
}


def rows_that_are_the_same() -> list[str]:
    """What the tables of both systems say of addresses and parameters: first names."""
    text = (ROOT / "docs" / "integration.md").read_text()
    tables = text.partition("## Coming from")[2]
    rows = re.findall(r"^\| (.+?) \| [^|]+ \| same", tables, re.M)
    first_names = [re.match(r"`([^`]+)`", row) for row in rows]
    return [
        name[1] if name else row for name, row in zip(first_names, rows, strict=True)
    ]


def test_what_is_the_same_in_other_hubs_is_tested() -> None:
    assert set(rows_that_are_the_same()) == set(SAME)

    for place in SAME.values():
        path, _, name = place.partition("::")
        assert f"def {name}(" in (ROOT / "tests" / path).read_text()


# Which tests show that an image display of IHE IID answers as the table says, by the
# first words of each row.
IID = {
    "requestType=PATIENT with one patientID": ["test_patient_request_opens_weasis"],
    "patientID in all forms of an HL7 CX": [
        "test_patient_identifier_may_have_an_assigning_authority"
    ],
    "requestType=STUDY with studyUID": ["test_study_request_opens_studies_by_uid"],
    "requestType=STUDY with accessionNumber": [
        "test_study_request_opens_studies_by_accession_number"
    ],
    "lowerDateTime, upperDateTime, mostRecentResults": [
        "test_filters_of_the_profile_are_kept",
        "test_studies_of_another_person_are_left_out",
        "test_dates_mean_the_reverse_where_the_template_says_so",
        "test_launch_flow.py::test_dates_have_the_meaning_of_the_client",
    ],
    "Identifiers that the request type does not use": [
        "test_identifiers_that_the_request_type_does_not_use_are_left_out",
        "test_iid.py::test_study_request_leaves_out_what_it_does_not_use",
    ],
    "Unknown parameters": ["test_unknown_parameters_are_ignored"],
    "No requestType, another one": [
        "test_request_that_breaks_the_rules_is_400",
        "test_iid.py::test_request_type_given_twice_is_refused",
    ],
    "PATIENT without patientID": [
        "test_request_that_breaks_the_rules_is_400",
        "test_iid.py::test_request_against_the_rules_names_every_problem",
    ],
    "A value that can't be read": [
        "test_request_that_breaks_the_rules_is_400",
        "test_hostile_parameters.py::test_hostile_requests_of_the_profile_are_refused",
    ],
    "Nobody the hub knows": [
        "test_request_from_elsewhere_is_401",
        "test_launch_flow.py"
        "::test_browser_comes_back_from_the_login_to_the_same_launch",
    ],
    "A kind of identifier that no archive allows": [
        "test_kind_of_identifier_no_archive_allows_is_403",
        "test_launch_flow.py::test_archive_that_is_named_must_allow_the_identifier",
    ],
    "A patient or study that no archive has": [
        "test_unknown_patient_or_study_is_404",
        "test_template_may_do_without_verifying",
    ],
    "An archive that does not answer": [
        "test_silent_archive_does_not_keep_weasis_from_starting",
        "../test_end_to_end.py::test_stopped_archives_are_named_before_the_deadline",
    ],
    "viewerType=IHE_BIR": ["test_basic_review_is_the_viewer_of_the_hub"],
    "viewerType with the short name of a viewer": ["test_viewer_type_names_a_viewer"],
    "viewerType with another name": [
        "test_wish_that_can_not_be_met_is_406",
        "test_viewer_type_is_not_overruled_by_a_template",
    ],
    "diagnosticQuality=true": [
        "test_diagnostic_quality_is_what_the_archive_has",
        "test_diagnostic_quality_of_a_template_with_loss_is_406",
        "test_diagnostic_quality_is_kept_where_images_come_as_they_are_stored",
    ],
    "keyImagesOnly=true": ["test_wish_that_can_not_be_met_is_406"],
    "diagnosticQuality or keyImagesOnly neither": [
        "test_request_that_breaks_the_rules_is_400"
    ],
    "Wishes that can't be met": ["test_wishes_and_mistakes_together_are_400"],
    "The queue can't be reached": ["test_no_queue_is_503"],
    "HEAD": ["test_head_judges_and_stores_nothing"],
    "POST (an extension)": [
        "test_launch_flow.py::test_posted_parameters_are_those_of_the_query",
        "test_other_methods_are_405",
    ],
}


def test_every_row_of_the_conformance_to_iid_is_tested() -> None:
    text = (ROOT / "docs" / "integration.md").read_text()
    table = text.partition("| Request | Answer |")[2].partition("\n\n")[0]
    rows = [row.replace("`", "") for row in re.findall(r"^\| ([^|]+) \|", table, re.M)]
    assert len(rows) == len(IID)
    for row, words in zip(rows, IID, strict=True):
        assert row.startswith(words)
    for place in [place for places in IID.values() for place in places]:
        path, _, name = place.rpartition("::")
        file = ROOT / "tests" / "launcher" / (path or "test_iid_urls.py")
        assert f"def {name}(" in file.read_text(), place


def test_every_feature_of_the_study_list_is_tested_or_says_why_not() -> None:
    text = (ROOT / "docs" / "development.md").read_text()
    table = text.partition("| Feature | Tests |\n|---|---|\n")[2].partition("\n\n")[0]
    rows = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", table, re.M))
    assert len(rows) == len(table.splitlines()) > 30
    for feature, shown in rows.items():
        places = re.findall(r"`([^`]+\.py)::(\w+)`", shown)
        assert places or shown.startswith("Not done: "), feature
        for path, name in places:
            assert f"def {name}(" in (ROOT / "tests" / path).read_text(), name
