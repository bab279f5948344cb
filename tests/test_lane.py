"""The fast lane by itself: what it serves, what it leaves to the general path, and what it refuses.

That both come to the same is for ``property/test_lane.py`` to show; here it is shown that the lane is
really taken.  A build without it fails, and is not skipped.
"""

from __future__ import annotations

import asyncio
import copy
import gc
import importlib.util
import pickle
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from http import HTTPStatus
from http.cookies import SimpleCookie
from itertools import count
from threading import Thread
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from japronto import backend
from japronto.accel import _lane
from japronto.app import Application
from japronto.board import CELLS, Board
from japronto.errors import BadRequest, UsageError
from japronto.interfaces import Outcome, Target
from japronto.limits import Limits
from japronto.messages import RequestHead
from japronto.metrics import Meter
from japronto.pure import assembler
from japronto.pure.connection import Connection, Phase
from japronto.pure.request import Request
from japronto.pure.response import Response as PureResponse
from japronto.server import Worker
from japronto.testing import Client

DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"
HOST = "Host: a\r\n"
BROWSER = (
    "Host: www.example.com:8080\r\nConnection: keep-alive\r\nCache-Control: max-age=0\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
    "Accept-Encoding: gzip, deflate, br\r\nAccept-Language: en-US,en;q=0.9,de;q=0.8\r\n"
    "Cookie: session=0123456789abcdef; theme=dark\r\n")


@pytest.fixture(autouse=True)
def _accel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(backend.VARIABLE, "accel")
    monkeypatch.delenv(backend.SIMD_VARIABLE, raising=False)


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


class Transport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 1)})
        self.written: list[bytes] = []
        self.reading = True

    def write(self, data: Any) -> None:
        self.written.append(data)

    def writelines(self, buffers: Iterable[Any]) -> None:
        self.written.extend(buffers)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """There are none here."""

    def write_eof(self) -> None:
        """Nobody hears of it."""

    def close(self) -> None:
        """It stays open."""

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return False


class Lane:
    """An application with a lane, and a connection to it."""

    def __init__(self, app: Application, loop: asyncio.AbstractEventLoop) -> None:
        self.app = app
        self.loop = loop
        self.worker = Worker(app, loop)
        self.protocol: Any = self.worker.protocol()
        self.transport = Transport()
        self.protocol.connection_made(self.transport)
        self.connection: Any = self.protocol.connection

    def serve(self, octets: bytes) -> Any:
        assert self.worker.lane is not None
        return self.worker.lane.serve(self.connection, octets)

    def close(self) -> None:
        self.protocol.connection_lost(None)
        self.loop.run_until_complete(self.worker.stop())


@pytest.fixture
def app() -> Application:
    return Application()


@pytest.fixture
def lane(app: Application, loop: asyncio.AbstractEventLoop) -> Iterator[Lane]:
    lane = Lane(app, loop)
    yield lane
    lane.close()


def octets_of(line: str, fields: str = HOST, content: bytes = b"", version: str = "HTTP/1.1") -> bytes:
    return f"{line} {version}\r\n{fields}\r\n".encode("latin-1") + content


# -- Setting it up ---------------------------------------------------------------------------

@pytest.fixture
def module() -> Any:
    """One more instance of the module, as a second interpreter would have it."""
    spec = importlib.util.find_spec("japronto.accel._lane")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module is not _lane
    return module


def test_the_module_is_set_up_once(module: Any) -> None:
    classes = module.setup(backend._parts())
    assert [made.__name__ for made in classes] == ["Request", "Response", "Protocol", "Lane"]
    with pytest.raises(RuntimeError, match="set up already"):
        module.setup(backend._parts())


@pytest.mark.parametrize("name", backend._parts())
def test_each_part_is_needed(module: Any, name: str) -> None:
    parts = backend._parts()
    part = parts.pop(name)
    with pytest.raises(KeyError, match=f"^'{name}'$"):
        module.setup(parts)
    module.setup(parts | {name: part})


@pytest.mark.parametrize("name", [name for name in backend._parts() if name.endswith("_type") and
                                  isinstance(backend._parts()[name], type)])
def test_each_class_must_be_that_class(module: Any, name: str) -> None:
    parts = backend._parts()
    with pytest.raises(TypeError, match=f"^{name} must be a class$"):
        module.setup(parts | {name: "a class"})
    with pytest.raises(AttributeError):
        module.setup(parts | {name: int})
    slots: list[str] = list(getattr(parts[name], "__slots__", ()))
    with pytest.raises(TypeError, match="is not a slot"):
        module.setup(parts | {name: type("Slotless", (), dict.fromkeys(slots))})
    module.setup(parts)


@pytest.mark.parametrize("lines", [(), [b""] * 400, (b"",) * 399, (b"",) * 399 + ("",), None])
def test_status_lines_must_be_those_of_all_codes(module: Any, lines: Any) -> None:
    with pytest.raises(TypeError, match="status_lines must be a tuple of 400 bytes"):
        module.setup(backend._parts() | {"status_lines": lines})


def test_the_parts_are_a_dict(module: Any) -> None:
    with pytest.raises(TypeError, match=r"setup\(\) takes a dict"):
        module.setup(list(backend._parts().items()))


def test_a_lane_is_made_of_its_parts(lane: Lane) -> None:
    make = type(lane.worker.lane)
    for arguments in ((), (lane.app, lane.worker.runner, lane.worker.date), (None,) * 3 + ("0",)):
        with pytest.raises(TypeError):
            make(*arguments)  # type: ignore[call-arg]
    for level in (-1, 3, 99):
        with pytest.raises(ValueError, match="this processor does not have that level"):
            make(lane.app, lane.worker.runner, lane.worker.date, level)  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        make(lane.app, object(), lane.worker.date, 0)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        type("Mine", (make,), {})


@pytest.mark.parametrize("arguments", [(), (1,), (1, b""), (None, b""), (object(), b"", b"")])
def test_what_cannot_be_served(lane: Lane, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError, match=r"serve\(\) takes a connection"):
        lane.worker.lane.serve(*arguments)  # type: ignore[union-attr]


def test_a_date_must_be_octets(lane: Lane) -> None:
    made: Any = type(lane.worker.lane)
    for date, error in ((lambda: "today", TypeError), (lambda: 1 / 0, ZeroDivisionError)):
        with pytest.raises(error):
            made(lane.app, lane.worker.runner, date, 0).serve(lane.connection, octets_of("GET /"))


