"""The access log: what its lines say of each request, and that no client can forge one."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import shlex
import socket
import struct
import time
import types
from collections.abc import Callable, Coroutine, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from japronto import Application, Limits, Request, Response, Timeouts
from japronto.access import ATOMS, FORMATS, SECRET_FIELDS, Entry, _local_time, escaped, line_of
from japronto.config import ACCESS_FORMATS, ServerConfig
from japronto.errors import StartError, UsageError
from japronto.interfaces import Target
from japronto.messages import Framing, RequestHead
from japronto.server import Server, new_loop

WAIT_SECONDS = 60

# Lines without a server

def entry(target: bytes = b"/", section: bytes = b"\n", remote: str | None = "192.0.2.7",
          response: Response | None = None, seconds: float = 1.25) -> Entry:
    """Of a request as a parser makes it, and the answer to it."""
    transport = types.SimpleNamespace(get_extra_info=lambda name: remote and (remote, 4711))
    connection: Any = types.SimpleNamespace(
        host=types.SimpleNamespace(transport=transport, proxies=None), streaming=None, sent=0,
        service=types.SimpleNamespace(request_id=lambda request: "the-id"))
    path, mark, query = target.decode().partition("?")
    head = RequestHead("GET", target, path, query if mark else None, 1, section, Framing(None, True))
    request = Request(head, Target(print, None, None, False, 0), connection, cast(Any, None))
    request.response = response or Response(text="hello")
    return Entry(request, seconds, lambda entry: "")


def line(text: str, *arguments: Any, query: bool = True, **options: Any) -> str:
    return line_of(text, query)(entry(*arguments, **options))


@pytest.mark.parametrize(("text", "expected"), [
    ("%(h)s %(l)s %(u)s", "192.0.2.7 - -"),
    ("%(r)s|%(m)s|%(U)s|%(q)s|%(H)s", "GET /a%20b?c=d HTTP/1.1|GET|/a%20b|c=d|HTTP/1.1"),
    ("%(s)s %(b)s %(B)s", "200 5 5"),
    ("%(T)s %(M)s %(D)s %(L)s", "1 1250 1250000 1.250000"),
    ("%(f)s|%(a)s|%({X-One}i)s|%({x-two}i)s", "http://e/?x|curl|1, 2|-"),
    ("%({content-type}o)s|%({content-length}o)s", "text/plain; charset=utf-8|5"),
    ("%({x-three}o)s|%({X-FOUR}o)s", "3|-"),
    ("100 %% %(id)s %(fault)s", "100 % the-id -"),
])
def test_atoms(text: str, expected: str) -> None:
    section = b"\nReferer: http://e/?x\r\nUser-Agent: curl\r\nX-One: 1\r\nX-One: 2\r\n"
    answer = Response(text="hello", headers={"X-Three": "3"})
    assert line(text, b"/a%20b?c=d", section, response=answer) == expected


def test_what_is_not_there_is_a_dash() -> None:
    assert line("%(h)s %(f)s %(a)s %(b)s", remote=None, response=Response()) == "- - - -"
    assert line("%(q)s|%(B)s", response=Response(204)) == "|0"


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "America/St_Johns"])
def test_times(monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    """Apache's is local, that of JSON is UTC; both name the same moment, when the request came."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    _local_time.cache_clear()
    try:
        before = datetime.now().astimezone() - timedelta(seconds=1.25)
        made = line_of("%(t)s %(p)s")(entry())
        stamp = json.loads(line("json"))["time"]
    finally:
        monkeypatch.undo()
        time.tzset()
        _local_time.cache_clear()
    matched = re.fullmatch(r"\[(.*)\] <\d+>", made)
    assert matched
    apache = datetime.strptime(matched[1], "%d/%b/%Y:%H:%M:%S %z")
    assert apache.utcoffset() == before.utcoffset()
    assert abs(apache - before) < timedelta(seconds=30)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", stamp)
    assert abs(datetime.fromisoformat(stamp) - before) < timedelta(seconds=30)


