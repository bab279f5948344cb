"""How the server stops: what is in flight is finished, nothing new begins, and it exits with 0.

A request in flight holds the server up, so that a test sees what it does while it drains.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .conftest import Start
from .process import Server, until
from .wire import Client, Truncated, chunk, get, post, post_head

BRIEF = ("--linger-seconds", "0.2", "--check-seconds", "0.05")
"""For clients that do not close their side as soon as the server has closed its own."""
BOTH = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])


@contextmanager
def draining(server: Server, number: signal.Signals = signal.SIGTERM) -> Iterator[None]:
    """Within, the server drains and waits for one request; behind, it has exited with 0."""
    with server.connect() as held, server.connect() as idle:
        assert idle.ask(get("/hello/0")).text == "hello 0"
        held.send(get("/when/held"))
        server.until_recorded("held started")
        server.signal(number)
        until(server.refuses, "the server takes no more connections")
        idle.ends()  # So all others drain by now, too.
        yield
        assert server.running()
        server.allow("held")
        answer = held.answer()
        assert (answer.text, answer.closes) == ("when held", True)
        held.ends()
    server.exits()


@BOTH
def test_an_idle_server_exits_at_once(start: Start, number: signal.Signals) -> None:
    """Its clients are told at once, and none of the time limits has to strike."""
    server = start("--drain-seconds", "600", "--idle-seconds", "600", "--linger-seconds", "600",
                   "--arrival-seconds", "0.01")
    with server.connect() as fresh, server.connect() as used:
        assert used.ask(get("/hello/1")).text == "hello 1"
        server.signal(number)
        for client in (fresh, used):
            client.ends()
    server.exits()
    assert server.record() == ["shutdown"]


@BOTH
def test_what_is_in_flight_is_finished(start: Start, number: signal.Signals) -> None:
    server = start("--drain-seconds", "600", "--idle-seconds", "600", *BRIEF)
    with server.connect() as idle, server.connect() as unused:
        assert idle.ask(get("/hello/1")).text == "hello 1"
        with draining(server, number):
            for client in (idle, unused):
                client.ends()
    assert server.record() == ["held started", "held cleaned up", "shutdown"]


def test_who_has_just_connected_is_answered(start: Start) -> None:
    """The server may have accepted it before the first octet is there, which is on its way."""
    server = start("--drain-seconds", "600", "--arrival-seconds", "600", *BRIEF)
    with server.connect() as first, server.connect() as used:
        assert used.ask(get("/hello/1")).text == "hello 1"
        with draining(server):
            used.ends()
            first.quiet(0.2)
            answer = first.ask(get("/hello/2"))
            assert (answer.text, answer.closes) == ("hello 2", True)
            first.ends()


def test_who_has_just_connected_and_says_nothing_does_not_hold_the_server_up(start: Start) -> None:
    server = start("--drain-seconds", "600", "--arrival-seconds", "0.5", *BRIEF)
    with server.connect() as silent, server.connect() as used:
        assert used.ask(get("/hello/1")).text == "hello 1"  # The one ahead has been accepted, too.
        server.signal(signal.SIGTERM)
        silent.ends()
    server.exits()


def test_idle_clients_that_do_not_close_their_side_do_not_hold_the_server_up(start: Start) -> None:
    server = start("--drain-seconds", "600", *BRIEF)
    clients = [server.connect() for _ in range(20)]
    for client in clients:
        assert client.ask(get("/hello/1")).text == "hello 1"
    server.signal(signal.SIGTERM)
    server.exits()
    for client in clients:
        client.ends()
        client.sock.close()


def test_why_it_does_not_stop_at_once_is_told(start: Start) -> None:
    server = start("--drain-seconds", "600", *BRIEF)
    with draining(server):
        until(lambda: server.finishing() != "", "the server says why it waits")
    assert server.finishing() == "Finishing 1 request, at most 600 s; another signal stops at once.\n"


def test_a_pipeline_that_has_begun_is_answered(start: Start) -> None:
    """All that had been received when the signal came; only the last answer says close."""
    server = start("--drain-seconds", "600", *BRIEF)
    with server.connect() as client:
        client.send(get("/when/a") + get("/hello/2") + post("/echo", b"three") + get("/late/4"))
        server.until_recorded("a started")
        with draining(server):
            server.allow("a")
            answers = [client.answer() for _ in range(4)]
            assert [answer.text for answer in answers] == ["when a", "hello 2", "three", "late 4"]
            assert [answer.closes for answer in answers] == [False, False, False, True]
            client.ends()


def test_content_half_read_is_read_and_answered(start: Start) -> None:
    server = start("--drain-seconds", "600", *BRIEF)
    with server.connect() as whole, server.connect() as streamed:
        whole.send(post_head("/echo", "Content-Length: 10") + b"hello")
        streamed.send(post_head("/upload/a", "Transfer-Encoding: chunked") + chunk(b"hello"))
        whole_until_read(server, whole, streamed)
        with draining(server):
            whole.send(b"world")
            streamed.send(chunk(b"world") + b"0\r\n\r\n")
            echoed, counted = whole.answer(), streamed.answer()
            assert (echoed.text, echoed.closes) == ("helloworld", True)
            assert (counted.json["bytes"], counted.closes) == (10, True)
            whole.ends()
            streamed.ends()


def whole_until_read(server: Server, *clients: Client) -> None:
    """By now the server has read what these clients sent: it has answered one that came later."""
    server.lives()
    assert all(client.quiet(0.1) for client in clients)


def test_a_head_half_read_is_read_and_answered(start: Start) -> None:
    """And nothing behind it, or a client that always sends would hold the server up."""
    server = start("--drain-seconds", "600", *BRIEF)
    with server.connect() as client:
        client.send(b"GET /hello/1 HT")
        whole_until_read(server, client)
        with draining(server):
            client.send(b"TP/1.1\r\nHost: server.example\r\n\r\n" + get("/hello/2"))
            answer = client.answer()
            assert (answer.text, answer.closes) == ("hello 1", True)
            client.ends()


def test_a_download_in_flight_is_finished(start: Start) -> None:
    server = start("--drain-seconds", "600", *BRIEF)
    with server.connect() as client, server.connect(buffers=65536) as large:
        client.send(get("/download-when/a"))
        pieces = client.pieces(client.head())
        assert next(pieces) == b"first,"
        large.send(get("/download-async/300/b"))
        large_head = large.head()
        with draining(server):
            assert sum(len(piece) for piece in large.pieces(large_head)) == 300 * 65536
            large.ends()
            server.allow("a")
            assert b"".join(pieces) == b"second"
            client.ends()
    assert "b cleaned up, whole: True" in server.record()


def test_the_time_to_drain_is_bounded(start: Start) -> None:
    """Handlers that do not finish are cancelled, and their clean-up code runs."""
    server = start("--drain-seconds", "0.5", "--check-seconds", "0.05")
    with server.connect() as waits, server.connect(buffers=65536) as downloads, server.connect() as uploads:
        waits.send(get("/when/a"))
        downloads.send(get("/download-async/1000000/b"))
        uploads.send(post_head("/upload/c", "Content-Length: 10") + b"hello")
        server.until_recorded("a started")
        server.until_recorded("b started")
        whole_until_read(server, uploads)
        server.signal(signal.SIGTERM)
        server.exits(complaint="Not all requests were finished in 0.5 s\n")
        with pytest.raises(Truncated):
            downloads.answer()
    notes = server.record()
    assert {"a cleaned up", "b cleaned up, whole: False"} < set(notes)
    assert "upload of c: whole" not in notes
    assert any(note.startswith("upload of c") for note in notes)
    assert notes[-1] == "shutdown"


@BOTH
def test_a_second_signal_ends_it_at_once(start: Start, number: signal.Signals) -> None:
    server = start("--drain-seconds", "600")
    with server.connect() as client:
        client.send(get("/when/a"))
        server.until_recorded("a started")
        server.signal(number)
        until(server.refuses, "the server takes no more connections")
        server.signal(number)
        server.exits(code=1)
        with pytest.raises(Truncated):
            client.answer()


@BOTH
def test_a_signal_within_a_start_up_hook(start: Start, number: signal.Signals) -> None:
    """The hook is cancelled; there is nothing yet to drain or to shut down."""
    server = start(hold=True)
    server.until_recorded("start-up began")
    server.signal(number)
    server.exits()
    assert server.record() == ["start-up began", "start-up cleaned up"]


def test_a_unix_socket_is_gone_when_the_server_has_stopped(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    server = start("--uds", str(path))
    assert path.is_socket()
    with draining(server):
        pass
    assert not path.exists()
