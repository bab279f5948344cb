"""Behind the reverse proxies that stand in front of most servers; they are strict readers too.

The same conversations are held with the server itself, so that they are tried on machines that
have no proxy, and so that a fault can be told from one of the proxy.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from .process import Server
from .proxy import running
from .test_pipelining import mixture, told
from .wire import Client, Truncated, chunk, get, post, post_head

NGINX = """\
client_max_body_size 0;
upstream japronto {{
    server {host}:{port};
    keepalive 4;
}}
server {{
    listen unix:{front};
    location / {{
        proxy_pass http://japronto;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_request_buffering off;
        proxy_buffering off;
    }}
}}
"""
HAPROXY = """\
listen japronto
    mode http
    option http-keep-alive
    bind {front}
    http-reuse always
    server japronto {host}:{port}
"""


class Front:
    """What the clients of these tests connect to: a proxy, or the server itself."""

    def __init__(self, server: Server, path: Path | None) -> None:
        self.server = server
        self._path = path

    def connect(self) -> Client:
        if self._path is None:
            return self.server.connect()
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(str(self._path))
        except BaseException:
            sock.close()
            raise
        return Client(sock)

    def listens(self) -> bool:
        try:
            self.connect().sock.close()
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        return True


@pytest.fixture(scope="module", params=[
    "nothing", *(pytest.param(name, marks=pytest.mark.program(name)) for name in ("nginx", "haproxy"))])
def front(request: pytest.FixtureRequest, shared: Server,
          tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    if request.param == "nothing":
        yield Front(shared, None)
        return
    directory = tmp_path_factory.mktemp("proxy")
    behind = Front(shared, directory / "front")
    text = NGINX if request.param == "nginx" else HAPROXY
    text = text.format(front=directory / "front", host=shared.host, port=shared.port)
    with running(request.param, text, directory, behind.listens):
        yield behind
    if request.param == "nginx":
        complaints = (directory / "errors").read_text().splitlines()
        assert all("/download-broken" in complaint for complaint in complaints), complaints


def test_answers_of_all_kinds_on_one_connection(server: Server, front: Front) -> None:
    with front.connect() as client:
        for octets, status, text in [
                (get("/hello/1"), 200, "hello 1"), (get("/late/2"), 200, "late 2"),
                (get("/missing"), 404, "Not Found"), (get("/raise/3"), 500, "Internal Server Error"),
                (get("/handled/4"), 409, "handled 4"), (post("/echo", b"five"), 200, "five"),
                (get("/big/70000"), 200, "x" * 70_000), (post("/unread/6", b"x" * 1000), 200, "unread 6")]:
            answer = client.ask(octets)
            assert (answer.status, answer.text) == (status, text)


def test_head(server: Server, front: Front) -> None:
    with front.connect() as client:
        answer = client.ask(get("/big/70000", method="HEAD"), "HEAD")
        assert (answer.status, answer.field("Content-Length")) == (200, "70000")
        assert client.ask(get("/hello/2")).text == "hello 2"


def test_a_pipeline(server: Server, front: Front) -> None:
    requests, expected = mixture(200)
    with front.connect() as client:
        client.send(requests)
        assert told([client.answer() for _ in range(200)]) == expected


def test_uploads(server: Server, front: Front) -> None:
    content = os.urandom(3_000_000)
    chunks = b"".join(chunk(content[start:start + 70_001]) for start in range(0, len(content), 70_001))
    with front.connect() as client:
        for octets in (post("/upload/1", content),
                       post_head("/upload/2", "Transfer-Encoding: chunked") + chunks + b"0\r\n\r\n"):
            client.send_beside(octets)
            assert client.answer().json["bytes"] == len(content)
        client.send_beside(post("/echo", content))
        assert client.answer().content == content


@pytest.mark.parametrize("path", ["/download/100", "/download-async/100/a"])
def test_downloads(server: Server, front: Front, path: str) -> None:
    with front.connect() as client:
        assert client.ask(get(path)).content == bytes(range(256)) * 256 * 100
        assert client.ask(get("/hello/2")).text == "hello 2"


def test_a_download_that_fails_midway_does_not_look_complete(server: Server, front: Front) -> None:
    with front.connect() as client:
        client.send(get("/download-broken"))
        with pytest.raises(Truncated):
            client.answer()


def test_content_that_is_too_large(server: Server, front: Front) -> None:
    with front.connect() as client:
        answer = client.ask(post("/upload-small/1", b"x" * 5000))
        assert answer.status == 413


def test_many_clients_at_once(server: Server, front: Front) -> None:
    clients = [front.connect() for _ in range(50)]
    for turn in range(5):
        for number, client in enumerate(clients):
            client.send(get(f"/late/{turn}-{number}"))
        for number, client in enumerate(clients):
            assert client.answer().text == f"late {turn}-{number}"
    for client in clients:
        client.sock.close()


def test_a_protocol_switched_to(server: Server, front: Front) -> None:
    """A proxy that does not hand Upgrade on gets an answer of HTTP."""
    with front.connect() as client:
        client.send(get("/shout", "Connection: upgrade", "Upgrade: shout"))
        head = client.head()
        if head.status == 101:
            client.send(b"abc.")
            assert client.receive(4) == b"ABC."
        else:
            assert b"".join(client.pieces(head)) == b"not upgraded"
