"""Pictures of series in the portal: who gets them, of what, and that they come soon."""

import re
import time
from io import BytesIO

import pytest
from django.contrib.auth.models import Group, User
from django.core.cache import cache
from django.test import Client
from django.urls import reverse
from PIL import Image

from archives.embedded import EmbeddedArchive
from archives.models import Archive
from launcher.gateway import pictures
from launcher.search import store as search_store
from tests.factories import make_dicomweb_archive, make_dimse_archive

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("valkey"),
]


@pytest.fixture(scope="module")
def served(dicom_files):
    files = dicom_files.paths(dicom_files.group("demo"))
    with EmbeddedArchive(files) as running:
        yield running


@pytest.fixture
def client():
    client = Client()
    client.force_login(User.objects.create_user("alice"))
    return client


@pytest.fixture(autouse=True)
def nothing_is_paused(monkeypatch):
    monkeypatch.setattr(pictures, "_paused", {})


class Listing:
    """A study that was searched for and whose series were listed, by ``client``."""

    def __init__(self, client, study):
        fields = {"accession_number": study.accession_number, "preset": "any"}
        results = client.post(reverse("launcher:search_create"), fields)["Location"]
        self.search_id = results.split("/")[-2]
        client.get(f"{results}?wait")
        self._owner = User.objects.get(pk=client.session["_auth_user_id"]).pk
        self.study_key = self.key(study.study_instance_uid)
        client.get(
            reverse("launcher:search_study", args=[self.search_id, self.study_key])
        )

    def key(self, uid):
        search = search_store.load(self.search_id, self._owner)
        return search_store.key_of(search, uid)

    def address(self, series_instance_uid):
        arguments = [self.search_id, self.study_key, self.key(series_instance_uid)]
        return reverse("launcher:series_thumbnail", args=arguments)


def picture(response):
    assert response.status_code == 200
    assert response["Content-Type"] == "image/jpeg"
    image = Image.open(BytesIO(response.content))
    image.load()
    return image


def is_icon(image):
    """Its ground has a colour, those images are grey."""
    return image.mode == "RGB"


@pytest.mark.parametrize("protocol", ["dimse", "dicomweb"])
def test_series_has_a_picture(client, served, dicom_files, protocol, request):
    if protocol == "dimse":
        make_dimse_archive(served)
    else:
        make_dicomweb_archive(request.getfixturevalue("orthanc").dicomweb_url)
    study = dicom_files.study("ct")
    listing = Listing(client, study)

    for series in study.series:
        response = client.get(listing.address(series.series_instance_uid))
        shown = picture(response)
        assert max(shown.size) == 256
        assert is_icon(shown) == (series.modality in {"KO", "PR", "SR"})
        assert response["Cache-Control"] == "private, no-store"
        assert int(response["Content-Length"]) == len(response.content)


@pytest.fixture
def listing(client, served, dicom_files):
    make_dimse_archive(served)
    return Listing(client, dicom_files.study("ct"))


@pytest.fixture
def address(listing, dicom_files):
    return listing.address(dicom_files.study("ct").series[1].series_instance_uid)


def test_address_tells_no_uid(address):
    assert re.fullmatch(r"/search/r/[\w-]{22}/studies/\w{20}/\w{20}\.jpg", address)


def test_series_of_a_dead_archive_has_an_icon(client, address):
    Archive.objects.update(port=9)

    assert is_icon(picture(client.get(address)))


def test_series_that_takes_long_has_an_icon(client, address, monkeypatch):
    monkeypatch.setattr(pictures, "DEADLINE", 0.0)
    assert is_icon(picture(client.get(address)))

    monkeypatch.undo()
    paused = dict.fromkeys(Archive.objects.values_list("pk", flat=True))
    for pk in paused:
        paused[pk] = time.monotonic() + 1000.0
    monkeypatch.setattr(pictures, "_paused", paused)
    assert is_icon(picture(client.get(address)))


def test_waiting_for_others_does_not_pause_an_archive(client, address, monkeypatch):
    """They say nothing about it, and viewers' pictures must go on."""
    monkeypatch.setattr(pictures, "AT_ONCE", 0)
    monkeypatch.setattr(pictures, "_pages", pictures.Turns())
    monkeypatch.setattr(pictures, "DEADLINE", 0.05)

    assert is_icon(picture(client.get(address)))
    assert pictures._paused == {}


def test_picture_needs_a_login(address):
    response = Client().get(address)

    assert response.status_code == 302
    assert response["Location"].startswith("/accounts/login/")


def test_picture_is_of_no_use_to_others(address):
    bob = Client()
    bob.force_login(User.objects.create_superuser("bob"))

    assert bob.get(address).status_code == 404


def test_picture_ends_with_the_right_to_the_archive(client, address):
    assert client.get(address).status_code == 200

    Archive.objects.get().groups.add(Group.objects.create(name="Others"))

    assert client.get(address).status_code == 404


def test_picture_ends_with_the_search(client, address):
    cache.clear()

    assert client.get(address).status_code == 404


def test_only_series_that_were_listed_have_a_picture(client, listing, dicom_files):
    """Neither those of another study of the same archive, nor what does not exist."""
    other = dicom_files.study("mr")
    of_another = listing.address(other.series[0].series_instance_uid)
    unknown = listing.address("1.2.3")
    listing.study_key = listing.key(other.study_instance_uid)
    of_a_study_not_listed = listing.address(other.series[0].series_instance_uid)

    for address in (of_another, unknown, of_a_study_not_listed):
        assert client.get(address).status_code == 404


def test_picture_is_read_alone(client, address):
    assert client.head(address).status_code == 200
    assert client.post(address).status_code == 405
