"""Clients that reset, half-close, send garbage, trickle or vanish, at random, beside honest ones.

No honest request fails, and when the hostile clients have gone nothing of them is left in any process: no
descriptor, no task, no object, no memory that grows with their number.
"""

from __future__ import annotations

import json
import random
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from sockets.process import until
from sockets.tls import certificate, trusting

from .conftest import Master, Start
from .load import Client, Clients, Load, connected

MIB = 1024 * 1024
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
RESET = struct.pack("ii", 1, 0)

PROGRAM = """
import asyncio, gc, os
from japronto import Application
app = Application()
LARGE = b"x" * 2_000_000
@app.get("/")
def hello(request):
    return request.Response(text="Hello world!")
@app.get("/large")
def large(request):
    return request.Response(body=LARGE)
@app.get("/pieces")
async def pieces(request):
    async def pieces():
        for _ in range(100):
            yield LARGE[:65536]
            await asyncio.sleep(0.001)
    return request.Response(body=pieces())
@app.get("/slow")
async def slow(request):
    await asyncio.sleep(0.2)
    return request.Response(text="slow")
@app.post("/upload", stream=True)
async def upload(request):
    async for piece in request.stream():
        pass
    return request.Response(text="taken")
@app.get("/raises")
def raises(request):
    raise KeyError("of the program")
@app.get("/inside")
def inside(request):
    gc.collect()
    return request.Response(json=[os.getpid(), len(asyncio.all_tasks()), len(gc.get_objects())])
"""


# -- What a hostile client does ------------------------------------------------------------------

def garbage(sock: socket.socket, chance: random.Random) -> None:
    sock.sendall(chance.randbytes(chance.randrange(1, 3000)))


def broken_request(sock: socket.socket, chance: random.Random) -> None:
    octets = bytearray(GET * 3)
    octets[chance.randrange(len(octets))] = chance.randrange(256)
    sock.sendall(octets)


def half_a_head(sock: socket.socket, chance: random.Random) -> None:
    for octet in GET[:chance.randrange(1, len(GET))]:
        sock.send(bytes((octet,)))


def half_a_content(sock: socket.socket, chance: random.Random) -> None:
    sock.sendall(POST + b"x" * chance.randrange(1000))


def asks_and_does_not_read(sock: socket.socket, chance: random.Random) -> None:
    path = chance.choice((b"/large", b"/pieces", b"/slow", b"/raises"))
    sock.sendall(GET.replace(b" / ", b" %b " % path) * chance.randrange(1, 4))


def reads_some(sock: socket.socket, chance: random.Random) -> None:
    sock.sendall(GET.replace(b" / ", b" /large "))
    sock.recv(chance.randrange(1, 100_000))


def asks_a_lot(sock: socket.socket, chance: random.Random) -> None:
    sock.sendall(GET * chance.randrange(1, 300))


DEEDS: tuple[Callable[[socket.socket, random.Random], None], ...] = (
    garbage, broken_request, half_a_head, half_a_content, asks_and_does_not_read, reads_some, asks_a_lot)


def leave(sock: socket.socket, chance: random.Random) -> None:
    """Close, reset, half-close and wait for the end, or stay for a moment."""
    way = chance.randrange(4)
    if way == 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    elif way == 1:
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            pass
    elif way == 2:
        time.sleep(chance.random() / 20)
    sock.close()


class Hostile(Clients):
    """Hostile clients; the seeds make them the same each time.

    ``opened`` is what they do before anything else, and gives the socket that they go on with.
    """

    def __init__(self, port: int, threads: int = 4,
                 opened: Callable[[socket.socket, random.Random], socket.socket] | None = None) -> None:
        super().__init__(port, threads)
        self._opened = opened or (lambda sock, chance: sock)
        self._chances = [random.Random(seed) for seed in range(threads)]

    def one(self, number: int) -> None:
        chance = self._chances[number]
        with suppress(OSError), connected(self.port) as sock:
            sock.settimeout(5)
            with self._opened(sock, chance) as above:
                chance.choice(DEEDS)(above, chance)
                leave(above, chance)


# -- What is left of them ----------------------------------------------------------------------

class Held(NamedTuple):
    """What a process holds."""

    resident: int
    tasks: int = 0
    objects: int = 0


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def resident(pid: int) -> int:
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * 4096


def inside(master: Master) -> dict[int, list[int]]:
    """What each worker says of itself: its tasks, and the objects that the collector knows."""
    found: dict[int, list[int]] = {}

    def all_have_said() -> bool:
        with Client(master.port) as client:
            client.send("/inside")
            pid, *numbers = json.loads(client.answer())
        found[pid] = numbers
        return set(found) == set(master.workers())

    until(all_have_said, "each worker has said what is in it")
    return found


