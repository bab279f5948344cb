"""The fast parts hold on to nothing and let go of nothing twice, whatever goes wrong.

What each kind of handler leaves behind is counted: blocks of memory, objects that the collector knows,
references to what all requests share.  Memory that runs out at any allocation is a MemoryError, and a
second interpreter is none of a first one's business: those are tried in a process of their own, which
must end in the usual way.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from property.test_lane import BEHAVIOURS, CHANGING, FAST, REFERENCE, Run, Way, get

from japronto import backend, messages
from japronto.app import Application
from japronto.interfaces import Target
from japronto.pure.connection import Stage
from japronto.server import Worker

ROUNDS = 10
REQUESTS = 20
"""In a round; those behind one that closes the connection are not answered."""
NAMES = sorted(name for name in BEHAVIOURS if not name.startswith("later-") or name == "later-plain")
"""Those that wait end in the general path, whatever they answer; one of them will do."""
BREAKING = frozenset(name for name in BEHAVIOURS if "transport" in name or "interrupt" in name)


@pytest.fixture(autouse=True, scope="module")
def _frozen() -> Iterator[None]:
    """What is there already, so that the collector does not walk all of pytest each time: 200 s in all."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """With the fast parts, without the log, which would hold what it is told, and no collection by itself."""
    monkeypatch.setenv(backend.VARIABLE, "accel")
    monkeypatch.delenv(backend.SIMD_VARIABLE, raising=False)
    logging.disable()
    gc.disable()
    yield
    gc.enable()
    logging.disable(logging.NOTSET)


def play(name: str, way: Way = FAST) -> None:
    """A worker, an application and a connection come and go; requests pipelined and one by one."""
    run = Run(way, [name], {})
    if name not in CHANGING:
        run.happens("receive", get(name) * REQUESTS)
    run.happens("receive elsewhere", get(name))
    while run.scene.waits():
        run.scene.release(0)
        run.turn()
    run.close()


FORGET: Callable[[], None] = getattr(sys, "_clear_internal_caches", None) or sys._clear_type_cache
"""Makes Python forget the names of attributes that it was asked for last, some thousand of them."""


def held() -> tuple[int, int]:
    """Blocks of memory, and objects that the collector knows."""
    FORGET()
    gc.collect()
    return sys.getallocatedblocks(), len(gc.get_objects())


def grows(do: Callable[[], object], rounds: int) -> bool:
    """Whether something is left behind each time; what is left behind once is a cache."""
    for _ in range(3):
        do()
    for _ in range(4):
        blocks, objects = held()
        for _ in range(rounds):
            do()
        blocks_now, objects_now = held()
        if blocks_now - blocks < rounds and objects_now - objects < rounds:
            return False
    return True


@pytest.mark.parametrize("name", NAMES)
def test_nothing_stays_behind(name: str) -> None:
    assert not grows(lambda: play(name), ROUNDS)


def test_something_that_stays_behind_is_found() -> None:
    kept: list[Any] = []
    assert grows(lambda: kept.append([object()]), ROUNDS)


def garbage(name: str, way: Way) -> int:
    """How much a collector finds that a worker has left behind while it serves."""
    run = Run(way, [name], {})
    run.happens("receive", get(name))
    gc.collect()
    run.happens("receive", get(name) * REQUESTS)
    while run.scene.waits():
        run.scene.release(0)
        run.turn()
    for kept in (run.scene.kept, run.scene.tasks):
        kept.clear()
    found = gc.collect()
    run.close()
    return found


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(CHANGING) - BREAKING))
def test_the_collector_finds_no_more_than_without_the_fast_parts(name: str) -> None:
    assert garbage(name, FAST) <= garbage(name, REFERENCE)


# -- Many requests ---------------------------------------------------------------------------

def sync(request: Any) -> Any:
    return request.Response(text="plain")


async def asynchronous(request: Any) -> Any:
    return request.Response(json=request.match_dict)


def content(request: Any) -> Any:
    return request.Response(201, body=request.body, headers={"A": request.headers["host"]})


def fails(request: Any) -> Any:
    raise ValueError(request.path)


async def fails_async(request: Any) -> Any:
    raise ValueError(request.path)


class Many:
    """A worker without a transport, whose lane is called in place of a protocol."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.app = Application()
        for pattern, handler in (("/", sync), ("/{a}/{n:int}", asynchronous), ("/content", content),
                                 ("/fails", fails), ("/fails-async", fails_async)):
            self.app.add_route(pattern, handler)
        self.worker = Worker(self.app, self.loop)
        self.connection = self.worker.protocol().connection  # type: ignore[attr-defined]

    def serve(self, octets: bytes) -> Any:
        return self.worker.lane.serve(self.connection, octets)  # type: ignore[union-attr]

    def turn(self) -> None:
        """Let tasks end that have been cancelled."""
        for _ in range(3):
            self.loop.run_until_complete(asyncio.sleep(0))

    def close(self) -> None:
        self.loop.run_until_complete(self.worker.stop())
        self.loop.close()


