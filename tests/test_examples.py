"""The examples: each is run as a program, asked in memory, and does what its comments say."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import http.client
import inspect
import runpy
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command import ROOT, WAIT_SECONDS, japronto, serving, start, until

from japronto import Application, Timeouts
from japronto.testing import Client, File, TestResponse

EXAMPLES = ROOT / "examples"
TOPICS = ["hello", "asynchronous", "router", "request", "response", "exceptions", "extending", "templates",
          "streaming", "modern"]


class Program:
    """An example that was started, up to where it would serve."""

    def __init__(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        runs: list[tuple[Application, dict[str, Any]]] = []
        signature = inspect.signature(Application.run)

        def run(*arguments: Any, **options: Any) -> None:
            given = signature.bind(*arguments, **options).arguments
            runs.append((given.pop("self"), given))

        monkeypatch.setattr(Application, "run", run)
        path = EXAMPLES / f"{name}.py"
        self.names = runpy.run_path(str(path), run_name="__main__")
        self.documentation = self.names["__doc__"]
        [(self.app, self.options)] = runs


@pytest.fixture
def program(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Program:
    """The example that the test is named after."""
    return Program(request.node.originalname.removeprefix("test_").partition("_")[0], monkeypatch)


@pytest.fixture
def client(program: Program) -> Iterator[Client]:
    with Client(program.app) as client:
        yield client


def test_all_examples_are_known() -> None:
    assert sorted(TOPICS) == sorted(path.stem for path in EXAMPLES.glob("*.py"))


@pytest.mark.parametrize(("number", "name"), list(enumerate(TOPICS, 1)))
def test_each_says_how_to_run_it(number: int, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = Program(name, monkeypatch)
    lines = program.documentation.splitlines()
    assert lines[0].startswith(f"{number}. ")
    assert lines[-2] == f"    python examples/{name}.py"
    with Client(program.app) as client:
        response = curl(client, lines[-1])
    assert 200 <= response.status < 300
    assert response.body


@pytest.mark.parametrize("name", TOPICS)
def test_none_shows_tracebacks_to_strangers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options = Program(name, monkeypatch).options
    assert options.get("host") == "127.0.0.1" or not options.get("debug")


def curl(client: Client, line: str) -> TestResponse:
    """What curl would get, for as much of curl as the examples use."""
    parser = argparse.ArgumentParser("curl")
    parser.add_argument("url")
    parser.add_argument("-H", action="append", default=[])
    parser.add_argument("-F", action="append", default=[])
    parser.add_argument("-d")
    for switch in ("-i", "-N"):
        parser.add_argument(switch, action="store_true")
    command, *words = shlex.split(line)
    assert (command, line[:4]) == ("curl", "    ")
    given = parser.parse_args(words)
    target = given.url.removeprefix("http://127.0.0.1:8080")
    assert target.startswith("/")
    parts = dict(part.split("=", 1) for part in given.F)
    files = {name: File("text/plain", (ROOT / value[1:]).read_bytes(), Path(value).name)
             for name, value in parts.items() if value.startswith("@")}
    form = {name: value for name, value in parts.items() if name not in files}
    headers = {"User-Agent": "curl/8.5.0", **dict(field.split(": ", 1) for field in given.H)}
    if given.d is not None:
        return client.post(target, headers=headers, body=given.d.encode())
    if parts:
        return client.post(target, headers=headers, form=form, files=files)
    return client.get(target, headers=headers)


# Hello, also as a process

def test_hello(client: Client, program: Program) -> None:
    assert client.get("/").text == "Hello world!"
    assert program.options == {"host": "127.0.0.1", "debug": True}


def ask(port: int) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_SECONDS)
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_hello_from_the_command_line(tmp_path: Path) -> None:
    with serving(tmp_path, "--app-dir", str(EXAMPLES), "hello:app", "--port", "0") as server:
        assert ask(server.port) == (200, b"Hello world!")


ON_ANY_PORT = """\
import functools, runpy, sys
from japronto import Application
Application.run = functools.partialmethod(Application.run, port=0)
runpy.run_path(sys.argv[1], run_name="__main__")
"""


def test_hello_as_a_program(tmp_path: Path) -> None:
    errors = tmp_path / "stderr"
    with start(tmp_path, ON_ANY_PORT, str(EXAMPLES / "hello.py"),
               python=(sys.executable, "-W", "error", "-c")) as process:
        until(lambda: "listening" in errors.read_text(), process)
        port = int(errors.read_text().partition("http://127.0.0.1:")[2].split()[0])
        assert ask(port) == (200, b"Hello world!")
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_SECONDS) == 0
    assert errors.read_text().splitlines()[1:] == ["127.0.0.1 GET /"]  # debug logs requests, as in 2017


# The other topics

def test_asynchronous(client: Client) -> None:
    assert client.get("/sync").text == "I am synchronous!"
    assert client.get("/async").text == "I slept three times, and held up nobody."
    assert client.post("/wake").text == "0 woken"


def test_asynchronous_sleepers(program: Program) -> None:
    """One is woken by the request of another client, one goes away."""
    sleepers = program.names["sleepers"]
    # A client that has closed its side may still be there for the answer; this is how long it is given.
    program.app.timeouts = Timeouts(half_close_seconds=0.05, linger_seconds=0.05, check_seconds=0.01)

    async def asleep(count: int) -> None:
        while len(sleepers) != count:  # noqa: ASYNC110 - it is the handler's to change, and it tells nobody
            await asyncio.sleep(0.01)

    async def main() -> bytes:
        async with asyncio.timeout(WAIT_SECONDS), await program.app.start_server(port=0) as server:
            connections = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(3)]
            (_, gone), (sleeper_reader, sleeper), (waker_reader, waker) = connections
            for count, writer in enumerate((gone, sleeper), 1):
                writer.write(b"GET /sleep HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                await asleep(count)
            gone.close()
            await asleep(1)
            waker.write(b"POST /wake HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            answers = await waker_reader.read() + await sleeper_reader.read()
            for writer in (sleeper, waker):
                writer.close()
                await writer.wait_closed()
            return answers

    answers = asyncio.run(main())
    assert b"1 woken" in answers
    assert b"Good morning!" in answers
    assert sleepers == []


def test_router(client: Client) -> None:
    assert client.put("/").text == "PUT of the root"
    assert client.get("/love").text == "Got some love"
    assert client.head("/love").headers["Content-Length"] == "13"
    assert client.post("/love").status == 405
    assert client.delete("/several").text == "You may DELETE"
    refused = client.get("/several")
    assert (refused.status, refused.headers["Allow"]) == (405, "DELETE, OPTIONS, POST")
    assert client.get("/planets/earth").text == "You are here"
    assert client.get("/planets/a%2Fb").json() == {"planet": "a/b"}
    assert client.get("/planets/mars/moons/phobos").json() == {"planet": "mars", "moon": "phobos"}
    assert client.get("/{braces}").text == "/{braces}"
    assert client.get("/planets/").status == 404


def test_request(client: Client) -> None:
    basic = client.get("/basic?a=1", headers={"user-AGENT": "me"}).json()
    assert basic == {
        "method": "GET", "path": "/basic", "version": "1.1", "query_string": "a=1", "query": {"a": "1"},
        "headers": {"Host": "testserver", "User-Agent": "me"}, "user_agent": "me"}
    body = client.post("/body", body='{"a": "é"}'.encode("latin-1"),
                       headers={"Content-Type": "Application/JSON; charset=latin-1"}).json()
    assert body == {
        "mime_type": "application/json", "encoding": "latin-1", "length": 10, "text": '{"a": "é"}',
        "json": {"a": "é"}}
    assert client.post("/body", body=b"{").json()["json"] == "not JSON"
    assert client.post("/body").json() == {
        "mime_type": None, "encoding": None, "length": 0, "text": None, "json": None}


def test_request_form(client: Client) -> None:
    files = {"photo": File("image/png", b"\x89PNG", "me.png")}
    assert client.post("/form", form={"name": "Ida"}, files=files).json() == {
        "fields": {"name": "Ida"}, "files": {"photo": {"name": "me.png", "type": "image/png", "length": 4}}}
    assert client.post("/form", form={"name": "Ida"}).json() == {"fields": {"name": "Ida"}, "files": {}}
    assert client.post("/form", json={"name": "Ida"}).status == 415


def test_request_misc(client: Client) -> None:
    headers = {"Host": "example.org:81", "Connection": "close"}
    assert client.get("/misc/x", headers=headers, cookies={"a": "b"}).json() == {
        "hostname": "example.org", "port": 81, "remote_addr": "127.0.0.1", "keep_alive": False,
        "cookies": {"a": "b"}, "route": "/misc/{anything}", "match_dict": {"anything": "x"}}
    assert client.get("/tags?tag=a&tag=b").json() == {"last": "b", "all": ["a", "b"]}


def test_response(client: Client) -> None:
    assert client.get("/text").text == "Hello world!"
    encoded = client.get("/encoding")
    assert encoded.body == b"J\xe1 pronto!"
    assert encoded.headers["Content-Type"] == "text/plain; charset=iso-8859-1"
    image = client.get("/mime")
    assert image.headers["Content-Type"].startswith("image/svg+xml")
    assert image.text.startswith("<svg ")
    octets = client.get("/body")
    assert (octets.body, octets.headers["Content-Type"]) == (b"\xde\xad\xbe\xef", "application/octet-stream")
    json = client.get("/json")
    assert (json.json(), json.headers["Content-Type"]) == ({"hello": "world"}, "application/json")
    assert client.get("/code/418").status == 418
    headers = client.get("/headers").headers
    assert headers["X-Header"] == "Value"
    assert headers["Refresh"].startswith("5; url=")
    cookies = client.get("/cookies").cookies
    assert {name: cookie.value for name, cookie in cookies.items()} == {"hello": "world", "city": "São Paulo"}
    assert (cookies["hello"]["max-age"], cookies["hello"]["path"]) == ("3600", "/")


def test_exceptions(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    assert client.get("/cat").text == "Just a kitty: meow"
    assert client.get("/dog").text == "Just a doggie: woof"
    assert client.get("/double/21").text == "42"
    refused = client.get("/double/x")
    assert (refused.status, refused.text) == (400, "That is not a number")
    lost = client.get("/nowhere")
    assert (lost.status, lost.text) == (404, "Are you lost, pal?")
    assert caplog.records == []
    failed = client.get("/unhandled")
    assert (failed.status, failed.text) == (500, "Internal Server Error")
    assert "ZeroDivisionError" in caplog.text
    client.app.debug = True
    assert "ZeroDivisionError" in client.get("/unhandled").text


def test_extending(client: Client) -> None:
    assert client.get("/", headers={"Host": "api.example", "User-Agent": "olleh"}).text == "Hello hello"
    assert client.get("/").text == "Hello stranger"
    assert client.get("/callback").text == "Callback 1 is yet to come"
    assert client.get("/callback").text == "Callback 2 is yet to come"
    assert client.get("/finished").json() == [1, 2]


def test_templates(client: Client) -> None:
    page = client.get("/", query={"name": "<b>Ida</b>"}, headers={"X-Mark": "<i>"})
    assert page.headers["Content-Type"].startswith("text/html")
    assert "<h1>Hello &lt;b&gt;Ida&lt;/b&gt;!</h1>" in page.text
    assert "<dt>X-Mark</dt><dd>&lt;i&gt;</dd>" in page.text
    assert "<h1>Hello world!</h1>" in client.get("/").text
    assert client.get("/plain").text == "<h1>Some HTML!</h1>"


WITHOUT_JINJA = """\
import runpy, sys
sys.modules["jinja2"] = None
runpy.run_path(sys.argv[1], run_name="__main__")
"""


def test_templates_without_jinja(tmp_path: Path) -> None:
    done = japronto(tmp_path, str(EXAMPLES / "templates.py"),
                    python=(sys.executable, "-W", "error", "-c", WITHOUT_JINJA))
    assert done == (1, "", "This example needs Jinja, which is not installed: pip install jinja2\n")


def test_streaming(client: Client) -> None:
    numbers = client.get("/numbers")
    assert numbers.headers["Transfer-Encoding"] == "chunked"
    assert numbers.text == "".join(f"{number}\n" for number in range(1000))
    events = client.get("/countdown/2")
    assert events.headers["Content-Type"] == "text/event-stream"
    assert events.text == "data: 2\n\ndata: 1\n\ndata: lift-off\n\n"
    assert client.get("/countdown/x").status == 404


def test_streaming_of_what_comes(client: Client) -> None:
    content = b"x" * 20 * 2**20  # more than a handler may be given whole
    digest = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert client.post("/digest", body=content).json() == digest
    pieces = (content[start:start + 100_000] for start in range(0, len(content), 100_000))
    assert client.post("/upper", body=pieces).body == content.upper()


def test_modern(client: Client) -> None:
    secret = {"Authorization": "Bearer secret"}
    index = client.get("/")
    assert index.headers["Server-Timing"].startswith("handler;dur=")
    refused = client.get("/api/notes")
    assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert "Server-Timing" in refused.headers
    assert client.get("/api/notes", headers=secret).json() == {"1": "Read the examples"}
    added = client.post("/api/notes", headers=secret, json={"text": "Buy milk"})
    assert (added.status, added.headers["Location"], added.json()) == (201, "/api/notes/2", {"number": 2})
    assert client.get("/api/notes/2", headers=secret).text == "Buy milk"
    assert client.delete("/api/notes/2", headers=secret).status == 204
    for method in ("GET", "DELETE"):
        missing = client.request(method, "/api/notes/2", headers=secret)
        assert (missing.status, missing.text) == (404, "there is no note 2")
    assert client.get("/api/notes/two", headers=secret).text == "Not Found"


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"text": 1}', None])
def test_modern_refuses_what_is_no_note(client: Client, content: bytes | None) -> None:
    assert client.post("/api/notes", headers={"Authorization": "Bearer secret"}, body=content).status == 400


def test_modern_hooks(program: Program) -> None:
    notes = program.names["notes"]
    with Client(program.app):
        assert notes
    assert not notes