# -- What it serves --------------------------------------------------------------------------

def plain(request: Any) -> Any:
    return request.Response(text="plain")


async def asynchronous(request: Any) -> Any:
    return request.Response(text="async")


def looks(request: Any) -> Any:
    assert request.headers["host"]
    return request.Response(json=[request.method, request.path, dict(request.query), request.match_dict])


def content(request: Any) -> Any:
    return request.Response(body=request.body)


def all_codes(code: int) -> Callable[[Any], Any]:
    return lambda request: request.Response(code, text="coded")


SERVED = {
    "the least": (octets_of("GET /"), "/", plain, b"plain"),
    "a browser's": (octets_of("GET /?q=1", BROWSER), "/", plain, b"plain"),
    "async": (octets_of("GET /"), "/", asynchronous, b"async"),
    "looked at": (octets_of("GET /a?q=1"), "/a", looks, b'["GET", "/a", {"q": "1"}, {}]'),
    "a placeholder": (octets_of("GET /a/b"), "/a/{b}", looks, b'["GET", "/a/b", {}, {"b": "b"}]'),
    "a number": (octets_of("GET /a/12"), "/a/{n:int}", looks, b'["GET", "/a/12", {}, {"n": 12}]'),
    "a rest": (octets_of("GET /a/b/c"), "/a{r:path}", looks, b'["GET", "/a/b/c", {}, {"r": "/b/c"}]'),
    "content": (octets_of("POST /", HOST + "Content-Length: 3\r\n", b"abc"), "/", content, b"abc"),
    "empty content": (octets_of("PUT /", HOST + "Content-Length: 0\r\n"), "/", content, b""),
    "no content": (octets_of("DELETE /"), "/", plain, b"plain"),
    "PATCH": (octets_of("PATCH /"), "/", plain, b"plain"),
    "fields": (octets_of("GET /"), "/", lambda request: request.Response(text="a", headers={"A": "b"}), b"a"),
    "a cookie": (octets_of("GET /"), "/",
                 lambda request: request.Response(text="a", cookies=SimpleCookie({"a": "b"})), b"a"),
    "JSON": (octets_of("GET /"), "/", lambda request: request.Response(json={"a": 1}), b'{"a": 1}'),
    "404": (octets_of("GET /"), "/", all_codes(404), b"coded"),
    "599": (octets_of("GET /"), "/", all_codes(599), b"coded"),
    "304": (octets_of("GET /"), "/", all_codes(304), b""),
    "a higher minor version": (octets_of("GET /", version="HTTP/1.9"), "/", plain, b"plain"),
    "a stream route without content": (octets_of("GET /"), "/", plain, b"plain"),
}


@pytest.mark.parametrize("name", SERVED)
def test_common_requests_never_get_to_the_general_path(lane: Lane, monkeypatch: pytest.MonkeyPatch,
                                                       name: str) -> None:
    """Not alone, and not pipelined; and the handler is called once for each."""
    octets, pattern, handler, body = SERVED[name]
    calls = []

    def handle(request: Any) -> Any:
        calls.append(request.connection.queue.copy())
        return handler(request)

    monkeypatch.setattr(lane.worker, "date", lambda: DATE)
    lane.app.add_route(pattern, handle, stream=name.startswith("a stream route"))
    for method in ("receive", "adopt", "next_request", "respond", "data_to_send"):
        monkeypatch.setattr(Connection, method, lambda *arguments, method=method: pytest.fail(method))
    lane.protocol.data_received(octets)
    [alone] = lane.transport.written
    assert alone.endswith(b"\r\n\r\n" + body)
    lane.protocol.data_received(octets * 100)
    assert lane.transport.written[1] == alone * 100
    assert len(calls) == 101
    assert not any(calls)
    assert lane.connection.heads == 101


def test_the_date_is_that_of_the_worker(lane: Lane) -> None:
    """Also when a second has just begun."""
    lane.app.add_route("/", plain)
    before = lane.worker.date()
    lane.serve(octets_of("GET /"))
    while (date := lane.worker.date()) == before:
        pass
    served = lane.serve(octets_of("GET /"))
    assert any(b"\r\nDate: " + date in served for date in (date, lane.worker.date()))


# -- What it leaves --------------------------------------------------------------------------

