"""Clients that make the server wait (shared/http-rules.md, section N).

The bounds are set low.  No test measures how long something took: each waits for what must come,
and those that must *not* be cut stay well under their bound.
"""

from __future__ import annotations

import time

import pytest

from .conftest import Start
from .process import Server, until
from .wire import Client, Truncated, chunk, get, post, post_head

pytestmark = pytest.mark.slow

SOON = ("--check-seconds", "0.05")


def trickle(client: Client, octets: bytes, pause: float) -> None:
    """One octet at a time, until the server has something to say."""
    for octet in octets:
        if not client.quiet(pause):
            return
        client.send(bytes([octet]))


def assert_timed_out(client: Client) -> None:
    answer = client.answer()
    assert (answer.status, answer.closes) == (408, True)
    client.ends()


# The head.

def test_a_head_that_trickles_in_gets_408(start: Start) -> None:
    """Each octet is in time; the head as a whole is not."""
    server = start("--head-seconds", "1", *SOON)
    with server.connect() as client:
        trickle(client, get("/hello/1", "X-Filler: " + "x" * 10_000), 0.05)
        assert_timed_out(client)
    server.lives()


def test_a_head_that_stops_gets_408(start: Start) -> None:
    server = start("--head-seconds", "0.5", *SOON)
    for part in (b"G", b"GET / HTTP/1.1\r\n", get("/hello/1")[:-1]):
        with server.connect() as client:
            client.send(part)
            assert_timed_out(client)


def test_a_head_that_stops_behind_good_requests(start: Start) -> None:
    server = start("--head-seconds", "0.5", *SOON)
    with server.connect() as client:
        client.send(get("/hello/1") + get("/late/2") + b"GET /hel")
        assert [client.answer().text for _ in range(2)] == ["hello 1", "late 2"]
        assert_timed_out(client)


def test_the_time_for_a_head_counts_from_its_first_octet(start: Start) -> None:
    """Neither from the start of the connection, nor from the request before."""
    server = start("--head-seconds", "1", "--idle-seconds", "60", *SOON)
    with server.connect() as client:
        for number in range(3):
            time.sleep(0.7)
            assert client.ask(get(f"/hello/{number}")).text == f"hello {number}"


def test_the_time_for_a_head_ends_with_the_head(start: Start) -> None:
    server = start("--head-seconds", "0.3", *SOON)
    with server.connect() as client:
        client.send(get("/when/a"))
        server.until_recorded("a started")
        assert client.quiet(1)
        server.allow("a")
        assert client.answer().text == "when a"


# The content.

@pytest.mark.parametrize("begun", [
    post_head("/echo", "Content-Length: 100"),
    post_head("/echo", "Content-Length: 100") + b"some",
    post_head("/echo", "Transfer-Encoding: chunked") + b"5\r\nso",
    post_head("/echo", "Transfer-Encoding: chunked") + chunk(b"some") + b"0\r\n",
    post_head("/upload/a", "Content-Length: 100") + b"some"],
    ids=["none", "some", "within a chunk", "within the trailers", "streamed"])
def test_content_that_stops_gets_408(start: Start, begun: bytes) -> None:
    server = start("--content-seconds", "0.5", *SOON)
    with server.connect() as client:
        client.send(begun)
        assert_timed_out(client)
    server.lives()
    assert "upload of a: whole" not in server.record()


def test_content_below_the_least_rate_gets_408(start: Start) -> None:
    """Each piece is in time; the rate is 20 octets a second where 1,000 are asked for."""
    server = start("--content-seconds", "1", "--content-bytes-per-second", "1000", *SOON)
    with server.connect() as client:
        client.send(post_head("/echo", "Content-Length: 10000"))
        trickle(client, b"x" * 10_000, 0.05)
        assert_timed_out(client)


def test_content_above_the_least_rate_is_taken(start: Start) -> None:
    """Longer than content_seconds altogether, each pause shorter."""
    server = start("--content-seconds", "2", "--content-bytes-per-second", "100", *SOON)
    with server.connect() as client:
        client.send(post_head("/echo", "Content-Length: 60000"))
        for _ in range(6):
            time.sleep(0.5)
            client.send(b"x" * 10_000)
        assert client.answer().content == b"x" * 60_000


def test_a_client_is_not_blamed_for_a_handler_that_does_not_read(start: Start) -> None:
    """The server itself pauses reading; the time for content does not run against the client."""
    server = start("--content-seconds", "0.5", "--content-bytes-per-second", "100000", *SOON)
    with server.connect() as client:
        thread = client.send_beside(post("/upload-late/a", b"x" * 20_000_000))
        server.until_recorded("a started")
        assert client.quiet(2)
        server.allow("a")
        assert client.answer().json["bytes"] == 20_000_000
        thread.join()


