"""The fast lane adds speed and no behaviour: with it and without it, the same happens.

Workers with the same application are sent the same octets in the same pieces, over two connections
each, and the same happens to all of them; one has the lane, one has not, and one is all Python.  What
leaves, what handlers are called with, in which order, what is logged and how the connections end must
not differ.

Where a handler breaks the connection off, answers ahead of it that one has sent already, and another
has not, are no difference: the client is gone.
"""

from __future__ import annotations

import asyncio
import contextvars
import enum
import gc
import logging
import re
import weakref
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http import HTTPStatus
from http.cookies import SimpleCookie
from itertools import count
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from japronto import backend
from japronto.app import Application
from japronto.errors import BadRequest, ResponseError
from japronto.limits import Limits
from japronto.messages import PERSISTENT, RequestHead
from japronto.protocol import HTTPProtocol
from japronto.pure.response import Response as PureResponse
from japronto.server import Worker
from japronto.testing import Client

from . import strategies
from .hosting import DATE
from .strategies import Draw
from .test_routing import PATHS, ROUTES

TURNS = 12
"""Of the loop, after which nothing moves but what waits to be released."""


class Way(NamedTuple):
    """How requests are served."""

    backend: str
    lane: bool


FAST, WITHOUT, REFERENCE = Way("accel", True), Way("accel", False), Way("pure", False)


# -- Handlers --------------------------------------------------------------------------------

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="nothing")
VARYING = re.compile(r"0x[0-9a-f]+|japronto\.(?:[a-z_]+\.)*")
"""What differs in messages: addresses, and the modules of classes."""


SCENES: weakref.WeakSet[Scene] = weakref.WeakSet()


