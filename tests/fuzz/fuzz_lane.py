"""A fuzz target: two connections are sent the same octets, one to the lane in C and one to the reference.

``one`` raises where they differ in what they send, in the handlers that they call or in how they end;
and where an exception escapes to the event loop, which must never happen.

The first octets of an input say how the others come: which of them go together, with which limits, and
whether the client closes its side in the end.  ``corpus.py`` writes such inputs.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import os
from collections.abc import Callable, Iterator
from http.cookies import SimpleCookie
from typing import Any, NamedTuple

from japronto import Application, HTTPError, backend
from japronto.limits import Limits
from japronto.protocol import HTTPProtocol
from japronto.server import Worker

CHOICES = 3
"""Octets of an input that say how the others come."""

DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"
NARROW = Limits(pipelined_requests=2, unsent_bytes=300, content_bytes=8, field_line_bytes=60, fields=4)

loop = asyncio.new_event_loop()


# -- The application ---------------------------------------------------------------------------

class Calls:
    """What the handlers of one side have done, and what they wait for."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.seen: list[tuple[str, ...]] = []
        self.over: list[str] = []
        self.kept: list[Any] = []
        self.waiting: list[asyncio.Future[None]] = []

    def note(self, request: Any) -> None:
        self.seen.append((request.method, request.target, repr(request.match_dict)))


def text(calls: Calls, request: Any) -> Any:
    return request.Response(text="a\u20ac" * len(request.match_dict))


def echo(calls: Calls, request: Any) -> Any:
    return request.Response(json=[
        request.path, request.query_string, list(request.headers.items()), request.keep_alive,
        request.hostname, repr(request.body), request.head.minor, list(request.cookies)])


def json(calls: Calls, request: Any) -> Any:
    return request.Response(json=request.json)


def form(calls: Calls, request: Any) -> Any:
    return request.Response(text=repr((request.form, request.query)), mime_type="text/html")


def fields(calls: Calls, request: Any) -> Any:
    """Any field, of any name: the target says which, after the decoding."""
    return request.Response(202, body=b"fields", headers=list(request.query.items()))


def cookies(calls: Calls, request: Any) -> Any:
    return request.Response(cookies=SimpleCookie(request.cookies))


def code(calls: Calls, request: Any) -> Any:
    return request.Response(request.match_dict["code"], text="code")


def large(calls: Calls, request: Any) -> Any:
    return request.Response(body=b"x" * (64 * 1024 + 8 - len(request.target)))


def piece_by_piece(calls: Calls, request: Any) -> Any:
    return request.Response(body=iter((b"one", b"", request.target.encode())))


def raises(calls: Calls, request: Any) -> Any:
    raise HTTPError(request.target) if request.query_string else ValueError(request.target)


def nothing(calls: Calls, request: Any) -> Any:
    return request.query_string


def keeps(calls: Calls, request: Any) -> Any:
    request.mark = request.target
    calls.kept.append(request)
    request.add_done_callback(lambda over: calls.over.append(over.mark))
    return request.Response(text="kept")


async def at_once(calls: Calls, request: Any) -> Any:
    return request.Response(text=request.path)


async def in_the_end(calls: Calls, request: Any) -> Any:
    calls.kept.append(request)
    calls.waiting.append(loop.create_future())
    await calls.waiting[-1]
    return request.Response(body=request.body or b"nothing")


async def next_turn(calls: Calls, request: Any) -> Any:
    await asyncio.sleep(0)
    raise LookupError(request.target)


async def raises_at_once(calls: Calls, request: Any) -> Any:
    raise asyncio.CancelledError if request.query_string else LookupError(request.target)


async def reads(calls: Calls, request: Any) -> Any:
    return request.Response(body=b"|".join([piece async for piece in request.stream()]) or b"none")


HANDLERS: dict[str, Any] = {
    "/": text, "/json": json, "/form": form, "/fields": fields, "/cookies": cookies, "/code/{code:int}": code,
    "/large": large, "/pieces": piece_by_piece, "/raises": raises, "/nothing": nothing, "/keeps": keeps,
    "/async": at_once, "/waits": in_the_end, "/turn": next_turn, "/broken": raises_at_once, "/read": reads,
    "/p/{a}": text, "/p/{a}/{b}": echo, "/p/x{a}/{b}": text, "/u/{u:uuid}": text, "/i/{i:int}/{j:int}": text,
    "/{all:path}": echo}
STREAMED = ("/read",)
READ_ONLY = ("/keeps", "/p/{a}/{b}")


def application(calls: Calls, limits: Limits | None) -> Application:
    app = Application(limits=limits)
    for pattern, handler in HANDLERS.items():
        app.add_route(pattern, noting(calls, handler), stream=pattern in STREAMED,
                      methods=["GET"] if pattern in READ_ONLY else [])
    return app


