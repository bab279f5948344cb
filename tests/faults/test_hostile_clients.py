"""Clients that reset, half-close, send garbage, trickle or vanish, at random, beside honest ones.

No honest request fails, and when the hostile clients have gone nothing of them is left: no descriptor, no
memory that grows with their number.
"""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from sockets.process import until

from .conftest import Master, Start
from .load import Load

MIB = 1024 * 1024
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
RESET = struct.pack("ii", 1, 0)

PROGRAM = """
import asyncio
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


class Hostile:
    """Some threads of hostile clients, one after the other in each; the seed makes it the same each time."""

    def __init__(self, port: int, threads: int = 4) -> None:
        self.clients = 0
        self._port = port
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(random.Random(seed),))
                         for seed in range(threads)]

    def __enter__(self) -> Hostile:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, chance: random.Random) -> None:
        while not self._over.is_set():
            with socket.socket() as sock, suppress(OSError):
                sock.settimeout(5)
                sock.connect(("127.0.0.1", self._port))
                chance.choice(DEEDS)(sock, chance)
                leave(sock, chance)
            self.clients += 1


# -- What is left of them ----------------------------------------------------------------------

def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def resident(pid: int) -> int:
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * 4096


@contextmanager
def nothing_is_left(master: Master, growth: int) -> Iterator[None]:
    """Within, anything may happen; behind, the worker is the same, with its descriptors and its memory."""
    (pid,) = master.workers()
    descriptors_before, resident_before = descriptors(pid), resident(pid)
    yield
    until(lambda: descriptors(pid) <= descriptors_before, "all connections are gone")
    assert master.workers() == [pid], master.said()
    assert resident(pid) - resident_before < growth, (resident_before, resident(pid))


def play(start: Start, warm: int, hostile: int) -> tuple[Load, Hostile]:
    """Honest clients beside so many hostile ones, once some have warmed the server up."""
    master = start("--workers", "1", "--check-seconds", "0.1", "--send-seconds", "2", "--head-seconds", "2",
                   "--content-seconds", "2", "--half-close-seconds", "2", "--linger-seconds", "0.5",
                   program=PROGRAM)
    with Hostile(master.port) as first:
        until(lambda: first.clients >= warm, "the server is warm")
    (pid,) = master.workers()
    until(lambda: descriptors(pid) < 40, "those that warmed it up are gone")
    with nothing_is_left(master, 32 * MIB), Load(master.port, clients=4) as load, \
            Hostile(master.port) as clients:
        while clients.clients < hostile:
            load.go_on(100)
    assert load.failures == [], load.failures[:3]
    said = master.said()
    assert said.count("Traceback (") == said.count("KeyError: 'of the program'\n") > 0, said[-5000:]
    return load, clients


def test_hostile_clients_beside_honest_ones(start: Start) -> None:
    play(start, warm=150, hostile=400)


@pytest.mark.long
def test_hostile_clients_for_minutes(start: Start) -> None:
    load, clients = play(start, warm=2_000, hostile=60_000)
    assert load.answered > 100_000
    assert clients.clients >= 60_000
