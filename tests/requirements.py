"""Programs that some tests need and that pip does not install."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

ORTHANC_DICOMWEB_PLUGINS = (
    "/usr/share/orthanc/plugins/libOrthancDicomWeb.so",
    "/usr/lib/orthanc/libOrthancDicomWeb.so",
    "/usr/local/share/orthanc/plugins/libOrthancDicomWeb.so",
)


def program(*names: str) -> str | None:
    """The path of the first of these programs that is installed."""
    return next(filter(None, map(shutil.which, names)), None)


def chromium() -> str | None:
    """The one without windows first: it starts and opens pages in a third of the time."""
    return program("chromium-headless-shell", "chromium", "chromium-browser")


def orthanc_dicomweb_plugin() -> str | None:
    return next(filter(os.path.exists, ORTHANC_DICOMWEB_PLUGINS), None)


def postgresql_program(name: str) -> str | None:
    """Debian keeps the server's programs out of PATH, one directory per version."""
    packaged = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(packaged[-1]) if packaged else program(name)


REQUIREMENTS: dict[str, tuple[str, Callable[[], object]]] = {
    "orthanc": (
        "Orthanc with its DICOMweb plug-in",
        lambda: program("Orthanc") and orthanc_dicomweb_plugin(),
    ),
    "dcmtk": (
        "DCMTK (findscu, getscu, storescu, dcmqrscp)",
        lambda: all(map(program, ("findscu", "getscu", "storescu", "dcmqrscp"))),
    ),
    "postgresql": ("PostgreSQL's server", lambda: postgresql_program("initdb")),
    "redis-server": ("redis-server", lambda: program("redis-server")),
    "gettext": ("gettext", lambda: all(map(program, ("xgettext", "msgmerge")))),
    "chromium": ("Chromium", chromium),
}


def needs(*names: str) -> None:
    """Skip the test unless all of these are installed.

    With ``VIEWERHUB_TEST_REQUIRE=all`` the test fails instead, so that a run which has
    to be complete can't pass by skipping.
    """
    missing = [
        what for what, found in map(REQUIREMENTS.__getitem__, names) if not found()
    ]
    if not missing:
        return
    reason = f"not installed: {', '.join(missing)}"
    if os.environ.get("VIEWERHUB_TEST_REQUIRE") == "all":
        pytest.fail(f"VIEWERHUB_TEST_REQUIRE=all, but {reason}", pytrace=False)
    pytest.skip(reason)
