"""Between the event loop and a connection: moves octets, runs handlers, keeps time.  It holds no
rule of HTTP; those are the connection's.

The heart is ``_pump``: start what may start, write what may leave, until nothing moves.  It runs
when octets have come, when handlers have finished (once for all that finished in one turn of the
loop), and when the client takes again what it is sent.

Time is kept by one timer for all connections of a worker, which calls ``check`` on each.  It
compares what has happened since the last look, so that no clock is read and no timer is set for
any request.
"""

from __future__ import annotations

import asyncio
import select
import socket
import struct
import time
from collections.abc import AsyncIterable, Awaitable, Callable
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from japronto.errors import DisconnectError
from japronto.interfaces import Handover, Outcome
from japronto.logs import complain, log
from japronto.messages import Expects, Violation
from japronto.pure.connection import Connection, Phase
from japronto.pure.request import Request
from japronto.pure.response import Response
from japronto.routing import ReservedRoute, not_a_response

if TYPE_CHECKING:
    from japronto.pure.forwarded import Proxies
    from japronto.server import Worker
    from japronto.tasks import Waiting

# Named once: CPython 3.11 takes its time to look a member up in the class of an enum.
_OPEN: Final = Phase.OPEN
_WAITS: Final = Outcome.WAITS
_SLOW_HEAD: Final = Violation(408, "The request did not arrive in time.")
_SLOW_CONTENT: Final = Violation(408, "The content did not arrive in time.")
_CLIENT_CLOSED: Final = getattr(select, "POLLRDHUP", 0)  # POLLHUP and POLLERR are always told
_NO_LINGER: Final = struct.pack("ii", 1, 0)


class Expected(NamedTuple):
    """What a client has to do, and how far it has come.  Time runs while nothing of this changes."""

    what: str
    progress: int = 0
    more_progress: int = 0


NOTHING: Final = Expected("nothing")

BUSY: Final = "Too many requests are under way."
BUSY_FIELDS: Final = {"Retry-After": "1"}
"""What is answered above ``limits.requests_in_flight`` (RFC 9110 s.15.6.4)."""


