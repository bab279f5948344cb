"""Another protocol on the same connection (shared/http-rules.md, section M)."""

from __future__ import annotations

import contextlib
import signal

import pytest

from .conftest import Start
from .process import until
from .tls import TLSSocket
from .wire import Client, Truncated, get

SHOUT = get("/shout", "Connection: upgrade", "Upgrade: shout")


def heard(client: Client, count: int) -> bytes:
    octets = b""
    while len(octets) < count:
        piece = client.receive(count - len(octets))
        if not piece:
            raise Truncated(f"after {octets!r}")
        octets += piece
    return octets


def assert_switched(client: Client) -> None:
    head = client.head()
    assert (head.status, head.field("Upgrade"), head.field("Connection")) == (101, "shout", "upgrade")


def test_the_octets_behind_101_belong_to_the_new_protocol(start: Start) -> None:
    """Also those that had been read already; to the end, which is the new protocol's own."""
    server = start()
    with server.connect() as client:
        client.send(get("/hello/1") + SHOUT + b"get / http/1.1\r\n\r\n")
        assert client.answer().text == "hello 1"
        assert_switched(client)
        assert heard(client, 18) == b"GET / HTTP/1.1\r\n\r\n"
        client.send(b"abc")
        assert heard(client, 3) == b"ABC"
        client.send(b"the end.")
        assert heard(client, 8) == b"THE END."
        client.ends()
    server.until_recorded("shout ended")


def test_a_large_amount_in_the_new_protocol(start: Start) -> None:
    server = start()
    with server.connect() as client:
        client.send(SHOUT)
        assert_switched(client)
        client.send_beside(b"x" * 5_000_000)
        assert heard(client, 5_000_000) == b"X" * 5_000_000


def test_the_new_protocol_has_no_time_limits_of_http(start: Start) -> None:
    server = start("--idle-seconds", "0.3", "--head-seconds", "0.3", "--check-seconds", "0.05")
    with server.connect() as client:
        client.send(SHOUT)
        assert_switched(client)
        assert client.quiet(1)
        client.send(b"abc")
        assert heard(client, 3) == b"ABC"


def test_a_reset_ends_the_new_protocol(start: Start) -> None:
    server = start()
    sockets = server.sockets()
    client = server.connect()
    client.send(SHOUT)
    assert_switched(client)
    client.reset()
    server.until_recorded("shout ended")
    until(lambda: server.sockets() <= sockets, "nothing is left of it")
    server.lives()


def test_requests_that_are_not_upgraded_go_on(start: Start) -> None:
    server = start()
    with server.connect() as client:
        client.send(get("/shout", "Connection: upgrade", "Upgrade: websocket") + get("/hello/2"))
        assert client.answer().text == "not upgraded"
        assert client.answer().text == "hello 2"
        client.send(get("/shout", "Connection: upgrade, close", "Upgrade: other") + get("/hello/2"))
        assert client.answer().closes
        client.ends()


def test_draining_bounds_the_new_protocol_too(start: Start) -> None:
    server = start("--drain-seconds", "0.5", "--check-seconds", "0.05")
    with server.connect() as client:
        client.send(SHOUT)
        assert_switched(client)
        server.signal(signal.SIGTERM)
        server.exits(complaint="Not all requests were finished in 0.5 s\n")
        # Over TLS, one that is cut is seen to be.
        with pytest.raises(Truncated) if isinstance(client.sock, TLSSocket) else contextlib.nullcontext():
            client.ends()
    assert server.record() == ["shout began", "shout ended", "shutdown"]