class Scene:
    """What the handlers of one application share with the test."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        SCENES.add(self)
        self.loop = loop
        self.events: list[tuple[Any, ...]] = []
        self.kept: list[Any] = []
        self.weak: list[weakref.ref[Any]] = []
        self.tasks: list[Any] = []
        self.broken_off = False
        self.under_way: Any = None
        """The request whose handler is called just now."""
        self._waiting: list[asyncio.Future[None]] = []

    def log(self, *event: Any) -> None:
        self.events.append(event)

    def breaks_off(self, why: str) -> None:
        self.broken_off = True
        self.log("breaks off", why)

    async def wait(self) -> None:
        """Until the test releases this."""
        future = self.loop.create_future()
        self._waiting.append(future)
        await future

    def release(self, number: int) -> None:
        if self._waiting:
            future = self._waiting.pop(number % len(self._waiting))
            if not future.done():
                future.set_result(None)

    def waits(self) -> bool:
        return bool(self._waiting)

    def listener(self) -> logging.Handler:
        scene = self

        class Listener(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                error = record.exc_info[1] if record.exc_info else None
                scene.log("logged", record.levelname, VARYING.sub("", record.getMessage()),
                          type(error), VARYING.sub("", str(error)))

        return Listener()

    def looked_back(self) -> list[Any]:
        """What is to be seen of the requests that were kept."""
        return [(seen(request), request.stage, request.response and answered(request.response),
                 request.is_disconnected, vars(request)) for request in self.kept]


def tried(get: Callable[[], Any]) -> Any:
    try:
        return get()
    except Exception as error:
        return type(error), str(error)


SEEN = ("method", "target", "path", "query_string", "query", "version", "headers", "cookies", "mime_type",
        "encoding", "hostname", "port", "keep_alive", "remote_addr", "match_dict", "body", "text", "json",
        "form")


def seen(request: Any) -> tuple[Any, ...]:
    """All that a handler can see of a request."""
    values = tuple(tried(lambda name=name: getattr(request, name)) for name in SEEN)  # type: ignore[misc]
    return (*map(repr, values), request.route.pattern, request.extra, request.head.section,
            request.head.framing, request.head.complete)


def answered(response: Any) -> tuple[Any, ...]:
    return response.code, response.body, response.content_type, response.fields, response.stream is None


Behaviour: TypeAlias = Callable[[Scene, Any], Any]
BEHAVIOURS: dict[str, Behaviour] = {}


def behaviour(function: Behaviour) -> Behaviour:
    BEHAVIOURS[function.__name__.strip("_").replace("_", "-")] = function
    return function


class Shade(str, enum.Enum):  # noqa: UP042 - a StrEnum would be formatted as the str that it is
    """Python formats one otherwise than the str that it is."""

    DARK = "dark"


class Failure(BaseException):
    """Not an Exception."""


def pieces() -> Iterator[bytes]:
    yield from (b"a", b"", b"bc")


async def async_pieces() -> AsyncIterator[bytes]:
    for piece in pieces():
        await asyncio.sleep(0)
        yield piece


ANSWERS: dict[str, Callable[[type[Any]], Any]] = {
    "plain": lambda response: response(text="plain"),
    "unicode": lambda response: response(text="\u00e9\u20ac"),
    "bytes": lambda response: response(body=b"\0\xff"),
    "json": lambda response: response(json={"a": [1, None, "\u00e9"]}),
    "nothing-at-all": lambda response: response(),
    "created": lambda response: response(201, text="made"),
    "missing": lambda response: response(text="none", code=404),
    "unnamed-code": lambda response: response(599, body=b""),
    "enum-code": lambda response: response(HTTPStatus.ACCEPTED, text="later"),
    "no-content": lambda response: response(204),
    "text-in-no-content": lambda response: response(204, text="never sent"),
    "reset-content": lambda response: response(205, text="never sent"),
    "not-modified": lambda response: response(304, headers={"ETag": '"a"'}),
    "mime-type": lambda response: response(text="<p>", mime_type="text/html", encoding="latin-1"),
    "headers": lambda response: response(text="a", headers=[("X-A", "1"), ("x-a", "\xff"), ("B", "")]),
    "own-fields": lambda response: response(text="a", headers={
        "Date": "Sun, 06 Nov 1994 08:49:37 GMT", "Server": "me", "Content-Type": "a/b"}),
    "closes": lambda response: response(text="last", headers={"Connection": "close"}),
    "keeps-alive": lambda response: response(text="a", headers={"Connection": "keep-alive"}),
    "right-length": lambda response: response(text="abc", headers={"Content-Length": "3"}),
    "wrong-length": lambda response: response(text="abc", headers={"Content-Length": "4"}),
    "wrong-date": lambda response: response(text="abc", headers={"Date": "today"}),
    "chunked-text": lambda response: response(text="abc", headers={"Transfer-Encoding": "chunked"}),
    "enum-field": lambda response: response(text="a", headers={"X-Shade": Shade.DARK}),
    "number-field": lambda response: response(text="a", headers={"X-Number": 7}),
    "cookies": lambda response: response(text="a", cookies=SimpleCookie({"a": "1", "b": "2 3"})),
    "large": lambda response: response(body=b"x" * 70_000),
    "large-with-a-field": lambda response: response(body=b"x" * 70_000, headers={"A": "b"}),
    "stream": lambda response: response(body=pieces()),
    "async-stream": lambda response: response(body=async_pieces()),
    "measured-stream": lambda response: response(body=pieces(), headers={"Content-Length": "3"}),
    "short-stream": lambda response: response(body=pieces(), headers={"Content-Length": "9"}),
    "of-the-reference": lambda response: PureResponse(text="pure", headers={"A": "b"}),
    "of-a-subclass": lambda response: type("Mine", (response,), {"extra": 1})(text="mine"),
    "invalid": lambda response: response(text="a", headers={"a b": "c"}),
    "surrogates": lambda response: response(text="\ud800"),
    "not-json": lambda response: response(json={1, 2}),
    "upgrade": lambda response: response(101, upgrade=asyncio.Protocol, headers={"Upgrade": "other"}),
    "none": lambda response: None,
    "nonsense": lambda response: "nonsense",
    "class": lambda response: response,
    "awaitable": lambda response: Awaitable(response(text="awaited")),
    "finished-coroutine": lambda response: finished(),
    "raises-value-error": lambda response: raises(ValueError("wrong")),
    "raises-http-error": lambda response: raises(BadRequest("bad")),
    "raises-response-error": lambda response: raises(ResponseError("cannot be sent")),
    "raises-system-exit": lambda response: raises(SystemExit(3)),
    "raises-cancelled-error": lambda response: raises(asyncio.CancelledError()),
    "raises-stop-iteration": lambda response: raises(StopIteration(response(text="a"))),
    "raises-interrupt": lambda response: raises(KeyboardInterrupt()),
    "raises-generator-exit": lambda response: raises(GeneratorExit()),
    "raises-base-exception": lambda response: raises(Failure("not an Exception")),
}
"""What a handler makes of the class of responses; each is a sync handler, and an async one twice."""


class Awaitable:
    """Something that can be awaited, but is no coroutine."""

    def __init__(self, result: Any) -> None:
        self.result = result

    def __await__(self) -> Generator[Any, None, Any]:
        yield from asyncio.sleep(0).__await__()
        return self.result


def finished() -> Any:
    """A coroutine that is over."""
    coroutine = asyncio.sleep(0, None)
    coroutine.close()
    return coroutine


def raises(error: BaseException) -> Any:
    raise error


def answering(name: str, make: Callable[[type[Any]], Any]) -> None:
    def at_once(scene: Scene, request: Any) -> Any:
        return make(request.Response)

    async def asynchronously(scene: Scene, request: Any) -> Any:
        return make(request.Response)

    async def later(scene: Scene, request: Any) -> Any:
        await scene.wait()
        return make(request.Response)

    BEHAVIOURS[name], BEHAVIOURS[f"async-{name}"] = at_once, asynchronously
    if name not in ("raises-interrupt", "raises-system-exit", "raises-generator-exit"):
        BEHAVIOURS[f"later-{name}"] = later  # Of those three, a task ends the loop.


for each, made in ANSWERS.items():
    answering(each, made)


@behaviour
def echo(scene: Scene, request: Any) -> Any:
    scene.log("saw", seen(request))
    return request.Response(json={"target": request.target, "headers": dict(request.headers)})


@behaviour
def looks_at_a_field(scene: Scene, request: Any) -> Any:
    return request.Response(text=request.headers["host"])


@behaviour
def reads_content(scene: Scene, request: Any) -> Any:
    field = repr(tried(lambda: request.json))[:9]
    return request.Response(body=request.body or b"none", headers={"X-JSON": field})


@behaviour
async def awaits_content(scene: Scene, request: Any) -> Any:
    first = await request.read()
    return request.Response(body=first + b"".join([piece async for piece in request.stream()]))


@behaviour
def keeps(scene: Scene, request: Any) -> Any:
    scene.kept.append(request)
    return request.Response(text="kept")


@behaviour
async def keeps_and_waits(scene: Scene, request: Any) -> Any:
    scene.kept.append(request)
    await asyncio.sleep(0)
    return request.Response(text=request.path)


@behaviour
def keeps_a_part(scene: Scene, request: Any) -> Any:
    scene.tasks += [request.headers, request.query, request.match_dict, request.head]
    return request.Response(text=repr(scene.tasks[-5::-4]))


@behaviour
def marks(scene: Scene, request: Any) -> Any:
    """Nothing of one request is found in the next."""
    scene.log("found", vars(request).copy(), request.extra.copy(), hasattr(request, "mark"))
    request.mark = request.extra["mark"] = request.target
    return request.Response(text=request.mark)


@behaviour
def is_held_weakly(scene: Scene, request: Any) -> Any:
    scene.weak.append(weakref.ref(request))
    return request.Response(text="weak")


@behaviour
def replaces_the_response(scene: Scene, request: Any) -> Any:
    response = request.Response(text="a")
    response.code, response.body, response.content_type = 202, b"changed", b"a/b"
    response.headers.add("A", "b")
    return response


@behaviour
def calls_back(scene: Scene, request: Any) -> Any:
    request.add_done_callback(lambda over: scene.log("over", over.target, over.stage, over.response.code))
    return request.Response(text="told later")


@behaviour
async def calls_back_and_fails(scene: Scene, request: Any) -> Any:
    request.add_done_callback(lambda over: scene.log("over", over.target))
    raise BadRequest


@behaviour
def sets_a_variable(scene: Scene, request: Any) -> Any:
    was = VARIABLE.get()
    VARIABLE.set("by sync")
    return request.Response(text=was)


@behaviour
async def sets_a_variable_async(scene: Scene, request: Any) -> Any:
    was = VARIABLE.get()
    VARIABLE.set("by async")
    return request.Response(text=was)


@behaviour
async def sets_a_variable_and_waits(scene: Scene, request: Any) -> Any:
    was = VARIABLE.get()
    VARIABLE.set(f"by {request.target}")
    await scene.wait()
    return request.Response(text=was + VARIABLE.get())


@behaviour
async def identity(scene: Scene, request: Any) -> Any:
    """A coroutine is in one task from its beginning to its end, and in nobody else's."""
    task = asyncio.current_task()
    assert task is not None
    scene.log("task", task in scene.tasks, task.cancelling(), task.get_name() == "named")
    async with asyncio.timeout(1000):
        await scene.wait()
    scene.log("same task", asyncio.current_task() is task)
    return request.Response(text="waited")


