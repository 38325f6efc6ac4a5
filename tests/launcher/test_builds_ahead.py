"""Builds that are begun for who points at a button, before there is a launch."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, User
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from archives.embedded import EmbeddedArchive
from archives.models import Archive
from launcher import background, store
from launcher.models import Build, Launch, LaunchTemplate, Viewer
from launcher.tasks import build_manifest, sweep_launches
from launcher.views import launches
from tests.factories import make_dimse_archive

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("valkey"),
]
AHEAD = "/launch/ahead/"


@pytest.fixture(scope="module")
def served(dicom_files):
    with EmbeddedArchive(dicom_files.paths(dicom_files.group("demo"))) as running:
        yield running


@pytest.fixture(autouse=True)
def _switched_on(settings):
    settings.VIEWERHUB_BUILD_AHEAD = True
    cache.clear()


@pytest.fixture
def alice():
    return User.objects.create_user("alice")


@pytest.fixture
def client(alice):
    client = Client()
    client.force_login(alice)
    return client


@pytest.fixture
def fields(served, dicom_files):
    make_dimse_archive(served)
    uid = dicom_files.study("ct").study_instance_uid
    return {"study_instance_uid": uid, "archive": "main"}


def point(client, fields):
    response = client.post(AHEAD, fields)
    assert response.status_code == 204
    return response


def open_it(client, fields):
    return client.post("/launch/", fields, headers={"HX-Request": "true"})


def test_click_finds_what_was_built_ahead(client, fields):
    point(client, fields)
    assert not Launch.objects.exists()
    build_manifest(str(Build.objects.get().pk))

    open_it(client, fields)

    launch = Launch.objects.get()
    assert launch.build == Build.objects.get()
    assert launch.state == Launch.State.READY
    assert launch.build.label.startswith("Lindqvist")


def test_click_joins_what_is_being_built(client, fields):
    point(client, fields)

    open_it(client, fields)

    [build] = Build.objects.all()
    assert build.ahead_for is None
    assert Launch.objects.get().state == Launch.State.PENDING
    build_manifest(str(build.pk))
    build.refresh_from_db()
    assert build.flight is None
    assert Launch.objects.get().state == Launch.State.READY


def test_second_click_is_built_anew(client, fields):
    point(client, fields)
    build_manifest(str(Build.objects.get().pk))

    open_it(client, fields)
    open_it(client, fields)

    assert Build.objects.count() == 2


def test_what_is_too_old_or_failed_is_built_anew(client, fields):
    point(client, fields)
    build = Build.objects.get()
    build_manifest(str(build.pk))
    Build.objects.update(finished=timezone.now() - timedelta(seconds=61))
    point(client, fields)
    assert Build.objects.count() == 2
    open_it(client, fields)
    assert Launch.objects.get().build != build

    Archive.objects.update(port=9)
    other = fields | {"study_instance_uid": "1.2.3"}
    point(client, other)
    failed = Build.objects.latest("created")
    build_manifest(str(failed.pk))
    open_it(client, other)
    assert Launch.objects.latest("created").build != failed


def test_others_do_not_share_it(client, fields):
    point(client, fields)
    bob = Client()
    bob.force_login(User.objects.create_user("bob"))

    open_it(bob, fields)

    assert Build.objects.count() == 2


def test_what_nobody_opened_is_forgotten(client, fields):
    point(client, fields)
    build = Build.objects.get()
    build_manifest(str(build.pk))
    sweep_launches()
    assert Build.objects.exists()

    Build.objects.update(finished=timezone.now() - timedelta(seconds=61))
    sweep_launches()

    assert not Build.objects.exists()
    collected = background.run(store.load(str(build.pk)))
    assert not collected.is_done
    assert not collected.answers


def test_what_was_opened_is_kept(client, fields):
    point(client, fields)
    build_manifest(str(Build.objects.get().pk))
    open_it(client, fields)
    Build.objects.update(finished=timezone.now() - timedelta(seconds=61))

    sweep_launches()

    assert background.run(store.load(str(Build.objects.get().pk))).is_done


def test_only_what_would_be_launched_is_built_ahead(client, fields, settings):
    archive = Archive.objects.get()
    archive.groups.add(Group.objects.create(name="Others"))
    point(client, fields)
    archive.groups.clear()
    point(client, fields | {"study_instance_uid": "1.2.x"})
    viewer = Viewer.objects.create(
        name="Web", slug="web", url_template="https://web.example/?s={study_uids}"
    )
    default = LaunchTemplate.objects.default()
    LaunchTemplate.objects.filter(pk=default.pk).update(viewer=viewer)
    point(client, fields)
    LaunchTemplate.objects.update(viewer=None)
    settings.VIEWERHUB_BUILD_AHEAD = False
    point(client, fields)
    assert Client().post(AHEAD, fields).status_code == 302

    assert not Build.objects.exists()


def test_user_points_at_so_many_in_a_minute(client, fields, monkeypatch):
    monkeypatch.setattr(launches, "AHEAD_PER_MINUTE", 2)

    for number in range(4):
        point(client, fields | {"study_instance_uid": f"1.2.{number}"})

    assert Build.objects.count() == 2
