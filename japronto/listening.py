"""Where the server listens: from what was asked for to sockets that accept connections.

Sockets come from three sides.  A process opens them at addresses (``open_listeners``); it was started
with them, by systemd or as ``--fd`` says (the same call); or it is a worker, and its master has opened
them (``inherited``), for all workers together or for each one (``beside``).  Whoever made a Unix socket's
file removes it, and nobody else.

Names are looked up right here, which may take a while and block.  An event loop would do it in a
thread that then stays, and in a process with several threads each system call on a descriptor costs
more: 2 % of an unpipelined request.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from japronto import systemd
from japronto.config import MODE_MAX, Address, Descriptor, ServerConfig, TCPAddress, UnixAddress
from japronto.errors import StartError

log = logging.getLogger("japronto.error")

FREE_PORT_TRIES: Final = 10
"""How often a free port is taken anew that turns out not to be free at another address of the name."""
PROBE_SECONDS: Final = 1
PROBES: Final = 4
"""How often TCP asks a silent client before it gives it up."""
NOT_HERE: Final = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
"""A name such as localhost may have an IPv6 address on a machine that has no IPv6."""
FAMILIES: Final = {socket.AF_INET, socket.AF_INET6, socket.AF_UNIX}
STANDARD: Final = range(3)
"""The descriptors of standard input, output and error."""


@dataclass(slots=True, eq=False)
class Listener:
    """A socket that listens.

    ``sock``     bound, and listening unless it only holds a port for others (see ``open_listeners``)
    ``address``  where, as people write it: ``http://127.0.0.1:8080`` or ``unix:/run/app.sock``
    ``uds``      the identity of the Unix socket's file, when this process has made it
    """

    sock: socket.socket
    address: str
    uds: tuple[int, int] | None = None

    @property
    def port(self) -> int | None:
        """The TCP port; None for a Unix socket."""
        return None if self.sock.family == socket.AF_UNIX else int(self.sock.getsockname()[1])


def open_listeners(config: ServerConfig, *, scheme: str = "http", listen: bool = True) -> list[Listener]:
    """Listen wherever ``config`` says; raises StartError, with everything closed, when one cannot be had.

    ``scheme`` is that of the addresses that are shown.  With ``reuse_port`` each worker listens by
    itself: then its master calls this with ``listen=False``, which takes the TCP ports, also those
    that port 0 has found, without accepting anything; ``beside`` makes the sockets of each worker.
    """
    passed = systemd.passed()
    listeners: list[Listener] = []
    try:
        for address in _wanted(config, passed):
            if isinstance(address, TCPAddress):
                listeners += _at_tcp(address, config, scheme, listen=listen)
            elif isinstance(address, UnixAddress):
                listeners.append(_at_path(address.path, config))
            else:
                listeners.append(_passed(address, passed, scheme))
                systemd.take()
    except BaseException:
        close_listeners(listeners)
        raise
    if config.debug and (places := [listener.address for listener in listeners if _is_for_others(listener)]):
        log.warning("Tracebacks are shown to whoever can reach %s, since debug is on; leave it out, "
                    "or listen on 127.0.0.1", ", ".join(places))
    return listeners


def open_telling(config: ServerConfig) -> list[Listener]:
    """Listen at the metrics address; ``config`` is what ``metrics_config`` gives."""
    try:
        return open_listeners(config)
    except StartError as error:
        raise StartError(f"{error} for --metrics-address") from error


def _is_for_others(listener: Listener) -> bool:
    """Whether other machines may reach it."""
    if listener.sock.family == socket.AF_UNIX:
        return False
    return not ip_address(listener.sock.getsockname()[0].partition("%")[0]).is_loopback


def beside(listeners: Iterable[Listener], config: ServerConfig) -> list[Listener]:
    """For each socket that only holds a port, one more at that port, on which its worker is to listen.

    The kernel gives it no client before that.  The others, such as Unix sockets, are shared.
    Raises StartError, with everything closed, when one cannot be had.
    """
    own: list[Listener] = []
    try:
        for listener in listeners:
            held = listener.sock
            sock = held.dup() if _listens(held) else _bound(held.family, held.getsockname(), config)
            own.append(Listener(sock, listener.address))
    except OSError as error:
        close_listeners(own)
        raise StartError(f"a worker cannot have a socket of its own: {_words(error)}; "
                         f"{_remedy(error, 'start the master anew')}") from error
    return own


def inherited(descriptors: Sequence[int], *, scheme: str = "http") -> list[Listener]:
    """The sockets that a master has opened, in a worker that has their descriptors.

    Those that are its own do not listen yet; to serve on them is to listen.
    """
    sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
    for sock in sockets:
        sock.set_inheritable(False)
    return [Listener(sock, _name(sock, scheme)) for sock in sockets]


def close_listeners(listeners: Iterable[Listener]) -> None:
    """Close the sockets, and remove the files of Unix sockets that this process has made.

    A file that another has put in the place of one stays.
    """
    for listener in listeners:
        path = listener.address.removeprefix("unix:")
        if listener.uds is not None and _identity(path) == listener.uds:
            try:
                Path(path).unlink()
            except OSError as error:
                log.warning("The file of %s stays: %s", listener.address, _words(error))
        listener.uds = None
        listener.sock.close()


def _wanted(config: ServerConfig, passed: dict[int, str]) -> list[Address]:
    """The addresses to listen on; it is here that systemd's sockets go before, or are left alone."""
    if config.activation and passed:
        if config.reuse_port:
            raise StartError("systemd has opened the sockets already; leave out --reuse-port, "
                             "and set ReusePort= in the socket unit")
        return [Descriptor(number) for number in passed]
    addresses = config.addresses()
    if passed and not any(isinstance(address, Descriptor) for address in addresses):
        log.warning("The sockets that systemd passes are not used, since other addresses were asked for")
    if config.activation and systemd.passed_to_the_parent():
        log.warning("The sockets that systemd passes went to the process that has started this one; "
                    "let systemd, or a shell's exec, start japronto itself")
    return addresses


