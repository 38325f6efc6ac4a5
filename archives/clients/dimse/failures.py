"""What went wrong with an association or an operation, in sentences for a screen.

They name the archive and what to do next. Free text of the archive (Error Comment) is
left out: it may quote the patient.
"""

from __future__ import annotations

import ssl
from typing import Final

from archives.clients.base import DimseEndpoint
from archives.clients.dimse import messages
from archives.clients.outgoing import (
    ForbiddenAddressError,
    UnknownHostError,
    forbidden,
    unknown_host,
)
from archives.clients.tls import explain
from archives.errors import (
    ArchiveError,
    ArchiveRefusedError,
    ArchiveResponseError,
    ArchiveUnavailableError,
    ConnectionLostError,
    InstanceNotFoundError,
)

# (source, reason) of A-ASSOCIATE-RJ (PS3.8 Table 9-21)
_REJECTIONS: Final = {
    (1, 1): "it gives no reason. Ask its administrator what it logged",
    (
        1,
        2,
    ): "the application context is not supported. Check that it is a DICOM archive",
    (1, 3): "calling AE title not recognized. Register our AE title {calling} there",
    (1, 7): "called AE title not recognized. Check its AE title, {called}",
    (2, 1): "it gives no reason. Ask its administrator what it logged",
    (2, 2): "the protocol version is not supported",
    (3, 1): "it is congested. Try again in a minute",
    (3, 2): "its limit of connections is reached. Try again in a minute",
}
_PERMANENT: Final = 1
# sources and reasons of A-ABORT (PS3.8 Table 9-26)
_BY_PROVIDER: Final = 2
_ABORT_REASONS: Final = {
    1: "unrecognized PDU",
    2: "unexpected PDU",
    4: "unrecognized PDU parameter",
    5: "unexpected PDU parameter",
    6: "invalid PDU parameter value",
}
_STATUSES: Final = {
    0x0110: "processing failure",
    0x0112: "no such SOP instance",
    0x0117: "invalid SOP instance",
    0x0118: "no such SOP class",
    0x0119: "class-instance conflict",
    0x0122: "SOP class not supported",
    0x0124: "not authorized",
    0x0210: "duplicate invocation",
    0x0211: "unrecognized operation",
    0x0212: "mistyped argument",
    0x0213: "resource limitation",
    0xA700: "out of resources",
    0xA701: "out of resources: unable to calculate the number of matches",
    0xA702: "out of resources: unable to perform sub-operations",
    0xA801: "move destination unknown",
    0xA900: "identifier does not match SOP class",
}


class NotSentError(ArchiveResponseError):
    """The archive has an object, but found no way to send it."""


def unreachable(endpoint: DimseEndpoint, error: Exception) -> ArchiveError:
    """TCP or TLS did not come about."""
    if isinstance(error, ForbiddenAddressError):
        return forbidden(endpoint.name)
    if isinstance(error, UnknownHostError):
        return unknown_host(endpoint.name, error.host)
    if isinstance(error, ssl.SSLError):
        return ArchiveRefusedError(
            f"No secure connection to {endpoint.name}. {explain(error)}"
        )
    where = f"{endpoint.name} at {endpoint.host}:{endpoint.port}"
    if isinstance(error, ConnectionRefusedError):
        return ArchiveUnavailableError(
            f"{where} refused the connection. Check that the archive is running and "
            "that this is its DICOM port."
        )
    if endpoint.tls is not None and isinstance(error, ConnectionError):
        return ArchiveRefusedError(
            f"No secure connection to {endpoint.name}. It closed the connection during "
            "the TLS handshake: check that this port speaks TLS."
        )
    return ArchiveUnavailableError(
        f"{where} can't be reached. Check the host name, and that no firewall is "
        "between it and this server."
    )


def connect_timeout(endpoint: DimseEndpoint) -> ArchiveError:
    return ArchiveUnavailableError(
        f"{endpoint.name} at {endpoint.host}:{endpoint.port} did not answer within "
        f"{endpoint.deadlines.connect:g} s. Check host and port, and that no firewall "
        "is between it and this server."
    )


def association_timeout(endpoint: DimseEndpoint) -> ArchiveError:
    return ArchiveUnavailableError(
        f"{endpoint.name} accepted the connection, but no association within "
        f"{endpoint.deadlines.association:g} s. Check that this is its DICOM port, and "
        "whether it expects TLS."
    )


def rejected(
    endpoint: DimseEndpoint, result: int, source: int, reason: int
) -> ArchiveError:
    """An A-ASSOCIATE-RJ."""
    words = _REJECTIONS.get(
        (source, reason), f"its reason is unknown (source {source}, reason {reason})"
    ).format(called=endpoint.called_ae_title, calling=endpoint.calling_ae_title)
    message = f"{endpoint.name} rejected the association: {words}."
    if result == _PERMANENT and (source, reason) not in {(3, 1), (3, 2)}:
        return ArchiveRefusedError(message)
    return ArchiveUnavailableError(message)


