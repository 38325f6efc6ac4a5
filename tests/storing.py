"""Fills an archive over C-STORE, each file in the transfer syntax it is written in."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from pydicom import dcmread
from pynetdicom import AE, build_context, evt

from archives.embedded.server import send_without_delay


def store(host: str, port: int, ae_title: str, paths: Iterable[Path]) -> None:
    """Send all these files; raises ``ValueError`` if one is refused."""
    rest = iter(paths)
    while share := list(islice(rest, 100)):
        _store(host, port, ae_title, share)


def _store(host: str, port: int, ae_title: str, paths: Iterable[Path]) -> None:
    files = [dcmread(path) for path in paths]
    kinds = {(one.SOPClassUID, one.file_meta.TransferSyntaxUID) for one in files}
    contexts = [build_context(*kind) for kind in sorted(kinds)]
    entity = AE(ae_title="TESTS")
    association = entity.associate(
        host,
        port,
        contexts=contexts,
        ae_title=ae_title,
        evt_handlers=[(evt.EVT_CONN_OPEN, send_without_delay)],
    )
    try:
        for one in files:
            if association.send_c_store(one).Status != 0:
                raise ValueError(f"{one.filename} was refused")
    finally:
        association.release()
