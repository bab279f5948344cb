"""The demonstration: each of its routes, asked over a real connection, and its page."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import http.client
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import WAIT_SECONDS, serving


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with serving(tmp_path_factory.mktemp("demo"), "demo", "--port", "0") as server:
        yield server.port


class Answer:
    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self.status = answer.status
        self.headers = answer.headers
        self.content = answer.read()


def ask(port: int, method: str, target: str, content: bytes | Iterator[bytes] | None = None,
        **fields: str) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_SECONDS)
    try:
        connection.request(method, target, content, fields)
        return Answer(connection.getresponse())
    finally:
        connection.close()


def test_hello(port: int) -> None:
    answer = ask(port, "GET", "/hello")
    assert (answer.status, answer.content) == (200, b"Hello world!")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"


def test_json(port: int) -> None:
    assert json.loads(ask(port, "GET", "/json").content) == {"message": "Hello world!"}


@pytest.mark.parametrize("text", ['{"a": [1, "\u017e<b>"]}', "null", "[]", '"x"'])
def test_echo(port: int, text: str) -> None:
    answer = ask(port, "POST", "/echo", text.encode())
    assert (answer.status, json.loads(answer.content)) == (200, json.loads(text))
    assert answer.headers["Content-Type"].startswith("application/json")


@pytest.mark.parametrize("content", [None, b"{", b"\xff"])
def test_echo_of_what_is_not_json(port: int, content: bytes | None) -> None:
    assert ask(port, "POST", "/echo", content).status == 400


def test_stream(port: int) -> None:
    answer = ask(port, "GET", "/stream?pieces=3")
    assert answer.headers["Transfer-Encoding"] == "chunked"
    assert answer.content == b"piece 1 of 3\npiece 2 of 3\npiece 3 of 3\n"


def test_pieces_arrive_before_the_stream_ends(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), WAIT_SECONDS) as sock:
        sock.sendall(b"GET /stream?pieces=1000 HTTP/1.1\r\nHost: demo\r\n\r\n")
        received = b""
        while b"piece 2 of 1000" not in received:
            received += sock.recv(4096)
    assert b"piece 1000" not in received


@pytest.mark.parametrize("pieces", ["0", "1001", "x", "-1", "%D9%A3", ""])
def test_a_wrong_number_of_pieces(port: int, pieces: str) -> None:
    answer = ask(port, "GET", f"/stream?pieces={pieces}")
    assert (answer.status, answer.content) == (400, b"pieces must be a number from 1 to 1000")


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_an_upload_larger_than_what_may_be_held(port: int, method: str) -> None:
    mebibytes = (bytes(1 << 20) for _ in range(20))
    answer = ask(port, method, "/upload", mebibytes)
    report = json.loads(answer.content)
    assert (answer.status, report["bytes"]) == (200, 20 << 20)
    assert report["pieces"] > 1
    assert report["bytes_per_second"] == pytest.approx(report["bytes"] / report["seconds"])


def test_an_upload_of_nothing(port: int) -> None:
    report = json.loads(ask(port, "POST", "/upload").content)
    assert (report["bytes"], report["pieces"], report["bytes_per_second"]) == (0, 0, 0)


def test_request_facts(port: int) -> None:
    facts = json.loads(ask(port, "GET", "/request?a=<b>", **{"X-Mark": "<script>"}).content)
    assert facts["method"] == "GET"
    assert facts["path"] == "/request"
    assert facts["query_string"] == "a=<b>"
    assert facts["version"] == "1.1"
    assert facts["remote_addr"] == "127.0.0.1"
    assert facts["keep_alive"] is True
    assert ["X-Mark", "<script>"] in facts["headers"]
    assert ["Host", f"127.0.0.1:{port}"] in facts["headers"]


def counters(port: int) -> list[dict[str, float]]:
    answer = ask(port, "GET", "/live")
    assert answer.headers["Content-Type"] == "text/event-stream"
    events = answer.content.decode().split("\n\n")
    assert events[0] == "retry: 100"
    assert events[-1] == ""
    return [json.loads(event.removeprefix("data: ")) for event in events[1:-1]]


def test_live_counters(port: int) -> None:
    before = counters(port)
    assert len(before) > 1
    assert before[0]["seconds"] < before[-1]["seconds"]
    ask(port, "POST", "/upload", b"x" * 1000)
    ask(port, "GET", "/nowhere")
    after = counters(port)
    assert after[0]["requests"] == before[-1]["requests"] + 3
    assert after[0]["content_bytes"] == before[-1]["content_bytes"] + 1000


class Page(html.parser.HTMLParser):
    """What a page loads, and what its elements are called."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str | None] = []
        self.identifiers: list[str | None] = []
        self.handlers: list[str] = []
        self.labels: list[str | None] = []
        self.fields: list[str | None] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.loads += [given[name] for name in ("src", "href", "action") if name in given]
        self.handlers += [name for name in given if name.startswith("on") or name == "style"]
        self.identifiers += [given["id"]] if "id" in given else []
        self.labels += [given["for"]] if tag == "label" else []
        self.fields += [given.get("id")] if tag in {"textarea", "select", "input"} else []


