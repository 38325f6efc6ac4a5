"""Secrets in the database: encrypted, readable with any key of the ring."""

import pytest
from django.core.serializers import deserialize, serialize
from django.db import connection

from archives.errors import ArchiveRefusedError
from archives.fields import SecretUnreadableError
from archives.models import Archive
from tests.factories import make_dicomweb_archive

pytestmark = pytest.mark.django_db

SECRET = "ünguessable secret"


@pytest.fixture
def archive(settings):
    settings.VIEWERHUB_ENCRYPTION_KEYS = ["first key"]
    return make_dicomweb_archive(
        "http://127.0.0.1/dicom-web",
        authentication="basic",
        username="hub",
        password=SECRET,
    )


def stored(archive, column="password"):
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {column} FROM archives_archive WHERE id = %s", [archive.pk]
        )
        return cursor.fetchone()[0]


def test_secret_is_encrypted_in_the_column(archive):
    assert SECRET not in stored(archive)
    assert stored(archive).startswith("gAAAA")
    assert Archive.objects.get().password == SECRET


def test_secret_that_is_empty_stays_empty(archive):
    assert stored(archive, "bearer_token") == ""
    assert Archive.objects.get().bearer_token == ""


def test_secret_is_encrypted_by_an_update(archive):
    Archive.objects.update(password="changed")

    assert "changed" not in stored(archive)
    assert Archive.objects.get().password == "changed"


def test_secret_is_not_among_plain_values(archive):
    assert SECRET not in str(Archive.objects.values().get())


def test_secret_is_read_when_its_column_was_deferred(archive):
    assert Archive.objects.defer("password").get().password == SECRET


def test_secret_is_read_with_an_old_key_and_saved_with_the_new_one(archive, settings):
    settings.VIEWERHUB_ENCRYPTION_KEYS = ["second key", "first key"]
    archive = Archive.objects.get()
    assert archive.password == SECRET

    archive.save()

    settings.VIEWERHUB_ENCRYPTION_KEYS = ["second key"]
    assert Archive.objects.get().password == SECRET


def test_secret_is_saved_with_the_new_key_without_being_read(archive, settings):
    settings.VIEWERHUB_ENCRYPTION_KEYS = ["second key", "first key"]

    Archive.objects.get().save()

    settings.VIEWERHUB_ENCRYPTION_KEYS = ["second key"]
    assert Archive.objects.get().password == SECRET


def test_lost_key_hides_only_the_secret(archive, settings):
    settings.VIEWERHUB_ENCRYPTION_KEYS = ["another key"]

    lost = Archive.objects.get()

    assert lost.username == "hub"
    with pytest.raises(SecretUnreadableError, match="VIEWERHUB_ENCRYPTION_KEYS"):
        _ = lost.password


def test_lost_key_may_come_back_after_the_archive_was_saved(archive, settings):
    settings.VIEWERHUB_ENCRYPTION_KEYS = ["another key"]
    lost = Archive.objects.get()
    lost.name = "Renamed"
    lost.save()

    settings.VIEWERHUB_ENCRYPTION_KEYS = ["another key", "first key"]

    assert Archive.objects.get(name="Renamed").password == SECRET


def test_lost_key_is_an_archive_that_an_administrator_must_mend(archive, settings):
    settings.VIEWERHUB_ENCRYPTION_KEYS = ["another key"]

    with pytest.raises(ArchiveRefusedError, match=r"Web PACS .* enter it again"):
        Archive.objects.get().endpoint()


def test_exported_secret_is_encrypted_and_can_be_imported_again(archive):
    exported = serialize("json", Archive.objects.all())
    assert SECRET not in exported
    Archive.objects.all().delete()

    for loaded in deserialize("json", exported):
        loaded.save()

    assert Archive.objects.get().password == SECRET


def test_secret_that_is_not_saved_yet_is_exported_encrypted_too(archive):
    archive.password = "another secret"

    assert "another secret" not in serialize("json", [archive])
