"""Checks of what administrators enter, for several models."""

from __future__ import annotations

import ipaddress
import re

from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator, URLValidator
from django.utils.translation import gettext_lazy as _

# AE: 1 to 16 printable characters of the default repertoire without backslash, not only
# spaces (PS3.5 6.2).
validate_ae_title = RegexValidator(
    re.compile(r"\A(?! *\Z)[\x20-\x5b\x5d-\x7e]{1,16}\Z"),
    _("An AE title has 1 to 16 plain characters and no backslash."),
)
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,252})")
validate_base_url = URLValidator(
    schemes=["http", "https"],
    message=_("Enter a full address such as https://pacs.example.org/dicom-web."),
)


def validate_host(value: str) -> None:
    """A host name, an IPv4 or an IPv6 address."""
    if not _HOST_NAME.fullmatch(value):
        try:
            ipaddress.IPv6Address(value)
        except ValueError as error:
            raise ValidationError(
                _("Enter a host name or an IP address, without a port.")
            ) from error
