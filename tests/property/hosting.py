"""A host for a connection that knows no event loop, and a client that reads what has left.

The host does what ``HTTPProtocol._pump`` does, step by step and never by itself, so that a test can put
anything between two steps.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import h11

from japronto.backend import Backend
from japronto.interfaces import Target
from japronto.limits import Limits
from japronto.messages import RequestHead
from japronto.pure.connection import PHASES, STAGES, Connection, Phase, Stage
from japronto.pure.request import Request
from japronto.pure.response import Response

DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
TURNS_MAX = 1000


class Waiter:
    """The future that a handler waits for."""

    def __init__(self) -> None:
        self._done = False

    def done(self) -> bool:
        return self._done

    def set_result(self, result: None) -> None:
        self._done = True

    def __await__(self) -> Generator[Waiter, None, None]:
        while not self._done:
            yield self


class WatchedRequest(Request):
    """Goes from stage to stage as the table says, or fails."""

    _stage = None

    @property
    def stage(self) -> Stage:  # type: ignore[override]
        assert self._stage is not None
        return self._stage

    @stage.setter
    def stage(self, stage: Stage) -> None:
        assert self._stage is None or stage in STAGES[self._stage], f"{self._stage} -> {stage}"
        self._stage = stage


class WatchedConnection(Connection):
    """Goes from phase to phase as the table says, or fails."""

    __slots__ = ("_phase",)

    @property
    def phase(self) -> Phase:  # type: ignore[override]
        return self._phase

    @phase.setter
    def phase(self, phase: Phase) -> None:
        before = getattr(self, "_phase", None)
        assert before is None or phase in PHASES[before], f"{before} -> {phase}"
        self._phase = phase


class Service:
    """An application that routes as a test wants it."""

    def __init__(self, target: Callable[[RequestHead], Target], request_type: type[Request]) -> None:
        self.target = target
        self.request_type = request_type

    def failed(self, request: Request, error: BaseException) -> Response:
        raise AssertionError("the host of a test asks for no such answer") from error


class Host:
    """Moves octets between a connection and a client.

    ``start``  called with each request that may start
    """

    transport = None
    proxies = None

    def __init__(self, backend: Backend, limits: Limits, target: Callable[[RequestHead], Target],
                 start: Callable[[Request], object], request_type: type[Request] = WatchedRequest) -> None:
        self.connection = WatchedConnection(
            Service(target, request_type), self, limits, backend.parser, backend.assemble, observed=True)
        self.start = start
        self.sent = b""
        self.announced: list[Request] = []
        self.over: list[Request] = []
        self.discarded: list[object] = []
        self.awake = False

    # What the connection calls.

    def waiter(self) -> Waiter:
        return Waiter()

    def wake(self) -> None:
        self.awake = True

    def discard(self, stream: object) -> None:
        self.discarded.append(stream)

    def begun(self, request: Request) -> None:
        assert request not in self.announced, "a request begins twice"
        self.announced.append(request)

    def finished(self, request: Request) -> None:
        assert request in self.announced, "a request is over that has not begun"
        assert request not in self.over, "a request is over twice"
        assert request.stage is Stage.DONE
        self.over.append(request)

    # What a test calls.

    def receive(self, octets: bytes) -> None:
        self.connection.receive(octets)
        self.pump()

    def pump(self) -> None:
        """Start what may start and send what may leave, until nothing moves."""
        connection = self.connection
        for _ in range(TURNS_MAX):
            while (request := connection.next_request()) is not None:
                assert request.stage is Stage.RUNNING
                self.start(request)
            is_open = connection.phase is Phase.OPEN
            buffers = connection.data_to_send(DATE)
            assert all(buffers), "an empty buffer"
            assert is_open or not buffers, "something leaves after the end"
            self.sent += b"".join(buffers)
            if connection.stalled:
                self.awake = False
                return
            connection.receive(b"")
        raise AssertionError("the connection never comes to rest")

    def send_stream(self) -> None:
        """Send all that is left of the content that leaves piece by piece."""
        request = self.connection.streaming
        assert request is not None
        assert request.response is not None
        for piece in request.response.stream:  # type: ignore[union-attr]
            self.sent += self.connection.send_piece(piece)
        self.sent += self.connection.end_stream()
        self.pump()


# -- The client ------------------------------------------------------------------------------

class Answer(NamedTuple):
    """A response as h11 reads it."""

    status: int
    fields: list[tuple[bytes, bytes]]
    content: bytes
    whole: bool
    informational: int
    """How many 1xx came ahead of it."""
    closes: bool
    """Whether it says that it is the last."""

    def get(self, name: bytes) -> bytes | None:
        """The value of the one field called ``name``, in lower case."""
        values = [value for known, value in self.fields if known == name]
        assert len(values) <= 1, f"{name!r} is there twice"
        return values[0] if values else None


ENDED = re.compile("peer (?:unexpectedly )?closed connection|can't handle event type ConnectionClosed").match
"""What h11 says of an answer that ends early, and of one that never comes."""


@dataclass
class _Progress:
    response: h11.Response | None = None
    content: list[bytes] = field(default_factory=list)
    informational: int = 0


def answers(octets: bytes, methods: Sequence[str], *, ended: bool) -> Iterator[Answer]:
    """The answers to requests with these methods, as far as they are there.

    ``ended``  whether the server has closed the connection
    """
    for method in methods:
        if not octets:
            return
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method=method, target="/", headers=[
            ("Host", "a"), ("Connection", "upgrade"), ("Upgrade", "other")]))
        client.send(h11.EndOfMessage())
        client.receive_data(octets)
        if ended:
            client.receive_data(b"")
        answer = _answer(client)
        if answer is None:
            return
        yield answer
        octets = client.trailing_data[0]
    assert not octets, f"more than was asked for: {octets!r}"


def _answer(client: h11.Connection) -> Answer | None:
    progress, whole = _Progress(), False
    while not whole:
        try:
            event = client.next_event()
        except h11.RemoteProtocolError as error:
            if not ENDED(str(error)):
                raise
            break
        if event is h11.NEED_DATA or isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
            break
        if isinstance(event, h11.InformationalResponse):
            progress.informational += 1
            if event.status_code == 101:
                return Answer(101, list(event.headers), b"", True, progress.informational - 1, False)
        elif isinstance(event, h11.Response):
            progress.response = event
        elif isinstance(event, h11.Data):
            progress.content.append(bytes(event.data))
        else:
            whole = True
    response = progress.response
    if response is None:
        return None
    closes = any(name == b"connection" and b"close" in value.lower() for name, value in response.headers)
    return Answer(response.status_code, list(response.headers), b"".join(progress.content), whole,
                  progress.informational, closes)
