"""One worker: its loop, its timer, and how it stops.

``serve`` is for programs whose main business this is: it makes the loop, takes the signals and returns
the exit code.  ``start_server`` is for those that run a loop already.

Stopping is draining: no new connection is accepted, what has begun is finished within
``drain_seconds``, the last answer on each connection says that it closes.  Then whatever is left is
cancelled.  A second signal does not wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import functools
import importlib.util
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from japronto import backend, logs, signals, systemd, tls
from japronto.access import AccessLog
from japronto.admission import ACCEPTED_AT_ONCE, Admission, Gate, raise_file_limit, say_if_fewer
from japronto.app import Application, default_request_logger
from japronto.config import MasterConfig, ServerConfig, TLSConfig
from japronto.errors import StartError, UsageError
from japronto.interfaces import Lane
from japronto.listening import Listener, close_listeners, open_listeners, open_telling
from japronto.loading import failure
from japronto.logs import log
from japronto.preamble import Preambles
from japronto.protocol import HTTPProtocol
from japronto.pure.assembler import http_date
from japronto.pure.forwarded import Proxies
from japronto.tasks import Runner
from japronto.tls_protocol import TLS
from japronto.worker import MASTER, Master

if TYPE_CHECKING:
    from japronto.board import Place
    from japronto.metrics import Meter, Watch

HAS_UVLOOP: Final = importlib.util.find_spec("uvloop") is not None
"""It is not made for every platform."""

CANCEL_SECONDS: Final = 5
"""How long the clean-up code of cancelled handlers may take."""
RELOAD_DRAIN_SECONDS: Final = 2.0
"""What a worker gets to finish its requests when the program has changed, or the one who changes it stops."""
SILENT_SECONDS: Final = 0.5
"""How long it may take to stop before somebody wonders."""
_NO_FILES: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


# -- The loop --------------------------------------------------------------------------------

def loop_name(choice: str) -> str:
    """The event loop that a choice leads to; raises UsageError when it is not there."""
    if choice == "auto":
        return "uvloop" if HAS_UVLOOP else "asyncio"
    if choice == "uvloop" and not HAS_UVLOOP:
        raise UsageError("uvloop is not installed; pip install uvloop, or choose the loop asyncio")
    if choice not in ("uvloop", "asyncio"):
        raise UsageError(f"the loop must be auto, uvloop or asyncio; it is {choice!r}")
    return choice


def new_loop(choice: str) -> asyncio.AbstractEventLoop:
    """A new event loop."""
    if loop_name(choice) == "asyncio":
        return asyncio.new_event_loop()
    import uvloop  # noqa: PLC0415 - where it is there

    return uvloop.new_event_loop()


def _name_of(loop: asyncio.AbstractEventLoop) -> str:
    return "uvloop" if type(loop).__module__.partition(".")[0] == "uvloop" else "asyncio"


# -- The worker ------------------------------------------------------------------------------

class Worker:
    """What the connections of one loop share."""

    def __init__(self, app: Application, loop: asyncio.AbstractEventLoop,
                 config: ServerConfig | None = None, access_log: AccessLog | None = None) -> None:
        config = config or ServerConfig()
        self.app = app
        self.access_log = access_log
        self.loop = loop
        self.backend = backend.active()
        if not issubclass(app.request_type, self.backend.request):
            raise UsageError(f"the application was made for another backend than {self.backend.name}, which "
                             f"is to serve it; do not change {backend.VARIABLE} in between")
        self.meter: Meter | None = None
        """What counts, where metrics are told."""
        self._protocol = self.backend.protocol
        self.draining = False
        self.retiring = False
        self.heads_gone = 0
        """The requests of connections that are over."""
        self.proxies = (None if config.proxy_headers == "off" else
                        Proxies(config.proxy_headers, config.forwarded_allow_ips,
                                handed_on=config.proxy_protocol))
        """What is believed of the fields that proxies set; None where nothing is."""
        self.preambles = Preambles(self, config.forwarded_allow_ips) if config.proxy_protocol else None
        """The beginnings of connections, where the PROXY protocol is on."""
        self.admission = Admission(app.limits, self.proxies)
        self.protocols = self.admission.protocols
        self.tls = None if config.tls is None else TLS(self, tls.context(config.tls))
        """What the connections have in common, where they are of TLS."""
        self.runner = Runner(loop)
        self.run = self.runner.run
        make_lane = self.backend.lane
        self.lane: Lane | None = None if make_lane is None else make_lane(app, self.runner, self.date)
        self._unwatch = app.watch(self.lane.forget) if self.lane is not None else None
        self._second = 0
        self._date = b""
        self._timer: asyncio.TimerHandle | None = None
        self._drained: asyncio.Future[None] | None = None

    def date(self) -> bytes:
        """The value of Date, made anew when the second has changed."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            year, month, day, hour, minute, seconds, weekday, *_ = time.gmtime(second)
            self._date = http_date(year, month, day, hour, minute, seconds, weekday)
        return self._date

    def protocol(self) -> asyncio.BaseProtocol:
        """The protocol of a new connection."""
        return self.final_protocol() if self.preambles is None else self.preambles.protocol()

    def final_protocol(self) -> asyncio.BaseProtocol:
        """The protocol that a connection is for."""
        if self.app.protocol_factory is not None:
            made: asyncio.BaseProtocol = self.app.protocol_factory(self.app)
        else:
            made = self._protocol(self)
        return made if self.tls is None else self.tls.protocol(made)

    def count(self, meter: Meter, protocol: type[HTTPProtocol]) -> None:
        """Have what happens counted; ``protocol`` is the one that does it."""
        self.meter, self._protocol = meter, protocol
        if self.lane is not None:
            self.lane.count_into(*meter.lane_cells())

    def start(self) -> None:
        """Begin to keep time."""
        self._check()

    def _check(self) -> None:
        now = self.loop.time()
        for protocol in tuple(self.protocols):
            try:
                protocol.check(now)
            except Exception:
                log.exception("Looking at a connection failed")
                protocol.abort()
        if self.preambles is not None:
            self.preambles.check(now)
        if self.tls is not None:
            self.tls.check(now)
        self.admission.look()
        if self.meter is not None:
            self.meter.look(self)
        self._look_whether_drained()
        self._timer = self.loop.call_later(self.app.timeouts.check_seconds, self._check)

    def take_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What the loop does with an error that has no other place.

        Plain asyncio complains of each connection for which there is no descriptor, by the thousand.
        """
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in _NO_FILES and "accept" in context["message"]:
            self.admission.short_of_files()
        else:
            loop.default_exception_handler(context)

    def requests(self) -> int:
        """How many requests have come so far."""
        return self.heads_gone + sum(protocol.connection.heads for protocol in self.protocols)

    @property
    def left(self) -> str:
        """What has begun and is not over, for people to read; empty when that is nothing."""
        tasks = self.runner.tasks.difference(*(protocol.tasks() for protocol in self.protocols))
        requests = sum(len(protocol.connection.queue) for protocol in self.protocols) + len(tasks)
        if requests:
            return f"{requests} request{'s' * (requests > 1)}"
        switched = sum(not transport.is_closing() for transport in self.admission.switched)
        connections = len(self.protocols) + len(self.admission.beginning) + switched
        return f"{connections} connection{'s' * (connections > 1)}" if connections else ""

    async def drain(self) -> None:
        """Finish what has begun; cut what is not finished in time."""
        self.draining = True
        if not await self._drained_in(self.app.timeouts.drain_seconds, HTTPProtocol.drain):
            log.warning("Not all requests were finished in %s s", self.app.timeouts.drain_seconds)

    async def announce(self, seconds: float) -> None:
        """Go on serving for a while, each connection for one more answer."""
        self.retiring = True
        self.loop.call_soon(self._begin_all, HTTPProtocol.retire)
        await asyncio.sleep(seconds)

    async def retire(self) -> None:
        """Close each connection behind its next answer; ends when all are closed, or after a while.

        In place of requests that cross a close on their way, for a worker that another one replaces.
        """
        self.retiring = True
        await self._drained_in(self.app.timeouts.retire_seconds, HTTPProtocol.retire)

    def hurry(self) -> None:
        """Retire no longer."""
        if self.retiring and not self.draining and self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    async def _drained_in(self, seconds: float, begin: Callable[[HTTPProtocol], None]) -> bool:
        """Call ``begin`` with each connection; whether all is over within a time."""
        self._drained = drained = self.loop.create_future()
        self.loop.call_soon(self._begin_all, begin)  # Handlers start outside of any task.
        # Faster than the timer, so that a server without clients is gone at once.
        poll = self.loop.create_task(self._poll())
        try:
            await asyncio.wait_for(drained, seconds)
        except TimeoutError:
            return False
        finally:
            poll.cancel()
        return True

    def _begin_all(self, begin: Callable[[HTTPProtocol], None]) -> None:
        if self.draining and self.preambles is not None:
            self.preambles.drain()
        for protocol in tuple(self.protocols):
            begin(protocol)
        self._look_whether_drained()

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(0.02)
            self._look_whether_drained()

    def _look_whether_drained(self) -> None:
        if self._drained is not None and not self._drained.done() and not self.left:
            self._drained.set_result(None)

    async def _settle(self, seconds: float) -> None:
        """Wait until all handlers are over, or for a while."""
        until = self.loop.time() + seconds
        while self.runner.tasks and self.loop.time() < until:
            await asyncio.sleep(0)  # Who has let others have a turn goes on.
            if left := [task for task in self.runner.tasks if isinstance(task, asyncio.Task)]:
                await asyncio.wait(left, timeout=until - self.loop.time())

    async def stop(self) -> None:
        """Cut all connections, and give cancelled handlers a while to clean up."""
        tasks = tuple(self.runner.tasks)
        clients = {task for protocol in self.protocols for task in protocol.tasks()}
        for protocol in tuple(self.protocols):
            protocol.abort()
        for task in tasks:
            # Those of a client are cancelled when it is lost, and clean-up code is not interrupted.
            if task not in clients and not task.cancelling():
                task.cancel()
        for transport in self.admission.switched:
            transport.abort()
        await self._settle(CANCEL_SECONDS)
        await asyncio.sleep(0)
        if self._timer is not None:
            self._timer.cancel()
        self.runner.close()
        if self._unwatch is not None:
            self._unwatch()
        await asyncio.sleep(0)
        if self.access_log is not None:
            self.access_log.close()


# -- The server ------------------------------------------------------------------------------

class Server:
    """An application that is being served; what ``start_server`` gives.

    Also an async context manager, which closes it.
    """

    def __init__(self, worker: Worker, listeners: list[Listener], gate: Gate, config: ServerConfig) -> None:
        self.worker = worker
        self.config = config
        self._listeners = listeners
        self._gate = gate
        self._closing: asyncio.Task[None] | None = None
        self.watch: Watch | None = None
        """How it is watched, where that was asked for."""
        self.sockets = [listener.sock for listener in listeners]
        """The sockets that it listens on."""
        self.port = listeners[0].port
        """The TCP port of the first, the real one where 0 was asked for; None for a Unix socket."""
        self.addresses = [listener.address for listener in listeners]
        """Where it listens, as URLs."""
        self.address = self.addresses[0]
        """The first of them."""

    def reload_tls(self) -> bool:
        """Read the files of the certificate anew, for connections that come from now on.

        Returns whether that was possible; if not, what was there stays in use, and the log says why.
        Raises UsageError when the server has no TLSConfig.
        """
        if not isinstance(self.config.tls, TLSConfig) or self.worker.tls is None:
            raise UsageError("there is no certificate to read anew; start the server with a TLSConfig")
        try:
            self.worker.tls.context = tls.context(self.config.tls)
        except (StartError, UsageError) as error:
            log.error("The certificate stays as it was: %s", error)
            return False
        log.info("The certificate was read anew")
        return True

    async def close(self) -> None:
        """Stop listening, finish what has begun, run the shutdown hooks.

        Whoever calls it waits for the same closing, also when it is over already.  Who is cancelled
        meanwhile waits no longer, and the server closes nevertheless.
        """
        await asyncio.shield(self.closing())

    def closing(self, *, retire: bool = False) -> asyncio.Task[None]:
        """The task that closes the server, begun now if it was not before; to cancel it hurries it up.

        With ``retire``, clients that are idle may ask once more before they are closed.
        """
        if self._closing is None:
            self._closing = self.worker.loop.create_task(self._close(retire))
        return self._closing

    async def _close(self, retire: bool) -> None:
        try:
            if self.watch is not None:
                self.watch.set_ready(False)
            try:
                # When it retires, others are there already.
                if self.config.drain_delay_seconds and not retire:
                    await self.worker.announce(self.config.drain_delay_seconds)
            finally:  # A second signal ends the delay.
                await self._stop_listening()
            if retire:
                await self.worker.retire()
            await self.worker.drain()
        finally:
            await self.worker.stop()
            await self.worker.app.shutdown()
            self.worker.app.loop = None
            if self.watch is not None:
                await self.watch.close()

    async def _stop_listening(self) -> None:
        try:
            await self._gate.close()
        finally:
            close_listeners(self._listeners)

    async def __aenter__(self) -> Server:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


async def start_server(app: Application, config: ServerConfig, listeners: list[Listener] | None = None,
                       place: Place | None = None) -> Server:
    """Serve on the running loop; raises StartError when that is not possible.

    It opens what ``config`` asks for, unless it is given ``listeners``.  Either way it closes them.
    ``place`` is where a worker counts that has a master.
    """
    loop = asyncio.get_running_loop()
    app.loop = loop
    app.debug = app.debug or config.debug
    app.request_id_header = config.request_id_header or app.request_id_header
    access_log = watch = None
    try:
        access_log = _access_log(app, config)
        worker = Worker(app, loop, config, access_log)
        watch = await _watch(worker, config, place)
        await _run_startup(app)
        try:
            server = await _listen(worker, config, listeners)
        except BaseException:
            await app.shutdown()
            raise
    except BaseException:
        app.loop = None
        if access_log is not None:
            access_log.close()
        if watch is not None:
            await watch.close()
        raise
    worker.start()
    if watch is not None:
        server.watch = watch
        watch.set_ready(True)
    return server


async def _watch(worker: Worker, config: ServerConfig, place: Place | None) -> Watch | None:
    """Begin to count, and to tell it at the metrics address, where that is asked for.

    That comes before the start-up hooks: meanwhile the server lives, and is not ready.
    """
    if not config.watched:
        return None
    from japronto.board import Board, Place  # noqa: PLC0415 - for those alone who ask for it
    from japronto.metrics import Watch  # noqa: PLC0415

    place = place or Place(Board.create(1), 0, None)
    watch = Watch(place, worker, config)
    telling = config.metrics_config()
    if telling is not None:
        try:
            listeners = open_telling(telling) if place.listeners is None else place.listeners
            watch.server = await start_server(watch.application(), telling, listeners)
        except BaseException:
            await watch.close()
            raise
    return watch


async def _listen(worker: Worker, config: ServerConfig, listeners: list[Listener] | None) -> Server:
    if listeners is None:
        listeners = open_listeners(config, scheme=config.scheme)

    async def accept(sock: socket.socket) -> asyncio.AbstractServer:
        return await _accept(worker, sock, config.backlog)

    worker.admission.gate = gate = Gate(worker.loop, [listener.sock for listener in listeners], accept)
    try:
        await gate.start()
    except BaseException:
        await gate.close()
        close_listeners(listeners)
        raise
    return Server(worker, listeners, gate, config)


def _access_log(app: Application, config: ServerConfig) -> AccessLog | None:
    """The access log, if there is to be one; it takes the place of the line of 2017."""
    if not config.access_log:
        return None
    if app.log_request is default_request_logger:
        app.log_request = None
    return AccessLog(config.access_log_format, config.access_log_file, config.access_log_query)


async def _run_startup(app: Application) -> None:
    try:
        await app.startup()
    except (StartError, UsageError):
        raise
    except Exception as error:
        raise failure(error, "a start-up hook failed") from error


async def _accept(worker: Worker, sock: socket.socket, backlog: int) -> asyncio.AbstractServer:
    """Accept at a socket that listens.

    Plain asyncio takes the backlog for the number of connections to accept in one turn of the loop, and
    of complaints when there are no descriptors for them.  The kernel is told the true one.
    """
    at_once = min(backlog, ACCEPTED_AT_ONCE)
    server: asyncio.AbstractServer
    if sock.family != socket.AF_UNIX:
        server = await worker.loop.create_server(worker.protocol, sock=sock, backlog=at_once)
    else:
        # The loop would remove the file, also of a socket that it was given and that others listen on.
        options: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
        server = await worker.loop.create_unix_server(worker.protocol, sock=sock, backlog=at_once, **options)
    sock.listen(backlog)
    return server


# -- Serving until a signal ------------------------------------------------------------------

def serve(app: Application, config: ServerConfig, bounds: MasterConfig | None = None) -> int:
    """Serve until a signal says to stop; returns the exit code: 0, or 1 after a second signal.

    In the process of a worker, serve on the sockets of its master, as that one says, and within ``bounds``.
    Raises StartError or UsageError when it does not come to that.  The soft limit of open files is raised
    to what the bound of connections needs.
    """
    if asyncio._get_running_loop() is not None:
        raise UsageError("a loop is running here already; await app.start_server() in place of app.run()")
    loop = app.loop_or(lambda: new_loop(config.loop))
    asyncio.set_event_loop(loop)
    try:
        if config.loop not in ("auto", _name_of(loop)):
            raise UsageError(f"the application has made a loop of {_name_of(loop)} already; "
                             f"do not ask for {config.loop}, or do not use app.loop so early")
        with logs.last_resort():
            if MASTER is not None:
                return loop.run_until_complete(_work(app, config, bounds or MasterConfig(), loop, MASTER))
            return loop.run_until_complete(_serve(app, config, loop))
    finally:
        try:
            _cancel_all(loop)
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            asyncio.set_event_loop(None)
            loop.close()
            app.loop = None


async def _serve(app: Application, config: ServerConfig, loop: asyncio.AbstractEventLoop) -> int:
    ending = _Ending()
    hangup = _Hangup(ending, config)
    # Till it serves, signals to stop end the program as any other, and those for a server do no harm.
    with _signals(loop, {signal.SIGHUP: hangup.signal, signal.SIGUSR1: logs.reopen, **_warnings()}):
        server = await _started(app, config, loop, None)
        with _signals(loop, {signal.SIGTERM: ending.signal, signal.SIGINT: ending.signal,
                             signal.SIGQUIT: ending.force}):
            hangup.started(server)
            return await _until_stopped(server, ending)


async def _until_stopped(server: Server, ending: _Ending) -> int:
    worker, where = server.worker, ", ".join(server.addresses)
    logs.say(f"Japronto is listening on {where} (backend {worker.backend}, loop {_name_of(worker.loop)}); "
             "Ctrl-C stops it.")
    if server.watch is not None and server.watch.server is not None:
        logs.say(f"Metrics and health are at {server.watch.server.address}.")
    say_if_fewer(worker.admission.most, worker.app.limits)
    systemd.ready(f"Listening on {where}")
    _prove_alive(worker.loop)
    try:
        await ending.begun.wait()
    finally:
        systemd.stopping()
        telling = worker.loop.call_later(SILENT_SECONDS, _tell_what_is_left, worker)
        hurried = await ending.end(server)
        telling.cancel()
    return int(hurried)


async def _work(app: Application, config: ServerConfig, bounds: MasterConfig,
                loop: asyncio.AbstractEventLoop, master: Master) -> int:
    """Serve as the worker of a master."""
    ending = _Ending()
    if bounds.reload:  # Whoever is writing the program does not want to wait.
        seconds = min(app.timeouts.drain_seconds, RELOAD_DRAIN_SECONDS)
        app.timeouts = dataclasses.replace(app.timeouts, drain_seconds=seconds)
    server = await _started(app, config, loop, master.listeners(config), master.place())
    with _signals(loop, {signal.SIGTERM: ending.signal, signal.SIGUSR1: logs.reopen}, last=True):
        master.attend(server, f"backend {server.worker.backend}, loop {_name_of(loop)}", bounds, {
            "retire": ending.retire, "drain": lambda: ending.drain(server.worker), "stop": ending.force,
            "reopen": logs.reopen})
        try:
            await ending.begun.wait()
        finally:
            master.tell("stopping")
            hurried = await ending.end(server)
        return int(hurried)


async def _started(app: Application, config: ServerConfig, loop: asyncio.AbstractEventLoop,
                   listeners: list[Listener] | None, place: Place | None = None) -> Server:
    raise_file_limit(app.limits.connections)
    server = await start_server(app, config, listeners, place)
    if loop.get_exception_handler() is None:
        loop.set_exception_handler(server.worker.take_exception)
    return server


class _Ending:
    """How a server was told to end: who asks for it again does not want to wait.

    Of signals, that is the second one.  What a master says comes beside them, since many a manager signals
    all processes, so that it says again what is known.
    """

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self._forced = asyncio.Event()
        self._retire = False
        self._signals = 0

    def signal(self) -> None:
        self._signals += 1
        self.begun.set()
        if self._signals > 1:
            self._forced.set()

    def retire(self) -> None:
        """End, but let idle clients ask once more."""
        self._retire = not self.begun.is_set()
        self.begun.set()

    def drain(self, worker: Worker) -> None:
        """End; and if that has begun, with idle clients first."""
        self.begun.set()
        worker.hurry()

    def force(self) -> None:
        """End at once."""
        self.begun.set()
        self._forced.set()

    async def end(self, server: Server) -> bool:
        """Close the server; whether that was hurried up."""
        closing = server.closing(retire=self._retire)
        if await _interrupted(closing, self._forced):
            return True
        closing.result()
        return False


def _prove_alive(loop: asyncio.AbstractEventLoop) -> None:
    """From now on, and twice as often as needed, where systemd's watchdog is on."""
    if seconds := systemd.watchdog_seconds():
        systemd.alive()
        loop.call_later(seconds / 2, _prove_alive, loop)


