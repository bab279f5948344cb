"""The decisions of a master, and what its process holds."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
from command import ROOT

from japronto import supervisor
from japronto.config import MasterConfig, ServerConfig
from japronto.crew import BACKOFF_SECONDS_MAX, Crew, Member, State, backoff
from japronto.worker import VARIABLE, Given, taken


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
    assert crew.to_retire() == []


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
    assert crew.to_retire() == []
    crew.got_ready(new, 11)
    (old,) = crew.to_retire()
    assert old.pid == 100
    old.state = State.LEAVING
    assert crew.to_start(11) == [1, 2]  # from now on a quarter of all
    started(crew, 201, 1, 12)
    crew.joined(202, 2, 12)
    assert [member.pid for member in crew.to_retire()] == [101]


def test_a_program_that_cannot_start_replaces_nobody() -> None:
    crew = crew_of(2, ready=2)
    crew.renew("new")
    assert crew.left(crew.joined(200, 0, 10), 11)
    crew.give_renewal_up("new")
    assert crew.to_start(11) == crew.to_start(100) == []
    assert crew.to_retire() == []
    assert crew.renewed()


def test_who_has_asked_to_be_replaced_stays_so_when_a_renewal_is_given_up() -> None:
    crew = crew_of(2, ready=2)
    crew.members[101].outdated = "many requests"
    crew.renew("new")
    crew.give_renewal_up("new")
    assert crew.to_start(1) == [1]


def test_scaling() -> None:
    crew = crew_of(2, ready=2)
    crew.wanted = 3
    assert crew.to_start(1) == [2]
    started(crew, 200, 2, 1)
    crew.wanted = 1
    assert [member.pid for member in crew.to_retire()] == [101, 200]


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
