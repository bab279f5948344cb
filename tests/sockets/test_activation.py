"""What a service manager passes to the server, and what it is told: the protocols of systemd.

The parent here is a few lines of Python, as any manager may be; where there is
``systemd-socket-activate``, it is that as well.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from .conftest import Start
from .process import WAIT_SECONDS, found, until
from .wire import Client, get

MANAGER = """
import os, sys
numbers = [int(number) for number in sys.argv[1].split(",")]
for place, number in enumerate(numbers, 3):
    os.dup2(number, place)
os.closerange(3 + len(numbers), 1024)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(numbers)), LISTEN_FDNAMES=sys.argv[2])
os.execv(sys.argv[3], sys.argv[3:])
"""


def manager(*sockets: socket.socket, names: str = "") -> tuple[str, ...]:
    """The command that starts another one with sockets from descriptor 3 on."""
    numbers = ",".join(str(sock.fileno()) for sock in sockets)
    return (sys.executable, "-I", "-S", "-c", MANAGER, numbers, names)


@contextmanager
def listening(*addresses: str | int) -> Iterator[list[socket.socket]]:
    """Sockets that listen at paths, and at free ports."""
    with ExitStack() as stack:
        sockets = []
        for address in addresses:
            sock = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
            sockets.append(stack.enter_context(sock))
            sock.bind(address if isinstance(address, str) else ("127.0.0.1", address))
            sock.listen(8)
        yield sockets


def connected(sock: socket.socket) -> Client:
    client = socket.socket(sock.family)
    client.settimeout(WAIT_SECONDS)
    client.connect(sock.getsockname())
    return Client(client)


def descriptors(*sockets: socket.socket) -> list[int]:
    return [sock.fileno() for sock in sockets]


# -- Sockets on the way in -----------------------------------------------------------------------

def test_sockets_that_are_passed(start: Start, tmp_path: Path) -> None:
    """All are served, also clients that came before the server; its children know nothing of them."""
    path = tmp_path / "socket"
    with listening(0, str(path)) as sockets:
        with connected(sockets[0]) as early:
            early.send(get("/hello/early"))
            server = start(before=manager(*sockets), passed=descriptors(*sockets))
            assert early.answer().text == "hello early"
        with connected(sockets[1]) as client:
            assert client.ask(get("/hello/1")).text == "hello 1"
            assert client.ask(get("/inheritance")).json == {"variables": [], "descriptors": []}
        port = sockets[0].getsockname()[1]
        assert server.addresses == [f"http://127.0.0.1:{port}", f"unix:{path}"]
        server.stop()
        assert path.is_socket()  # The manager has made it.


def test_an_address_that_is_asked_for_wins(start: Start) -> None:
    with listening(0) as sockets:
        server = start("--port", "0", before=manager(*sockets), passed=descriptors(*sockets), ready=False)
        until(lambda: "Ctrl-C" in server.said(), "the server listens")
        assert server.said().startswith("The sockets that systemd passes are not used, since other addresses "
                                        "were asked for\nJapronto is listening on http://127.0.0.1:")
        assert f":{sockets[0].getsockname()[1]} " not in server.said()
        server.kill()


def test_a_socket_by_its_name(start: Start, tmp_path: Path) -> None:
    with listening(0, str(tmp_path / "socket")) as sockets:
        server = start("--bind", "fd://web", before=manager(*sockets, names="other:web"),
                       passed=descriptors(*sockets))
        assert server.addresses == [f"unix:{tmp_path}/socket"]
        server.lives()


def test_a_name_that_was_not_passed(start: Start) -> None:
    with listening(0) as sockets:
        server = start("--bind", "fd://web", before=manager(*sockets, names="other"),
                       passed=descriptors(*sockets), ready=False)
        server.exits(code=3, complaint=(
            "japronto: cannot listen on fd://web: systemd has passed other; set FileDescriptorName= in the "
            "socket unit, or give the number\n"))


def test_a_socket_that_does_not_listen(start: Start) -> None:
    """As those are with Accept=yes."""
    with socket.socket() as sock:
        server = start(before=manager(sock), passed=[sock.fileno()], ready=False)
        server.exits(code=3, complaint=(
            "japronto: cannot listen on fd://3: it is not a listening stream socket; start the server with a "
            "listening TCP or Unix socket there\n"))


def test_reuse_port_is_up_to_systemd(start: Start) -> None:
    with listening(0) as sockets:
        server = start("--reuse-port", before=manager(*sockets), passed=descriptors(*sockets), ready=False)
        server.exits(code=3, complaint=(
            "japronto: systemd has opened the sockets already; leave out --reuse-port, and set ReusePort= in "
            "the socket unit\n"))


@pytest.mark.program("systemd-socket-activate")
@pytest.mark.parametrize("option", [(), ("--bind", "fd://web")])
def test_systemd_socket_activate(start: Start, tmp_path: Path, option: tuple[str, ...]) -> None:
    """It waits for the first client, and becomes the server then."""
    path = tmp_path / "socket"
    command = found("systemd-socket-activate")
    assert command is not None
    server = start(*option, passed=[], ready=False, before=(
        command, "-l", str(path), "--fdname=web", "-E", "TESTS_APP_RECORD", "-E", "TESTS_APP_HOLD"))
    until(lambda: "Listening on" in server.said(), "systemd-socket-activate listens")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(WAIT_SECONDS)
        sock.connect(str(path))
        assert Client(sock).ask(get("/hello/1")).text == "hello 1"
    server.signal(signal.SIGTERM)
    assert server.process.wait(WAIT_SECONDS) == 0
    assert f"Japronto is listening on unix:{path} (" in server.said()
    server.kill()


# -- A descriptor by its number ------------------------------------------------------------------

@pytest.mark.parametrize("option", ["--fd={}", "--bind=fd://{}"])
def test_a_descriptor(start: Start, option: str) -> None:
    with listening(0) as sockets:
        number = sockets[0].fileno()
        server = start(option.format(number), passed=[number])
        assert server.port == sockets[0].getsockname()[1]
        with server.connect() as client:
            assert client.ask(get("/inheritance")).json == {"variables": [], "descriptors": []}
        sockets[0].close()
        with server.connect() as client:
            client.send(get("/when/done"))
            server.until_recorded("done started")
            server.signal(signal.SIGTERM)
            until(server.refuses, "no other copy of the socket accepts")
            server.allow("done")
            assert client.answer().status == 200
        server.exits()


def test_standard_input(start: Start) -> None:
    """As inetd passes it with ``wait``; nothing else gets its number when it is closed."""
    with listening(0) as sockets:
        shell = ("/bin/sh", "-c", 'exec "$@" <&3', "sh")
        server = start("--fd", "0", before=(*manager(*sockets), *shell), passed=descriptors(*sockets))
        server.lives()
        assert Path(f"/proc/{server.process.pid}/fd/0").readlink() == Path(os.devnull)


def test_a_descriptor_that_is_not_open(start: Start) -> None:
    server = start("--fd", "999", passed=[], ready=False)
    server.exits(code=3, complaint=("japronto: cannot listen on fd://999: it is not open; start the server "
                                    "with a listening TCP or Unix socket there\n"))


# -- The state on the way out --------------------------------------------------------------------

@pytest.fixture
def notified(tmp_path: Path) -> Iterator[socket.socket]:
    """The socket of a manager that wants to be told."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(WAIT_SECONDS)
        sock.bind(str(tmp_path / "notify"))
        yield sock


