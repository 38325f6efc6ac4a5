"""Messages of launches in the language of whoever reads them: see ``archives.messages``.

The API answers them in English, as they are.
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
    _("Opened in %(viewer)s, which fetches the images itself."),
    _("%(archive)s was disabled. Ask your administrator to enable it again."),
    _("The hub did not get to ask %(archive)s in time. Try again, or tell your administrator."),
    _("%(count)s images of %(archive)s are missing: it did not list all it holds. Open the study again, or ask the archive's administrator about its limit for answers."),
    _("Some images of %(archive)s are missing: it did not list all it holds. Open the study again, or ask the archive's administrator about its limit for answers."),
    _("%(archive)s holds %(count)s images of what was asked for, but listed none of them. Open the study again, or ask the archive's administrator about its limit for answers."),
    _("%(archive)s holds images of what was asked for, but listed none of them. Open the study again, or ask the archive's administrator about its limit for answers."),
    _("%(archive)s also sent %(count)s studies that were not asked for; they were left out. Tell the administrator of the archive."),
    # What Weasis shows besides
    _("%(archive)s: no answer yet"),
    _("%(archive)s: some images are left out"),
    _("%(archive)s: complete"),
    _("%(archive)s: nothing found"),
    _("%(archive)s: incomplete"),
    _("%(archive)s: not answering"),
    _("%(archive)s: refused"),
    _("%(archive)s: failed"),
    _("%(archive)s is still being asked. Open the images again in a moment to see what it holds."),
    _("%(archive)s has %(count)s more images of series that are opened from %(others)s, and the viewer takes a series from one archive only. To see them, open the study from %(archive)s alone."),
    _("No images found"),
    _("No archive holds what was asked for. Asked: %(archives)s. Check the identifiers, or search for the study in ViewerHub."),
    _("This launch is over"),
    _("The link to these images has expired or was revoked. Open the study again in ViewerHub, or in the system you came from."),
    _("ViewerHub has a problem"),
    _("The hub can't list the images at the moment. Open them again in a minute, or tell your administrator the time."),
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
    _("It only opens studies of DIMSE archives. Name one (archive=…), or open them in Weasis."),
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
    # What is wrong with a link
    _("Give at least one of %(names)s."),
    _("Give one value only."),
    _("a UID has at most 64 characters."),
    _("not a UID: it has only digits, with single dots between them."),
    _("not a modality: write its code, such as CT, with at most 16 characters."),
    _("not a number from 1 to %(maximum)s."),
    _("longer than %(maximum)s characters."),
    _("contains a control character."),
    _("contains a backslash. Repeat the parameter for several values."),
    _("contains a wildcard (* or ?). Give the whole identifier."),
    _("is empty."),
    _("is not a date. Write 2026-01-31 or 2026-01-31T10:15:30, with +01:00 or Z after the time if it is not local."),
    _("is not a date. Write 1970-01-31."),
    _("is no day or time that there is."),
    # What an administrator has to correct
    _("Line %(number)s: %(sentence)s"),
    _("there is no {%(name)s}. Known are %(names)s."),
    _("a placeholder can only stand behind the first word."),
    _("write the name of a property only."),
    _("write scheme and host at least, such as https://weasis.example.org/."),
    _("write the header's name, a colon and its value."),
    _("Weasis can't send %(name)s: its images would not load."),
    _("the header has no value."),
    _("the value is too long, or has a control character."),
    _("This is not a UID such as 1.2.840.10008.1.2.4.50; * means any."),
    _("“%(tag)s” is not a tag. Write it as 0x00100010."),
    _("“%(tag)s” is larger than Weasis can read."),
    _("a command begins with $, such as $dicom:close --all"),
    _("put settings in the properties, the code base or the remote configuration."),
    _("put values with special characters in double quotes; $, %%, backslash and single quotes can't be sent to Weasis."),
    _("write the property's name, a space and its value."),
    _("Weasis doesn't let a link set %(name)s."),
    _("%(name)s may not contain any of \\ / : * ? \" < > | nor be only dots."),
    _("quotes, $, %% and backslash can't be sent to Weasis."),
    _("Weasis adds paths to the code base: leave out what begins with ? or #."),
    _("begin with a scheme, such as https:// or the one of a program."),
    _("addresses that begin with %(scheme)s: are not allowed."),
    _("spaces, quotes, backslashes and the like must be percent-encoded."),
    _("it names nothing to open. Use {study_uids}, for example."),
    _("brackets can't stand inside brackets."),
    _("a ] has no [ before it."),
    _("a [ has no ] after it."),
    _("a brace has no partner."),
    _("{%(name)s} can't choose the host of an address."),
    _("a web address has a host, such as https://viewer.example.org/."),
    _("The key of weasis-pacs-connector has %(first)s to %(last)s characters."),
    _("Give the password that the links are encrypted with."),
    _("The salt is hexadecimal: pairs of the digits 0 to 9 and a to f."),
    # Why a line of a template is not in a launch
    _("%(line)s: it makes the link too long for Windows."),
    _("%(line)s: a value has characters that can't be sent."),
    _("%(line)s: the launch names %(count)s values, and this line takes fewer."),
    _("%(line)s: the launch names no %(words)s."),
)
# fmt: on

PHRASES: Final = Phrasebook([*TEMPLATES, *messages.TEMPLATES])


def translated(message: str) -> str:
    """What the hub said of an archive or a launch, in the active language."""
    return PHRASES.translated(message)
