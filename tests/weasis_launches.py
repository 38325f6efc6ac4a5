"""Launches of every kind for the oracle of URIs: many, and cheap.

A launch is read from random bytes, which are drawn much faster than a tree of values.
Characters that are syntax somewhere come up often enough to be refused often, and
seldom enough that half of all launches can be carried.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from archives.entities import (
    InstanceIdentifier,
    PatientIdentifier,
    Selection,
    SeriesIdentifier,
)
from launcher import weasis
from launcher.weasis import LaunchOptions, RsArchive
from tests.weasis_uri import Command

NOTHING = Selection()
PLAIN = "aB3 é.-_/:,@+^~"
SYNTAX = "$\"'\\%&=;#?|()[]{}*<>`!\t\n\r\0日\u2028\x7f"
IDENTIFIER = "aB3.-_/:"


@cache
def _alphabet(plain: str, *, is_spiced: bool) -> str:
    """One character for each byte; spiced, an eighth of them are those of SYNTAX."""
    return ((SYNTAX if is_spiced else "") + plain * 256)[:256]


class Reader:
    """Values of a launch, one byte after the other; zeros at the end."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._position = 0

    @property
    def is_exhausted(self) -> bool:
        return self._position > len(self._content)

    def number(self, limit: int) -> int:
        position = self._position
        self._position += 1
        return self._content[position] % limit if position < len(self._content) else 0

    def text(self, shortest: int = 0, longest: int = 10, plain: str = PLAIN) -> str:
        alphabet = _alphabet(plain, is_spiced=not self.number(9))
        length = shortest + self.number(longest - shortest + 1)
        start = self._position
        self._position += length
        taken = self._content[start : self._position]
        return "".join(map(alphabet.__getitem__, taken)).ljust(shortest, "x")

    def uid(self) -> str:
        return f"1.2.{self.number(256)}.{self.number(256)}"

    def address(self) -> str:
        path = "".join(self.text(0, 6).split(" "))
        return f"https://a.example/{path}x"


@dataclass(frozen=True)
class Wanted:
    """What a URI is built from."""

    options: LaunchOptions
    manifest_urls: tuple[str, ...] = ()
    archives: tuple[RsArchive, ...] = ()
    selection: Selection = NOTHING
    messages_url: str = ""

    def build(self) -> str:
        if self.archives:
            return weasis.open_dicom_rs(
                self.archives,
                self.selection,
                self.options,
                messages_url=self.messages_url,
            )
        return weasis.open_manifests(self.manifest_urls, self.options)

    def commands(self) -> list[Command]:
        """What Weasis has to run, in this order."""
        close = [
            Command("dicom:close", {"patient": [line.split('"')[1]]})
            for line in self.options.commands
        ]
        get = [Command("dicom:get", {"wado": [url]}) for url in self.manifest_urls]
        if self.messages_url:
            get.append(Command("dicom:get", {"wado": [self.messages_url]}))
        return [*close, *map(self._rs_command, self.archives), *get]

    def _rs_command(self, archive: RsArchive) -> Command:
        everything = ["studyUID=*"] if archive.holds_launch_only else []
        requests = everything or self._requests()
        options = {"url": [archive.url.rstrip("/")], "request": requests}
        if archive.query_extension:
            options["query-ext"] = [archive.query_extension]
        if archive.headers:
            options["header"] = [f"{name}: {value}" for name, value in archive.headers]
        return Command("dicom:rs", options)

    def _requests(self) -> list[str]:
        asked = self.selection
        issuers = [one.issuer_of_patient_id for one in asked.patients]
        suffixes = [f"^^^{issuer}" if issuer else "" for issuer in issuers]
        ids = [one.patient_id for one in asked.patients]
        return [
            *(f"patientID={a}{b}" for a, b in zip(ids, suffixes, strict=True)),
            *(f"studyUID={uid}" for uid in asked.study_instance_uids),
            *(f"accessionNumber={number}" for number in asked.accession_numbers),
            *(f"seriesUID={one.series_instance_uid}" for one in asked.series),
            *(f"objectUID={one.sop_instance_uid}" for one in asked.instances),
        ]

    def properties(self) -> dict[str, str]:
        """The first of each name counts."""
        lines = list(self.options.properties)
        if any(archive.repeats_parameters for archive in self.archives):
            lines.insert(0, "dicom.qido.query.multi.params true")
        found: dict[str, str] = {}
        for line in lines:
            name, value = line.split(None, 1)
            found.setdefault(name, value)
        return found


def read_launch(reader: Reader) -> Wanted:
    options = LaunchOptions(
        commands=tuple(
            # A quote would end the value: that is another command, and may be right.
            f'$dicom:close -p "{reader.text().replace(chr(34), "")}x"'
            for _ in range(reader.number(2))
        ),
        properties=tuple(
            f"weasis.{'xyz'[reader.number(3)]} {reader.text()}".strip()
            for _ in range(reader.number(3))
        ),
        cdb=reader.text() if reader.number(4) == 1 else "",
        wcfg=reader.address() if reader.number(4) == 1 else "",
    )
    if reader.number(2):
        urls = tuple(reader.address() for _ in range(1 + reader.number(2)))
        return Wanted(options, manifest_urls=urls)
    archives = tuple(_read_archive(reader) for _ in range(1 + reader.number(2)))
    return Wanted(
        options,
        archives=archives,
        selection=_read_selection(reader),
        messages_url=reader.address() if reader.number(4) == 1 else "",
    )


def _read_archive(reader: Reader) -> RsArchive:
    headers = (("Authorization", f"Bearer {reader.text(1)}"),)
    return RsArchive(
        reader.address(),
        f"&a={reader.text(0, 3)}" if reader.number(2) else "",
        bool(reader.number(2)),
        headers[: reader.number(2)],
        reader.number(4) == 1,
    )


def _read_selection(reader: Reader) -> Selection:
    kind = reader.number(5)
    if kind == 0:
        patient_id = reader.text(plain=IDENTIFIER + "^ ")
        issuer = reader.text(0, 3, IDENTIFIER)
        patient = PatientIdentifier(patient_id=patient_id, issuer_of_patient_id=issuer)
        return Selection(patients=(patient,), study_instance_uids=(reader.uid(),))
    if kind == 1:
        return Selection(
            accession_numbers=(reader.text(0, 5, IDENTIFIER), reader.uid())
        )
    if kind == 2:
        series = SeriesIdentifier(series_instance_uid=reader.uid())
        instance = InstanceIdentifier(sop_instance_uid=reader.uid())
        return Selection(series=(series,), instances=(instance,))
    uids = [reader.uid() for _ in range(kind)]
    return Selection(study_instance_uids=tuple(uids))