@behaviour
async def identity_without_waiting(scene: Scene, request: Any) -> Any:
    task = asyncio.current_task()
    assert task is not None
    scene.log("task", task in scene.tasks, task.cancelling(), task.get_name() == "named")
    return request.Response(text="did not wait")


@behaviour
async def keeps_its_task(scene: Scene, request: Any) -> Any:
    scene.tasks.append(asyncio.current_task())
    return request.Response(text="kept")


@behaviour
async def refers_weakly_to_its_task(scene: Scene, request: Any) -> Any:
    scene.tasks.append(weakref.ref(asyncio.current_task()))  # type: ignore[arg-type]
    return request.Response(text="kept")


@behaviour
async def names_its_task(scene: Scene, request: Any) -> Any:
    asyncio.current_task().set_name("named")  # type: ignore[union-attr]
    return request.Response(text="named")


@behaviour
async def cancels_itself(scene: Scene, request: Any) -> Any:
    asyncio.current_task().cancel()  # type: ignore[union-attr]
    return request.Response(text="cancelled too late")


@behaviour
async def cancels_itself_and_waits(scene: Scene, request: Any) -> Any:
    asyncio.current_task().cancel()  # type: ignore[union-attr]
    try:
        await scene.wait()
    finally:
        scene.log("cleaned up")


