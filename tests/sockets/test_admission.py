"""How many connections and requests a worker takes, over real sockets and with real descriptors."""

from __future__ import annotations

import contextlib
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Start
from .process import Server, until
from .wire import Client, get, post

pytestmark = pytest.mark.plain  # A handshake would wait where nothing is accepted.

BRIEF = ("--check-seconds", "0.1")
FULL = "All 4 connections are in use, and further clients wait (--connections)\n"


@contextlib.contextmanager
def clients(server: Server, count: int) -> Iterator[list[Client]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(server.connect()) for _ in range(count)]


def busy(server: Server, client: Client, name: str) -> None:
    """A request that is answered when the test allows it."""
    client.send(get(f"/when/{name}"))
    server.until_recorded(f"{name} started")


# -- Connections -----------------------------------------------------------------------------

def test_the_connection_that_is_idle_for_longest_goes_first(start: Start) -> None:
    server = start("--connections", "4", "--idle-seconds", "600", *BRIEF)
    with clients(server, 3) as (works, first, second):
        busy(server, works, "a")
        assert first.ask(get("/hello/1")).text == "hello 1"
        first.quiet(0.5)  # so that it is idle for longer, by some looks of the server
        assert second.ask(get("/hello/2")).text == "hello 2"
        second.quiet(0.3)
        with server.connect() as fourth:
            assert fourth.ask(get("/hello/4")).text == "hello 4"
            first.ends()
            assert second.ask(get("/hello/2")).text == "hello 2"
        server.allow("a")
        assert works.answer().text == "when a"


def test_where_none_is_idle_a_newcomer_waits_until_one_has_gone(start: Start) -> None:
    server = start("--connections", "4", *BRIEF)
    with clients(server, 4) as all_of_them:
        for number, client in enumerate(all_of_them):
            busy(server, client, f"{number}")
        with clients(server, 3) as waiting:
            for client in waiting:
                client.send(get("/hello/1"))
            assert all(client.quiet(0.3) for client in waiting)
            server.until_complained(FULL)
            server.allow("0")
            assert all_of_them[0].answer().text == "when 0"
            all_of_them[0].sock.close()
            for client in waiting:
                assert client.answer().text == "hello 1"
                client.sock.close()
        for number, client in enumerate(all_of_them[1:], 1):
            server.allow(f"{number}")
            assert client.answer().text == f"when {number}"


def test_connections_that_nobody_uses_make_room(start: Start) -> None:
    """A flood of clients that say nothing does not keep an honest one out, however often it comes."""
    server = start("--connections", "4", "--idle-seconds", "600", *BRIEF)
    for _ in range(3):
        with clients(server, 12):
            server.lives()
    assert server.complaints() in ("", FULL)
    server.until_complained(server.complaints())


def test_a_worker_that_accepts_nothing_stops_all_the_same(start: Start) -> None:
    server = start("--connections", "2", "--drain-seconds", "600", *BRIEF)
    with clients(server, 2) as (one, other), server.connect() as waits:
        busy(server, one, "a")
        busy(server, other, "b")
        waits.send(get("/hello/1"))
        server.until_complained("All 2 connections are in use, and further clients wait (--connections)\n")
        server.signal(signal.SIGTERM)
        until(server.refuses, "the server listens no longer")
        server.allow("a")
        server.allow("b")
        for client in (one, other):
            assert client.answer().closes
            client.ends()
        server.exits()


def test_a_unix_socket_stays_while_nothing_is_accepted(start: Start, tmp_path: Path) -> None:
    server = start("--connections", "1", "--uds", f"{tmp_path}/socket", *BRIEF)
    with server.connect() as client:
        busy(server, client, "a")
        with server.connect() as waits:
            waits.send(get("/hello/1"))
            assert waits.quiet(0.3)
            server.allow("a")
            assert client.answer().text == "when a"
            client.sock.close()
            assert waits.answer().text == "hello 1"
    server.until_complained("further clients wait (--connections)\n")


def test_other_protocols_count(start: Start) -> None:
    server = start("--connections", "2", *BRIEF)
    upgrade = get("/shout", "Connection: upgrade", "Upgrade: shout")
    with clients(server, 2) as (one, other):
        for client in (one, other):
            client.send(upgrade)
            assert client.head().status == 101
        with server.connect() as waits:
            waits.send(get("/hello/1"))
            assert waits.quiet(0.3)
            other.reset()
            assert waits.answer().text == "hello 1"
    server.until_complained("further clients wait (--connections)\n")


# -- Connections of one client -------------------------------------------------------------------

