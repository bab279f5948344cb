"""Where the server listens: the sockets that are opened, and what is said of those that are not."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from japronto import listening
from japronto.config import Address, Descriptor, ServerConfig, TCPAddress, UnixAddress, parse_address
from japronto.errors import StartError, UsageError
from japronto.listening import Listener, beside, close_listeners, inherited, open_listeners


class Open(Protocol):
    def __call__(self, *, listen: bool = True, **options: Any) -> list[Listener]: ...


@pytest.fixture
def opened() -> Iterator[Open]:
    """Opens listeners that are closed at the end of the test."""
    with ExitStack() as stack:
        def open_(*, listen: bool = True, **options: Any) -> list[Listener]:
            listeners = open_listeners(ServerConfig(**options), listen=listen)
            stack.callback(close_listeners, listeners)
            return listeners
        yield open_


def refusal(**options: Any) -> str:
    with pytest.raises(StartError) as raised:
        open_listeners(ServerConfig(**options))
    return str(raised.value)


# -- TCP -----------------------------------------------------------------------------------------

@pytest.mark.parametrize(("failure", "reason"), [
    (PermissionError(errno.EACCES, "x"), "not permitted; choose a port from 1024 on"),
    (OSError(errno.EMFILE, "x"), "Too many open files; raise the limit of open files, ulimit -n"),
    (OSError(errno.EADDRINUSE, "x"), "Address already in use; choose another port or host"),
])
def test_the_reason_is_named(monkeypatch: pytest.MonkeyPatch, failure: OSError, reason: str) -> None:
    def bind(sock: socket.socket, address: object) -> None:
        raise failure

    monkeypatch.setattr(socket.socket, "bind", bind)
    assert refusal(port=80) == f"cannot listen on 127.0.0.1 port 80: {reason}"


@pytest.mark.parametrize("failure", [socket.gaierror(socket.EAI_NONAME, "x"), UnicodeError("x")])
def test_a_name_that_there_is_not(monkeypatch: pytest.MonkeyPatch, failure: Exception) -> None:
    def getaddrinfo(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert refusal(host="example", port=80) == (
        "cannot listen on example port 80: no such host; choose another")


def resolves_to(monkeypatch: pytest.MonkeyPatch, *hosts: str) -> None:
    """Let each name have these addresses."""
    real = socket.getaddrinfo

    def getaddrinfo(name: str, *arguments: Any, **options: Any) -> list[Any]:
        return [found for host in hosts for found in real(host, *arguments, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_a_name_with_several_addresses(monkeypatch: pytest.MonkeyPatch, opened: Open) -> None:
    """At the same port on each, also where a free one was asked for; twice the same is once."""
    resolves_to(monkeypatch, "127.0.0.2", "127.0.0.1", "127.0.0.2")
    first, second = opened(host="example", port=0)
    assert first.port == second.port
    assert first.address == f"http://127.0.0.2:{first.port}"
    assert second.address == f"http://127.0.0.1:{first.port}"


def test_a_port_that_is_not_free_at_each_address(monkeypatch: pytest.MonkeyPatch, opened: Open) -> None:
    """Another one is tried; and not for ever."""
    resolves_to(monkeypatch, "127.0.0.1", "127.0.0.2")
    failures = iter([True, True, False])
    bind, ports = socket.socket.bind, list[int]()

    def failing(sock: socket.socket, address: Any) -> None:
        if address[0] == "127.0.0.2":
            ports.append(address[1])
            if next(failures, True):
                raise OSError(errno.EADDRINUSE, "x")
        bind(sock, address)

    monkeypatch.setattr(socket.socket, "bind", failing)
    _, second = opened(host="example", port=0)
    assert ports[2:] == [second.port]
    assert refusal(host="example", port=0).endswith("Address already in use; choose another port or host")
    assert len(ports) == 3 + 10


def test_an_address_of_a_name_that_the_machine_does_not_have(monkeypatch: pytest.MonkeyPatch,
                                                             opened: Open) -> None:
    """As ::1 for localhost where there is no IPv6; one that is asked for alone is missed."""
    for hosts in (("198.51.100.1", "127.0.0.1"), ("127.0.0.1", "198.51.100.1")):
        resolves_to(monkeypatch, *hosts)
        listener, = opened(host="example", port=0)
        assert listener.address == f"http://127.0.0.1:{listener.port}"
        monkeypatch.undo()
    resolves_to(monkeypatch, "198.51.100.1", "198.51.100.2")
    assert refusal(host="example", port=0) == ("cannot listen on example port 0: Cannot assign requested "
                                               "address; choose another port or host")


def test_all_of_ipv6_is_not_ipv4(opened: Open) -> None:
    listener, = opened(host="::", port=0)
    assert listener.address == f"http://[::]:{listener.port}"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", listener.port or 0))
    socket.create_connection(("::1", listener.port or 0)).close()
    beside, = opened(host="0.0.0.0", port=listener.port)
    assert beside.port == listener.port


@pytest.mark.parametrize(("host", "warned"), [("0.0.0.0", True), ("127.0.0.2", False)])
def test_tracebacks_for_strangers(opened: Open, caplog: pytest.LogCaptureFixture, host: str,
                                  warned: bool) -> None:
    listener, = opened(host=host, port=0, debug=True)
    warning = (f"Tracebacks are shown to whoever can reach {listener.address}, since debug is on; "
               "leave it out, or listen on 127.0.0.1")
    assert caplog.messages == [warning] * warned


def test_options_of_connections(opened: Open) -> None:
    def keepalive(listener: Listener) -> list[int]:
        with socket.create_connection(("127.0.0.1", listener.port or 0)), listener.sock.accept()[0] as sock:
            return [sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                    sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)]

    assert keepalive(*opened(port=0)) == [1, 60]
    assert keepalive(*opened(port=0, tcp_keepalive=2)) == [1, 2]
    assert keepalive(*opened(port=0, tcp_keepalive=0))[0] == 0


def test_the_scheme_is_shown(tmp_path: Path) -> None:
    config = ServerConfig(bind=["127.0.0.1:0", f"unix:{tmp_path}/socket"])
    listeners = open_listeners(config, scheme="https")
    again = inherited([listener.sock.dup().detach() for listener in listeners], scheme="https")
    addresses = [f"https://127.0.0.1:{listeners[0].port}", f"unix:{tmp_path}/socket"]
    assert [listener.address for listener in listeners] == addresses
    assert [listener.address for listener in again] == addresses
    close_listeners([*listeners, *again])


def test_a_socket_that_cannot_be_removed_stays(opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                               caplog: pytest.LogCaptureFixture) -> None:
    def unlink(_: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    listeners = opened(uds=f"{tmp_path}/socket")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", unlink)
        close_listeners(listeners)
    assert caplog.messages == [f"The file of unix:{tmp_path}/socket stays: Permission denied"]


# -- Several -------------------------------------------------------------------------------------

def test_several_addresses(opened: Open, tmp_path: Path) -> None:
    listeners = opened(bind=["127.0.0.1:0", "127.0.0.2:0", f"unix:{tmp_path}/socket"])
    assert [listener.address for listener in listeners] == [
        f"http://127.0.0.1:{listeners[0].port}", f"http://127.0.0.2:{listeners[1].port}",
        f"unix:{tmp_path}/socket"]


def test_one_that_cannot_be_had_closes_all(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        before = len(list(Path("/dev/fd").iterdir()))
        assert refusal(bind=["127.0.0.1:0", f"unix:{path}", f"127.0.0.1:{port}"]) == (
            f"cannot listen on 127.0.0.1 port {port}: Address already in use; choose another port or host")
        assert len(list(Path("/dev/fd").iterdir())) == before
    assert not path.exists()


# -- Unix sockets --------------------------------------------------------------------------------

@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
@pytest.mark.parametrize(("options", "mode"), [
    ({}, 0o660), ({"uds_mode": 0o600}, 0o600), ({"uds_mode": 0o777}, 0o777), ({"uds_mode": 0}, 0)])
def test_the_permissions_of_a_unix_socket(monkeypatch: pytest.MonkeyPatch, opened: Open, tmp_path: Path,
                                          options: dict[str, int], mode: int, umask: int) -> None:
    """Whatever the umask, from the first moment, when nothing could connect to it yet."""
    path = tmp_path / "socket"
    bind, modes = socket.socket.bind, list[int]()

    def noting(sock: socket.socket, address: Any) -> None:
        bind(sock, address)
        modes.append(stat.S_IMODE(path.stat().st_mode))

    monkeypatch.setattr(socket.socket, "bind", noting)
    before = os.umask(umask)
    try:
        opened(uds=str(path), **options)
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert modes == [mode]
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_the_umask_is_restored_after_a_failure(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        refusal(uds=str(tmp_path / "nowhere" / "socket"))
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)


def test_a_unix_socket_where_no_more_clients_can_wait(tmp_path: Path) -> None:
    """It is in use, though it cannot be connected to."""
    path = tmp_path / "socket"
    with ExitStack() as stack:
        busy = stack.enter_context(socket.socket(socket.AF_UNIX))
        busy.bind(str(path))
        busy.listen(0)
        for _ in range(2):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            client.connect_ex(str(path))
        assert refusal(uds=str(path)) == (
            f"cannot listen on unix:{path}: Address already in use; choose another path")
        assert path.is_socket()


# -- Sockets that the process was started with ---------------------------------------------------

def test_a_descriptor_that_is_taken_is_closed_with_its_listener(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "socket"))
        sock.listen()
        number = sock.dup().detach()
        os.set_inheritable(number, True)
    listener, = open_listeners(ServerConfig(fd=number))
    assert listener.sock.fileno() == number
    assert not os.get_inheritable(number)
    assert listener.address == f"unix:{tmp_path}/socket"
    close_listeners([listener])
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)
    assert (tmp_path / "socket").is_socket()  # Another has made it.


def test_an_abstract_socket() -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"\0japronto {os.getpid()}")
        sock.listen()
        listener, = open_listeners(ServerConfig(bind=[f"fd://{sock.dup().detach()}"]))
    assert listener.address == f"unix:@japronto {os.getpid()}"
    assert listener.port is None
    close_listeners([listener])


NOT_LISTENING = "it is not a listening stream socket"


@pytest.mark.parametrize(("kind", "words"), [
    ("file", "it is not a socket"), ("datagram", NOT_LISTENING), ("silent", NOT_LISTENING),
    ("connected", NOT_LISTENING), ("closed", "it is not open")])
def test_a_descriptor_that_is_something_else(kind: str, words: str) -> None:
    """It stays open, since it belongs to somebody else."""
    with ExitStack() as stack:
        if kind == "file":
            number = stack.enter_context(Path(os.devnull).open("rb")).fileno()
        elif kind == "connected":
            number, _ = (stack.enter_context(sock).fileno() for sock in socket.socketpair())
        else:
            type_ = socket.SOCK_DGRAM if kind == "datagram" else socket.SOCK_STREAM
            number = stack.enter_context(socket.socket(type=type_)).fileno()
        if kind == "closed":
            stack.close()
        assert refusal(fd=number) == (f"cannot listen on fd://{number}: {words}; start the server with a "
                                      "listening TCP or Unix socket there")
        if kind != "closed":
            os.fstat(number)


# -- What was asked for --------------------------------------------------------------------------

@pytest.mark.parametrize(("text", "address"), [
    ("127.0.0.1:80", TCPAddress("127.0.0.1", 80)), ("localhost:0", TCPAddress("localhost", 0)),
    ("[::1]:8080", TCPAddress("::1", 8080)), ("[fe80::1%eth0]:1", TCPAddress("fe80::1%eth0", 1)),
    (":80", TCPAddress("", 80)), ("unix:/run/a b,c", UnixAddress("/run/a b,c")),
    ("unix:socket", UnixAddress("socket")), ("unix:///run/s", UnixAddress("/run/s")),
    ("fd://3", Descriptor(3)), ("fd://web", Descriptor("web")), ("fd://app.socket", Descriptor("app.socket")),
])
def test_addresses(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", [
    "", "80", "localhost", "127.0.0.1", "::1:80", "[::1]", "[::1]80", "localhost:", "localhost:http",
    "localhost:65536", "localhost:-1", "http://localhost:80", "tcp://localhost:80", "localhost:80/", "a b:80",
    "unix:", "unix://", "fd://", "fd://-1", "fd://3,4", "fd://1234567890123456789:", "[localhost]:80",
    "localhost:\u0663", "/run/socket",
])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be host:port, \[IPv6 address\]:port, :port for every "):
        parse_address(text)


@pytest.mark.parametrize("options", [
    {"uds": "s", "proxy_headers": "forwarded", "forwarded_allow_ips": "127.0.0.1,unix"},
    {"bind": ["unix:s", ":80"], "proxy_protocol": True},
    {"port": 0, "metrics_address": "0"}, {"port": 9090, "metrics_address": "9091"},
    {"port": 9090, "metrics_address": "[::]:9090"},
    {"host": "0.0.0.0", "port": 9090, "metrics_address": "[::1]:9090"},
])
def test_what_can_be_asked_for(options: dict[str, Any]) -> None:
    ServerConfig(**options)


def test_an_address_that_is_not_used_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"port": 9090, "metrics_address": "9090", "activation": True}
    with pytest.raises(UsageError, match=r"^metrics_address is where the application listens; "):
        ServerConfig(**options)
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "1")
    ServerConfig(**options)


@pytest.mark.parametrize(("options", "sentence"), [
    ({"bind": ["nonsense"]}, "an address in bind must be host:port"),
    ({"bind": "127.0.0.1:80"}, "bind takes a list of addresses; write ['127.0.0.1:80']"),
    ({"bind": [":80"], "uds": "s"}, "uds and bind exclude each other; bind takes several addresses"),
    ({"fd": 3, "uds": "s"}, "uds and fd exclude each other; bind takes several addresses"),
    ({"fd": -1}, "fd must be a whole number from 0 to 999999999; it is -1"),
    ({"uds_mode": 0o1777}, "uds_mode must be a whole number from 0 to 511; it is 1023"),
    ({"uds_mode": "660"}, "uds_mode must be a whole number from 0 to 511; it is '660'"),
    ({"tcp_keepalive": 1.5}, "tcp_keepalive must be a whole number from 0 to 32767; it is 1.5"),
    ({"uds": "a\0b"}, "the path of a Unix socket must not contain NUL; choose another"),
    ({"uds": "s", "reuse_port": True}, "--reuse-port is for TCP ports, and none is asked for; leave it out"),
    ({"uds": "s", "proxy_headers": "forwarded"},
     "proxies are to be believed, and none is that connects to a Unix socket; add unix to "),
    ({"bind": ["unix:s"], "proxy_protocol": True}, "proxies are to be believed, and none is "),
    ({"port": 9090, "metrics_address": "9090"}, "metrics_address is where the application listens; choose "),
    ({"host": "", "port": 9090, "metrics_address": "[::1]:9090"}, "metrics_address is where the "),
    ({"host": "0.0.0.0", "port": 9090, "metrics_address": "9090"}, "metrics_address is where the "),
    ({"uds": "s", "metrics_address": "unix:s"}, "metrics_address is where the application listens"),
    ({"metrics_address": "nonsense"}, "metrics_address must be a port, host:port, [IPv6 address]:port, "),
])
def test_what_cannot_be_asked_for(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as raised:
        ServerConfig(**options)
    assert str(raised.value).startswith(sentence)


# -- Systemd's sockets ---------------------------------------------------------------------------

def test_sockets_of_systemd_go_before_a_default(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def passed(address: Descriptor, passed: dict[int, str], scheme: str) -> Listener:
        asked.append(address)
        return Listener(socket.socket(), "")

    monkeypatch.setattr(listening, "_passed", passed)
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "2")
    monkeypatch.setenv("LISTEN_FDNAMES", "a:b")
    close_listeners(open_listeners(ServerConfig(port=0)))
    assert asked == []
    assert os.environ["LISTEN_FDS"] == "2"  # Perhaps the program takes them by itself.
    close_listeners(open_listeners(ServerConfig(port=0, activation=True)))
    assert asked == [Descriptor(3), Descriptor(4)]
    assert "LISTEN_FDS" not in os.environ


def test_sockets_that_the_parent_has_kept(monkeypatch: pytest.MonkeyPatch,
                                          caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("LISTEN_PID", str(os.getppid()))
    monkeypatch.setenv("LISTEN_FDS", "1")
    listener, = open_listeners(ServerConfig(port=0, activation=True))
    close_listeners([listener])
    sentence, = caplog.messages
    assert sentence.startswith("The sockets that systemd passes went to the process that has started this ")


# -- Masters and workers -------------------------------------------------------------------------

def test_a_worker_listens_on_the_very_socket_of_its_master(opened: Open, tmp_path: Path) -> None:
    config = ServerConfig(bind=["127.0.0.1:0", f"unix:{tmp_path}/socket"])
    masters = opened(bind=config.bind)
    workers = inherited([listener.sock.dup().detach() for listener in masters])
    assert [listener.address for listener in workers] == [listener.address for listener in masters]
    close_listeners(masters[:1])
    with socket.create_connection(("127.0.0.1", workers[0].port or 0)):
        workers[0].sock.accept()[0].close()
    close_listeners(workers)
    assert (tmp_path / "socket").exists()
    close_listeners(masters)
    assert not (tmp_path / "socket").exists()


def test_what_cannot_be_held_by_each_is_shared(opened: Open, tmp_path: Path) -> None:
    config = ServerConfig(bind=["127.0.0.1:0", f"unix:{tmp_path}/socket"], reuse_port=True)
    masters = opened(bind=config.bind, reuse_port=True, listen=False)
    own = beside(masters, config)
    assert [listener.address for listener in own] == [listener.address for listener in masters]
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"{tmp_path}/socket")
        masters[1].sock.accept()[0].close()
    close_listeners(own)
    assert (tmp_path / "socket").exists()


def test_a_master_that_holds_a_port_for_its_workers(opened: Open) -> None:
    """With SO_REUSEPORT each has a socket of its own, all at the port that was free."""
    config = ServerConfig(port=0, reuse_port=True)
    master, = opened(port=0, reuse_port=True, listen=False)
    assert master.port is not None
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", master.port))
    first, second, third = (beside([master], config)[0] for _ in range(3))
    assert first.port == second.port == third.port == master.port
    for own in (first, second):  # as a worker does, when it serves
        own.sock.listen()
    close_listeners([first])
    with socket.create_connection(("127.0.0.1", master.port)):
        second.sock.accept()[0].close()
    close_listeners([second, third])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", master.port))