@behaviour
async def times_out(scene: Scene, request: Any) -> Any:
    try:
        async with asyncio.timeout(0):
            await scene.loop.create_future()
    except TimeoutError:
        return request.Response(503, text="timed out")


@behaviour
async def gathers(scene: Scene, request: Any) -> Any:
    results = await asyncio.gather(asyncio.sleep(0, 1), asyncio.sleep(0, 2))
    return request.Response(json=results)


@behaviour
def closes_the_transport(scene: Scene, request: Any) -> Any:
    scene.breaks_off("close")
    request.transport.close()
    return request.Response(text="gone")


@behaviour
async def aborts_the_transport(scene: Scene, request: Any) -> Any:
    scene.breaks_off("abort")
    request.transport.abort()
    return request.Response(text="gone")


@behaviour
def adds_a_route(scene: Scene, request: Any) -> Any:
    """The first one hides a route from then on."""
    request.app.add_route(f"/added{len(request.app.router._entries)}", partial(BEHAVIOURS["plain"], scene))
    return request.Response(text="added")


@behaviour
def adds_middleware(scene: Scene, request: Any) -> Any:
    def middleware(request: Any, handler: Callable[..., Any]) -> Any:
        scene.log("added middleware", request.target)
        return handler(request)

    request.app.middleware(middleware)
    return request.Response(text="added")


@behaviour
def changes_limits(scene: Scene, request: Any) -> Any:
    request.app.limits = Limits(content_bytes=2)
    return request.Response(text="changed")


@behaviour
def extends_requests(scene: Scene, request: Any) -> Any:
    had = hasattr(request, "shout")
    if not had:
        request.app.extend_request(lambda request: request.path.upper(), name="shout", property=True)
    return request.Response(text=f"{had} {request.shout}")


@behaviour
def asks_itself(scene: Scene, request: Any) -> Any:
    """Which cannot be done on a loop that runs, and says so."""
    return request.Response(text=Client(request.app).get("/plain").text)


CHANGING = ("adds-a-route", "adds-middleware", "changes-limits")
"""Those that change the application.  The reference has routed what has come together with such a
request already, the lane has not; a client that pipelines cannot know what counts for it, and is not
sent here."""


def named(scene: Scene, request: Any) -> Any:
    """The behaviour that the path names."""
    return BEHAVIOURS.get(request.match_dict["name"], echo)(scene, request)


def application(scene: Scene, names: Iterable[str], *, limits: Limits | None = None, middleware: str = "",
                error_handler: str = "", observed: bool = False) -> Application:
    """Routes to the behaviours of these names, and those that the behaviour follows a placeholder in."""
    def over(request: Any) -> None:
        scene.log("observed", request.target, request.stage)

    app = Application(limits=limits, log_request=over if observed else None)
    for name in names:
        app.add_route(f"/{name}", partial(called, scene, name, BEHAVIOURS[name]))
    for pattern in ("/p/{a}/{name}", "/i/{id:int}/{name}", "/i/{not_id}/{name}", "/u/{u:uuid}/{name}",
                    "/x{a}/{name}"):
        app.add_route(pattern, partial(called, scene, pattern, named))
    app.add_route("/p/1/plain", partial(called, scene, "hidden", echo))
    app.add_route("/s/{rest:path}", partial(called, scene, "streams", BEHAVIOURS["awaits-content"]),
                  stream=True)
    app.add_route("/{rest:path}", partial(called, scene, "rest", echo))
    if middleware:
        app.middleware(MIDDLEWARE[middleware])
    if error_handler:
        app.add_error_handler(Exception, partial(ERROR_HANDLERS[error_handler], scene))
    return app