# Between requests.

@pytest.mark.parametrize("before", [b"", get("/hello/1"), post("/echo", b"")], ids=["none", "get", "post"])
def test_an_idle_connection_is_closed_without_a_word(start: Start, before: bytes) -> None:
    server = start("--idle-seconds", "0.5", *SOON)
    sockets = server.sockets()
    with server.connect() as client:
        if before:
            assert client.ask(before).status == 200
        client.ends()
    until(lambda: server.sockets() <= sockets, "the server closes its side")


def test_a_connection_in_use_is_not_idle(start: Start) -> None:
    server = start("--idle-seconds", "1.5", *SOON)
    with server.connect() as client:
        for number in range(4):
            time.sleep(0.5)
            assert client.ask(get(f"/hello/{number}")).text == f"hello {number}"
        client.send(get("/when/a"))
        server.until_recorded("a started")
        assert client.quiet(2)
        server.allow("a")
        assert client.answer().text == "when a"


# A client that does not take what it is sent.

@pytest.mark.parametrize("path", ["/download-async/1000000/a", "/download/1000000"])
def test_a_client_that_does_not_read_is_cut(start: Start, path: str) -> None:
    server = start("--send-seconds", "0.5", *SOON)
    sockets = server.sockets()
    with server.connect(buffers=65536) as client:
        client.send(get(path))
        until(lambda: server.sockets() > sockets, "the server accepts")
        until(lambda: server.sockets() <= sockets, "the server cuts the client")
        # By a reset, since the kernel would keep for it what was sent, for as long as the client lives.
        assert client.was_reset()
        with pytest.raises(Truncated):
            client.answer()
    if "async" in path:
        server.until_recorded("a cleaned up, whole: False")
    server.lives()


def test_a_client_that_reads_slowly_is_not_cut(start: Start) -> None:
    """4 MB, with pauses that are together longer than send_seconds."""
    server = start("--send-seconds", "2", *SOON)
    with server.connect(buffers=65536) as client:
        client.send(get("/download/64"))
        got, pauses = 0, 0
        for piece in client.pieces(client.head()):
            got += len(piece)
            if got > pauses * 500_000:
                pauses += 1
                time.sleep(0.4)
        assert got == 64 * 65536


def test_time_for_sending_does_not_run_while_the_handler_waits(start: Start) -> None:
    server = start("--send-seconds", "0.3", "--idle-seconds", "0.3", *SOON)
    with server.connect() as client:
        client.send(get("/download-when/a"))
        pieces = client.pieces(client.head())
        assert next(pieces) == b"first,"
        assert client.quiet(1)
        server.allow("a")
        assert b"".join(pieces) == b"second"


# A client that has closed its side.

def test_a_client_that_closed_its_side_does_not_wait_for_ever(start: Start) -> None:
    """It is cut, and its handlers are cancelled: both that run, and none that waits behind them."""
    server = start("--half-close-seconds", "0.5", *SOON)
    with server.connect() as client:
        client.send(get("/hello/1") + get("/when/a") + get("/when/b") + post("/when/never", b"x"))
        client.half_close()
        assert client.answer().text == "hello 1"
        with pytest.raises(Truncated):
            client.answer()
    for name in "ab":
        server.until_recorded(f"{name} cancelled, client gone: True")
        server.until_recorded(f"{name} cleaned up")
    server.lives()
    assert "never started" not in server.record()


def test_a_client_that_closed_its_side_is_served_while_answers_leave(start: Start) -> None:
    """Six answers take longer than half_close_seconds altogether, none of them alone."""
    server = start("--half-close-seconds", "1.5", *SOON)
    names = [f"n{number}" for number in range(6)]
    with server.connect() as client:
        client.send(b"".join(get(f"/when/{name}") for name in names))
        client.half_close()
        for name in names:
            time.sleep(0.4)
            server.allow(name)
            assert client.answer().text == f"when {name}"
        client.ends()


# The others.

def test_honest_clients_are_served_beside_tricklers(server: Server) -> None:
    tricklers = [server.connect() for _ in range(30)]
    octets = get("/hello/slow") + post_head("/echo", "Content-Length: 1000") + b"x" * 100
    with server.connect() as honest:
        for octet in octets:
            for trickler in tricklers:
                trickler.send(bytes([octet]))
            assert honest.ask(get("/late/honest")).text == "late honest"
    for trickler in tricklers:
        assert trickler.answer().text == "hello slow"
        trickler.reset()
