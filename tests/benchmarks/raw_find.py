"""C-FIND answers read from a bare socket and thrown away: what no client can undercut."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

from archives.clients import matches as tags
from archives.clients.base import DimseEndpoint
from archives.clients.dimse import messages, pdu, uids
from archives.clients.dimse.dataset import encode_identifier
from archives.clients.dimse.negotiation import (
    encode_request,
    parse_acceptance,
    query_proposal,
)
from archives.clients.dimse.pdu import PduReader

Query = tuple[str, Mapping[int, str]]
"""Level and keys."""


class RawAssociation:
    def __init__(self, endpoint: DimseEndpoint) -> None:
        self._endpoint = endpoint
        self._socket = socket.create_connection((endpoint.host, endpoint.port), 60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = PduReader()
        proposal = query_proposal(endpoint.root)
        self._socket.sendall(encode_request(endpoint, proposal))
        pdus = self._pdus()
        _, body = next(pdus)
        self._acceptance = parse_acceptance(body, proposal)

    def _pdus(self) -> Iterator[tuple[int, bytes]]:
        while True:
            data = self._socket.recv(1 << 16)
            assert data, "the archive closed the connection"
            with suppress(AttributeError, OSError):  # Linux has it
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            yield from self._reader.feed(data)

    def drain(self, number: int, query: Query) -> int:
        """How many answers came."""
        level, keys = query
        context = self._acceptance.context_of(uids.FIND[self._endpoint.root])
        assert context is not None
        identifier = encode_identifier(
            {tags.QUERY_RETRIEVE_LEVEL: level, **keys},
            is_explicit=context.transfer_syntax == uids.EXPLICIT_VR_LITTLE_ENDIAN,
            character_set=self._endpoint.specific_character_set,
            archive_name=self._endpoint.name,
        )
        command = messages.find_request(number, context.abstract_syntax)
        limit = self._acceptance.maximum_pdu_length
        message = pdu.encode_message(context.context_id, command, identifier, limit)
        self._socket.sendall(message)
        answers = 0
        for _, body in self._pdus():
            for fragment in pdu.fragments(body):
                if not fragment.is_command:
                    continue
                if messages.parse_command(fragment.content).has_dataset:
                    answers += 1
                else:
                    return answers
        raise AssertionError("no final response")

    def close(self) -> None:
        self._socket.sendall(pdu.encode_release_request())
        next(self._pdus())
        self._socket.close()


def drain(endpoint: DimseEndpoint, queries: Iterable[Query]) -> int:
    """The answers to all queries, one after the other on one association."""
    association = RawAssociation(endpoint)
    total = sum(association.drain(n, query) for n, query in enumerate(queries, 1))
    association.close()
    return total