@pytest.fixture
def many() -> Iterator[Many]:
    many = Many()
    yield many
    many.close()


GET = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /content HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab"
ALL = GET % b"/" + GET % b"/a/12" + POST + GET % b"/" + GET % b"/b/7?x"


def test_a_hundred_thousand_requests_leave_no_garbage(many: Many) -> None:
    many.serve(ALL)
    gc.collect()
    for _ in range(800):  # The lane takes so many requests at once as a connection may have under way.
        assert many.serve(ALL * 25).count(b"HTTP/1.1 2") == 125
    assert gc.collect() == 0


SHARED = (None, True, False, 1, 200, 201, messages.PERSISTENT, messages.RequestHead, Target, Stage.RUNNING,
          Stage.DONE, backend._fast().response, backend._fast().request)


@pytest.mark.parametrize("octets", [ALL, GET % b"/fails", GET % b"/fails-async", GET % b"/nowhere",
                                    POST[:-1], b"GET / HTTP/1.1\r\n\r\n", b"nonsense"])
def test_what_all_requests_share_is_neither_held_nor_let_go(many: Many, octets: bytes) -> None:
    """A reference too many, or too few, for each request shows in the count."""
    shared = (*SHARED, many.app.request_type, many.connection, many.worker.runner, many.app.limits, sync,
              octets)
    for _ in range(10):
        many.serve(octets)
    many.turn()
    before = [sys.getrefcount(each) for each in shared]
    for _ in range(1000):
        many.serve(octets)
    many.turn()
    after = [sys.getrefcount(each) for each in shared]
    assert [each for each, was, now in zip(shared, before, after, strict=True) if abs(now - was) > 500] == []


async def returns(request: Any) -> Any:
    return sync(request)


async def returns_nonsense(request: Any) -> Any:
    return "nonsense"


async def waits(request: Any) -> Any:
    await asyncio.sleep(0)


async def interrupts(request: Any) -> Any:
    raise KeyboardInterrupt


@pytest.mark.parametrize("coroutine_function", [returns, returns_nonsense, fails_async, waits, interrupts])
def test_what_a_handler_keeps_is_let_go_of_once(many: Many, coroutine_function: Callable[[Any], Any]) -> None:
    """Its request and its coroutine have one reference less than while they were served, and no more."""
    kept: list[Any] = []

    def handler(request: Any) -> Any:
        kept[:] = request, coroutine_function(request)
        return kept[1]

    many.app.add_route("/kept", handler)
    served = None
    try:
        served = many.serve(GET % b"/kept")
    except KeyboardInterrupt:
        assert coroutine_function is interrupts
    coroutine = kept.pop()
    assert sys.getrefcount(coroutine) == 2 + (coroutine_function is waits)  # in what was handed over
    coroutine.close()
    del served, coroutine
    [request] = kept
    kept.clear()
    assert sys.getrefcount(request) == 2


@pytest.mark.parametrize("named", [
    {"text": "a"}, {"json": [1]}, {"body": b"a", "code": 404}, {"text": "a", "headers": {"A": "b"}}, {},
    {"text": "\ud800"}, {"json": {1}}, {"code": 7}, {"nonsense": 1}, {"text": "a", "headers": {"A b": "c"}},
    {"text": "a", "mime_type": "a/b"}, {"text": "a", "mime_type": "nonsense"}])
