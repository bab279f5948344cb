"""The worker's side of a master: what it is given, what it tells, and what it is told.

A master starts its workers as the same command anew.  What makes a worker of it is one environment
variable, with the numbers of the descriptors that it inherits.  It is taken away as soon as this module is
imported, so that processes that the program starts do not believe that it is meant for them.

They talk through a pair of sockets, in lines: a word, and JSON behind it.  The worker says ``ready``,
``alive``, ``leave`` (it wants to be replaced), ``stopping`` or ``failed``; the master says ``retire``,
``drain``, ``stop`` or ``reopen``.  When the master is gone, its end closes, and the worker drains.
"""

from __future__ import annotations

import atexit
import faulthandler
import functools
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from japronto import signals
from japronto.config import MasterConfig, ServerConfig
from japronto.errors import ProgramError

if TYPE_CHECKING:
    from japronto.board import Place
    from japronto.listening import Listener
    from japronto.server import Server

log = logging.getLogger("japronto.error")

VARIABLE: Final = "JAPRONTO_WORKER"
LINE_BYTES: Final = 64 * 1024
"""The longest line that a master takes."""
LOOK_SECONDS: Final = 1.0
"""Between two signs of life; what a worker has used is looked at then, too."""


class Given(NamedTuple):
    """What a master gives a worker: a slot, the numbers of descriptors, and the inode of the channel.

    ``seconds`` is how long it may take to get ready.  Where metrics or health are told, there are also the
    descriptor of the board, the number of a row in it, and those of the sockets of the metrics address.
    It ``replaces`` others where some have got ready before it.
    """

    slot: int
    channel: int
    identity: int
    sockets: Sequence[int]
    seconds: float
    board: int | None = None
    row: int = 0
    metrics: Sequence[int] = ()
    replaces: bool = False

    def descriptors(self) -> tuple[int, ...]:
        """All those that the worker inherits."""
        return (self.channel, *self.sockets, *(() if self.board is None else (self.board, *self.metrics)))

    def variable(self) -> dict[str, str]:
        return {VARIABLE: json.dumps(self._asdict())}


def taken(environ: MutableMapping[str, str]) -> Given | None:
    """What this process was given, if a master has started it; removes the variable.

    A process that the program of a worker has started may find the variable, but it has no such channel.
    The master need not be there any more: then the channel is at its end.
    """
    text = environ.pop(VARIABLE, None)
    if text is None:
        return None
    given = Given(**json.loads(text))
    try:
        return given if os.fstat(given.channel).st_ino == given.identity else None
    except OSError:
        return None


