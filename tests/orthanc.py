"""Orthanc with its DICOMweb plug-in, as a process on free ports."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from tests.dicom_files import DicomFiles
from tests.environment import free_port
from tests.processes import ServerDidNotStartError, ServerProcess, accepts
from tests.requirements import orthanc_dicomweb_plugin, program

UPLOADS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Orthanc:
    """Where an Orthanc serves, and what it was filled with."""

    http_port: int
    dicom_port: int
    dataset: DicomFiles
    host: str = "127.0.0.1"
    ae_title: str = "ORTHANC"
    username: str = ""
    password: str = ""

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.http_port}"

    @property
    def dicomweb_url(self) -> str:
        return f"{self.url}/dicom-web"

    @property
    def wado_uri_url(self) -> str:
        return f"{self.url}/wado"

    @property
    def headers(self) -> dict[str, str]:
        if not self.username:
            return {}
        credentials = b64encode(f"{self.username}:{self.password}".encode()).decode()
        return {"Authorization": f"Basic {credentials}"}

    def upload(self, paths: Iterable[Path]) -> None:
        """Store these files over a few connections, about 750 small ones a second."""
        everything = list(paths)
        shares = [everything[number::UPLOADS] for number in range(UPLOADS)]
        with ThreadPoolExecutor(UPLOADS) as pool:
            list(pool.map(self._upload, shares))

    def _upload(self, paths: list[Path]) -> None:
        connection = HTTPConnection(self.host, self.http_port, timeout=30)
        try:
            for path in paths:
                body = path.read_bytes()
                connection.request("POST", "/instances", body, headers=self.headers)
                with connection.getresponse() as response:
                    answer = response.read()
                    if response.status != 200:
                        raise ValueError(f"{path.name}: {answer.decode()}")
        finally:
            connection.close()


@contextmanager
def start_orthanc(
    folder: Path,
    dataset: DicomFiles,
    *,
    nodelay: bool = True,
    auth: tuple[str, str] | None = None,
    http_port: int = 0,
    dicom_port: int = 0,
    configuration: Mapping[str, Any] | None = None,
) -> Iterator[Orthanc]:
    """A running Orthanc in ``folder``, still empty: ``upload`` fills it.

    Without ``nodelay`` it is as Debian ships it: it waits 40 ms at the end of every
    C-FIND, for an acknowledgement that Linux delays. Starting it again in the same
    folder and on the same ports continues with the same content.
    """
    username, password = auth or ("", "")
    for attempt in range(3):
        orthanc = Orthanc(
            http_port=http_port or free_port(),
            dicom_port=dicom_port or free_port(),
            dataset=dataset,
            username=username,
            password=password,
        )
        try:
            process = _start(folder, orthanc, nodelay, configuration or {})
            break
        except ServerDidNotStartError:  # somebody else took a port
            if attempt == 2:
                raise
    with process:
        yield orthanc


def _start(
    folder: Path, orthanc: Orthanc, nodelay: bool, configuration: Mapping[str, Any]
) -> ServerProcess:
    path = folder / "orthanc.json"
    settings = {**_configuration(orthanc), **configuration}
    path.write_text(json.dumps(settings, indent=1))
    executable = program("Orthanc")
    assert executable is not None
    process = ServerProcess(
        [executable, str(path)],
        folder=folder,
        log=folder / "orthanc.log",
        environment={"TCP_NODELAY": "1" if nodelay else "0"},
    )
    ports = [orthanc.dicom_port]
    if settings.get("HttpServerEnabled", True):
        ports.append(orthanc.http_port)
    return process.start(lambda: all(map(accepts, ports)))


def _configuration(orthanc: Orthanc) -> dict[str, Any]:
    return {
        "Name": "viewerhub-tests",
        "StorageDirectory": "storage",
        "IndexDirectory": "storage",
        "HttpPort": orthanc.http_port,
        "DicomPort": orthanc.dicom_port,
        "DicomAet": orthanc.ae_title,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": bool(orthanc.username),
        "RegisteredUsers": {orthanc.username: orthanc.password},
        "KeepAlive": True,
        "HttpThreadsCount": 16,
        "HttpVerbose": False,
        "DicomCheckCalledAet": False,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowMove": True,
        "UnknownSopClassAccepted": True,
        "DicomScpTimeout": 120,
        "DefaultEncoding": "Utf8",
        "Plugins": [orthanc_dicomweb_plugin()],
        "DicomWeb": {
            "Enable": True,
            "Root": "/dicom-web/",
            "EnableWado": True,
            "WadoRoot": "/wado",
        },
    }