def test_json() -> None:
    section = 'User-Agent: "\\\xe9\t\r\nReferer: http://e/?secret\r\n'.encode("latin-1")
    values = json.loads(line("json", b"/x?y", b"\n" + section))
    assert values.pop("time")
    assert values == {
        "remote": "192.0.2.7", "method": "GET", "target": "/x?y", "version": "1.1", "status": 200, "bytes": 5,
        "duration": 1.25, "request_id": "the-id", "user_agent": '"\\\xe9', "referer": "http://e/?secret"}


def test_queries_are_left_out() -> None:
    section = b"\nReferer: http://e/p?secret\r\n"
    for name in ACCESS_FORMATS:
        assert "secret" not in line(name, b"/x?secret", section, query=False)
    assert line("%(r)s|%(q)s|%(U)s|%(f)s", b"/x?secret", section, query=False) == (
        "GET /x HTTP/1.1||/x|http://e/p")


def test_credentials_are_nowhere() -> None:
    section = b"".join(b"%b: hunter2\r\n" % name.encode() for name in SECRET_FIELDS)
    answer = Response(text="x", headers={"Set-Cookie": "hunter2"}, cookies={"a": "hunter2"})
    for name in (*ACCESS_FORMATS, "%(u)s %({x}i)s %({set-cookies}o)s"):
        assert "hunter2" not in line(name, b"/", b"\n" + section, response=answer)


@pytest.mark.parametrize(("text", "fault"), [
    ("", "must be common, combined, timed, json or a text with atoms, such as %(h)s"),
    ("combinde", "must be common, combined, timed, json or a text with atoms, such as %(h)s"),
    ("%(h)s %(x)s", "has %(x)s, which is no atom; they are %(h)s "),
    ("%({path}e)s", "has %({path}e)s, which is no atom"),
    ("%h %u", "must have atoms like %(h)s, and %h is %(h)s here"),
    ("%(h)s 5%", "must have atoms like %(h)s, and a per cent sign is %%"),
    ("%(h)", "must have atoms like %(h)s, and a per cent sign is %%"),
    ("%(D)d", "must have atoms like %(h)s, and a per cent sign is %%"),
    ("%({Authorization}i)s", "has %({Authorization}i)s, but authorization holds credentials"),
    ("%({cookie}i)s", "has %({cookie}i)s, but cookie holds credentials"),
    ("%({proxy-authorization}i)s", "has %({proxy-authorization}i)s, but"),
    ("%({Set-Cookie}o)s", "has %({Set-Cookie}o)s, but"),
])
def test_what_is_no_format(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(fault)}"):
        line_of(text)


@pytest.mark.parametrize(("text", "expected"), [
    ("plain / text", "plain / text"),
    ('a"b\\c', r'a\"b\\c'),
    ("\r\n\0\x1b\x7f", r"\x0d\x0a\x00\x1b\x7f"),
    ("caf\xe9", r"caf\xe9"),
    ("\u20ac\U0001f600", r"\xe2\x82\xac\xf0\x9f\x98\x80"),
])
def test_escaping(text: str, expected: str) -> None:
    assert escaped(text) == expected


@given(st.text(st.characters(max_codepoint=255, blacklist_characters="\r\n\0")), st.text())
@settings(max_examples=100, deadline=None)
def test_no_line_can_be_forged(value: str, remote: str) -> None:
    """Whatever a client sends, a reader of the line finds it in the place where it belongs."""
    section = f"\nUser-Agent: {value}\r\nReferer: {value}\r\n".encode("latin-1")
    made = line("combined", b"/", section, remote="h")
    assert made.isascii()
    assert made.isprintable()
    *_, referer, agent = shlex.split(made)
    assert referer == agent
    assert '"' not in re.sub(r"\\.", "", escaped(remote))
    assert json.loads(line("json", b"/", section, remote=remote))["remote"] == (remote or None)
    assert line("json", b"/", section, remote=remote).isascii()


