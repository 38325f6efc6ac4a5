"""Builds: the task that asks archives, and the sweeper that ends what hangs."""

import asyncio
import uuid
from contextlib import ExitStack
from datetime import timedelta

import pytest
from django.utils import timezone

from archives.embedded import EmbeddedArchive
from archives.entities import PatientIdentifier, Selection, StudyFilter
from launcher import background, store
from launcher.models import ArchiveOutcome, Build, Launch
from launcher.tasks import build_manifest, sweep_launches
from tests.factories import make_dimse_archive, make_launch
from tests.servers import Limited, WrongPatient

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("valkey"),
]

CT_SMALL = Selection(patients=(PatientIdentifier(patient_id="1CT1"),))
UNKNOWN = Selection(patients=(PatientIdentifier(patient_id="NOBODY-AT-ALL"),))


def build(launch):
    """Run the launch's build as a worker would, and return how archives answered."""
    build_manifest(str(launch.build_id))
    launch.refresh_from_db()
    outcomes = ArchiveOutcome.objects.filter(build=launch.build_id)
    return {outcome.archive.slug: outcome for outcome in outcomes}


def test_build_records_what_the_archive_holds(embedded_archive):
    launch = make_launch(
        [make_dimse_archive(embedded_archive)], selection=CT_SMALL
    ).launch

    outcome = build(launch)["main"]

    assert outcome.state == ArchiveOutcome.State.OK
    assert (outcome.studies, outcome.series, outcome.instances) == (1, 1, 1)
    assert launch.state == Launch.State.READY
    assert launch.build.flight is None
    assert "CompressedSamples" in launch.build.label


def test_build_labels_are_encrypted_in_the_database(embedded_archive):
    launch = make_launch(
        [make_dimse_archive(embedded_archive)], selection=CT_SMALL
    ).launch
    build(launch)

    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT label FROM launcher_build")
        assert "CompressedSamples" not in cursor.fetchone()[0]


def test_build_with_one_dead_archive_keeps_the_images_of_the_other(embedded_archive):
    archives = [
        make_dimse_archive(embedded_archive),
        make_dimse_archive(name="Old archive", slug="old"),
    ]
    launch = make_launch(archives, selection=CT_SMALL).launch

    outcomes = build(launch)

    assert outcomes["main"].state == ArchiveOutcome.State.OK
    assert outcomes["old"].state == ArchiveOutcome.State.UNAVAILABLE
    assert "Old archive" in outcomes["old"].message
    assert launch.state == Launch.State.READY


def test_build_with_an_unreadable_password_says_so(embedded_archive, settings):
    archives = [
        make_dimse_archive(embedded_archive),
        make_dimse_archive(
            name="Old archive", slug="old", dimse_username="hub", dimse_passcode="x"
        ),
    ]
    launch = make_launch(archives, selection=CT_SMALL).launch
    settings.VIEWERHUB_ENCRYPTION_KEYS = ["another key, without which nothing is read"]

    outcomes = build(launch)

    assert outcomes["main"].state == ArchiveOutcome.State.OK
    assert outcomes["old"].state == ArchiveOutcome.State.REFUSED
    assert "Old archive" in outcomes["old"].message


def test_build_that_finds_nothing_fails(embedded_archive):
    launch = make_launch(
        [make_dimse_archive(embedded_archive)], selection=UNKNOWN
    ).launch

    assert build(launch)["main"].state == ArchiveOutcome.State.EMPTY
    assert launch.state == Launch.State.FAILED


def test_build_drops_answers_about_another_patient():
    with WrongPatient() as server:
        launch = make_launch([make_dimse_archive(server)], selection=CT_SMALL).launch
        outcome = build(launch)["main"]

    assert outcome.state == ArchiveOutcome.State.EMPTY
    assert "not asked for" in outcome.message


def test_build_says_when_an_archive_cut_its_answer(dicom_files, tmp_path):
    study = dicom_files.study("big")
    with Limited(dicom_files.paths([study])) as server:
        selection = Selection(study_instance_uids=(study.study_instance_uid,))
        launch = make_launch([make_dimse_archive(server)], selection=selection).launch
        outcome = build(launch)["main"]

    assert outcome.instances < len(study.instances)
    assert outcome.state == ArchiveOutcome.State.TRUNCATED
    assert "missing" in outcome.message


@pytest.fixture
def divided(dicom_files):
    """A patient's studies in two archives: the newest and the oldest apart."""
    parts = [["ct", "ct-prior"], ["cr", "ct"]]
    with ExitStack() as stack:
        archives = []
        for number, keys in enumerate(parts):
            paths = dicom_files.paths(map(dicom_files.study, keys))
            server = stack.enter_context(EmbeddedArchive(paths))
            name = f"Archive {number}"
            archives.append(make_dimse_archive(server, name=name, slug=f"a{number}"))
        yield archives