def connect_from(server: Server, address: str) -> Client:
    return Client(socket.create_connection((server.host, server.port), 60, (address, 0)))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no 127.0.0.2")
def test_a_client_gets_its_share_and_no_more(start: Start) -> None:
    server = start("--connections-per-client", "2", *BRIEF)
    with connect_from(server, "127.0.0.2") as one, connect_from(server, "127.0.0.2") as other:
        for client in (one, other):
            assert client.ask(get("/hello/1")).text == "hello 1"
        for _ in range(3):
            with connect_from(server, "127.0.0.2") as third, contextlib.suppress(ConnectionResetError):
                assert third.sock.recv(1) == b""
        with connect_from(server, "127.0.0.3") as stranger:
            assert stranger.ask(get("/hello/1")).text == "hello 1"
        with clients(server, 5) as behind_a_proxy:
            for client in behind_a_proxy:
                assert client.ask(get("/hello/1")).text == "hello 1"
        other.sock.close()
        until(lambda: _is_served(server, "127.0.0.2"), "a place is free again")
    server.until_complained("127.0.0.2 has 2 connections and gets no more (--connections-per-client)\n")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no 127.0.0.2")
def test_another_protocol_gives_its_place_back(start: Start) -> None:
    server = start("--connections-per-client", "1", *BRIEF)
    with connect_from(server, "127.0.0.2") as client:
        client.send(get("/shout", "Connection: upgrade", "Upgrade: shout") + b"hello.")
        assert client.head().status == 101
        assert not _is_served(server, "127.0.0.2")
        while client.receive(100):
            pass
    until(lambda: _is_served(server, "127.0.0.2"), "the place is free again")
    server.until_complained("127.0.0.2 has 1 connections and gets no more (--connections-per-client)\n")


def _is_served(server: Server, address: str) -> bool:
    with connect_from(server, address) as client, contextlib.suppress(ConnectionError):
        client.send(get("/hello/1"))
        return client.sock.recv(1) != b""
    return False


# -- Requests in flight ----------------------------------------------------------------------

def test_above_the_requests_in_flight_503_says_when_to_come_again(start: Start) -> None:
    """No handler is called, the connection goes on, and what is in flight is not disturbed."""
    server = start("--requests-in-flight", "2", *BRIEF)
    with clients(server, 3) as (one, other, third):
        busy(server, one, "a")
        busy(server, other, "b")
        for octets in (get("/hello/3"), get("/when/c"), post("/echo", b"content"), get("/ready/3")):
            answer = third.ask(octets)
            assert (answer.status, answer.field("Retry-After"), answer.closes) == (503, "1", False)
        server.allow("a")
        assert one.answer().text == "when a"
        for octets, text in ((get("/hello/3"), "hello 3"), (post("/echo", b"content"), "content")):
            assert third.ask(octets).text == text
        server.allow("b")
        assert other.answer().text == "when b"
    assert "c started" not in server.record()


def test_a_pipeline_is_answered_in_order_above_the_requests_in_flight(start: Start) -> None:
    server = start("--requests-in-flight", "2", *BRIEF)
    with server.connect() as client:
        client.send(get("/hello/1") + b"".join(get(f"/when/{name}") for name in "abc") + get("/hello/2"))
        assert client.answer().text == "hello 1"
        server.until_recorded("b started")
        for name in "ab":
            server.allow(name)
        assert [client.answer().status for _ in range(4)] == [200, 200, 503, 503]
        assert client.ask(get("/hello/3")).text == "hello 3"


# -- Descriptors -----------------------------------------------------------------------------

@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="the limit of another process is Linux's")
def test_without_descriptors_it_neither_spins_nor_floods_its_log(start: Start, loop: str) -> None:
    """And serves again when there are some."""
    server = start("--idle-seconds", "600", *BRIEF, dev=False)
    server.lives()
    soft, hard = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
    with server.connect() as works:
        busy(server, works, "a")
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (server.descriptors() + 5, hard))
        with clients(server, 60):
            before = server.seconds()
            works.quiet(1.5)
            assert server.seconds() - before < 1
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (soft, hard))
        server.allow("a")
        assert works.answer().text == "when a"
    server.lives()
    if loop == "asyncio":  # The other closes what it has no descriptor for, and says nothing.
        server.until_complained("No file descriptor is left to accept connections with: raise the limit "
                                "(ulimit -n, LimitNOFILE), or lower --connections\n")


def test_fewer_descriptors_than_connections_are_told(start: Start) -> None:
    server = start("--connections", "1000000000")
    server.until_complained("raise that limit (ulimit -n, LimitNOFILE), or lower --connections\n")
    server.lives()
