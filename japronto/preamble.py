"""Connections that open with a header of the PROXY protocol: who may make them, and what becomes of them.

Where ``--proxy-protocol`` is on, every connection begins here.  One whose peer is not allowed is cut before
anything of it is read; one that does not open with a header is cut too.  When the header is there, the
protocol that would have been there from the start takes the connection over, with what has come behind the
header.  It is given a transport that tells the addresses of the header, so that nothing else has to know.

The header must be there within ``head_seconds``, looked at by the timer of the worker.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, cast

from japronto.logs import Said
from japronto.pure.forwarded import AllowList
from japronto.pure.proxy_protocol import Ends, Fault, Preamble, PreambleReader

if TYPE_CHECKING:
    from japronto.server import Worker

TOO_SLOW: Final = "its header of the PROXY protocol did not come in time"
NOT_ALLOWED: Final = "with --proxy-protocol, only those in --forwarded-allow-ips may connect"


class Preambles:
    """The connections of a worker whose header is not there yet."""

    def __init__(self, worker: Worker, allowed: str) -> None:
        self.worker = worker
        self.allowed = AllowList(allowed)
        self._said = Said()

    def protocol(self) -> PreambleProtocol:
        """The protocol of a new connection."""
        return PreambleProtocol(self)

    def check(self, now: float) -> None:
        """Cut the connections whose header takes too long."""
        limit = self.worker.app.timeouts.head_seconds
        for protocol in tuple(self.worker.admission.beginning):
            if now - protocol.since >= limit:
                if self.worker.meter is not None:
                    self.worker.meter.row.add("timeout proxy_header")
                self._cut(protocol.transport, TOO_SLOW)

    def drain(self) -> None:
        """Cut all that wait, but for those that have just come: their header is on its way."""
        for protocol in tuple(self.worker.admission.beginning):
            protocol.drain()

    def refuse(self, transport: asyncio.Transport, reason: str) -> None:
        """Cut a connection that is not as it must be."""
        self.worker.admission.refused += 1
        self._cut(transport, reason)

    def _cut(self, transport: asyncio.Transport, reason: str) -> None:
        """Mostly it is the configuration that is wrong, and somebody wonders."""
        peername = transport.get_extra_info("peername")
        who = peername[0] if isinstance(peername, tuple) else "a Unix socket"
        self._said.warning("A connection from %s was closed: %s", who, reason)
        transport.abort()


class PreambleProtocol(asyncio.Protocol):
    """A connection until its header is there."""

    __slots__ = ("_preambles", "_reader", "since", "transport")

    transport: asyncio.Transport

    def __init__(self, preambles: Preambles) -> None:
        self._preambles = preambles
        self._reader = PreambleReader(preambles.worker.app.limits.proxy_header_bytes)
        self.since = preambles.worker.loop.time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport = cast("asyncio.Transport", transport)  # uvloop's only looks like one
        preambles, peername = self._preambles, transport.get_extra_info("peername")
        if preambles.worker.meter is not None:
            preambles.worker.meter.row.add("accepted")
        if peername is None:  # Gone already, as after a check of health.
            transport.abort()
        elif preambles.allowed.takes(peername):
            preambles.worker.admission.begin(self)
            if preambles.worker.draining:
                self.drain()
        else:
            preambles.refuse(transport, NOT_ALLOWED)

    def data_received(self, data: bytes) -> None:
        verdict = self._reader.feed(data)
        if isinstance(verdict, Fault):
            self._preambles.refuse(self.transport, verdict.reason)
        elif verdict is not None:
            self._hand_over(verdict)

    def eof_received(self) -> bool:
        return False  # Nothing was asked; balancers look in this way whether somebody listens.

    def connection_lost(self, exc: Exception | None) -> None:
        self._preambles.worker.admission.end(self)

    def drain(self) -> None:
        """Close, once the header and a request have had the time to come."""
        worker = self._preambles.worker
        worker.loop.call_at(self.since + worker.app.timeouts.arrival_seconds, self._cut)

    def _cut(self) -> None:
        if self in self._preambles.worker.admission.beginning:
            self.transport.abort()

    def _hand_over(self, preamble: Preamble) -> None:
        """What the connection is for begins."""
        transport, preambles = self.transport, self._preambles
        preambles.worker.admission.beginning.discard(self)
        protocol = cast("asyncio.Protocol", preambles.worker.final_protocol())
        transport.set_protocol(protocol)
        protocol.connection_made(cast("asyncio.Transport", ProxiedTransport(transport, preamble.ends)))
        if preamble.rest and not transport.is_closing():  # It may have been turned away.
            protocol.data_received(preamble.rest)


class ProxiedTransport:
    """A transport that tells the addresses of the header, where it has some, as its own.

    ``get_extra_info("proxy")`` gives the address of the proxy, which is the peer of the socket.
    """

    def __init__(self, transport: asyncio.Transport, ends: Ends) -> None:
        self._transport = transport
        self._said = {name: said for name, said in (("peername", ends.source), ("sockname", ends.destination))
                      if said is not None}
        # What is called for each answer does not go through __getattr__.
        self.write = transport.write
        self.writelines = transport.writelines
        self.is_closing = transport.is_closing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "proxy":
            name = "peername"
        elif name in self._said:
            return self._said[name]
        return self._transport.get_extra_info(name, default)
