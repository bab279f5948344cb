"""TLS as clients see it; what is true of any connection, the long form of the other files tries over TLS."""

from __future__ import annotations

import contextlib
import http.client
import signal
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Start
from .process import Server, until
from .test_real_clients import CURL, curl
from .tls import TLSSocket, authority, certificate, trusting
from .wire import WAIT_SECONDS, Client, Truncated, get, post, post_head

MIB = 1 << 20
SHORT = ("--handshake-seconds", "0.3", "--check-seconds", "0.05")


@pytest.fixture(scope="module")
def shared(loop: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("tls")
    own = certificate(directory / "own.pem")
    server = Server(directory, loop, "--tls-certificate", own, "--check-seconds", "0.1")
    yield server
    server.stop()


def hello_of_tls(maximum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> bytes:
    context = trusting()
    context.maximum_version = maximum
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="server.example").do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_requests(server: Server, version: ssl.TLSVersion) -> None:
    context = trusting()
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])
    assert server.url.startswith("https://")
    with server.connect(tls=context) as client:
        assert isinstance(client.sock, TLSSocket)
        assert client.sock.ssl.version() == version.name.replace("_", ".")
        assert client.sock.ssl.selected_alpn_protocol() == "http/1.1"
        assert client.ask(get("/scheme")).json == {"scheme": "https", "names": []}
        client.send(get("/hello/1") * 50 + post("/echo", b"x" * MIB) + get("/late/2") + get("/download/200"))
        for _ in range(50):
            assert client.answer().text == "hello 1"
        assert client.answer().content == b"x" * MIB
        assert client.answer().text == "late 2"
        assert len(client.answer().content) == 200 * 65536


def test_octet_by_octet(server: Server) -> None:
    context = trusting()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="server.example")
    steps = [tls.do_handshake, lambda: tls.write(get("/hello/1")), lambda: answer.append(tls.read())]
    answer: list[bytes] = []
    with server.connect_below() as sock:
        sock.settimeout(WAIT_SECONDS)
        while steps:
            wants = False
            try:
                steps[0]()
                del steps[0]
            except ssl.SSLWantReadError:
                wants = True
            for octet in outgoing.read():
                sock.sendall(bytes([octet]))
            if wants:
                incoming.write(sock.recv(65536))
    assert answer[0].endswith(b"hello 1")


def test_a_client_that_closes_its_side_gets_its_answers(server: Server) -> None:
    with server.connect() as client:
        client.send(get("/hello/1") + get("/late/2") + get("/download/50"))
        client.half_close()
        assert client.answer().text == "hello 1"
        assert client.answer().text == "late 2"
        assert len(client.answer().content) == 50 * 65536
        client.ends()


def test_a_client_that_ends_without_saying_so_gets_them_too(server: Server) -> None:
    """An end of TCP alone (RFC 9112 s.9.8)."""
    sock = server.connect_below()
    with Client(TLSSocket(sock, trusting())) as client:
        client.send(get("/late/1"))
        sock.shutdown(socket.SHUT_WR)
        assert client.answer().text == "late 1"
        client.ends()


def test_the_last_answer_survives_a_client_that_sends_on(server: Server) -> None:
    """The server closes its side, with a close_notify, and reads on."""
    with server.connect() as client:
        client.send(post_head("/echo", "Content-Length: 100000000"))
        client.send(b"x" * (MIB - 100_000))
        answer = client.answer()
        assert (answer.status, answer.closes) == (413, True)
        client.ends()


def test_an_answer_that_breaks_off_does_not_look_complete(server: Server) -> None:
    with server.connect() as client:
        client.send(get("/download-broken", version="1.0"))
        with pytest.raises(Truncated):
            client.answer()


def test_another_protocol_takes_over(server: Server) -> None:
    with server.connect() as client:
        client.send(get("/shout", "Connection: upgrade", "Upgrade: shout") + b"he")
        assert client.head().status == 101
        client.send(b"llo.")
        said = b""
        while piece := client.receive(100):
            said += piece
        assert said == b"HELLO."


