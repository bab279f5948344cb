"""The logs of a server process: renamed files, full disks, closed streams, and credentials."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Start
from .process import HERE, ROOT, until
from .wire import WAIT_SECONDS, Client, get

SECRETS = ("Authorization: Basic hunter2", "Cookie: session=hunter2", "Proxy-Authorization: hunter2")
LOGS = ("--access-log", "--log-level", "info")


def test_files_that_are_renamed(start: Start, tmp_path: Path) -> None:
    log, old, errors = tmp_path / "access", tmp_path / "old", tmp_path / "errors"
    server = start("--access-log-file", str(log), "--access-log-format", "%(U)s", "--error-log", str(errors))
    with server.connect() as client:
        client.ask(get("/hello/1"))
        log.rename(old)
        client.ask(get("/hello/2"))
        server.signal(signal.SIGUSR1)
        until(log.exists, "the log is opened anew")
        client.ask(get("/hello/3"))
    assert (old.read_text(), log.read_text()) == ("/hello/1\n/hello/2\n", "/hello/3\n")


def test_the_signal_harms_nothing_where_there_are_no_logs(start: Start) -> None:
    server = start()
    for _ in range(3):
        server.signal(signal.SIGUSR1)
    server.lives()


def test_a_full_disk(start: Start) -> None:
    server = start("--access-log-file", "/dev/full")
    with server.connect() as client:
        for number in range(3):
            assert client.ask(get(f"/hello/{number}")).text == f"hello {number}"
    server.until_complained("The log /dev/full cannot be written, lines are lost: No space left on device\n")


@pytest.mark.parametrize("options", [
    ("--error-log", "/dev/full"), ("--error-log", "-", "--log-format", "json")])
def test_errors_that_cannot_be_written(start: Start, options: tuple[str, ...]) -> None:
    server = start(*options, "--access-log-file", "/dev/full")
    with server.connect() as client:
        for number in range(3):
            assert client.ask(get(f"/raise/{number}")).status == 500
    if "json" in options:
        until(lambda: server.complaints().endswith("\n"), "one line")
        line = json.loads(server.complaints())
        assert (line["level"], line["message"]) == (
            "error", "The log /dev/full cannot be written, lines are lost: No space left on device")
        server.until_complained("\n")


@pytest.mark.parametrize(("stream", "options"), [
    ("closed", LOGS), ("broken", LOGS), ("full", LOGS), ("full", ()), ("full", ("--workers", "1"))],
    ids=["closed", "broken", "full", "full, without logs", "full, with a master"])
def test_streams_that_nobody_reads(loop: str, tmp_path: Path, stream: str, options: tuple[str, ...]) -> None:
    """Standard output and error: closed from the start, a pipe whose reader has gone, one that is full."""
    socket_path, record = tmp_path / "socket", tmp_path / "record"
    record.touch()
    reader, writer = os.pipe()
    redirect = 'exec "$0" "$@" >&- 2>&-' if stream == "closed" else 'exec "$0" "$@"'
    with subprocess.Popen(
            ("sh", "-c", redirect, sys.executable, "-m", "japronto", "--app-dir", str(HERE), "--loop", loop,
             "--uds", str(socket_path), *options, "tests_app:app"),
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=writer, stderr=writer,
            env={**os.environ, "TESTS_APP_RECORD": str(record), "TESTS_APP_HOLD": ""}) as process:
        try:
            if stream == "full":
                fill(writer)
            os.close(writer)
            until(lambda: socket_path.exists() or process.poll() is not None, "the server listens")
            if stream != "full":
                os.close(reader)
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(WAIT_SECONDS)
            until(lambda: sock.connect_ex(str(socket_path)) == 0, "the server accepts")
            with Client(sock) as client:
                for number in range(3):
                    assert client.ask(get("/raise/x")).status == 500
                    assert client.ask(get(f"/hello/{number}")).text == f"hello {number}"
            process.send_signal(signal.SIGTERM)
            process.wait(WAIT_SECONDS)
        finally:
            process.kill()
    if stream == "full":
        os.close(reader)
    # Python itself says 120 when it cannot flush its standard output at the end.
    assert process.returncode in (0, 120)


def fill(pipe: int) -> None:
    """Until it takes nothing more, for whoever writes there."""
    os.set_blocking(pipe, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(pipe, b"x")
    os.set_blocking(pipe, True)


def test_credentials_are_in_no_log(start: Start, tmp_path: Path) -> None:
    """Neither where a handler fails nor where a request is refused."""
    log, errors = tmp_path / "access", tmp_path / "errors"
    server = start("--access-log-file", str(log), "--access-log-format", "json", "--no-access-log-query",
                   "--error-log", str(errors), "--log-level", "debug", "--log-format", "json",
                   "--request-id-header", "X-Request-ID")
    with server.connect() as client:
        assert client.ask(get("/cut-short?token=hunter2", "X-Request-ID: of-mine", *SECRETS)).status == 404
        assert client.ask(get("/nonsense?token=hunter2", *SECRETS, "Content-Length: x")).status == 400
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["target"], line["status"]) for line in lines] == [("/cut-short", 404), ("/nonsense", 400)]
    assert lines[0]["request_id"] == "of-mine"
    assert "hunter2" not in log.read_text() + errors.read_text() + server.complaints()


def test_a_named_pipe_without_a_reader(start: Start, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    server = start("--access-log-file", str(tmp_path / "pipe"), ready=False)
    server.exits(code=3, complaint=f"japronto: cannot write the access log to {tmp_path / 'pipe'}: "
                                   "No such device or address; choose another path\n")
