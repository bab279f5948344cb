"""Where the server listens, and what else than HTTP/1.1 may come there (B5, M)."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import pytest

from .conftest import Start
from .process import ADDRESSES, WAIT_SECONDS, Server
from .wire import Client, get, post


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address(start: Start, address: str) -> None:
    server = start("--host", address)
    assert server.host.strip("[]") == address
    with server.connect() as client:
        assert client.ask(get("/hello/1")).text == "hello 1"
        assert client.ask(get("/address")).json == [address, *client.sock.getsockname()[1:2]]


def test_several_addresses(start: Start, tmp_path: Path) -> None:
    paths = [f"{tmp_path}/{name}" for name in ("one", "two")]
    server = start("--bind", "127.0.0.1:0", "--bind", f"unix:{paths[0]}", "--bind", "127.0.0.1:0",
                   "--bind", f"unix:{paths[1]}")
    ports = [int(address.rpartition(":")[2]) for address in server.addresses[::2]]
    assert server.addresses[1::2] == [f"unix:{path}" for path in paths]
    for family, address in [*((socket.AF_INET, ("127.0.0.1", port)) for port in ports),
                            *((socket.AF_UNIX, path) for path in paths)]:
        with socket.socket(family) as sock:
            sock.settimeout(WAIT_SECONDS)
            sock.connect(address)
            assert Client(sock).ask(get("/hello/1")).text == "hello 1"
    server.stop()
    assert not [path for path in paths if Path(path).exists()]


def test_no_thread_looks_a_name_up(start: Start) -> None:
    server = start("--host", "localhost")
    server.lives()
    assert len(list(Path(f"/proc/{server.process.pid}/task").iterdir())) == 1


def test_two_servers_share_a_port(start: Start) -> None:
    first = start("--reuse-port")
    second = start("--reuse-port", "--port", str(first.port))
    first.lives()
    first.stop()
    second.lives()


def test_a_unix_socket(start: Start, tmp_path: Path) -> None:
    server = start("--uds", str(tmp_path / "socket"))
    assert server.uds == str(tmp_path / "socket")
    with server.connect() as client:
        client.send(get("/hello/1") * 100 + post("/echo", b"x" * 300_000))
        for _ in range(100):
            assert client.answer().text == "hello 1"
        assert client.answer().content == b"x" * 300_000
        client.half_close()
        client.ends()


def test_a_unix_socket_left_behind_is_replaced(start: Start, tmp_path: Path) -> None:
    """A server that was killed leaves its socket; the next one takes its place."""
    killed = start("--uds", str(tmp_path / "socket"))
    killed.kill()
    start("--uds", str(tmp_path / "socket")).lives()


def test_a_second_server_at_the_same_port_exits_with_3(start: Start) -> None:
    first = start()
    second = start("--port", str(first.port), ready=False)
    second.exits(code=3, complaint=(
        f"japronto: cannot listen on 127.0.0.1 port {first.port}: Address already in use; "
        "choose another port or host\n"))
    first.lives()


def test_a_second_server_at_the_same_unix_socket_exits_with_3(start: Start, tmp_path: Path) -> None:
    first = start("--uds", str(tmp_path / "socket"))
    second = start("--uds", first.uds, ready=False)
    second.exits(code=3, complaint=(
        f"japronto: cannot listen on unix:{first.uds}: Address already in use; "
        "choose another path\n"))
    first.lives()


def test_a_file_that_is_no_socket_is_not_replaced(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("precious")
    server = start("--uds", str(path), ready=False)
    server.exits(code=3, complaint=(
        f"japronto: cannot listen on unix:{path}: something that is not a socket has that path; "
        "choose another path\n"))
    assert path.read_text() == "precious"


def said_until_the_end(client: Client) -> bytes:
    said = b""
    try:
        while octets := client.sock.recv(65536):
            said += octets
    except ConnectionResetError:
        return said
    return said


def hello_of_tls() -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    hello = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="server.example")
    with pytest.raises(ssl.SSLWantReadError):
        hello.do_handshake()
    return outgoing.read()


def test_a_tls_hello_is_turned_away(server: Server) -> None:
    with server.connect() as client:
        client.send(hello_of_tls())
        said = said_until_the_end(client)
        assert said == b"" or said.startswith(b"HTTP/1.1 400 ")
    server.lives()


@pytest.mark.parametrize("preface", [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                                     b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"],
                         ids=["alone", "with settings"])
def test_the_preface_of_http_2_is_turned_away(server: Server, preface: bytes) -> None:
    with server.connect() as client:
        client.send(preface)
        answer = client.answer()
        assert answer.status in (400, 505)
        assert answer.closes
        client.ends()
    server.lives()


def test_h2c_is_ignored(server: Server) -> None:
    with server.connect() as client:
        client.send(get("/hello/1", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c",
                        "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA"))
        answer = client.answer()
        assert (answer.status, answer.text) == (200, "hello 1")
        assert client.ask(get("/hello/2")).text == "hello 2"
