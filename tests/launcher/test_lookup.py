"""What the archives told in time, as far as it counts."""

import pytest

from archives.entities import Patient, Study
from archives.models import Archive
from launcher.launching.lookup import Lookup

MAIN, OLD, DOWN = (Archive(pk=number, slug=str(number)) for number in (1, 2, 3))


def study(uid, day):
    return Study(
        study_instance_uid=uid,
        patient=Patient(patient_id="1"),
        study_date=f"2026010{day}",
        modalities_in_study=(f"M{day}",),
    )


OLDER, NEWER = study("1.1", 1), study("1.2", 2)


@pytest.fixture
def found():
    answers = {MAIN: (OLDER,), OLD: (OLDER, NEWER)}
    return Lookup(answers=answers, silent=(DOWN,), most_recent=1)


def test_newest_studies_are_those_of_all_archives(found):
    assert found.studies == (NEWER,)
    assert found.holders() == [OLD]
    assert found.modalities == {"M2"}


def test_answers_of_other_archives_do_not_count(found):
    main = found.of([MAIN])

    assert main.studies == (OLDER,)
    assert main.holders() == [MAIN]
    assert main.silent == ()
    assert found.of([DOWN]).studies == ()
    assert not found.of([DOWN]).has_found_nothing
    assert Lookup(answers={MAIN: (), OLD: (NEWER,)}).of([MAIN]).has_found_nothing
