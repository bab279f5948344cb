"""How connections end (shared/http-rules.md, section K): half-closed, reset, after an error."""

from __future__ import annotations

import pytest

from .conftest import Start
from .process import Server, until
from .wire import Truncated, chunk, get, post, post_head

MIB = 1 << 20


# A client that half-closes (K1, K2).

def test_half_close_behind_complete_requests(start: Start) -> None:
    server = start()
    with server.connect() as client:
        client.send(get("/hello/1") + get("/when/a") + post("/echo", b"x" * 100_000))
        client.half_close()
        assert client.answer().text == "hello 1"
        server.allow("a")
        assert client.answer().text == "when a"
        assert client.answer().content == b"x" * 100_000
        client.ends()


def test_half_close_behind_a_request_for_a_long_download(server: Server) -> None:
    with server.connect() as client:
        client.send(get("/download/200"))
        client.half_close()
        assert len(client.answer().content) == 200 * 65536
        client.ends()


def test_half_close_behind_a_request_alone(server: Server) -> None:
    with server.connect() as client:
        client.send(get("/late/1"))
        client.half_close()
        assert client.answer().text == "late 1"
        client.ends()


def test_half_close_without_a_request(server: Server) -> None:
    with server.connect() as client:
        client.half_close()
        client.ends()


def test_half_close_within_a_head(server: Server) -> None:
    """What is complete is answered; the incomplete head is dropped, or gets a 400."""
    with server.connect() as client:
        client.send(get("/late/1") + b"GET /hello/2 HTTP/1.1\r\nHost: server.ex")
        client.half_close()
        assert client.answer().text == "late 1"
        try:
            assert client.answer().status == 400
        except Truncated:
            pass
        else:
            client.ends()