# -- TCP -------------------------------------------------------------------------------------

Place = tuple[int, Any]
"""A family, and an address as sockets of that family take it."""


def _at_tcp(address: TCPAddress, config: ServerConfig, scheme: str, *, listen: bool) -> list[Listener]:
    """At each address of a name, and at the same port everywhere."""
    try:
        found = socket.getaddrinfo(address.host or None, address.port, type=socket.SOCK_STREAM,
                                   proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE)
        places = list(dict.fromkeys((family, place) for family, _, _, _, place in found))
        sockets = _opened(places, config, listen=listen or not config.reuse_port, tries=FREE_PORT_TRIES)
    except (OSError, UnicodeError) as error:
        raise StartError(_why_not(address, error)) from error
    return [Listener(sock, _name(sock, scheme)) for sock in sockets]


def _opened(places: Sequence[Place], config: ServerConfig, *,
            listen: bool, tries: int) -> list[socket.socket]:
    """A socket at each place that this machine has, of one port."""
    sockets: list[socket.socket] = []
    try:
        for family, place in places:
            port = sockets[0].getsockname()[1] if sockets else place[1]
            try:
                sockets.append(_bound(family, (place[0], port, *place[2:]), config))
            except OSError as error:
                if error.errno not in NOT_HERE or (not sockets and (family, place) == places[-1]):
                    raise
        for sock in sockets if listen else ():
            sock.listen(config.backlog)
    except BaseException as error:
        for sock in sockets:
            sock.close()
        if tries > 1 and places[0][1][1] == 0 and getattr(error, "errno", None) == errno.EADDRINUSE:
            return _opened(places, config, listen=listen, tries=tries - 1)
        raise
    return sockets


def _bound(family: int, place: Any, config: ServerConfig) -> socket.socket:
    """A TCP socket with its options, which those of its connections inherit."""
    # With the protocol named: asyncio looks for it before it sets TCP_NODELAY on a connection.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:  # So :: never depends on the system, and 0.0.0.0 is free beside it.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if config.reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if config.tcp_keepalive:
            _keep_alive(sock, config.tcp_keepalive)
        sock.bind(place)
    except BaseException:
        sock.close()
        raise
    return sock


def _keep_alive(sock: socket.socket, seconds: int) -> None:
    """Ask after so long a silence, and give the client up after about as long again."""
    idle: int = getattr(socket, "TCP_KEEPIDLE", None) or socket.TCP_KEEPALIVE  # type: ignore[attr-defined]
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, idle, seconds)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, seconds // PROBES))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES)