LEFT = {
    "HTTP/1.0": octets_of("GET /", version="HTTP/1.0"),
    "HEAD": octets_of("HEAD /"),
    "OPTIONS": octets_of("OPTIONS /"),
    "OPTIONS *": octets_of("OPTIONS *"),
    "a method nobody knows": octets_of("BREW /"),
    "no Host": octets_of("GET /", ""),
    "two Hosts": octets_of("GET /", HOST * 2),
    "close": octets_of("GET /", HOST + "Connection: close\r\n"),
    "Upgrade": octets_of("GET /", HOST + "Connection: upgrade\r\nUpgrade: other\r\n"),
    "chunks": octets_of("POST /", HOST + "Transfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    "Expect": octets_of("POST /", HOST + "Content-Length: 3\r\nExpect: 100-continue\r\n", b"abc"),
    "content that is not all there": octets_of("POST /", HOST + "Content-Length: 4\r\n", b"abc"),
    "too much content": octets_of("POST /", HOST + "Content-Length: 9\r\n", b"123456789"),
    "content for a stream": octets_of("POST /stream", HOST + "Content-Length: 3\r\n", b"abc"),
    "two lengths": octets_of("POST /", HOST + "Content-Length: 3\r\n" * 2, b"abc"),
    "a list of lengths": octets_of("POST /", HOST + "Content-Length: 3, 3\r\n", b"abc"),
    "a length with a sign": octets_of("POST /", HOST + "Content-Length: +3\r\n", b"abc"),
    "a long length": octets_of("POST /", HOST + "Content-Length: 0000000000003\r\n", b"abc"),
    "a head that is not all there": octets_of("GET /")[:-1],
    "an empty line": b"\r\n" + octets_of("GET /"),
    "an unknown path": octets_of("GET /nowhere"),
    "a method the route does not take": octets_of("DELETE /get"),
    "percent-encoding": octets_of("GET /%61"),
    "absolute-form": octets_of("GET http://a/"),
    "a bad field": octets_of("GET /", HOST + "a b: c\r\n"),
    "too long a head": octets_of("GET /" + "?" + "a" * 200),
}


@pytest.mark.parametrize("name", LEFT)
def test_what_is_not_for_it_is_left_as_it_is(lane: Lane, name: str) -> None:
    """The requests ahead of it are served, and no handler is called for it."""
    octets, calls = LEFT[name], []

    def handle(request: Any) -> Any:
        calls.append(request)
        return plain(request)

    lane.app.limits = Limits(request_line_bytes=180, content_bytes=8)
    lane.connection.limits = lane.app.limits
    lane.app.add_route("/", handle)
    lane.app.add_route("/a", handle)
    lane.app.add_route("/get", handle, "GET")
    lane.app.add_route("/stream", handle, stream=True)
    output, rest, *handed = lane.serve(octets_of("GET /") + octets)
    assert output == lane.serve(octets_of("GET /"))
    assert rest == octets
    assert handed == [None, None, Outcome.LEFT]
    assert len(calls) == 2


def raises(error: BaseException) -> Callable[[Any], Any]:
    def handler(request: Any) -> Any:
        raise error

    return handler


def raises_async(error: BaseException) -> Callable[[Any], Any]:
    async def handler(request: Any) -> Any:
        raise error

    return handler


def returns(answer: Any) -> Callable[[Any], Any]:
    return lambda request: answer


def returns_async(answer: Any) -> Callable[[Any], Any]:
    async def handler(request: Any) -> Any:
        return answer

    return handler


def calls_back(request: Any) -> Any:
    request.add_done_callback(print)
    return plain(request)


async def waits(request: Any) -> Any:
    await asyncio.sleep(0)
    return plain(request)


CLOSES = PureResponse(text="a", headers={"Connection": "close"})
STREAM = PureResponse(body=iter((b"a",)))
WRONG = PureResponse(text="a", headers={"Content-Length": "7"})
LARGE = PureResponse(body=b"x" * 65_536)
FIELD = PureResponse(body=b"x" * 65_536, headers={"A": "b"})
ERROR = ValueError("wrong")
CANCELLED = asyncio.CancelledError()
HANDED = {
    "nonsense": (returns("nonsense"), Outcome.ANSWERED, "nonsense"),
    "None": (returns(None), Outcome.ANSWERED, None),
    "an answer that closes": (returns(CLOSES), Outcome.ANSWERED, CLOSES),
    "a stream": (returns(STREAM), Outcome.ANSWERED, STREAM),
    "an answer that cannot be sent": (returns(WRONG), Outcome.ANSWERED, WRONG),
    "large content": (returns(LARGE), Outcome.ANSWERED, LARGE),
    "large content with a field": (returns(FIELD), Outcome.ANSWERED, FIELD),
    "nonsense, async": (returns_async("nonsense"), Outcome.RETURNED, "nonsense"),
    "a stream, async": (returns_async(STREAM), Outcome.RETURNED, STREAM),
    "an exception": (raises(ERROR), Outcome.RAISED, ERROR),
    "a CancelledError": (raises(CANCELLED), Outcome.RAISED, CANCELLED),
    "an exception, async": (raises_async(ERROR), Outcome.BROKE, ERROR),
    "a CancelledError, async": (raises_async(CANCELLED), Outcome.BROKE, CANCELLED),
}


@pytest.mark.parametrize("name", HANDED)
def test_an_answer_that_is_not_for_it_is_handed_over(lane: Lane, name: str) -> None:
    """With what is ahead of it, what is behind it, and the request."""
    handler, outcome, result = HANDED[name]
    lane.app.add_route("/", plain)
    lane.app.add_route("/it", handler)
    ahead, it, behind = octets_of("GET /"), octets_of("GET /it?x"), octets_of("GET /")
    output, rest, request, *came = lane.serve(ahead + it + behind)
    assert (output, rest) == (lane.serve(ahead), behind)
    assert (request.target, request.response, request.persistent) == ("/it?x", None, True)
    assert came == [result, outcome]
    assert lane.connection.heads == 2


@pytest.mark.parametrize("large", [LARGE, FIELD])
def test_large_content_is_not_copied(lane: Lane, large: PureResponse) -> None:
    """However much of it a client leaves lying there, it is the one that the handler has made."""
    lane.app.add_route("/", returns(large))
    lane.protocol.data_received(octets_of("GET /"))
    _, content = lane.transport.written
    assert content is large.body


def test_a_request_that_wants_to_be_told_is_handed_over(lane: Lane) -> None:
    lane.app.add_route("/", calls_back)
    output, rest, request, response, outcome = lane.serve(octets_of("GET /"))
    assert (output, rest, response.body, outcome) == (b"", b"", b"plain", Outcome.ANSWERED)
    assert request._done_callbacks == [print]


def test_a_coroutine_that_waits_is_handed_over(lane: Lane) -> None:
    lane.app.add_route("/", waits)
    output, rest, _, (coroutine, waits_for), outcome = lane.serve(octets_of("GET /"))
    assert (output, rest, waits_for, outcome) == (b"", b"", None, Outcome.WAITS)
    with pytest.raises(StopIteration) as stop:
        coroutine.send(None)
    assert stop.value.value.body == b"plain"


def test_an_interrupt_goes_to_the_caller(lane: Lane) -> None:
    """And the lane can be used afterwards."""
    lane.app.add_route("/", plain)
    lane.app.add_route("/sync", raises(KeyboardInterrupt()))
    lane.app.add_route("/async", raises_async(KeyboardInterrupt()))
    for path in ("/sync", "/async"):
        with pytest.raises(KeyboardInterrupt):
            lane.serve(octets_of("GET /") + octets_of(f"GET {path}"))
        assert lane.serve(octets_of("GET /")).endswith(b"plain")


@pytest.mark.parametrize(("name", "value"), [
    ("blocked", True), ("eof", True), ("_draining", True), ("phase", None),
    ("queue", [1]), ("limits", Limits())])
def test_a_connection_that_is_not_idle_is_not_touched(lane: Lane, name: str, value: Any) -> None:
    lane.app.add_route("/", plain)
    before = getattr(lane.connection, name)
    setattr(lane.connection, name, value)
    assert lane.serve(octets_of("GET /")) is None
    setattr(lane.connection, name, before)
    assert lane.serve(octets_of("GET /")) is not None


def test_who_is_told_of_each_request_has_no_lane(loop: asyncio.AbstractEventLoop) -> None:
    observed = Lane(Application(log_request=lambda request: None), loop)
    assert observed.worker.lane is not None
    assert observed.protocol._lane is None
    observed.close()


@pytest.mark.parametrize(("change", "error"), [
    ({0: b"not writable"}, BufferError), ({0: bytearray(80)}, ValueError), ({1: bytes(999)}, ValueError),
    ({2: -1}, ValueError), ({3: 0}, ValueError), ({6: 1 << 40}, ValueError),
    ({8: len(CELLS) - 5}, ValueError), ({9: (1.0,) * 40}, ValueError), ({9: ("a",)}, TypeError)])
def test_it_counts_nowhere_else_than_in_its_row(lane: Lane, change: dict[int, Any],
                                                error: type[Exception]) -> None:
    board = Board.create(1)
    cells = Meter(board.row(0)).lane_cells()
    with pytest.raises(error):
        lane.worker.lane.count_into(*(change.get(place, cell) for place, cell in enumerate(cells)))
    lane.worker.lane.count_into(*cells)
    lane.app.add_route("/", plain)
    lane.serve(octets_of("GET /") * 3)
    assert board.totals()["lane_requests"] == board.totals()["request GET 200"] == 3
    assert 0 <= lane.worker.lane.elapsed() < 60
    board.close()
    assert lane.serve(octets_of("GET /")) is not None  # in memory that is there as long as the lane


def test_a_parser_in_the_middle_of_something_is_not_touched(lane: Lane) -> None:
    lane.app.add_route("/", plain)
    for octets in (b"GET ", octets_of("POST /", HOST + "Content-Length: 1\r\n")):
        lane.connection.receive(octets)
        assert lane.serve(octets_of("GET /")) is None
        lane.connection._parser.stop()
        assert lane.serve(octets_of("GET /")) is None
        lane.connection = lane.worker.protocol().connection  # type: ignore[attr-defined]


@pytest.mark.parametrize("octets", [bytearray(octets_of("GET /")), memoryview(octets_of("GET /")), "GET /"])
def test_only_bytes_are_looked_at(lane: Lane, octets: Any) -> None:
    lane.app.add_route("/", plain)
    assert lane.serve(octets) is None


def test_it_is_not_entered_twice(lane: Lane) -> None:
    """A handler that gets another connection served finds the general path."""
    found = []

    def handler(request: Any) -> Any:
        found.append(lane.serve(octets_of("GET /")))
        return plain(request)

    lane.app.add_route("/", handler)
    assert lane.serve(octets_of("GET /")).endswith(b"plain")
    assert found == [None]


def test_a_change_of_the_application_counts_from_the_next_request_on(lane: Lane) -> None:
    """Also within what has been received at once: what it knows of the application is out of date."""
    def changes(request: Any) -> Any:
        lane.app.middleware(lambda request, handler: request.Response(text="surrounded"))
        return plain(request)

    lane.app.add_route("/", plain)
    lane.app.add_route("/changes", changes)
    output, rest, *handed = lane.serve(octets_of("GET /changes") + octets_of("GET /"))
    assert output.endswith(b"plain")
    assert (rest, handed) == (octets_of("GET /"), [None, None, Outcome.LEFT])
    assert lane.serve(rest).endswith(b"surrounded")


@pytest.mark.parametrize(("name", "value"), [
    ("blocked", True), ("_draining", True), ("phase", Phase.LINGERING)])
def test_a_connection_that_stops_taking_answers_is_left(lane: Lane, name: str, value: Any) -> None:
    """The answer of the handler that has stopped it, and all that is behind."""
    def stops(request: Any) -> Any:
        setattr(request.connection, name, value)
        return plain(request)

    lane.app.add_route("/", plain)
    lane.app.add_route("/stops", stops)
    behind = octets_of("GET /")
    received = octets_of("GET /") + octets_of("GET /stops") + behind
    output, rest, request, response, outcome = lane.serve(received)
    assert (output.count(b"plain"), rest, outcome) == (2, behind, Outcome.ANSWERED)  # one is a media type
    assert (request.target, response.body) == ("/stops", b"plain")


def test_no_more_than_unsent_bytes_are_answered_at_once(lane: Lane) -> None:
    lane.app.add_route("/", plain)
    size = len(lane.serve(octets_of("GET /")))
    lane.app.limits = lane.connection.limits = Limits(unsent_bytes=3 * size)
    output, rest, *_ = lane.serve(octets_of("GET /") * 5)
    assert len(output) == 3 * size
    assert rest == octets_of("GET /") * 2


def test_a_handler_may_ask_another_application(lane: Lane) -> None:
    """In a thread of its own, with a lane of its own, while this one is busy."""
    inner = Application()
    inner.add_route("/", asynchronous)
    answers = []

    def handler(request: Any) -> Any:
        thread = Thread(target=lambda: answers.extend(Client(inner).get("/").text for _ in range(3)))
        thread.start()
        thread.join()
        return request.Response(json=answers)

    lane.app.add_route("/", handler)
    assert lane.serve(octets_of("GET /")).endswith(b'["async", "async", "async"]')


def test_a_client_in_a_handler_is_refused(loop: asyncio.AbstractEventLoop) -> None:
    app = Application()
    app.add_route("/", lambda request: Client(app).get("/"))
    app.add_error_handler(RuntimeError, lambda request, error: request.Response(503, text="refused"))
    assert Client(app).get("/").text == "refused"


# -- Requests --------------------------------------------------------------------------------

def test_a_request_that_nobody_keeps_is_used_again(lane: Lane) -> None:
    """Its memory is not given back, or others would have it; and what it was told is forgotten."""
    numbers, others = [], []

    def handler(request: Any) -> Any:
        numbers.append(id(request))
        assert not request.extra
        request.extra["mark"] = request.path
        return plain(request)

    lane.app.add_route("/", handler)
    for _ in range(10):
        lane.serve(octets_of("GET /"))
        others += [lane.app.request_type(None, None, None, None) for _ in range(5)]  # type: ignore[arg-type]
    assert len(set(numbers)) == 1


def test_a_request_that_is_kept_stays_as_it_was(lane: Lane) -> None:
    kept = []

    def handler(request: Any) -> Any:
        kept.append(request)
        return request.Response(text=request.target)

    lane.app.add_route("/{a}", handler)
    for number in range(9):
        fields = f"{HOST}Content-Length: 1\r\nN: {number}\r\n"
        lane.serve(octets_of("GET /x") + octets_of(f"POST /{number}", fields, b"%d" % number))
    del kept[::2]
    for number, request in enumerate(kept):
        assert request.target == request.response.body.decode() == f"/{number}"
        assert (request.method, request.body, request.headers["n"]) == ("POST", b"%d" % number, str(number))
        assert request.match_dict == {"a": str(number)}
        assert request.stage.value == "done"


def test_the_head_of_a_request_can_be_replaced(lane: Lane) -> None:
    """As that of any other can."""
    def handler(request: Any) -> Any:
        head = copy.copy(request.head)
        head.method = "OTHER"
        request.head = head
        return request.Response(text=request.method)

    def deletes(request: Any) -> Any:
        del request.head
        return request.Response(text=str(hasattr(request, "head")))

    lane.app.add_route("/", handler)
    lane.app.add_route("/deletes", deletes)
    assert lane.serve(octets_of("GET /")).endswith(b"OTHER")
    assert lane.serve(octets_of("GET /deletes")).endswith(b"False")


def spoils(what: Callable[[Any], Any], names: Iterable[str]) -> Callable[[Any], Any]:
    """A handler that takes something apart that the lane looks at afterwards."""
    def handler(request: Any) -> Any:
        response = request.Response(text="spoiled", headers={"A": "b"})
        spoiled = what((request, response))
        for name in names:
            with suppress(AttributeError):
                delattr(spoiled, name)
        return response

    return handler


def replaces_the_target(request: Any) -> Any:
    request.destination = type("Other", (), {"__slots__": ("a",)})()
    return plain(request)


@pytest.mark.parametrize("handler", [
    replaces_the_target,
    spoils(lambda given: given[0], Request.__slots__),
    spoils(lambda given: given[0], ["destination"]),
    spoils(lambda given: given[0].destination, Target.__slots__),
    spoils(lambda given: given[0].head, RequestHead.__slots__),
    spoils(lambda given: given[1], PureResponse.__slots__),
    spoils(lambda given: given[1].headers, ["lines"]),
])
def test_a_handler_that_spoils_something_spoils_its_own_answer_at_most(lane: Lane,
                                                                      handler: Callable[[Any], Any]) -> None:
    lane.app.add_route("/{a}/{b}", plain)
    lane.app.add_route("/{a}", handler)
    for _ in range(5):
        lane.serve(octets_of("POST /a", HOST + "Content-Length: 1\r\n", b"a"))
        assert lane.serve(octets_of("GET /a/b") * 2).count(b"\r\n\r\nplain") == 2


@pytest.mark.parametrize(("size", "buffers"), [(assembler.LARGE - 1, 1), (assembler.LARGE, 2)])
def test_what_is_large_the_reference_says(lane: Lane, size: int, buffers: int) -> None:
    lane.app.add_route("/", lambda request: request.Response(body=bytes(size)))
    lane.protocol.data_received(octets_of("GET /"))
    assert len(lane.transport.written) == buffers


# -- Responses -------------------------------------------------------------------------------

FAST: Any = backend._fast().response
CODES = st.sampled_from((200, 201, 204, 304, 404, 599, HTTPStatus.CREATED, True, 99, 100, 101, 600, -1,
                         2**70, "200", 200.0, None))
TEXTS = st.sampled_from(("", "a", "\xe9", "\u20ac", "\U0001f600", "\ud800", None, b"a", 1,
                         type("S", (str,), {})("s")))
BODIES = st.sampled_from((b"", b"a", bytearray(b"a"), memoryview(b"a"), None, "a", 1, [b"a"],
                          type("B", (bytes,), {})(b"b")))
JSONS = st.sampled_from((None, 0, "a", "\ud800", [], {"a": [1.5]}, {1, 2}, float("nan"), {1: 2}, b"a"))
MIME_TYPES = st.sampled_from((None, "", "text/html", "nonsense", "a/b\r\n", "a/\xe9", 1, "text/html; a=b"))
ENCODINGS = st.sampled_from((None, "", "utf-8", "latin-1", "nonsense", "utf-16", 1))
FIELDS = st.sampled_from((
    None, {}, [], {"A": "b"}, [("A", "b"), ("a", "c")], (("A", "b"),), {"A": 1}, {"A b": "c"}, {"A": "b\r\n"},
    {"A": "\u20ac"}, {1: "a"}, [("A",)], [("A", "b", "c")], 1, "ab", {"A": b"b"}, [["A", "b"]], {"Date": "a"},
    {"Content-Type": "a/b"}, {"A": type("S", (str,), {})("s")}, {type("S", (str,), {})("N"): "s"}, {"": ""},
    SimpleCookie({"a": "b"})))
COOKIES = st.sampled_from((None, SimpleCookie(), SimpleCookie({"a": "b"}), {"a": "b"}, 1, {"a b": "c"}))
NAMED = st.fixed_dictionaries({}, optional={
    "code": CODES, "text": TEXTS, "body": BODIES, "json": JSONS, "mime_type": MIME_TYPES,
    "encoding": ENCODINGS, "headers": FIELDS, "cookies": COOKIES,
    "upgrade": st.sampled_from((None, asyncio.Protocol)), "nonsense": st.just(1)})
POSITIONAL = st.one_of(st.just(()), st.just(()), st.tuples(CODES), st.tuples(CODES, TEXTS),
                       st.tuples(CODES, st.none(), BODIES), st.tuples(CODES, st.none(), st.none(), JSONS),
                       st.lists(st.none(), min_size=8, max_size=12).map(tuple))
SLOTS = tuple(name for name in PureResponse.__slots__ if name != "_headers")


def made(make: Callable[[], Any]) -> Any:
    """What is in a response, or why there is none."""
    try:
        response = make()
    except Exception as error:
        return type(error), "" if type(error) is TypeError else str(error)  # the wording of Python itself
    headers = response._headers
    return ([(type(getattr(response, name)), getattr(response, name)) for name in SLOTS],
            headers and (type(headers), headers.lines), repr(response))


@settings(max_examples=2000)
@given(positional=POSITIONAL, named=NAMED)
@example(positional=(), named={"json": {1, 2}, "headers": {"A": "b"}})
def test_a_call_makes_the_response_of_the_reference(positional: Any, named: dict[str, Any]) -> None:
    assert made(lambda: FAST(*positional, **named)) == made(lambda: PureResponse(*positional, **named))


def test_far_too_many_arguments_are_refused() -> None:
    with pytest.raises(TypeError):
        FAST(*[None] * 1000)


@given(pairs=st.lists(st.tuples(st.text(max_size=3), st.text(max_size=3)), max_size=3), form=st.sampled_from(
    (list, tuple, dict, iter, lambda pairs: (pair for pair in pairs), lambda pairs: map(tuple, pairs))))
def test_fields_are_taken_from_whatever_has_some(pairs: Any, form: Callable[[Any], Any]) -> None:
    def make(response: Any) -> Any:
        return made(lambda: response(text="a", headers=form(pairs)))

    assert make(FAST) == make(PureResponse)


@given(named=st.lists(NAMED, min_size=2, max_size=5))
def test_a_response_holds_nothing_of_the_one_before(named: list[dict[str, Any]]) -> None:
    """Though it has its memory."""
    for each in named:
        assert made(lambda each=each: FAST(**each)) == made(lambda each=each: PureResponse(**each))  # type: ignore[misc]


@pytest.mark.parametrize("encoder", [
    lambda value: "text", lambda value: b"bytes", lambda value: "\u20ac", lambda value: "\ud800",
    lambda value: 1, lambda value: None, lambda value: 1 / 0, repr, 7])
def test_the_encoder_of_json_can_be_replaced(monkeypatch: pytest.MonkeyPatch, encoder: Any) -> None:
    def make(response: Any) -> Any:
        monkeypatch.setattr(response, "encode_json", staticmethod(encoder))
        return made(lambda: response(json=[1]))

    assert make(FAST) == make(PureResponse)


@pytest.mark.parametrize("named", [
    {}, {"headers": {"A": 2}}, {"headers": (("A", "b"),)}, {"headers": {"A b": "c"}}, {"headers": {"A": "b"}},
    {"mime_type": "a/b"}, {"mime_type": "nonsense"}, {"encoding": "utf-16"}])
@pytest.mark.parametrize("result", [
    "text", b"bytes", type("S", (str,), {})("s"), type("B", (bytes,), {})(b"b"), "\ud800", 1, ValueError()])
def test_json_is_encoded_once(monkeypatch: pytest.MonkeyPatch, named: dict[str, Any], result: Any) -> None:
    """Whatever else is given, and whatever comes of it: the value may be used up by it."""
    def make(response: Any) -> Any:
        calls = []

        def encode(value: Any) -> Any:
            calls.append(value)
            if isinstance(result, Exception):
                raise result
            return result

        monkeypatch.setattr(response, "encode_json", staticmethod(encode))
        return made(lambda: response(json=[1], **named)), len(calls)

    assert make(FAST) == make(PureResponse)


def subclasses(base: Any) -> Iterable[Callable[[], Any]]:
    class Plain(base):
        pass

    class Slotted(base):
        __slots__ = ("more",)

    class Made(base):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named, headers={"Made": "1"})
            self.more = 1

    class New(base):
        def __new__(cls, *arguments: Any, **named: Any) -> Any:
            return super().__new__(cls)

    class Encodes(base):
        @staticmethod
        def encode_json(value: Any) -> str:
            return "encoded"

    return [lambda: Plain(text="a"), lambda: Plain(201, "a"), lambda: Slotted(body=b"a"),
            lambda: Made(json=1), lambda: New(text="a", code=404), lambda: Encodes(json=1),
            lambda: Plain(nonsense=1), lambda: Plain(text="a", body=b"a"),
            lambda: type("Late", (Made,), {})(text="b")]


