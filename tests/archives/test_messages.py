"""Messages of archives in other languages, and that none of them stays English."""

from __future__ import annotations

import ast
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.utils import translation

from archives.clients import http_failures
from archives.clients.base import DicomWebEndpoint, DimseEndpoint
from archives.clients.credentials import BasicCredentials
from archives.clients.dimse import failures
from archives.clients.dimse.messages import NOT_AUTHORIZED
from archives.errors import ArchiveError
from archives.messages import PHRASES, Phrasebook, translated

CLIENTS = Path(__file__).resolve().parents[2] / "archives" / "clients"
DIMSE = DimseEndpoint(name="PACS", host="pacs", port=104, called_ae_title="PACS")
NO_TLS = ssl.SSLError()
NO_TLS.reason = "WRONG_VERSION_NUMBER"
RAISED = {
    "ArchiveRefusedError",
    "ArchiveResponseError",
    "ArchiveUnavailableError",
    "AssociationLostError",
    "Finding",
    "InstanceNotFoundError",
    "NotSentError",
    "RefusedClientError",
    "kind",
}
# Those that are put together from parts which the code names one by one, tested below;
# and those of the storage service and of mistakes in the hub, which no page shows.
PUT_TOGETHER = {
    "X X",
    "X X (HTTP X).",
    "X X (HTTP 401).",
    "X does not permit this: X.",
    "X: X",
    "X.",
    "No secure connection to X. X",
    "X aborted the associationX. Try again; if it happens again, ask its administrator "
    "what it logged.",
    "X refused the connection. Check that the archive is running and that this is its "
    "DICOM port.",
    "X can't be reached. Check the host name, and that no firewall is between it and "
    "this server.",
    "X redirects to another serverX: enter the address of the DICOMweb service itself.",
    "X entered for X is not one: enter it again.",
    "X has more X than the hub accepts.",
    "X is not connected.",
    "X; the archive's certificate ends in X, on X: the archive needs a new one.",
    "The archive's clock is X X the hub's: certificates, tokens and searches by date may "
    "fail. Set both clocks by NTP.",
}


@pytest.fixture
def french() -> Iterator[None]:
    with translation.override("fr"):
        yield


def messages() -> Iterator[str]:
    """What the clients raise or find, with an X for each value."""
    for path in sorted(CLIENTS.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            if is_call and node.func.id in RAISED:
                yield from map(text_of, node.args[:1])


def text_of(node: ast.expr) -> str:
    if isinstance(node, ast.JoinedStr):
        parts = [getattr(part, "value", "") for part in node.values]
        return "".join(part if isinstance(part, str) else "X" for part in parts)
    return str(node.value) if isinstance(node, ast.Constant) else ""


def is_sentence(text: str) -> bool:
    return text[:1].isupper() and text.endswith(".") and " " in text


def test_messages_of_the_clients_are_known() -> None:
    sentences = {text for text in messages() if is_sentence(text)}
    assert len(sentences) > 60

    unknown = {
        text
        for text in sentences - PUT_TOGETHER
        if not any(pattern.fullmatch(text) for pattern in PHRASES.patterns.values())
    }

    assert not unknown


@pytest.mark.parametrize(
    "error",
    [
        failures.unreachable(DIMSE, ConnectionRefusedError()),
        failures.unreachable(DIMSE, OSError()),
        failures.unreachable(DIMSE, NO_TLS),
        *(
            failures.rejected(DIMSE, 1, source, reason)
            for source, reason in [*failures._REJECTIONS, (9, 9)]
        ),
        failures.aborted(DIMSE, 0, 0),
        failures.aborted(DIMSE, 2, 4),
        failures.failed(DIMSE, "C-FIND", NOT_AUTHORIZED),
        failures.failed(DIMSE, "C-FIND", 0xA700),
        http_failures.connection_error(NO_TLS, "PACS"),
    ],
    ids=str,
)
@pytest.mark.usefixtures("french")
def test_message_that_is_put_together_is_known(error: ArchiveError) -> None:
    assert translated(str(error)) not in {"", str(error)}


@pytest.mark.parametrize("status", [401, 403, 413, 503])
@pytest.mark.parametrize(
    "credentials", [None, BasicCredentials(username="hub", password="secret")]
)
@pytest.mark.usefixtures("french")
def test_refused_login_is_known(
    status: int, credentials: BasicCredentials | None
) -> None:
    endpoint = DicomWebEndpoint(
        name="PACS", url="http://pacs/dicom-web", credentials=credentials
    )

    with pytest.raises(ArchiveError) as caught:
        http_failures.raise_for_status(status, endpoint)

    assert translated(str(caught.value)) != str(caught.value)


@pytest.mark.usefixtures("french")
def test_values_are_taken_over_in_the_manner_of_the_language() -> None:
    assert (
        translated(
            "Old PACS: the host name pacs.example.org is unknown. Check the address."
        )
        == "Old PACS\u00a0: le nom d’hôte pacs.example.org est inconnu. Vérifiez l’adresse."
    )
    assert "2\u00a0000 jours, le 31 janvier 2032" in translated(
        "TLSv1.3; the archive's certificate ends in 2,000 days, on 2032-01-31: the "
        "archive needs a new one."
    ).replace("\u202f", "\u00a0")
    assert translated(
        "The token server of Cloud can't be reached: check its address and the network."
    ).startswith("Le serveur de jetons de Cloud est injoignable")


@pytest.mark.usefixtures("french")
def test_sentences_are_translated_one_by_one() -> None:
    first = "No secure connection to St. Mary's PACS."
    second = (
        "It did not accept our certificate: check the client certificate and its key."
    )

    both = translated(f"{first} {second}")

    assert both == f"{translated(first)} {translated(second)}"
    assert both.startswith("Pas de connexion sécurisée avec St. Mary's PACS. ")


@pytest.mark.usefixtures("french")
def test_unknown_message_stays_as_it_is() -> None:
    for message in ["", "Nobody wrote this.", "PACS: nor this.", "Déjà traduit : oui."]:
        assert translated(message) == message


def test_english_stays_as_it_is() -> None:
    message = "TLSv1.3; the archive's certificate is valid until 2032-01-31."

    assert translated(message) == message


@pytest.mark.usefixtures("french")
def test_name_at_two_places_is_the_same_name() -> None:
    book = Phrasebook(["%(archive)s is not %(archive)s", "It is: %(sentence)s"])

    assert book._translated("It is: A is not A", {}) == "It is: A is not A"
    assert not book._translated("It is: A is not B", {})
    assert book.translated("A is not B") == "A is not B"


@pytest.mark.usefixtures("french")
def test_message_of_many_sentences_is_not_looked_at_for_long() -> None:
    """A message may quote a link, and the number of ways to read it grows fast."""
    message = "PACS accepts: a at b is c. " * 30

    assert translated(message) == message