def called(scene: Scene, name: str, function: Behaviour, request: Any) -> Any:
    scene.log("called", name)
    scene.under_way = request
    try:
        return function(scene, request)
    finally:
        scene.under_way = None


def sync_middleware(request: Any, handler: Callable[..., Any]) -> Any:
    return handler(request)


async def async_middleware(request: Any, handler: Callable[..., Any]) -> Any:
    response = await handler(request)
    response.headers["X-Middleware"] = "passed"
    return response


MIDDLEWARE: dict[str, Any] = {"sync": sync_middleware, "async": async_middleware}


def handles(scene: Scene, request: Any, error: Exception) -> Any:
    return request.Response(500, text=VARYING.sub("", f"{type(error)} {error}"))


async def handles_later(scene: Scene, request: Any, error: Exception) -> Any:
    await asyncio.sleep(0)
    return request.Response(500, text=VARYING.sub("", f"{type(error)} {error}"))


def fails(scene: Scene, request: Any, error: Exception) -> Any:
    raise error


ERROR_HANDLERS: dict[str, Behaviour | Any] = {"sync": handles, "async": handles_later, "broken": fails}


# -- A connection in memory ------------------------------------------------------------------

class FixedWorker(Worker):
    """A worker for which time stands still."""

    def date(self) -> bytes:
        return DATE