def test_subclasses_are_those_of_the_reference() -> None:
    for fast, pure in zip(subclasses(FAST), subclasses(PureResponse), strict=True):
        assert made(fast) == made(pure)
    assert issubclass(FAST, PureResponse)
    assert vars(next(iter(subclasses(FAST)))()) == {}
    with pytest.raises(AttributeError):
        FAST(text="a").more = 1


@pytest.mark.parametrize("again", [
    copy.copy, copy.deepcopy, lambda response: pickle.loads(pickle.dumps(response)),
    lambda response: pickle.loads(pickle.dumps(response, 2))])
def test_a_response_can_be_copied(again: Callable[[Any], Any]) -> None:
    for named in ({"text": "a"}, {"code": 404, "json": [1]}, {"text": "a", "headers": {"A": "b"}},
                  {"text": "a", "cookies": SimpleCookie({"a": "b"})}):
        response = FAST(**named)
        copied = again(response)
        assert type(copied) is FAST
        assert copied is not response
        assert made(lambda response=response: response) == made(lambda copied=copied: copied)


def test_assemble_takes_requests_and_a_date() -> None:
    for arguments in ((), ([],), ([], "today"), ([], b"", 1), (1, b""), ([1], b"today")):
        with pytest.raises(TypeError):
            _lane.assemble(*arguments)
    assert _lane.assemble([], b"today") == []
    assert _lane.assemble((), b"today") == []


