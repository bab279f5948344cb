"""The protocols of systemd: what is read from the environment, and what is sent."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from japronto import systemd

VARIABLES = (*systemd.LISTEN_VARIABLES, "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path,
            environment: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket that NOTIFY_SOCKET names."""
    name = f"{'@' if request.param == 'abstract' else ''}{tmp_path}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind(name.replace("@", "\0"))
        environment.setenv("NOTIFY_SOCKET", name)
        yield sock


def given(environment: pytest.MonkeyPatch, **variables: str | int) -> dict[int, str]:
    for name, value in {"LISTEN_PID": os.getpid(), **variables}.items():
        environment.setenv(name, str(value))
    return systemd.passed()


def test_descriptors_and_their_names(environment: pytest.MonkeyPatch) -> None:
    assert systemd.passed() == {}
    assert given(environment, LISTEN_FDS=2) == {3: "unknown", 4: "unknown"}
    assert given(environment, LISTEN_FDS=2, LISTEN_FDNAMES="web:admin") == {3: "web", 4: "admin"}
    assert given(environment, LISTEN_FDS=2, LISTEN_FDNAMES="web") == {3: "web", 4: "unknown"}
    systemd.take()
    assert not {name for name in os.environ if name.startswith("LISTEN_")}
    assert systemd.passed() == {}


@pytest.mark.parametrize("count", ["", "0", "-1", "x", "1.0", "\u0663", "9" * 30])
def test_a_count_that_is_none(environment: pytest.MonkeyPatch, count: str) -> None:
    assert given(environment, LISTEN_FDS=count) == {}


@pytest.mark.parametrize("other", ["1", "", "x"])
def test_what_is_meant_for_another_process(environment: pytest.MonkeyPatch, other: str) -> None:
    assert given(environment, LISTEN_FDS=1, LISTEN_PID=other) == {}
    assert not systemd.passed_to_the_parent()


def test_what_was_meant_for_the_parent(environment: pytest.MonkeyPatch) -> None:
    assert given(environment, LISTEN_FDS=1, LISTEN_PID=os.getppid()) == {}
    assert systemd.passed_to_the_parent()


def test_nobody_is_told_when_nobody_asks(capfd: pytest.CaptureFixture[str]) -> None:
    assert not systemd.notify("READY=1")
    assert capfd.readouterr().err == ""


def test_what_is_told(manager: socket.socket) -> None:
    assert systemd.ready()
    assert systemd.ready("Listening")
    assert systemd.stopping()
    assert systemd.alive()
    assert [manager.recv(99) for _ in range(4)] == [
        b"READY=1", b"READY=1\nSTATUS=Listening", b"STOPPING=1", b"WATCHDOG=1"]
    before = time.monotonic_ns() // 1000
    assert systemd.reloading()
    matched = re.fullmatch(rb"RELOADING=1\nMONOTONIC_USEC=([0-9]+)", manager.recv(99))
    assert matched is not None
    assert before <= int(matched[1]) <= time.monotonic_ns() // 1000


def test_a_manager_that_does_not_read(manager: socket.socket, caplog: pytest.LogCaptureFixture) -> None:
    """The server says so and goes on."""
    while systemd.alive():
        assert caplog.messages == []
    sent = len(caplog.messages)
    assert not systemd.notify("STOPPING=1", wait=0.01)
    assert [message.partition(": ")[0] for message in caplog.messages] == [
        "The manager at NOTIFY_SOCKET could not be told WATCHDOG=1",
        "The manager at NOTIFY_SOCKET could not be told STOPPING=1"]
    assert sent == 1


def test_a_manager_that_reads_late(manager: socket.socket) -> None:
    """It is waited for, though not by the watchdog's messages."""
    while systemd.alive():
        pass
    reading = threading.Timer(0.02, lambda: [manager.recv(99) for _ in range(2)])
    reading.start()
    assert systemd.notify("READY=1", wait=60)
    reading.join()


@pytest.mark.parametrize("path", ["/nowhere/notify", "vsock:2:1234", "x" * 200, "@" + "x" * 200])
def test_a_manager_that_cannot_be_reached(environment: pytest.MonkeyPatch, path: str,
                                          caplog: pytest.LogCaptureFixture) -> None:
    environment.setenv("NOTIFY_SOCKET", path)
    assert not systemd.ready()
    assert len(caplog.messages) == 1


def test_the_watchdog(environment: pytest.MonkeyPatch) -> None:
    assert systemd.watchdog_seconds() is None
    environment.setenv("WATCHDOG_USEC", "30000000")
    assert systemd.watchdog_seconds() == 30
    environment.setenv("WATCHDOG_PID", str(os.getpid()))
    assert systemd.watchdog_seconds() == 30
    environment.setenv("WATCHDOG_PID", str(os.getppid()))
    assert systemd.watchdog_seconds() is None
    environment.delenv("WATCHDOG_PID")
    for nothing in ("0", "x", ""):
        environment.setenv("WATCHDOG_USEC", nothing)
        assert systemd.watchdog_seconds() is None