class HTTPProtocol(asyncio.Protocol):
    """One connection of a worker; see ``interfaces.Host`` for what the connection asks of it."""

    __slots__ = ("_awake", "_born", "_expected", "_gone", "_half_closed", "_lane", "_pumping", "_reading",
                 "_since", "_stopwatch", "_streamer", "_tasks", "_window", "_writable", "_written", "client",
                 "connection", "transport", "worker")

    transport: asyncio.Transport

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        looked_at = worker.app.log_request is not None or worker.access_log is not None
        self._lane = None if looked_at else worker.lane  # which does not tell of each request
        self.connection = Connection(
            worker.app, self, worker.app.limits, worker.backend.parser, worker.backend.assemble,
            observed=looked_at or worker.meter is not None)
        self._stopwatch = (None if worker.access_log is None and worker.meter is None else _Stopwatch())
        self._tasks: set[Waiting] = set()
        self._streamer: Waiting | None = None
        self._writable: asyncio.Future[None] | None = None  # what the streamer waits for
        self._pumping = False
        self._awake = False  # whether a call of _pump is on its way
        self._gone = False  # whether nothing moves here any more
        self._reading = True
        self._half_closed = False  # by the server
        self._written = 0  # octets handed to the transport
        self._expected = NOTHING  # what the client had to do at the last look,
        self._since = 0.0  # and since when
        self._window = (0.0, 0)  # when the rate of content was last looked at, and how much there was
        self.client: str | None = None
        """What the connections of the client are counted by, if they are; see ``admission``."""

    # -- what the event loop calls ----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport = cast("asyncio.Transport", transport)  # uvloop's only looks like one
        transport.set_write_buffer_limits(high=self.connection.limits.unsent_bytes)
        self._born = self._since = self.worker.loop.time()
        self._window = (self._since, 0)
        self.worker.admission.enter(self)
        if self.worker.draining:
            self.drain()
        elif self.worker.retiring:
            self.retire()

    def data_received(self, data: bytes) -> None:
        served = None if self._lane is None else self._lane.serve(self.connection, data)
        if isinstance(served, bytes):  # All of it was plain.
            self._written += len(served)
            self.transport.write(served)
        else:
            self._carry_on(data, served)

    def _carry_on(self, data: bytes, served: Handover | None) -> None:
        """Go the general way, from where the fast lane has stopped, if it was there at all."""
        if served is not None:
            output, data, request, result, outcome = served
            if output:
                self._write([output])
            if request is not None:
                self.connection.adopt(request)
                self._take_result(request, result, outcome)
                if outcome == _WAITS and not data and self._stopwatch is None and self.connection.undisturbed:
                    return  # Nothing moves before the handler goes on, and then all is looked at.
        elif self.connection.late is not None:
            # A handler runs the loop further, and its answer comes first.
            self.connection.late += data
            if self._reading:
                self._switch_reading()
            return
        if self._stopwatch is not None:
            self._stopwatch.received(self.connection.expects is Expects.HEAD)
        self.connection.receive(data)
        self._pump()

    def _take_result(self, request: Request, result: Any, outcome: int) -> None:
        """What came of the handler that the fast lane has called last."""
        match outcome:
            case Outcome.WAITS:
                coroutine, waits_for = result
                self.worker.runner.adopt(coroutine, waits_for, request, self._handled, self._tasks)
            case Outcome.ANSWERED:
                self._take_answer(request, result)
            case Outcome.RAISED:
                self._take_answer(request, self._answer_to(request, result))
            case Outcome.RETURNED:
                self._handled(request, result, None)
            case Outcome.BROKE:
                self._handled(request, None, result)

    def eof_received(self) -> bool:
        self._reading = False
        self.connection.receive_eof()
        self._pump()
        return True  # The connection decides when to close.

    def connection_lost(self, exc: Exception | None) -> None:
        if self._gone:  # and what was to take over has failed
            return
        self.connection.lost()
        self.worker.admission.leave(self)
        self._let_go()
        for task in self.tasks():
            task.cancel()

    def _let_go(self) -> None:
        """Of the connection, which holds its host: else only a collector would find them."""
        self._gone = True
        self.worker.heads_gone += self.connection.heads
        del self.connection

    def pause_writing(self) -> None:
        self.connection.blocked = True

    def resume_writing(self) -> None:
        self.connection.blocked = False
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self.wake()

    # -- what the worker calls --------------------------------------------------------------------

    def drain(self) -> None:
        """Take no further request, and close when the last is answered.

        A client that has just connected has its first request on the way, and may have it answered.
        """
        loop = self.worker.loop
        until = self._born + self.worker.app.timeouts.arrival_seconds
        if self.connection.heads == 0 and loop.time() < until:
            self.retire()
            loop.call_at(until, self._drain)
        else:
            self._drain()

    def _drain(self) -> None:
        if not self._gone:
            self.connection.drain()
            self._pump()

    def retire(self) -> None:
        """Like drain, but a client that is idle may ask once more."""
        self.connection.retire()
        self._pump()

    def abort(self) -> None:
        """Close at once, whatever is under way."""
        self.transport.abort()

    def refuse(self, violation: Violation) -> None:
        """Answer what is complete, then this, then close."""
        self.connection.time_out(violation)
        self._pump()

    def tasks(self) -> list[Waiting]:
        """What runs on behalf of the client."""
        return [*self._tasks, *([] if self._streamer is None else [self._streamer])]

    def idle_since(self) -> float | None:
        """Since which look nothing has been under way, by the clock of the loop; None if something is."""
        connection = self.connection
        if connection.queue or self._expected != ("idle", connection.heads, 0):
            return None
        if connection.expects is not Expects.REQUEST or self.transport.get_write_buffer_size():
            return None
        return self._since

    def check(self, now: float) -> None:
        """Look whether the client keeps the server waiting for too long."""
        connection, timeouts = self.connection, self.worker.app.timeouts
        unsent = self.transport.get_write_buffer_size()
        expects = connection.expects
        expected, limit = NOTHING, 0.0
        if unsent:
            # TLS makes more octets of what is written, and tells how many have gone.
            gone = self.transport.get_extra_info("octets_gone", self._written - unsent)
            expected, limit = Expected("send", gone), timeouts.send_seconds
        elif connection.phase is Phase.LINGERING or connection.phase is Phase.CLOSED:
            expected, limit = Expected("linger"), timeouts.linger_seconds
        elif not self._reading:
            # Either the client has closed its side, or it is the server that does not read.
            if connection.eof or self._client_has_closed():
                expected = Expected("half-close", self._written, connection.received)
                limit = timeouts.half_close_seconds
        elif expects is Expects.REQUEST and not connection.queue:
            expected, limit = Expected("idle", connection.heads), timeouts.idle_seconds
        elif expects is Expects.HEAD:
            expected, limit = Expected("head", connection.heads), timeouts.head_seconds
        elif expects is Expects.CONTENT:
            expected = Expected("content", connection.heads, connection.received)
            limit = timeouts.content_seconds
            if self._too_little_content(now):
                self._time_out("content")
                return
        if expects is not Expects.CONTENT or not self._reading:
            self._window = (now, connection.received)
        if expected != self._expected or expected is NOTHING:
            self._expected, self._since = expected, now
        elif now - self._since >= limit:
            self._time_out(expected.what)

    def _client_has_closed(self) -> bool:
        """Whether the client has closed its side, or is gone; the loop tells it only to those that read."""
        sock = self.transport.get_extra_info("socket")
        if sock is None or not hasattr(select, "poll"):  # not a real connection; not a Unix
            return False
        poll = select.poll()
        poll.register(sock, _CLIENT_CLOSED)
        return bool(poll.poll(0))

    def _too_little_content(self, now: float) -> bool:
        """Whether content has come, over the last while, more slowly than it must."""
        timeouts = self.worker.app.timeouts
        begun, received = self._window
        seconds = now - begun
        if seconds < timeouts.content_seconds:
            return False
        self._window = (now, self.connection.received)
        return self.connection.received - received < seconds * timeouts.content_bytes_per_second

    def _time_out(self, what: str) -> None:
        if what == "idle":
            self._drain()
        elif what in ("head", "content"):
            self.refuse(_SLOW_HEAD if what == "head" else _SLOW_CONTENT)
        elif what == "send":
            self._reset()
        else:
            self.abort()

    def _reset(self) -> None:
        """Close at once, and let go of what the kernel still has for the client.

        Else that stays, up to some megabytes, for as long as the client lives and does not read.
        """
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self.abort()

    # -- what the connection calls ----------------------------------------------------------------

    @property
    def proxies(self) -> Proxies | None:
        return self.worker.proxies

    def waiter(self) -> asyncio.Future[None]:
        return self.worker.loop.create_future()

    def wake(self) -> None:
        if not self._awake and not self._pumping:
            self._awake = True
            self.worker.loop.call_soon(self._wake)

    def _wake(self) -> None:
        self._awake = False
        if not self._gone:
            self._pump()

    def discard(self, stream: Any) -> None:
        close = getattr(stream, "aclose", None)
        if close is not None:
            self.worker.run(_closed(stream), None, _ignore)
            return
        close = getattr(stream, "close", None)
        if close is not None:
            try:
                self.worker.runner.call(close)
            except KeyboardInterrupt:
                raise
            except BaseException:
                log.exception("Closing the content of a response failed")

    def begun(self, request: Request) -> None:
        if self._stopwatch is not None:
            self._stopwatch.start(request)

    def finished(self, request: Request) -> None:
        # Mostly they hold the request, which must not hold them.
        callbacks, request._done_callbacks = request._done_callbacks or [], None
        if self.worker.app.log_request is not None and request.refusal is None:
            callbacks = [*callbacks, self.worker.app.log_request]
        for callback in callbacks:
            try:
                self.worker.runner.call(callback, request)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                complain("A callback of %s failed", request, error)
        if self._stopwatch is not None:
            seconds = self._stopwatch.stop(request)
            if self.worker.access_log is not None:
                self.worker.access_log.add(request, seconds)
            if self.worker.meter is not None:
                self.worker.meter.add(request, seconds)

    # -- moving things on -------------------------------------------------------------------------

    def _pump(self) -> None:
        """Move on; should that fail, the connection must not be left to wait for ever."""
        self._pumping = True
        try:
            self._move_on()
        except Exception:
            log.exception("Serving a connection failed")
            self.abort()
        finally:
            self._pumping = False

    def _move_on(self) -> None:
        """Start what may start and write what may leave, until nothing moves."""
        connection = self.connection
        while True:
            while (request := connection.next_request()) is not None:
                self._handle(request)
            buffers = connection.data_to_send(self.worker.date())
            if buffers:
                self._write(buffers)
            if self._streamed_at_once():
                continue
            if connection.stalled:
                break
            connection.receive(b"")
        if connection.phase is not _OPEN:
            self._end()
        elif connection.wants_reading is not self._reading:
            self._switch_reading()

    def _write(self, buffers: list[bytes]) -> None:
        if len(buffers) == 1:
            self._written += len(buffers[0])
            self.transport.write(buffers[0])
        else:
            self._written += sum(map(len, buffers))
            self.transport.writelines(buffers)

    def _switch_reading(self) -> None:
        if self.connection.eof or self.transport.is_closing():
            return
        self._reading = not self._reading
        if self._reading:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    def _end(self) -> None:
        """The connection is not open any more, or not HTTP any more."""
        transport, phase = self.transport, self.connection.phase
        if transport.is_closing():
            return
        if phase is Phase.LINGERING:
            if not self._half_closed:
                self._half_closed = True
                try:
                    transport.write_eof()
                except OSError:  # The client has reset the connection, and we will hear of it.
                    self.abort()
            if not self._reading:
                self._switch_reading()
        elif phase is Phase.CLOSED:
            transport.close()
        else:
            self._hand_over()

    def _hand_over(self) -> None:
        """Another protocol has the connection now."""
        octets, upgrade = self.connection.detach(), self.connection.upgrade
        assert upgrade is not None
        self.worker.admission.hand_over(self)
        self._let_go()
        try:
            protocol = upgrade()
            self.transport.set_protocol(protocol)
            if not self._reading:
                self.transport.resume_reading()
            protocol.connection_made(self.transport)
            if octets:
                protocol.data_received(octets)
        except Exception:
            log.exception("The protocol that was to take over a connection failed")
            self.transport.abort()

    # -- handlers ---------------------------------------------------------------------------------

    def _handle(self, request: Request) -> None:
        if (len(self.worker.runner.tasks) >= self.connection.limits.requests_in_flight
                and not isinstance(request.destination.route, ReservedRoute)):
            self._turn_away(request)
            return
        try:
            answer = self.worker.runner.call(request.destination.handler, request)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # One request must not end the program; not even sys.exit().
            answer = self._answer_to(request, error)
        self._take_answer(request, answer)

    def _turn_away(self, request: Request) -> None:
        """There is too much to do already."""
        self._take_answer(request, request.Response(503, text=BUSY, headers=BUSY_FIELDS))

    def _answer_to(self, request: Request, error: BaseException) -> Any:
        """What the error handlers have to say, or an awaitable of it."""
        return self.worker.runner.call(self.worker.app.failed, request, error)

    def _take_answer(self, request: Request, answer: Any) -> None:
        """A handler has returned something, in the call that started it."""
        if isinstance(answer, Response):
            try:
                request.connection.respond(request, answer)
            except Exception as error:  # mostly a ResponseError
                self._fail(request, error)
        else:
            self._await(request, answer, self._handled)

    def _await(self, request: Request, answer: Any,
               done: Callable[[Request, Any, BaseException | None], None]) -> None:
        if type(answer) is not CoroutineType:
            if not isinstance(answer, Awaitable):
                done(request, answer, None)
                return
            answer = _awaited(answer)
        self.worker.run(answer, request, done, self._tasks)

    def _handled(self, request: Request, answer: Any, error: BaseException | None) -> None:
        """A handler has answered, or failed."""
        if error is None:
            try:
                if isinstance(answer, Response):
                    request.connection.respond(request, answer)
                    self.wake()
                    return
                error = not_a_response(request, answer)
            except Exception as refused:  # mostly a ResponseError
                error = refused
        self._fail(request, error)

    def _fail(self, request: Request, error: BaseException) -> None:
        self._await(request, self._answer_to(request, error), self._failed)

    def _failed(self, request: Request, answer: Any, error: BaseException | None) -> None:
        """The error handlers have answered, or failed too."""
        try:
            if error is not None or not isinstance(answer, Response):
                raise error or TypeError(f"an error handler must return a Response, not {answer!r}")
            request.connection.respond(request, answer)
        except KeyboardInterrupt:
            raise
        except BaseException as failure:
            complain("%s: the answer to an error could not be sent", request, failure)
            request.connection.respond(request, request.Response(500, text="Internal Server Error"))
        finally:
            error = None  # Its traceback holds this frame.
        self.wake()

    # -- content that leaves piece by piece -------------------------------------------------------

    def _streamed_at_once(self) -> bool:
        """Start to send the content whose turn it is; whether all of it has been sent already."""
        request = self.connection.streaming
        if request is None or self._streamer is not None:
            return False
        self._streamer = self.worker.run(self._stream(request), request, self._streamed)
        return self._streamer is None

    async def _stream(self, request: Request) -> None:
        """Send the pieces of content, each when the client has room for it."""
        assert request.response is not None
        stream = request.response.stream
        assert stream is not None
        try:
            if isinstance(stream, AsyncIterable):
                async for piece in stream:
                    await self._send(piece)
            else:
                for piece in stream:
                    await self._send(piece)
        finally:
            await _closed(stream)

    async def _send(self, piece: bytes) -> None:
        """Send a piece, and wait: until there is room for the next, and for a turn of the loop at least.

        The iterator may never wait by itself, and others want their turn, were it only to close.
        """
        if self.transport.is_closing():
            raise DisconnectError("The connection was closed before all content was sent.")
        data = self.connection.send_piece(piece)
        if data:
            self._write([data])
        if self.connection.blocked:
            self._writable = self.worker.loop.create_future()
            await self._writable
        else:
            await asyncio.sleep(0)

    def _streamed(self, request: Request, _: None, error: BaseException | None) -> None:
        """All content has left, or no more will come."""
        self._streamer = None
        connection = request.connection
        if connection.streaming is not request:
            return  # The client has gone.
        try:
            if error is not None:
                raise error
            last = connection.end_stream()
            if last:
                self._write([last])
        except KeyboardInterrupt:
            raise
        except BaseException as failure:
            if not (isinstance(failure, DisconnectError) and self.transport.is_closing()):
                complain("%s: the content of the response ended early", request, failure)
            if connection.abort_stream():
                self._reset()  # Only that tells the client that this was not the end.
        finally:
            error = None  # Its traceback holds this frame.
        self.wake()