@pytest.mark.parametrize("request_", [get("/hello/1"), post("/echo", b"x" * 100_000)], ids=["get", "post"])
def test_plain_http_is_told_to_use_tls(server: Server, request_: bytes) -> None:
    with Client(server.connect_below()) as client:
        answer = client.ask(request_)
        assert (answer.status, answer.closes) == (400, True)
        assert "https://" in answer.text
        client.ends()
    with Client(server.connect_below()) as client:
        assert client.ask(get("/hello/1", method="HEAD"), "HEAD").status == 400
        client.ends()


@pytest.mark.parametrize("octets", [b"\x16\x03\x01\x00\x04\x01\0\0\0", b"\0" * 20, b"\x16" * 50],
                         ids=["short", "zeros", "noise"])
def test_what_is_neither_is_cut(server: Server, octets: bytes) -> None:
    with server.connect_below() as sock:
        sock.settimeout(WAIT_SECONDS)
        sock.sendall(octets)
        with contextlib.suppress(ConnectionResetError):
            while sock.recv(1000):
                pass
    server.lives()


def test_an_old_client_is_told_why(server: Server) -> None:
    context = trusting()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError, match=r"(?i)protocol.version"):
        server.connect(tls=context)


def test_clients_that_vanish_leave_nothing(server: Server) -> None:
    server.lives()
    before = server.sockets()
    hello = hello_of_tls()
    for number in range(40):
        client = Client(server.connect_below())
        client.send([b"", hello[:50], hello, hello + b"\x16\x03"][number % 4])
        client.reset()
    for request in [get("/late/1"), get(f"/big/{16 * MIB}")] * 10:
        client = server.connect()
        client.send(request)
        client.reset()
    server.lives()
    until(lambda: server.sockets() <= before, "the server closes what its clients left")


def test_a_handshake_has_its_time(start: Start, tmp_path: Path) -> None:
    server = start("--tls-certificate", certificate(tmp_path / "own.pem"), *SHORT)
    for octets in (b"", hello_of_tls()[:20], hello_of_tls()):
        with server.connect_below() as sock:
            sock.settimeout(WAIT_SECONDS)
            sock.sendall(octets)
            with contextlib.suppress(ConnectionResetError):
                while sock.recv(65536):
                    pass
    with server.connect() as client:
        assert client.quiet(0.5)
        assert client.ask(get("/hello/1")).text == "hello 1"


def test_handshakes_do_not_hold_up_a_drain(start: Start, tmp_path: Path) -> None:
    server = start("--tls-certificate", certificate(tmp_path / "own.pem"), "--drain-seconds", "600",
                   "--handshake-seconds", "600")
    silent, half = server.connect_below(), server.connect_below()
    half.sendall(hello_of_tls()[:20])
    with server.connect() as idle, server.connect() as busy:
        assert idle.ask(get("/hello/1")).text == "hello 1"
        busy.send(get("/when/a"))
        server.until_recorded("a started")
        server.signal(signal.SIGTERM)
        idle.ends()
        server.allow("a")
        answer = busy.answer()
        assert (answer.text, answer.closes) == ("when a", True)
        busy.ends()
    server.exits()
    silent.close()
    half.close()


# What waits for a client that does not read.

def test_who_reads_nothing_is_cut_though_it_asks_on(start: Start, tmp_path: Path) -> None:
    server = start("--tls-certificate", certificate(tmp_path / "own.pem"), "--unsent-bytes", "64m",
                   "--send-seconds", "0.3", "--check-seconds", "0.05")
    with server.connect(4096) as client:
        def asks_in_vain() -> bool:
            client.send(get("/hello/1"))
            return False

        client.send(get(f"/big/{16 * MIB}"))
        with pytest.raises(OSError, match=r"(?i)reset|pipe"):
            until(asks_in_vain, "the server cuts the client")