def _tell_what_is_left(worker: Worker) -> None:
    """Why the server is still there, though it was told to stop."""
    if worker.left:
        logs.say(f"Finishing {worker.left}, at most {worker.app.timeouts.drain_seconds:g} s; "
                 "another signal stops at once.")


async def _interrupted(task: asyncio.Task[Any], event: asyncio.Event) -> bool:
    """Whether an event comes before a task is done; then that is cancelled, and has a while to clean up."""
    waiting = asyncio.create_task(event.wait())
    await asyncio.wait((task, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if task.done():
        return False
    task.cancel()
    await asyncio.wait((task,), timeout=CANCEL_SECONDS)
    return True


class _Hangup:
    """What SIGHUP does in a single process: it reads the certificate anew.

    Where the terminal of the server is gone, it says so, and the server ends.
    """

    def __init__(self, ending: _Ending, config: ServerConfig) -> None:
        self._ending = ending
        self._has_files = isinstance(config.tls, TLSConfig)
        self._server: Server | None = None
        self._came = False

    def signal(self) -> None:
        self._came = True
        if signals.terminal_gone():
            self._ending.begun.set()
        elif not self._has_files:
            log.warning("SIGHUP: there is nothing to load anew without --workers or a certificate")
        elif self._server is not None:
            self._server.reload_tls()

    def started(self, server: Server) -> None:
        """The server is there: what came before concerns it, too."""
        self._server = server
        if self._came and self._has_files:
            server.reload_tls()


def _warnings() -> dict[signal.Signals, Callable[[], object]]:
    """What to do at signals that mean nothing to a single process, and would end it, or halt it."""
    numbers = {signal.SIGUSR2: signals.NO_USR2}
    numbers |= {number: f"{number.name}: the number of workers can be changed with --workers alone"
                for number in (signal.SIGTTIN, signal.SIGTTOU) if not signals.of_terminal(number)}
    return {number: functools.partial(log.warning, text) for number, text in numbers.items()}


class _signals(contextlib.AbstractContextManager[None]):  # noqa: N801 - reads as what it does
    """While this is entered, signals call functions, where signals can be taken at all.

    Those that do not stop the server are left to a program that takes them itself.  Afterwards these do
    nothing, and the others what they did before; nothing either, where this is the ``last`` of a process.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop,
                 functions: Mapping[signal.Signals, Callable[[], object]], *, last: bool = False) -> None:
        self._loop = loop
        self._last = last
        self._functions = {number: function for number, function in functions.items()
                           if number in signals.STOP or signals.free(number)}
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> None:
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # not the main thread
            for number, function in self._functions.items():
                before = signal.getsignal(number)
                self._loop.add_signal_handler(number, function)
                self._before[number] = before

    def __exit__(self, *_: object) -> None:
        with signals.blocked(self._before):  # The loop leaves them to the system, which ends the process.
            for number, before in self._before.items():
                self._loop.remove_signal_handler(number)
                firm = number in signals.STOP and not self._last
                signal.signal(number, before or signal.SIG_DFL if firm else signals.nothing)


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what programs have left running, and give it a while to clean up."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=CANCEL_SECONDS))
