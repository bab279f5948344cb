"""What the server believes of proxies: the configurations of docs/proxies.md, and clients that lie."""

from __future__ import annotations

import re
import shlex
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from .conftest import Start
from .process import ROOT, Server, until
from .proxy import reserved, running
from .test_memory import ASYNCIO_TRANSPORT
from .wire import Client, get, post

PAGE = (ROOT / "docs" / "proxies.md").read_text()
CLIENT = "127.0.0.2"
"""Not on the list of those who are believed, as 127.0.0.1 is, from which the proxies connect."""
LIES = (
    (), ("X-Forwarded-For: 6.6.6.6",),
    ("X-Forwarded-For: 6.6.6.6, 127.0.0.1", "X-Forwarded-For: 127.0.0.1"),
    ("Forwarded: for=6.6.6.6;proto=https;host=evil",),
    ('Forwarded: for="6.6.6.6',),
    ("X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil",
     "X-Forwarded-Port: 443",
     "Forwarded: for=6.6.6.6;proto=https;host=evil", "X-Real-IP: 6.6.6.6"),
)


class Shown(NamedTuple):
    """What the page shows under one heading: how the server is started, and the configuration of a proxy."""

    options: list[str]
    program: str
    text: str


def shown() -> dict[str, Shown]:
    blocks = re.compile(r"\n```sh\njapronto (.+) hello:app\n```\n\n```(\w+)\n([^`]*)```\n")
    sections = [section.partition("\n") for section in PAGE.split("\n### ")[1:]]
    return {title: Shown(shlex.split(options), program, text)
            for title, _, section in sections for options, program, text in blocks.findall(section)}


def test_each_configuration_is_run() -> None:
    assert len(shown()) == PAGE.count("```nginx") + PAGE.count("```haproxy") == PAGE.count("```") / 4


@contextmanager
def in_front(given: Shown, server: Server, directory: Path) -> Iterator[int]:
    """The proxy of a section in front of a server; gives the port that it listens on."""
    text = given.text.replace("/run/japronto/socket", server.uds or "")
    text = text.replace("127.0.0.1:8080", f"{server.host}:{server.port}")
    with reserved("127.0.0.1") as port:
        text = text.replace("bind :80", f"bind 127.0.0.1:{port}")
        text = text.replace("listen 80", f"listen 127.0.0.1:{port}")
        with running(given.program, text, directory, lambda: listens(port)):
            yield port


def listens(port: int) -> bool:
    try:
        connect(("127.0.0.1", port), "127.0.0.1").sock.close()
    except ConnectionRefusedError:
        return False
    return True


def connect(address: tuple[str, int], source: str) -> Client:
    return Client(socket.create_connection(address, source_address=(source, 0)))


@pytest.mark.parametrize("title", [
    pytest.param(title, marks=pytest.mark.program(given.program)) for title, given in shown().items()])
def test_a_configuration_of_the_page(start: Start, tmp_path: Path, title: str) -> None:
    """The client is who it is, whatever it says; and was asked for what it asked for."""
    given = shown()[title]
    options = [str(tmp_path / "socket") if option.startswith("/run/") else option for option in given.options]
    server = start(*options)
    with in_front(given, server, tmp_path) as port:
        for lies in LIES:
            with connect(("127.0.0.1", port), CLIENT) as client:
                for _ in range(2):
                    client.send(b"GET /client HTTP/1.1\r\nHost: own.example:8080\r\n"
                                + "".join(f"{lie}\r\n" for lie in lies).encode() + b"\r\n")
                    seen = client.answer().json
                    assert (seen["address"], seen["scheme"]) == (CLIENT, "http"), lies
                    assert (seen["hostname"], seen["port"]) == ("own.example", 8080), lies
        # The server itself, asked from an address that is not allowed, believes nothing.
        if not server.uds and "--proxy-protocol" not in given.options:
            with connect((server.host, server.port), CLIENT) as client:
                assert client.ask(get("/client", *LIES[-1])).json["address"] == CLIENT