def test_responses_are_let_go_of(named: dict[str, Any]) -> None:
    make = backend._fast().response

    def attempt() -> None:
        try:
            make(**named)
        except Exception:
            assert named.keys() != {"text", "body"}

    assert not grows(attempt, 200)
    before = [sys.getrefcount(each) for each in (*SHARED, *named.values())]
    for _ in range(1000):
        attempt()
    after = [sys.getrefcount(each) for each in (*SHARED, *named.values())]
    assert max(abs(now - was) for was, now in zip(before, after, strict=True)) < 500


def test_lanes_are_let_go_of() -> None:
    def come_and_go() -> None:
        many = Many()
        many.serve(ALL)
        many.app.add_route("/more", sync)
        many.serve(ALL)
        many.close()

    assert not grows(come_and_go, ROUNDS)


def test_routes_that_are_refused_are_let_go_of(many: Many) -> None:
    """Whatever the application says of its routes, it is an error at worst."""
    lane: Any = many.worker.lane
    app: Any = many.app
    [target] = {each[3] for each in app.laid_out() if each[3].route.pattern == "/"}
    good = (frozenset(("GET",)), [("literal", ""), ("literal", "")], [("a", 0, 0, False, int)], target)
    wrong: list[Any] = [None, (), [None], [()], [good[:3]], [(*good[:3], None)], [(1, *good[1:])],
                        [(good[0], [None], *good[2:])], [(good[0], [("nonsense", "")], *good[2:])],
                        [(good[0], [("literal", 1)], *good[2:])], [(*good[:2], [None], target)],
                        [(*good[:2], [(1, 0, 0, False, int)], target)], [(*good[:2], [("a", "0")], target)]]

    def attempt() -> None:
        for laid_out in wrong:
            for routes in ([laid_out, [good, *laid_out]] if isinstance(laid_out, list) else [laid_out]):
                app.laid_out = lambda routes=routes: routes
                lane.forget()
                with pytest.raises((TypeError, ValueError, SystemError)):
                    many.serve(ALL)

    assert not grows(attempt, 20)
    del app.laid_out
    lane.forget()
    assert many.serve(ALL).count(b"HTTP/1.1 2") == 5


# -- In a process of its own -----------------------------------------------------------------

ENVIRONMENT = {"JAPRONTO_BACKEND": "accel", "JAPRONTO_JSON": "stdlib"}
"""With no encoder of others, which may not outlive memory that runs out: orjson 3.13 does not."""


def run(program: str, **environ: str) -> None:
    done = subprocess.run([sys.executable, "-X", "faulthandler", "-c", program], capture_output=True,
                          text=True, check=False, timeout=240, env=ENVIRONMENT | environ)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stdout + done.stderr


ENDS = """
import asyncio
from japronto import Application
from japronto.server import Worker

app = Application()
app.add_route("/", lambda request: request.Response(text="plain"))
worker = Worker(app, asyncio.new_event_loop())
octets = b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n"
assert b"plain" in worker.lane.serve(worker.protocol().connection, octets * 9)
print("done", flush=True)
"""


def test_a_program_may_end_with_all_that_it_has() -> None:
    """Nothing is looked at that is gone already: it is written over here."""
    run(ENDS, PYTHONMALLOC="debug")


