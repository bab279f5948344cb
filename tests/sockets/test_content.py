"""Content in both directions, Expect, HEAD, and HTTP/1.0 (sections H, I and L)."""

from __future__ import annotations

import hashlib
import os

import pytest

from .conftest import Start
from .process import Server
from .wire import Client, chunk, get, post, post_head

CONTINUE = "Expect: 100-continue"


def sha256(content: bytes) -> dict[str, object]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


# Uploads and downloads.

def test_upload_with_a_length_and_in_chunks(server: Server) -> None:
    content = os.urandom(3_000_000)
    chunks = b"".join(chunk(content[start:start + 70_001]) for start in range(0, len(content), 70_001))
    with server.connect() as client:
        client.send_beside(post("/upload/1", content)
                           + post_head("/upload/2", "Transfer-Encoding: chunked") + chunks + b"0\r\n\r\n"
                           + get("/hello/3"))
        assert client.answer().json == sha256(content)
        assert client.answer().json == sha256(content)
        assert client.answer().text == "hello 3"


def test_upload_of_nothing(server: Server) -> None:
    with server.connect() as client:
        for octets in (post("/upload/1", b""), post_head("/upload/2"),
                       post_head("/upload/3", "Transfer-Encoding: chunked") + b"0\r\n\r\n"):
            assert client.ask(octets).json == sha256(b"")


def test_a_streaming_handler_starts_before_its_content_is_there(start: Start) -> None:
    server = start()
    with server.connect() as client:
        client.send(post_head("/upload-late/a", "Content-Length: 10") + b"hello")
        server.until_recorded("a started")
        server.allow("a")
        assert client.ask(b"world").json == sha256(b"helloworld")


def test_many_uploads_at_once(server: Server) -> None:
    content = os.urandom(500_000)
    clients = [server.connect() for _ in range(20)]
    for client in clients:
        client.send_beside(post("/upload/many", content))
    for client in clients:
        assert client.answer().json == sha256(content)
        client.sock.close()


@pytest.mark.parametrize("path", ["/download/50", "/download-async/50/a"])
def test_download_in_chunks(server: Server, path: str) -> None:
    with server.connect() as client:
        client.send(get(path) + get("/hello/2"))
        answer = client.answer()
        assert answer.field("Transfer-Encoding") == "chunked"
        assert answer.content == bytes(range(256)) * 256 * 50
        assert client.answer().text == "hello 2"


def test_pieces_leave_as_they_are_made(start: Start) -> None:
    server = start()
    with server.connect() as client:
        client.send(get("/download-when/a") + get("/hello/2"))
        pieces = client.pieces(client.head())
        assert next(pieces) == b"first,"
        server.allow("a")
        assert b"".join(pieces) == b"second"
        assert client.answer().text == "hello 2"


@pytest.mark.parametrize("path", ["/hello/1", "/big/100000", "/download/3", "/missing"])
def test_head_is_get_without_content(server: Server, path: str) -> None:
    with server.connect() as client:
        client.send(get(path) + get(path, method="HEAD") + get(path))
        answers = [client.answer(), client.answer("HEAD"), client.answer()]
        for answer in answers:
            answer.head.fields.remove(("Date", answer.field("Date") or ""))
        assert answers[1].head == answers[0].head
        assert answers[1].content == b""
        assert answers[2].content == answers[0].content


# Expect: 100-continue.

def assert_continue(client: Client) -> None:
    interim = client.head()
    assert (interim.status, interim.fields) == (100, [])


@pytest.mark.parametrize("path", ["/echo", "/upload/a"])
def test_continue_is_sent_and_then_the_answer(server: Server, path: str) -> None:
    with server.connect() as client:
        client.send(post_head(path, "Content-Length: 5", CONTINUE))
        assert_continue(client)
        assert client.ask(b"hello").status == 200
        client.send(post_head(path, "Transfer-Encoding: chunked", "expect: 100-Continue"))
        assert_continue(client)
        assert client.ask(chunk(b"hello") + b"0\r\n\r\n").status == 200


def test_continue_is_sent_when_the_handler_first_wants_the_content(start: Start) -> None:
    server = start()
    with server.connect() as client:
        client.send(post_head("/upload-late/a", "Content-Length: 5", CONTINUE))
        server.until_recorded("a started")
        assert client.quiet(0.3)
        server.allow("a")
        assert_continue(client)
        assert client.ask(b"hello").json == sha256(b"hello")


