"""DCMTK's query/retrieve archive, as a process on a free port."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.dicom_files import DicomFiles, StoredStudy
from tests.environment import free_port
from tests.processes import ServerProcess, accepts
from tests.requirements import program

GROUPS = ("demo", "charsets", "issuers", "edges")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dcmqrscp:
    """Where it serves, and the studies it was filled with."""

    port: int
    studies: tuple[StoredStudy, ...]
    host: str = "127.0.0.1"
    ae_title: str = "DCMQRSCP"


@contextmanager
def start_dcmqrscp(
    folder: Path,
    dataset: DicomFiles,
    *,
    groups: Iterable[str] = GROUPS,
    options: Iterable[str] = (),
    destinations: Mapping[str, tuple[str, int]] | None = None,
) -> Iterator[Dcmqrscp]:
    """A running archive with these groups of files, without Nagle's delays.

    It takes uncompressed objects, and of a compressed syntax that an option names.
    ``destinations`` are whom it sends to by C-MOVE: AE title -> host, port.
    """
    archive = Dcmqrscp(port=free_port(), studies=dataset.group(*groups))
    storage = folder / "storage"
    storage.mkdir(parents=True)
    hosts = "".join(
        f"entry{number} = ({title}, {host}, {port})\n"
        for number, (title, (host, port)) in enumerate((destinations or {}).items())
    )
    configuration = folder / "dcmqrscp.cfg"
    configuration.write_text(
        "MaxPDUSize = 16384\nMaxAssociations = 16\n"
        f"HostTable BEGIN\n{hosts}HostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\n{archive.ae_title} {storage} RW (500, 64mb) ANY\nAETable END\n"
    )
    process = ServerProcess(
        [_path("dcmqrscp"), "-c", str(configuration), *options, str(archive.port)],
        folder=folder,
        log=folder / "dcmqrscp.log",
        environment={"TCP_NODELAY": "1"},
    )
    with process:
        process.start(lambda: accepts(archive.port))
        if paths := dataset.paths(archive.studies):
            _fill(archive, process.environment, paths)
        yield archive


def _path(name: str) -> str:
    path = program(name)
    assert path is not None
    return path


def _fill(archive: Dcmqrscp, environment: dict[str, str], paths: list[Path]) -> None:
    command = [_path("storescu"), "-R", "-aec", archive.ae_title, archive.host]
    subprocess.run(
        [*command, str(archive.port), *map(str, paths)],
        env=environment,
        check=True,
        capture_output=True,
    )