class Master:
    """A worker's master; ``server.serve`` tells it how things are, and does what it says."""

    def __init__(self, given: Given) -> None:
        self.slot = given.slot
        self.replaces = given.replaces
        self._given = given
        # What the program starts, and be it as it is loaded, gets none of this.
        for descriptor in given.descriptors():
            os.set_inheritable(descriptor, False)
        self._channel = socket.socket(fileno=given.channel)
        self._channel.setblocking(False)
        atexit.register(self._channel.close)
        signals.calm_at_exit()
        self.end_in(given.seconds + 1)
        signals.calm(signals.FOR_MASTER)
        # Those that have come since the master made this process waited for that.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals.FOR_MASTER)
        with suppress(OSError, ValueError, AttributeError, RuntimeError):  # no standard error
            faulthandler.enable()

    def listeners(self, config: ServerConfig) -> list[Listener]:
        """The sockets that the master has opened."""
        from japronto.listening import inherited  # noqa: PLC0415 - only those that serve need it

        return inherited(self._given.sockets, scheme=config.scheme)

    def place(self) -> Place | None:
        """Where this worker counts, and the sockets of the metrics address."""
        if self._given.board is None:
            return None
        from japronto.board import Board, Place  # noqa: PLC0415 - only those that count need it
        from japronto.listening import inherited  # noqa: PLC0415

        return Place(Board.attach(self._given.board), self._given.row,
                     inherited(self._given.metrics) if self._given.metrics else None)

    _interval: ClassVar[float] = 0
    """What the kernel's timer was set to last, and is still unless the program has set it."""

    @classmethod
    def end_in(cls, seconds: float) -> None:
        """Let the kernel end this process unless this is called again in time; 0 lets it live.

        It is the master who ends a worker that hangs.  This is for one whose master is gone, and that would
        never learn of it.  A program that has a use for SIGALRM itself is left alone: the timer that was
        set before it took the signal is stopped, unless it has set that itself.

        The kernel's timer runs on while all are paused, as by SIGSTOP or the freezer of a container, and
        raises its signal before anything here can set it anew.  So it takes two signals, each after half of
        the time: the first does nothing, and a process that goes on sets the timer before the second.  A
        handler in Python would never run while C code hangs, hence one of C, which the kernel drops itself.
        """
        if signal.getsignal(signal.SIGALRM) is signal.SIG_DFL:
            if _spared_once(signal.SIGALRM):
                seconds /= 2
            signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
            cls._interval = signal.getitimer(signal.ITIMER_REAL)[1]
        elif cls._interval:
            if signal.getitimer(signal.ITIMER_REAL)[1] == cls._interval:
                signal.setitimer(signal.ITIMER_REAL, 0)
            cls._interval = 0

    def tell(self, word: str, **said: Any) -> bool:
        """Tell the master, which need not be there, nor read; returns whether it could be told."""
        with suppress(OSError):
            self._channel.sendall(f"{word} {json.dumps(said)}\n".encode())
            return True
        return False

    def failed(self, code: int, error: Exception) -> None:
        """The worker cannot start; ``code`` is that of the exit.

        The log shows more where nobody could ask the master to, since it runs.
        """
        if self.replaces and isinstance(error, ProgramError):
            log.error("The program cannot be loaded", exc_info=error.__cause__)
        self.tell("failed", code=code, sentence=str(error)[:LINE_BYTES // 8])

    def attend(self, server: Server, name: str, bounds: MasterConfig,
               orders: Mapping[str, Callable[[], object]]) -> None:
        """The worker serves: say so, give signs of life from now on, and do what the master says."""
        timeouts = server.worker.app.timeouts
        self.tell("ready", name=name, retire=timeouts.retire_seconds,
                  drain=server.config.drain_delay_seconds + timeouts.drain_seconds)
        loop, rest = server.worker.loop, b""

        def read() -> None:
            nonlocal rest
            with suppress(BlockingIOError, InterruptedError):
                data = _received(self._channel)
                if not data:  # The master is gone.
                    loop.remove_reader(self._channel)
                    orders["drain"]()
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    orders[line.decode()]()

        loop.add_reader(self._channel, read)
        _Look(self, server, bounds).begin()


class _Look:
    """The signs of life of a worker, and whether it has done enough."""

    def __init__(self, master: Master, server: Server, bounds: MasterConfig) -> None:
        self._master = master
        self._server = server
        self._loop = server.worker.loop
        self._seconds = LOOK_SECONDS
        self._patience = 0.0
        if bounds.worker_timeout is not None:
            self._seconds = min(LOOK_SECONDS, bounds.worker_timeout / 4)
            self._patience = 2 * bounds.worker_timeout + 1
        # Not all workers at once, though they have begun together.
        share = int.from_bytes(os.urandom(4)) / 2**32
        self._requests = bounds.max_requests and bounds.max_requests + round(bounds.jitter() * share)
        self._until = bounds.worker_lifetime and self._loop.time() + bounds.worker_lifetime * (1 + share / 10)
        self._rss = bounds.max_rss
        if self._rss and (size := resident()) >= self._rss:  # So would each that replaces it.
            log.warning("A worker that has just started holds %d MiB, which is more than max_rss; that does "
                        "not count then", size >> 20)
            self._rss = None
        self._asked = False

    def begin(self) -> None:
        self._loop.call_later(self._seconds, self.begin)
        self._master.end_in(self._patience)
        why = "" if self._asked else self._why_leave()
        if why:
            self._asked = self._master.tell("leave", why=why)
        else:
            self._master.tell("alive")

    def _why_leave(self) -> str:
        if self._requests and (requests := self._server.worker.requests()) >= self._requests:
            return f"it has served {requests} requests"
        if self._until and self._loop.time() >= self._until:
            return "its lifetime is over"
        if self._rss and (size := resident()) >= self._rss:
            return f"it holds {size / 2**20:.0f} MiB"
        return ""


def _spared_once(number: signal.Signals) -> bool:
    """Let a signal do nothing once, and what it does by default from then on.

    Returns whether that is possible: the C library must have System V's ``signal``, as that of GNU has.
    """
    install = _sparing()
    if install is not None:
        install(number)
    return install is not None


@functools.cache
def _sparing() -> Callable[[int], object] | None:
    """What installs a function of C as the handler of a signal, for one time."""
    try:
        import ctypes  # noqa: PLC0415 - workers alone need it

        library = ctypes.CDLL(None)
        install, harmless = library.sysv_signal, library.abs  # Any function that takes a number would do.
    except (ImportError, OSError, AttributeError):
        return None
    install.restype = ctypes.c_void_p
    return lambda number: install(ctypes.c_int(number), harmless)


def resident() -> int:
    """Octets of memory that this process holds; the most that it ever held where that is all there is."""
    try:
        pages = Path("/proc/self/statm").read_bytes().split()[1]
    except OSError:
        import resource  # noqa: PLC0415 - not on Linux

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _received(channel: socket.socket) -> bytes:
    try:
        return channel.recv(4096)
    except ConnectionError:
        return b""


_given = taken(os.environ)
MASTER: Final = None if _given is None else Master(_given)
"""The master of this process, if it is a worker."""