def test_the_page_names_all() -> None:
    page = (Path(__file__).parent.parent / "docs" / "logging.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`%\((\w+)\)s`", page)) == set(ATOMS)
    assert {f"`{name}`" for name in ACCESS_FORMATS} <= set(re.findall(r"`\w+`", page))
    assert all(f"`%({{{name}}}i)s`" in page or f"`{name}`" in page for name in SECRET_FIELDS)
    example = json.loads("".join(re.findall(r"^```json\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)))
    assert list(example) == list(json.loads(line("json")))
    assert FORMATS["common"] in page


# Lines of a server

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=["uvloop", "asyncio"])
def run(request: pytest.FixtureRequest) -> Run:
    def run_to_the_end(coroutine: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=lambda: new_loop(request.param)) as runner:
            runner.run(asyncio.wait_for(coroutine, WAIT_SECONDS))
    return run_to_the_end


@pytest.fixture(autouse=True)
def untouched() -> Iterator[None]:
    """The logger is as it was once the server has gone."""
    logger = logging.getLogger("japronto.access")
    yield
    assert (logger.handlers, logger.propagate) == ([], True)


def program(**options: Any) -> Application:
    app = Application(**options)

    @app.get("/hello")
    def hello(request: Request) -> Response:
        return request.Response(text="hello")

    @app.get("/late")
    async def late(request: Request) -> Response:
        await asyncio.sleep(0.05)
        return request.Response(text="late")

    @app.get("/never")
    async def never(request: Request) -> Response:
        app.started.set()  # type: ignore[attr-defined]
        await asyncio.Event().wait()
        raise AssertionError

    @app.get("/stream")
    def stream(request: Request) -> Response:
        return request.Response(body=(b"x" * 1000 for _ in range(5)))

    @app.get("/endless")
    def endless(request: Request) -> Response:
        async def pieces() -> Any:
            yield b"x" * 1000
            app.started.set()  # type: ignore[attr-defined]
            await asyncio.Event().wait()
        return request.Response(202, body=pieces())

    @app.post("/post")
    def post(request: Request) -> Response:
        return request.Response(json=request.id)

    return app


async def start(app: Application, directory: Path, text: str = "json") -> Server:
    """A server with an access log in the file ``log``."""
    return await app.start_server(port=0, access_log=True, access_log_file=str(directory / "log"),
                                  access_log_format=text)


async def exchange(port: int | None, *pieces: bytes) -> bytes:
    """What comes back until the server closes; the pieces are sent at some distance."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(0.03 * (len(pieces) > 1))
    received = await reader.read()
    writer.close()
    return received


def logged(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_what_was_served(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with await start(program(), tmp_path) as server:
            get = b"GET /%b HTTP/1.1\r\nHost: h\r\n\r\n"
            await exchange(server.port, get % b"hello?a" + get % b"late" + get % b"stream" + get % b"nowhere"
                           + b"HEAD /hello HTTP/1.1\r\nHost: h\r\n\r\nGET /hello HTTP/1.0\r\nHost: h\r\n\r\n")
    run(main())
    lines = logged(tmp_path / "log")
    names = ("method", "target", "version", "status", "bytes")
    assert [tuple(line[name] for name in names) for line in lines] == [
        ("GET", "/hello?a", "1.1", 200, 5), ("GET", "/late", "1.1", 200, 4),
        ("GET", "/stream", "1.1", 200, 5000), ("GET", "/nowhere", "1.1", 404, 9),
        ("HEAD", "/hello", "1.1", 200, 0), ("GET", "/hello", "1.0", 200, 5)]
    assert {line["remote"] for line in lines} == {"127.0.0.1"}
    assert len({line["request_id"] for line in lines}) == 6
    assert lines[0]["duration"] <= lines[1]["duration"]
    assert lines[1]["duration"] >= 0.04
    assert lines[2]["duration"] >= 0.04, "it has waited for the one ahead"


def test_the_time_of_a_head_that_trickles(run: Run, tmp_path: Path) -> None:
    """It runs from the first octet; for the request behind, from its own."""
    async def main() -> None:
        async with await start(program(), tmp_path) as server:
            await exchange(server.port, b"GET /hello HT", b"TP/1.1\r\nHost:", b" h\r\n\r\nGET /he",
                           b"llo HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            await exchange(server.port, b"POST /post HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n",
                           b"x", b"xGET /hello HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    run(main())
    lines = logged(tmp_path / "log")
    assert all(line["duration"] >= least for line, least in zip(lines, (0.05, 0.02, 0.05, 0), strict=True))
    first, second, post, behind = (datetime.fromisoformat(line["time"]).timestamp() for line in lines)
    assert second - first >= 0.05  # Two pauses of 0.03, by clocks that differ a little.
    assert behind - post >= 0.05


REFUSED = [
    (b"GE T /x HTTP/1.1\r\n\r\n", (None, None, None, 400)),
    (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n", (None, None, None, 414)),
    (b"GET /x HTTP/1.1\r\nA: " + b"b" * 70000 + b"\r\n\r\n", (None, None, None, 431)),
    (b"GET /x HTTP/3.7\r\n\r\n", (None, None, None, 505)),
    (b"GET /x?y HTTP/1.1\r\n\r\n", ("GET", "/x?y", "1.1", 400)),
    (b"POST /post HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", ("POST", "/post", "1.0", 400)),
    (b"POST /post HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999\r\n\r\n", ("POST", "/post", "1.1", 413)),
    (b"POST /post HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nz", ("POST", "/post", "1.1", 400)),
    (b"GET /x HT", (None, None, None, 408)),
    (b"POST /post HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nx", ("POST", "/post", "1.1", 408)),
]


def test_what_was_refused(run: Run, tmp_path: Path) -> None:
    seen: list[Request] = []

    async def main() -> None:
        timeouts = Timeouts(head_seconds=0.1, content_seconds=0.1, check_seconds=0.02, linger_seconds=0.1)
        async with await start(program(timeouts=timeouts, log_request=seen.append), tmp_path) as server:
            for octets, _ in REFUSED:
                assert b"Connection: close" in await exchange(server.port, octets)
    run(main())
    lines = logged(tmp_path / "log")
    assert [(line["method"], line["target"], line["version"], line["status"]) for line in lines] == [
        expected for _, expected in REFUSED]
    assert all(line["fault"] and line["remote"] == "127.0.0.1" and line["bytes"] for line in lines)
    assert lines[0]["fault"] == "The request line is malformed."
    assert all(line["duration"] >= 0.1 for line in lines[-2:])
    assert seen == [], "functions of 2017 hear of requests alone"


def test_refusals_in_text(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with await start(program(), tmp_path, '"%(r)s" %(m)s %(U)s %(q)s %(H)s %(s)s %(a)s') as server:
            await exchange(server.port, b"\x16\x03\x01")
            await exchange(server.port, b"GET /x?y HTTP/1.1\r\n\r\n")
    run(main())
    assert (tmp_path / "log").read_text() == (
        '"-" - -  - 400 -\n"GET /x?y HTTP/1.1" GET /x y HTTP/1.1 400 -\n')


@pytest.mark.parametrize(("target", "expected"), [("never", (499, 0)), ("endless", (202, 1000))])
def test_a_client_that_goes_away(run: Run, tmp_path: Path, target: str, expected: tuple[int, int]) -> None:
    """An answer that has begun to leave has its status, and what was sent of its content."""
    async def main() -> None:
        app = program()
        app.started = asyncio.Event()  # type: ignore[attr-defined]
        async with await start(app, tmp_path) as server:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            request = b"GET /%b HTTP/1.1\r\nHost: h\r\n\r\n" % target.encode()
            writer.write(request * 2)
            await app.started.wait()  # type: ignore[attr-defined]
            reset(writer)
            while server.worker.protocols:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.01)
    run(main())
    lines = logged(tmp_path / "log")
    assert [(line["status"], line["bytes"]) for line in lines] == [expected, (499, 0)]
    assert {line["remote"] for line in lines} == {"127.0.0.1"}, "it is known though the client is gone"


def reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()


def test_more_requests_than_are_taken_at_once(run: Run, tmp_path: Path) -> None:
    """Those that had to wait for room have a line as well, in order."""
    async def main() -> None:
        async with await start(program(limits=Limits(pipelined_requests=2)), tmp_path, "%(q)s") as server:
            await exchange(server.port, b"".join(b"GET /hello?%d HTTP/1.1\r\nHost: h\r\n\r\n" % number
                                                 for number in range(20))
                           + b"GET /hello?last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    run(main())
    assert (tmp_path / "log").read_text().split() == [*map(str, range(20)), "last"]


def test_two_servers_have_logs_of_their_own(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        first = await program().start_server(port=0, access_log=True, access_log_file=str(tmp_path / "1"))
        second = await program().start_server(port=0, access_log=True, access_log_file=str(tmp_path / "2"))
        for server in (first, second):
            await exchange(server.port, b"GET /%d HTTP/1.0\r\n\r\n" % (server.port or 0))
            await server.close()
        for server, name in ((first, "1"), (second, "2")):
            lines = (tmp_path / name).read_text()
            assert lines.count(f'"GET /{server.port} HTTP/1.0" 404 9 "-" "-" 0.') == lines.count("\n") == 1
    run(main())


def test_handlers_of_the_program(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    """They are given entries, which have all that a line may be made of; nothing is written elsewhere."""
    entries: list[Any] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            made: Any = record.msg
            entries.append((record.getMessage(), made.status, made.request.path))

    logger, handler = logging.getLogger("japronto.access"), Handler()
    logger.addHandler(handler)

    async def main() -> None:
        async with await program().start_server(port=0, access_log=True, access_log_format="%(s)s") as server:
            await exchange(server.port, b"GET /hello HTTP/1.0\r\n\r\n")
    try:
        run(main())
    finally:
        logger.removeHandler(handler)
    assert entries == [("200", 200, "/hello")]
    assert capfd.readouterr() == ("", "")


def test_a_filter_that_fails(run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No request fails for it."""
    def fails(record: logging.LogRecord) -> bool:
        raise LookupError("lost")

    logger = logging.getLogger("japronto.access")
    logger.addFilter(fails)

    async def main() -> None:
        async with await start(program(), tmp_path) as server:
            assert (await exchange(server.port, b"GET /hello HTTP/1.0\r\n\r\n")).endswith(b"hello")
    try:
        run(main())
    finally:
        logger.removeFilter(fails)
    assert caplog.messages == ["A line of the access log failed"]


def test_it_is_off_unless_it_is_asked_for(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with await program().start_server(port=0, access_log_file=str(tmp_path / "log")) as server:
            await exchange(server.port, b"GET /hello HTTP/1.0\r\n\r\n")
            assert server.worker.access_log is None
    run(main())
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize(("options", "error", "reason"), [
    ({"access_log_format": "%(x)s"}, UsageError,
     r"the format of the access log has %\(x\)s, which is no atom"),
    ({"access_log_file": "/nowhere/log"}, StartError,
     r"cannot write the access log to /nowhere/log: No such file or directory; choose another path"),
    ({"access_log_file": "/"}, StartError, "cannot write the access log to /: Is a directory"),
    ({"access_log_file": "a\0b"}, StartError, "cannot write the access log to a\0b: embedded null byte"),
])
def test_what_keeps_a_server_from_starting(run: Run, options: dict[str, Any], error: type[Exception],
                                           reason: str) -> None:
    async def main() -> None:
        app = program()
        with pytest.raises(error, match=f"^{reason}"):
            await app.start_server(port=0, access_log=True, **options)
        assert app._loop is None
    run(main())


# Request ids

def test_the_id_of_a_request(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        app = program(request_id_header="X-Request-ID")
        shared = Response(text="shared", headers={"X-Other": "1"})
        app.get("/shared")(lambda request: shared)
        async with await start(app, tmp_path, "%(id)s") as server:
            get = b"GET /%b HTTP/1.1\r\nHost: h\r\nX-Request-ID: %b\r\n\r\n"
            received = await exchange(
                server.port, get % (b"shared", b"one") + get % (b"shared", b"two")
                + get % (b"late", b"a:b/c=")
                + get % (b"nowhere", b"four") + get % (b"hello", b"un safe") + get % (b"hello", b"x" * 129)
                + b"GET /hello HTTP/1.0\r\n\r\n")
        assert shared.fields == [("X-Other", "1")], "a response of the program's own stays as it is"
        sent = re.findall(rb"^X-Request-ID: (.*)\r$", received, re.MULTILINE)
        assert sent[:4] == [b"one", b"two", b"a:b/c=", b"four"]
        assert all(re.fullmatch(rb"[0-9a-f]{32}", made) for made in sent[4:])
        assert len(sent) == len(set(sent)) == 7
        assert (tmp_path / "log").read_text().encode().split() == sent
    run(main())


@pytest.mark.parametrize("lane", [True, False])
def test_ids_are_believed_only_when_that_was_asked_for(run: Run, lane: bool) -> None:
    async def main() -> None:
        app = program(log_request=None if lane else lambda request: None)
        app.get("/id")(lambda request: request.Response(text=f"{request.id}{request.id == request.id}"))
        async with await app.start_server(port=0) as server:
            get = b"GET /id HTTP/1.1\r\nHost: h\r\nX-Request-ID: one\r\n\r\n"
            received = await exchange(server.port, get * 2 + b"GET /id HTTP/1.0\r\n\r\n")
        found = re.findall(rb"^([0-9a-f]{32})True", received, re.MULTILINE)
        assert len(found) == len(set(found)) == 3
        assert b"X-Request-ID" not in received
    run(main())


def test_answers_of_all_kinds_have_the_id(run: Run) -> None:
    async def main() -> None:
        app = program()
        app.request_id_header = "X-Request-ID"

        @app.get("/fails/{name}")
        async def fails(request: Request) -> Response:
            raise {"key": KeyError, "lookup": LookupError}[request.match_dict["name"]]

        async def handled(request: Request, error: BaseException) -> Response:
            return Response(409)

        app.add_error_handler(KeyError, handled)
        app.add_error_handler(LookupError, lambda request, error: Response(410))
        app.get("/nothing")(lambda request: None)
        app.add_error_handler(None, lambda request, error: Response(411))
        async with await app.start_server(port=0) as server:
            received = await exchange(server.port, b"".join(
                b"GET /%b HTTP/1.1\r\nHost: h\r\nX-Request-ID: %b\r\n\r\n" % (path, path.replace(b"/", b"-"))
                for path in (b"stream", b"fails/key", b"fails/lookup", b"nothing"))
                + b"OPTIONS /hello HTTP/1.0\r\nX-Request-ID: options\r\n\r\n")
        statuses = re.findall(rb"^HTTP/1.1 (\d+)", received, re.MULTILINE)
        assert statuses == [b"200", b"409", b"410", b"411", b"204"]
        assert re.findall(rb"^X-Request-ID: (.*)\r$", received, re.MULTILINE) == [
            b"stream", b"fails-key", b"fails-lookup", b"nothing", b"options"]
    run(main())


def test_a_name_that_is_none() -> None:
    with pytest.raises(ValueError, match=r"^'X Y' cannot be the name of a field"):
        Application(request_id_header="X Y")


@pytest.mark.parametrize("name", ["Content-Length", "Transfer-Encoding", "connection", "Date", "Set-Cookie"])
def test_a_field_that_means_something_else(name: str) -> None:
    said = f"^request_id_header must be a field without a meaning of its own, .*; it is '{name}'$"
    with pytest.raises(ValueError, match=said):
        Application(request_id_header=name)
    with pytest.raises(UsageError, match=said):
        ServerConfig(request_id_header=name)
