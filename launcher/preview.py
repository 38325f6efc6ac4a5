"""What a launch template makes of an example launch, for its administrator."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.conf import settings
from django.forms.utils import ErrorDict
from django.utils.translation import gettext as _

from archives.entities import Selection
from archives.models import Archive
from launcher import weasis
from launcher.criteria import LaunchExtras
from launcher.models import LaunchTemplate, Viewer

# As long as UIDs of real studies.
EXAMPLE = Selection(study_instance_uids=("1.2.826.0.1.3680043.8.498." + "1" * 38,))
EXAMPLE_EXTRAS = LaunchExtras(user="jane", host="ward-12")


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """The example's URI and the commands Weasis reads in it, or why there is none.

    ``note`` says why the mode is not the one of the template, ``why`` why it is.
    """

    problems: tuple[str, ...] = ()
    uri: str = ""
    commands: tuple[str, ...] = ()
    why: str = ""
    note: str = ""
    left_out: tuple[str, ...] = ()
    viewer: str = ""
    maximum: int = weasis.MAXIMUM_URI_LENGTH

    @property
    def length(self) -> int:
        return len(self.uri)


def preview(
    template: LaunchTemplate, chosen: Iterable[Archive], usable: Iterable[Archive]
) -> Preview:
    """The preview of a valid template that asks the ``chosen`` archives, or all.

    Only of those ``usable`` by who looks at it, as the address of an archive may be in it.
    """
    keys = {archive.pk for archive in chosen}
    asked = [archive for archive in usable if not keys or archive.pk in keys]
    if template.viewer:
        return _of_viewer(template.viewer, asked)
    manifest_url = weasis.example_manifest_url(settings.VIEWERHUB_PUBLIC_URL)
    start = template.start(manifest_url, EXAMPLE, asked, EXAMPLE_EXTRAS)
    is_as_asked = template.mode in {start.mode, LaunchTemplate.Mode.AUTO}
    return Preview(
        uri=start.uri,
        commands=weasis.decode(start.uri),
        why=start.why if is_as_asked else "",
        note=""
        if is_as_asked
        else _("Weasis gets a manifest. %(why)s") % {"why": start.why},
        left_out=start.left_out,
    )


def _of_viewer(viewer: Viewer, archives: list[Archive]) -> Preview:
    problem = _("There is no archive to open studies of.")
    for archive in archives:
        try:
            url = viewer.address(EXAMPLE, [archive], user=EXAMPLE_EXTRAS.user)
        except weasis.NotCarriableError as error:
            problem = str(error)
        else:
            return Preview(uri=url, viewer=viewer.name)
    return Preview(problems=(problem,), viewer=viewer.name)


def refused(errors: ErrorDict) -> Preview:
    """The preview of a template whose form has these errors."""
    return Preview(
        problems=tuple(
            f"{name.capitalize()}: {message}"
            for name, messages in errors.items()
            for message in messages
        )
    )
