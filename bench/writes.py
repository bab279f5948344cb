"""What a write costs, against what it would to wait for a slow handler: hold answers back to save a write?

    python bench/writes.py [--seconds 2] [--backend pure]

First, what it costs to send 24 answers over TCP to somebody who waits for them: each by itself, all in one
buffer, all in one gathering write.  Then a server is asked on one connection, by batches of 24 requests of
which one handler waits, or all do: in how many pieces the answers come, when the first and the last are there
(medians of all batches), and the CPU time of the server for a batch.  All is in us.  Who sends runs on
processor 0, who reads on processor 1.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
BATCH = 24
ROUNDS = 5
ANSWER = (b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 12\r\n"
          b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\nHello world!")
ANSWERS = [ANSWER] * BATCH
SENDERS: dict[str, Callable[[socket.socket], object]] = {
    "each by itself": lambda sock: [sock.send(answer) for answer in ANSWERS],
    "all in one buffer": lambda sock: sock.send(b"".join(ANSWERS)),
    "all in one gathering write": lambda sock: sock.sendmsg(ANSWERS),
    "all in two buffers": lambda sock: [sock.send(b"".join(half)) for half in (ANSWERS[:12], ANSWERS[12:])],
}
SLOW = {"not at all": "/async", "one turn of the loop": "/turn", "1 ms": "/1ms"}
PLACES = {"the first": [0], "the 13th": [12], "the last": [BATCH - 1], "all": list(range(BATCH))}


# -- What a send costs -----------------------------------------------------------------------

def read_batches(port: int) -> None:
    """Read answers, and say after each batch that they are there."""
    os.sched_setaffinity(0, [1])
    with socket.create_connection(("127.0.0.1", port)) as sock:
        left = BATCH * len(ANSWER)
        while octets := sock.recv(1 << 16):
            left -= len(octets)
            if not left:
                left = BATCH * len(ANSWER)
                sock.send(b"!")


def send_costs(seconds: float) -> dict[str, float]:
    """The CPU time of one answer, by how it was sent: the medians of several rounds in turn."""
    costs: dict[str, list[float]] = {name: [] for name in SENDERS}
    with socket.create_server(("127.0.0.1", 0)) as listening:
        reader = multiprocessing.get_context("spawn").Process(
            target=read_batches, args=(listening.getsockname()[1],))
        reader.start()
        sock, _ = listening.accept()
    with sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(ROUNDS):
            for name, send in SENDERS.items():
                costs[name].append(cost_of(send, sock, seconds / ROUNDS))
    reader.join()
    return {name: statistics.median(rounds) for name, rounds in costs.items()}


def cost_of(send: Callable[[socket.socket], object], sock: socket.socket, seconds: float) -> float:
    batches, end, before = 0, time.monotonic() + seconds, time.process_time()
    while time.monotonic() < end:
        send(sock)
        sock.recv(1)
        batches += 1
    return (time.process_time() - before) / (batches * BATCH) * 1e6


# -- What a slow handler does ----------------------------------------------------------------

class Batch(NamedTuple):
    """What became of batches with the same requests."""

    pieces: float
    first: float
    last: float
    cost: float


@contextlib.contextmanager
def running(backend: str) -> Iterator[tuple[int, int]]:
    """A server on processor 0: its port and its process id."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "japronto", "writes_app:app", "--app-dir", str(HERE),
               "--port", str(port), "--backend", backend]
    with subprocess.Popen(["taskset", "-c", "0", *command], stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(100):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.1)
            else:
                sys.exit("the server does not answer")
            yield port, server.pid
        finally:
            server.terminate()


def cpu_ns(pid: int) -> int:
    """What the process has run, to the nanosecond."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


def ask(sock: socket.socket, octets: bytes) -> tuple[int, int, int]:
    """Send a batch; how many pieces the answers come in, and the ns until the first and the last is there."""
    begun = time.perf_counter_ns()
    sock.sendall(octets)
    pieces, answered, first, tail = 0, 0, 0, b""
    while answered < BATCH:
        piece = tail + sock.recv(1 << 16)
        answered += piece.count(b"Hello world!")
        tail = piece[piece.rfind(b"Hello world!") + 12:]
        pieces += 1
        first = first or time.perf_counter_ns()
    return pieces, first - begun, time.perf_counter_ns() - begun


def measure(port: int, pid: int, paths: list[str], seconds: float) -> Batch:
    octets = b"".join(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path.encode() for path in paths)
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.settimeout(10)
        for _ in range(20):
            ask(sock, octets)
        before, end, taken = cpu_ns(pid), time.monotonic() + seconds, []
        while time.monotonic() < end:
            taken.append(ask(sock, octets))
        cost = (cpu_ns(pid) - before) / len(taken) / 1000
    pieces, first, last = (statistics.median(column) for column in zip(*taken, strict=True))
    return Batch(pieces, first / 1000, last / 1000, cost)


# -- Both ------------------------------------------------------------------------------------

def positive(text: str) -> float:
    """A number of seconds above zero."""
    with contextlib.suppress(ValueError):
        if 0 < (seconds := float(text)) < float("inf"):
            return seconds
    raise argparse.ArgumentTypeError(f"must be a number above zero; it is {text!r}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=positive, default=2, help="how long each is measured (default 2)")
    parser.add_argument("--backend", default="accel", choices=("accel", "httptools", "pure"),
                        help="what is measured (default accel)")
    options = parser.parse_args()
    if not hasattr(os, "sched_setaffinity") or not {0, 1} <= os.sched_getaffinity(0):
        sys.exit("this needs Linux, and processors 0 and 1")
    os.sched_setaffinity(0, [0])
    print(f"{f'To send {BATCH} answers':34}{'us an answer':>14}")
    for name, cost in send_costs(options.seconds).items():
        print(f"{name:34}{cost:14.2f}", flush=True)
    os.sched_setaffinity(0, [1])
    print(f"\n{'Who waits':12}{'and how long':22}{'pieces':>8}{'first':>8}{'last':>8}{'CPU':>8}")
    with running(options.backend) as (port, pid):
        for place, slow in PLACES.items():
            for wait, path in SLOW.items():
                paths = [path if number in slow else "/now" for number in range(BATCH)]
                batch = measure(port, pid, paths, options.seconds)
                print(f"{place:12}{wait:22}{batch.pieces:8.0f}{batch.first:8.0f}{batch.last:8.0f}"
                      f"{batch.cost:8.1f}", flush=True)


if __name__ == "__main__":
    main()
