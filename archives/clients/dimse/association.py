"""An association (PS3.8 7 and 9): one connection, one operation at a time.

Bytes are parsed as they arrive and handed to the running ``Exchange``. Whatever breaks
the protocol aborts the association; a later operation needs another one.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Final, cast

from archives.clients.base import DimseEndpoint
from archives.clients.dimse import failures, messages, pdu
from archives.clients.dimse.dataset import DatasetError
from archives.clients.dimse.exchange import Exchange, MessageReader
from archives.clients.dimse.messages import CommandError
from archives.clients.dimse.negotiation import (
    Acceptance,
    Proposal,
    encode_request,
    parse_acceptance,
)
from archives.clients.dimse.pdu import PduError, PduReader

_QUICK_ACK: Final = getattr(socket, "TCP_QUICKACK", None)
_RELEASE_SECONDS: Final = 1.0
_MESSAGE_IDS: Final = 0xFFFF


class Association(asyncio.Protocol):
    """A connected transport; usable for operations after ``negotiate``."""

    def __init__(self, endpoint: DimseEndpoint, proposal: Proposal) -> None:
        self.endpoint = endpoint
        self.proposal = proposal
        self.acceptance = Acceptance()
        self.was_kept = False
        self.has_heard = False
        self._loop = asyncio.get_running_loop()
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._negotiated: asyncio.Future[Acceptance] | None = None
        self._idle: asyncio.Future[None] | None = None
        self._exchange: Exchange | None = None
        self._reader = PduReader()
        self._messages = MessageReader()
        self._last_message_id = 0
        self._last_heard = 0.0
        self._silence: asyncio.TimerHandle | None = None
        self._is_paused = False
        self._is_ending = True  # until connected
        self._is_aborted = False
        self._is_retired = False

    # What the owner calls

    @property
    def is_usable(self) -> bool:
        return not self._is_ending and not self.is_busy and not self._is_retired

    @property
    def is_busy(self) -> bool:
        return self._exchange is not None

    @property
    def is_closed(self) -> bool:
        return self._closed.done()

    @property
    def tls(self) -> ssl.SSLObject:
        """The TLS connection, of endpoints that have one."""
        return cast(ssl.SSLObject, self._transport.get_extra_info("ssl_object"))

    async def negotiate(self) -> None:
        """Send the A-ASSOCIATE-RQ and wait for the archive's word."""
        self._negotiated = self._loop.create_future()
        try:
            self._transport.write(encode_request(self.endpoint, self.proposal))
            async with asyncio.timeout(self.endpoint.deadlines.association):
                self.acceptance = await self._negotiated
        except TimeoutError:
            self.abort()
            raise failures.association_timeout(self.endpoint) from None
        except BaseException:
            self.abort()
            raise
        finally:
            self._negotiated = None

    def next_message_id(self) -> int:
        self._last_message_id = self._last_message_id % _MESSAGE_IDS + 1
        return self._last_message_id

    def begin(self, exchange: Exchange, command: bytes, dataset: bytes | None) -> None:
        """Send a request; its answers go to ``exchange``."""
        self._exchange = exchange
        self.has_heard = False
        if self._is_ending:
            self._fail(failures.closed(self.endpoint))
            return
        self._last_heard = self._loop.time()
        self._watch_silence()
        self.send(exchange.context.context_id, command, dataset)

    def send(
        self, context_id: int, command: bytes, dataset: bytes | None = None
    ) -> None:
        limit = self.acceptance.maximum_pdu_length
        message = pdu.encode_message(context_id, command, dataset, limit)
        self._transport.write(message)

    def cancel(self, exchange: Exchange) -> None:
        """Ask the archive to end the operation (C-CANCEL), if it still runs."""
        if exchange is self._exchange and not self._is_ending:
            command = messages.cancel_request(exchange.message_id)
            self.send(exchange.context.context_id, command)

    def is_alive(self) -> None:
        """The archive works for us elsewhere: its silence here means nothing."""
        self._last_heard = self._loop.time()

    def retire(self) -> None:
        """Not to be used for another operation."""
        self._is_retired = True

    async def settle(self, grace: float) -> None:
        """Wait for the final response of the running operation, or abort."""
        if self._exchange is None or self._is_ending:
            return
        self._idle = self._loop.create_future()
        try:
            async with asyncio.timeout(grace):
                await self._idle
        except TimeoutError:
            self.abort()
        except BaseException:
            self.abort()
            raise

    def pause_reading(self) -> None:
        """Let the archive wait; its silence meanwhile is not its fault."""
        if not self._is_paused and not self._is_ending:
            self._is_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._is_paused and not self._is_ending:
            self._is_paused = False
            self._last_heard = self._loop.time()
            self._transport.resume_reading()

    async def release(self) -> None:
        """End in order (PS3.8 7.2), or by force where the archive does not answer."""
        if not self._is_ending and not self.is_busy:
            self._is_ending = True
            self._transport.write(pdu.encode_release_request())
        try:
            async with asyncio.timeout(_RELEASE_SECONDS):
                await asyncio.shield(self._closed)
        except TimeoutError:
            self._transport.abort()
            await self._closed

    def abort(self) -> None:
        """Send an A-ABORT and close; a running operation fails."""
        if not self.is_closed and not self._is_aborted:
            self._is_aborted = True
            self._transport.write(pdu.encode_abort())
            self._close()
            self._fail_exchange(failures.closed(self.endpoint))

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._is_ending = False
        connection = transport.get_extra_info("socket")
        self._set_option: Callable[[int, int, int], None] = connection.setsockopt
        with suppress(OSError):
            self._set_option(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._acknowledge_quickly()

    def data_received(self, data: bytes) -> None:
        if self._is_aborted:
            return
        self._last_heard = self._loop.time()
        try:
            for pdu_type, body in self._reader.feed(data):
                self._pdu_received(pdu_type, body)
                if self._is_aborted:
                    return
        except (PduError, CommandError, DatasetError):
            self._fail(failures.unreadable(self.endpoint))
        except Exception as error:  # of a callback: whoever awaits has to see it
            self._fail(error)
        self._acknowledge_quickly()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_ending = True
        self._stop_watching_silence()
        if not self._closed.done():
            self._closed.set_result(None)
        if self._negotiated is not None and not self._negotiated.done():
            # with TLS 1.3 an archive refuses our certificate after the handshake
            error = (
                failures.unreachable(self.endpoint, exc)
                if isinstance(exc, ssl.SSLError)
                else failures.closed_before_association(self.endpoint)
            )
            self._negotiated.set_exception(error)
        self._fail_exchange(failures.closed(self.endpoint))

    # Protocol

    def _pdu_received(self, pdu_type: int, body: bytes) -> None:
        if pdu_type == pdu.P_DATA_TF:
            self.has_heard = True
            for fragment in pdu.fragments(body):
                contexts = self.acceptance.contexts
                if self._messages.receive(fragment, self._exchange, contexts):
                    self._finish()
        elif pdu_type == pdu.A_ABORT:
            self._lost(failures.aborted(self.endpoint, body[2], body[3]))
        elif pdu_type == pdu.A_RELEASE_RQ:
            self._transport.write(pdu.encode_release_response())
            self._lost(failures.closed(self.endpoint))
        elif pdu_type == pdu.A_RELEASE_RP and self._is_ending:
            self._transport.close()
        elif self._negotiated is not None and not self._negotiated.done():
            self._answer_received(self._negotiated, pdu_type, body)
        else:
            raise PduError(f"unexpected PDU of type {pdu_type:#04x}")

    def _answer_received(
        self, negotiated: asyncio.Future[Acceptance], pdu_type: int, body: bytes
    ) -> None:
        if pdu_type == pdu.A_ASSOCIATE_AC:
            negotiated.set_result(parse_acceptance(body, self.proposal))
        elif pdu_type == pdu.A_ASSOCIATE_RJ:
            result, source, reason = body[1:4]
            error = failures.rejected(self.endpoint, result, source, reason)
            self._lost(error)
        else:
            raise PduError(f"PDU of type {pdu_type:#04x} instead of an answer")

    def _finish(self) -> None:
        """The final response is here: the association may serve the next operation."""
        self._exchange = None
        self._stop_watching_silence()
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    # Ends

    def _fail(self, error: Exception) -> None:
        """Something is wrong on our side of the wire: tell the archive, and who waits."""
        self._deliver(error)
        self.abort()

    def _lost(self, error: Exception) -> None:
        """The archive ended the association."""
        self._deliver(error)
        self._is_aborted = True
        self._close()

    def _deliver(self, error: Exception) -> None:
        if self._negotiated is not None and not self._negotiated.done():
            self._negotiated.set_exception(error)
        self._fail_exchange(error)

    def _fail_exchange(self, error: Exception) -> None:
        exchange, self._exchange = self._exchange, None
        self._stop_watching_silence()
        if exchange is not None:
            exchange.failed(error)
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def _close(self) -> None:
        self._is_ending = True
        # an orderly end of TLS would wait for an archive that may not answer any more
        is_unsafe = self._is_paused or self.endpoint.tls is not None
        if is_unsafe or self._transport.get_write_buffer_size():
            self._transport.abort()
        else:
            self._transport.close()

    # Silence

    def _watch_silence(self) -> None:
        quiet = 0.0 if self._is_paused else self._loop.time() - self._last_heard
        remaining = self.endpoint.deadlines.first_answer - quiet
        if remaining <= 0:
            self._fail(failures.silent(self.endpoint))
        else:
            self._silence = self._loop.call_later(remaining, self._watch_silence)

    def _stop_watching_silence(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    def _acknowledge_quickly(self) -> None:
        # Linux falls back to delayed acknowledgements after every read; archives with
        # Nagle's algorithm then wait 40 ms between the two parts of each message.
        if _QUICK_ACK is not None:
            with suppress(OSError):
                self._set_option(socket.IPPROTO_TCP, _QUICK_ACK, 1)