def test_an_error_of_a_handler_is_answered(lane: Lane) -> None:
    """In the way of all others, through the protocol."""
    lane.app.add_route("/", raises_async(BadRequest("no")))
    lane.app.add_route("/p", plain)
    lane.protocol.data_received(octets_of("GET /p") + octets_of("GET /") + octets_of("GET /p"))
    lane.loop.run_until_complete(asyncio.sleep(0))
    written = b"".join(lane.transport.written)
    assert [part[:3] for part in written.split(b"HTTP/1.1 ")[1:]] == [b"200", b"400", b"200"]


# -- What handlers do to what serves them ---------------------------------------------------------

def statuses(lane: Lane) -> list[bytes]:
    return [part[:3] for part in b"".join(lane.transport.written).split(b"HTTP/1.1 ")[1:]]


@pytest.mark.parametrize("names", [("_lane",), ("connection",), ("_lane", "connection"), ("transport",)])
def test_a_handler_may_take_away_what_serves_it(app: Application, loop: asyncio.AbstractEventLoop,
                                                names: tuple[str, ...]) -> None:
    """From its protocol, and there may be no other who holds it."""
    def takes(request: Any) -> Any:
        for name in names:
            delattr(request.connection.host, name)
        worker.lane = worker._unwatch = None  # type: ignore[assignment]
        app._watchers.clear()
        return plain(request)

    app.add_route("/", takes)
    worker = Worker(app, loop)
    protocol: Any = worker.protocol()
    transport = Transport()
    protocol.connection_made(transport)
    with suppress(AttributeError):
        protocol.data_received(octets_of("GET /"))
    assert b"".join(transport.written).count(b"\r\n\r\nplain") == ("transport" not in names)


