"""Who is let in: how many connections a worker has, and what happens at that bound.

A worker at its bound first closes those that have been idle for longest, a batch at a time, as nginx does:
a client sends its next request over a new connection and notices nothing.  Where none is idle it accepts
nothing more, so that other workers of the same socket, or the queue of the kernel, have the newcomers; it
accepts again when some connections have gone.  No client is accepted to be turned away.

But for one: a client address that has its share already.  Its further connections are closed as they
come.  An IPv6 client counts by the first 64 bits of its address, since whoever has one address has all
of those.  Peers that speak for many clients, which is what a proxy does, have no share.  A connection with
the PROXY protocol counts from the start, and has a client when its header is there and names one.

Nothing here costs a request anything; only a connection that opens or closes is counted.
"""

from __future__ import annotations

import asyncio
import heapq
import resource
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final

from japronto.limits import Limits
from japronto.logs import Said, log

if TYPE_CHECKING:
    from japronto.preamble import PreambleProtocol
    from japronto.protocol import HTTPProtocol
    from japronto.pure.forwarded import Proxies

SPARE_FILES: Final = 128
"""Descriptors that are kept for what the application opens, out of those that the process may have."""
ACCEPTED_AT_ONCE: Final = 100
"""Connections that plain asyncio accepts in one turn of the loop: so many may get in beyond the bound."""
PROXIES: Final = frozenset(("127.0.0.1", "::1"))
"""Peers that have no share: where a proxy in front usually is."""


# -- How many there can be --------------------------------------------------------------------