@pytest.mark.parametrize("rest", [b"Content-Length: 10\r\n\r\nhello",
                                  b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"],
                         ids=["length", "chunked"])
def test_half_close_within_content_reaches_no_handler_as_complete(start: Start, rest: bytes) -> None:
    server = start()
    head = b"POST %b HTTP/1.1\r\nHost: server.example\r\n"
    for path in (b"/counter", b"/upload/a"):
        with server.connect() as client:
            client.send(head % path + rest)
            client.half_close()
            answer = client.answer()
            assert (answer.status, answer.closes) == (400, True)
            client.ends()
    server.until_recorded("upload of a: DisconnectError")
    with server.connect() as client:
        assert client.ask(get("/counter")).text == "0"


# A client that vanishes (K3).

def test_reset_cancels_an_async_handler(start: Start) -> None:
    server = start()
    client = server.connect()
    client.send(get("/when/a"))
    server.until_recorded("a started")
    client.reset()
    server.until_recorded("a cancelled, client gone: True")
    server.until_recorded("a cleaned up")
    server.lives()


def test_reset_cancels_all_handlers_of_a_pipeline(start: Start) -> None:
    server = start()
    client = server.connect()
    client.send(b"".join(get(f"/when/n{number}") for number in range(20)) + post("/when/never", b"x"))
    for number in range(20):
        server.until_recorded(f"n{number} started")
    client.reset()
    for number in range(20):
        server.until_recorded(f"n{number} cleaned up")
    server.lives()
    assert "never started" not in server.record()


def test_reset_within_an_upload(start: Start) -> None:
    server = start()
    client = server.connect()
    client.send(post_head("/upload/a", "Content-Length: 1000000") + b"x" * 200_000)
    client.reset()
    until(lambda: any(note.startswith("upload of a") for note in server.record()), "the handler learns it")
    assert server.record()[0] in ("upload of a: DisconnectError", "upload of a: CancelledError")
    server.lives()


def test_reset_within_an_upload_that_the_handler_is_not_reading(start: Start) -> None:
    server = start()
    client = server.connect()
    client.send(post_head("/upload-late/a", "Transfer-Encoding: chunked") + chunk(b"x" * 100_000))
    server.until_recorded("a started")
    client.reset()
    server.until_recorded("a cleaned up")
    assert "upload of a: whole" not in server.record()
    server.lives()


@pytest.mark.parametrize("how", ["reset", "close"])
def test_a_client_gone_while_the_server_does_not_read(start: Start, how: str) -> None:
    """The loop says nothing of it then: the pipeline is full, or the handler takes no content."""
    server = start("--half-close-seconds", "0.3", "--check-seconds", "0.05")
    pipeline = b"".join(get(f"/when/n{number}") for number in range(200))
    for octets, name in ((pipeline, "n127"), (post("/upload-late/a", b"x" * 400_000), "a")):
        client = server.connect()
        client.send_beside(octets)
        server.until_recorded(f"{name} started")
        assert client.quiet(0.3)
        if how == "reset":
            client.reset()
        else:
            client.sock.close()
        server.until_recorded(f"{name} cleaned up")
    assert "upload of a: whole" not in server.record()
    server.lives()


@pytest.mark.parametrize("how", ["reset", "close"])
def test_a_client_gone_within_a_download(start: Start, how: str) -> None:
    server = start()
    client = server.connect(buffers=65536)
    client.send(get("/download-async/1000000/a"))
    head = client.head()
    assert head.status == 200
    next(client.pieces(head))
    if how == "reset":
        client.reset()
    else:
        client.sock.close()
    server.until_recorded("a cleaned up, whole: False")
    server.lives()


def test_resets_in_the_middle_of_everything(start: Start) -> None:
    """After 200 clients that vanished, at all kinds of places, nothing is left of them."""
    server = start()
    before = server.sockets()
    cases = [b"", b"GET /he", get("/hello/1")[:-2], get("/hello/1"), get("/late/1") * 100,
             get("/download/1000"), get("/download-async/1000/x"), post("/echo", b"x" * 100)[:-5],
             post("/upload/y", b"x" * 100_000)[:-5], get("/raise/1") * 10, b"\x16\x03\x01\x02\x00",
             post_head("/upload/z", "Transfer-Encoding: chunked") + b"5\r\nhe",
             post_head("/echo", "Content-Length: 5", "Expect: 100-continue")]
    for number in range(200):
        client = server.connect()
        client.send(cases[number % len(cases)])
        client.reset()
    server.lives()
    until(lambda: server.sockets() <= before, "the server closes what its clients left")
    server.lives()


# Closing after an error or with content unread (K4, I5).

def test_the_413_arrives_before_the_content_has_been_sent(start: Start) -> None:
    """The end is seen although the client has hardly begun, and long before lingering is over."""
    server = start("--linger-seconds", "600", "--linger-bytes", str(100 * MIB))
    with server.connect() as client:
        client.send(post_head("/echo", f"Content-Length: {50 * MIB}") + b"x" * 65536)
        answer = client.answer()
        assert (answer.status, answer.closes) == (413, True)
        client.ends()
        client.send(b"x" * MIB)  # No reset: the server reads on and throws away.
        client.ends()
        client.sock.close()
    server.lives()


def test_the_413_survives_a_client_that_sends_all_before_it_reads(start: Start) -> None:
    server = start("--content-bytes", "1000")
    with server.connect() as client:
        client.send(post("/echo", b"x" * (MIB - 100_000)))
        answer = client.answer()
        assert (answer.status, answer.closes) == (413, True)
        client.ends()


def test_the_400_survives_a_client_that_sends_on(server: Server) -> None:
    with server.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nbad line\r\n" + b"x" * (MIB - 100_000))
        assert client.answer().status == 400
        client.ends()


def test_lingering_is_bounded_in_time(start: Start) -> None:
    server = start("--linger-seconds", "0.3", "--check-seconds", "0.05")
    before = server.sockets()
    with server.connect() as client:
        assert client.ask(b"nonsense\r\n").status == 400
        client.ends()
        until(lambda: server.sockets() <= before, "the server closes at last")


def test_lingering_is_bounded_in_octets(start: Start) -> None:
    server = start("--linger-seconds", "600", "--linger-bytes", "100000")
    before = server.sockets()
    with server.connect() as client:
        assert client.ask(b"nonsense\r\n").status == 400
        client.send_beside(b"x" * 50 * MIB)
        until(lambda: server.sockets() <= before, "the server closes at last")


def test_little_unread_content_is_drained_and_the_connection_goes_on(server: Server) -> None:
    """I5: it is never taken for the next request."""
    with server.connect() as client:
        client.send(post("/unread/1", get("/hello/smuggled") * 100) + get("/hello/2"))
        answer = client.answer()
        assert (answer.text, answer.closes) == ("unread 1", False)
        assert client.answer().text == "hello 2"


def test_much_unread_content_ends_the_connection(server: Server) -> None:
    with server.connect() as client:
        client.send_beside(post("/unread/1", get("/hello/smuggled") * 40_000) + get("/hello/2"))
        answer = client.answer()
        assert (answer.text, answer.closes) == ("unread 1", True)
        client.ends()


def assert_ends_midway(server: Server, path: str) -> None:
    with server.connect() as client:
        client.send(get(path) + get("/hello/more"))
        pieces = client.pieces(client.head())
        assert next(pieces) == b"good so far"
        with pytest.raises(Truncated, match="the connection ended"):
            list(pieces)


def test_a_download_in_chunks_that_fails_midway_does_not_look_complete(server: Server) -> None:
    """K5; and nothing follows."""
    assert_ends_midway(server, "/download-broken")


def test_a_download_shorter_than_declared_does_not_look_complete(server: Server) -> None:
    """K5; it is a fault of the application, of which its log tells."""
    assert_ends_midway(server, "/download-short")
    server.until_complained("ResponseError: the content ends after 11 of 100 octets\n")
