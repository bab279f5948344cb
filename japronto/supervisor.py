"""The master: keeps workers, and does nothing else.

It opens the sockets, starts each worker as its own command anew, with these sockets, and listens to what
the workers say (``worker.py``).  What is to be done when, ``crew.py`` decides.  So a worker has an
interpreter of its own, on every version of Python and every platform alike, and loads the program as it
is on the disk by then.

There is no event loop here, no thread, and nothing of the program, so that nothing can break or grow.
One ``select`` waits for signals, for words of the workers and for the next moment at which something is
due; nothing else blocks.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from japronto import logs, signals, systemd
from japronto.config import WORKERS_MAX, MasterConfig, ServerConfig
from japronto.crew import Crew, Member, State
from japronto.errors import StartError, UsageError
from japronto.listening import Listener, beside, close_listeners, open_listeners, open_telling
from japronto.signals import STOP
from japronto.worker import LINE_BYTES, Given

if TYPE_CHECKING:
    from japronto.board import Board
    from japronto.reloader import Watcher

log = logging.getLogger("japronto.error")

MARGIN_SECONDS: Final = 10.0
"""How long a worker may take to end beyond the time for requests: cancelled handlers, shutdown hooks."""
FORCED_SECONDS: Final = 7.0
"""The same when it was told not to wait for requests."""
ABORT_SECONDS: Final = 2.0
"""How long a worker that hangs may take to write where it hangs."""
SILENT_SECONDS: Final = 0.5
"""How long it may take to stop before somebody wonders."""
TURN_SECONDS: Final = 1.0
"""The longest that the master waits; it is not by a signal alone that it finds that a worker has ended."""

SIGNALS: Final = (*STOP, *signals.HARMLESS, signal.SIGCHLD)
RELOADED: Final = "the program was to be loaded anew"


def supervise(config: ServerConfig, bounds: MasterConfig) -> int:
    """Keep workers until a signal says to stop; returns the exit code.

    0: stopped when told to; 1: not without being told twice, or without killing a worker that did not end
    in time.  Raises StartError or UsageError when no worker could ever start.
    """
    command = _command()
    with (logs.last_resort(), _listeners(config) as listeners, _watched(config) as watched,
          _Signals() as signals, _watcher(bounds) as watcher):
        return _Supervisor(config, bounds, command, listeners, watched, signals, watcher).run()


def _command() -> list[str]:
    """What this process was started as."""
    if sys.argv[:1] in ([], [""], ["-"]) or hasattr(sys, "ps1"):
        raise UsageError("the program comes from standard input, where workers cannot read it again; "
                         "put it into a file, or serve without workers and reloading")
    return [sys.executable, *sys.orig_argv[1:]]


@contextlib.contextmanager
def _listeners(config: ServerConfig) -> Iterator[list[Listener]]:
    listeners = open_listeners(config, scheme=config.scheme, listen=False)
    try:
        yield listeners
    finally:
        close_listeners(listeners)


@dataclass(slots=True, eq=False)
class _Watched:
    """What the workers count in, row 0 being the master's, and the sockets of the metrics address.

    A worker has a row of its own, and not that of its slot, where its successor may have begun already.
    """

    board: Board
    listeners: list[Listener]

    def free_row(self, taken: Collection[int]) -> int:
        for row in range(1, self.board.slots):
            if row not in taken:
                self.board.row(row)  # It is in use from now on, though its worker may be long in starting.
                return row
        raise StartError("there are more workers than can be counted; they must end first")

    def given(self, row: int) -> dict[str, Any]:
        """What a worker is given of it; see ``worker.Given``."""
        return {"board": self.board.descriptor, "row": row,
                "metrics": [listener.sock.fileno() for listener in self.listeners]}


@contextlib.contextmanager
def _watched(config: ServerConfig) -> Iterator[_Watched | None]:
    if not config.watched:
        yield None
        return
    from japronto.board import Board  # noqa: PLC0415 - for those alone who ask for it

    telling = config.metrics_config()
    listeners = [] if telling is None else open_telling(telling)
    board = Board.create(2 * WORKERS_MAX + 1)
    try:
        board.row(0)
        yield _Watched(board, listeners)
    finally:
        board.close()
        close_listeners(listeners)


@contextlib.contextmanager
def _watcher(bounds: MasterConfig) -> Iterator[Watcher | None]:
    if not bounds.reload:
        yield None
        return
    from japronto.reloader import Watcher  # noqa: PLC0415 - for those alone who write programs

    with contextlib.closing(Watcher(bounds.reload_dir or ["."], bounds.reload_include,
                                    bounds.reload_exclude)) as watcher:
        yield watcher


class _Signals(contextlib.AbstractContextManager["_Signals"]):
    """While this is entered, signals are octets that can be read from a socket."""

    def __enter__(self) -> _Signals:
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)
        try:
            self._wakeup = signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
            self._handlers = {number: signal.signal(number, signals.nothing) for number in SIGNALS}
        except ValueError:
            raise UsageError("several workers, and reloading, can be had in the main thread alone; "
                             "call app.run() there") from None
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        signal.set_wakeup_fd(self._wakeup)
        self._read.close()
        self._write.close()

    def fileno(self) -> int:
        return self._read.fileno()

    def take(self) -> bytes:
        """The numbers of the signals that have come."""
        with contextlib.suppress(BlockingIOError):
            return self._read.recv(4096)
        return b""


@dataclass(slots=True, eq=False)
class _Worker:
    """A process, and what its master knows of it beyond what ``crew.Member`` has."""

    process: subprocess.Popen[bytes]
    channel: socket.socket
    member: Member
    rest: bytes = b""
    sentence: str = ""
    code: int = 3
    retire_seconds: float = 0.0
    drain_seconds: float = 0.0
    stopped: bool = False
    killed: str = ""
    row: int = 0

    def fileno(self) -> int:
        return self.channel.fileno()

    def tell(self, word: str) -> None:
        """Give an order; a worker that is gone, or does not read, will be found out."""
        with contextlib.suppress(OSError):
            self.channel.send(f"{word}\n".encode())

    def stop(self, *, forced: bool = False) -> None:
        """End a process that does not take orders yet, or not any more."""
        self.stopped = True
        (self.process.kill if forced else self.process.terminate)()


class _Clock:
    """Seconds, of which those do not count in which this process, too, was stopped.

    It must be looked at once in a ``turn``.  When it was not for longer than two, that counts as one.
    """

    def __init__(self, turn: float) -> None:
        self._turn = turn
        self._now = 0.0
        self._seen = time.monotonic()

    def __call__(self) -> float:
        seen = time.monotonic()
        passed = seen - self._seen
        self._now += passed if passed <= 2 * self._turn else self._turn
        self._seen = seen
        return self._now


class _Supervisor:
    """One master, from the first worker to the last."""

    def __init__(self, config: ServerConfig, bounds: MasterConfig, command: Sequence[str],
                 listeners: list[Listener], watched: _Watched | None, signals: _Signals,
                 watcher: Watcher | None) -> None:
        self._config = config
        self._bounds = bounds
        self._command = command
        self._directory = _directory()
        self._listeners = listeners
        self._watched = watched
        self._own: dict[int, list[Listener]] = {}  # of each slot, where workers do not share them
        self._signals = signals
        self._watcher = watcher
        # Who is paused together with this process must get to speak again before he is taken for hung.
        self._turn_seconds = min(TURN_SECONDS, (bounds.worker_timeout or math.inf) / 4)
        self._clock = _Clock(self._turn_seconds)
        self._crew = Crew(bounds.workers)
        self._workers: dict[int, _Worker] = {}
        self._lost: dict[int, str] = {}  # for each slot, what became of the worker that was there
        self._failed: list[_Worker] = []  # that could not start, while none ever could
        self._no_process = ""  # why there was not even a process
        self._ever = False  # whether one could
        self._announced = False
        self._reloading = False
        self._stops = 0  # how often it was told to stop
        self._told = 0.0  # when to say what is waited for
        self._unfinished = False
        self._proof = 0.0  # when to tell systemd that this process lives
        self._name = ""  # of what serves, as a worker says
        self._reaped = 0.0  # when it was last looked whether processes have ended
        self._selector = selectors.DefaultSelector()
        self._selector.register(signals, selectors.EVENT_READ)
        if watcher is not None:
            self._selector.register(watcher, selectors.EVENT_READ)

    # -- the loop ------------------------------------------------------------------------------

    def run(self) -> int:
        """Returns the exit code; raises StartError or UsageError when no worker could ever start."""
        try:
            self._start_and_retire()
            self._crew.halted = True  # until it is known that one can
            while not self._over():
                self._turn()
                self._start_and_retire()
            if not self._ever and not self._stops:
                raise self._why_not()
            return int(self._unfinished)
        finally:
            self._kill_all()
            self._selector.close()

    def _over(self) -> bool:
        if self._workers:
            return False
        # What cannot start yet may start when it has changed; a wrong command will not.
        waits = self._watcher is not None and not any(worker.code == 2 for worker in self._failed)
        return self._stops > 0 or not (self._ever or waits)

    def _turn(self) -> None:
        ready = self._selector.select(self._wait_seconds())
        now = self._clock()
        for key, _ in ready:
            if key.data is not None:
                self._hear(key.data, now)
        signals = self._signals.take()
        for number in signals:
            self._obey(number, now)
        if signal.SIGCHLD in signals or now - self._reaped >= TURN_SECONDS:
            self._reaped = now
            for worker in tuple(self._workers.values()):
                if worker.process.poll() is not None:
                    self._bury(worker, now)
            _reap_orphans(self._workers)
        if self._watcher is not None and (changed := self._watcher.take()) and not self._stops:
            more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
            logs.say(f"{changed[0]}{more} changed; reloading")
            self._reload()
        self._look(now)

    def _wait_seconds(self) -> float:
        now = self._clock()
        moments = [self._crew.not_before, self._told, self._proof, *self._crew.trials(), *(
            member.deadline for member in self._crew.members.values() if member.deadline is not None)]
        return max(0.01, min([self._turn_seconds, *(moment - now for moment in moments if moment > now)]))

    def _start_and_retire(self) -> None:
        now = self._clock()
        for slot in self._crew.to_start(now):
            if not self._start(slot, now):
                break  # Nor would the others; that is one failure.
        for member in self._crew.to_retire(now):
            worker = self._workers[member.pid]
            if member.slot >= self._crew.wanted:
                close_listeners(self._own.pop(member.slot, ()))
            if member.state is State.STARTING:
                worker.stop()
            else:
                # Whoever works on the program wants to see what he has written, and not what was before.
                worker.tell("drain" if self._bounds.reload else "retire")
            self._let_go(member, now + worker.retire_seconds + worker.drain_seconds + MARGIN_SECONDS)

    @staticmethod
    def _let_go(member: Member, deadline: float) -> None:
        member.state = State.LEAVING
        member.deadline = deadline

    # -- processes -----------------------------------------------------------------------------

    def _start(self, slot: int, now: float) -> bool:
        """Start a worker; returns whether there is a process."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                row = 0 if self._watched is None else self._watched.free_row(
                    {worker.row for worker in self._workers.values()})
                process = self._process(slot, theirs, row)
        except (OSError, StartError) as error:
            ours.close()
            self._crew.failed_to_start(now)
            self._no_process = str(error)
            if not self._given_up(f"no worker can be started: {error}"):
                log.error("No worker can be started: %s", error)
            return False
        ours.setblocking(False)
        worker = _Worker(process, ours, self._crew.joined(process.pid, slot, now), row=row)
        self._workers[process.pid] = worker
        self._selector.register(ours, selectors.EVENT_READ, worker)
        if slot in self._lost:
            if lost := self._lost.pop(slot):
                log.warning("%s; replaced by %d", lost, process.pid)
            if self._watched is not None:
                self._watched.board.row(0).add("restarts")
        return True

    def _process(self, slot: int, channel: socket.socket, row: int) -> subprocess.Popen[bytes]:
        """A new process of the same command, with what it needs to be a worker."""
        sockets = [listener.sock.fileno() for listener in self._of_slot(slot)]
        watched = {} if self._watched is None else self._watched.given(row)
        given = Given(slot, channel.fileno(), os.fstat(channel.fileno()).st_ino, sockets,
                      self._bounds.worker_start_timeout, replaces=self._ever, **watched)
        with signals.blocked(signals.FOR_MASTER):  # A worker unblocks them; see ``worker.Master``.
            return subprocess.Popen(  # noqa: S603 - what this process is, too
                self._command, env={**os.environ, **given.variable()}, cwd=self._directory,
                pass_fds=given.descriptors())

    def _of_slot(self, slot: int) -> list[Listener]:
        """The sockets of a slot: those that all workers share, or some of its own.

        These accept nothing until its first worker does, and stay when that one is replaced, with all
        connections that wait to be accepted.
        """
        if not self._config.reuse_port:
            return self._listeners
        if slot not in self._own:
            self._own[slot] = beside(self._listeners, self._config)
        return self._own[slot]

    def _close_unserved(self, slot: int) -> None:
        """Close the sockets of a slot in which there is nobody, so that the kernel chooses others."""
        if not any(member.slot == slot for member in self._crew.members.values()):
            close_listeners(self._own.pop(slot, ()))

    def _bury(self, worker: _Worker, now: float) -> None:
        """A process has ended."""
        member = worker.member
        while self._hear(worker, now):
            pass
        self._forget(worker)
        could_not_start = self._crew.left(member, now)
        if could_not_start:
            self._close_unserved(member.slot)
        if member.state is State.LEAVING or self._stops:
            told = self._stops > 0 and -worker.process.returncode in STOP  # by whoever signals all processes
            if worker.process.returncode < 0 and not worker.killed and not worker.stopped and not told:
                log.warning("Worker %d %s", member.pid, _how(worker))
        elif member.state is State.STARTING:
            self._could_not_start(worker, now)
        elif could_not_start and self._given_up(f"worker {member.pid} {_how(worker)}"):
            pass
        elif self._crew.not_before > now:
            self._lost[member.slot] = ""
            log.error("Worker %d %s; the next one follows %s", member.pid, _how(worker), self._when(now))
        else:
            self._lost[member.slot] = f"Worker {member.pid} {_how(worker)}"

    def _could_not_start(self, worker: _Worker, now: float) -> None:
        why = worker.sentence or f"it {_how(worker)}"
        if worker.member.outdated:
            log.error("Worker %d could not start: %s; the program is loaded anew", worker.member.pid, why)
        elif not self._ever and (self._watcher is None or worker.code == 2):
            self._failed.append(worker)
            self._crew.halted = True
        elif self._given_up(why):
            pass
        elif self._watcher is not None:
            self._crew.halted = True
            log.error("The program cannot be loaded: %s; waiting for a change of it", why)
        else:
            log.error("Worker %d could not start: %s; the next one follows %s",
                      worker.member.pid, why, self._when(now))

    def _given_up(self, why: str) -> bool:
        """Give a renewal up, if there is one, in which no worker serves nor may still do so.

        Once one has for a moment, the program is good, and the others are tried again.  Returns whether it
        was given up.
        """
        if not self._reloading or not self._ever or self._crew.promising():
            return False
        self._reloading = False
        self._crew.give_renewal_up(RELOADED)
        what = "The program" if self._config.tls is None else "The program, or its certificate,"
        log.error("%s cannot be loaded anew: %s; the workers that run go on", what, why)
        if self._announced:
            systemd.ready()
        return True

    def _when(self, now: float) -> str:
        """When the next one starts."""
        seconds = self._crew.not_before - now
        return f"in {seconds:.3g} s" if seconds > 0 else "at once"

    def _forget(self, worker: _Worker) -> None:
        del self._workers[worker.process.pid]
        if self._watched is not None:
            self._watched.board.row(worker.row).vacate()
        with contextlib.suppress(KeyError):
            self._selector.unregister(worker.channel)
        worker.channel.close()

    def _kill_all(self) -> None:
        """Whatever has brought this process to its end, nothing of it stays."""
        for worker in tuple(self._workers.values()):
            worker.process.kill()
            worker.process.wait()
            self._forget(worker)
        for slot in tuple(self._own):
            close_listeners(self._own.pop(slot))

    def _why_not(self) -> StartError | UsageError:
        """Why no worker could start: what the first of them says."""
        if not self._failed:
            return StartError(f"no worker could be started: {self._no_process}")
        worker = self._failed[0]
        if worker.code == 2:
            return UsageError(worker.sentence)
        return StartError(worker.sentence or f"no worker could start: the first one {_how(worker)}")

    # -- what workers say ----------------------------------------------------------------------

    def _hear(self, worker: _Worker, now: float) -> bool:
        """Take what a worker has said; returns whether there may be more."""
        try:
            data = worker.channel.recv(LINE_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            with contextlib.suppress(KeyError):
                self._selector.unregister(worker.channel)
            return False
        worker.member.heard = now
        *lines, worker.rest = (worker.rest + data).split(b"\n")
        worker.rest = worker.rest[-LINE_BYTES:]
        for line in lines:
            word, _, said = line.partition(b" ")
            try:
                self._take(worker, word.decode(), json.loads(said), now)
            except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError):
                # A program may write anywhere.
                log.warning("Worker %d says what means nothing: %.80r", worker.member.pid, line)
        return True

    def _take(self, worker: _Worker, word: str, said: dict[str, Any], now: float) -> None:
        member = worker.member
        if word == "ready":
            worker.retire_seconds, worker.drain_seconds = map(_seconds, (said["retire"], said["drain"]))
            self._name = str(said["name"])
            self._got_ready(member, now)
            if member.state is State.LEAVING:  # It has not heard that it was told to stop.
                worker.stopped = False
                worker.tell("drain")
        elif word == "leave":
            log.info("Worker %d is replaced: %s", member.pid, said["why"])
            member.outdated = member.outdated or str(said["why"])
        elif word == "stopping":
            if member.state is State.READY:
                self._lost[member.slot] = f"Worker {member.pid} was told to stop"
                self._let_go(member, now + worker.drain_seconds + MARGIN_SECONDS)
        elif word == "failed":
            worker.code, worker.sentence = int(said["code"]), str(said["sentence"])

    def _got_ready(self, member: Member, now: float) -> None:
        self._crew.got_ready(member, now)
        if not self._ever:
            self._ever = True
            self._crew.halted = self._stops > 0
            for worker in self._failed:
                self._could_not_start(worker, now)
            self._failed.clear()

    # -- what the user says --------------------------------------------------------------------

    def _obey(self, number: int, now: float) -> None:
        hangup = number == signal.SIGHUP and not self._stops and signals.terminal_gone()
        if number in STOP or hangup:
            if not self._stops:
                systemd.stopping()
            self._stops += 1 + (number == signal.SIGQUIT)
            self._stop(now, forced=self._stops > 1)
        elif self._stops:
            return
        elif number == signal.SIGHUP:
            log.info("SIGHUP: the workers are replaced")
            self._reload()
        elif number == signal.SIGTTIN:
            self._scale(min(self._crew.wanted + 1, WORKERS_MAX))
        elif number == signal.SIGTTOU:
            self._scale(max(self._crew.wanted - 1, 1))
        elif number == signal.SIGUSR1:
            logs.reopen()
            for worker in self._workers.values():
                worker.tell("reopen")
        elif number == signal.SIGUSR2:
            log.warning(signals.NO_USR2)

    def _reload(self) -> None:
        """Replace the workers, those as well that are just loading what may have changed since."""
        self._reloading = True
        self._failed.clear()
        if self._announced:
            systemd.reloading()
        if self._crew.room() < 1:  # Those of the last time are still there.
            for member in self._crew.of(State.LEAVING):
                self._workers[member.pid].tell("drain")
        self._crew.renew(RELOADED)

    def _scale(self, wanted: int) -> None:
        self._crew.wanted = wanted
        log.info("There are to be %s", _workers(wanted))

    def _stop(self, now: float, *, forced: bool) -> None:
        """Tell all workers to drain, at the second time to stop at once, at the third kill them."""
        self._crew.halted = True
        self._told = 0.0 if forced else now + SILENT_SECONDS
        self._unfinished = self._unfinished or forced
        for worker in self._workers.values():
            if worker.member.state is State.STARTING or worker.stopped or self._stops > 2:
                worker.stop(forced=forced)
                self._let_go(worker.member, now + MARGIN_SECONDS)
            else:
                worker.tell("stop" if forced else "drain")
                self._let_go(worker.member, now + (
                    FORCED_SECONDS if forced else worker.drain_seconds + MARGIN_SECONDS))

    # -- what time brings ----------------------------------------------------------------------

    def _look(self, now: float) -> None:
        for worker in self._workers.values():
            self._look_at(worker, now)
        if (not self._announced and not self._stops and self._crew.of(State.READY)
                and not self._crew.of(State.STARTING)):
            self._announce()
        if self._reloading and self._crew.renewed():
            self._reloading = False
            log.info("All workers have loaded the program anew")
            systemd.ready()
        if self._told and now >= self._told:
            self._told = 0.0
            self._tell_what_is_left()
        if self._announced and now >= self._proof and (seconds := systemd.watchdog_seconds()) is not None:
            self._proof = now + min(seconds / 2, TURN_SECONDS)
            systemd.alive()

    def _look_at(self, worker: _Worker, now: float) -> None:
        """Whether a worker still lives, and does in time what it was told."""
        member, bounds = worker.member, self._bounds
        if member.deadline is not None:
            if now >= member.deadline:
                member.deadline = None
                if not worker.killed:
                    self._unfinished = self._unfinished or self._stops > 0
                    log.warning("Worker %d has not ended in time, and is killed", member.pid)
                worker.killed = worker.killed or "too slow"
                worker.process.kill()
        elif member.state is State.STARTING:
            if now - member.started >= bounds.worker_start_timeout and not worker.killed:
                worker.sentence = f"it was not ready after {bounds.worker_start_timeout:g} s"
                self._abort(worker, now)
        elif (member.state is State.READY and bounds.worker_timeout is not None
                and now - member.heard >= bounds.worker_timeout):
            self._lost[member.slot] = (f"Worker {member.pid} hung, without a sign of life for "
                                       f"{bounds.worker_timeout:g} s, and is killed")
            self._let_go(member, now)
            self._abort(worker, now)

    @staticmethod
    def _abort(worker: _Worker, now: float) -> None:
        """End a process that does not go on, by way of what makes it write where it is."""
        worker.killed = "hung"
        worker.process.send_signal(signal.SIGABRT)
        worker.member.deadline = now + ABORT_SECONDS

    def _announce(self) -> None:
        self._announced = True
        where = ", ".join(listener.address for listener in self._listeners)
        count = _workers(len({member.slot for member in self._crew.of(State.READY)}))
        logs.say(f"Japronto is listening on {where} ({self._name}, {count}); Ctrl-C stops it.")
        if self._watched is not None and self._watched.listeners:
            logs.say(f"Metrics and health are at {self._watched.listeners[0].address}.")
        systemd.ready(f"Listening on {where}")

    def _tell_what_is_left(self) -> None:
        """Why the server is still there, though it was told to stop."""
        if self._workers:
            seconds = max(worker.drain_seconds for worker in self._workers.values())
            logs.say(f"Finishing what {_workers(len(self._workers))} began, at most {seconds:g} s; "
                     "another signal stops at once.")


def _workers(count: int) -> str:
    return f"{count} worker{'s' * (count != 1)}"


def _seconds(said: Any) -> float:
    """A duration that a worker tells."""
    seconds = float(said)
    if not seconds >= 0:  # nor is it NaN
        raise ValueError(said)
    return seconds


def _how(worker: _Worker) -> str:
    """How a process has ended."""
    code = worker.process.returncode
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal
        return f"was killed by signal {-code}"


def _reap_orphans(workers: dict[int, _Worker]) -> None:
    """As the first process of a container, take in the children that others have left behind."""
    if os.getpid() != 1:
        return
    with contextlib.suppress(ChildProcessError):
        while True:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None or ended.si_pid in workers:  # Its own turn comes.
                return
            os.waitpid(ended.si_pid, 0)


def _directory() -> str | None:
    """The directory that workers start in: by its name, which may be a link to a newer one by then."""
    name = os.environ.get("PWD", "")
    with contextlib.suppress(OSError):
        if name and Path(name).samefile("."):
            return name
    return None