def test_a_handler_may_drain_its_connection(lane: Lane) -> None:
    def drains(request: Any) -> Any:
        request.connection.drain()
        return plain(request)

    lane.app.add_route("/", drains)
    lane.protocol.data_received(octets_of("GET /"))
    [written] = lane.transport.written
    assert b"\r\nConnection: close\r\n" in written
    assert written.endswith(b"\r\n\r\nplain")
    assert lane.connection.phase is Phase.LINGERING


def test_a_handler_that_waits_may_have_retired_its_connection(lane: Lane) -> None:
    async def retires(request: Any) -> Any:
        request.connection.retire()
        await asyncio.sleep(0)
        return plain(request)

    lane.app.add_route("/", retires)
    lane.protocol.data_received(octets_of("GET /"))
    for _ in range(3):
        lane.loop.run_until_complete(asyncio.sleep(0))
    [written] = lane.transport.written
    assert b"\r\nConnection: close\r\n" in written
    assert lane.connection.phase is Phase.LINGERING


@pytest.mark.parametrize("blocks", [False, True])
def test_nothing_is_read_while_a_handler_waits_and_the_client_takes_nothing(lane: Lane, blocks: bool) -> None:
    async def waits(request: Any) -> Any:
        await asyncio.sleep(0)
        return plain(request)

    def write(data: bytes) -> None:
        if blocks:
            lane.protocol.pause_writing()

    lane.app.add_route("/plain", plain)
    lane.app.add_route("/", waits)
    lane.transport.write = write  # type: ignore[method-assign]
    lane.protocol.data_received(octets_of("GET /plain") + octets_of("GET /"))
    assert lane.transport.reading is not blocks
    for _ in range(3):
        lane.loop.run_until_complete(asyncio.sleep(0))


