"""TLS on a connection: between the transport of the event loop and the protocol that is served.

The standard library's ``ssl`` makes and reads the records, in memory; it is decided here when.  Event loops
have such a layer too.  With theirs, a client that closes its side gets no answer any more, a server cannot
close its own side and read on (RFC 9112 s.9.6), no client is told why a handshake failed, and each connection
has a buffer of 256 KiB, even if its client says nothing.

A close_notify is TLS's end of file, and only of one direction (RFC 8446 s.6.1): the client may still want its
answers.  An end of TCP without one counts the same, since a request that was cut off is never complete
(RFC 9112 s.9.8).

An HTTPProtocol is told of the connection before the handshake, so that it is counted, drained and closed like
any other that has not asked for anything.  A client that speaks plain HTTP is told so, in plain HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, cast

from japronto.messages import Violation
from japronto.protocol import HTTPProtocol

if TYPE_CHECKING:
    from japronto.server import Worker

log = logging.getLogger("japronto.error")

PLAIN_HTTP: Final = Violation(400, "The request came as plain HTTP, and this port speaks HTTPS: "
                                   "use https:// in place of http://.")
RECORD_BYTES: Final = 16 * 1024
"""The most that one record carries (RFC 8446 s.5.1)."""
WRITE_BYTES: Final = 16 * RECORD_BYTES
"""What is encrypted at once, so that no answer is there a third time."""


class TLS:
    """What the connections of a worker have in common.

    ``context``     for the connections that come; may be replaced
    ``handshakes``  the connections whose handshake is not over
    """

    def __init__(self, worker: Worker, context: ssl.SSLContext) -> None:
        self.worker = worker
        self.context = context
        self.handshakes: set[TLSProtocol] = set()

    def protocol(self, served: asyncio.BaseProtocol) -> TLSProtocol:
        """The protocol of a new connection on which another is served."""
        return TLSProtocol(self, served)

    def check(self, now: float) -> None:
        """Cut the connections whose handshake takes too long."""
        for protocol in tuple(self.handshakes):
            if now - protocol.since >= self.worker.app.timeouts.handshake_seconds:
                protocol.abort()


class TLSProtocol(asyncio.Protocol, asyncio.Transport):
    """One connection: the protocol of the transport below, and the transport of the protocol above."""

    __slots__ = ("_above", "_below", "_closing", "_context", "_incoming", "_outgoing", "_read_closed",
                 "_shaking", "_ssl", "_tls", "_told", "_write_closed", "since")

    _above: Any
    _below: asyncio.Transport

    def __init__(self, tls: TLS, above: asyncio.BaseProtocol) -> None:
        self._tls = tls
        self._context = tls.context
        self._above = above
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._ssl: ssl.SSLObject | None = None  # made for clients that say something
        self._shaking = True  # whether the handshake is not over
        self._told = False  # whether the protocol above knows of the connection
        self._read_closed = False  # by the client
        self._write_closed = False
        self._closing = False
        self.since = tls.worker.loop.time()

    # -- what the transport below calls -----------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._below = cast("asyncio.Transport", transport)  # uvloop's only looks like one
        self._tls.handshakes.add(self)
        if isinstance(self._above, HTTPProtocol):
            self._tell()

    def data_received(self, data: bytes) -> None:
        if self._closing or self._read_closed:
            return
        if self._ssl is None:
            if data[:1].isalpha():  # A record of the handshake begins with 22.
                self._speaks_plainly()
                return
            self._ssl = self._context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._incoming.write(data)
        if self._shaking:
            self._shake_hands(self._ssl)
        else:
            self._read(self._ssl)

    def eof_received(self) -> bool:
        if self._shaking:
            return False
        self._end_reading()
        return True  # The protocol above decides when to close.

    def connection_lost(self, exc: Exception | None) -> None:
        self._tls.handshakes.discard(self)
        self._closing = True
        above = self._above
        del self._above  # It holds this as its transport.
        if self._told:
            above.connection_lost(exc)

    def pause_writing(self) -> None:
        self._above.pause_writing()

    def resume_writing(self) -> None:
        self._above.resume_writing()

    # -- the handshake ----------------------------------------------------------------------------

    def _tell(self) -> None:
        self._told = True
        self._above.connection_made(self)

    def _shake_hands(self, tls: ssl.SSLObject) -> None:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except ssl.SSLError as error:
            self._flush()  # the alert that says why
            self.give_up(error.reason or str(error))
            return
        self._shaking = False
        self._tls.handshakes.discard(self)
        self._flush()
        if not self._told:
            self._tell()
        if self._incoming.pending and not self._closing:
            self._read(tls)

    def give_up(self, reason: str) -> None:
        """Close a connection that will not come to be one.

        Strangers cause this as they like, so it must not fill a log.
        """
        log.debug("A TLS connection with %s failed: %s", self.get_extra_info("peername"), reason)
        self._closing = True
        self._below.close()

    def _speaks_plainly(self) -> None:
        """The client speaks HTTP without TLS; whoever reads the answer is no stranger to it."""
        self._tls.handshakes.discard(self)
        above = self._above
        if isinstance(above, HTTPProtocol):
            self._below.set_protocol(above)
            above.transport = self._below
            above.refuse(PLAIN_HTTP)
        else:
            self.give_up("the client speaks plain HTTP")

    # -- records ----------------------------------------------------------------------------------

    def _read(self, tls: ssl.SSLObject) -> None:
        """Hand on what the records carry that are complete."""
        pieces, ended = [], False
        try:
            while self._incoming.pending and not ended:
                piece = tls.read(RECORD_BYTES)
                if piece:
                    pieces.append(piece)
                else:
                    ended = True
        except ssl.SSLWantReadError:  # The rest of a record is to come.
            pass
        except ssl.SSLZeroReturnError:
            ended = True
        except ssl.SSLError as error:
            self._flush()
            self.give_up(error.reason or str(error))
            return
        if self._outgoing.pending:  # An answer within TLS itself.
            self._flush()
        if pieces:
            self._above.data_received(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if ended:  # With octets, it has a turn of its own, as without TLS: handlers are to see both.
            self._tls.worker.loop.call_soon(self._end_reading)

    def _end_reading(self) -> None:
        """The client has closed its side."""
        if self._read_closed or self._closing:
            return
        self._read_closed = True
        if not self._above.eof_received():
            self.close()

    def _encrypt(self, data: Any) -> None:
        tls = self._ssl
        assert tls is not None
        if len(data) <= WRITE_BYTES:
            tls.write(data)
            return
        view = memoryview(data)
        for start in range(0, len(data), WRITE_BYTES):
            tls.write(view[start:start + WRITE_BYTES])
            self._flush()

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data:
            self._below.write(data)

    def _close_writing(self) -> None:
        """Send close_notify, by which the client can tell the end from a connection that was cut."""
        self._write_closed = True
        tls = self._ssl
        assert tls is not None
        with contextlib.suppress(ssl.SSLError):  # that the client has not closed its side, too
            tls.unwrap()
        self._flush()

    # -- what the protocol above calls ------------------------------------------------------------

    def write(self, data: Any) -> None:
        if data and self._may_write():
            self._encrypt(data)
            self._flush()

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        if self._may_write():
            for data in list_of_data:
                if data:
                    self._encrypt(data)
            self._flush()

    def _may_write(self) -> bool:
        return not (self._closing or self._write_closed or self._shaking)

    def write_eof(self) -> None:
        if self._shaking:
            self.abort()
        elif not (self._closing or self._write_closed):
            self._close_writing()
            self._below.write_eof()

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        if self._shaking:
            self.abort()
        elif not self._closing:
            self._closing = True
            if not self._write_closed:
                self._close_writing()
            self._below.close()

    def abort(self) -> None:
        self._closing = True
        self._below.abort()

    def is_closing(self) -> bool:
        return self._closing or self._below.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What asyncio's transports for TLS tell, and what the transport below does."""
        if name == "sslcontext":
            return self._context
        tls = None if self._shaking else self._ssl
        if tls is not None:
            if name == "ssl_object":
                return tls
            if name in ("cipher", "compression"):
                return getattr(tls, name)()
            if name == "peercert":
                return tls.getpeercert()
        return self._below.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._above = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return cast("asyncio.BaseProtocol", self._above)

    def pause_reading(self) -> None:
        self._below.pause_reading()

    def resume_reading(self) -> None:
        self._below.resume_reading()

    def is_reading(self) -> bool:
        return self._below.is_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._below.set_write_buffer_limits(high, low)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._below.get_write_buffer_limits()

    def get_write_buffer_size(self) -> int:
        return self._below.get_write_buffer_size()
