"""Handlers that raise, answer nonsense, block, take all memory or end their process.

The others are served meanwhile, or the worker is replaced; and the log says which request it was, or
which worker.
"""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sockets.process import until

from . import faulty
from .conftest import Master, Start, alive
from .load import Client, Load

PROGRAM = Path(faulty.__file__).read_text()
MIB = 1 << 20


@contextmanager
def connected(master: Master) -> Iterator[http.client.HTTPConnection]:
    client = http.client.HTTPConnection("127.0.0.1", master.port, timeout=30)
    client.connect()
    try:
        yield client
    finally:
        client.close()


def ask(client: http.client.HTTPConnection, path: str = "/") -> tuple[int, str]:
    client.request("GET", path)
    answer = client.getresponse()
    return answer.status, answer.read().decode()


def fails(master: Master, client: http.client.HTTPConnection, path: str) -> None:
    """The request is answered with 500 and nothing of the program, the log has it, the client goes on."""
    _, worker = ask(client)
    before = len(master.said())
    assert ask(client, path) == (500, "Internal Server Error"), path
    until(lambda: f"GET {path} from 127.0.0.1 failed\n" in master.said()[before:], f"{path} is logged")
    assert ask(client) == (200, worker), path


def test_what_no_answer_comes_of(start: Start) -> None:
    """Called as they are, in a first step, and later."""
    master = start("--workers", "2", program=PROGRAM)
    workers = master.workers()
    with Load(master.port, clients=2) as load, connected(master) as client:
        for how in ("now", "at-once", "later"):
            for name in faulty.RAISES | faulty.NONSENSE:
                fails(master, client, f"/{how}/{name}")
        load.go_on(100)
    assert load.failures == []
    assert master.workers() == workers


# -- What holds up all requests of a worker ------------------------------------------------------

def block(start: Start, seconds: float, *options: str) -> None:
    """A handler that blocks is waited for, and the other worker serves."""
    master = start("--workers", "2", *options, program=PROGRAM)
    workers = master.workers()
    with connected(master) as client, Load(master.port) as load:
        _, blocked = ask(client)
        client.request("GET", f"/patiently?seconds={seconds}")
        until((master.directory / "blocked").exists, "it blocks")
        load.go_on(100)
        assert client.getresponse().read().decode() == blocked
        load.go_on(100)
    assert load.failures == []
    assert master.workers() == workers
    assert "hung" not in master.said()


def test_a_handler_that_blocks(start: Start) -> None:
    block(start, 0.8, "--worker-timeout", "2")


@pytest.mark.long
def test_a_handler_that_blocks_for_ten_seconds(start: Start) -> None:
    block(start, 10)


def test_a_handler_that_never_ends(start: Start) -> None:
    """Be it in Python, in C, or deaf to the signal that is to tell where it is."""
    master = start("--workers", "2", "--worker-timeout", "1", program=PROGRAM)
    for name in ("spin", "match", "deaf"):
        before = len(master.said())
        worker = end(master, f"/{name}")
        said = master.said()[before:]
        assert f"Worker {worker} hung, without a sign of life for 1 s, and is killed; replaced by " in said
        assert (f" in {name}\n" in said) is (name != "deaf")


# -- What ends the process -----------------------------------------------------------------------

def end(master: Master, path: str) -> int:
    """Ask for what ends a worker: all others are served, and it is replaced.  Returns its number."""
    before = master.workers()
    with Load(master.port) as load, Client(master.port) as client:
        client.send("/")
        worker = client.answer()
        client.send(path)
        load.go_on(100)
        until(lambda: not alive(int(worker)), "the worker ends")
        until(lambda: len(master.workers()) == 2, "it is replaced")
        load.go_on(100)
    assert set(before) - set(master.workers()) == {int(worker)}
    # One that it had accepted, and not answered yet, is its own too; such a one is never refused.
    assert all(failure.server == worker or (failure.server == "" and "refused" not in failure.what)
               for failure in load.failures), load.failures
    return int(worker)


def test_a_handler_that_ends_its_process(start: Start) -> None:
    """Also as the system does that has no memory left: it kills."""
    master = start("--workers", "2", program=PROGRAM)
    for path, how in (("/exit", "ended with exit code 7"), ("/signal/9", "was killed by SIGKILL"),
                      ("/signal/11", "was killed by SIGSEGV")):
        worker = end(master, path)
        assert f"Worker {worker} {how}; " in master.said()  # It may be another that comes in its place.


# -- What takes all memory -------------------------------------------------------------------------

def test_a_handler_that_takes_all_memory(start: Start) -> None:
    """Where the system refuses it more: that is an error like any other, and what it took is free again."""
    master = start("--workers", "2", program=PROGRAM, MEMORY_MORE=str(64 * MIB))
    workers = master.workers()
    with Load(master.port) as load, connected(master) as client:
        for path in ("/large", "/full") * 3:
            fails(master, client, path)
        load.go_on(100)
    assert load.failures == []
    assert master.workers() == workers
    assert master.said().count("MemoryError\n") >= 6
