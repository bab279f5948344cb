"""TLS on a connection: between the transport of the event loop and the protocol that is served.

The standard library's ``ssl`` makes and reads the records, in memory; it is decided here when.  Event loops
have such a layer too.  With theirs, a client that closes its side gets no answer any more, a server cannot
close its own side and read on (RFC 9112 s.9.6), no client is told why a handshake failed, and each connection
has a buffer of 256 KiB, even if its client says nothing.

A close_notify is TLS's end of file, and only of one direction (RFC 8446 s.6.1): the client may still want its
answers.  An end of TCP without one counts the same, since a request that was cut off is never complete
(RFC 9112 s.9.8).

What is written is encrypted as the client takes it: a large answer waits as it was handed over, so that one
object which many answers share is there once.  Small ones are encrypted at once.

An HTTPProtocol is told of the connection before the handshake, so that it is counted, drained and closed like
any other that has not asked for anything.  A client that speaks plain HTTP is told so, in plain HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections import deque
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
WRITE_BYTES: Final = 4 * RECORD_BYTES
"""What is encrypted at once; each client that does not read has that, and as much again, in memory."""


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
                if self.worker.meter is not None:
                    self.worker.meter.row.add("timeout handshake")
                protocol.abort()


class TLSProtocol(asyncio.Protocol, asyncio.Transport):
    """One connection: the protocol of the transport below, and the transport of the protocol above."""

    __slots__ = ("_above", "_below", "_blocked", "_closing", "_context", "_full", "_handed", "_high",
                 "_incoming", "_low", "_outgoing", "_read_closed", "_resuming", "_shaking", "_ssl", "_tls",
                 "_told", "_waiting", "_waiting_bytes", "_write_closed", "since")

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
        self._waiting: deque[bytes | memoryview] | None = None  # what was written and is not encrypted
        self._waiting_bytes = 0
        self._blocked = False  # whether the transport below takes nothing more
        self._resuming: asyncio.Handle | None = None  # what goes on, now that it takes more
        self._full = False  # whether the protocol above was told so
        self._handed = 0  # octets to the transport below
        self.since = tls.worker.loop.time()

    # -- what the transport below calls -----------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._below = cast("asyncio.Transport", transport)  # uvloop's only looks like one
        self._tls.handshakes.add(self)
        self.set_write_buffer_limits()
        if isinstance(self._above, HTTPProtocol):
            self._tell()

    def data_received(self, data: bytes) -> None:
        if self._read_closed or (self._closing and not self._waiting):
            return
        if self._ssl is None:
            if data[:1].isalpha():  # A record of the handshake begins with 22.
                self._speaks_plainly("HEAD" if data.startswith(b"HEAD ") else None)
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
        self._drop()
        if self._resuming is not None:
            self._resuming.cancel()
        above = self._above
        del self._above  # It holds this as its transport.
        if self._told:
            above.connection_lost(exc)

    def pause_writing(self) -> None:
        self._blocked = True
        self._tell_of_room()

    def resume_writing(self) -> None:
        """Go on in a turn of the loop's own: asyncio calls this while it sends, and cannot be closed then."""
        self._blocked = False
        if self._resuming is None:
            self._resuming = self._tls.worker.loop.call_soon(self._resume)

    def _resume(self) -> None:
        self._resuming = None
        if self._waiting:
            self._send_waiting()
        else:
            self._tell_of_room()

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
        self._drop()
        self._below.close()

    def _speaks_plainly(self, method: str | None) -> None:
        """The client speaks HTTP without TLS; whoever reads the answer is no stranger to it."""
        self._tls.handshakes.discard(self)
        above = self._above
        if isinstance(above, HTTPProtocol):
            self._below.set_protocol(above)
            above.transport = self._below
            above.refuse(PLAIN_HTTP._replace(method=method))
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
        if self._waiting:  # perhaps for the end of a message of TLS itself
            self._send_waiting()
        if pieces and not self._closing:
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
        """Encrypt what was written, unless it is much, or others wait ahead of it."""
        if self._blocked or self._waiting or len(data) > WRITE_BYTES:
            self._keep(data)
            return
        tls = self._ssl
        assert tls is not None
        try:
            tls.write(data)
        except ssl.SSLError:  # What it is, shows when it is tried again.
            self._keep(data)

    def _keep(self, data: Any) -> None:
        """Have something wait; what the caller might change meanwhile is copied."""
        if self._waiting is None:
            self._waiting = deque()
        self._waiting.append(data if isinstance(data, bytes) else bytes(data))
        self._waiting_bytes += len(self._waiting[-1])
        self._send_waiting()

    def _send_waiting(self) -> None:
        """Encrypt what waits, as far as the transport below takes it."""
        tls, waiting = self._ssl, self._waiting
        assert tls is not None
        assert waiting is not None
        while waiting and not (self._blocked or self._below.is_closing()):
            view = memoryview(waiting[0])
            try:
                tls.write(view[:WRITE_BYTES])
            except ssl.SSLWantReadError:  # in the middle of a message of TLS itself; its rest is to come
                break
            except ssl.SSLError as error:
                self._flush()
                self.give_up(error.reason or str(error))
                return
            self._waiting_bytes -= len(view[:WRITE_BYTES])
            waiting.popleft()
            if len(view) > WRITE_BYTES:
                waiting.appendleft(view[WRITE_BYTES:])
            if self._outgoing.pending >= WRITE_BYTES:
                self._flush()
        self._flush()
        if not waiting:
            self._waiting = None
            if self._closing or self._write_closed:
                self._end_writing()
        self._tell_of_room()

    def _tell_of_room(self) -> None:
        """Tell the protocol above when it should write nothing more, and when it may again."""
        unsent = self.get_write_buffer_size()
        if self._full and unsent <= self._low:
            self._full = False
            self._above.resume_writing()
        elif not self._full and unsent > self._high:
            self._full = True
            self._above.pause_writing()

    def _drop(self) -> None:
        """Nothing of what waits will be sent."""
        self._waiting, self._waiting_bytes = None, 0

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data:
            self._handed += len(data)
            self._below.write(data)

    def _end_writing(self) -> None:
        """Send close_notify, by which the client can tell the end from a connection that was cut."""
        tls = self._ssl
        assert tls is not None
        with contextlib.suppress(ssl.SSLError):  # that the client has not closed its side, too
            tls.unwrap()
        self._flush()
        if self._closing:
            self._below.close()
        elif not self._below.is_closing():  # What was flushed may have shown that the client is gone.
            try:
                self._below.write_eof()
            except OSError:  # The client has reset the connection, and we will hear of it.
                self.abort()

    # -- what the protocol above calls ------------------------------------------------------------

    def write(self, data: Any) -> None:
        # As _may_write says; each small answer comes here, and a call costs more than all that is asked.
        if data and not (self._closing or self._write_closed or self._shaking or self._below.is_closing()):
            self._encrypt(data)
            self._flush()

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        if self._may_write():
            for data in list_of_data:
                if data:
                    self._encrypt(data)
                if self._outgoing.pending >= WRITE_BYTES:
                    self._flush()
            self._flush()

    def _may_write(self) -> bool:
        return not (self._closing or self._write_closed or self._shaking or self._below.is_closing())

    def write_eof(self) -> None:
        if self._shaking:
            self.abort()
        elif not (self._closing or self._write_closed):
            self._write_closed = True
            if not self._waiting:
                self._end_writing()

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        if self._shaking:
            self.abort()
        elif not self._closing:
            self._closing = True
            if not self._waiting:
                self._end_writing()

    def abort(self) -> None:
        self._closing = True
        self._drop()
        self._below.abort()

    def is_closing(self) -> bool:
        return self._closing or self._below.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What asyncio's transports for TLS tell, and what the transport below does.

        And ``octets_gone``: how many the kernel has taken, those that TLS has added among them.
        """
        if name == "sslcontext":
            return self._context
        if name == "octets_gone":
            return self._handed - self._below.get_write_buffer_size()
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
        """As of any transport; what waits counts along with what the transport below has.

        That one is to be full when it has little, and always when it alone has more than ``low``, so that
        it tells when that has gone.
        """
        if high is None:
            high = WRITE_BYTES if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self._high, self._low = high, low
        self._below.set_write_buffer_limits(min(low, WRITE_BYTES))

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def get_write_buffer_size(self) -> int:
        return self._waiting_bytes + self._below.get_write_buffer_size()
