"""The decisions of a master, and what its process holds."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from command import ROOT, WAIT_SECONDS

from japronto import signals, supervisor
from japronto.board import Board
from japronto.config import MasterConfig, ServerConfig
from japronto.crew import BACKOFF_SECONDS_MAX, MORE, TRIAL_SECONDS, Crew, Member, State, backoff
from japronto.worker import VARIABLE, Given, _Look, taken


def crew_of(wanted: int, ready: int) -> Crew:
    """The workers 100, 101 ... of which the first ones are ready, at the time 0."""
    crew = Crew(wanted)
    for slot in crew.to_start(0):
        crew.joined(100 + slot, slot, 0)
    for slot in range(ready):
        crew.got_ready(crew.members[100 + slot], 0)
    return crew


def started(crew: Crew, pid: int, slot: int, now: float) -> Member:
    """A further worker that is ready at once."""
    member = crew.joined(pid, slot, now)
    crew.got_ready(member, now)
    return member


def test_all_start_side_by_side() -> None:
    crew = crew_of(3, ready=0)
    assert [member.slot for member in crew.of(State.STARTING)] == [0, 1, 2]
    assert crew.to_start(0) == []
    assert crew.to_retire(0) == []


def test_one_that_ends_is_replaced_at_once() -> None:
    crew = crew_of(3, ready=3)
    assert not crew.left(crew.members[101], 100)
    assert crew.to_start(100) == [1]


def test_back_off() -> None:
    assert [backoff(failures) for failures in range(1, 7)] == [0, 0.5, 1, 2, 4, 8]
    assert backoff(50) == backoff(5000) == BACKOFF_SECONDS_MAX


def fail(crew: Crew, now: float) -> None:
    """Whoever is to start now ends before he is ready."""
    for slot in crew.to_start(now):
        assert crew.left(crew.joined(900 + slot, slot, now), now)


def test_those_that_cannot_start_wait_for_longer_and_longer() -> None:
    crew = crew_of(2, ready=2)
    crew.left(crew.members[100], 100)
    fail(crew, 100)
    assert crew.to_start(100) == [0]
    fail(crew, 100.5)
    assert crew.to_start(100.9) == []
    assert crew.to_start(101) == [0]
    fail(crew, 101)
    assert crew.to_start(101.9) == []
    assert crew.to_start(102) == [0]


def test_those_that_fail_side_by_side_count_once() -> None:
    crew = crew_of(4, ready=0)
    for member in crew.of(State.STARTING):
        crew.left(member, 1)
    assert crew.failures == 1


def test_health_is_believed_after_a_while() -> None:
    crew = crew_of(2, ready=2)
    crew.left(crew.members[100], 100)
    for now in (100, 101, 103, 107):
        fail(crew, now)
    assert crew.failures == 4
    new = started(crew, 200, 0, 120)
    crew.left(new, 125)
    assert crew.failures == 4
    started(crew, 201, 0, 130)
    crew.left(crew.members[101], 140)
    assert crew.failures == 0


def test_who_ends_as_soon_as_he_is_ready_could_not_start() -> None:
    crew = crew_of(1, ready=1)
    assert crew.left(crew.members[100], 0.5)


def test_renewal_goes_one_by_one_until_it_is_proven() -> None:
    crew = crew_of(8, ready=8)
    crew.renew("new")
    assert crew.to_start(10) == [0]
    new = crew.joined(200, 0, 10)
    assert crew.to_start(10) == []
    assert crew.to_retire(10) == []
    crew.got_ready(new, 11)
    assert crew.to_retire(11) == crew.to_start(11) == []  # It has to serve for a moment.
    (proof,) = crew.trials()
    assert proof == 11 + TRIAL_SECONDS
    (old,) = crew.to_retire(proof)
    assert old.pid == 100
    old.state = State.LEAVING
    assert crew.to_start(proof) == [1, 2]  # from now on a quarter of all
    started(crew, 201, 1, 12)
    crew.joined(202, 2, 12)
    assert [member.pid for member in crew.to_retire(12)] == [101]


def test_a_program_that_cannot_start_replaces_nobody() -> None:
    crew = crew_of(2, ready=2)
    crew.renew("new")
    assert crew.left(crew.joined(200, 0, 10), 11)
    crew.give_renewal_up("new")
    assert crew.to_start(11) == crew.to_start(100) == []
    assert crew.to_retire(100) == []
    assert crew.renewed()


def test_a_program_that_ends_as_soon_as_it_serves_replaces_nobody() -> None:
    crew = crew_of(1, ready=1)
    crew.renew("new")
    new = started(crew, 200, 0, 10)
    assert crew.promising()
    assert not crew.renewed()
    assert crew.left(new, 10 + TRIAL_SECONDS / 2)
    assert not crew.promising()
    assert crew.to_retire(100) == []


def test_who_has_asked_to_be_replaced_stays_so_when_a_renewal_is_given_up() -> None:
    crew = crew_of(2, ready=2)
    crew.members[101].outdated = "many requests"
    crew.renew("new")
    crew.give_renewal_up("new")
    assert crew.to_start(1) == [1]


def test_who_fails_with_an_older_program_says_nothing_of_the_new_one() -> None:
    crew = crew_of(1, ready=1)
    crew.renew("new")
    broken = crew.joined(200, 0, 10)
    crew.renew("mended")
    mended = crew.joined(201, *crew.to_start(11), 11)
    assert not crew.left(broken, 12)
    assert crew.promising()
    crew.got_ready(mended, 13)
    assert crew.failures == 0
    assert [member.pid for member in crew.to_retire(14)] == [100]


def test_a_renewal_promises_something_while_one_starts_or_when_one_has() -> None:
    crew = crew_of(8, ready=8)
    crew.renew("new")
    assert not crew.promising()
    first = crew.joined(200, 0, 10)
    assert crew.promising()
    crew.got_ready(first, 11)
    assert crew.to_start(12) == [1]
    assert crew.left(crew.joined(201, 1, 12), 12)
    assert crew.promising()
    assert 1 in crew.to_start(12)


def test_one_serves_a_slot_and_that_is_the_newest() -> None:
    """Even if nobody says of the others any more that they are outdated."""
    crew = crew_of(2, ready=2)
    started(crew, 200, 0, 10)
    started(crew, 201, 0, 11)
    assert [member.pid for member in crew.to_retire(12)] == [100, 200]


def test_who_starts_with_an_older_program_is_not_waited_for_where_another_serves() -> None:
    crew = crew_of(2, ready=1)
    crew.renew("new")
    crew.joined(200, 0, 10)
    crew.renew("newer")
    crew.joined(201, 0, 11)
    assert [member.pid for member in crew.to_retire(12)] == [200]


@pytest.mark.parametrize("pause", [TRIAL_SECONDS / 2, 1])
def test_renewals_do_not_pile_processes_up(pause: float) -> None:
    """But who is missing is replaced in any case."""
    crew = crew_of(2, ready=2)
    for pid in range(200, 300):
        crew.renew("new")
        for slot in crew.to_start(pid * pause):
            started(crew, pid + 100 * slot, slot, pid * pause)
        for member in crew.to_retire((pid + 0.9) * pause):
            member.state = State.LEAVING
    assert len(crew.members) == 2 * 2 + MORE
    assert crew.room() == 0
    crew.left(crew.of(State.READY)[0], 300)
    assert len(crew.to_start(300)) == 1


def test_scaling() -> None:
    crew = crew_of(2, ready=2)
    crew.wanted = 3
    assert crew.to_start(1) == [2]
    started(crew, 200, 2, 1)
    crew.wanted = 1
    assert [member.pid for member in crew.to_retire(1)] == [101, 200]


def test_a_halted_crew_starts_nobody() -> None:
    crew = crew_of(2, ready=1)
    crew.halted = True
    crew.left(crew.members[101], 1)
    assert crew.to_start(1) == []


# The processes

def test_a_master_imports_nothing_that_serves() -> None:
    code = ("import sys, japronto.cli, japronto.supervisor; "
            "print(*{'asyncio', 'uvloop', 'ssl', 'japronto.app', 'japronto.server'} & set(sys.modules))")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


@pytest.mark.parametrize(("usec", "wait"), [("500000", 0.25), ("30000000", supervisor.TURN_SECONDS)])
def test_a_master_wakes_for_the_watchdog(monkeypatch: pytest.MonkeyPatch, usec: str, wait: float) -> None:
    """Twice as often as it must, also where that is more often than it wakes for anything else."""
    told: list[float] = []
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setattr(supervisor.systemd, "alive", lambda: told.append(now))
    with supervisor._Signals() as signals:
        master = supervisor._Supervisor(ServerConfig(), MasterConfig(), [], [], None, signals, None)
        master._announced = True
        now = 0.0
        monkeypatch.setattr(master, "_clock", lambda: now)
        for _ in range(4):
            master._look(now)
            now += master._wait_seconds()
        master._selector.close()
    assert told == [0, wait, 2 * wait, 3 * wait]


@pytest.fixture
def master() -> Iterator[supervisor._Supervisor]:
    """One of four workers that has started none yet."""
    with supervisor._Signals() as signals:
        master = supervisor._Supervisor(ServerConfig(), MasterConfig(workers=4), [sys.executable, "-c", ""],
                                        [], None, signals, None)
        yield master
        master._kill_all()
        master._selector.close()


def test_where_no_process_can_be_made_that_counts_once(master: supervisor._Supervisor,
                                                       caplog: pytest.LogCaptureFixture) -> None:
    master._directory = "/nowhere"
    master._start_and_retire()
    assert master._crew.failures == len(caplog.messages) == 1


def test_a_renewal_ends_where_no_process_can_be_made(master: supervisor._Supervisor,
                                                     caplog: pytest.LogCaptureFixture) -> None:
    master._ever = True
    for slot in range(4):
        started(master._crew, 100 + slot, slot, 0)
    master._reload()
    master._directory = "/nowhere"
    master._start_and_retire()
    assert not master._reloading
    sentence, = caplog.messages
    assert sentence.startswith("The program cannot be loaded anew: no worker can be started: [Errno 2] ")
    assert not any(member.outdated for member in master._crew.members.values())
    master._crew.members.clear()


def test_a_signal_that_is_not_for_the_master(master: supervisor._Supervisor) -> None:
    """The program of app.run() may have a handler for any of them."""
    number = signal.SIGRTMIN + 1  # which has no name
    before = signal.signal(number, signals.nothing)
    os.kill(os.getpid(), number)
    master._turn()
    signal.signal(number, before)
    assert not master._stops


@pytest.mark.parametrize(("number", "told"), [(signal.SIGTERM, False), (signal.SIGKILL, True)])
def test_who_is_signalled_beside_the_master_was_not_killed(
        master: supervisor._Supervisor, caplog: pytest.LogCaptureFixture, number: int, told: bool) -> None:
    """It may be just on its way out, where nothing takes a signal any more."""
    master._command = ["sh", "-c", f"kill -{number:d} $$"]
    master._start(0, 0)
    (worker,) = master._workers.values()
    master._crew.got_ready(worker.member, 0)
    worker.process.wait()
    master._obey(signal.SIGTERM, 0)
    master._bury(worker, 0)
    assert len(caplog.messages) == told


def test_quit_counts_as_two_signals(master: supervisor._Supervisor) -> None:
    for number, stops in ((signal.SIGQUIT, 2), (signal.SIGTERM, 3)):
        os.kill(os.getpid(), number)
        master._turn()
        assert master._stops == stops


def test_who_is_told_to_stop_while_he_starts_and_does_not(master: supervisor._Supervisor,
                                                          caplog: pytest.LogCaptureFixture) -> None:
    """He is killed, and that is told, and seen in the exit code."""
    master._command = ["sh", "-c", "trap '' TERM; echo; while :; do sleep 0.01; done"]
    master._start(0, 0)
    master._obey(signal.SIGTERM, 0)
    master._look(supervisor.MARGIN_SECONDS - 1)
    assert not master._unfinished
    master._look(supervisor.MARGIN_SECONDS)
    assert master._unfinished
    assert len(caplog.messages) == 1
    assert caplog.messages[0].endswith(" has not ended in time, and is killed")


def test_a_watcher_may_take_its_time_to_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """Meanwhile signals are still taken."""
    @contextmanager
    def watcher(_: MasterConfig) -> Iterator[None]:
        yield
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(supervisor, "_watcher", watcher)
    monkeypatch.setattr(supervisor._Supervisor, "run", lambda _: 0)
    try:
        assert supervisor.supervise(ServerConfig(port=0), MasterConfig()) == 0
    except KeyboardInterrupt:
        pytest.fail("the signal has interrupted it")


@pytest.mark.parametrize(("passed", "counted"), [(0.1, 0.1), (0.5, 0.5), (0.6, 0.25), (1000, 0.25)])
def test_a_clock_stands_still_while_the_master_does(monkeypatch: pytest.MonkeyPatch, passed: float,
                                                    counted: float) -> None:
    """Of a turn that takes long by itself, something counts, so that it goes on in any case."""
    monkeypatch.setattr(time, "monotonic", lambda: seen)
    seen = 100.0
    clock = supervisor._Clock(0.25)
    seen += passed
    assert clock() == pytest.approx(counted)
    assert clock() == pytest.approx(counted)


def test_a_row_is_counted_before_its_worker_has_come_to_it() -> None:
    board = Board.create(4)
    watched = supervisor._Watched(board, [])
    rows = [watched.free_row(()), watched.free_row({1})]
    assert rows == [1, 2]
    board.row(0)
    Board.attach(os.dup(board.descriptor)).row(2).add("accepted")
    assert board.totals()["accepted"] == 1
    board.close()


def test_workers_that_have_begun_together_do_not_end_together() -> None:
    server: Any = SimpleNamespace(worker=SimpleNamespace(loop=SimpleNamespace(time=lambda: 0)))
    master: Any = None
    bounds = MasterConfig(max_requests=1000, max_requests_jitter=50, worker_lifetime=100)
    looks = [_Look(master, server, bounds) for _ in range(50)]
    requests, until = {look._requests for look in looks}, {look._until for look in looks}
    assert min(requests) >= 1000
    assert 1005 < max(requests) <= 1050
    assert min(until) >= 100
    assert 101 < max(until) <= 110


ALARM = """
import hashlib, sys
from japronto.worker import Master
Master.end_in(float(sys.argv[1]))
print("up", flush=True)
if sys.argv[2] == "hangs":
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
sys.stdin.readline()
Master.end_in(0)
print("lives")
"""


def test_who_hangs_is_ended_and_who_was_paused_is_not() -> None:
    """Neither needs the interpreter for that: code in C may hang as well."""
    def process(seconds: float, does: str) -> subprocess.Popen[str]:
        return subprocess.Popen([sys.executable, "-c", ALARM, str(seconds), does], cwd=ROOT, text=True,
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    with process(1, "waits") as paused, process(0.2, "hangs") as hung:
        assert paused.stdout is not None
        assert paused.stdin is not None
        assert paused.stdout.readline() == "up\n"
        paused.send_signal(signal.SIGSTOP)
        assert hung.wait(WAIT_SECONDS) == -signal.SIGALRM
        time.sleep(1.1)
        paused.stdin.write("\n")
        paused.stdin.flush()
        paused.send_signal(signal.SIGCONT)
        assert paused.stdout.read() == "lives\n"


@pytest.mark.parametrize(("own", "left"), [(0, (0, 0)), (1000, (1000, 0))])
def test_a_program_that_takes_the_alarm_gets_its_own_alone(own: int, left: tuple[int, int]) -> None:
    """It may have set a timer, too; that one stays."""
    code = f"""
import signal
from japronto.worker import Master
Master.end_in(500)
signal.signal(signal.SIGALRM, print)
if {own}:
    signal.alarm({own})
Master.end_in(500)
Master.end_in(0)
print(*(round(seconds) for seconds in signal.getitimer(signal.ITIMER_REAL)))"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "{} {}\n".format(*left)


def test_a_worker_takes_what_its_master_gives() -> None:
    with socket.socket() as channel:
        given = Given(1, channel.fileno(), os.fstat(channel.fileno()).st_ino, [3, 4], 1, 5, 2, [6])
        environ = given.variable()
        assert taken(environ) == given
        assert environ == {}
    assert taken(environ) is None


def test_what_was_meant_for_another_process_is_not_taken() -> None:
    with socket.socket() as other:
        for descriptor in (other.fileno(), 999):
            environ = Given(1, descriptor, 0, [3, 4], 1).variable()
            assert list(environ) == [VARIABLE]
            assert taken(environ) is None
            assert environ == {}


@pytest.mark.parametrize("total", [1, 7])
def test_the_first_failure_costs_no_time(total: int) -> None:
    crew = crew_of(total, ready=total)
    crew.left(crew.members[100], 50)
    fail(crew, 50)
    assert crew.to_start(50) == [0]
