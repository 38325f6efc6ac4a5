"""What opening a ``weasis://`` address led to, and whether it is right."""

from __future__ import annotations

from dataclasses import dataclass, field
from io import BytesIO

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from tests.weasis_http import DownloadError, Request
from tests.weasis_manifest import Explorer, Message, Patient, Series
from tests.weasis_uri import Launch


@dataclass
class Result:
    """All that a launch led to."""

    launch: Launch
    patients: dict[str, Patient] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)
    images: dict[str, bytes | DownloadError] = field(default_factory=dict)
    thumbnails: dict[str, bytes] = field(default_factory=dict)
    dialogs: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    @property
    def series(self) -> list[Series]:
        explorer = Explorer(patients=self.patients)
        return explorer.all_series()

    @property
    def downloaded(self) -> dict[str, bytes]:
        """SOP Instance UID -> file, of those that arrived."""
        return {uid: one for uid, one in self.images.items() if isinstance(one, bytes)}

    @property
    def failures(self) -> list[str]:
        """What the user would be told, or miss: empty if all went well."""
        failed = [
            f"image {uid}: {error}"
            for uid, error in self.images.items()
            if isinstance(error, DownloadError)
        ]
        told = [
            f"message: {one.title}: {one.description}"
            for one in self.messages
            if one.severity != "INFO"
        ]
        return [*self.dialogs, *told, *self.warnings, *failed]


def report(result: Result) -> int:
    studies = [
        one for each in result.patients.values() for one in each.studies.values()
    ]
    print(
        f"Patients: {len(result.patients)}, studies: {len(studies)}, "
        f"series: {len(result.series)}; {len(result.downloaded)} of "
        f"{len(result.images)} images downloaded and right"
    )
    for message in result.messages:
        print(f"{message.severity}: {message.title}: {message.description}")
    for failure in result.failures[:20]:
        print(f"FAILED {failure}")
    is_complete = bool(result.images) and not result.failures
    return 0 if is_complete else 1


def uid_of(content: bytes) -> str:
    """The SOP Instance UID of a DICOM file (PS3.10)."""
    try:
        dataset = dcmread(
            BytesIO(content), stop_before_pixels=True, specific_tags=["SOPInstanceUID"]
        )
    except (InvalidDicomError, EOFError) as error:
        raise DownloadError(f"not DICOM: {content[:40]!r}") from error
    return str(dataset.get("SOPInstanceUID", ""))


def check_dicom(content: bytes, sop_instance_uid: str) -> None:
    found = uid_of(content)
    if found != sop_instance_uid:
        raise DownloadError(f"another instance was sent: {found}")