def test_no_continue_when_content_has_arrived_already(server: Server) -> None:
    with server.connect() as client:
        assert client.ask(post("/echo", b"hello", CONTINUE)).text == "hello"
        client.send(post_head("/upload/a", "Content-Length: 5", CONTINUE) + b"hel")
        assert client.ask(b"lo").json == sha256(b"hello")


def test_continue_takes_its_place_in_the_pipeline(start: Start) -> None:
    """Never ahead of an earlier answer; and those behind wait for the content."""
    server = start()
    with server.connect() as client:
        client.send(get("/when/a") + post_head("/echo", "Content-Length: 5", CONTINUE))
        server.until_recorded("a started")
        assert client.quiet(0.3)
        server.allow("a")
        assert client.answer().text == "when a"
        assert_continue(client)
        client.send(b"hello" + get("/hello/3"))
        assert client.answer().text == "hello"
        assert client.answer().text == "hello 3"


@pytest.mark.parametrize("octets", [post_head("/echo", CONTINUE), get("/hello/1", CONTINUE)],
                         ids=["post", "get"])
def test_expect_without_content_is_ignored(server: Server, octets: bytes) -> None:
    with server.connect() as client:
        assert client.ask(octets).status == 200


def test_expect_from_http_1_0_is_ignored(server: Server) -> None:
    with server.connect() as client:
        client.send(post_head("/echo", "Content-Length: 5", CONTINUE, version="1.0"))
        assert client.quiet(0.3)
        assert client.ask(b"hello").text == "hello"


def test_another_expectation_is_417(server: Server) -> None:
    with server.connect() as client:
        assert client.ask(post_head("/echo", "Content-Length: 5", "Expect: tea")).status == 417


def test_a_final_answer_before_the_content_was_asked_for(server: Server) -> None:
    """H4: no 100; a client that sends the content nevertheless may go on."""
    with server.connect() as client:
        answer = client.ask(post_head("/unread/1", "Content-Length: 5", CONTINUE))
        assert (answer.status, answer.text) == (200, "unread 1")
        if answer.closes:
            client.ends()
        else:
            assert client.ask(b"hello" + get("/hello/2")).text == "hello 2"


# HTTP/1.0.

def test_http_1_0_closes(server: Server) -> None:
    with server.connect() as client:
        client.send(b"GET /hello/1 HTTP/1.0\r\n\r\n")
        answer = client.answer()
        assert (answer.text, answer.closes) == ("hello 1", True)
        client.ends()


def test_http_1_0_with_keep_alive_goes_on(server: Server) -> None:
    with server.connect() as client:
        for number in range(3):
            answer = client.ask(get(f"/hello/{number}", "Connection: Keep-Alive", version="1.0"))
            assert answer.text == f"hello {number}"
            assert (answer.field("Connection") or "").lower() == "keep-alive"
        assert client.ask(post("/echo", b"last", version="1.0")).closes
        client.ends()


@pytest.mark.parametrize("fields", [[], ["Connection: keep-alive"]])
def test_a_stream_to_http_1_0_ends_with_the_connection(server: Server, fields: list[str]) -> None:
    for path in ("/download/20", "/download-async/20/a"):
        with server.connect() as client:
            client.send(get(path, *fields, version="1.0"))
            answer = client.answer()
            assert (answer.field("Transfer-Encoding"), answer.closes) == (None, True)
            assert len(answer.content) == 20 * 65536
            client.ends()


def test_connection_close_is_heard_and_said(server: Server) -> None:
    with server.connect() as client:
        answer = client.ask(get("/hello/1", "Connection: x-other, CLOSE"))
        assert (answer.text, answer.closes) == ("hello 1", True)
        client.ends()


def test_an_error_of_a_handler_leaves_the_connection_open(server: Server) -> None:
    with server.connect() as client:
        for path, status in (("/refuse", 400), ("/raise/1", 500), ("/missing", 404), ("/hello/1", 200)):
            answer = client.ask(get(path))
            assert (answer.status, answer.closes) == (status, False)
        assert client.ask(get("/counter", method="DELETE")).field("Allow") is not None


