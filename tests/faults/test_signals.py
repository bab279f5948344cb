"""Signals that come early, late, to all processes at once, or to a server that has no use for them."""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from command import COMMAND, ROOT
from sockets.process import until

from .conftest import PROGRAM, Master, Start

STARTING = PROGRAM + """
import pathlib, time
@app.on_startup
async def wait(app):
    pathlib.Path("starting").touch()
    while not os.path.exists("start"):
        await asyncio.sleep(0.01)
"""
HARMLESS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU)


def waiting(master: Master) -> socket.socket:
    """A client whose request is under way."""
    client = socket.create_connection(("127.0.0.1", master.port))
    client.sendall(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
    until((master.directory / "waiting").exists, "the request is under way")
    return client


# One process

@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_signals_that_mean_nothing_to_one_process(start: Start, loop: str) -> None:
    """They are answered with a line in the log, and no request is lost."""
    server = start("--loop", loop)
    with waiting(server) as client:
        for number in HARMLESS:
            server.signal(number)
        server.until_said("SIGTTOU")
        (server.directory / "go").touch()
        assert client.recv(1000).startswith(b"HTTP/1.1 200 ")
    server.signal(signal.SIGTERM)
    assert sorted(server.exits(0).splitlines()[1:]) == [
        "SIGHUP: there is nothing to load anew without --workers or a certificate",
        "SIGTTIN: the number of workers can be changed with --workers alone",
        "SIGTTOU: the number of workers can be changed with --workers alone",
        "SIGUSR2 means nothing here; SIGHUP loads the program anew, where there are --workers"]


def test_quit_does_not_wait_in_one_process(start: Start) -> None:
    """And a signal that the program takes is left to it."""
    server = start("--pid-file", "pid", program=PROGRAM + """
import signal
signal.signal(signal.SIGUSR2, lambda *_: open("taken", "w").close())
""")
    with waiting(server):
        server.signal(signal.SIGUSR2)
        until((server.directory / "taken").exists, "the program takes it")
        server.signal(signal.SIGQUIT)
        server.exits(1)
    assert not (server.directory / "pid").exists()


@pytest.mark.parametrize("options", [(), ("--workers", "1")], ids=["one", "master"])
def test_signals_while_start_up_hooks_run(start: Start, options: tuple[str, ...]) -> None:
    server = start(*options, program=STARTING, ready=False)
    until((server.directory / "starting").exists, "the hook runs")
    for number in HARMLESS:
        for pid in (*server.workers(), server.process.pid):
            os.kill(pid, number)
    (server.directory / "start").touch()
    server.listening()
    server.signal(signal.SIGTERM)
    assert server.exits(0).count("SIGUSR2 means nothing here") == 1


# The terminal

@pytest.mark.parametrize("options", [(), ("--workers", "1")], ids=["one", "master"])
def test_a_server_ends_with_its_terminal(tmp_path: Path, options: tuple[str, ...]) -> None:
    """What it has begun is finished first, as at SIGTERM; and the terminal may halt one process."""
    (tmp_path / "hello.py").write_text(PROGRAM)
    ours, theirs = pty.openpty()
    with (tmp_path / "stderr").open("w") as errors:
        process = subprocess.Popen((*COMMAND, "hello:app", "--uds", "socket", *options), cwd=tmp_path,
                                   env={**os.environ, "PYTHONPATH": str(ROOT)},
                                   stdin=theirs, stdout=errors, stderr=errors)
    os.close(theirs)
    try:
        until(lambda: "listening" in (tmp_path / "stderr").read_text(), "it listens")
        assert takes(process.pid, signal.SIGUSR2)
        assert takes(process.pid, signal.SIGTTOU) == bool(options)
        os.close(ours)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "socket"))
            client.sendall(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
            until((tmp_path / "waiting").exists, "the request is under way")
            process.send_signal(signal.SIGHUP)
            process.send_signal(signal.SIGHUP)
            until(lambda: "Finishing" in (tmp_path / "stderr").read_text(), "it drains")
            (tmp_path / "go").touch()
            assert client.recv(1000).startswith(b"HTTP/1.1 200 ")
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(("left", "gone"), [("", True), ("os.dup2(os.open(os.devnull, 0), 0)", False)],
                         ids=["gone", "left"])
def test_a_terminal_that_the_program_has_left_is_not_gone(left: str, gone: bool) -> None:
    ours, theirs = pty.openpty()
    code = f"""import os
from japronto import signals
{left}
print(signals.terminal_gone(), flush=True)
while os.isatty(0): pass
print(signals.terminal_gone())"""
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdin=theirs, stdout=subprocess.PIPE,
                          text=True) as process:
        os.close(theirs)
        assert process.stdout is not None
        assert process.stdout.readline() == "False\n"
        os.close(ours)
        assert process.stdout.read() == f"{gone}\n"


