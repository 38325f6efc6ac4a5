"""What is wrong with the PEM texts an administrator pasted, in words."""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

_NO_CERTIFICATE = _(
    "No certificate can be read here. Paste the PEM text with its lines "
    "“BEGIN CERTIFICATE” and “END CERTIFICATE”."
)
_NO_KEY = _(
    "No private key can be read here. Paste the PEM text with its lines "
    "“BEGIN PRIVATE KEY” and “END PRIVATE KEY”."
)


def certificates_problem(pem: str) -> str:
    """Why these are not one or more certificates; empty if they are."""
    try:
        x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        return str(_NO_CERTIFICATE)
    # The loader skips what is not a certificate: a key pasted along would be shown again.
    if "PRIVATE KEY" in pem:
        return gettext("Only certificates belong here: leave out the private key.")
    return ""


def key_problem(pem: str, certificates: str = "") -> str:
    """Why this is no usable key of the first certificate; empty if it is."""
    key = _load_key(pem)
    if isinstance(key, str):
        return key
    if not certificates or certificates_problem(certificates):
        return ""
    certificate = x509.load_pem_x509_certificates(certificates.encode())[0]
    format_ = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if certificate.public_key().public_bytes(*format_) != key.public_key().public_bytes(
        *format_
    ):
        return gettext(
            "This key belongs to another certificate than the first one above."
        )
    return ""


def _load_key(pem: str) -> PrivateKeyTypes | str:
    try:
        return load_pem_private_key(pem.encode(), password=None)
    except TypeError:  # cryptography's word for a key that needs a password
        return gettext(
            "This key has a passphrase. Remove it first; the hub encrypts the key."
        )
    except (ValueError, UnsupportedAlgorithm):
        return str(_NO_KEY)