def held(master: Master, idle: dict[int, int]) -> dict[int, Held]:
    """What each process holds, once it has no more descriptors than while it was idle."""
    for pid, count in idle.items():
        until(lambda pid=pid, count=count: descriptors(pid) <= count, f"all connections of {pid} are gone")
    said = inside(master)
    return {pid: Held(resident(pid), *said.get(pid, ())) for pid in idle}


@contextmanager
def nothing_is_left(master: Master, idle: dict[int, int], growth: int) -> Iterator[None]:
    """Within, anything may happen; behind, the processes are the same, and hold what they held."""
    before = held(master, idle)
    yield
    after = held(master, idle)
    for pid, was in before.items():
        print(f"before: {was}, after: {after[pid]}")
    assert sorted(idle) == sorted([master.process.pid, *master.workers()]), master.said()[-5000:]
    for pid, was in before.items():
        now = after[pid]
        assert now.tasks <= was.tasks + 1  # One may be kept for the next handler that waits.
        assert now.objects <= was.objects + 200
        assert now.resident <= was.resident + growth


def play(start: Start, workers: int, warm: int, growth: int,
         over: Callable[[Hostile], bool]) -> tuple[Load, Hostile]:
    """Honest clients beside hostile ones, once so many of either have warmed the server up."""
    master = start("--workers", str(workers), "--check-seconds", "0.1", "--send-seconds", "2",
                   "--head-seconds", "2", "--content-seconds", "2", "--half-close-seconds", "2",
                   "--linger-seconds", "0.5", program=PROGRAM)
    idle = {pid: descriptors(pid) for pid in (master.process.pid, *master.workers())}
    with Hostile(master.port) as first, Load(master.port, clients=4) as load:
        until(lambda: first.connections >= warm and load.answered >= warm, "the server is warm")
    with nothing_is_left(master, idle, growth), Load(master.port, clients=4) as load, \
            Hostile(master.port) as clients:
        while not over(clients):
            load.go_on(100)
    assert load.failures == [], load.failures[:3]
    said = master.said()
    assert said.count("Traceback (") == said.count("KeyError: 'of the program'\n") > 0, said[-5000:]
    return load, clients


@pytest.mark.parametrize("workers", [1, 2])
def test_hostile_clients_beside_honest_ones(start: Start, workers: int) -> None:
    play(start, workers, 150, 4 * MIB, lambda clients: clients.connections >= 400)


def behind_a_proxy(sock: socket.socket, chance: random.Random) -> socket.socket:
    """A header of the PROXY protocol and a handshake; or a part of them, and what does not belong there."""
    header = b"PROXY TCP4 192.0.2.%d 192.0.2.1 5000 443\r\n" % chance.randrange(1, 255)
    if chance.random() < 0.2:
        sock.sendall(header[:chance.randrange(len(header))])
        return sock
    sock.sendall(header)
    return sock if chance.random() < 0.2 else trusting().wrap_socket(sock, server_hostname="localhost")


@pytest.mark.long
def test_hostile_clients_behind_a_proxy_and_over_tls(start: Start, tmp_path: Path) -> None:
    master = start("--workers", "1", "--check-seconds", "0.1", "--send-seconds", "2", "--head-seconds", "2",
                   "--content-seconds", "2", "--half-close-seconds", "2", "--linger-seconds", "0.5",
                   "--handshake-seconds", "2", "--proxy-protocol", "--tls-certificate",
                   certificate(tmp_path / "own.pem"), program=PROGRAM)
    (pid,) = master.workers()
    idle, before = descriptors(pid), 0
    for clients in (300, 1_000):  # The first warm the server up.
        with Hostile(master.port, opened=behind_a_proxy) as hostile:
            until(lambda hostile=hostile, clients=clients: hostile.connections >= clients, "they are over")
        until(lambda: descriptors(pid) <= idle, "all connections are gone")
        before = before or resident(pid)
    assert master.workers() == [pid], master.said()[-5000:]
    assert resident(pid) <= before + 4 * MIB
    said = master.said()
    assert said.count("Traceback (") == said.count("KeyError: 'of the program'\n") > 0, said[-5000:]


@pytest.mark.long
@pytest.mark.parametrize("workers", [1, 2])
def test_hostile_clients_for_five_minutes(start: Start, workers: int) -> None:
    end = time.monotonic() + 300
    load, clients = play(start, workers, 2_000, 4 * MIB, lambda _: time.monotonic() > end)
    print(f"{load.answered:,} honest requests, {len(load.failures)} failed; "
          f"{clients.connections:,} hostile clients")
    assert load.answered > 100_000
    assert clients.connections > 20_000
