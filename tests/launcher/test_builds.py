"""Builds: the task that asks archives, and the sweeper that ends what hangs."""

import asyncio
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db.models import F
from django.utils import timezone

from archives.embedded import EmbeddedArchive
from archives.entities import PatientIdentifier, Selection, StudyFilter
from archives.models import Archive
from launcher import background, collect, store, tasks
from launcher.models import ArchiveOutcome, Build, Launch
from launcher.services import restart_build
from launcher.tasks import build_manifest, sweep_launches
from tests.factories import (
    DEAD_PORT,
    make_dicomweb_archive,
    make_dimse_archive,
    make_launch,
)
from tests.loops import run
from tests.processes import wait_until
from tests.servers import Limited, ListsNothing, Slow, WrongPatient

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


def test_build_counts_once_what_several_archives_hold(embedded_archive):
    archives = [
        make_dimse_archive(embedded_archive),
        make_dimse_archive(embedded_archive, name="Copies", slug="copies"),
    ]
    launch = make_launch(archives, selection=CT_SMALL).launch

    outcomes = build(launch)

    assert outcomes["main"].instances == outcomes["copies"].instances == 1
    counts = launch.build.studies, launch.build.series, launch.build.instances
    assert counts == (1, 1, 1)


def test_build_labels_name_the_patient_as_studies_do(dicom_files):
    patient = Selection(patients=(PatientIdentifier(patient_id="DEMO-1"),))
    with EmbeddedArchive(dicom_files.paths()) as archive:
        launch = make_launch([make_dimse_archive(archive)], selection=patient).launch
        build(launch)

    assert launch.build.label.startswith("Lindqvist, Dr. Astrid Maria, PhD · ")


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


def test_build_says_when_an_archive_lists_nothing_of_what_it_found():
    """The images are there: "not found" would be wrong."""
    with ListsNothing() as server:
        launch = make_launch([make_dimse_archive(server)], selection=CT_SMALL).launch
        outcome = build(launch)["main"]

    assert outcome.state == ArchiveOutcome.State.FAILED
    assert "Main PACS holds 1 images" in outcome.message
    assert "listed none" in outcome.message


def test_build_does_not_ask_an_archive_that_was_disabled(embedded_archive):
    archive = make_dimse_archive(embedded_archive)
    launch = make_launch([archive], selection=CT_SMALL).launch
    Archive.objects.update(is_enabled=False)

    outcome = build(launch)["main"]

    assert outcome.state == ArchiveOutcome.State.REFUSED
    assert "Main PACS was disabled" in outcome.message


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
    collected = run(store.load(str(launch.build_id)))
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

    async def with_another_worker():
        async with store.lease(build_id) as lease:
            assert lease
            await asyncio.to_thread(build_manifest, build_id)

    background.run(with_another_worker())

    launch.refresh_from_db()
    assert launch.state == Launch.State.PENDING
    assert not ArchiveOutcome.objects.exists()


def test_build_does_not_ask_again_who_answered_an_attempt_cut_short(embedded_archive):
    archive = make_dimse_archive(embedded_archive)
    dead = make_dimse_archive(name="Old archive", slug="old")
    launch = make_launch([archive, dead], selection=CT_SMALL).launch
    earlier = store.Answer(archive_id=dead.pk, state="refused", message="Earlier.")
    background.run(store.save_answer(str(launch.build_id), earlier))

    assert build(launch)["old"].message == "Earlier."


@pytest.fixture
def slow(dicom_files):
    """The server of an archive that answers when it is told to."""
    with Slow(dicom_files.paths([dicom_files.study("cr")])) as server:
        yield server


@pytest.fixture
def slow_launch(embedded_archive, slow, dicom_files):
    """A launch of two archives, of which the second is the slow one."""
    archives = [
        make_dimse_archive(embedded_archive),
        make_dimse_archive(slow, name="Slow", slug="slow", answer_timeout=60),
    ]
    selection = replace(
        CT_SMALL, study_instance_uids=(dicom_files.study("cr").study_instance_uid,)
    )
    return make_launch(archives, selection=selection).launch


def answered_by(launch, slug):
    archive = Archive.objects.get(slug=slug)
    return background.run(store.load_answer(str(launch.build_id), archive.pk))


@pytest.mark.parametrize("loss", ["flush", "restart"])
def test_build_keeps_all_answers_though_redis_lost_the_first(
    slow_launch, slow, valkey, loss
):
    with ThreadPoolExecutor() as pool:
        building = pool.submit(build_manifest, str(slow_launch.build_id))
        assert wait_until(lambda: answered_by(slow_launch, "main"))
        assert slow.asked.wait(20)
        if loss == "flush":
            flush(valkey)
        else:
            valkey.stop()
            valkey.start()
        slow.proceed.set()
        building.result(60)

    collected = background.run(store.load(str(slow_launch.build_id)))
    assert collected.is_done
    assert [len(answer.studies) for answer in collected.answers.values()] == [1, 1]
    slow_launch.refresh_from_db()
    assert slow_launch.state == Launch.State.READY


