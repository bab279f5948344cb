"""Workers that die, hang, are replaced and cannot start, and a master that keeps them."""

from __future__ import annotations

import http.client
import os
import signal
from pathlib import Path

import pytest
from sockets.process import until

from .conftest import PROGRAM, Master, Start, alive
from .load import Load

BRIEF = ("--retire-seconds", "1", "--drain-seconds", "2", "--check-seconds", "0.05")


def ask(master: Master, path: str = "/") -> str:
    """What a new connection is answered."""
    client = http.client.HTTPConnection("127.0.0.1", master.port, timeout=30)
    client.request("GET", path)
    answer = client.getresponse().read().decode()
    client.close()
    return answer


# Serving

def test_two_workers_share_the_requests(start: Start) -> None:
    master = start("--workers", "2")
    assert master.said().endswith(", 2 workers); Ctrl-C stops it.\n")
    with Load(master.port, clients=16) as load:
        until(lambda: len(load.servers) == 2, "both workers answer")
    assert load.servers == set(map(str, master.workers()))
    master.signal(signal.SIGTERM)
    master.exits()


def test_the_master_holds_nothing_of_the_server(start: Start) -> None:
    """Neither its loop nor the program."""
    master = start("--workers", "1", "--loop", "uvloop")
    (worker,) = master.workers()
    holds_loop = ["uvloop" in Path(f"/proc/{pid}/maps").read_text() for pid in (master.process.pid, worker)]
    assert holds_loop == [False, True]


# Ends of workers

def test_a_worker_that_is_killed_is_replaced(start: Start) -> None:
    """Only its own connections fail."""
    master = start("--workers", "2")
    with Load(master.port) as load:
        until(lambda: len(load.servers) == 2, "both workers answer")
        victim = master.workers()[0]
        before = set(master.workers())
        os.kill(victim, signal.SIGKILL)
        until(lambda: int(ask(master)) not in before, "a third worker answers")
        load.go_on(200)
    assert {failure.server for failure in load.failures} <= {str(victim)}, load.failures
    (new,) = set(master.workers()) - before
    assert f"Worker {victim} was killed by SIGKILL; replaced by {new}\n" in master.said()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_all_workers(start: Start, number: signal.Signals) -> None:
    master = start("--workers", "2")
    workers = master.workers()
    master.signal(number)
    assert master.exits().count("\n") == 1
    assert not any(map(alive, workers))


def test_the_code_is_loaded_anew(start: Start) -> None:
    """Under load, and nobody notices."""
    master = start("--workers", "2", *BRIEF)
    with Load(master.port) as load, Load(master.port, clients=2, pipelined=24) as pipelined:
        for _ in range(3):
            before = set(master.workers())
            master.signal(signal.SIGHUP)
            until(lambda before=before: len(set(master.workers()) - before) == 2
                  and before.isdisjoint(master.workers()), "all workers are replaced")
            load.go_on(100)
    assert load.failures == pipelined.failures == []
    assert len(load.servers | pipelined.servers) >= 6
    (master.directory / "hello.py").write_text(PROGRAM.replace("str(os.getpid())", "'new'"))
    master.signal(signal.SIGHUP)
    until(lambda: ask(master) == "new", "the new program answers")


# Logs

def test_the_logs_of_all_are_opened_anew(start: Start, tmp_path: Path) -> None:
    log, old = tmp_path / "access", tmp_path / "old"
    master = start("--workers", "2", "--access-log-file", str(log), "--access-log-format", "%(U)s %(p)s",
                   "--error-log", str(tmp_path / "errors"))
    log.rename(old)
    master.signal(signal.SIGUSR1)

    def reopened(pid: int) -> bool:
        links = [str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()]
        return str(log) in links and str(old) not in links

    until(lambda: all(map(reopened, master.workers())), "both have the new file")
    ask(master, "/")
    assert (old.read_text(), log.read_text().count("\n")) == ("", 1)
    master.signal(signal.SIGTERM)
    master.exits()
