"""A server inside a program: on a loop that runs already, or in a thread of its own.

Servers that are processes, and what signals do to them, are the matter of ``sockets``.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import errno
import gc
import os
import socket
import struct
import sys
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from japronto import Application, Limits, Request, Response, Timeouts, backend
from japronto.errors import StartError, UsageError
from japronto.listening import close_listeners, inherited, open_listeners
from japronto.protocol import HTTPProtocol
from japronto.server import Server, ServerConfig, Worker, loop_name, new_loop, serve, start_server

WAIT_SECONDS = 60
HERE = Path(__file__)

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=["uvloop", "asyncio"])
def loop(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def run(loop: str) -> Run:
    """Runs a coroutine on each kind of loop."""
    def run_to_the_end(coroutine: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=lambda: new_loop(loop)) as runner:
            runner.run(asyncio.wait_for(coroutine, WAIT_SECONDS))
    return run_to_the_end


def greeter(greeting: str = "hello", **options: Any) -> Application:
    app = Application(**options)

    @app.get("/")
    def greet(request: Request) -> Response:
        return Response(text=greeting)

    return app


async def ask(server: Server, target: str = "/") -> str:
    """The answer to one request on a connection of its own."""
    if server.port is None:
        reader, writer = await asyncio.open_unix_connection(server.config.uds)
    else:
        reader, writer = await asyncio.open_connection(server.sockets[0].getsockname()[0], server.port)
    try:
        writer.write(f"GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
        return (await reader.read()).decode()
    finally:
        writer.close()
        await writer.wait_closed()


async def content(server: Server, target: str = "/") -> str:
    return (await ask(server, target)).partition("\r\n\r\n")[2]


async def pipelined(server: Server, *targets: str) -> str:
    """All that comes back on one connection, for requests that the fast lane may take."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write("".join(f"GET {target} HTTP/1.1\r\nHost: h\r\n\r\n" for target in targets).encode())
    writer.write_eof()
    received = (await reader.read()).decode()
    writer.close()
    return received


@pytest.mark.parametrize("lane", [True, False])
def test_nothing_is_handled_behind_an_answer_that_closes(run: Run, lane: bool) -> None:
    """RFC 9112 s.9.6: it would not be answered, and be done twice when the client sends it again."""
    done: list[str] = []

    async def main() -> None:
        app = Application()

        @app.post("/{name}")
        def post(request: Request) -> Response:
            done.append(request.match_dict["name"])
            return request.Response(text="done", headers={"Connection": "close"} if done == ["a"] else None)

        async with await app.start_server(port=0) as server:
            if not lane:
                server.worker.lane = None
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"".join(b"POST /%b HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx" % name
                                  for name in (b"a", b"b", b"c")))
            received = await reader.read()
            writer.close()
        assert received.count(b"HTTP/1.1 200 OK") == 1

    run(main())
    assert done == ["a"]