def _name(sock: socket.socket, scheme: str) -> str:
    """Where a socket is bound, as people write it."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return "unix:" + (f"@{os.fsdecode(name[1:])}" if isinstance(name, bytes) else name)
    host, port, *_ = name
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _why_not(address: TCPAddress, error: Exception) -> str:
    """Why it is not possible to listen, in one sentence with a remedy."""
    where = f"{address.host or 'every address,'} port {address.port}"
    if isinstance(error, (socket.gaierror, UnicodeError)):
        return f"cannot listen on {where}: no such host; choose another"
    if isinstance(error, PermissionError):
        return f"cannot listen on {where}: not permitted; choose a port from 1024 on"
    return f"cannot listen on {where}: {_words(error)}; {_remedy(error, 'choose another port or host')}"


def _words(error: Exception) -> str:
    number = getattr(error, "errno", None)
    return os.strerror(number) if isinstance(number, int) and number > 0 else str(error)


def _remedy(error: Exception, otherwise: str) -> str:
    full = getattr(error, "errno", None) in {errno.EMFILE, errno.ENFILE}
    return "raise the limit of open files, ulimit -n" if full else otherwise


# -- Unix sockets ----------------------------------------------------------------------------

def _at_path(path: str, config: ServerConfig) -> Listener:
    sock = socket.socket(socket.AF_UNIX)
    listener = Listener(sock, f"unix:{path}")
    try:
        _remove_stale(path)
        # The file has its permissions from the first moment.  The mask is that of the process: what other
        # threads create meanwhile gets no more permissions than these either.
        umask = os.umask(MODE_MAX & ~config.uds_mode)
        try:
            sock.bind(path)
        finally:
            os.umask(umask)
        listener.uds = _identity(path)
        sock.listen(config.backlog)
    except OSError as error:
        close_listeners([listener])
        raise StartError(f"cannot listen on unix:{path}: {_words(error)}; "
                         f"{_remedy(error, 'choose another path')}") from error
    except BaseException:
        close_listeners([listener])
        raise
    return listener


def _identity(path: str) -> tuple[int, int] | None:
    """What tells a file from another at the same path."""
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _remove_stale(path: str) -> None:
    """Remove a socket that nobody listens on any more; one in use, or another file, stays."""
    try:
        if not stat.S_ISSOCK(Path(path).stat().st_mode):
            raise StartError(f"cannot listen on unix:{path}: something that is not a socket has that path; "
                             "choose another path")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(PROBE_SECONDS)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
        except (BlockingIOError, TimeoutError):  # So many wait there that no more can.
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)) from None
        else:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


# -- Sockets that this process was started with ----------------------------------------------

def _passed(descriptor: Descriptor, passed: dict[int, str], scheme: str) -> Listener:
    try:
        sock = _adopted(_number_of(descriptor, passed))
    except OSError as error:
        words = "it is not open" if error.errno == errno.EBADF else error.args[-1]
        raise StartError(f"cannot listen on fd://{descriptor.name}: {words}; start the server with a "
                         "listening TCP or Unix socket there") from error
    return Listener(sock, _name(sock, scheme))


def _number_of(descriptor: Descriptor, passed: dict[int, str]) -> int:
    if isinstance(descriptor.name, int):
        return descriptor.name
    for number, name in passed.items():
        if name == descriptor.name:
            return number
    names = f"has passed {', '.join(passed.values())}" if passed else "has passed none at all"
    raise StartError(f"cannot listen on fd://{descriptor.name}: systemd {names}; "
                     "set FileDescriptorName= in the socket unit, or give the number")


def _adopted(descriptor: int) -> socket.socket:
    """The listening socket at a descriptor, which is its own from now on; raises OSError when it is none."""
    if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        raise OSError("it is not a socket")
    sock = socket.socket(fileno=descriptor)
    if sock.family not in FAMILIES or sock.type != socket.SOCK_STREAM or not _listens(sock):
        sock.detach()
        raise OSError("it is not a listening stream socket")
    if descriptor in STANDARD:  # Whatever got that number next would be written and read like a terminal.
        copy = sock.dup()
        sock.detach()
        with Path(os.devnull).open("r+b", buffering=0) as null:
            os.dup2(null.fileno(), descriptor)
        return copy
    sock.set_inheritable(False)
    return sock


def _listens(sock: socket.socket) -> bool:
    return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