def raise_file_limit(connections: int) -> None:
    """Let the process have the descriptors for so many connections, as far as it is permitted.

    The usual soft limit of 1,024 is for programs that use ``select``; Go lifts it as well.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + ACCEPTED_AT_ONCE + SPARE_FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    except (OSError, ValueError):  # What it has is what there is; connections_for() says so.
        return


def connections_for(limits: Limits) -> int:
    """How many connections a worker may have: those asked for, or fewer where descriptors are few."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return limits.connections
    return min(limits.connections, max(soft - SPARE_FILES, soft // 2))


def say_if_fewer(connections: int, limits: Limits) -> None:
    """Tell whoever runs the server that it cannot have the connections asked for."""
    if connections < limits.connections:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        log.warning("At most %d connections, and not %d, since the process may open %d files: "
                    "raise that limit (ulimit -n, LimitNOFILE), or lower --connections",
                    connections, limits.connections, soft)


# -- Where they come from ---------------------------------------------------------------------

def client_of(peername: object) -> str | None:
    """What the connections of a client are counted by; None for one that is not counted."""
    if not isinstance(peername, tuple) or not peername or not isinstance(peername[0], str):
        return None  # A Unix socket: who may connect to it, its permissions say.
    address = peername[0]
    if address in PROXIES:
        return None
    if ":" not in address:
        return address
    packed = socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
    if packed.startswith(bytes(10) + b"\xff\xff"):
        address = socket.inet_ntop(socket.AF_INET, packed[12:])
        return None if address in PROXIES else address
    return socket.inet_ntop(socket.AF_INET6, packed[:8] + bytes(8)) + "/64"


# -- The sockets that listen ------------------------------------------------------------------

class Gate:
    """The listening sockets of a worker, and whether it accepts at them.

    To accept nothing, the loop's servers are closed; event loops offer no other way that all of them have.
    So these are given duplicates, and the kernel goes on to queue what comes.

    ``sockets``  those that listen; whoever made them closes them
    ``accept``   makes a server of a loop, which accepts at such a socket and closes it when it is closed
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, sockets: Sequence[socket.socket],
                 accept: Callable[[socket.socket], Awaitable[asyncio.AbstractServer]]) -> None:
        self._loop = loop
        self._sockets = sockets
        self._accept = accept
        self._servers: list[asyncio.AbstractServer] = []
        self._wanted = True
        self._closed = False
        self._settling: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        return self._wanted

    async def start(self) -> None:
        """Accept what comes; raises OSError when that is not possible."""
        for listening in self._sockets[len(self._servers):]:
            sock = listening.dup()
            try:
                self._servers.append(await self._accept(sock))
            except BaseException:
                sock.close()
                raise

    def open(self) -> None:
        """Accept what comes, from soon on."""
        self._want(True)

    def shut(self) -> None:
        """Accept nothing more, from soon on; what has been accepted is served."""
        self._want(False)

    async def close(self) -> None:
        """Accept nothing more, for good."""
        self._closed = True
        if self._settling is not None:
            await asyncio.wait((self._settling,))
        await self._stop()

    def _want(self, wanted: bool) -> None:
        self._wanted = wanted
        if self._settling is None and not self._closed and not self._settled:
            self._settling = self._loop.create_task(self._settle())

    @property
    def _settled(self) -> bool:
        return len(self._servers) == (len(self._sockets) if self._wanted else 0)

    async def _settle(self) -> None:
        try:
            while not self._closed and not self._settled:
                await (self.start() if self._wanted else self._stop())
        except OSError as error:  # No descriptor is left: look() tries again.
            log.debug("Connections cannot be accepted: %s", error)
        finally:
            self._settling = None

    async def _stop(self) -> None:
        """Plain asyncio accepts in one turn of the loop and makes the transport in the next; when the
        server is closed between them, it fails an assertion and drops the connection.
        """
        servers, self._servers = self._servers, []
        try:
            if type(self._loop).__module__.partition(".")[0] != "uvloop":
                for server in servers:
                    for sock in getattr(server, "sockets", ()):
                        self._loop.remove_reader(sock)
                for _ in range(2):
                    await asyncio.sleep(0)
        finally:
            for server in servers:
                server.close()


# -- The connections --------------------------------------------------------------------------

class Admission:
    """The connections of a worker, and who of them has to go."""

    def __init__(self, limits: Limits, proxies: Proxies | None = None) -> None:
        self.limits = limits
        self._proxies = proxies
        self.most = connections_for(limits)
        """How many connections there may be; where many come at once, a few more get in."""
        self.protocols: set[HTTPProtocol] = set()
        self.switched: dict[asyncio.Transport, str | None] = {}
        """The transports of connections that another protocol has taken over, with their clients."""
        self.beginning: set[PreambleProtocol] = set()
        """Connections whose header of the PROXY protocol is not there yet."""
        self.gate: Gate | None = None
        self.refused = 0
        """Connections that were closed since their client had its share."""
        self.evicted = 0
        """Idle connections that were closed for others."""
        self._clients: dict[str, int] = {}
        self._batch = max(1, self.most // 32)
        self._full, self._greedy = Said(), Said()

    @property
    def count(self) -> int:
        return len(self.protocols) + len(self.switched) + len(self.beginning)

    def begin(self, connection: PreambleProtocol) -> None:
        """A connection has been made that must tell first whom it is for; it will enter, or just leave."""
        self.beginning.add(connection)
        self._look_for_room()

    def enter(self, protocol: HTTPProtocol) -> None:
        """A connection has been made."""
        self.protocols.add(protocol)
        client = self._client_of(protocol.transport)
        if client is not None:
            connections = self._clients.get(client, 0)
            if connections >= self.limits.connections_per_client:
                self._refuse(protocol, client, connections)
                return
            self._clients[client] = connections + 1
        protocol.client = client
        self._look_for_room()

    def _client_of(self, transport: asyncio.Transport) -> str | None:
        """What the connections of its client are counted by; not by whom a proxy has named for another."""
        peername = transport.get_extra_info("peername")
        if transport.get_extra_info("proxy") == peername:  # The header names nobody.
            return None
        return None if self._proxies and self._proxies.believe(peername) else client_of(peername)

    def end(self, connection: PreambleProtocol) -> None:
        """A connection is lost that has not told whom it is for."""
        self.beginning.discard(connection)
        self._let_in()

    def leave(self, protocol: HTTPProtocol) -> None:
        """A connection is lost."""
        self.protocols.discard(protocol)
        self._forget(protocol.client)
        self._let_in()

    def hand_over(self, protocol: HTTPProtocol) -> None:
        """A connection is another protocol's now; it counts until it is closed."""
        self.protocols.discard(protocol)
        self.switched[protocol.transport] = protocol.client

    def look(self) -> None:
        """What has gone unnoticed, once in ``check_seconds``."""
        for transport in [transport for transport in self.switched if transport.is_closing()]:
            self._forget(self.switched.pop(transport))
        if self.gate is not None and not self.gate.is_open:
            if self.count >= self.most:
                self._evict()
            if self.count < self.most:
                self.gate.open()
        elif self.gate is not None:
            self.gate.open()  # should that have failed before

    def short_of_files(self) -> None:
        """The process has no descriptor left to accept with."""
        self._full.warning("No file descriptor is left to accept connections with: raise the limit "
                           "(ulimit -n, LimitNOFILE), or lower --connections")
        self._evict()

    def _refuse(self, protocol: HTTPProtocol, client: str, connections: int) -> None:
        self.refused += 1
        self._greedy.warning("%s has %d connections and gets no more (--connections-per-client)",
                             client, connections)
        protocol.abort()

    def _forget(self, client: str | None) -> None:
        if client is None:
            return
        self._clients[client] -= 1
        if not self._clients[client]:
            del self._clients[client]

    def _look_for_room(self) -> None:
        if self.count < self.most or self.gate is None or not self.gate.is_open:
            return
        self._evict()
        if self.count >= self.most:
            self.gate.shut()
            self._full.warning("All %d connections are in use, and further clients wait (--connections)",
                               self.count)

    def _evict(self) -> None:
        """Close the connections that have been idle for longest, if any is.

        A batch of them, since to find them is to look at all.
        """
        idle = [(since, id(protocol), protocol) for protocol in self.protocols
                if (since := protocol.idle_since()) is not None]
        for _, _, protocol in heapq.nsmallest(self._batch, idle):
            self.evicted += 1
            self.protocols.discard(protocol)
            protocol.abort()

    def _let_in(self) -> None:
        """Accept again, once it is worth it: each time that none is idle has cost a look at all."""
        if self.gate is not None and not self.gate.is_open and self.count <= self.most - self._batch:
            self.gate.open()