# -- Fields, from whoever connects ---------------------------------------------------------------------

ALL = ("X-Forwarded-For: 6.6.6.6, 1.2.3.4", "X-Forwarded-Proto: https", "X-Forwarded-Host: own.example:443",
       "Forwarded: for=5.5.5.5;proto=https;host=five.example")


def asked(server: Server, *fields: str, source: str = "127.0.0.1") -> list[object]:
    """What is seen of a request with these fields."""
    with connect((server.host, server.port), source) as client:
        seen = client.ask(get("/client", *fields)).json
        assert (seen["peername"][0], seen["proxy"]) == (source, None)
        return [seen["address"], seen["scheme"], seen["hostname"], seen["port"]]


@pytest.mark.parametrize(("options", "seen"), [
    ((), ["127.0.0.1", "http", "server.example", None]),
    (("--proxy-headers", "x-forwarded"), ["1.2.3.4", "https", "server.example", None]),
    (("--proxy-headers", "x-forwarded,x-forwarded-host"), ["1.2.3.4", "https", "own.example", 443]),
    (("--proxy-headers", "forwarded"), ["5.5.5.5", "https", "five.example", None]),
    (("--proxy-headers", "forwarded", "--forwarded-allow-ips", "127.0.0.3"),
     ["127.0.0.1", "http", "server.example", None]),
])
def test_fields(start: Start, options: tuple[str, ...], seen: list[object]) -> None:
    server = start(*options)
    assert asked(server, *ALL) == seen
    assert asked(server, *ALL, source=CLIENT) == [CLIENT, "http", "server.example", None]


def test_each_request_of_a_pipeline_has_its_own_client(start: Start) -> None:
    """Also where the lane takes one request after the other with the same object."""
    server = start("--proxy-headers", "x-forwarded,x-forwarded-host")
    with server.connect() as client:
        for _ in range(3):
            client.send(b"".join(
                get("/client", f"X-Forwarded-For: 1.2.3.{number}", f"X-Forwarded-Host: h{number}")
                + get("/client") for number in range(50)))
            for number in range(50):
                seen, bare = client.answer().json, client.answer().json
                assert (seen["address"], seen["hostname"]) == (f"1.2.3.{number}", f"h{number}")
                assert (bare["address"], bare["hostname"]) == ("127.0.0.1", "server.example")


def test_a_proxy_has_as_many_connections_as_it_wants(start: Start) -> None:
    """They are those of its clients."""
    server = start("--proxy-headers", "x-forwarded", "--forwarded-allow-ips", CLIENT,
                   "--connections-per-client", "1")
    with ExitStack() as stack:
        for _ in range(3):
            client = stack.enter_context(connect((server.host, server.port), CLIENT))
            assert client.ask(get("/hello/1")).text == "hello 1"


# -- The PROXY protocol ----------------------------------------------------------------------------------

LINE = b"PROXY TCP4 1.2.3.4 5.6.7.8 1000 80\r\n"
LOCAL = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"
NOT_ALLOWED = ("A connection from 127.0.0.1 was closed: with --proxy-protocol, only those in "
               "--forwarded-allow-ips may connect\n")
TOO_SLOW = ("A connection from 127.0.0.1 was closed: its header of the PROXY protocol did not come in "
            "time\n")
NO_HEADER = ("A connection from 127.0.0.1 was closed: it does not begin with a header of the PROXY "
             "protocol\n")


@pytest.fixture
def server(start: Start) -> Server:
    return start("--proxy-protocol", "--check-seconds", "0.1", "--head-seconds", "1")


def is_cut(client: Client) -> None:
    """The connection ends, and nothing comes before that."""
    with suppress(ConnectionResetError):
        assert client.sock.recv(1) == b""


def seen_by(client: Client, count: int = 1) -> list[object]:
    client.send(get("/client", "X-Forwarded-For: 6.6.6.6") * count)
    answers = [client.answer().json for _ in range(count)]
    assert all(answer == answers[0] for answer in answers)
    return [answers[0][name] for name in ("address", "peername", "proxy")]


