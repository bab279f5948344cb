"""The client without a socket: what it sends, what it makes of what comes back, and its loop."""

from __future__ import annotations

import asyncio
import io
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

import japronto
from japronto import Application, BadRequest, Limits, Request, Response, Timeouts
from japronto.testing import READ_BYTES, BrokenResponse, Client, File, TestResponse

GET = b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"
LAST_GET = b"GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def show(request: Request) -> Response:
    """Tells what came."""
    return Response(json={
        "method": request.method,
        "target": request.target,
        "path": request.path,
        "query": list(request.query.items()),
        "fields": [[name, value] for name in request.headers for value in request.headers.getall(name)],
        "cookies": request.cookies,
        "body": None if request.body is None else request.body.decode("latin-1"),
        "form": request.form,
        "files": request.files,
        "remote_addr": request.remote_addr,
    })


def application() -> Application:
    app = Application()
    app.add_route("/show", show)
    app.add_route("/show/{rest:path}", show)

    @app.get("/hello")
    def hello(request: Request) -> Response:
        return Response(text="Hello world!")

    return app


@pytest.fixture
def client() -> Client:
    return Client(application())


def shown(response: TestResponse) -> dict[str, Any]:
    assert response.status == 200, response
    return cast("dict[str, Any]", response.json())


# What is sent

@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete", "options"])
def test_a_function_for_each_method(client: Client, method: str) -> None:
    assert shown(getattr(client, method)("/show"))["method"] == method.upper()


def test_head(client: Client) -> None:
    response = client.head("/hello")
    assert (response.status, response.headers["Content-Length"], response.body) == (200, "12", b"")


def test_any_method(client: Client) -> None:
    client.app.add_route("/any", show, "PROPFIND")
    assert shown(client.request("PROPFIND", "/any"))["method"] == "PROPFIND"


def test_nothing_is_sent_that_was_not_asked_for(client: Client) -> None:
    """But Host, without which it would be no request."""
    assert shown(client.post("/show")) == {
        "method": "POST", "target": "/show", "path": "/show", "query": [], "fields": [["Host", "testserver"]],
        "cookies": {}, "body": None, "form": None, "files": None, "remote_addr": "127.0.0.1"}


@pytest.mark.parametrize(("target", "query", "sent"), [
    ("/show", {"a": 1, "b": "ž &"}, "/show?a=1&b=%C5%BE+%26"),
    ("/show", [("a", 1), ("a", 2)], "/show?a=1&a=2"),
    ("/show", {}, "/show"),
    ("/show?a=1", {}, "/show?a=1"),
    ("/show?a=1", {"b": 2}, "/show?a=1&b=2"),
    ("/show/São Paulo", {}, "/show/S%C3%A3o%20Paulo"),
    ("/show/100%25/\"<!>", {}, "/show/100%25/\"<!>"),
])
def test_the_target(client: Client, target: str, query: Any, sent: str) -> None:
    assert shown(client.get(target, query=query))["target"] == sent


def test_the_fields(client: Client) -> None:
    """Repeated names are lines of their own; what is given replaces what the client would send."""
    fields = shown(client.post("/show", json=1, headers=[
        ("X-Mark", "é"), ("host", "example.org:81"), ("X-Mark", 2), ("content-type", "a/b")]))["fields"]
    assert fields == [["Content-Length", "1"], ["X-Mark", "é"], ["X-Mark", "2"], ["Host", "example.org:81"],
                      ["Content-Type", "a/b"]]