def noting(calls: Calls, handler: Callable[[Calls, Any], Any]) -> Callable[[Any], Any]:
    def noted(request: Any) -> Any:
        calls.note(request)
        return handler(calls, request)

    return noted


# -- One side ----------------------------------------------------------------------------------

class Transport(asyncio.Transport):
    """Takes what is written."""

    def __init__(self, protocol: HTTPProtocol) -> None:
        super().__init__()
        self.protocol = protocol
        self.written = b""
        self.half_closed = self.closing = False
        self.reading = True

    def write(self, data: Any) -> None:
        assert not self.half_closed
        if not self.closing:
            self.written += data

    def write_eof(self) -> None:
        self.half_closed = True

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            loop.call_soon(self.protocol.connection_lost, None)

    abort = close

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """The client takes all that it is sent."""

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


class FixedWorker(Worker):
    """A worker for which time stands still."""

    def date(self) -> bytes:
        return DATE


class Outcome(NamedTuple):
    """What must be the same of both sides."""

    written: bytes
    seen: list[tuple[str, ...]]
    over: list[str]
    """Whose callbacks were called, in order; when that was, hangs on which answers left together."""
    kept: list[Any]
    closing: bool
    half_closed: bool


class Side:
    """An application on one backend, that is asked by one client after the other."""

    def __init__(self, name: str, limits: Limits | None) -> None:
        os.environ[backend.VARIABLE] = name
        self.calls = Calls()
        self.app = application(self.calls, limits)
        self.worker = FixedWorker(self.app, loop)
        assert str(self.worker.backend).startswith(name)

    def play(self, pieces: Iterator[bytes], *, eof: bool) -> Outcome:
        """A connection from its beginning to its end."""
        worker = self.worker
        if worker.backend.lane is not None:  # A new one, so that no input hangs on those ahead of it.
            worker.lane = worker.backend.lane(self.app, worker.runner, worker.date)
        self.calls.clear()
        protocol: Any = worker.protocol()
        self.transport = Transport(protocol)
        protocol.connection_made(self.transport)
        loop.call_soon(self.step, protocol, pieces, eof)
        loop.run_forever()
        kept = [(request.target, request.stage, list(request.headers.items()), request.is_disconnected)
                for request in self.calls.kept]
        outcome = Outcome(self.transport.written, self.calls.seen, self.calls.over, kept,
                          self.transport.closing, self.transport.half_closed)
        self.transport.close()
        worker.runner.close()
        loop.call_soon(self.step, protocol, iter(()), False)
        loop.run_forever()
        return outcome

    def step(self, protocol: HTTPProtocol, pieces: Iterator[bytes], eof: bool) -> None:
        """When the loop has come to rest: send the next piece, or let a handler go on."""
        transport = self.transport
        if loop._ready:  # type: ignore[attr-defined] - turns by number would be many for nothing
            pass
        elif not transport.closing and transport.reading and (piece := next(pieces, None)) is not None:
            protocol.data_received(piece)
        elif eof and not transport.closing and transport.reading:
            protocol.eof_received()
            eof = False
        elif self.calls.waiting:
            future = self.calls.waiting.pop(0)
            if not future.done():
                future.set_result(None)
        else:
            loop.stop()
            return
        loop.call_soon(self.step, protocol, pieces, eof)


# -- Both sides --------------------------------------------------------------------------------

escaped: list[Any] = []


class Listener(logging.Handler):
    """Hears of what an event loop, or a connection, could only log."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == "asyncio" or record.funcName == "_pump":
            escaped.append(record.exc_info or record.getMessage())


def heard(_: Any, context: dict[str, Any]) -> None:
    escaped.append(context)
    loop.stop()


def cut(octets: bytes, first: int, size: int) -> Iterator[bytes]:
    """``octets`` in pieces; a size of 0 is the size of the rest."""
    if first:
        yield octets[:first]
    for at in itertools.count(first, size) if size else (first,):
        if at >= len(octets):
            return
        yield octets[at:at + size] if size else octets[at:]


SIDES = [(Side("accel", limits), Side("pure", limits)) for limits in (None, NARROW)]

log = logging.getLogger()
log.addHandler(Listener())
log.setLevel(logging.ERROR)
loop.set_exception_handler(heard)
gc.freeze()
gc.set_threshold(50)  # so that a collector looks at what is under way


def differing(fast: Outcome, right: Outcome) -> list[tuple[str, Any, Any]]:
    """Where two outcomes differ."""
    return [(name, one, other) for name, one, other in zip(Outcome._fields, fast, right, strict=True)
            if one != other]


def one(data: bytes) -> None:
    """Compare the two sides on an input."""
    if len(data) < CHOICES:
        return
    how, first, size = data[:CHOICES]
    fast, right = (side.play(cut(data[CHOICES:], first, size * 4), eof=bool(how & 2))
                   for side in SIDES[how & 1])
    assert not escaped, escaped
    assert not differing(fast, right), differing(fast, right)
