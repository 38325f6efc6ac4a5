"""Fixtures shared by all tests; the servers behind them are in modules of their own."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any

import hypothesis
import pytest
from django.utils import translation

from archives.embedded import EmbeddedArchive
from tests import environment
from tests.dcmtk import Dcmqrscp, start_dcmqrscp
from tests.dicom_files import DicomFiles
from tests.laboratory import (
    Laboratory,
    LaboratoryServer,
    RemoteLaboratory,
    open_laboratory,
)
from tests.orthanc import Orthanc
from tests.postgresql import PostgreSql, start_postgresql
from tests.requirements import needs
from tests.stack import Stack, start_stack
from tests.valkey import RedisServer, start_redis

# A busy machine is no reason to fail: what a test finds does not depend on its speed.
hypothesis.settings.register_profile(
    "viewerhub",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("viewerhub")

LABORATORY = pytest.StashKey[LaboratoryServer]()

# They take longest, and go first, the longest of them before the others: a process that
# is left with one of them at the end keeps the whole run waiting.
LONG = (
    "tests/test_end_to_end.py",
    "tests/browser/",
    "tests/viewerhub/test_demo.py",
    "tests/viewerhub/test_admin.py",
    "tests/test_token_lives.py",
    "tests/launcher/test_gateway_faults.py",
    "tests/test_documented_links.py",
    "tests/launcher/test_hostile_parameters.py",
    "tests/launcher/test_api_schema.py",
    "tests/test_images_by_dimse.py",
    "tests/test_secrets.py",
    "tests/launcher/test_gateway_stalls.py",
)


def _place(item: pytest.Item) -> int:
    places = (n for n, name in enumerate(LONG) if item.nodeid.startswith(name))
    return next(places, len(LONG))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_place)


@pytest.hookimpl(optionalhook=True, wrapper=True)
def pytest_xdist_auto_num_workers() -> Generator[None, int, int]:
    """One more than processors: many tests wait for a silent archive or a new process."""
    return (yield) + 1


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Called by the controller of pytest-xdist for each worker, before it starts."""
    if LABORATORY not in node.config.stash:
        server = LaboratoryServer(environment.run_directory())
        node.config.stash[LABORATORY] = server
        node.config.add_cleanup(server.close)
    node.workerinput["laboratory"] = node.config.stash[LABORATORY].address


@pytest.fixture(autouse=True)
def english() -> None:
    """The test before may have left its thread in the language of a page."""
    translation.deactivate()


@pytest.fixture(scope="session")
def laboratory(request: pytest.FixtureRequest) -> Iterator[Any]:
    workerinput = getattr(request.config, "workerinput", {})
    opened: Laboratory | RemoteLaboratory = open_laboratory(
        workerinput.get("laboratory")
    )
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> Iterator[None]:
    """Tests with transactions leave empty tables, but for those of what there is to
    permit: Django fills them anew each time, which takes longer than most tests."""
    from django.core.management.color import no_style
    from django.db import connection
    from django.test import TransactionTestCase

    kept = {"django_content_type", "auth_permission"}

    def empty(case: TransactionTestCase) -> None:
        tables = connection.introspection.django_table_names(only_existing=True)
        emptied = [table for table in tables if table not in kept]
        connection.ops.execute_sql_flush(
            connection.ops.sql_flush(no_style(), emptied, allow_cascade=False)
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", empty)
        yield


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Gives a free TCP port of 127.0.0.1 at each call."""
    return environment.free_port


@pytest.fixture(scope="session")
def dicom_files(laboratory: Laboratory) -> DicomFiles:
    """The files of ``tests.dicom_plan``, written once per run."""
    return laboratory.files()


@pytest.fixture(scope="session")
def orthanc(laboratory: Laboratory) -> Orthanc:
    """One Orthanc per run, filled with ``dicom_files``. Tests must not change it."""
    needs("orthanc")
    return laboratory.orthanc()


@pytest.fixture(scope="session")
def dcmqrscp(
    tmp_path_factory: pytest.TempPathFactory, laboratory: Laboratory
) -> Iterator[Dcmqrscp]:
    """DCMTK's archive, filled with the groups ``tests.dcmtk.GROUPS``."""
    needs("dcmtk")
    folder = tmp_path_factory.mktemp("dcmqrscp")
    with start_dcmqrscp(folder, laboratory.files()) as archive:
        yield archive


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The server at ``settings.VIEWERHUB_REDIS_URL``, started unless it was given."""
    from django.conf import settings

    if environment.redis_is_given():
        yield RedisServer(settings.VIEWERHUB_REDIS_URL)
        return
    port = int(settings.VIEWERHUB_REDIS_URL.rpartition(":")[2].partition("/")[0])
    with start_redis(tmp_path_factory.mktemp("valkey"), port=port) as server:
        yield server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSql]:
    """An empty PostgreSQL cluster."""
    needs("postgresql")
    with start_postgresql() as server:
        yield server


@pytest.fixture(scope="session")
def embedded_archive() -> Iterator[EmbeddedArchive]:
    """The built-in archive with the files that pydicom brings."""
    with EmbeddedArchive() as archive:
        yield archive


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The whole product as processes, on SQLite and Valkey."""
    with start_stack(tmp_path_factory.mktemp("stack")) as hub:
        yield hub