def test_the_client_may_end_while_a_handler_runs(lane: Lane) -> None:
    """As it may where a handler runs the loop further: what it has sent is answered first."""
    def ends(request: Any) -> Any:
        if request.query:
            lane.protocol.eof_received()
        return plain(request)

    lane.app.add_route("/", ends)
    lane.protocol.data_received(octets_of("GET /") + octets_of("GET /?a") + octets_of("GET /"))
    assert statuses(lane) == [b"200"] * 3
    assert lane.connection.phase is Phase.CLOSED


@pytest.mark.parametrize("behind", [b"", octets_of("GET /plain"), octets_of("GET /plain")[:9]])
def test_what_comes_while_a_handler_runs_is_answered_behind_it(lane: Lane, behind: bytes) -> None:
    """And nothing more is read meanwhile."""
    def receives(request: Any) -> Any:
        if request.query:
            for octet in coming:
                lane.protocol.data_received(bytes((octet,)))
            reading.append(lane.transport.reading)
        return request.Response(404, text="first")

    reading: list[bool] = []
    received = octets_of("GET /?a") + behind
    coming = (octets_of("GET /plain") * 2)[len(behind) % len(octets_of("GET /plain")):]
    lane.app.add_route("/", receives)
    lane.app.add_route("/plain", plain)
    lane.protocol.data_received(octets_of("GET /plain") + received)
    assert statuses(lane) == [b"200", b"404", *[b"200"] * (2 + (len(behind) > 9))]
    assert (reading, lane.transport.reading) == ([False], True)
    lane.protocol.data_received(octets_of("GET /plain"))
    assert statuses(lane)[-1] == b"200"


def test_no_more_than_pipelined_requests_are_answered_at_once(lane: Lane) -> None:
    lane.app.limits = lane.connection.limits = Limits(pipelined_requests=3)
    lane.app.add_route("/", plain)
    output, rest, *_ = lane.serve(octets_of("GET /") * 5)
    assert (output.count(b"\r\n\r\nplain"), rest) == (3, octets_of("GET /") * 2)


def test_the_class_of_a_request_is_that_of_the_application(lane: Lane) -> None:
    """Whatever an earlier handler has made of the object."""
    def changes(request: Any) -> Any:
        request.__class__ = type("Mine", (type(request),), {})
        return plain(request)

    lane.app.add_route("/changes", changes)
    lane.app.add_route("/", lambda request: request.Response(text=type(request).__name__))
    assert lane.serve(octets_of("GET /changes") + octets_of("GET /")).endswith(b"\r\n\r\nRequest")


def test_what_a_handler_puts_among_the_values_of_placeholders_is_let_go_of(lane: Lane) -> None:
    def puts(request: Any) -> Any:
        held = {1}
        held_weakly.append(weakref.ref(held))
        request.match_dict["more"] = held
        return plain(request)

    held_weakly: list[Any] = []
    lane.app.add_route("/{a}", puts)
    lane.serve(octets_of("GET /b"))
    assert held_weakly[0]() is None


def test_a_target_without_a_handler_is_an_error(lane: Lane) -> None:
    lane.app.add_route("/", plain)
    lane.app.add_route("/deletes", lambda request: delattr(request.destination, "handler"))
    lane.protocol.data_received(octets_of("GET /deletes") * 2 + octets_of("GET /"))
    assert statuses(lane) == [b"500", b"500", b"200"]


@pytest.mark.parametrize(("response", "common"), [
    ({"text": "a"}, True), ({"text": "a", "headers": {"A": "b"}}, False),
    ({"text": "a", "code": 404}, False)])
def test_a_request_that_is_kept_knows_whether_its_answer_was_common(lane: Lane, response: Any,
                                                                   common: bool) -> None:
    def keeps(request: Any) -> Any:
        kept.append(request)
        return request.Response(**response)

    kept: list[Any] = []
    lane.app.add_route("/", keeps)
    lane.serve(octets_of("GET /"))
    assert kept[0].common is common