class Transport(asyncio.Transport):
    """Takes what is written, and tells its protocol to pause while the client is deaf."""

    def __init__(self, protocol: Any, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.protocol = protocol
        self.connection = protocol.connection  # which the protocol lets go of at its end
        self.loop = loop
        self.written = b""
        self.half_closed = self.closing = self.is_deaf = self.paused = False
        self.reading = True
        protocol.connection_made(self)

    # What the client does.

    def deaf(self) -> None:
        self.is_deaf = True

    def hears(self) -> None:
        self.is_deaf = False
        if self.paused:
            self.paused = False
            self.protocol.resume_writing()

    def eof(self) -> None:
        if not self.closing:
            self.protocol.eof_received()

    def ends(self) -> dict[str, Any]:
        """What is left of the connection."""
        connection = self.connection
        return {"phase": connection.phase, "queue": [request.stage for request in connection.queue],
                "heads": connection.heads, "received": connection.received, "eof": connection.eof,
                "blocked": connection.blocked, "expects": connection.expects, "upgrade": connection.upgrade,
                "streaming": connection.streaming is not None, "half-closed": self.half_closed,
                "closing": self.closing, "tasks": len(self.protocol.tasks()),
                # Behind the end there is nothing to read, and one may have been asked to pause ahead of it.
                "reading": self.reading or self.closing or connection.eof}

    # What the protocol calls.

    def write(self, data: Any) -> None:
        assert not self.half_closed
        if self.closing:
            return
        self.written += data
        if self.is_deaf and not self.paused:
            self.paused = True
            self.protocol.pause_writing()

    def write_eof(self) -> None:
        self.half_closed = True

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            self.loop.call_soon(self.protocol.connection_lost, None)

    abort = close

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Being deaf is all that counts here."""

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.1", 1) if name == "peername" else default


@contextmanager
def chosen(name: str) -> Iterator[None]:
    """Choose a backend, which must be there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(backend.VARIABLE, name)
        patch.delenv(backend.SIMD_VARIABLE, raising=False)
        yield


class Run:
    """One worker, and the two connections of a client."""

    def __init__(self, way: Way, names: Iterable[str], options: dict[str, Any]) -> None:
        self.loop = asyncio.new_event_loop()
        self.scene = Scene(self.loop)
        self.loop.set_exception_handler(lambda _, context: self.scene.log("loop", context["message"]))
        with chosen(way.backend):
            self.app = application(self.scene, names, **options)
            self.worker = FixedWorker(self.app, self.loop)
        assert (self.worker.lane is not None) is (way.backend == "accel")
        if not way.lane:
            self.worker.lane = None
        make = self.worker.protocol if way.lane else partial(HTTPProtocol, self.worker)
        self.transports = [Transport(make(), self.loop), Transport(make(), self.loop)]

    def close(self) -> None:
        for transport in self.transports:
            transport.close()
        self.turn()
        self.loop.run_until_complete(self.worker.stop())
        self.loop.close()

    def happens(self, what: str, argument: Any) -> None:
        if what == "release":
            self.scene.release(argument)
        elif isinstance(argument, bytes):
            self.loop.call_soon(self._receive, self.transports[what == "receive elsewhere"], argument)
        else:
            self.loop.call_soon(getattr(self.transports[argument], what))
        self.turn()

    def turn(self) -> None:
        for _ in range(TURNS):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()

    def _receive(self, transport: Transport, octets: bytes) -> None:
        """As a transport does it: an exception that gets here is the end of the connection."""
        if transport.closing or not octets:
            return
        try:
            transport.protocol.data_received(octets)
        except BaseException as error:
            self.scene.breaks_off(f"raised {type(error).__name__}")
            transport.close()

    def ends(self) -> dict[str, Any]:
        """What is left behind."""
        return {"events": self.scene.events, "kept": self.scene.looked_back(),
                "alive": [reference() is not None for reference in self.scene.weak],
                "connections": [transport.ends() for transport in self.transports]}


class Played(NamedTuple):
    """What has come of a scenario."""

    sent: list[bytes]
    end: dict[str, Any]
    broken_off: bool
    """Whether a handler has broken the connection off."""

    @property
    def called(self) -> list[Any]:
        return [event for event in self.end["events"] if event[0] == "called"]


class Scenario(NamedTuple):
    """What happens to a connection."""

    options: dict[str, Any]
    steps: list[tuple[str, Any]]

    def played(self, way: Way) -> Played:
        octets = b"".join(argument for _, argument in self.steps if isinstance(argument, bytes))
        run = Run(way, [name for name in BEHAVIOURS if name.encode() in octets], self.options)
        listener, log = run.scene.listener(), logging.getLogger("japronto.error")
        log.addHandler(listener)
        propagate, log.propagate = log.propagate, False
        try:
            for what, argument in [*self.steps, ("hears", 0), ("hears", 1)]:
                run.happens(what, argument)
            while run.scene.waits():
                run.happens("release", 0)
            sent = [transport.written for transport in run.transports]
            return Played(sent, run.ends(), run.scene.broken_off)
        finally:
            run.close()
            log.removeHandler(listener)
            log.propagate = propagate


def compare(*steps: tuple[str, Any], **options: Any) -> None:
    """Play a scenario in all ways."""
    scenario = Scenario(options, list(steps))
    fast = scenario.played(FAST)
    for way in (WITHOUT, REFERENCE):
        expected = scenario.played(way)
        assert fast.broken_off is expected.broken_off
        if fast.broken_off:
            for sent, other in zip(fast.sent, expected.sent, strict=True):
                assert sent.startswith(other) or other.startswith(sent)
            assert fast.called == expected.called
        else:
            assert fast.sent == expected.sent
            assert fast.end == expected.end


def compare_pieces(*pieces: bytes) -> None:
    compare(*(("receive", piece) for piece in pieces))


# -- What is sent ----------------------------------------------------------------------------

def get(*names: str) -> bytes:
    return b"".join(b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % name.encode() for name in names)


ENDING = ("raises-interrupt", "async-raises-interrupt")
"""Those that end the loop, wherever they are called from."""
NAMES = st.sampled_from(sorted(BEHAVIOURS.keys() - {*CHANGING, *ENDING}))
PREFIXES = st.sampled_from(("/", "/", "/", "/p/{}/", "/i/{}/", "/u/{}/", "/x{}/"))
VALUES = st.sampled_from(("a", "1", "007", "-1", "", "%2F", "%41", ".", "a b".replace(" ", "+"),
                          "01234567-89ab-cdef-0123-456789ABCDEF", "1" * 650))
METHODS = st.sampled_from((*("GET",) * 6, "POST", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS",
                           "BREW"))
QUERIES = st.sampled_from(("", "", "", "?", "?a=1&b=%20&a=2", "?%ff", "?a?b"))
COMMON_LINES = st.sampled_from((
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64)", "Accept: */*", "Cookie: a=1; b=\"2\"", "Cookie: ;;",
    "X-A: \x80\xff", "x-a:\t1 ", "Connection: keep-alive", "Content-Type: application/json",
    "Content-Type: text/plain; charset=nonsense", "Content-Type: application/x-www-form-urlencoded"))
SPECIAL_LINES = st.sampled_from(("Connection: close", "Expect: 100-continue", "Upgrade: other",
                                 "Connection: upgrade", "Content-Length: 3"))
CONTENTS = st.sampled_from((b"", b"a=1&b=2", b'{"a": [1]}', b'"\xff"', b"not json", b"x" * 300))


@st.composite
def common(draw: Draw) -> bytes:
    """A request that browsers and programs send, for one of the handlers."""
    method, name = draw(METHODS), draw(NAMES)
    path = draw(PREFIXES).format(draw(VALUES)) + name
    lines = ["Host: a", *draw(st.lists(COMMON_LINES, max_size=2))]
    if not draw(strategies.OFTEN):
        lines.append(draw(SPECIAL_LINES))
    content = b""
    if method in ("POST", "PUT", "PATCH", "DELETE") and draw(st.booleans()):
        content = draw(CONTENTS)
        if draw(strategies.OFTEN):
            lines.append(f"{draw(strategies.cased('Content-Length'))}: {len(content)}")
        else:
            lines.append("Transfer-Encoding: chunked")
            content = (b"%x\r\n%b\r\n" % (len(content), content) if content else b"") + b"0\r\n\r\n"
    version = "HTTP/1.1" if draw(strategies.OFTEN) else draw(st.sampled_from(("HTTP/1.0", "HTTP/1.7")))
    head = f"{method} {path}{draw(QUERIES)} {version}\r\n" + "".join(f"{line}\r\n" for line in lines)
    return head.encode("latin-1") + b"\r\n" + content


STREAMS = st.lists(
    st.one_of(common(), common(), common(), strategies.requests().map(lambda sent: sent.octets)),
    min_size=1, max_size=6).map(b"".join)
TAILS = st.one_of(st.just(b""), st.just(b""), strategies.OCTETS, st.sampled_from((
    b"\r\n", b"\r\n" * 20, b"GET / HTTP/2.0\r\n", b"GET /plain HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET /pl")))
WHERE = st.sampled_from(("receive", "receive", "receive elsewhere"))
BETWEEN = st.lists(st.one_of(
    st.tuples(st.just("release"), st.integers(0, 3)),
    st.tuples(st.sampled_from(("deaf", "hears")), st.integers(0, 1)),
    st.tuples(WHERE, NAMES.map(get)), st.tuples(WHERE, st.sampled_from(CHANGING).map(get))), max_size=2)
OPTIONS = st.fixed_dictionaries({}, optional={
    "limits": st.one_of(
        st.builds(Limits, pipelined_requests=st.integers(1, 3)),
        st.builds(Limits, unsent_bytes=st.integers(1, 400)),
        st.builds(Limits, requests_in_flight=st.integers(1, 3)),
        st.builds(Limits, content_bytes=st.integers(1, 8)), strategies.limits()),
    "middleware": st.sampled_from(("sync", "async")),
    "error_handler": st.sampled_from(("sync", "async", "broken")),
    "observed": st.sampled_from((False, False, True)),
})


@st.composite
def scenarios(draw: Draw) -> Scenario:
    steps: list[tuple[str, Any]] = []
    for octets in draw(st.lists(STREAMS, min_size=1, max_size=2)):
        where = draw(WHERE)
        for piece in draw(strategies.cuts(octets)) if draw(st.booleans()) else [octets]:
            steps += [(where, piece), *draw(BETWEEN)]
    steps.append((draw(WHERE), draw(TAILS)))
    steps += draw(st.sampled_from(([], [], [("eof", 0)], [("eof", 1)], [("close", 0)])))
    return Scenario(draw(OPTIONS), steps)


@given(scenario=scenarios())
def test_with_the_lane_and_without_the_same_happens(scenario: Scenario) -> None:
    compare(*scenario.steps, **scenario.options)


@contextmanager
def collecting(rhythm: int) -> Iterator[None]:
    """A collection with every other object; some of them look at the requests that are under way."""
    def look(phase: str, info: object) -> None:
        for scene in () if next(calls) % rhythm else tuple(SCENES):
            with suppress(Exception):
                scene.under_way.head.section, scene.under_way.headers  # noqa: B018

    calls = count()
    threshold = gc.get_threshold()
    gc.collect()
    gc.freeze()  # so that it does not walk all of pytest each time
    gc.callbacks.append(look)
    gc.set_threshold(1)
    try:
        yield
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(look)
        gc.unfreeze()


@settings(max_examples=20)
@given(scenario=scenarios(), rhythm=st.integers(5, 50))
@example(scenario=Scenario({}, [("receive", get("echo", "keeps", "marks", "plain") * 3)]), rhythm=7)
@example(scenario=Scenario({}, [("receive", get("looks-at-a-field") * 50)]), rhythm=19)
def test_a_collection_may_start_anywhere(scenario: Scenario, rhythm: int) -> None:
    """Also in the middle of C, and what it runs may look at what is made there."""
    with collecting(rhythm):
        compare(*scenario.steps, **scenario.options)


@pytest.mark.parametrize("name", sorted(BEHAVIOURS))
def test_each_handler_alone_and_among_others(name: str) -> None:
    """Each of them ahead of, between and behind common requests, in pieces of their own and in one."""
    post = b"POST /%b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" % name.encode()
    for other in ("plain", "async-plain", "echo", "later-plain"):
        pieces = [get(other), get(name), get(other), post, get(other), post, get(other, name)]
        compare_pieces(*pieces)
        if name not in CHANGING:
            compare_pieces(b"".join(pieces))
    compare(("receive", get("async-plain")), ("receive", get(name)), ("receive elsewhere", get("identity")),
            ("receive", get(name)), ("receive elsewhere", get(name)), ("release", 0), ("release", 1))


CHUNKED = b"POST /%b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"


@pytest.mark.parametrize("name", ["later-plain", "identity", "async-plain", "async-raises-value-error",
                                  "keeps-its-task", "cancels-itself"])
def test_a_driver_is_lent_to_one_at_a_time(name: str) -> None:
    """The general path takes the driver that the lane has borrowed, and the lane learns of it."""
    compare(("receive", get("async-plain")), ("receive elsewhere", CHUNKED % name.encode()),
            ("receive", get("identity")), ("release", 1), ("receive", get("async-plain", "identity")),
            ("release", 0), ("receive", get("identity-without-waiting")))


@given(names=st.lists(NAMES, min_size=2, max_size=8), pipelined=st.booleans())
@example(names=["async-plain", "async-raises-value-error", "identity"], pipelined=False)
def test_handlers_one_after_the_other(names: list[str], pipelined: bool) -> None:
    """A handler leaves nothing behind for the next; coroutines have the drivers of the reference."""
    compare_pieces(*([get(*names)] if pipelined else [get(name) for name in names]))


# -- Routes ----------------------------------------------------------------------------------

LANE_METHODS = st.sampled_from(("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"))
DEEP = "/" + "/".join("a" * 70)


def taken(app: Application, method: str, path: str) -> tuple[Any, Any] | None:
    """The route and the values that the lane has found, if it has called a handler."""
    loop = asyncio.new_event_loop()
    worker = FixedWorker(app, loop)
    try:
        app.found = None  # type: ignore[attr-defined]
        octets = f"{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
        served = worker.lane.serve(HTTPProtocol(worker).connection, octets)  # type: ignore[union-attr]
        assert (type(served) is bytes) is (app.found is not None)  # type: ignore[attr-defined]
    finally:
        worker.runner.close()
        loop.close()
    return app.found  # type: ignore[attr-defined,no-any-return]


@given(routes=ROUTES, method=LANE_METHODS, paths=st.lists(PATHS, min_size=1, max_size=4))
@example(routes=[(DEEP, []), ("/{all:path}", [])], method="GET", paths=[DEEP])
@example(routes=[("/{a}", []), ("/b", [])], method="GET", paths=["/b"])
@example(routes=[("/a{x:path}", []), ("/a/{y}", [])], method="GET", paths=["/a/", "/a", "/a/b"])
@example(routes=[("/\ud800", []), ("/b", [])], method="GET", paths=["/b"])
def test_the_lane_takes_the_route_of_the_application(routes: list[tuple[str, list[str]]], method: str,
                                                     paths: list[str]) -> None:
    def handler(request: Any) -> Any:
        app.found = request.route, request.match_dict  # type: ignore[attr-defined]
        return request.Response(text="")

    with chosen("accel"):
        app = Application()
    for pattern, methods in routes:
        app.add_route(pattern, handler, methods=methods)
    for decoded in paths:
        path = quote(decoded.encode("utf-8", "surrogatepass"), safe="/{}:!$&'()*+,;=@|\"<>^`")
        if not path.startswith("/"):
            continue
        expected = app.target(RequestHead(method, path.encode(), path, None, 1, b"\n", PERSISTENT))
        with chosen("accel"):
            found = taken(app, method, path)
        if "%" in path or method in ("HEAD", "OPTIONS") or expected.route is None:
            assert found is None
        elif DEEP not in (pattern for pattern, _ in routes):
            assert found == (expected.route, expected.match or {})
        else:
            assert found in (None, (expected.route, expected.match or {}))


def test_a_difference_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    compare_pieces(get("plain"))
    monkeypatch.setattr(FixedWorker, "date", lambda worker: DATE if worker.lane is None else DATE[:-1])
    with pytest.raises(AssertionError):
        compare_pieces(get("plain"))
