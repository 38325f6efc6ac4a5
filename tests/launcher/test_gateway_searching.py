"""What of an archive's matches a viewer is told: nothing beyond its launch."""

import pytest

from archives.entities import (
    Instance,
    InstanceIdentifier,
    Selection,
    Series,
    SeriesIdentifier,
    Study,
)
from launcher.gateway.contents import index
from launcher.gateway.dicom_json import of_launch

STUDY = Study(
    study_instance_uid="1.2",
    series=(
        Series(
            series_instance_uid="1.2.3",
            modality="CT",
            instances=(Instance(sop_instance_uid="1.2.3.4"),),
        ),
    ),
)
WHOLE = Selection(study_instance_uids=("1.2",))
PART = Selection(
    series=(SeriesIdentifier(series_instance_uid="1.2.3", study_instance_uid="1.2"),)
)
IMAGE = Selection(
    instances=(
        InstanceIdentifier(
            sop_instance_uid="1.2.3.4",
            series_instance_uid="1.2.3",
            study_instance_uid="1.2",
        ),
    )
)
UIDS = ("1.2", "1.2.3", "1.2.3.4")
SENT = {
    tag: {"Value": [value]}
    for tag, value in {
        "00100020": "1",
        "00201200": 9,
        "00201202": 90,
        "00201204": 900,
        "00201206": 7,
        "00201208": 70,
        "00201209": 8,
        "00080061": "PT",
        "00080062": "1.2.840",
    }.items()
}


def told(selection, depth):
    found = of_launch(SENT, index([STUDY], selection), UIDS[:depth])
    return {tag: element["Value"][0] for tag, element in found.items()}


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("selection", [WHOLE, PART, IMAGE])
def test_numbers_of_other_studies_are_not_told(selection, depth):
    assert not told(selection, depth).keys() & {"00201200", "00201202", "00201204"}


@pytest.mark.parametrize("selection", [PART, IMAGE])
def test_nothing_is_told_of_the_rest_of_a_study(selection):
    of_study = {"00201206": 1, "00201208": 1, "00080061": "CT"}
    assert told(selection, 1) == {"00100020": "1", **of_study}
    assert told(selection, 2) == {"00100020": "1", "00201209": 1}
    assert told(selection, 3) == {"00100020": "1"}


def test_whole_study_is_told_as_the_archive_has_it():
    found = told(WHOLE, 1)

    assert (found["00080061"], found["00080062"]) == ("PT", "1.2.840")
    assert found["00201208"] == 1
