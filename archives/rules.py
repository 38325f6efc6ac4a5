"""What an archive's settings must satisfy together: field -> what to do about it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from django.utils.translation import gettext as _

from archives.authentication_rules import authentication_problems
from archives.certificates import certificates_problem, key_problem
from archives.clients.base import HttpAuthentication
from archives.presets import DICOMWEB, DIMSE, PRESETS, LaunchMode, preset_of

if TYPE_CHECKING:
    from archives.models import Archive

Problems = dict[str, str]

_NAME: Final = re.compile(r"[-a-zA-Z0-9_]{1,40}")
# A part of a query string (RFC 3986 3.4) that begins where another one ends.
_PARAMETERS: Final = re.compile(
    r"(&[\w.-]+=([\w.~:/,*+-]|%[0-9A-Fa-f]{2})*)+", re.ASCII
)


def problems(archive: Archive) -> Problems:
    """All there is to say about an archive by itself, without the others."""
    found = (
        _protocol_problems(archive)
        | authentication_problems(archive)
        | _product_problems(archive)
        | _name_problems(archive)
        | _certificate_problems(archive)
        | _direct_image_problems(archive)
    )
    parameters = archive.wado_parameters
    if parameters and not _PARAMETERS.fullmatch(parameters):
        found["wado_parameters"] = _(
            "Write them as &name=value, one after the other, as in &anonymize=yes; "
            "percent-encode everything but letters, digits and . _ ~ : / , * + -"
        )
    return found


def split_names(text: str) -> tuple[str, ...]:
    """The names in a list with commas, each once."""
    names = (name.strip() for name in text.split(","))
    return tuple(dict.fromkeys(filter(None, names)))


def _protocol_problems(archive: Archive) -> Problems:
    if archive.protocol == DIMSE:
        needed = ("host", "port", "called_ae_title", "calling_ae_title")
        missing = [field for field in needed if not getattr(archive, field)]
        found = dict.fromkeys(missing, _("A DIMSE archive needs this."))
        return found | _address_problems(archive)
    if archive.protocol != DICOMWEB:
        return {}
    found = {} if archive.url else {"url": _("A DICOMweb archive needs this.")}
    return found | _address_problems(archive)


def _address_problems(archive: Archive) -> Problems:
    found = {}
    for field in ("url", "wado_uri_url"):
        if set("?#") & set(getattr(archive, field)):
            found[field] = _("Leave out everything from ? or # on.")
    return found


def _product_problems(archive: Archive) -> Problems:
    preset = PRESETS.get(archive.preset)
    if not preset or not archive.protocol or archive.protocol in preset.protocols:
        return {}
    protocol = "DIMSE" if archive.protocol == DIMSE else "DICOMweb"
    text = _("%(product)s does not speak %(protocol)s: choose another.")
    return {"preset": text % {"product": _(preset.name), "protocol": protocol}}


def _name_problems(archive: Archive) -> Problems:
    names = split_names(archive.previous_names)
    odd = [name for name in names if not _NAME.fullmatch(name)]
    if odd:
        return {
            "previous_names": _(
                "%(names)s: a name has up to 40 letters, digits, hyphens and "
                "underscores. Put commas between names."
            )
            % {"names": ", ".join(odd)}
        }
    return {}


def _certificate_problems(archive: Archive) -> Problems:
    found = {}
    certificate, key = archive.client_certificate, archive.client_key
    if archive.ca_certificates:
        found["ca_certificates"] = certificates_problem(archive.ca_certificates)
    if bool(certificate) != bool(key):
        missing = "client_key" if certificate else "client_certificate"
        found[missing] = _("A client certificate and its private key go together.")
    elif certificate:
        found["client_certificate"] = certificates_problem(certificate)
        found["client_key"] = key_problem(key, certificate)
    return {field: problem for field, problem in found.items() if problem}


def _direct_image_problems(archive: Archive) -> Problems:
    if archive.images != archive.Images.DIRECT:
        return {}
    if archive.protocol == DIMSE and not archive.wado_uri_url:
        return {
            "images": _(
                "Weasis can't fetch images by DIMSE. Choose “Through the hub”, or give "
                "the archive's WADO-URI address."
            )
        }
    if archive.authentication != HttpAuthentication.NONE:
        return {
            "images": _(
                "Viewers would need the archive's password. Choose “Through the hub”, "
                "or an archive without authentication."
            )
        }
    product = preset_of(archive.preset, archive.protocol)
    if product.launch_modes == (LaunchMode.GATEWAY,):
        return {
            "images": _(
                "Weasis can't fetch images from %(product)s. Choose “Through the hub”."
            )
            % {"product": _(product.name)}
        }
    return {}