def test_an_application_may_be_served_while_it_tells_its_routes(loop: asyncio.AbstractEventLoop) -> None:
    """And may change meanwhile: then it is asked again."""
    class Asked(Application):
        asked = 0

        def laid_out(self) -> Any:
            Asked.asked += 1
            found = super().laid_out()
            if Asked.asked == 1:
                other: Any = lane.worker.protocol()
                serve = lane.worker.lane.serve  # type: ignore[union-attr]
                found_busy.append(serve(other.connection, octets_of("GET /")))
                self.add_route("/new", plain)
            return found

    found_busy: list[Any] = []
    app = Asked()
    app.add_route("/", plain)
    lane = Lane(app, loop)
    lane.protocol.data_received(octets_of("GET /new"))
    lane.protocol.data_received(octets_of("GET /new"))
    assert (statuses(lane), Asked.asked, found_busy) == ([b"200", b"200"], 2, [None])
    lane.close()


def test_the_first_step_of_a_handler_may_close_the_runner(lane: Lane) -> None:
    async def closes(request: Any) -> Any:
        lane.worker.runner.close()
        return plain(request)

    lane.app.add_route("/", closes)
    assert lane.serve(octets_of("GET /") * 2).count(b"\r\n\r\nplain") == 2


def test_numbers_that_are_none_are_an_error(lane: Lane) -> None:
    lane.app.add_route("/", plain)
    for spoiled, name in ((lane.connection, "heads"), (lane.protocol, "_written")):
        for number in (None, -1):
            setattr(spoiled, name, number)
            with pytest.raises((TypeError, OverflowError)):
                lane.protocol.data_received(octets_of("GET /"))
        delattr(spoiled, name)
        with pytest.raises(AttributeError):
            lane.protocol.data_received(octets_of("GET /"))
        setattr(spoiled, name, 0)


def test_octets_may_be_given_by_name(lane: Lane) -> None:
    """As to the protocol of the reference."""
    lane.app.add_route("/", plain)
    lane.protocol.data_received(data=octets_of("GET /"))
    assert statuses(lane) == [b"200"]
    for arguments, named in (((), {}), ((b"", b""), {}), ((b"",), {"data": b""}), ((), {"octets": b""})):
        with pytest.raises(TypeError):
            lane.protocol.data_received(*arguments, **named)


def test_the_backend_of_an_application_serves_it(monkeypatch: pytest.MonkeyPatch,
                                                 loop: asyncio.AbstractEventLoop) -> None:
    monkeypatch.setenv(backend.VARIABLE, "pure")
    app = Application()
    monkeypatch.setenv(backend.VARIABLE, "accel")
    with pytest.raises(UsageError, match="the application was made for another backend than accel"):
        Worker(app, loop)


def test_an_interrupt_is_no_answer(lane: Lane) -> None:
    """Wherever it comes: while an answer is looked at, or while what a handler has left behind is."""
    class Interrupted(FAST):  # type: ignore[misc]
        @property
        def fields(self) -> Any:
            raise KeyboardInterrupt

    class Value:
        def __eq__(self, other: object) -> bool:
            raise KeyboardInterrupt

        __hash__ = None  # type: ignore[assignment]

    def sets(request: Any) -> Any:
        variable.set(Value())
        return plain(request)

    async def sets_async(request: Any) -> Any:
        variable.set(Value())
        return plain(request)

    variable: ContextVar[Value] = ContextVar("variable")
    lane.worker.runner.pristine.run(variable.set, Value())
    lane.app.add_route("/", plain)
    for path, handler in {"/response": lambda request: Interrupted(201, text="a"), "/sets": sets,
                          "/async": sets_async}.items():
        lane.app.add_route(path, handler)
        with pytest.raises(KeyboardInterrupt):
            lane.serve(octets_of(f"GET {path}"))
        assert lane.serve(octets_of("GET /")).endswith(b"plain")


@pytest.mark.parametrize("hold", [
    lambda response: FAST(101, upgrade=response._set_content),
    lambda response: FAST(body=iter(partial(lambda held: held, response), None))])
def test_responses_may_hold_each_other(hold: Callable[[Any], Any]) -> None:
    """However long the chain is that they make."""
    response = FAST(text="a")
    for _ in range(100_000):
        response = hold(response)
    del response


# -- What gets in between ---------------------------------------------------------------------

@contextmanager
def collecting(number: int, hook: Callable[[], object]) -> Iterator[None]:
    """Collections with every second object, and a function that is called when one of them starts.

    From Python 3.12 on, none starts where an object is allocated in C.
    """
    def called(phase: str, info: object) -> None:
        if next(calls) == 2 * number:
            hook()

    calls = count()
    threshold = gc.get_threshold()
    gc.callbacks.append(called)
    gc.set_threshold(1)
    try:
        yield
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(called)


@pytest.mark.parametrize("look", [
    lambda request: request.head, lambda request: request.headers, lambda request: request.body,
    lambda request: delattr(request, "head") if hasattr(request, "head") else None])
def test_a_head_may_be_asked_for_while_it_is_made(lane: Lane, look: Callable[[Any], Any]) -> None:
    """By what a collector runs."""
    def handler(request: Any) -> Any:
        with collecting(len(found) // 4, partial(look, request)), suppress(AttributeError):
            kept = [[] for _ in range(len(found) % 4)]  # type: ignore[var-annotated]
            found.append("b")
            found[-1] = request.headers["a"]
            del kept
        return plain(request)

    found: list[str] = []
    lane.app.add_route("/", handler)
    for _ in range(40):
        octets = octets_of("POST /", HOST + "A: b\r\nContent-Length: 1\r\n", b"c")
        assert lane.serve(octets).endswith(b"plain")
    assert found == ["b"] * 40


@pytest.mark.parametrize("form", [dict, lambda pairs: list(map(tuple, pairs))])
def test_fields_may_change_while_they_are_read(form: Callable[[Any], Any]) -> None:
    """By what a collector runs; the lines that were there are taken, or the change is an error."""
    no_spare_ones = [(number, number) for number in range(3000)]
    for number in range(20):
        fields = form([f"X-{number}", f"value {number}"] for number in range(100))
        with collecting(number, fields.clear), suppress(RuntimeError):
            lines = FAST(text="a", headers=fields).headers.lines
            assert lines == [(f"X-{number}", f"value {number}") for number in range(len(lines))]
    del no_spare_ones
