"""What searches, builds and images teach about their archives."""

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext

from archives.entities import PatientIdentifier, Selection, StudyQuery
from archives.health import ArchiveState
from archives.models import Archive
from archives.watching import note, settle
from launcher.search.asking import ask_archive
from launcher.tasks import build_manifest
from tests.factories import make_dimse_archive, make_launch
from tests.loops import run

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("valkey"),
]
CT_SMALL = Selection(patients=(PatientIdentifier(patient_id="1CT1"),))


@pytest.fixture(autouse=True)
def _nothing_noted(valkey):
    cache.clear()


def states():
    settle()
    return {archive.slug: archive.state for archive in Archive.objects.all()}


def test_search_tells_how_archives_are_doing(embedded_archive):
    good = make_dimse_archive(embedded_archive)
    dead = make_dimse_archive(name="Old archive", slug="old")

    for archive in (good, dead):
        run(ask_archive(archive, [StudyQuery(patient_id="1CT1")]))

    assert states() == {"main": ArchiveState.WORKING, "old": ArchiveState.UNAVAILABLE}
    good.refresh_from_db()
    dead.refresh_from_db()
    assert good.last_milliseconds is not None
    assert "Old archive" in dead.last_message
    assert "1CT1" not in dead.last_message


def test_build_tells_how_archives_are_doing(embedded_archive):
    archives = [
        make_dimse_archive(embedded_archive),
        make_dimse_archive(name="Old archive", slug="old"),
    ]

    build_manifest(str(make_launch(archives, selection=CT_SMALL).launch.build_id))

    assert states() == {"main": ArchiveState.WORKING, "old": ArchiveState.UNAVAILABLE}


def test_build_leaves_the_latency_that_a_search_found(embedded_archive):
    archive = make_dimse_archive(embedded_archive)

    run(ask_archive(archive, [StudyQuery(patient_id="1CT1")]))
    build_manifest(str(make_launch([archive], selection=CT_SMALL).launch.build_id))

    assert states() == {"main": ArchiveState.WORKING}
    archive.refresh_from_db()
    assert archive.last_milliseconds is not None


def test_archive_that_was_not_asked_is_not_judged_by_a_build(embedded_archive):
    archive = make_dimse_archive(embedded_archive)
    launch = make_launch([archive], selection=CT_SMALL).launch
    Archive.objects.update(is_enabled=False)

    build_manifest(str(launch.build_id))

    assert states() == {"main": ArchiveState.UNKNOWN}


def test_noting_asks_nothing_of_the_database(embedded_archive):
    archive = make_dimse_archive(embedded_archive)
    user = User.objects.create(username="alice")

    with CaptureQueriesContext(connection) as queries:
        run(ask_archive(archive, [StudyQuery(patient_id="1CT1")], user))
        note()

    assert not queries.captured_queries
