"""What the server holds on to: nothing that grows with the traffic."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Set
from contextlib import contextmanager

import pytest

from .conftest import Start
from .process import Server, until
from .wire import Client, Truncated, get, post, post_head

pytestmark = pytest.mark.slow

MIB = 1 << 20
SIZE = 1024 * MIB
PIECE = bytes(range(256)) * 256


class Peak:
    """The most memory a server was seen to hold, above what it held when idle."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._idle = self._most = server.resident()
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._over.wait(0.02):
            self._most = max(self._most, self._server.resident())

    def __enter__(self) -> Peak:
        self._watch.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._watch.join()

    @property
    def growth(self) -> int:
        return max(self._most, self._server.resident()) - self._idle


def warm(server: Server) -> None:
    """What is loaded at the first use is not what these tests look for."""
    with server.connect() as client:
        assert client.ask(post("/upload/warm", b"x" * 1000)).status == 200
        for path in ("/download/1", "/download-async/1/warm", "/late/1", "/raise/1", "/missing"):
            client.ask(get(path))


@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_an_upload_to_a_streaming_handler(start: Start, coding: str) -> None:
    server = start(dev=False)
    warm(server)
    with Peak(server) as peak, server.connect() as client:
        if coding == "length":
            client.send(post_head("/upload/a", f"Content-Length: {SIZE}"))
            piece, last = PIECE, b""
        else:
            client.send(post_head("/upload/a", "Transfer-Encoding: chunked"))
            piece, last = b"%x\r\n%b\r\n" % (len(PIECE), PIECE), b"0\r\n\r\n"
        for _ in range(SIZE // len(PIECE)):
            client.send(piece)
        client.send(last)
        assert client.answer().json["bytes"] == SIZE
    assert peak.growth < 20 * MIB


def test_an_upload_to_a_handler_that_does_not_read(start: Start) -> None:
    server = start(dev=False)
    warm(server)
    with Peak(server) as peak, server.connect() as client:
        thread = client.send_beside(post("/upload-late/a", PIECE * (200 * MIB // len(PIECE))))
        server.until_recorded("a started")
        assert client.quiet(2)
        assert thread.is_alive()
        assert peak.growth < 20 * MIB
        server.allow("a")
        assert client.answer().json["bytes"] == 200 * MIB
        thread.join()
    assert peak.growth < 20 * MIB


@pytest.mark.parametrize("path", ["/download/{}", "/download-async/{}/a"])
def test_a_download_to_a_slow_reader(start: Start, path: str) -> None:
    """Slower than the server by far: it waits for its reader again and again."""
    server = start(dev=False)
    warm(server)
    with Peak(server) as peak, server.connect(buffers=262144) as client:
        client.send(get(path.format(SIZE // len(PIECE))))
        got, pauses = 0, 0
        for piece in client.pieces(client.head()):
            got += len(piece)
            if got > pauses * SIZE // 20:
                pauses += 1
                time.sleep(0.1)
        assert got == SIZE
    assert peak.growth < 20 * MIB


# Requests.

MIXED = [get("/hello/1"), get("/ready/2"), post("/echo", b"three"), get("/missing"), get("/raise/5"),
         get("/hello/6", "Cookie: a=b", "User-Agent: test"), get("/handled/7"), get("/refuse"),
         post_head("/echo", "Transfer-Encoding: chunked") + b"4\r\nnine\r\n0\r\n\r\n",
         post("/upload/a", b"ten"), get("/download/1"), get("/late/12")]
PLAIN = [get("/hello/1"), get("/ready/2"), get("/hello/3")]


def serve(client: Client, requests: list[bytes], count: int) -> None:
    """Pipelined, 24 requests in each write."""
    batch = b"".join((requests * 24)[:24])
    for _ in range(-(-count // 24)):
        client.send(batch)
        for _ in range(24):
            client.answer()


ASYNCIO_TRANSPORT = {"_SelectorSocketTransport", "TransportSocket", "socket", "dict", "method", "tuple"}
"""What asyncio's own loop leaves of each connection: its transports refer to themselves."""


@contextmanager
def no_garbage(server: Server, but: Set[str] = frozenset()) -> Iterator[None]:
    """What happens within leaves nothing for the collector, which is off meanwhile."""
    with server.connect() as client:
        assert client.ask(post("/garbage/count", b"")).text == "counting"
        yield
        assert set(client.ask(post("/garbage/found", b"")).json) <= but


@pytest.mark.parametrize("requests", [PLAIN, MIXED], ids=["plain", "mixed"])
def test_requests_leave_no_garbage(start: Start, requests: list[bytes]) -> None:
    server = start(dev=False)
    with server.connect() as client:
        serve(client, requests, 240)
        with no_garbage(server):
            serve(client, requests, 100_000 if requests is PLAIN else 2_400)


def ends_well(client: Client) -> None:
    serve(client, MIXED, 24)
    client.half_close()
    client.ends()
    client.sock.close()


def ends_with_an_error(client: Client) -> None:
    assert client.ask(b"nonsense\r\n").status == 400
    client.ends()
    client.sock.close()


def ends_within_a_download(client: Client) -> None:
    with pytest.raises(Truncated):
        client.ask(get("/download-broken"))
    client.sock.close()


def ends_with_a_reset(client: Client) -> None:
    client.send(get("/download-async/1000/a") + get("/late/1"))
    client.head()
    client.reset()


def ends_with_a_reset_within_a_handler(client: Client) -> None:
    client.send(get("/hello/1") + get("/when/never"))
    client.answer()
    client.reset()


ENDS = [ends_well, ends_with_an_error, ends_within_a_download, ends_with_a_reset,
        ends_with_a_reset_within_a_handler]


def test_connections_leave_no_garbage(start: Start, loop: str) -> None:
    server = start(dev=False)
    sockets = server.sockets()

    def connections(count: int, others: int) -> None:
        for end in ENDS * count:
            end(server.connect())
        until(lambda: server.sockets() <= sockets + others, "nothing is left of the connections")

    connections(3, 0)
    with no_garbage(server, ASYNCIO_TRANSPORT if loop.startswith("asyncio") else frozenset()):
        connections(20, 1)


@pytest.mark.parametrize(("first", "then"), [
    pytest.param(10_000, 50_000, id="short"),
    pytest.param(100_000, 1_000_000, id="long", marks=pytest.mark.long)])
def test_memory_is_level(start: Start, first: int, then: int) -> None:
    server = start(dev=False)
    with server.connect() as client:
        serve(client, PLAIN, first)
        serve(client, MIXED, 2_400)
        level = server.resident()
        serve(client, PLAIN, then - first)
        serve(client, MIXED, 2_400)
        assert server.resident() - level < 1 * MIB