def test_build_ends_in_time_though_a_client_does_not(
    slow_launch, settings, monkeypatch
):
    settings.VIEWERHUB_BUILD_TIMEOUT = 3600
    monkeypatch.setattr(collect, "GRACE", 2.0 - 3600)

    outcomes = build(slow_launch)

    assert outcomes["main"].state == ArchiveOutcome.State.OK
    assert outcomes["slow"].state == ArchiveOutcome.State.UNAVAILABLE
    assert "in time" in outcomes["slow"].message


def test_task_ends_in_time_and_leaves_the_build_to_others(
    slow_launch, settings, monkeypatch
):
    settings.VIEWERHUB_BUILD_TIMEOUT = 3600
    monkeypatch.setattr(tasks, "MARGIN", 0.5 - 3600)

    with pytest.raises(TimeoutError):
        build_manifest(str(slow_launch.build_id))

    def is_free():
        return not background.run(store.look(str(slow_launch.build_id))).has_worker

    assert wait_until(is_free)


def test_build_whose_plan_fails_leaves_nobody_waiting(monkeypatch):
    connecting, lease = threading.Event(), store.lease

    @asynccontextmanager
    async def deaf_lease(build_id):
        """As redis-py may be, while it connects."""
        with suppress(asyncio.CancelledError):
            connecting.set()
            await asyncio.Event().wait()
        async with lease(build_id) as held:
            yield held

    def fail(*_):
        connecting.wait(20)
        raise RuntimeError

    async def is_collecting():
        names = [task.get_coro().__qualname__ for task in asyncio.all_tasks()]
        return collect.collect.__qualname__ in names

    monkeypatch.setattr(store, "lease", deaf_lease)
    monkeypatch.setattr(tasks, "_plan", fail)
    with pytest.raises(RuntimeError):
        build_manifest(str(Build.objects.create(selection={}).pk))

    assert wait_until(lambda: not background.run(is_collecting()))


def test_build_of_unknown_id_is_ignored():
    build_manifest(str(uuid.uuid4()))


def set_age(build_id, seconds):
    then = timezone.now() - timedelta(seconds=seconds)
    Build.objects.filter(pk=build_id).update(created=then, queued=then)


def queued(valkey):
    """How many tasks wait in the queue."""
    import redis

    with redis.Redis.from_url(valkey.url) as connection:
        return connection.llen("viewerhub")


def flush(valkey):
    import redis

    with redis.Redis.from_url(valkey.url) as connection:
        connection.flushall()


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


def test_sweeper_queues_a_build_whose_traces_are_lost(valkey):
    launch = make_launch([make_dimse_archive()]).launch
    Build.objects.update(state=Build.State.BUILDING)
    set_age(launch.build_id, 20)
    flush(valkey)

    sweep_launches()

    assert queued(valkey) == 1


def test_sweeper_queues_a_build_that_was_not_recorded(embedded_archive, valkey):
    """Its worker died between the two."""
    launch = make_launch(
        [make_dimse_archive(embedded_archive)], selection=CT_SMALL
    ).launch
    build(launch)
    Build.objects.update(state=Build.State.BUILDING, finished=None)
    Launch.objects.update(state=Launch.State.BUILDING)
    set_age(launch.build_id, 20)
    before = queued(valkey)

    sweep_launches()
    assert queued(valkey) == before + 1
    build(launch)

    assert launch.state == Launch.State.READY


def test_sweeper_leaves_a_new_attempt_of_an_old_launch_alone(embedded_archive, valkey):
    launch = make_launch(
        [make_dimse_archive(embedded_archive)], selection=CT_SMALL
    ).launch
    build(launch)
    set_age(launch.build_id, 3600)
    flush(valkey)

    restart_build(str(launch.build_id))
    Build.objects.update(queued=F("queued") - timedelta(seconds=20))
    sweep_launches()

    assert Build.objects.get().state == Build.State.PENDING
    assert queued(valkey) == 1
    build(launch)
    assert Build.objects.get().state == Build.State.READY


def test_sweeper_leaves_a_build_to_the_worker_that_has_it(settings):
    launch = make_launch([make_dimse_archive()]).launch
    set_age(launch.build_id, settings.VIEWERHUB_BUILD_TIMEOUT + 100)

    async def with_a_worker():
        async with store.lease(str(launch.build_id)) as lease:
            assert lease
            await asyncio.to_thread(sweep_launches)

    run(with_a_worker())

    assert Build.objects.get().state == Build.State.PENDING
    assert not ArchiveOutcome.objects.exists()


def test_restart_leaves_a_build_under_way_as_it_is(valkey):
    launch = make_launch([make_dimse_archive()]).launch
    Build.objects.update(state=Build.State.BUILDING)
    before = Build.objects.get().queued

    restart_build(str(launch.build_id))

    build = Build.objects.get()
    assert (build.state, build.queued) == (Build.State.BUILDING, before)


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


def test_build_says_why_a_dicomweb_archive_failed():
    """Not that it was too late: a failed group of tasks leaves its mark on the task."""
    archive = make_dicomweb_archive(f"http://127.0.0.1:{DEAD_PORT}/dicom-web")

    outcome = build(make_launch([archive], selection=CT_SMALL).launch)["web"]

    assert "refuses connections" in outcome.message
