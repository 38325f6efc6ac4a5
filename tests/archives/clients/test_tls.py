"""TLS to archives: what is trusted, and what is said when it is not."""

from __future__ import annotations

import ssl
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from archives.clients.base import Deadlines, TlsSettings
from archives.clients.tls import client_context, explain
from archives.entities import StudyQuery
from archives.errors import ArchiveRefusedError, ArchiveUnavailableError
from tests.dicomweb_studies import make_study, serving
from tests.loops import run

NOW = datetime.now(UTC)
Pair = tuple[str, str]


def make_certificate(
    *,
    issued_by: Pair | None = None,
    host: str = "127.0.0.1",
    expires: datetime = NOW + timedelta(days=90),
) -> Pair:
    """Certificate and key, as PEM texts; its own issuer, and a CA, where none is given."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    issuer, issuer_key = name, key
    if issued_by:
        issuer = x509.load_pem_x509_certificate(issued_by[0].encode()).subject
        loaded = serialization.load_pem_private_key(issued_by[1].encode(), None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        issuer_key = loaded
    alternative: x509.GeneralName = x509.DNSName(host)
    if host[0].isdigit():
        alternative = x509.IPAddress(ip_address(host))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=60))
        .not_valid_after(expires)
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .add_extension(x509.BasicConstraints(issued_by is None, None), critical=True)
        .sign(issuer_key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(serialization.Encoding.PEM).decode(),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode(),
    )


AUTHORITY = make_certificate(host="authority")
SERVER = make_certificate(issued_by=AUTHORITY)
TRUSTED = TlsSettings(ca_certificates=AUTHORITY[0])


def server_context(folder: Path, pair: Pair = SERVER) -> ssl.SSLContext:
    path = folder / "server.pem"
    path.write_text("".join(pair))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def search(context: ssl.SSLContext, tls: TlsSettings | None) -> int:
    async def main() -> int:
        endpoint = {"tls": tls}
        async with serving(make_study(), context=context, endpoint=endpoint) as (
            client,
            _,
        ):
            return len((await client.find_studies(StudyQuery())).studies)

    return run(main())


def test_a_certificate_of_the_given_authority_is_trusted(tmp_path):
    assert search(server_context(tmp_path), TRUSTED) == 1


@pytest.mark.parametrize(
    ("pair", "tls", "words"),
    [
        (SERVER, None, "unknown CA"),
        (SERVER, TlsSettings(ca_certificates=SERVER[0]), "unknown CA"),
        (make_certificate(), TRUSTED, "self-signed"),
        (make_certificate(issued_by=AUTHORITY, host="192.0.2.1"), TRUSTED, "host name"),
        (make_certificate(issued_by=AUTHORITY, expires=NOW), TRUSTED, "has expired"),
    ],
)
def test_a_certificate_that_is_not_trusted_is_explained(tmp_path, pair, tls, words):
    with pytest.raises(ArchiveRefusedError, match=f"North: .*{words}"):
        search(server_context(tmp_path, pair), tls)


def test_a_host_name_is_not_checked_where_the_administrator_says_so(tmp_path):
    pair = make_certificate(issued_by=AUTHORITY, host="another.example")
    settings = TlsSettings(ca_certificates=AUTHORITY[0], check_hostname=False)

    assert search(server_context(tmp_path, pair), settings) == 1


def handshake(server: ssl.SSLContext, settings: TlsSettings) -> str:
    """What is said of a handshake in memory, where no alert is lost; empty if it is well."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client_context(settings, "North").wrap_bio(
        to_client, to_server, server_hostname="127.0.0.1"
    )
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(5):
        for step in (ours.do_handshake, lambda: ours.read(1)):
            try:
                step()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError as error:
                return explain(error)
        with suppress(
            ssl.SSLError
        ):  # as a server does: it sends the alert, and is done
            theirs.do_handshake()
    return ""


def test_old_versions_are_refused(tmp_path):
    context = server_context(tmp_path)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1

    assert "no longer safe" in handshake(context, TRUSTED)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_certificate_is_sent_where_it_is_wanted(tmp_path, version):
    context = server_context(tmp_path)
    context.maximum_version = version
    context.load_verify_locations(cadata=AUTHORITY[0])
    context.verify_mode = ssl.CERT_REQUIRED
    certificate, key = make_certificate(issued_by=AUTHORITY, host="viewerhub")
    settings = TlsSettings(
        ca_certificates=AUTHORITY[0], client_certificate=certificate, client_key=key
    )

    assert search(context, settings) == 1
    assert handshake(context, settings) == ""
    assert "client certificate" in handshake(context, TRUSTED)


def test_a_client_certificate_of_another_authority_is_the_reason(tmp_path):
    context = server_context(tmp_path)
    context.load_verify_locations(cadata=AUTHORITY[0])
    context.verify_mode = ssl.CERT_REQUIRED
    certificate, key = make_certificate(host="viewerhub")
    settings = TlsSettings(
        ca_certificates=AUTHORITY[0], client_certificate=certificate, client_key=key
    )

    assert "did not accept our certificate" in handshake(context, settings)


@pytest.mark.parametrize(
    ("answer", "connect", "kind", "words"),
    [
        (b"HTTP/1.1 400 Bad\r\n\r\n", 5.0, ArchiveRefusedError, "not speak TLS"),
        (b"", 0.5, ArchiveUnavailableError, "can't be reached in time"),
    ],
)
def test_a_server_without_tls_is_told_from_others(answer, connect, kind, words):
    async def main() -> None:
        async with serving(make_study()) as (_, server):
            server.greeting = answer
            url = server.url.replace("http:", "https:")
            deadlines = Deadlines(connect=connect)
            options = {"url": url, "tls": TRUSTED, "deadlines": deadlines}
            async with serving(endpoint=options) as (client, _):
                await client.find_studies(StudyQuery())

    with pytest.raises(kind, match=f"North.*{words}"):
        run(main())


@pytest.mark.parametrize(
    "settings",
    [
        TlsSettings(ca_certificates="no PEM"),
        TlsSettings(client_certificate="no PEM"),
        TlsSettings(client_certificate=SERVER[0], client_key=AUTHORITY[1]),
        TlsSettings(client_certificate=SERVER[0]),
    ],
)
def test_certificates_that_cannot_be_read_are_the_administrators_matter(settings):
    with pytest.raises(ArchiveRefusedError, match="entered for North can't be read"):
        client_context(settings, "North")


def test_no_key_is_left_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    client_context(
        TlsSettings(client_certificate=SERVER[0], client_key=SERVER[1]), "North"
    )

    assert list(tmp_path.iterdir()) == []