NO_MEMORY = """
import asyncio, gc, logging, sys, warnings
from _testcapi import remove_mem_hooks, set_nomemory
from japronto import Application, Response
from japronto.accel._lane import assemble
from japronto.server import Worker

warnings.simplefilter("ignore")  # a coroutine may not get to its first step
logging.disable()
loop = asyncio.new_event_loop()
app = Application()
# Those of CPython and of orjson crash where memory runs out.
Response.encode_json = staticmethod(lambda value: str(value))

def sync(request):
    return request.Response(text="plain")

async def asynchronous(request):
    return request.Response(json=1)

async def waits(request):
    await loop.create_future()

def looks(request):
    return request.Response(text=request.match_dict["a"] + request.path, headers={"A": request.method})

def fails(request):
    raise ValueError

kept = []
def keeps(request):
    kept.append(request)
    return request.Response(404, body=request.body)

for path, handler in {"/": sync, "/async": asynchronous, "/waits": waits, "/l/{a}/{n:int}": looks,
                      "/fails": fails, "/keeps": keeps}.items():
    app.add_route(path, handler)
worker = Worker(app, loop)
lane, connection = worker.lane, worker.protocol().connection

def get(path):
    return b"GET %b HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n" % path

def serves(octets):
    return lambda: lane.serve(connection, octets)

def learns():
    lane.forget()
    return lane.serve(connection, get(b"/"))

_, _, answered, (coroutine, _), _ = lane.serve(connection, get(b"/waits"))
coroutine.close()
answered.response = Response(text="a", headers={"A": "b"})
post = b"POST /keeps HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: %d\\r\\n\\r\\n"

ALLOCATIONS = 500
OPERATIONS = {
    "plain": serves(get(b"/") * 3), "async": serves(get(b"/async") * 2), "looks": serves(get(b"/l/b/7")),
    "waits": serves(get(b"/waits")), "fails": serves(get(b"/fails")), "left": serves(get(b"/") + b"GET /"),
    "keeps": serves((post % 3 + b"abc") + (post % 4 + b"abcd")), "learns": learns,
    "text": lambda: Response(text="a"), "json": lambda: Response(json=[1]),
    "code": lambda: Response(404, text="a"),
    "headers": lambda: Response(body=b"a", headers={"A": "b", "C": "d"}),
    "mime type": lambda: Response(text="a", mime_type="a/b"),
    "init": lambda: Response(text="a", encoding="latin-1"),
    "assemble": lambda: assemble([answered, answered], worker.date()),
}

if sys.version_info >= (3, 12):
    # A dict of CPython 3.12 and 3.13 does not survive that it cannot grow, and asyncio's table of
    # current tasks grows at a first step.
    del OPERATIONS["async"], OPERATIONS["waits"]

def attempt(operation, start, stop):
    set_nomemory(start, stop)
    try:
        return operation()
    except MemoryError:
        return None
    finally:
        remove_mem_hooks()

def end(result):
    if type(result) is tuple and type(result[3]) is tuple:
        result[3][0].close()  # the coroutine that waits
    kept.clear()

def everything():
    for name, operation in OPERATIONS.items():
        end(operation())
        for start in range(ALLOCATIONS):
            for stop in (start + 1, start + 3, 0):
                end(attempt(operation, start, stop))
        assert attempt(operation, ALLOCATIONS, 0) is not None, f"{name} takes more than that"
        lane.forget()
        served = lane.serve(connection, get(b"/") + get(b"/async") + get(b"/l/a/1"))
        assert type(served) is bytes and served.count(b"HTTP/1.1 200 OK") == 3, (name, served)
    worker.runner.close()
    loop.run_until_complete(asyncio.sleep(0))
    sys._clear_type_cache()
    gc.collect()
    return sys.getallocatedblocks()

everything()
before = everything()
after = everything()
assert after - before < 300, (before, after)  # a reference lost in one operation shows as 1,500
print("done")
"""


def test_memory_that_runs_out_is_an_error() -> None:
    """At each allocation in turn, for once, for a while, and for good; and nothing is left behind."""
    run(NO_MEMORY)


INTERPRETERS = """
import sys
from japronto import Application
from japronto.testing import Client

try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters

INNER = '''
try:
    from japronto import Application
    from japronto.testing import Client
except ImportError:
    pass  # which is an answer, too
else:
    app = Application()
    async def handler(request):
        return request.Response(text=request.path)
    app.add_route("/{a}", handler)
    assert Client(app).get("/inner").text == "/inner"
'''

app = Application()
app.add_route("/", lambda request: request.Response(json=request.path))

for _ in range(3):
    assert Client(app).get("/").text == '"/"'
    interpreter = interpreters.create()
    failure = interpreters.run_string(interpreter, INNER)
    assert failure is None, failure
    interpreters.destroy(interpreter)
assert Client(app).get("/").text == '"/"'
print("done")
"""


def test_a_second_interpreter_has_fast_parts_of_its_own_or_none() -> None:
    """None, where cffi's module refuses: from Python 3.12 on."""
    run(INTERPRETERS, JAPRONTO_BACKEND="auto")