def test_a_connection_that_is_handed_on(server: Server) -> None:
    """The lane and the general way, uploads, downloads, what leaves last: all is as without."""
    with server.connect() as client:
        own = list(client.sock.getsockname())
        client.send(LINE + get("/client"))
        assert client.answer().json["address"] == "1.2.3.4"
        assert seen_by(client, 100) == ["1.2.3.4", ["1.2.3.4", 1000], own]
        assert client.ask(get("/address")).json == ["1.2.3.4", 1000]
        assert client.ask(get("/late/1")).text == "late 1"
        assert len(client.ask(get("/download/100")).content) == 256 * 256 * 100
        client.send(get("/hello/2"))
        client.half_close()
        assert client.answer().text == "hello 2"
        client.ends()


def test_a_header_in_pieces(server: Server) -> None:
    with server.connect() as client:
        for octet in LINE + get("/client")[:-1]:
            client.send(bytes((octet,)))
        client.send(b"\n")
        assert client.answer().json["peername"] == ["1.2.3.4", 1000]


def test_a_proxy_that_speaks_for_itself(server: Server) -> None:
    with server.connect() as client:
        own = list(client.sock.getsockname())
        client.send(LOCAL)
        assert seen_by(client) == ["127.0.0.1", own, own]
    server.connect().sock.close()  # It looks whether somebody listens, and says nothing.
    with server.connect() as client:
        client.send(LINE[:10])
        client.half_close()
        is_cut(client)


def test_a_protocol_switched_to_behind_a_header(server: Server) -> None:
    with server.connect() as client:
        client.send(LINE + get("/shout", "Connection: upgrade", "Upgrade: shout"))
        assert client.head().status == 101
        client.send(b"abc.")
        assert client.receive(4) == b"ABC."
        client.ends()


def test_nobody_else_may_connect(start: Start) -> None:
    server = start("--proxy-protocol", "--forwarded-allow-ips", "127.0.0.2")
    for _ in range(3):
        with server.connect() as client:
            is_cut(client)
    server.until_complained(NOT_ALLOWED)
    with connect((server.host, server.port), CLIENT) as client:
        client.send(LINE + get("/client"))
        assert client.answer().json["address"] == "1.2.3.4"


def test_a_connection_without_a_header_is_cut(server: Server) -> None:
    for octets in (get("/hello/1"), LINE[1:], LOCAL[:-2] + b"\xff\xff", b"PROXY " + b"x" * 200):
        with server.connect() as client:
            client.send(octets)
            is_cut(client)
    server.until_complained(NO_HEADER)
    with server.connect() as client:
        client.send(LINE)
        assert seen_by(client)[1] == ["1.2.3.4", 1000]


def test_a_header_that_does_not_come_in_time(server: Server) -> None:
    before = server.sockets()
    clients = [server.connect() for _ in range(10)]
    for client, octets in zip(clients, (b"", LINE[:5], LOCAL[:14]) * 4, strict=False):
        client.send(octets)
    for client in clients:
        is_cut(client)
        client.sock.close()
    until(lambda: server.sockets() == before, "the sockets are closed")
    server.until_complained(TOO_SLOW)


def test_a_drain_does_not_wait_for_a_header(start: Start) -> None:
    server = start("--proxy-protocol")
    with server.connect() as silent, server.connect() as client:
        client.send(LINE + get("/when/go"))
        server.until_recorded("go started")
        server.signal(signal.SIGTERM)
        is_cut(silent)
        server.allow("go")
        assert client.answer().text == "when go"
    server.exits()