@pytest.mark.parametrize(("options", "body", "fields"), [
    ({"body": b"\x00\xff"}, "\x00\xff", {"Content-Length": "2"}),
    ({"body": b""}, "", {"Content-Length": "0"}),
    ({"body": bytearray(b"abc")}, "abc", {"Content-Length": "3"}),
    ({"body": [b"ab", b"", b"c"]}, "abc", {"Transfer-Encoding": "chunked"}),
    ({"body": []}, "", {"Transfer-Encoding": "chunked"}),
    ({"json": {"a": [1, "ž"]}}, '{"a": [1, "\\u017e"]}',
     {"Content-Type": "application/json", "Content-Length": "20"}),
    ({"json": 0}, "0", {"Content-Type": "application/json", "Content-Length": "1"}),
    ({"form": {"a": 1, "b": "ž&"}}, "a=1&b=%C5%BE%26",
     {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": "15"}),
    ({"form": {}}, "", {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": "0"}),
])
def test_the_content(client: Client, options: dict[str, Any], body: str, fields: dict[str, str]) -> None:
    request = shown(client.post("/show", **options))
    assert request["body"] == body
    assert dict(request["fields"]) == {"Host": "testserver", **fields}


def test_a_form_with_files(client: Client) -> None:
    photo = File("image/png", b"\r\n--\x00", 'my "best"\r\n.png')

    def take(request: Request) -> Response:
        assert request.form is not None
        assert request.files is not None
        assert request.body is not None
        assert b'name="photo"; filename="my %22best%22%0D%0A.png"\r\n' in request.body
        assert b'name="no%0Dt%22es"; filename=""\r\n' in request.body
        return Response(json=[request.form, request.files["photo"] == photo, request.files['no\rt"es'].type])

    client.app.add_route("/photo", take)
    response = client.post("/photo", form=[("name", "ž"), ('si"ze', 3)],
                           files={"photo": photo, 'no\rt"es': File("text/plain", b"", "")})
    assert response.json() == [{"name": "ž", 'si"ze': "3"}, True, "text/plain"]


@pytest.fixture
def uploads(client: Client) -> Client:
    """A client of something that tells which files came, in the order of their fields."""
    def take(request: Request) -> Response:
        assert request.files is not None
        return Response(json=[[name, file.name, file.type, file.body.decode()]
                              for name in request.files for file in request.files.getall(name)])

    client.app.add_route("/upload", take, "POST")
    return client


OCTETS = "application/octet-stream"


@pytest.mark.parametrize(("file", "arrived"), [
    (b"ab", ["photo", OCTETS, "ab"]),
    (("a.png", b"ab"), ["a.png", OCTETS, "ab"]),
    (("a.png", b"ab", "image/png"), ["a.png", "image/png", "ab"]),
    (File("image/png", b"ab", "a.png"), ["a.png", "image/png", "ab"]),
    (io.BytesIO(b"ab"), ["photo", OCTETS, "ab"]),
])
def test_what_a_file_can_be(uploads: Client, file: Any, arrived: list[str]) -> None:
    assert uploads.post("/upload", files={"photo": file}).json() == [["photo", *arrived]]
    assert japronto.File is File


def test_a_file_that_is_open(uploads: Client, tmp_path: Path) -> None:
    path = tmp_path / "a photo.png"
    path.write_bytes(b"0123456789")
    with path.open("rb") as file:
        file.seek(4)
        assert uploads.post("/upload", files={"photo": file}).json() == [
            ["photo", "a photo.png", OCTETS, "456789"]]
    with os.fdopen(os.open(path, os.O_RDONLY), "rb") as nameless:
        assert uploads.post("/upload", files={"photo": nameless}).json()[0][:2] == ["photo", "photo"]


def test_files_of_one_name(uploads: Client) -> None:
    files = [("page", ("1.txt", b"one")), ("cover", b"c"), ("page", ("2.txt", b"two"))]
    assert uploads.post("/upload", files=cast(Any, files)).json() == [
        ["page", "1.txt", OCTETS, "one"], ["page", "2.txt", OCTETS, "two"], ["cover", "cover", OCTETS, "c"]]


@pytest.mark.parametrize("file", ["text", None, 5, ("a.png",), ("a.png", "text"), (b"a.png", b"ab"),
                                  ("a.png", b"ab", None), ("a.png", b"ab", "image/png", 1), io.StringIO("x")])
def test_what_is_no_file(uploads: Client, file: Any) -> None:
    with pytest.raises(TypeError, match=r"^the file photo must be bytes, \(name, bytes\), .*; it is "):
        uploads.post("/upload", files={"photo": file})


@pytest.mark.parametrize("options", [
    {"body": b"", "json": 0}, {"json": 0, "form": {}}, {"body": b"", "files": {}}])
def test_one_content_at_most(client: Client, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="only one"):
        client.post("/show", **options)


@pytest.mark.parametrize("body", ["text", {"a": 1}, 1])
def test_what_is_no_content(client: Client, body: Any) -> None:
    with pytest.raises(TypeError, match=f"not {type(body).__name__}"):
        client.post("/show", body=body)


def test_cookies(client: Client) -> None:
    """They are sent where they are given, and not kept."""
    def login(request: Request) -> Response:
        response = Response(303, headers={"Location": "/show"})
        response.headers.add("Set-Cookie", 'user="a b"; Path=/; HttpOnly')
        response.headers.add("Set-Cookie", "theme=dark")
        return response

    client.app.add_route("/login", login)
    response = client.post("/login")
    assert (response.status, response.headers["Location"]) == (303, "/show")
    assert response.cookies["user"]["path"] == "/"
    assert response.cookies["user"]["httponly"] is True
    assert shown(client.get("/show"))["cookies"] == {}
    assert shown(client.get("/show", cookies=response.cookies))["cookies"] == {"user": "a b", "theme": "dark"}
    assert shown(client.get("/show", cookies={"a": "1; b=2"}))["cookies"] == {"a": "1; b=2"}


def test_the_address_of_the_client() -> None:
    client = Client(application(), peername=("203.0.113.9", 4711))
    assert shown(client.get("/show"))["remote_addr"] == "203.0.113.9"


def test_flow_control_of_what_is_sent() -> None:
    """The server reads no more than it has room for until the handler takes it."""
    app = Application(limits=Limits(content_buffer_bytes=2 * READ_BYTES))
    taken = 0
    seen = []

    def pieces() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(20):
            taken += 1
            yield bytes(READ_BYTES)

    @app.post("/", stream=True)
    async def slow(request: Request) -> Response:
        for _ in range(100):
            await asyncio.sleep(0)
        seen.append(taken)
        return Response(text=str(len(await request.read())))

    assert Client(app).post("/", body=pieces()).text == str(20 * READ_BYTES)
    assert seen[0] <= 5
    assert taken == 20


def test_large_content_arrives_in_reads() -> None:
    app = Application()

    @app.post("/", stream=True)
    async def sizes(request: Request) -> Response:
        return Response(json=[len(piece) async for piece in request.stream()])

    sizes_of_pieces = Client(app).post("/", body=bytes(3 * READ_BYTES)).json()
    assert sum(sizes_of_pieces) == 3 * READ_BYTES
    assert max(sizes_of_pieces) == READ_BYTES


def test_an_answer_ahead_of_the_end_of_the_content() -> None:
    app = Application(limits=Limits(unread_content_bytes=1))

    @app.post("/", stream=True)
    async def refuse(request: Request) -> Response:
        raise BadRequest("not so much")

    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(READ_BYTES)

    response = Client(app).post("/", body=endless())
    assert (response.status, response.text, response.headers["Connection"]) == (400, "not so much", "close")


def test_content_that_cannot_be_had(client: Client) -> None:
    def broken() -> Iterator[bytes]:
        yield b"good so far"
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match=r"^mine$"):
        client.post("/show", body=broken())


# What comes back

def test_an_answer(client: Client) -> None:
    response = client.get("/hello")
    assert (response.status, response.reason, response.body, response.text) == (
        200, "OK", b"Hello world!", "Hello world!")
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert list(response.headers) == ["Content-Type", "Content-Length", "Date"]
    assert dict(response.trailers) == {}


def test_the_connection_stays_open_until_the_answer_is_there(client: Client) -> None:
    """Else the server would announce its end."""
    @client.app.get("/slow")
    async def slow(request: Request) -> Response:
        await asyncio.sleep(0.02)
        return Response(text="slow")

    assert "Connection" not in client.get("/slow").headers


def test_text_in_another_charset(client: Client) -> None:
    client.app.add_route("/latin", lambda request: Response(text="Já pronto!", encoding="iso-8859-1"))
    response = client.get("/latin")
    assert response.body == b"J\xe1 pronto!"
    assert response.text == "Já pronto!"


def test_text_without_a_charset(client: Client) -> None:
    client.app.add_route("/octets", lambda request: Response(body="é".encode()))
    assert client.get("/octets").text == "é"


def test_a_handler_that_fails(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    client.app.add_route("/fail", lambda request: 1 / 0)
    response = client.get("/fail")
    assert (response.status, response.text) == (500, "Internal Server Error")
    assert caplog.records[-1].exc_info is not None
    assert caplog.records[-1].exc_info[0] is ZeroDivisionError


def test_a_large_stream(client: Client) -> None:
    """Larger than what may wait unsent, so that the server has to pause."""
    client.app.limits = Limits(unsent_bytes=READ_BYTES)
    pieces = [bytes([number]) * READ_BYTES for number in range(50)]
    client.app.add_route("/stream", lambda request: Response(body=iter(pieces)))
    assert client.get("/stream").body == b"".join(pieces)


def test_pytest_does_not_take_an_answer_for_tests() -> None:
    assert TestResponse.__test__ is False


class Canned(asyncio.Protocol):
    """Answers the first octets with others, whatever they are, and closes."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(self.answer)
        self.transport.close()


def canned(answer: bytes) -> Client:
    return Client(Application(protocol_factory=lambda app: Canned(answer)))


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(("method", "answer", "status", "body"), [
    ("GET", OK + b"Content-Length: 3\r\n\r\nabc", 200, b"abc"),
    ("GET", OK + b"content-LENGTH:003\t\r\n\r\nabc", 200, b"abc"),
    ("GET", b"HTTP/1.1 299 \r\nContent-Length: 0\r\n\r\n", 299, b""),
    ("GET", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
     + OK + b"Content-Length: 1\r\n\r\na", 200, b"a"),
    ("GET", OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nab\n\r\n0a\r\n0123456789\r\n0\r\n\r\n", 200,
     b"ab\n0123456789"),
    ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    ("GET", b"HTTP/1.1 304 Not Modified\r\n\r\n", 304, b""),
    ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", 304, b""),
    ("HEAD", OK + b"Content-Length: 3\r\n\r\n", 200, b""),
    ("HEAD", OK + b"Transfer-Encoding: chunked\r\n\r\n", 200, b""),
    ("GET", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nall of this is x", 101, b""),
    ("CONNECT", OK + b"\r\nall of this is of the tunnel", 200, b""),
    ("CONNECT", b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 1\r\n\r\na", 405, b"a"),
])
def test_complete_answers(method: str, answer: bytes, status: int, body: bytes) -> None:
    response = canned(answer).request(method, "/")
    assert (response.status, response.body) == (status, body)


def test_trailers() -> None:
    response = canned(OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\nA: 1\r\nB: 2\r\n\r\n").get("/")
    assert dict(response.trailers) == {"A": "1", "B": "2"}
    assert "A" not in response.headers


@pytest.mark.parametrize(("method", "answer", "fault"), [
    ("GET", b"", "closed before"),
    ("GET", OK + b"Content-Length: 3\r\n", "closed before"),
    ("GET", OK + b"Content-Length: 3\r\n\r\nab", "closed before"),
    ("GET", OK + b"Content-Length: 3\r\n\r\nabcd", "follows the answer: b'd'"),
    ("GET", b"HTTP/1.1 100 Continue\r\n\r\n", "closed before"),
    ("GET", b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", "head"),
    ("GET", b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "head"),
    ("GET", b"HTTP/1.1 600 Odd\r\nContent-Length: 0\r\n\r\n", "head"),
    ("GET", b"HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n", "head"),
    ("GET", b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "head"),
    ("GET", OK + b"Content-Length : 0\r\n\r\n", "head"),
    ("GET", OK + b"A: b\nContent-Length: 0\r\n\r\n", "head"),
    ("GET", OK + b"A: b\r\n c\r\nContent-Length: 0\r\n\r\n", "head"),
    ("GET", OK + b"\r\nabc", "do not say how long"),
    ("GET", OK + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "do not say how long"),
    ("GET", OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc", "do not say how long"),
    ("GET", OK + b"Content-Length: +3\r\n\r\nabc", "do not say how long"),
    ("GET", OK + b"Content-Length: 3, 3\r\n\r\nabc", "do not say how long"),
    ("GET", OK + b"Transfer-Encoding: gzip\r\n\r\nabc", "do not say how long"),
    ("GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", "do not say how long"),
    ("GET", b"HTTP/1.1 204 No Content\r\n\r\na", "follows the answer"),
    ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1\r\n\r\na", "follows the answer"),
    ("GET", b"HTTP/1.1 101 Switching Protocols\r\nContent-Length: 0\r\n\r\n", "do not say how long"),
    ("HEAD", OK + b"Content-Length: 1\r\n\r\na", "follows the answer"),
    ("HEAD", OK + b"\r\n", "do not say how long"),
    ("GET", OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n", "closed before"),
    ("GET", OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", "closed before"),
    ("GET", OK + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n", "chunk-size"),
    ("GET", OK + b"Transfer-Encoding: chunked\r\n\r\n\r\n0\r\n\r\n", "chunk-size"),
    ("GET", OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", "data of a chunk"),
    ("GET", OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\nA : 1\r\n\r\n", "trailers"),
    ("GET", OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\na", "follows the answer"),
])
def test_broken_answers(method: str, answer: bytes, fault: str) -> None:
    with pytest.raises(BrokenResponse, match=fault):
        canned(answer).request(method, "/")


def test_a_stream_that_fails_on_its_way(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"good so far"
        raise KeyError("no more")

    client.app.add_route("/stream", lambda request: Response(body=broken()))
    with pytest.raises(BrokenResponse, match="closed before"):
        client.get("/stream")
    assert "ended early" in caplog.text


# Octets as they are

def statuses(octets: bytes) -> list[bytes]:
    return re.findall(rb"HTTP/1\.1 (\d+) ", octets)


def test_all_octets_that_leave(client: Client) -> None:
    octets = client.raw(GET + b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n")
    assert statuses(octets) == [b"200", b"404"]
    assert octets.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: ")
    assert octets.endswith(b"\r\n\r\nNot Found")


def test_octets_that_are_no_http(client: Client) -> None:
    octets = client.raw(b"GET / HTTP/1.1\r\n : \r\n" + GET)
    assert statuses(octets) == [b"400"]


def test_each_item_is_a_read(client: Client) -> None:
    read = []

    class Recorder(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            read.append(data)

    client.app.protocol_factory = lambda app: Recorder()
    assert client.raw(iter([b"ab", b"", b"c", bytes(READ_BYTES + 1)])) == b""
    assert read == [b"ab", b"c", bytes(READ_BYTES), b"\0"]


def test_octets_one_at_a_time(client: Client) -> None:
    assert statuses(client.raw(bytes([octet]) for octet in GET + LAST_GET)) == [b"200", b"200"]


def test_without_end_of_file_the_server_closes(client: Client) -> None:
    assert b"Connection: close" in client.raw(LAST_GET, eof=False)
    client.timeout = 0.2
    with pytest.raises(TimeoutError, match=r"did not close the connection within 0\.2 s"):
        client.raw(GET, eof=False)


def test_continue(client: Client) -> None:
    head = b"POST /show HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n"
    assert statuses(client.raw([head, b"a"])) == [b"100", b"200"]
    assert statuses(client.raw(head + b"a")) == [b"200"]


def test_the_timeouts_of_the_application_count(client: Client) -> None:
    client.app.timeouts = Timeouts(head_seconds=0.05, check_seconds=0.01)
    assert statuses(client.raw(GET[:-1], eof=False)) == [b"408"]


def test_another_protocol(client: Client) -> None:
    class Shout(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast("asyncio.Transport", transport)
            assert self.transport.get_protocol() is self

        def data_received(self, data: bytes) -> None:
            self.transport.write(data.upper())

    def shout(request: Request) -> Response:
        return Response(101, headers={"Upgrade": "shout"}, upgrade=Shout)

    client.app.add_route("/shout", shout, "GET")
    upgrade = b"GET /shout HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: shout\r\n\r\n"
    octets = client.raw([upgrade + b"abc", b"def"])
    assert statuses(octets) == [b"101"]
    assert octets.endswith(b"\r\n\r\nABCDEF")
    response = client.get("/shout", headers={"Connection": "upgrade", "Upgrade": "shout"})
    assert (response.status, response.headers["Upgrade"], response.body) == (101, "shout", b"")


# The transport

class Scripted(asyncio.Protocol):
    """Does what a test says once the connection is there, and notes what happens to it."""

    def __init__(self, script: Callable[[asyncio.Transport], object], *, stays: bool = False) -> None:
        self.script = script
        self.stays = stays
        self.notes: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.script(cast("asyncio.Transport", transport))

    def data_received(self, data: bytes) -> None:
        self.notes.append(data.decode())

    def eof_received(self) -> bool:
        self.notes.append("eof")
        return self.stays

    def pause_writing(self) -> None:
        self.notes.append("pause")

    def resume_writing(self) -> None:
        self.notes.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.notes.append(f"lost {exc}")


def played(script: Callable[[asyncio.Transport], object]) -> tuple[bytes, list[str]]:
    """What leaves, and what the protocol notes, when the client sends x, then y, then closes."""
    protocol = Scripted(script)
    octets = Client(Application(protocol_factory=lambda app: protocol)).raw([b"x", b"y"])
    return octets, protocol.notes


def test_a_protocol_that_only_listens() -> None:
    assert played(lambda transport: None) == (b"", ["x", "y", "eof", "lost None"])


def test_close_sends_what_is_written() -> None:
    def script(transport: asyncio.Transport) -> None:
        transport.write(b"a")
        transport.writelines([b"b", b"", b"c"])
        assert not transport.is_closing()
        transport.close()
        assert transport.is_closing()
        transport.write(b"too late")
        transport.close()

    assert played(script) == (b"abc", ["lost None"])


def test_abort_does_not() -> None:
    def script(transport: asyncio.Transport) -> None:
        transport.write(b"a")
        transport.close()
        transport.abort()

    assert played(script) == (b"", ["lost None"])


@pytest.mark.parametrize("octets", [b"a", b""])
def test_the_server_closes_its_side(octets: bytes) -> None:
    """That ends the exchange, whatever the protocol does about the other side."""
    def script(transport: asyncio.Transport) -> None:
        assert transport.can_write_eof()
        transport.write(octets)
        transport.write_eof()
        with pytest.raises(RuntimeError):
            transport.write(b"b")

    protocol = Scripted(script, stays=True)
    assert Client(Application(protocol_factory=lambda app: protocol)).raw(b"x") == octets
    assert protocol.notes[-1] == "lost None"


def test_writing_above_the_limit() -> None:
    """The protocol hears of it once, and again when all has gone."""
    def script(transport: asyncio.Transport) -> None:
        transport.set_write_buffer_limits(high=2)
        transport.write(b"ab")
        assert transport.get_write_buffer_size() == 2
        transport.write(b"c")
        transport.write(b"d")
        assert transport.get_write_buffer_size() == 4

    assert played(script) == (b"abcd", ["pause", "x", "resume", "y", "eof", "lost None"])


def test_the_end_above_the_limit() -> None:
    def close(transport: asyncio.Transport) -> None:
        transport.set_write_buffer_limits(high=2)
        transport.write(b"abc")
        transport.close()

    def abort(transport: asyncio.Transport) -> None:
        close(transport)
        transport.abort()

    assert played(close) == (b"abc", ["pause", "resume", "lost None"])
    assert played(abort) == (b"", ["pause", "lost None"])


@pytest.mark.parametrize("limits", [[], [{"high": 1}, {}]])
def test_the_limit_of_writing_when_none_is_set(limits: list[dict[str, int]]) -> None:
    """That of asyncio, 64 KiB."""
    def script(transport: asyncio.Transport) -> None:
        for limit in limits:
            transport.set_write_buffer_limits(**limit)
        transport.write(bytes(64 * 1024))
        assert protocol.notes == []
        transport.write(b"a")
        assert protocol.notes == ["pause"]

    protocol = Scripted(script)
    octets = Client(Application(protocol_factory=lambda app: protocol)).raw(b"x")
    assert len(octets) == 64 * 1024 + 1


def test_reading_pauses() -> None:
    """What the client sends meanwhile, its end included, is read later."""
    def script(transport: asyncio.Transport) -> None:
        assert transport.is_reading()
        transport.pause_reading()
        assert not transport.is_reading()
        asyncio.get_running_loop().call_later(0.05, later, transport)

    def later(transport: asyncio.Transport) -> None:
        protocol.notes.append("later")
        transport.resume_reading()

    protocol = Scripted(script)
    Client(Application(protocol_factory=lambda app: protocol)).raw([b"x", b"y"])
    assert protocol.notes == ["later", "x", "y", "eof", "lost None"]


def test_a_protocol_that_stays_open_behind_the_end() -> None:
    class Staying(Scripted):
        def eof_received(self) -> bool:
            asyncio.get_running_loop().call_soon(transports[0].resume_reading)
            asyncio.get_running_loop().call_later(0.02, last)
            return super().eof_received()

    def last() -> None:
        transports[0].write(b"late")
        transports[0].close()

    transports: list[asyncio.Transport] = []
    protocol = Staying(transports.append, stays=True)
    assert Client(Application(protocol_factory=lambda app: protocol)).raw(b"x") == b"late"
    assert protocol.notes == ["x", "eof", "lost None"]


def test_what_a_transport_tells() -> None:
    told: dict[str, Any] = {}

    def script(transport: asyncio.Transport) -> None:
        told.update({name: transport.get_extra_info(name, "nothing")
                     for name in ("peername", "sockname", "socket", "sslcontext")})

    played(script)
    assert told == {"peername": ("127.0.0.1", 50000), "sockname": ("127.0.0.1", 80), "socket": "nothing",
                    "sslcontext": "nothing"}


@pytest.mark.parametrize("moment", ["connection_made", "data_received", "eof_received", "connection_lost"])
def test_an_exception_in_a_protocol_is_the_clients_to_see(moment: str) -> None:
    def fail(self: object, *_: object) -> None:
        raise KeyError(moment)

    failing = type("Failing", (asyncio.Protocol,), {moment: fail})
    client = Client(Application(protocol_factory=lambda app: failing()))
    with pytest.raises(KeyError, match=moment):
        client.raw(b"x")


def test_no_handler_is_called_in_a_task(client: Client) -> None:
    """What is not async runs in no task at all, as in a server (see tasks.py)."""
    tasks: list[object] = []

    def current(request: Request) -> Response:
        tasks.append(asyncio.current_task())
        return Response()

    client.app.add_route("/current", current)
    assert client.post("/current", body=[b"a", b"b"]).status == 200
    assert tasks == [None]


# The loop, the hooks, the deadline

def hooked(notes: list[str]) -> Application:
    app = application()

    @app.on_startup
    async def up(app: Application) -> None:
        notes.append("up")

    @app.on_shutdown
    async def down(app: Application) -> None:
        notes.append("down")

    def note(request: Request) -> Response:
        notes.append(request.path)
        return Response()

    app.add_route("/note", note)
    return app


def test_hooks_run_around_a_block() -> None:
    notes: list[str] = []
    with Client(hooked(notes)) as client:
        client.get("/note")
    assert notes == ["up", "/note", "down"]


def test_a_block_may_be_left_by_an_exception_and_entered_again() -> None:
    notes: list[str] = []
    client = Client(hooked(notes))
    with pytest.raises(KeyError), client:
        raise KeyError
    with client:
        client.get("/note")
    assert notes == ["up", "down", "up", "/note", "down"]


def test_no_hook_runs_without_a_block() -> None:
    notes: list[str] = []
    Client(hooked(notes)).get("/note")
    assert notes == ["/note"]


def test_a_block_within_itself(client: Client) -> None:
    with client, pytest.raises(RuntimeError, match="already"):
        client.__enter__()


def looping() -> tuple[Application, list[asyncio.AbstractEventLoop]]:
    app = application()
    loops: list[asyncio.AbstractEventLoop] = []

    @app.get("/loop")
    async def loop(request: Request) -> Response:
        loops.append(asyncio.get_running_loop())
        assert app.loop is loops[-1]
        return Response()

    return app, loops


def test_one_loop_for_a_block() -> None:
    app, loops = looping()
    with Client(app) as client:
        client.get("/loop")
        client.get("/loop")
        assert app.loop is loops[0]
    assert loops[0] is loops[1]
    assert loops[0].is_closed()
    assert type(loops[0]).__module__.startswith("asyncio.")


def test_a_loop_for_each_call_without() -> None:
    app, loops = looping()
    client = Client(app)
    client.get("/loop")
    client.get("/loop")
    assert loops[0] is not loops[1]
    assert loops[0].is_closed()
    assert loops[1].is_closed()


def test_the_loop_of_the_application() -> None:
    """Set-up code may have made it and bound things to it; it outlives the client."""
    app, loops = looping()
    loop = app.loop
    try:
        Client(app).get("/loop")
        with Client(app) as client:
            client.get("/loop")
        assert loops == [loop, loop]
        assert app.loop is loop
        assert not asyncio.all_tasks(loop)
        assert not loop.is_closed()
    finally:
        loop.close()


def test_within_a_running_loop(client: Client) -> None:
    async def main() -> TestResponse:
        with pytest.raises(RuntimeError, match=r"asyncio\.to_thread"):
            client.get("/hello")
        with pytest.raises(RuntimeError, match=r"asyncio\.to_thread"):
            client.__enter__()
        return await asyncio.to_thread(client.get, "/hello")

    assert asyncio.run(main()).text == "Hello world!"


@pytest.mark.parametrize("error", [KeyError("up"), TimeoutError("up"), SystemExit(3)])
def test_a_start_up_hook_that_fails(error: BaseException) -> None:
    loops: list[asyncio.AbstractEventLoop] = []
    notes: list[str] = []
    app = hooked(notes)

    async def up(app: Application) -> None:
        loops.append(asyncio.get_running_loop())
        raise error

    app.on_startup(up)
    with pytest.raises(type(error)) as raised:
        Client(app).__enter__()
    assert raised.value is error
    assert loops[0].is_closed()
    assert notes == ["up"]
    assert Client(app).get("/hello").status == 200


def test_hooks_that_do_not_end() -> None:
    async def forever(app: Application) -> None:
        await asyncio.sleep(1)

    up, down = application(), application()
    up.on_startup(forever)
    down.on_shutdown(forever)
    with pytest.raises(TimeoutError, match=r"start-up hooks did not end within 0\.2 s"):
        Client(up, timeout=0.2).__enter__()
    client = Client(down).__enter__()
    assert client.get("/hello").status == 200
    client.timeout = 0.2
    with pytest.raises(TimeoutError, match=r"shutdown hooks did not end within 0\.2 s"):
        client.__exit__()


def test_a_handler_that_hangs() -> None:
    app = application()
    notes: list[str] = []

    @app.get("/wait")
    async def wait(request: Request) -> Response:
        try:
            await asyncio.sleep(1)
        finally:
            notes.append(f"cleaned up, client gone: {request.is_disconnected}")
        return Response()

    client = Client(app, timeout=0.2)
    with pytest.raises(TimeoutError, match=r"GET /wait was not answered in full within 0\.2 s"):
        client.get("/wait")
    assert notes == ["cleaned up, client gone: True"]
    with client:
        with pytest.raises(TimeoutError):
            client.get("/wait")
        client.timeout = 10
        assert client.get("/hello").status == 200


def test_a_stream_that_hangs() -> None:
    app = application()

    async def slow() -> AsyncIterator[bytes]:
        yield b"at once"
        await asyncio.sleep(1)

    app.add_route("/stream", lambda request: Response(body=slow()))
    with pytest.raises(TimeoutError, match="GET /stream was not answered in full"):
        Client(app, timeout=0.2).get("/stream")


def test_no_deadline() -> None:
    app = application()

    @app.get("/slow")
    async def slow(request: Request) -> Response:
        await asyncio.sleep(0.05)
        return Response(text="slow")

    assert Client(app, timeout=None).get("/slow").text == "slow"


def test_what_a_handler_leaves_running() -> None:
    """It goes on during later calls, and is cancelled in the end."""
    app = application()
    go_on, gone_on = asyncio.Event(), asyncio.Event()
    notes: list[str] = []
    tasks = []

    async def background() -> None:
        try:
            await go_on.wait()
            gone_on.set()
            await asyncio.sleep(3600)
        finally:
            notes.append("cleaned up")

    @app.post("/start")
    async def start(request: Request) -> Response:
        tasks.append(asyncio.get_running_loop().create_task(background()))
        return Response()

    @app.post("/go-on")
    async def let_it_go_on(request: Request) -> Response:
        go_on.set()
        await gone_on.wait()
        return Response()

    with Client(app) as client:
        assert client.post("/start").status == 200
        assert client.post("/go-on").status == 200
        assert notes == []
    assert notes == ["cleaned up"]
    assert tasks[0].cancelled()
