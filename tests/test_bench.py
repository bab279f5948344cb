"""``python -m bench`` counts no wrong answer, names who is missing, and draws what it measured."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from command import ROOT, WAIT_SECONDS, Done

sys.path.append(str(ROOT))  # Not everything that runs tests does so from there.
from bench import Missing, StartMissing, wrk
from bench.__main__ import QUICK_CONTESTANTS
from bench.checking import check
from bench.contest import Contest
from bench.contestants import ROUTES, Contestant, all_contestants
from bench.driving import free_port, running
from bench.environments import Made, make_all
from bench.idle import holding
from bench.measuring import Effort
from bench.workloads import CONNECTIONS, DEPTHS, QUICK, WORKLOADS

pytestmark = pytest.mark.slow
HELLO = WORKLOADS["hello-unpipelined"]
RIGHT = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nContent-Type: text/plain\r\n\r\nHello world!"
COUNTS = "measured requests=4 microseconds=2000000 status=0 connect=0 read=0 write=0 timeout=0\n"


def bench(*arguments: object) -> Done:
    done = subprocess.run([sys.executable, "-m", "bench", *map(str, arguments)], cwd=ROOT, text=True,
                          capture_output=True, timeout=WAIT_SECONDS, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


def test_what_wrk_says() -> None:
    load = wrk.parse(COUNTS + "latencies 100:1 200:2 3000:1\n", connections=4)
    assert load == wrk.Load(4, 2.0, 0.2, 3.0, 3.0)


def test_what_wrk_adds_to_latencies_is_taken_off() -> None:
    """As ``stats_correct`` of wrk does it."""
    seen = {90: 4, 500: 3, 505: 1, 730: 2}
    counted = dict.fromkeys(range(1000), 0) | seen
    for latency in range(200, 731):
        shorter = latency - 100
        while counted[latency] and shorter > 100:
            counted[shorter] += counted[latency]
            shorter -= 100
    assert sum(counted.values()) > sum(seen.values())
    found = wrk.uncorrected({latency: times for latency, times in counted.items() if times}, 100)
    assert {latency: times for latency, times in found.items() if times} == seen


@pytest.mark.parametrize(("said", "reason"), [
    ("", "wrk does not say what it measured: unable to connect"),
    (COUNTS.replace("status=0", "status=3"), "wrk counted 3 answers with a status of an error, beside 4 "),
    (COUNTS.replace("timeout=0", "timeout=1"), "wrk counted 1 answers that came too late or not at all"),
    (COUNTS.replace("requests=4", "requests=0"), "wrk got no answer"),
    (COUNTS, "wrk has no latencies"),
])
def test_wrk_has_errors(said: str, reason: str) -> None:
    with pytest.raises(Missing, match=f"^{re.escape(reason)}"):
        wrk.parse(said, "unable to connect\n")


@contextmanager
def answering(*answers: bytes) -> Iterator[int]:
    """A server of one connection that answers each request with these octets in turn; its port."""
    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            for answer in answers:
                connection.recv(65536)
                connection.sendall(answer)
            connection.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join(WAIT_SECONDS)


def test_a_right_answer() -> None:
    with answering(RIGHT, RIGHT) as port:
        check(port, HELLO)


@pytest.mark.parametrize(("answer", "reason"), [
    (RIGHT.replace(b"200 OK", b"404 Not Found"), "/ is answered with status 404: 'Hello world!'"),
    (RIGHT.replace(b"world!", b"World!"), "the answer to / is 'Hello World!', not 'Hello world!'"),
    (RIGHT.replace(b"12", b"11"), "the answer to / is 'Hello world', not 'Hello world!'"),
    (RIGHT.replace(b"Content-Length: 12", b"A: b\r\nConnection: close"),
     "the answer to / has neither a Content-Length nor chunks"),
    (RIGHT.replace(b"/plain", b"/html"), "the answer to / has the Content-Type text/html, not text/plain"),
    (b"Hello world!\r\n\r\n", "/ is answered with what is no HTTP: BadStatusLine"),
])
def test_a_wrong_answer(answer: bytes, reason: str) -> None:
    with answering(RIGHT, answer) as port, pytest.raises(Missing, match=f"^{re.escape(reason)}"):
        check(port, HELLO)


def test_more_than_the_answers() -> None:
    with answering(RIGHT, RIGHT + b"!") as port, pytest.raises(Missing, match=r"^more follows the answer"):
        check(port, HELLO)


def test_a_connection_that_does_not_stay() -> None:
    with answering(RIGHT) as port, pytest.raises(Missing, match=r"^the connection broke|^/ is answered with"):
        check(port, HELLO)


def test_a_connection_that_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.checking.CLOSE_SECONDS", 0.1)
    with answering(RIGHT) as port, pytest.raises(Missing, match=r"^it keeps a connection open"):
        check(port, WORKLOADS["close"])


PARENT = r"""
import socket, subprocess, sys, time
burn = "import time\nwhile time.process_time() < 0.3: pass"
subprocess.run([sys.executable, "-c", burn], check=True)
subprocess.Popen([sys.executable, "-c", burn + "\ntime.sleep(600)"])
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listener:
    while True:
        connection, _ = listener.accept()
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        connection.close()
"""


def test_a_server_of_many_processes() -> None:
    """What its processes spend counts, of one that ended and of one that runs, and none outlives it."""
    port = free_port()
    with running([sys.executable, "-c", PARENT, str(port)], port, min(os.sched_getaffinity(0))) as server:
        deadline = time.monotonic() + WAIT_SECONDS
        while server.cpu_seconds() < 0.5:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert len(server.members(zombies=False)) == 2
        memory = server.memory()
    assert 0 < memory.pss <= memory.rss <= memory.peak
    assert server.members(zombies=False) == []


def test_a_server_that_does_not_start() -> None:
    """What it has to say is the reason."""
    command = [sys.executable, "-c", "import sys; sys.exit('no memory')"]
    with pytest.raises(StartMissing, match=r"^it does not start: no memory$"), running(command, 1, 0):
        pass


def contestant(name: str, **described: Any) -> Contestant:
    return Contestant(name, Path(__file__), "", name, **described)


def test_whoever_is_missing_is_named(tmp_path: Path) -> None:
    """One does not start and is not tried twice; one is not installed; one cannot do this."""
    told: list[str] = []
    tried = tmp_path / "tried"
    contest = Contest(
        [contestant("a", command=("sh", "-c", f"echo >>{tried}; echo broken >&2; exit 1")), contestant("b"),
         contestant("c", missing_workloads={"hello": "it does not greet"})],
        {"a": Made(sys.executable, ""), "b": StartMissing("b is not installed"), "c": Made("", "")},
        [HELLO, WORKLOADS["hello"]], Effort(2, 1, 0.1), min(os.sched_getaffinity(0)), tell=told.append)
    for outcome in contest.run():
        assert outcome.missing == {"a": "it does not start: broken", "b": "b is not installed",
                                   "c": "it does not greet"}
        assert not outcome.measured
    assert len(contest.outcomes) == 2
    assert tried.read_text() == "\n"


@pytest.mark.parametrize(("described", "reason"), [
    ({"needs": {"no-such-program": "nothing"}}, "no-such-program is not installed (Debian package nothing)"),
    ({"build": ("sh", "-c", "echo broken >&2; exit 1")}, "sh failed: broken"),
    ({"build": ("sleep", "600")}, "there was not enough time to install it (sleep was not done)"),
    ({"python": "2.0"}, "Python 2.0 is not installed"),
    ({"version": ("sh", "-c", "exit 7")}, "sh failed: exit code 7"),
])
def test_what_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, described: dict[str, Any],
                             reason: str) -> None:
    for module in ("contestants", "environments"):
        monkeypatch.setattr(f"bench.{module}.VENVS", tmp_path)
    patience = 1 if "sleep" in reason else WAIT_SECONDS
    made = make_all([contestant("a", **described), contestant("b", version=("echo", "1.0"))], patience)
    assert str(made["a"]) == reason
    assert made["b"] == Made(sys.executable, "1.0")
    assert not any(tmp_path.glob("*/complete"))


def test_what_is_made_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("contestants", "environments"):
        monkeypatch.setattr(f"bench.{module}.VENVS", tmp_path)
    once = contestant("a", build=("sh", "-c", f"echo >>{tmp_path}/often"))
    for _ in range(2):
        make_all([once], WAIT_SECONDS)
    assert (tmp_path / "often").read_text() == "\n"


def test_a_short_run(tmp_path: Path) -> None:
    """The floor and the reference are really measured; the table, the JSON and the charts are there."""
    done = bench("--quick", "--contestants", "floor,japronto_pure", "--workloads", "hello-unpipelined,json",
                 "--rounds", 1, "--seconds", 1, "--output", tmp_path)
    assert done.code == 0, done.error
    results = json.loads((tmp_path / "results.json").read_text())
    hello, as_json = results["workloads"]
    assert [row["contestant"] for row in hello["rows"]] == ["floor", "japronto_pure"]
    assert [row["contestant"] for row in as_json["rows"]] == ["japronto_pure"]
    assert [entry["contestant"] for entry in as_json["missing"]] == ["floor"]
    for row in hello["rows"]:
        assert row["cpu_us"] * row["requests_per_second"] < 1.1e6  # One processor has no more.
        assert 0 < row["p50_ms"] <= row["p99_ms"] <= row["p99_9_ms"]
        assert row["name"] in done.out
    reason = as_json["missing"][0]["reason"]
    assert reason in done.out
    chart = (tmp_path / "workload-json.svg").read_text()
    assert "Japronto (pure)" in chart
    assert "Missing: floor" in chart
    assert (tmp_path / "workload-json.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("arguments", "reason"), [
    (("--contestants", "apache"), "--contestants: there is no 'apache'; there are "),
    (("--workloads", "hello,goodbye"), "--workloads: there is no 'goodbye'; there are hello, "),
    (("--workloads", ""), "argument --workloads: must be names with commas between them; it is ''"),
    (("--rounds", "0"), "argument --rounds: must be a whole number above zero; it is '0'"),
    (("--output", "/dev/null/a"), "nothing can be written to --output /dev/null/a: Not a directory"),
    (("--fast",), "unrecognized arguments: --fast"),
])
def test_a_mistake(arguments: tuple[str, ...], reason: str) -> None:
    done = bench(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.error.startswith(f"bench: {reason}")
    assert done.error.count("\n") == 1


def test_what_is_quick_is_there() -> None:
    assert set(QUICK_CONTESTANTS) <= set(all_contestants())
    assert set(QUICK) | set(DEPTHS.values()) | set(CONNECTIONS.values()) <= set(WORKLOADS)
    assert {workload.route for workload in WORKLOADS.values()} == set(ROUTES)


def test_list() -> None:
    done = bench("--list")
    assert (done.code, done.error) == (0, "")
    assert "japronto_accel" in done.out
    assert "hello-unpipelined" in done.out


def test_idle_connections_that_do_not_stay() -> None:
    """Those that the server has closed meanwhile are told."""
    accepted = []

    def serve() -> None:
        for _ in range(3):
            connection, _ = listener.accept()
            connection.recv(65536)
            connection.sendall(RIGHT)
            accepted.append(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with (pytest.raises(Missing, match=r"not 3 are still open: 2 are still open$"),
                  holding(listener.getsockname()[1], 3)):
                accepted[0].close()
        finally:
            thread.join(WAIT_SECONDS)
            for connection in accepted:
                connection.close()


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Jobs that a script runs in the background ignore interrupts, and so do all that these start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def children(pid: int) -> list[int]:
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.usefixtures("interruptible")
def test_an_interrupt(tmp_path: Path, number: signal.Signals) -> None:
    """It ends all that was started, and still writes what there is."""
    with subprocess.Popen(
            [sys.executable, "-m", "bench", "--contestants", "floor", "--workloads", "hello", "--seconds",
             "300", "--output", str(tmp_path)], cwd=ROOT, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + WAIT_SECONDS
        while len(started := children(process.pid)) < 2:  # The floor, and wrk.
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(number)
        out, error = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 130, error
    assert "Interrupted; what there is of it:\nHello world, 24 pipelined" in out
    assert json.loads((tmp_path / "results.json").read_text())["workloads"][0]["rows"] == []
    assert not any(Path(f"/proc/{pid}").exists() for pid in started)