def test_who_has_just_connected_is_answered(start: Start) -> None:
    server = start("--proxy-protocol", "--arrival-seconds", "600")
    with server.connect() as first, server.connect() as held:
        held.send(LINE + get("/when/held"))
        server.until_recorded("held started")
        server.signal(signal.SIGTERM)
        until(server.refuses, "the server takes no more connections")
        first.send(LINE)
        first.quiet(0.1)
        answer = first.ask(get("/hello/2"))
        assert (answer.text, answer.closes) == ("hello 2", True)
        server.allow("held")
        assert held.answer().text == "when held"
    server.exits()


def test_fields_behind_a_header(start: Start) -> None:
    """The source in the header is the peer; whether it is believed is another question."""
    server = start("--proxy-protocol", "--proxy-headers", "x-forwarded", "--forwarded-allow-ips",
                   "*,10.0.0.0/8")
    for source, address in (("10.1.2.3", "6.6.6.6"), ("1.2.3.4", "1.2.3.4")):
        with server.connect() as client:
            client.send(LINE.replace(b"1.2.3.4", source.encode()))
            assert client.ask(get("/client", "X-Forwarded-For: 6.6.6.6")).json["address"] == address


def test_a_unix_socket(start: Start, tmp_path: Path) -> None:
    server = start("--proxy-protocol", "--uds", str(tmp_path / "socket"), "--forwarded-allow-ips", "unix")
    with server.connect() as client:
        client.send(LINE)
        assert seen_by(client) == ["1.2.3.4", ["1.2.3.4", 1000], ""]


def test_connections_count_from_the_start_and_by_the_client(start: Start) -> None:
    server = start("--proxy-protocol", "--connections", "4", "--connections-per-client", "2")
    with ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(4)]
        for number, client in enumerate(clients):
            client.send(LINE.replace(b"1.2.3.4", b"1.2.3.%d" % (number // 2)))
            assert client.ask(get("/hello/1")).text == "hello 1"
        silent = [stack.enter_context(server.connect()) for _ in range(3)]  # Three that are idle must go.
        for client in clients[:3]:
            is_cut(client)
        for client in silent[:2]:
            client.send(LINE)
            assert client.ask(get("/hello/1")).text == "hello 1"
        silent[2].send(LINE + get("/when/never"))
        is_cut(silent[2])
    assert server.record() == []  # Of one that is turned away, nothing is handled.
    server.until_complained("1.2.3.4 has 2 connections and gets no more (--connections-per-client)\n")


def test_who_goes_before_the_header_makes_room(start: Start) -> None:
    server = start("--proxy-protocol", "--connections", "2", "--check-seconds", "600")
    silent = [server.connect() for _ in range(2)]
    server.until_complained("All 2 connections are in use, and further clients wait (--connections)\n")
    for client in silent:
        client.sock.close()
    with server.connect() as client:
        client.send(LINE)
        assert client.ask(get("/hello/1")).text == "hello 1"


def test_what_a_proxy_asks_for_itself_has_no_share(start: Start) -> None:
    server = start("--proxy-protocol", "--forwarded-allow-ips", CLIENT, "--connections-per-client", "1")
    with ExitStack() as stack:
        for header in (b"PROXY UNKNOWN\r\n", LOCAL) * 2:
            client = stack.enter_context(connect((server.host, server.port), CLIENT))
            client.send(header)
            assert client.ask(get("/hello/1")).text == "hello 1"


def test_it_leaves_no_garbage(server: Server, loop: str) -> None:
    with server.connect() as client:
        client.send(LINE)
        assert client.ask(post("/garbage/count", b"")).text == "counting"
        for octets in (LINE + get("/client"), LOCAL, LINE[:3], LINE + get("/download/10")):
            with server.connect() as other:
                other.send(octets)
                if b"GET" in octets:
                    other.answer()
        found = set(client.ask(post("/garbage/found", b"")).json)
        assert found <= (ASYNCIO_TRANSPORT if loop == "asyncio" else set())


def test_without_the_option_a_header_is_a_malformed_request(start: Start) -> None:
    server = start()
    with server.connect() as client:
        client.send(LINE + get("/client"))
        assert client.answer().status == 400