def test_a_message_of_tls_itself_may_come_in_pieces(server: Server, tmp_path: Path) -> None:
    """OpenSSL writes nothing in the middle of one; what is written then goes out behind it."""
    context = trusting()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.keylog_filename = str(tmp_path / "keys")
    sock = server.connect_below()
    with Client(TLSSocket(sock, context)) as client:
        assert isinstance(client.sock, TLSSocket)
        protected = client.sock.records(tmp_path / "keys")
        update = b"\x18\0\0\x01\0"  # KeyUpdate (RFC 8446 s.4.6.3), which comes ahead of new keys.
        requests = get("/hello/1") + get("/big/500000") + get("/hello/2", "Connection: close")
        sock.sendall(protected(23, requests) + protected(22, update[:4]))
        assert client.quiet(0.1)
        sock.sendall(protected(22, update[4:]))
        assert client.answer().text == "hello 1"
        assert len(client.answer().content) == 500_000
        assert client.answer().text == "hello 2"
        client.ends()


# Who the clients are.

def test_certificates_of_clients(start: Start, tmp_path: Path) -> None:
    authority().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    server = start("--tls-certificate", certificate(tmp_path / "own.pem"),
                   "--tls-client-ca", str(tmp_path / "ca.pem"), "--tls-client-verify", "optional")
    with server.connect() as client:
        assert client.ask(get("/scheme")).json["names"] == []
    with server.connect(tls=trusting(authority().issue_cert("ida@example"))) as client:
        assert client.ask(get("/scheme")).json["names"] == ["ida@example"]


def test_clients_without_a_certificate_are_told(start: Start, tmp_path: Path) -> None:
    """With a client_ca, that is the default.  In TLS 1.3 the client learns it when it reads."""
    import trustme

    authority().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    server = start("--tls-certificate", certificate(tmp_path / "own.pem"),
                   "--tls-client-ca", str(tmp_path / "ca.pem"))
    for context, why in ((trusting(), "certificate required"),
                         (trusting(trustme.CA().issue_cert("eve@example")), "unknown ca")):
        with server.connect(tls=context) as client, pytest.raises(ssl.SSLError, match=f"(?i){why}"):
            client.answer()
    with server.connect(tls=trusting(authority().issue_cert("ida@example"))) as client:
        assert client.ask(get("/scheme")).json["names"] == ["ida@example"]


# The certificate is replaced.

def serial(server: Server) -> str:
    with server.connect() as client:
        assert isinstance(client.sock, TLSSocket)
        shown = client.sock.ssl.getpeercert()
        assert shown is not None
        return str(shown["serialNumber"])


def test_the_certificate_is_read_anew(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "own.pem"
    server = start("--tls-certificate", certificate(path))
    first = serial(server)
    with server.connect() as client:
        certificate(path)
        assert serial(server) == first
        server.signal(signal.SIGHUP)
        until(lambda: serial(server) != first, "the new certificate is shown")
        second = serial(server)
        assert client.ask(get("/hello/1")).text == "hello 1"
    path.write_text("broken")
    server.signal(signal.SIGHUP)
    server.until_complained("openssl x509 -inform DER -in FILE converts one that is in DER\n")
    assert serial(server) == second


# Clients that others wrote.

def test_http_client(server: Server) -> None:
    connection = http.client.HTTPSConnection(server.host, server.port, timeout=WAIT_SECONDS,
                                             context=trusting())
    for _ in range(2):
        connection.request("POST", "/echo", b"some")
        assert connection.getresponse().read() == b"some"
    connection.close()


@CURL
def test_curl(server: Server, tmp_path: Path) -> None:
    authority().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    said, _ = curl("--cacert", str(tmp_path / "ca.pem"), "--write-out", "<%{num_connects}>",
                   f"{server.url}/hello/1", f"{server.url}/big/70000")
    assert said == f"hello 1<1>{'x' * 70_000}<0>"


def test_the_proxy_protocol_comes_ahead_of_the_handshake(start: Start, tmp_path: Path) -> None:
    server = start("--tls-certificate", certificate(tmp_path / "own.pem"), "--proxy-protocol")
    sock = server.connect_below()
    sock.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.1 5000 443\r\n")
    with Client(TLSSocket(sock, trusting())) as client:
        assert client.ask(get("/address")).json == ["192.0.2.7", 5000]
        assert client.ask(get("/scheme")).json["scheme"] == "https"