@pytest.mark.parametrize(
    ("number", "keys", "states"),
    [
        (1, [[], ["cr"]], ["empty", "ok"]),
        (2, [["ct"], ["cr", "ct"]], ["ok", "ok"]),
        (3, [["ct", "ct-prior"], ["cr", "ct"]], ["ok", "ok"]),
    ],
)
def test_build_keeps_the_newest_studies_over_all_archives(
    divided, dicom_files, number, keys, states
):
    selection = Selection(
        patients=(PatientIdentifier(patient_id="DEMO-1"),),
        study_filter=StudyFilter(most_recent=number),
    )
    launch = make_launch(divided, selection=selection).launch

    outcomes = build(launch)

    assert [outcomes[one.slug].state for one in divided] == states
    assert [outcomes[one.slug].studies for one in divided] == list(map(len, keys))
    collected = asyncio.run(store.load(str(launch.build_id)))
    for archive, expected in zip(divided, keys, strict=True):
        found = collected.answers[archive.pk].studies
        assert {study.study_instance_uid for study in found} == {
            dicom_files.study(key).study_instance_uid for key in expected
        }


def test_build_delivered_twice_is_built_once(embedded_archive):
    launch = make_launch(
        [make_dimse_archive(embedded_archive)], selection=CT_SMALL
    ).launch
    build(launch)
    finished = Build.objects.get().finished

    build(launch)

    assert Build.objects.get().finished == finished


def test_build_under_way_elsewhere_is_left_alone(embedded_archive):
    launch = make_launch(
        [make_dimse_archive(embedded_archive)], selection=CT_SMALL
    ).launch
    build_id = str(launch.build_id)

    async def hold(start, stop):
        async with store.lease(build_id) as earlier:
            assert earlier
            start.set()
            await stop.wait()

    async def with_another_worker():
        start, stop = asyncio.Event(), asyncio.Event()
        holder = asyncio.create_task(hold(start, stop))
        await start.wait()
        await asyncio.to_thread(build_manifest, build_id)
        stop.set()
        await holder

    background.run(with_another_worker())

    launch.refresh_from_db()
    assert launch.state == Launch.State.BUILDING
    assert not ArchiveOutcome.objects.exists()


def test_build_does_not_ask_again_who_answered_an_attempt_cut_short(embedded_archive):
    archive = make_dimse_archive(embedded_archive)
    dead = make_dimse_archive(name="Old archive", slug="old")
    launch = make_launch([archive, dead], selection=CT_SMALL).launch
    earlier = store.Answer(archive_id=dead.pk, state="refused", message="Earlier.")
    background.run(store.save_answer(str(launch.build_id), earlier))

    assert build(launch)["old"].message == "Earlier."


def test_build_of_unknown_id_is_ignored():
    build_manifest(str(uuid.uuid4()))


def set_age(build_id, seconds):
    created = timezone.now() - timedelta(seconds=seconds)
    Build.objects.filter(pk=build_id).update(created=created)


def queued(valkey):
    """How many tasks wait in the queue."""
    import redis

    with redis.Redis.from_url(valkey.url) as connection:
        return connection.llen("viewerhub")


def test_sweeper_queues_a_build_nobody_took(valkey):
    launch = make_launch([make_dimse_archive()]).launch
    before = queued(valkey)
    set_age(launch.build_id, 60)

    sweep_launches()
    sweep_launches()

    assert queued(valkey) == before + 1


def test_sweeper_leaves_young_builds_alone(valkey):
    make_launch([make_dimse_archive()])
    before = queued(valkey)

    sweep_launches()

    assert queued(valkey) == before


def test_sweeper_gives_up_what_is_older_than_any_build(settings):
    launch = make_launch([make_dimse_archive()]).launch
    set_age(launch.build_id, settings.VIEWERHUB_BUILD_TIMEOUT + 100)

    sweep_launches()

    launch.refresh_from_db()
    assert launch.state == Launch.State.FAILED
    assert "in time" in ArchiveOutcome.objects.get().message
    assert background.run(store.load(str(launch.build_id))).is_done


def test_sweeper_expires_launches_and_forgets_old_ones(settings):
    old, over, current = (
        make_launch([archive]).launch
        for archive in (
            make_dimse_archive(name=name, slug=name) for name in ("a", "b", "c")
        )
    )
    set_age(old.build_id, (settings.VIEWERHUB_LAUNCH_HISTORY_DAYS + 1) * 86400)
    Launch.objects.filter(pk=over.pk).update(expires=timezone.now())

    sweep_launches()

    states = dict(Launch.objects.values_list("pk", "state"))
    assert states == {over.pk: Launch.State.EXPIRED, current.pk: Launch.State.PENDING}
