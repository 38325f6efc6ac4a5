"""Servers that all processes of a test run share, started when first asked for.

The controller of a run owns them. With pytest-xdist the workers ask it over a socket in
the run's directory, so that one archive is filled once and outlives every worker.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack
from multiprocessing.connection import Client, Listener
from pathlib import Path

from tests.dicom_files import DicomFiles, write
from tests.environment import run_directory
from tests.orthanc import Orthanc, start_orthanc

_END = "end"


class Laboratory:
    """The files and the Orthanc of a run, in this process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: DicomFiles | None = None
        self._orthanc: Orthanc | None = None
        self._servers = ExitStack()

    def files(self) -> DicomFiles:
        if self._files is None:
            self._files = write(self._folder / "dicom")
        return self._files

    def orthanc(self) -> Orthanc:
        if self._orthanc is None:
            folder = self._folder / "orthanc"
            folder.mkdir(exist_ok=True)
            started = start_orthanc(folder, self.files())
            orthanc = self._servers.enter_context(started)
            orthanc.upload(self.files().paths())
            self._orthanc = orthanc
        return self._orthanc

    def close(self) -> None:
        self._servers.close()


class LaboratoryServer:
    """Answers the workers' requests one after the other, in a thread of its own.

    The servers are started by that thread, because on Linux they end with it.
    """

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "laboratory.socket")
        self._laboratory = Laboratory(folder)
        self._listener = Listener(self.address, family="AF_UNIX")
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        ask(self.address, _END)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        request = ""
        while request != _END:
            with self._listener.accept() as connection:
                try:
                    request = connection.recv()
                    answer = self._answer(request)
                except EOFError:  # a worker that was ended while it asked
                    continue
                except Exception as error:  # the worker's test has to fail with it
                    answer = error
                connection.send(answer)

    def _answer(self, request: str) -> object:
        match request:
            case "files":
                return self._laboratory.files()
            case "orthanc":
                return self._laboratory.orthanc()
            case _:
                return self._laboratory.close()


class RemoteLaboratory:
    """The controller's laboratory, as a worker sees it."""

    def __init__(self, address: str) -> None:
        self._address = address

    def files(self) -> DicomFiles:
        answer = ask(self._address, "files")
        assert isinstance(answer, DicomFiles)
        return answer

    def orthanc(self) -> Orthanc:
        answer = ask(self._address, "orthanc")
        assert isinstance(answer, Orthanc)
        return answer

    def close(self) -> None:
        """Nothing: the controller ends its servers."""


def ask(address: str, request: str) -> object:
    with Client(address, family="AF_UNIX") as connection:
        connection.send(request)
        answer = connection.recv()
    if isinstance(answer, Exception):
        raise answer
    return answer


def open_laboratory(address: str | None) -> Laboratory | RemoteLaboratory:
    """The controller's at this address; without one, this process's own."""
    return RemoteLaboratory(address) if address else Laboratory(run_directory())
