"""Messages of launches in the language of whoever reads them: see ``archives.messages``.

Those that tell the maker of a link or a program what is wrong with its parameters stay
English, as in the API.
"""

from __future__ import annotations

from typing import Final

from django.utils.translation import gettext_noop as _

from archives import messages
from archives.messages import Phrasebook

# fmt: off
TEMPLATES: Final = (
    # Why a search or a launch got nothing from an archive, or not all
    _("%(archive)s did not answer within %(seconds)s seconds. Try again, or narrow the search; if it stays silent, tell the archive's administrator."),
    _("%(archive)s did not list the series within %(seconds)s seconds. Try again."),
    _("%(archive)s could not be asked because of an error in the hub. Tell your administrator the time of this search."),
    _("%(archive)s could not be asked because of an error in the hub. Tell your administrator the time of this launch."),
    _("%(archive)s did not finish its answer in time. Try again later."),
    _("%(archive)s was disabled. Ask your administrator to enable it again."),
    _("The hub did not get to ask %(archive)s in time. Try again, or tell your administrator."),
    _("%(count)s images of %(archive)s are missing: it did not list all it holds. Open the study again, or ask the archive's administrator about its limit for answers."),
    _("Some images of %(archive)s are missing: it did not list all it holds. Open the study again, or ask the archive's administrator about its limit for answers."),
    _("%(archive)s holds %(count)s images of what was asked for, but listed none of them. Open the study again, or ask the archive's administrator about its limit for answers."),
    _("%(archive)s holds images of what was asked for, but listed none of them. Open the study again, or ask the archive's administrator about its limit for answers."),
    _("%(archive)s also sent %(count)s studies that were not asked for; they were left out. Tell the administrator of the archive."),
    # Why there is no launch
    _("No archive has what was asked for. Compare the identifiers with those of the system you came from; images that were made just now may be on their way still."),
    _("%(archives)s did not answer in time. Try again in a moment."),
    _("There is no archive you may use. Ask your administrator."),
    _("There is no archive “%(slug)s”, or you may not use it."),
    _("There is no launch template “%(slug)s”."),
    _("There is no archive to be asked."),
    _("None of the template's archives may be used for this launch."),
    _("The viewer of “%(slug)s” is disabled."),
    _("%(viewer)s can't open this. %(sentence)s"),
    _("The launch names nothing that this viewer can open."),
    _("The viewer's address would be too long. Open fewer studies at once."),
    _("It opens at most one study at once, and this launch has %(count)s. Open fewer, or open them in Weasis."),
    _("It opens at most %(most)s studies at once, and this launch has %(count)s. Open fewer, or open them in Weasis."),
    _("It opens studies of one archive only. Name the archive (archive=…), or open them in Weasis."),
    _("It only opens studies of DICOMweb archives. Name one (archive=…), or open them in Weasis."),
    _("The hub can't start launches at the moment because its queue is not reachable. Try again in a minute, or tell your administrator."),
    _("The hub can't reach its own store. Try again in a minute, or tell your administrator."),
    _("This link was used already: each opens once. Go back to where it came from, and open it again."),
    _("This link has expired. Go back to where it came from, and open it again."),
    _("This link waited too long for the login. Go back to where it came from, and open it again."),
    _("The signature is not right."),
    # Titles of the page that says so
    _("Bad launch parameters"), _("Who is calling?"), _("This launch is not allowed"),
    _("No study found"), _("This can't be shown as asked"), _("This is too large"),
    _("Launching is not possible now"),
)
# fmt: on

PHRASES: Final = Phrasebook([*TEMPLATES, *messages.TEMPLATES])


def translated(message: str) -> str:
    """What the hub said of an archive or a launch, in the active language."""
    return PHRASES.translated(message)