def reset(writer: asyncio.StreamWriter) -> None:
    """Leave at once; to close as usual would look like a client that still wants its answer."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()


async def refuses(port: int | None) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except (ConnectionRefusedError, ConnectionResetError):  # the latter at the very moment
        return True
    writer.close()
    await writer.wait_closed()
    return False


def test_who_retires_waits_for_a_header_on_its_way(run: Run) -> None:
    """As a worker does that another one replaces."""
    async def main() -> None:
        server = await greeter().start_server(port=0, proxy_protocol=True)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        while not server.worker.admission.beginning:  # noqa: ASYNC110 - of the server
            await asyncio.sleep(0.01)
        closing = server.closing(retire=True)
        await asyncio.sleep(0.1)
        assert not closing.done()
        writer.write(b"PROXY UNKNOWN\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n")
        answer = await reader.read()
        assert b"200 OK" in answer
        assert b"Connection: close" in answer
        writer.close()
        await closing

    run(main())


# -- On a loop that runs already ----------------------------------------------------------------

def test_a_server_in_a_program(run: Run) -> None:
    async def main() -> None:
        server = await greeter().start_server(port=0)
        assert isinstance(server.port, int)
        assert server.port > 0
        assert [sock.getsockname() for sock in server.sockets] == [("127.0.0.1", server.port)]
        assert server.address == f"http://127.0.0.1:{server.port}"
        assert await content(server) == await content(server) == "hello"
        await server.close()
        assert await refuses(server.port)
    run(main())


def test_several_servers_on_one_loop(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        first = await greeter("first").start_server(port=0)
        second = await greeter("second", limits=Limits(request_line_bytes=30)).start_server("::1", 0)
        third = await greeter("third").start_server(uds=str(tmp_path / "socket"))
        assert second.address == f"http://[::1]:{second.port}"
        assert (third.port, third.address) == (None, f"unix:{tmp_path}/socket")
        assert [await content(server) for server in (first, second, third)] == ["first", "second", "third"]
        assert " 404 " in await ask(first, "/" + "x" * 30)
        assert " 414 " in await ask(second, "/" + "x" * 30)
        await second.close()
        assert [await content(server) for server in (first, third)] == ["first", "third"]
        await first.close()
        await third.close()
    run(main())


def test_an_application_is_served_again_on_another_loop(run: Run) -> None:
    app = greeter()

    async def main() -> None:
        async with await app.start_server(port=0) as server:
            assert app.loop is asyncio.get_running_loop()
            assert await content(server) == "hello"
    run(main())
    run(main())


def test_the_context_closes_the_server_whatever_happens(run: Run) -> None:
    async def main() -> None:
        ended = []
        app = greeter()
        app.on_shutdown(ended.append)
        with pytest.raises(LookupError):
            async with await app.start_server(port=0) as server:
                raise LookupError
        assert await refuses(server.port)
        assert ended == [app]
    run(main())


def test_to_close_twice_is_to_close_once(run: Run) -> None:
    async def main() -> None:
        ended = []
        app = greeter()
        app.on_shutdown(ended.append)
        async with await app.start_server(port=0) as server:
            await server.close()
        assert ended == [app]
    run(main())


def test_hooks_surround_the_time_of_serving(run: Run) -> None:
    async def main() -> None:
        app = greeter()
        loops = []
        servers: list[Server] = []

        @app.on_startup
        async def up(app: Application) -> None:
            loops.append(app.loop)
            await asyncio.sleep(0)

        @app.on_shutdown
        async def down(app: Application) -> None:
            loops.append(app.loop)
            assert await refuses(servers[0].port)

        servers.append(await app.start_server(port=0))
        assert loops == [asyncio.get_running_loop()]
        await servers[0].close()
        assert loops == [asyncio.get_running_loop()] * 2
    run(main())


def test_start_and_close_from_a_handler(run: Run) -> None:
    """Inside the task of a request, while other requests are under way."""
    async def main() -> None:
        app = greeter("outer")

        @app.get("/inner")
        async def inner(request: Request) -> Response:
            async with await greeter("inner").start_server(port=0) as server:
                return Response(text=f"{await content(outer)} {await content(server)}")

        outer = await app.start_server(port=0)
        assert await asyncio.gather(*[content(outer, "/inner") for _ in range(5)]) == ["outer inner"] * 5
        await outer.close()
    run(main())


WHO: contextvars.ContextVar[str] = contextvars.ContextVar("WHO", default="nobody")


def test_handlers_do_not_run_in_the_task_that_started_the_server(run: Run) -> None:
    async def main() -> None:
        app = Application()
        tasks = []

        @app.get("/sync")
        def plain(request: Request) -> Response:
            tasks.append(asyncio.current_task())
            return Response(text="sync")

        @app.get("/async")
        async def asynchronous(request: Request) -> Response:
            WHO.set("somebody")
            tasks.append(asyncio.current_task())
            await asyncio.sleep(0)
            tasks.append(asyncio.current_task())
            return Response(text=WHO.get())

        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        ticking = asyncio.create_task(tick())
        starting = asyncio.create_task(app.start_server(port=0))
        server = await starting
        assert await content(server, "/sync") == "sync"
        assert await content(server, "/async") == "somebody"
        assert (tasks[0], tasks[1] is tasks[2], WHO.get()) == (None, True, "nobody")
        assert tasks[1] not in {None, starting, ticking, asyncio.current_task()}
        before = ticks
        await server.close()
        assert ticks > before
        ticking.cancel()
    run(main())


def sets_who(value: str, seen: list[str]) -> None:
    seen.append(WHO.get())
    WHO.set(value)


def test_no_context_leaks_from_request_to_request(run: Run) -> None:
    """On one connection and the next, whoever sets a variable: none of them finds it set."""
    async def main() -> None:
        app, seen = Application(), list[str]()

        async def pieces() -> AsyncIterator[bytes]:
            sets_who("stream", seen)
            yield b"x"

        @app.get("/sync")
        def plain(request: Request) -> Response:
            sets_who("sync", seen)
            request.add_done_callback(lambda request: sets_who("callback", seen))
            return Response(text="sync")

        @app.get("/async")
        async def asynchronous(request: Request) -> Response:
            sets_who("async", seen)
            raise LookupError

        @app.get("/waits")
        async def waits(request: Request) -> Response:
            sets_who("waits", seen)
            await asyncio.sleep(0)
            return Response(body=pieces())

        @app.on_startup
        def up(app: Application) -> None:
            WHO.set("start-up")

        def failed(request: Request, error: Exception) -> Response:
            sets_who("failed", seen)
            return Response(text="failed")

        app.add_error_handler(LookupError, failed)
        WHO.set("outside")
        server = await app.start_server(port=0)
        WHO.set("later")
        for _ in range(2):
            await pipelined(server, *["/sync", "/async", "/waits"] * 2)
        await server.close()
        assert seen == ["outside"] * 24
    run(main())


def test_a_context_is_the_handlers_alone(run: Run) -> None:
    """What waits sees what it has set, whatever others do meanwhile."""
    async def main() -> None:
        app = Application()

        @app.get("/{name}")
        async def waits(request: Request) -> Response:
            WHO.set(request.match_dict["name"])
            for _ in range(5):
                await asyncio.sleep(0)
            return Response(text=WHO.get())

        async with await app.start_server(port=0) as server:
            names = [f"/{number}" for number in range(5)]
            assert await asyncio.gather(*[content(server, name) for name in names]) == list("01234")
    run(main())


def test_what_a_handler_does_to_its_task_is_for_that_task_alone(run: Run) -> None:
    """Also when it does not wait, and its driver serves the next one."""
    async def main() -> None:
        app, names, ended = Application(), list[str](), list[bool]()

        @app.get("/")
        async def handler(request: Request) -> Response:
            task = asyncio.current_task()
            assert task is not None
            names.append(task.get_name())
            if len(names) % 2:
                task.set_name("mine")
            else:
                task.add_done_callback(lambda task: ended.append(task.cancelled()))
            return Response(text="hello")

        async with await app.start_server(port=0) as server:
            assert (await pipelined(server, *["/"] * 4)).count("\r\n\r\nhello") == 4
            assert len(set(names)) == 4
            assert "mine" not in names
            assert ended == [False, False]
    run(main())


ENDINGS = [SystemExit(3), asyncio.CancelledError(), GeneratorExit(), BaseException("planned")]


@pytest.mark.parametrize("kind", ["sync", "async", "waits"])
@pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: type(ending).__name__)
def test_no_handler_ends_the_program(run: Run, caplog: pytest.LogCaptureFixture, kind: str,
                                     ending: BaseException) -> None:
    async def main() -> None:
        app = greeter()

        def fail() -> None:
            raise ending

        app.get("/sync")(lambda request: fail())

        @app.get("/async")
        async def asynchronous(request: Request) -> None:
            fail()

        @app.get("/waits")
        async def waits(request: Request) -> None:
            await asyncio.sleep(0)
            fail()

        async with await app.start_server(port=0) as server:
            answer = await pipelined(server, f"/{kind}")
            cancelled = isinstance(ending, (asyncio.CancelledError, GeneratorExit))
            assert answer.startswith("HTTP/1.1 503 " if cancelled else "HTTP/1.1 500 ")
            assert await content(server) == "hello"
        assert caplog.messages == ([] if cancelled else [f"GET /{kind} from 127.0.0.1 failed"])
        assert [record.exc_info and record.exc_info[1] for record in caplog.records] == (
            [] if cancelled else [ending])
    run(main())


def test_no_done_callback_ends_the_program(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        app = greeter()

        @app.get("/fails")
        def fails(request: Request) -> Response:
            request.add_done_callback(lambda request: sys.exit())
            return Response(text="fails")

        async with await app.start_server(port=0) as server:
            assert [await content(server, "/fails"), await content(server)] == ["fails", "hello"]
    run(main())
    assert caplog.messages == ["A callback of GET /fails from 127.0.0.1 failed"]


def test_done_callbacks_do_not_outlive_the_request(run: Run) -> None:
    """Mostly they hold it; then only a collector would find them."""
    async def main() -> None:
        app, left = Application(), list[weakref.ref[Request]]()

        @app.get("/")
        async def holds(request: Request) -> Response:
            request.add_done_callback(lambda _: request)
            left.append(weakref.ref(request))
            return Response(text="hello")

        gc.collect()
        gc.disable()
        try:
            async with await app.start_server(port=0) as server:
                await content(server)
                await content(server)
                assert [reference() for reference in left] == [None, None]
        finally:
            gc.enable()
    run(main())


def test_closing_waits_for_what_is_under_way(run: Run) -> None:
    async def main() -> None:
        app = greeter()
        entered, leave = asyncio.Event(), asyncio.Event()

        @app.get("/slow")
        async def slow(request: Request) -> Response:
            entered.set()
            await leave.wait()
            return Response(text="at last")

        server = await app.start_server(port=0)
        answer = asyncio.create_task(content(server, "/slow"))
        await entered.wait()
        closing = asyncio.create_task(server.close())
        while not await refuses(server.port):
            pass
        assert not closing.done()
        leave.set()
        assert await answer == "at last"
        await closing
    run(main())


def test_closing_waits_no_longer_than_it_may(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        app = greeter(timeouts=Timeouts(drain_seconds=0.05))
        entered, ended = asyncio.Event(), []

        @app.get("/endless")
        async def endless(request: Request) -> Response:
            entered.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("cleaned up")
            raise AssertionError

        @app.on_shutdown
        def down(app: Application) -> None:
            ended.append("shut down")

        server = await app.start_server(port=0)
        answer = asyncio.create_task(ask(server, "/endless"))
        await entered.wait()
        await server.close()
        assert ended == ["cleaned up", "shut down"]
        await asyncio.gather(answer, return_exceptions=True)
    run(main())
    assert caplog.messages == ["Not all requests were finished in 0.05 s"]


class CleanUp:
    """An application that cleans up for clients that have left, and takes its time."""

    def __init__(self, timeouts: Timeouts) -> None:
        self.app = greeter(timeouts=timeouts)
        self.turned = asyncio.Semaphore(0)
        """Once more for each that has begun, and for each that cleans up."""
        self.leave = asyncio.Event()
        self.ended: list[str] = []
        self.app.get("/handler")(lambda request: self.waits("handler"))
        self.app.get("/stream")(lambda request: Response(body=self.stream()))
        self.app.get("/unsent")(lambda request: Response(204, body=self))
        self.app.on_shutdown(lambda app: self.ended.append("shut down"))

    async def waits(self, name: str) -> Response:
        try:
            self.turned.release()
            await asyncio.Event().wait()
        finally:
            self.turned.release()
            await self.leave.wait()
            self.ended.append(name)
        raise AssertionError

    async def stream(self) -> AsyncIterator[bytes]:
        yield b"x"
        await self.waits("stream")

    def __aiter__(self) -> AsyncIterator[bytes]:
        raise AssertionError("a 204 has no content")

    async def aclose(self) -> None:
        """Of the content that is not sent."""
        self.turned.release()
        self.turned.release()
        try:
            await self.leave.wait()
        except asyncio.CancelledError:
            self.leave.set()  # The others are not cancelled a second time.
            raise
        self.ended.append("unsent")


@pytest.mark.parametrize("stops", ["drains", "is cut"])
def test_closing_waits_for_clean_up_code_of_clients_that_have_left(run: Run, stops: str) -> None:
    """Of handlers, of streams, and of streams that nobody gets."""
    async def main() -> None:
        cleanup = CleanUp(Timeouts(drain_seconds=0.05 if stops == "is cut" else 600))
        server = await cleanup.app.start_server(port=0)
        for name in ("handler", "stream", "unsent"):
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(f"GET /{name} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
            await cleanup.turned.acquire()
            reset(writer)
            await cleanup.turned.acquire()
        while server.worker.protocols:  # noqa: ASYNC110 - nobody is told of it
            await asyncio.sleep(0)
        assert server.worker.left == "3 requests"
        closing = asyncio.create_task(server.close())
        if stops == "drains":
            while not await refuses(server.port):
                pass
            assert not closing.done()
            cleanup.leave.set()
        await closing
        assert cleanup.ended.pop() == "shut down"
        assert sorted(cleanup.ended) == ["handler", "stream", *["unsent"] * (stops == "drains")]
    run(main())


def test_who_is_cancelled_while_a_server_closes_does_not_keep_it_open(run: Run) -> None:
    """At whatever step; and all others wait for the same."""
    async def main() -> None:
        for turns in range(5):
            app, ended = greeter(), list[Application]()
            app.on_shutdown(ended.append)
            server = await app.start_server(port=0)
            impatient = asyncio.create_task(server.close())
            for _ in range(turns):
                await asyncio.sleep(0)
            impatient.cancel()
            await asyncio.wait([impatient])
            assert impatient.cancelled() or turns
            await asyncio.gather(server.close(), server.close())
            assert await refuses(server.port)
            assert ended == [app]
    run(main())


def test_to_cancel_the_closing_itself_hurries_it_up(run: Run) -> None:
    """As a second signal does, and a loop that ends; whatever it is waiting for."""
    async def main() -> None:
        for turns in range(1, 5):
            app, entered, ended = greeter(), asyncio.Event(), list[str]()

            @app.get("/endless")
            async def endless(request: Request, entered: asyncio.Event = entered,
                              ended: list[str] = ended) -> Response:
                entered.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    ended.append("cleaned up")
                raise AssertionError

            app.on_shutdown(lambda app, ended=ended: ended.append("shut down"))
            server = await app.start_server(port=0)
            answer = asyncio.create_task(ask(server, "/endless"))
            await entered.wait()
            closing = server.closing()
            for _ in range(turns):
                await asyncio.sleep(0)
            closing.cancel()
            await asyncio.wait([closing])
            assert ended == ["cleaned up", "shut down"]
            assert await refuses(server.port)
            await asyncio.gather(answer, return_exceptions=True)
    run(main())


def test_what_a_server_waits_for_is_told_in_words(run: Run) -> None:
    async def main() -> None:
        app, entered, leave = greeter(), asyncio.Semaphore(0), asyncio.Event()

        @app.get("/slow")
        async def slow(request: Request) -> Response:
            entered.release()
            await leave.wait()
            return Response(text="slow")

        async with await app.start_server(port=0) as server:
            told = [server.worker.left]
            _, idle = await asyncio.open_connection("127.0.0.1", server.port)
            while not server.worker.left:  # noqa: ASYNC110 - nobody is told of it
                await asyncio.sleep(0)
            told.append(server.worker.left)
            answers = []
            for _ in range(2):
                answers.append(asyncio.create_task(content(server, "/slow")))
                await entered.acquire()
                told.append(server.worker.left)
            leave.set()
            assert await asyncio.gather(*answers) == ["slow", "slow"]
            idle.close()
            assert told == ["", "1 connection", "1 request", "2 requests"]
    run(main())


def test_a_client_that_has_gone_after_the_last_answer_is_let_go_at_once(run: Run) -> None:
    async def main() -> None:
        server = await greeter(timeouts=Timeouts(linger_seconds=3600)).start_server(port=0)
        assert await content(server) == "hello"
        while server.worker.protocols:  # noqa: ASYNC110 - nobody is told of it
            await asyncio.sleep(0)
        await server.close()
    run(main())


def test_what_fails_while_a_connection_is_looked_at(run: Run, caplog: pytest.LogCaptureFixture,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends that connection, and neither the server nor its clock."""
    def fail(protocol: HTTPProtocol, now: float) -> None:
        raise LookupError

    async def main() -> None:
        server = await greeter(timeouts=Timeouts(check_seconds=0.01)).start_server(port=0)
        for _ in range(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
            writer.close()
        await server.close()
    monkeypatch.setattr(HTTPProtocol, "check", fail)
    run(main())
    assert caplog.messages == ["Looking at a connection failed"] * 2


# -- What keeps a server from starting ----------------------------------------------------------

def test_a_start_up_hook_that_fails(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    app = greeter()
    ran: list[object] = []

    @app.on_startup
    def fail(app: Application) -> None:
        if not ran:
            ran.append(app.loop)
            raise LookupError("no database")

    app.on_shutdown(ran.append)

    async def main() -> None:
        with pytest.raises(StartError) as raised:
            await app.start_server(port=0)
        line = fail.__code__.co_firstlineno + 4
        assert str(raised.value) == f"a start-up hook failed: LookupError: no database in {HERE}, line {line}"
        assert isinstance(raised.value.__cause__, LookupError)
        assert ran == [asyncio.get_running_loop()]
        async with await app.start_server(port=0) as server:
            assert await content(server) == "hello"
        assert ran == [asyncio.get_running_loop(), app]
    run(main())
    assert caplog.messages == []


@pytest.mark.parametrize("kind", [StartError, UsageError])
def test_a_start_up_hook_that_says_what_to_tell(run: Run, kind: type[Exception]) -> None:
    app = greeter()
    error = kind("there is no database; start one")

    @app.on_startup
    async def fail(app: Application) -> None:
        raise error

    async def main() -> None:
        with pytest.raises(kind) as raised:
            await app.start_server(port=0)
        assert raised.value is error
    run(main())


def test_what_could_not_start_has_no_loop(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    app = greeter()
    app.on_startup(lambda app: 1 / 0)

    async def main(expected: type[Exception]) -> None:
        with pytest.raises(expected):
            await app.start_server(port=0)
        loop = app.loop_or(asyncio.new_event_loop)
        assert loop is not asyncio.get_running_loop()
        loop.close()
        app.loop = None
    run(main(StartError))
    monkeypatch.setenv("JAPRONTO_BACKEND", "fast")
    run(main(UsageError))


def test_a_port_that_is_taken(run: Run) -> None:
    async def main() -> None:
        app = greeter()
        ran: list[str] = []
        app.on_startup(lambda app: ran.append("up"))
        app.on_shutdown(lambda app: ran.append("down"))
        async with await greeter().start_server(port=0) as server:
            with pytest.raises(StartError) as raised:
                await app.start_server(port=server.port)
        where = f"cannot listen on 127.0.0.1 port {server.port}"
        assert str(raised.value) == f"{where}: Address already in use; choose another port or host"
        cause = raised.value.__cause__
        assert isinstance(cause, OSError)
        assert cause.errno == errno.EADDRINUSE
        assert ran == ["up", "down"]
    run(main())


class Loop(asyncio.SelectorEventLoop):
    """One that notes how it was asked to listen."""

    async def create_server(self, *arguments: Any, **options: Any) -> asyncio.Server:
        self.asked = options
        return await super().create_server(*arguments, **options)


@pytest.mark.parametrize("port", [-1, 65536, "8080", 80.0, True, None])
def test_a_port_that_there_is_not(port: Any) -> None:
    """Event loops differ in what they make of it; uvloop takes the remainder of 65536."""
    with pytest.raises(UsageError) as raised:
        asyncio.run(greeter().start_server(port=port))
    assert str(raised.value) == f"the port must be a whole number from 0 to 65535; it is {port!r}"


def test_run_says_what_keeps_it_from_starting(capfd: pytest.CaptureFixture[str]) -> None:
    app = greeter()
    with pytest.raises(SystemExit) as ended:
        app.run(port=70000)
    assert ended.value.code == 2
    app.on_startup(lambda app: 1 / 0)
    with pytest.raises(SystemExit) as ended:
        app.run(port=0)
    assert ended.value.code == 3
    with pytest.raises(SystemExit) as ended:
        app.run(port=0, debug=True)
    assert ended.value.code == 3
    said = capfd.readouterr().err.splitlines()
    reason = f"japronto: a start-up hook failed: ZeroDivisionError: division by zero in {HERE}, line "
    assert said[0] == "japronto: the port must be a whole number from 0 to 65535; it is 70000"
    assert said[1].startswith(reason)
    assert said[2] == "Traceback (most recent call last):"
    assert said[-1] == said[1]


# -- Where it listens ---------------------------------------------------------------------------

@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells it on Linux alone")
def test_the_backlog(run: Run) -> None:
    """Asked of the kernel: what loops are told is something else."""
    def backlog(server: Server) -> int:
        with socket.socket(fileno=os.dup(server.sockets[0].fileno())) as sock:
            info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)
            return cast("int", struct.unpack_from("I", info, 28)[0])  # tcpi_sacked, of one that listens

    async def main() -> None:
        for options, expected in [({"backlog": 7}, 7), ({"backlog": 300}, 300), ({}, ServerConfig().backlog)]:
            async with await greeter().start_server(port=0, **options) as server:
                assert backlog(server) == expected

    run(main())


def test_no_host_is_every_address(run: Run) -> None:
    async def main() -> None:
        async with await greeter().start_server("", 0) as server:
            addresses = {sock.getsockname()[0] for sock in server.sockets}
        assert addresses == {"0.0.0.0", "::"}
    run(main())


def test_connections_do_not_wait_to_send(run: Run) -> None:
    """TCP_NODELAY is set by the loop, if the socket that it is given says that it is for TCP."""
    async def main() -> None:
        app = Application()

        @app.get("/")
        def delays(request: Request) -> Response:
            sock = request.transport.get_extra_info("socket")
            return Response(json=sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

        async with await app.start_server(port=0) as server:
            assert await content(server) == "1"
        with socket.create_server(("127.0.0.1", 0)) as foreign:
            async with await app.start_server(fd=foreign.detach()) as server:
                assert await content(server) == "1"
    run(main())


def test_listeners_of_a_master(run: Run, tmp_path: Path) -> None:
    """Its worker serves on them, closes its own descriptors, and leaves the Unix socket's file."""
    path = tmp_path / "socket"
    config = ServerConfig(bind=["127.0.0.1:0", f"unix:{path}"])
    masters = open_listeners(config)

    async def main() -> None:
        for _ in range(2):
            listeners = inherited([listener.sock.dup().detach() for listener in masters])
            async with await start_server(greeter(), config, listeners) as server:
                assert server.addresses == [f"http://127.0.0.1:{masters[0].port}", f"unix:{path}"]
                assert (server.address, server.port) == (server.addresses[0], masters[0].port)
                assert await content(server) == "hello"
                reader, writer = await asyncio.open_unix_connection(path)
                writer.write(b"GET / HTTP/1.0\r\n\r\n")
                assert (await reader.read()).endswith(b"hello")
                writer.close()
                await writer.wait_closed()
            await asyncio.sleep(0)
            assert [listener.sock.fileno() for listener in listeners] == [-1, -1]
            assert path.is_socket()
    run(main())
    close_listeners(masters)
    assert not path.exists()


def test_a_unix_socket_is_removed_when_the_server_closes(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "socket"

    async def main() -> None:
        async with await greeter().start_server(uds=str(path)) as server:
            assert path.is_socket()
            assert await content(server) == "hello"
        assert not path.exists()
    run(main())


def test_a_file_that_has_taken_the_place_of_a_unix_socket_stays(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "socket"

    async def main() -> None:
        async with await greeter().start_server(uds=str(path)):
            path.unlink()
            path.write_text("another")
        assert path.read_text() == "another"
        path.unlink()
        async with await greeter().start_server(uds=str(path)):
            path.unlink()
        assert not path.exists()
    run(main())


def test_a_unix_socket_that_nobody_listens_on_is_replaced(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as abandoned:
        abandoned.bind(str(path))

    async def main() -> None:
        async with await greeter().start_server(uds=str(path)) as server:
            assert await content(server) == "hello"
            with pytest.raises(StartError) as raised:
                await greeter().start_server(uds=str(path))
            assert str(raised.value) == (f"cannot listen on unix:{path}: Address already in use; "
                                         "choose another path")
            assert await content(server) == "hello"
    run(main())


def test_a_path_that_something_else_has(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("precious")

    async def main() -> None:
        for path in (file, tmp_path):
            with pytest.raises(StartError) as raised:
                await greeter().start_server(uds=str(path))
            assert str(raised.value) == (f"cannot listen on unix:{path}: something that is not a socket has "
                                         "that path; choose another path")
    run(main())
    assert file.read_text() == "precious"


# -- The loop -----------------------------------------------------------------------------------

@pytest.mark.parametrize(("choice", "name"),
                         [("auto", "uvloop"), ("uvloop", "uvloop"), ("asyncio", "asyncio")])
def test_the_choice_of_a_loop(choice: str, name: str) -> None:
    assert loop_name(choice) == name
    loop = new_loop(choice)
    assert type(loop).__module__.startswith(name)
    loop.close()


@pytest.mark.parametrize("choose", [loop_name, new_loop])
def test_a_loop_that_there_is_not(choose: Callable[[str], object]) -> None:
    with pytest.raises(UsageError, match="the loop must be auto, uvloop or asyncio; it is 'trio'"):
        choose("trio")


def test_without_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("japronto.server.HAS_UVLOOP", False)
    assert loop_name("auto") == loop_name("asyncio") == "asyncio"
    with pytest.raises(UsageError, match="uvloop is not installed; pip install uvloop, or choose the loop "):
        loop_name("uvloop")


# -- serve, in a thread -------------------------------------------------------------------------

class Thread:
    """``serve`` in a thread of its own, where there are no signals: it ends when it is cancelled."""

    def __init__(self, app: Application, config: ServerConfig) -> None:
        self._app = app
        self._config = config
        self._serves = threading.Event()
        self.outcome: object = None
        self._thread = threading.Thread(target=self._serve, daemon=True)
        app.on_startup(self._remember)

    def _remember(self, app: Application) -> None:
        self._loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        self._task = task
        self._serves.set()

    def _serve(self) -> None:
        try:
            self.outcome = serve(self._app, self._config)
        except (UsageError, StartError, asyncio.CancelledError) as error:
            self.outcome = error
        self._serves.set()

    def __enter__(self) -> Thread:
        self._thread.start()
        assert self._serves.wait(WAIT_SECONDS)
        return self

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._task.cancel)

    def __exit__(self, *_: object) -> None:
        self._thread.join(WAIT_SECONDS)
        assert not self._thread.is_alive()


def connected(path: Path) -> socket.socket:
    """A connection to a Unix socket that will soon be there."""
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(WAIT_SECONDS)
    deadline = time.monotonic() + WAIT_SECONDS
    while sock.connect_ex(str(path)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return sock


@pytest.mark.filterwarnings("error::ResourceWarning")
def test_serving_in_a_thread(loop: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    app = greeter()
    ended: list[Application] = []
    app.on_shutdown(ended.append)
    path = tmp_path / "socket"
    for times in (1, 2):
        with Thread(app, ServerConfig(uds=str(path), loop=loop)) as thread:
            with connected(path) as sock:
                sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
                received = b"".join(iter(lambda sock=sock: sock.recv(4096), b""))
            thread.stop()
        assert received.endswith(b"\r\n\r\nhello")
        assert isinstance(thread.outcome, asyncio.CancelledError)
        assert ended == [app] * times
        assert not path.exists()
        assert capfd.readouterr().err == (
            f"Japronto is listening on unix:{path} (backend {backend.active()}, loop {loop}); "
            "Ctrl-C stops it.\n")


@pytest.mark.parametrize("loop", ["auto", "uvloop"])
def test_set_up_code_may_use_the_loop(loop: str, tmp_path: Path) -> None:
    app = greeter()
    used = app.loop
    assert used.run_until_complete(asyncio.sleep(0, "prepared")) == "prepared"
    loops: list[object] = []
    app.on_startup(lambda app: loops.append(asyncio.get_running_loop()))
    with Thread(app, ServerConfig(uds=str(tmp_path / "socket"), loop=loop)) as thread:
        connected(tmp_path / "socket").close()
        thread.stop()
    assert loops == [used]
    assert used.is_closed()


def test_the_loop_that_set_up_code_has_used_must_be_the_one_asked_for() -> None:
    app = greeter()
    used = app.loop
    with pytest.raises(UsageError, match="the application has made a loop of uvloop already; do not ask"):
        serve(app, ServerConfig(loop="asyncio"))
    assert used.is_closed()
    assert app.loop is not used
    app.loop.close()


def test_a_loop_runs_already(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(UsageError, match="a loop is running here already; await "):
            serve(greeter(), ServerConfig(port=0))
    run(main())


# -- Content that leaves piece by piece ---------------------------------------------------------

PIECES_MAX = 10_000
"""Of a stream that should have been ended long before."""

Pieces = Callable[[Request], Iterator[bytes]]


def streaming(pieces: Pieces, asynchronous: bool) -> Application:
    """Answers /stream with pieces that come of an iterator, or an async one that never waits."""
    async def never_waits(request: Request) -> AsyncIterator[bytes]:
        for piece in pieces(request):
            yield piece

    app = greeter()
    app.get("/stream")(lambda request: Response(body=(never_waits if asynchronous else pieces)(request)))
    return app


@pytest.mark.parametrize("piece", [b"x", b""], ids=["pieces", "empty pieces"])
@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_a_stream_that_never_waits_leaves_the_others_their_turn(run: Run, asynchronous: bool,
                                                                piece: bytes) -> None:
    made = 0
    begun, answered = asyncio.Event(), []

    def pieces(request: Request) -> Iterator[bytes]:
        nonlocal made
        begun.set()
        while not answered and made < PIECES_MAX:
            made += 1
            yield piece

    async def main() -> None:
        async with await streaming(pieces, asynchronous).start_server(port=0) as server:
            stream = asyncio.create_task(content(server, "/stream"))
            await begun.wait()
            answered.append(await content(server))
            await stream
    run(main())
    assert answered == ["hello"]
    assert made < PIECES_MAX


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_a_stream_ends_with_its_transport(run: Run, asynchronous: bool,
                                          caplog: pytest.LogCaptureFixture) -> None:
    """Also while what was sent before still waits to leave; and it does not look complete."""
    made, closed = 0, asyncio.Event()

    def pieces(request: Request) -> Iterator[bytes]:
        nonlocal made
        while not request.transport.get_write_buffer_size():
            yield bytes(65536)
        request.transport.close()
        closed.set()
        while made < PIECES_MAX:
            made += 1
            yield b"x"

    async def main() -> None:
        async with await streaming(pieces, asynchronous).start_server(port=0) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"GET /stream HTTP/1.1\r\nHost: h\r\n\r\n")
            await closed.wait()
            received = await reader.read()
            writer.close()
        assert b"Transfer-Encoding: chunked" in received
        assert not received.endswith(b"0\r\n\r\n")
    run(main())
    assert made == 1
    assert caplog.messages == []


# -- Answers that turn out not to be ones --------------------------------------------------------

def test_an_answer_that_was_made_unfit_after_it_was_given(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """It ends its connection, and no other; nobody waits for it."""
    async def main() -> None:
        app, given, leave = greeter(), Response(text="given"), asyncio.Event()

        @app.get("/slow")
        async def slow(request: Request) -> Response:
            await leave.wait()
            return Response(text="slow")

        @app.get("/given")
        def give(request: Request) -> Response:
            asyncio.get_running_loop().call_soon(change)
            return given

        def change() -> None:
            given.headers["Content-Length"] = "1"
            leave.set()

        server = await app.start_server(port=0)
        with contextlib.suppress(ConnectionResetError):
            assert "given" not in await pipelined(server, "/slow", "/given")
        assert await content(server) == "hello"
        await server.close()
    run(main())
    assert caplog.messages == ["Serving a connection failed"]


class Unanswerable(Response):
    """Fails when somebody looks at it."""

    fields = property(lambda self: 1 / 0)  # type: ignore[assignment]


@pytest.mark.parametrize("kind", ["sync", "async", "waits"])
def test_an_answer_that_fails_when_it_is_looked_at(run: Run, caplog: pytest.LogCaptureFixture,
                                                   kind: str) -> None:
    async def main() -> None:
        app = Application()
        app.get("/sync")(lambda request: Unanswerable(404))

        @app.get("/async")
        async def asynchronous(request: Request) -> Response:
            return Unanswerable(404)

        @app.get("/waits")
        async def waits(request: Request) -> Response:
            await asyncio.sleep(0)
            return Unanswerable(404)

        async with await app.start_server(port=0) as server:
            assert (await pipelined(server, f"/{kind}")).startswith("HTTP/1.1 500 ")
    run(main())
    assert caplog.messages == [f"GET /{kind} from 127.0.0.1 failed"]


# -- What is served -----------------------------------------------------------------------------

def test_another_protocol(run: Run) -> None:
    class Shout(asyncio.Protocol):
        def __init__(self, app: Application) -> None:
            made.append(app)

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            stream = cast("asyncio.Transport", transport)  # uvloop's only looks like one
            stream.write(b"HELLO")
            stream.close()

    made: list[Application] = []

    async def main() -> None:
        app = greeter(protocol_factory=Shout)
        async with await app.start_server(port=0) as server:
            assert [await ask(server), await ask(server)] == ["HELLO", "HELLO"]
        assert made == [app, app]
    run(main())


@pytest.mark.parametrize("log_request", [None, True])
def test_access_log(run: Run, capfd: pytest.CaptureFixture[str], log_request: bool | None) -> None:
    """It takes the place of the line of 2017."""
    async def main() -> None:
        app = greeter(log_request=log_request)
        async with await app.start_server(port=0, access_log=True,
                                          access_log_format="%(h)s %(m)s %(U)s %(s)s") as server:
            await ask(server, "/?query")
            await ask(server, "/%C3%A9%0A")
            await ask(server, "/nowhere")
            await ask(server, "not a target")
        async with await greeter().start_server(port=0) as server:
            await ask(server)
    run(main())
    assert capfd.readouterr() == (
        "127.0.0.1 GET / 200\n127.0.0.1 - - 400\n127.0.0.1 GET /nowhere 404\n127.0.0.1 - - 400\n", "")


def test_a_function_of_2017_beside_the_access_log(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        logged: list[str] = []
        app = greeter(log_request=lambda request: logged.append(request.path))
        async with await app.start_server(port=0, access_log=True, access_log_format="%(s)s") as server:
            await ask(server)
        assert logged == ["/"]
    run(main())
    assert capfd.readouterr() == ("200\n", "")


@pytest.mark.parametrize(("of_the_program", "given", "shown"),
                         [(False, False, False), (True, False, True), (False, True, True)])
def test_debug(run: Run, of_the_program: bool, given: bool, shown: bool) -> None:
    async def main() -> None:
        app = Application(debug=of_the_program)
        app.get("/")(lambda request: 1 / 0)
        async with await app.start_server(port=0, debug=given) as server:
            assert ("ZeroDivisionError" in await ask(server)) is shown
    run(main())


def test_the_date_is_made_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 784111777.0
    monkeypatch.setattr(time, "time", lambda: now)
    loop = new_loop("asyncio")
    worker = Worker(greeter(), loop)
    date = worker.date()
    assert date == b"Sun, 06 Nov 1994 08:49:37 GMT"
    now += 0.9
    assert worker.date() is date
    now += 0.1
    assert worker.date() == b"Sun, 06 Nov 1994 08:49:38 GMT"
    now -= 60
    assert worker.date() == b"Sun, 06 Nov 1994 08:48:38 GMT"
    loop.close()