class _Stopwatch:
    """Measures how long each request of a connection takes, from its first octet on."""

    __slots__ = ("_begun", "_first", "_read")

    def __init__(self) -> None:
        self._begun: dict[Request, float] = {}
        self._read = 0.0  # when octets came last,
        self._first = 0.0  # and when the first of a head that is not complete

    def received(self, goes_on: bool) -> None:
        """Octets have come; ``goes_on`` is whether they belong to a head that has begun."""
        self._read = time.perf_counter()
        if not goes_on:
            self._first = self._read

    def start(self, request: Request) -> None:
        """Its head is complete.  If another has begun behind it, then with the octets that came last."""
        self._begun[request] = self._first
        self._first = self._read

    def adopt(self, request: Request, seconds: float) -> None:
        """A request that came so long ago."""
        self._begun[request] = time.perf_counter() - seconds

    def stop(self, request: Request) -> float:
        """The seconds since its first octet came."""
        return time.perf_counter() - self._begun.pop(request)


async def _awaited(answer: Awaitable[Any]) -> Any:
    return await answer


async def _closed(stream: Any) -> None:
    """Close an iterator that can be closed."""
    if hasattr(stream, "aclose"):
        await stream.aclose()
    elif hasattr(stream, "close"):
        stream.close()


def _ignore(_: None, result: Any, error: BaseException | None) -> None:
    if error is not None:
        log.error("Closing the content of a response failed", exc_info=error)
