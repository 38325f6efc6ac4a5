"""Fills an archive over C-STORE, each file in the transfer syntax it is written in."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from pydicom import FileDataset, dcmread
from pynetdicom import AE, build_context, evt

from archives.embedded.server import send_without_delay

# pynetdicom may take an answer that comes at once for a request, and wait in vain.
ATTEMPTS = 3


def store(host: str, port: int, ae_title: str, paths: Iterable[Path]) -> None:
    """Send all these files; raises ``ValueError`` if one is refused."""
    rest = iter(paths)
    while share := list(islice(rest, 100)):
        _store(host, port, ae_title, share)


def _store(host: str, port: int, ae_title: str, paths: Iterable[Path]) -> None:
    files = [dcmread(path) for path in paths]
    for _ in range(ATTEMPTS):
        files = _sent(host, port, ae_title, files)
        if not files:
            return
    raise ValueError(f"{files[0].filename} got no answer")


def _sent(
    host: str, port: int, ae_title: str, files: list[FileDataset]
) -> list[FileDataset]:
    """Send until an answer is lost; the files from that one on."""
    kinds = {(one.SOPClassUID, one.file_meta.TransferSyntaxUID) for one in files}
    contexts = [build_context(*kind) for kind in sorted(kinds)]
    entity = AE(ae_title="TESTS")
    entity.dimse_timeout = 10
    association = entity.associate(
        host,
        port,
        contexts=contexts,
        ae_title=ae_title,
        evt_handlers=[(evt.EVT_CONN_OPEN, send_without_delay)],
    )
    for number, one in enumerate(files):
        answer = association.send_c_store(one)
        if "Status" not in answer:
            association.abort()
            return files[number:]
        if answer.Status != 0:
            association.release()
            raise ValueError(f"{one.filename} was refused")
    association.release()
    return []
