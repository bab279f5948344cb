"""Where the server listens: the sockets that are opened, and what is said of those that are not."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from japronto.config import ServerConfig
from japronto.errors import StartError
from japronto.listening import Listener, close_listeners, inherited, open_listeners


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


def test_a_worker_listens_on_the_very_socket_of_its_master(opened: Open, tmp_path: Path) -> None:
    config = ServerConfig(bind=["127.0.0.1:0", f"unix:{tmp_path}/socket"])
    masters = opened(bind=config.bind)
    workers = inherited([listener.sock.dup().detach() for listener in masters], config)
    assert [listener.address for listener in workers] == [listener.address for listener in masters]
    close_listeners(masters[:1])
    with socket.create_connection(("127.0.0.1", workers[0].port or 0)):
        workers[0].sock.accept()[0].close()
    close_listeners(workers)
    assert (tmp_path / "socket").exists()
    close_listeners(masters)
    assert not (tmp_path / "socket").exists()


def test_a_master_that_holds_a_port_for_its_workers(opened: Open) -> None:
    """With SO_REUSEPORT each has a socket of its own, all at the port that was free."""
    config = ServerConfig(port=0, reuse_port=True)
    master, = opened(port=0, reuse_port=True, listen=False)
    assert master.port is not None
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", master.port))
    first, second = (inherited([master.sock.dup().detach()], config)[0] for _ in range(2))
    assert first.port == second.port == master.port
    close_listeners([first])
    with socket.create_connection(("127.0.0.1", master.port)):
        second.sock.accept()[0].close()
    close_listeners([second])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", master.port))
