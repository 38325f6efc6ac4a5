"""TLS to an archive (PS3.15 B.12): the context to connect with, and failures in words."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import NamedTemporaryFile

from archives.clients.base import TlsSettings
from archives.errors import ArchiveRefusedError

_VERIFICATION_FAILURES = {
    9: "Its certificate is not valid yet: check the clocks of both machines.",
    10: "Its certificate has expired: the archive needs a new one.",
    18: "Its certificate is self-signed: enter it as the CA certificate to trust it.",
    19: "Its certificate is signed by an unknown CA: enter that CA's certificate.",
    20: "Its certificate is signed by an unknown CA: enter that CA's certificate.",
    21: "Its certificate is signed by an unknown CA: enter that CA's certificate.",
    62: "Its certificate is for another host name: use the name in the certificate.",
    64: "Its certificate is for another address: use the host name in the certificate.",
}
_NO_TLS = "It does not speak TLS on this port: check the port, or connect without TLS."
_OLD_TLS = (
    "It offers only TLS versions or ciphers that are no longer safe: it needs TLS 1.2."
)
_CLIENT_CERTIFICATE = (
    "It did not accept our certificate: check the client certificate and its key."
)
_HANDSHAKE_FAILURES = {
    "UNEXPECTED_EOF_WHILE_READING": (
        "It ended the TLS handshake: check the port, and whether it wants a client "
        "certificate."
    ),
    "WRONG_VERSION_NUMBER": _NO_TLS,
    "RECORD_LAYER_FAILURE": _NO_TLS,
    "HTTP_REQUEST": _NO_TLS,
    "UNSUPPORTED_PROTOCOL": _OLD_TLS,
    "TLSV1_ALERT_PROTOCOL_VERSION": _OLD_TLS,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": (
        "It accepts none of our TLS versions and ciphers, or wants a client certificate."
    ),
    "DH_KEY_TOO_SMALL": _OLD_TLS,
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": _CLIENT_CERTIFICATE,
    "TLSV1_ALERT_UNKNOWN_CA": _CLIENT_CERTIFICATE,
    "SSLV3_ALERT_BAD_CERTIFICATE": _CLIENT_CERTIFICATE,
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": _CLIENT_CERTIFICATE,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": _CLIENT_CERTIFICATE,
}


def client_context(settings: TlsSettings | None, archive_name: str) -> ssl.SSLContext:
    """A context that verifies the archive, by the given CA or the system's trust store.

    Raises ``ArchiveRefusedError`` where a given certificate or key can't be read.
    """
    settings = settings or TlsSettings()
    try:
        context = ssl.create_default_context(cadata=settings.ca_certificates or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = settings.check_hostname
        if settings.client_certificate:
            _load_client_certificate(context, settings)
    except (ssl.SSLError, ValueError) as error:
        raise ArchiveRefusedError(
            f"The certificates entered for {archive_name} can't be read: "
            "check that they are PEM texts and that the key belongs to the certificate."
        ) from error
    return context


def explain(error: ssl.SSLError) -> str:
    """One sentence on what failed and what to do; says nothing of the peer's own words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _VERIFICATION_FAILURES.get(
            error.verify_code,
            "Its certificate is not trusted: check the CA certificate.",
        )
    return _HANDSHAKE_FAILURES.get(
        error.reason or "", "The TLS handshake failed: check port and certificates."
    )


def _load_client_certificate(context: ssl.SSLContext, settings: TlsSettings) -> None:
    # OpenSSL reads a chain from files alone; an unencrypted key asks no password
    with (
        _private_file(settings.client_certificate) as certificate,
        _private_file(settings.client_key or settings.client_certificate) as key,
    ):
        context.load_cert_chain(certificate, key, password="")


@contextmanager
def _private_file(text: str) -> Iterator[str]:
    """A file that only this user may read, gone at the end of the block."""
    with NamedTemporaryFile("w", encoding="utf-8", delete=False) as file:
        file.write(text)
    try:
        yield file.name
    finally:
        os.unlink(file.name)
