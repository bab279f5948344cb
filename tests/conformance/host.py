"""Drives a connection without sockets, an event loop or a clock: ``protocol.py``, in small.

Like that one, it only looks at the connection again when octets have come, when a handler or a stream
has finished, and when the connection asks to be looked at.

Handlers and streams are coroutines that only ever wait for a ``Waiter``.  They take turns, in the
order in which they began, so that a run is the same each time.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Coroutine, Generator, Iterator
from typing import Any, cast

from japronto import Request, ResponseError
from japronto.backend import Backend
from japronto.limits import Limits
from japronto.messages import Expects, Violation
from japronto.pure.assembler import http_date
from japronto.pure.connection import Connection, Phase
from japronto.pure.response import Response

from .application import Scene, Shout, application

DATE = http_date(1994, 11, 6, 8, 49, 37, 6)
"""The instant of RFC 9110 s.5.6.7: Sun, 06 Nov 1994 08:49:37 GMT."""

ROUNDS_MAX = 1000
"""More than any case needs."""


def rounds() -> Iterator[None]:
    """For a loop that should come to an end by itself."""
    yield from [None] * ROUNDS_MAX
    raise AssertionError("the connection always has something to do, and gets nowhere")


class Waiter:
    """A future, for coroutines that take turns."""

    def __init__(self) -> None:
        self._done = False

    def done(self) -> bool:
        return self._done

    def set_result(self, result: None) -> None:
        self._done = True

    def __await__(self) -> Generator[Waiter, None, None]:
        yield self


class Task:
    """A coroutine, and what it waits for."""

    def __init__(self, coroutine: Coroutine[Waiter, None, None]) -> None:
        self._coroutine = coroutine
        self._waiter = Waiter()
        self._waiter.set_result(None)
        self.over = False
        self.close = coroutine.close

    def step(self) -> bool:
        """Go on as far as possible; whether that was any further."""
        if not self._waiter.done():
            return False
        try:
            self._waiter = self._coroutine.send(None)
        except StopIteration:
            self.over = True
        return True


class Host:
    """One connection, and the client at its other end."""

    proxies = None

    def __init__(self, backend: Backend, limits: Limits) -> None:
        self.transport = Scene(Waiter)
        self.connection = Connection(application(limits), self, limits, backend.parser, backend.assemble,
                                     observed=True)
        self.started: list[Request] = []
        self.announced: list[Request] = []
        self.over: list[Request] = []
        self.was_reset = False
        """Whether the server had to reset the connection."""
        self._awake = False
        self._pumping = False
        self._reading = True
        self._left = bytearray()
        self._unread = b""  # what the client has sent and the server has not read
        self._eof = False
        self._tasks: list[Task] = []
        self._streaming: Request | None = None
        self._taken_over: Shout | None = None

    # -- what the test does -----------------------------------------------------------------------

    def client_sends(self, octets: bytes) -> None:
        self._unread += octets
        self._move_on()

    def happens(self, what: str) -> None:
        """One of the things that stand behind ``! `` in a case."""
        match what.split():
            case ["eof"]:
                self._eof = True
            case ["reset"]:
                self.connection.lost()
            case ["go", name]:
                self.transport.go(name)
            case ["deaf" | "hears" as state]:
                self.connection.blocked = state == "deaf"
                self._awake = True
            case ["drain"]:
                self.connection.drain()
            case ["retire"]:
                self.connection.retire()
                self._awake = True
            case ["time-out"]:
                if self.connection.expects in (Expects.HEAD, Expects.CONTENT):
                    self.connection.time_out(Violation(408, "The request did not arrive in time."))
                    self._awake = True
            case _:
                raise ValueError(f"nothing that can happen: {what}")
        self._move_on()

    @property
    def state(self) -> bytes:
        """The phase of the connection; ``paused`` when it is open and nothing is read."""
        if self.connection.phase is Phase.OPEN and not self._reading:
            return b"paused"
        return self.connection.phase.value.encode()

    def take_what_left(self) -> bytes:
        octets = bytes(self._left)
        self._left.clear()
        return octets

    def close(self) -> None:
        """The client vanishes, and whoever still waits has waited in vain."""
        self.connection.lost()
        for task in self._tasks:
            task.close()

    # -- what the connection calls ----------------------------------------------------------------

    def waiter(self) -> Waiter:
        return Waiter()

    def wake(self) -> None:
        if not self._pumping:
            self._awake = True

    def discard(self, stream: Any) -> None:
        self.transport.note("discarded")
        if hasattr(stream, "close"):
            stream.close()

    def begun(self, request: Request) -> None:
        self.announced.append(request)

    def finished(self, request: Request) -> None:
        self.over.append(request)

    # -- what a protocol that takes over calls ----------------------------------------------------

    def write(self, octets: bytes) -> None:
        self._left += octets

    # -- moving things on -------------------------------------------------------------------------

    def _move_on(self) -> None:
        """Until there is nothing to send, no coroutine to go on with, and nothing to read."""
        for _ in rounds():
            if self._awake:
                self._awake = False
                self._pump()
            elif not (self._step() or self._receive()):
                return

    def _pump(self) -> None:
        """Start what may start and send what may leave, until nothing moves."""
        connection = self.connection
        self._pumping = True
        for _ in rounds():
            while (request := connection.next_request()) is not None:
                self._start(request)
            self._left += b"".join(connection.data_to_send(DATE))
            if self._streamed_at_once():
                continue
            if connection.stalled:
                break
            connection.receive(b"")
        self._pumping = False
        self._reading = connection.wants_reading

    def _start(self, request: Request) -> None:
        """Start a handler."""
        self.started.append(request)
        try:
            answer = request.destination.handler(request)
        except Exception as error:
            answer = self._failed(request, error)
        if isinstance(answer, Response):
            self._answer(request, answer)
        else:
            self._run(self._await(request, answer))

    async def _await(self, request: Request, answer: Coroutine[Waiter, None, Response]) -> None:
        try:
            response = await answer
        except Exception as error:
            response = self._failed(request, error)
        self._answer(request, response)

    def _answer(self, request: Request, response: Response) -> None:
        try:
            self.connection.respond(request, response)
        except ResponseError as error:
            self.connection.respond(request, self._failed(request, error))
        self.wake()

    def _failed(self, request: Request, error: Exception) -> Response:
        answer = self.connection.service.failed(request, error)
        assert isinstance(answer, Response)  # The application has no async error handlers.
        return answer

    def _run(self, coroutine: Coroutine[Waiter, None, None]) -> None:
        """Take the first step at once, as ``tasks.py`` does."""
        task = Task(coroutine)
        task.step()
        if not task.over:
            self._tasks.append(task)

    def _step(self) -> bool:
        """Give each coroutine a turn."""
        stepped = [task.step() for task in self._tasks]
        self._tasks = [task for task in self._tasks if not task.over]
        return any(stepped)

    def _streamed_at_once(self) -> bool:
        """Begin to send content that leaves piece by piece; whether all of it has left at once."""
        request = self.connection.streaming
        if request is None or request is self._streaming:
            return False
        self._streaming = request
        self._run(self._stream(request))
        return self.connection.streaming is not request

    async def _stream(self, request: Request) -> None:
        connection = self.connection
        stream = cast("Response", request.response).stream
        assert stream is not None
        try:
            if isinstance(stream, AsyncIterable):
                async for piece in stream:
                    self._left += connection.send_piece(piece)
            else:
                for piece in stream:
                    self._left += connection.send_piece(piece)
            self._left += connection.end_stream()
        except Exception:
            if connection.streaming is request:  # and the client is still there
                self.was_reset = connection.abort_stream()
        self.wake()

    def _receive(self) -> bool:
        """Read, if there is something to read and room for it."""
        connection = self.connection
        if connection.phase is Phase.SWITCHED:
            return self._receive_in_the_new_protocol()
        if not self._reading:
            return False
        if self._unread:
            octets, self._unread = self._unread, b""
            connection.receive(octets)
        elif self._eof and not connection.eof:
            connection.receive_eof()
        else:
            return False
        self._awake = True
        return True

    def _receive_in_the_new_protocol(self) -> bool:
        octets = self._unread
        self._unread = b""
        if self._taken_over is None:
            assert self.connection.upgrade is not None
            self._taken_over = self.connection.upgrade()
            self._taken_over.connection_made(self)
            octets = self.connection.detach() + octets
        if octets:
            self._taken_over.data_received(octets)
        return bool(octets)