def takes(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    return any(int(line.split()[1], 16) >> (number - 1) & 1
               for line in status.splitlines() if line.startswith("SigCgt"))


# All processes at once

EARLY = """
import os, pathlib, signal, sys, time
class Signalling:
    def find_spec(self, name, path=None, target=None):
        if name == "japronto.supervisor":
            os.kill(os.getpid(), signal.SIGHUP)
if "JAPRONTO_WORKER" in os.environ:
    pathlib.Path("begun").touch()
    while not os.path.exists("start"):
        time.sleep(0.01)
else:
    sys.meta_path.insert(0, Signalling())
"""


def test_signals_before_anything_is_loaded(start: Start, tmp_path: Path) -> None:
    """Neither the master nor a worker is harmed, from its first moment on, by what is for the master."""
    (tmp_path / "sitecustomize.py").write_text(EARLY)
    master = start("--workers", "1", ready=False, PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]))
    until((master.directory / "begun").exists, "the worker begins")
    for number in (*HARMLESS, signal.SIGINT, signal.SIGQUIT):
        os.kill(master.workers()[0], number)
    (master.directory / "start").touch()
    master.listening()
    assert master.said().count("\n") == 1
    os.kill(master.workers()[0], signal.SIGQUIT)
    until(lambda: not pending(master.workers()[0]), "the worker takes no notice")
    master.signal(signal.SIGTERM)
    master.exits(0)


LATE = PROGRAM + """
import atexit, pathlib, time
async def rest():
    try:
        await asyncio.sleep(3600)
    finally:
        pathlib.Path("cancelled").touch()
        while not os.path.exists("cancelled-on"):
            await asyncio.sleep(0.01)
        pathlib.Path("rested").touch()
@app.on_startup
async def begin(app):
    app.rest = asyncio.create_task(rest())
@atexit.register
def leave():
    pathlib.Path("leaving").touch()
    while not os.path.exists("leaving-on"):
        time.sleep(0.01)
    pathlib.Path("left").touch()
class Last:
    def __del__(self, kill=os.kill, pid=os.getpid()):
        kill(pid, 15)
os.last = Last()
"""


@pytest.mark.parametrize(("options", "steps"), [
    ((), []), (("--workers", "1"), ["cancelled", "leaving"])], ids=["one", "worker"])
def test_signals_to_a_process_on_its_way_out(start: Start, options: tuple[str, ...],
                                             steps: list[str]) -> None:
    """Neither are the last functions of a worker cut, nor is it said to have been killed.

    What one process has left running, a further signal may interrupt, but not its very end.
    """
    server = start(*options, program=LATE)
    for step in {"cancelled", "leaving"}.difference(steps):
        (server.directory / f"{step}-on").touch()
    last = (server.workers() or [server.process.pid])[0]
    server.signal(signal.SIGTERM)
    for step in steps:
        until((server.directory / step).exists, "it is about to end")
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            os.kill(last, number)
        until(lambda: not pending(last), "it has taken them")
        (server.directory / f"{step}-on").touch()
    assert server.exits(0).count("\n") == 1
    assert (server.directory / "rested").exists()
    assert (server.directory / "left").exists()


THREAD = PROGRAM + """
import pathlib, threading
def stay():
    threading.main_thread().join()
    pathlib.Path("waits").touch()
    threading.Event().wait()
@app.on_startup
async def begin(app):
    threading.Thread(target=stay).start()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_who_waits_for_a_thread_can_be_stopped(start: Start, number: signal.Signals) -> None:
    """It has served, but would stay for ever."""
    server = start("--pid-file", "pid", program=THREAD)
    server.signal(signal.SIGTERM)
    until((server.directory / "waits").exists, "it waits for the thread")
    server.signal(number)
    server.exits(-number)
    assert not (server.directory / "pid").exists()


def pending(pid: int) -> bool:
    """Whether a process has signals that it has not taken yet."""
    status = Path(f"/proc/{pid}/status").read_text()
    return any(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("ShdPnd"))