def test_the_page(port: int) -> None:
    answer = ask(port, "GET", "/")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    text = answer.content.decode()
    page = Page(text)
    assert page.loads == ["data:,"]
    assert page.handlers == []
    assert len(page.identifiers) == len(set(page.identifiers))
    assert set(page.fields) <= set(page.labels)
    used = set(re.findall(r'\$\("([\w-]+)"\)', text)) | set(re.findall(r'aria-labelledby="([\w-]+)"', text))
    assert used
    assert used <= set(page.identifiers)


def test_the_page_runs_its_own_script_and_style_alone(port: int) -> None:
    answer = ask(port, "GET", "/")
    policy = dict(rule.split(" ", 1) for rule in answer.headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    for name in ("script", "style"):
        blocks = re.findall(rb"<%b>(.*?)</%b>" % (name.encode(), name.encode()), answer.content, re.DOTALL)
        assert len(blocks) == 1
        digest = base64.b64encode(hashlib.sha256(blocks[0]).digest()).decode()
        assert policy[f"{name}-src"] == f"'sha256-{digest}'"


def test_what_the_page_asks_for_is_there(port: int) -> None:
    text = ask(port, "GET", "/").content.decode()
    targets = set(re.findall(r'fetch\("(/[\w]+)', text)) | set(re.findall(r'EventSource\("([^"]+)"\)', text))
    assert {"/hello", "/stream", "/echo", "/request", "/live"} <= targets
    for target in targets - {"/echo", "/nowhere"}:
        assert ask(port, "HEAD", target).status == 200, target
    assert ask(port, "GET", "/nowhere").status == 404
    refused = ask(port, "DELETE", "/hello")
    assert (refused.status, refused.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")


def test_the_pipelining_command_does_what_the_page_says(port: int) -> None:
    text = html.unescape(ask(port, "GET", "/").content.decode())
    command = re.search(r"printf '([^']*)' \| nc localhost 8080", text)
    assert command
    with socket.create_connection(("127.0.0.1", port), WAIT_SECONDS) as sock:
        sock.sendall(command[1].replace(r"\r\n", "\r\n").encode())
        received = b"".join(iter(lambda: sock.recv(65536), b""))
    assert re.findall(rb"HTTP/1\.1 (\d+) ", received) == [b"200", b"200", b"404"]
    assert received.index(b"Sorry to keep you waiting.") < received.index(b"Hello world!")


def test_options_of_the_command_line(tmp_path: Path) -> None:
    with serving(tmp_path, "demo", "--port", "0", "--request-line-bytes", "100") as server:
        assert ask(server.port, "GET", "/" + "x" * 200).status == 414
