"""What went wrong with an archive, in the language of whoever reads it.

Errors are English sentences where they arise, without Django, and are stored as such: by
workers that know no user, for readers with other languages than the user's. A page
translates them: a sentence that follows one of the templates below is said by the
template's translation. One that follows none stays English.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date
from typing import Final

from django.utils.formats import date_format, number_format
from django.utils.translation import get_language, gettext
from django.utils.translation import gettext_noop as _

ENGLISH: Final = "en"
MAXIMUM_LENGTH: Final = 1000
MAXIMUM_PARTS: Final = 8
_PLACE: Final = re.compile(r"%\((\w+)\)s")
_BETWEEN_SENTENCES: Final = re.compile(r"(?<=[.)]) (?=\S)")


class Phrasebook:
    """Templates with named places, and messages that follow one or several of them.

    What stands at ``%(day)s`` is a date in ISO 8601, at ``%(count)s`` a number, and at
    ``%(sentence)s`` a message of its own; all else is taken over as it is.
    """

    def __init__(self, templates: Iterable[str]) -> None:
        self.patterns = {one: _pattern(one) for one in templates}

    def translated(self, message: str) -> str:
        """The message in the active language, or as it is where it is not known."""
        is_english = (get_language() or ENGLISH) == ENGLISH
        if is_english or len(message) > MAXIMUM_LENGTH:
            return message
        return self._translated(message, {}) or message

    def _translated(self, message: str, known: dict[str, str]) -> str:
        """Empty where the message follows no template.

        ``known`` has the parts that were looked at, so that none is twice, and no more
        than a few: a message may quote what a stranger wrote.
        """
        if message not in known and len(known) < MAXIMUM_PARTS:
            known[message] = ""
            # In parts first: else one sentence would be taken for the name in the next.
            known[message] = self._in_parts(message, known) or self._as_one(
                message, known
            )
        return known.get(message, "")

    def _as_one(self, message: str, known: dict[str, str]) -> str:
        for template, pattern in self.patterns.items():
            if match := pattern.fullmatch(message):
                found = match.groupdict()
                values = {name: self._value(name, found[name], known) for name in found}
                if all(values.values()):
                    return gettext(template) % values
        return ""

    def _in_parts(self, message: str, known: dict[str, str]) -> str:
        """Of several sentences that were put together."""
        gaps = list(_BETWEEN_SENTENCES.finditer(message))
        for gap in gaps[:MAXIMUM_PARTS]:
            first = self._as_one(message[: gap.start()], known)
            rest = self._translated(message[gap.end() :], known) if first else ""
            if rest:
                return f"{first} {rest}"
        return ""

    def _value(self, name: str, text: str, known: dict[str, str]) -> str:
        if name == "sentence":
            return self._translated(text, known)
        if name == "archive":
            return SERVERS._as_one(text, {}) or text
        try:
            if name == "day":
                return date_format(date.fromisoformat(text), "DATE_FORMAT")
            if name == "count":
                return number_format(int(text.replace(",", "")))
        except ValueError:
            pass
        return text


def _pattern(template: str) -> re.Pattern[str]:
    """A name that stands twice in a template has the same value at both places."""
    pattern, known = "", set()
    for index, part in enumerate(_PLACE.split(template)):
        if index % 2 == 0:
            pattern += re.escape(part.replace("%%", "%"))
        elif part in known:
            pattern += f"(?P={part})"
        else:
            known.add(part)
            pattern += f"(?P<{part}>.+?)"
    return re.compile(pattern, re.DOTALL)


# What stands for an archive where it does not answer itself.
SERVERS: Final = Phrasebook(
    [
        _("The token server of %(name)s"),
        _("The identity provider of %(name)s"),
    ]
)
# fmt: off
TEMPLATES: Final = (
    # Over HTTP
    _("%(archive)s: the host name %(host)s is unknown. Check the address."),
    _("%(archive)s refuses connections: check that it runs, and its port."),
    _("%(archive)s can't be reached: check its address and the network."),
    _("%(archive)s can't be reached in time: check its address and the network."),
    _("%(archive)s stopped answering: try again later."),
    _("%(archive)s broke off its answer or does not speak HTTP: check address and port."),
    _("%(archive)s broke off the connection: try again later."),
    _("%(archive)s broke off its answer: try again."),
    _("%(archive)s is at an address the hub may not connect to: check the address, or let the hub's operator add its network to VIEWERHUB_OUTGOING_NETWORKS."),
    _("%(archive)s can't be asked: check its address."),
    _("%(archive)s has no address that can be asked: it begins with http:// or https://, then comes the host name."),
    _("%(archive)s sent an answer that can't be decompressed."),
    _("%(archive)s needed more than %(seconds)s seconds: narrow the search, or try again later."),
    _("%(archive)s is busy with other requests of ours: try again in a minute."),
    _("%(archive)s closes every connection: try later."),
    _("%(archive)s redirects in a circle: check its address."),
    _("%(archive)s redirects to another server: enter the address of the DICOMweb service itself."),
    _("%(archive)s redirects to another server (%(address)s): enter the address of the DICOMweb service itself."),
    _("%(archive)s is busy or not available: try again in a minute (HTTP %(status)s)."),
    _("%(archive)s has too many results: narrow the search (HTTP 413)."),
    _("%(archive)s reported a failure of its own: ask its administrator (HTTP %(status)s)."),
    _("%(archive)s can't answer a search (HTTP %(status)s). Tell its administrator."),
    _("%(archive)s did not accept the search: narrow it, or check the archive's address (HTTP %(status)s)."),
    _("%(archive)s sent a web page instead of DICOM JSON: check its address, and whether it wants a login."),
    _("%(archive)s sent something else than DICOM JSON: check that its address is that of a DICOMweb service."),
    _("%(archive)s sent an answer that is not DICOM JSON: check its address, or ask its administrator."),
    _("%(archive)s sent more than the hub accepts at once: narrow the search, or lower the page size of this archive."),
    _("%(archive)s sent metadata that is cut short, or not DICOM JSON: try again."),
    _("%(archive)s has no DICOMweb service at this address, or no studies: check the path of the address (HTTP 404)."),
    _("%(archive)s does not say how long its answer is: its administrator can have it send a Content-Length."),
    _("%(archive)s can't find series without their study: name the study too, or open the whole study."),
    _("%(archive)s can't find instances without their study: name the study too, or open the whole study."),
    _("%(archive)s does not hold this image any more (HTTP %(status)s)."),
    _("%(archive)s can't send this image: ask its administrator (HTTP %(status)s)."),
    _("%(archive)s sent another image than the one that was asked for: tell its administrator."),
    _("%(archive)s sent an image that is cut short or malformed: try again."),
    _("%(archive)s does not send whole series (HTTP %(status)s)."),
    _("%(archive)s sent a series that is cut short or malformed."),
    _("%(archive)s sent something else than a DICOM file: check its address, and whether it wants a login."),
    _("%(archive)s sent a picture larger than the hub accepts."),
    _("%(archive)s has more studies than the hub accepts."),
    _("%(archive)s has more series than the hub accepts."),
    _("%(archive)s has more instances than the hub accepts."),
    # Logins
    _("%(archive)s asks for a login: enter a user name and password, or a token (HTTP 401)."),
    _("%(archive)s refused the login: check the user name and password (HTTP 401)."),
    _("%(archive)s refused the token: check it, and whether it has expired (HTTP 401)."),
    _("%(archive)s refused the token it was sent: check scope and audience (HTTP 401)."),
    _("%(archive)s refused the service account's token: check its scope and rights (HTTP 401)."),
    _("%(archive)s refused the signature: check region and access keys (HTTP 401)."),
    _("%(archive)s refused the headers it was sent: check them (HTTP 401)."),
    _("%(archive)s refused your login: sign out of the hub and sign in again; if that does not help, its administrator has to accept the identity provider's tokens (HTTP 401)."),
    _("%(archive)s does not permit this: check the user name and password, and the rights of that account (HTTP 403)."),
    _("%(archive)s does not permit this: check the rights of the account the hub logs in with (HTTP 403)."),
    _("%(archive)s does not permit this: check region, access keys and the hub's clock, and the rights of that account (HTTP 403)."),
    _("%(archive)s does not permit this: ask its administrator for the right to use it (HTTP 403)."),
    _("%(archive)s needs your own login: sign out of the hub, and sign in again by %(provider)s."),
    _("%(archive)s needs its user's own login: open the study from the search page."),
    _("%(archive)s needs an identity provider that the hub has no more: tell its administrator."),
    _("The login at the identity provider is over: sign in again."),
    _("The hub can't reach its store: try again in a minute."),
    _("The AWS keys entered for %(archive)s are none: enter them again."),
    _("A stored password or key of %(archive)s can't be read any more: an administrator has to enter it again."),
    _("The identity provider did not answer in time: try again later."),
    _("%(archive)s did not answer in time: try again later."),
    _("%(archive)s can't be trusted: the CA certificates entered can't be read."),
    _("%(archive)s is not available: try again in a minute (HTTP %(status)s)."),
    _("%(archive)s does not know this client: check client id and client secret (HTTP %(status)s)."),
    _("%(archive)s gives this client no tokens by client credentials: let its administrator permit that (HTTP %(status)s)."),
    _("%(archive)s refused the scope: check scope and audience (HTTP %(status)s)."),
    _("%(archive)s refused the audience: check scope and audience (HTTP %(status)s)."),
    _("%(archive)s refused the key: check that it has not been deleted, and the hub's clock (HTTP %(status)s)."),
    _("%(archive)s gives no token: check its address and the settings (HTTP %(status)s)."),
    _("%(archive)s answers, but not with a token: check its address."),
    _("%(archive)s can't be asked: the service account's key is not the JSON file that Google made. Enter it again."),
    _("%(archive)s has no token endpoint that can be used: check server_url in VIEWERHUB_OIDC_PROVIDERS."),
    _("A header entered for %(archive)s is not one: enter it again."),
    _("The token entered for %(archive)s is not one: enter it again."),
    # TLS
    _("No secure connection to %(archive)s."),
    _("The certificates entered for %(archive)s can't be read: check that they are PEM texts and that the key belongs to the certificate."),
    _("Its certificate is not valid yet: check the clocks of both machines."),
    _("Its certificate has expired: the archive needs a new one."),
    _("Its certificate is self-signed: enter it as the CA certificate to trust it."),
    _("Its certificate is signed by an unknown CA: enter that CA's certificate."),
    _("Its certificate is for another host name: use the name in the certificate."),
    _("Its certificate is for another address: use the host name in the certificate."),
    _("Its certificate is not trusted: check the CA certificate."),
    _("It does not speak TLS on this port: check the port, or connect without TLS."),
    _("It offers only TLS versions or ciphers that are no longer safe: it needs TLS 1.2."),
    _("It did not accept our certificate: check the client certificate and its key."),
    _("It ended the TLS handshake: check the port, and whether it wants a client certificate."),
    _("It accepts none of our TLS versions and ciphers, or wants a client certificate."),
    _("It closed the connection during the TLS handshake: check that this port speaks TLS."),
    _("The TLS handshake failed: check port and certificates."),
    # By DIMSE
    _("%(archive)s at %(address)s refused the connection. Check that the archive is running and that this is its DICOM port."),
    _("%(archive)s at %(address)s can't be reached. Check the host name, and that no firewall is between it and this server."),
    _("%(archive)s at %(address)s did not answer within %(seconds)s s. Check host and port, and that no firewall is between it and this server."),
    _("%(archive)s accepted the connection, but no association within %(seconds)s s. Check that this is its DICOM port, and whether it expects TLS."),
    _("%(archive)s closed the connection instead of accepting an association. Check that this is its DICOM port, whether it expects TLS, and that it knows our AE title %(calling)s and address."),
    _("%(archive)s rejected the association: it gives no reason. Ask its administrator what it logged."),
    _("%(archive)s rejected the association: the application context is not supported. Check that it is a DICOM archive."),
    _("%(archive)s rejected the association: calling AE title not recognized. Register our AE title %(calling)s there."),
    _("%(archive)s rejected the association: called AE title not recognized. Check its AE title, %(called)s."),
    _("%(archive)s rejected the association: the protocol version is not supported."),
    _("%(archive)s rejected the association: it is congested. Try again in a minute."),
    _("%(archive)s rejected the association: its limit of connections is reached. Try again in a minute."),
    _("%(archive)s rejected the association: its reason is unknown (source %(source)s, reason %(reason)s)."),
    _("%(archive)s aborted the association. Try again; if it happens again, ask its administrator what it logged."),
    _("%(archive)s aborted the association (%(reason)s). Try again; if it happens again, ask its administrator what it logged."),
    _("%(archive)s closed the connection. Try again; if it happens again, ask its administrator what it logged."),
    _("%(archive)s stopped answering for %(seconds)s s. Try again, or search for less."),
    _("%(archive)s did not finish within %(seconds)s s. Try again, or search for less."),
    _("%(archive)s sent an answer that is not valid DICOM. Check that this is its DICOM port; if it is, report this to its vendor."),
    _("%(archive)s does not offer C-GET to %(calling)s, so its images can't be retrieved. Ask its administrator to enable C-GET, have them fetched by C-MOVE, or register the archive's DICOMweb address."),
    _("%(archive)s does not offer %(service)s to %(calling)s. Ask its administrator to enable it for this AE title."),
    _("%(archive)s refused %(service)s (%(status)s). Ask its administrator to allow it for the AE title %(calling)s."),
    _("%(archive)s failed to answer %(service)s (%(status)s). Try again or ask for less; if it happens again, ask its administrator what it logged."),
    _("%(archive)s has this image, but could not send it (status %(status)s): it may be stored in a form that the archive does not offer. Ask its administrator what it logged."),
    _("%(archive)s does not know %(destination)s, where the hub receives images by C-MOVE. Ask its administrator to register this AE title with the address and port of the hub's storage service."),
    _("%(archive)s has this image, but it did not reach %(destination)s (status %(status)s). Check that the hub's storage service runs, and that the archive has its address and port."),
    _("The images of %(archive)s come by C-MOVE, which needs the hub's image cache and storage service. Ask an administrator to turn them on, or to choose C-GET."),
    _("%(archive)s does not have this image any more. Search again to see what it has."),
    _("%(archive)s is registered with the character set %(set)s, which can't express this search. Search for something else, or ask an administrator to register another one."),
    _("%(archive)s does not find a series or an image without its study. Give the Study Instance UID as well."),
    # What "Verify connection" found
    _("Settings"), _("Reached"), _("Association"), _("Echo"), _("Query"), _("Image"),
    _("Token"), _("Clock"),
    _("%(host)s answers on port %(port)s."),
    _("%(host)s answers on port %(port)s with TLS."),
    _("%(version)s; the archive's certificate is valid until %(day)s."),
    _("%(version)s; the archive's certificate ends in 1 day, on %(day)s: the archive needs a new one."),
    _("%(version)s; the archive's certificate ends in %(count)s days, on %(day)s: the archive needs a new one."),
    _("%(called)s accepts %(calling)s."),
    _("C-ECHO succeeded."),
    _("C-FIND works. The archive has no studies yet, so no image was tried."),
    _("%(archive)s lists no image for its newest study. Ask its administrator whether SERIES and IMAGE level queries are supported."),
    _("The token server gives the hub a token."),
    _("The newest study found is of an unknown date."),
    _("The newest study found is of %(day)s."),
    _("The archive answers, and holds no studies."),
    _("One image of %(size)s KB came by %(way)s."),
    _("%(archive)s names no image in its newest studies: check that this account may see series and images."),
    _("The archive does not tell its time, so it was not compared."),
    _("The archive's clock agrees with the hub's."),
    _("The archive's clock is %(count)s seconds ahead of the hub's: certificates, tokens and searches by date may fail. Set both clocks by NTP."),
    _("The archive's clock is %(count)s minutes ahead of the hub's: certificates, tokens and searches by date may fail. Set both clocks by NTP."),
    _("The archive's clock is %(count)s hours ahead of the hub's: certificates, tokens and searches by date may fail. Set both clocks by NTP."),
    _("The archive's clock is %(count)s seconds behind the hub's: certificates, tokens and searches by date may fail. Set both clocks by NTP."),
    _("The archive's clock is %(count)s minutes behind the hub's: certificates, tokens and searches by date may fail. Set both clocks by NTP."),
    _("The archive's clock is %(count)s hours behind the hub's: certificates, tokens and searches by date may fail. Set both clocks by NTP."),
    _("The hub could not check it because of an error of its own."),
    # An archive, and why it can't be asked safely
    _("%(archive)s: %(sentence)s"),
)
# fmt: on

PHRASES: Final = Phrasebook(TEMPLATES)


def translated(message: str) -> str:
    """What the hub or one of its clients said of an archive, in the active language."""
    return PHRASES.translated(message)