def aborted(endpoint: DimseEndpoint, source: int, reason: int) -> ArchiveError:
    """An A-ABORT."""
    words = ""
    if source == _BY_PROVIDER and reason in _ABORT_REASONS:
        words = f" ({_ABORT_REASONS[reason]})"
    return ConnectionLostError(
        f"{endpoint.name} aborted the association{words}. Try again; if it happens "
        "again, ask its administrator what it logged."
    )


def closed(endpoint: DimseEndpoint) -> ArchiveError:
    return ConnectionLostError(
        f"{endpoint.name} closed the connection. Try again; if it happens again, ask "
        "its administrator what it logged."
    )


def closed_before_association(endpoint: DimseEndpoint) -> ArchiveError:
    return ArchiveUnavailableError(
        f"{endpoint.name} closed the connection instead of accepting an association. "
        "Check that this is its DICOM port, whether it expects TLS, and that it knows "
        f"our AE title {endpoint.calling_ae_title} and address."
    )


def silent(endpoint: DimseEndpoint) -> ArchiveError:
    return ArchiveUnavailableError(
        f"{endpoint.name} stopped answering for {endpoint.deadlines.first_answer:g} s. "
        "Try again, or search for less."
    )


def busy(endpoint: DimseEndpoint) -> ArchiveError:
    return ArchiveUnavailableError(
        f"{endpoint.name} is busy with other requests of ours: try again in a minute."
    )


def too_slow(endpoint: DimseEndpoint) -> ArchiveError:
    return ArchiveUnavailableError(
        f"{endpoint.name} did not finish within {endpoint.deadlines.total:g} s. "
        "Try again, or search for less."
    )


def unreadable(endpoint: DimseEndpoint) -> ArchiveError:
    return ArchiveResponseError(
        f"{endpoint.name} sent an answer that is not valid DICOM. Check that this is "
        "its DICOM port; if it is, report this to its vendor."
    )


def not_offered(endpoint: DimseEndpoint, service: str) -> ArchiveError:
    """The presentation context of a service was not accepted."""
    return ArchiveRefusedError(
        f"{endpoint.name} does not offer {service} to {endpoint.calling_ae_title}. "
        "Ask its administrator to enable it for this AE title."
    )


def get_not_offered(endpoint: DimseEndpoint) -> ArchiveError:
    return ArchiveRefusedError(
        f"{endpoint.name} does not offer C-GET to {endpoint.calling_ae_title}, so its "
        "images can't be retrieved. Ask its administrator to enable C-GET, have them "
        "fetched by C-MOVE, or register the archive's DICOMweb address."
    )


def not_found(endpoint: DimseEndpoint) -> ArchiveError:
    return InstanceNotFoundError(
        f"{endpoint.name} does not have this image any more. Search again to see what "
        "it has."
    )


def not_sent(endpoint: DimseEndpoint, status: int) -> ArchiveError:
    """The sub-operation of a C-GET failed."""
    code = f"0x{status:04X}"
    return NotSentError(
        f"{endpoint.name} has this image, but could not send it (status {code}): it may "
        "be stored in a form that the archive does not offer. Ask its administrator "
        "what it logged.",
        status=code,
    )


def not_moved(endpoint: DimseEndpoint, status: int) -> ArchiveError:
    """A C-MOVE ended, and the object did not reach our storage service."""
    destination = endpoint.move_destination
    if status == messages.MOVE_DESTINATION_UNKNOWN:
        return ArchiveRefusedError(
            f"{endpoint.name} does not know {destination}, where the hub receives images "
            "by C-MOVE. Ask its administrator to register this AE title with the address "
            "and port of the hub's storage service."
        )
    return NotSentError(
        f"{endpoint.name} has this image, but it did not reach {destination} (status "
        f"0x{status:04X}). Check that the hub's storage service runs, and that the "
        "archive has its address and port.",
        status=f"0x{status:04X}",
    )


def no_storage(endpoint: DimseEndpoint) -> ArchiveError:
    return ArchiveRefusedError(
        f"The images of {endpoint.name} come by C-MOVE, which needs the hub's image cache "
        "and storage service. Ask an administrator to turn them on, or to choose C-GET."
    )


def failed(endpoint: DimseEndpoint, service: str, status: int) -> ArchiveError:
    """An operation that ended with a failure status."""
    words = _STATUSES.get(status, "unable to process" if status >> 12 == 0xC else "")
    code = f"0x{status:04X}"
    text = f"status {code}" + (f", {words}" if words else "")
    if status in {messages.NOT_AUTHORIZED, messages.SOP_CLASS_NOT_SUPPORTED}:
        return ArchiveRefusedError(
            f"{endpoint.name} refused {service} ({text}). Ask its administrator to "
            f"allow it for the AE title {endpoint.calling_ae_title}."
        )
    return ArchiveResponseError(
        f"{endpoint.name} failed to answer {service} ({text}). Try again or ask for "
        "less; if it happens again, ask its administrator what it logged.",
        status=code,
    )
