"""What a launch template makes of an example launch, for its administrator."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.conf import settings
from django.forms.utils import ErrorDict

from archives.entities import Selection
from archives.models import Archive
from launcher import weasis
from launcher.models import LaunchTemplate

# As long as UIDs of real studies.
EXAMPLE = Selection(study_instance_uids=("1.2.826.0.1.3680043.8.498." + "1" * 38,))


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """The example's URI and the commands Weasis reads in it, or why there is none."""

    problems: tuple[str, ...] = ()
    uri: str = ""
    commands: tuple[str, ...] = ()
    note: str = ""
    maximum: int = weasis.MAXIMUM_URI_LENGTH

    @property
    def length(self) -> int:
        return len(self.uri)


def preview(template: LaunchTemplate, chosen: Iterable[Archive]) -> Preview:
    """The preview of a valid template that asks the ``chosen`` archives, or all."""
    archives = [archive for archive in chosen if archive.is_enabled]
    asked = archives or list(Archive.objects.enabled())
    manifest_url = weasis.example_manifest_url(settings.VIEWERHUB_PUBLIC_URL)
    uri = template.uri(manifest_url, EXAMPLE, asked)
    commands = weasis.decode(uri)
    wants_rs = template.mode == LaunchTemplate.Mode.DICOM_RS
    has_rs = any(command.startswith("$dicom:rs") for command in commands)
    note = (
        "Weasis gets a manifest: at least one archive of this template is not a DICOMweb "
        "archive with images straight from the archive."
        if wants_rs and not has_rs
        else ""
    )
    return Preview(uri=uri, commands=commands, note=note)


def refused(errors: ErrorDict) -> Preview:
    """The preview of a template whose form has these errors."""
    return Preview(
        problems=tuple(
            f"{name.capitalize()}: {message}"
            for name, messages in errors.items()
            for message in messages
        )
    )