def test_the_manager_is_told(start: Start, notified: socket.socket) -> None:
    server = start(environment={"NOTIFY_SOCKET": notified.getsockname()})
    assert notified.recv(4096).decode() == f"READY=1\nSTATUS=Listening on {server.url}"
    server.lives()
    server.stop()
    assert notified.recv(4096) == b"STOPPING=1"
    notified.settimeout(0)
    with pytest.raises(BlockingIOError):
        notified.recv(4096)


def test_a_server_that_cannot_start_is_not_ready(start: Start, notified: socket.socket) -> None:
    server = start("--host", "192.0.2.1", environment={"NOTIFY_SOCKET": notified.getsockname()}, ready=False)
    server.exits(code=3, complaint=("japronto: cannot listen on 192.0.2.1 port 0: Cannot assign requested "
                                    "address; choose another port or host\n"))
    notified.settimeout(0)
    with pytest.raises(BlockingIOError):
        notified.recv(4096)


def test_the_watchdog_is_told_while_the_server_lives(start: Start, notified: socket.socket) -> None:
    server = start(environment={"NOTIFY_SOCKET": notified.getsockname(), "WATCHDOG_USEC": "100000"})
    assert notified.recv(4096).startswith(b"READY=1\n")
    assert [notified.recv(4096) for _ in range(3)] == [b"WATCHDOG=1"] * 3
    with server.connect() as client:
        client.send(get("/when/done"))
        server.until_recorded("done started")
        server.signal(signal.SIGTERM)
        while notified.recv(4096) != b"STOPPING=1":
            pass
        assert notified.recv(4096) == b"WATCHDOG=1"
        server.allow("done")
        assert client.answer().status == 200
    server.exits()


def test_a_manager_that_is_gone(start: Start, tmp_path: Path) -> None:
    server = start(environment={"NOTIFY_SOCKET": str(tmp_path / "nobody")}, ready=False)
    until(lambda: "READY" in server.said(), "the server complains")
    server.signal(signal.SIGTERM)
    assert server.process.wait(WAIT_SECONDS) == 0
    server.kill()
    complaints = [line for line in server.said().splitlines() if not line.startswith("Japronto is")]
    assert complaints == [f"The manager at NOTIFY_SOCKET could not be told {what}: [Errno 2] No such file or "
                          "directory" for what in ("READY=1", "STOPPING=1")]
