"""What slow clients cost honest ones: thousands that trickle in a head, or read an octet a second.

    python bench/slow_clients.py [--clients 5000] [--seconds 10]

The server runs on processor 0, wrk and the slow clients on processor 1.  wrk measures alone, then beside
the slow clients.  Half of those send a head one octet a second, the other half ask for a large answer and
read one octet a second.  Printed are the honest throughput and the server's CPU time per honest request,
without and with them, the ratios, the memory of the server, and when how many of the slow ones were cut.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import re
import resource
import socket
import subprocess
import sys
import time
import urllib.request
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
TICKS = os.sysconf("SC_CLK_TCK")
HEAD = b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: " + b"x" * 4000 + b"\r\n\r\n"
SETTLE_SECONDS = 12
"""By then, what the slow clients have asked for at once has been copied to the kernel."""
PATIENCE_SECONDS = 150
LARGE = b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n"


class Measured(NamedTuple):
    """One run of wrk."""

    requests: float
    """In a second."""
    cost: float
    """Server CPU per request, in us; that of the slow clients is in it."""


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_mib(pid: int) -> float:
    match = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert match is not None
    return int(match[1]) / 1024


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def measure(port: int, pid: int, seconds: int) -> Measured:
    """Honest clients at full load."""
    before = cpu_seconds(pid)
    done = subprocess.run(
        ["taskset", "-c", "1", "wrk", "-t1", "-c100", f"-d{seconds}", f"http://127.0.0.1:{port}/"],
        capture_output=True, text=True, check=True)
    after = cpu_seconds(pid)
    match = re.search(r"(\d+) requests in ([0-9.]+)s", done.stdout)
    if match is None or "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        sys.exit(f"not all honest requests were answered:\n{done.stdout}")
    return Measured(int(match[1]) / float(match[2]), (after - before) / int(match[1]) * 1e6)


# -- Slow clients ------------------------------------------------------------------------------

def be_slow(port: int, clients: int, report: Connection) -> None:
    """Open so many connections, and be slow on all of them until told that it is enough."""
    os.sched_setaffinity(0, [1])
    heads: dict[socket.socket, int] = {}
    readers: list[socket.socket] = []
    for number in range(clients):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", port))
        sock.setblocking(False)
        if number % 2:
            sock.send(LARGE)
            readers.append(sock)
        else:
            heads[sock] = 0
    report.send("begun")
    while not report.poll(1):
        for sock, sent in heads.items():
            with contextlib.suppress(OSError):
                heads[sock] += sock.send(HEAD[sent:sent + 1])
        for sock in readers:
            with contextlib.suppress(OSError):
                sock.recv(1)


# -- Both --------------------------------------------------------------------------------------

def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--clients", type=int, default=5000, help="how many are slow (default 5000)")
    parser.add_argument("--seconds", type=int, default=10, help="of each measurement (default 10)")
    parser.add_argument("--port", type=int, default=18080)
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < options.clients + 500:
        sys.exit(f"{options.clients} clients need as many descriptors, and there are {hard}; raise ulimit -n")
    server = subprocess.Popen(
        ["taskset", "-c", "0", sys.executable, "-m", "japronto", "floor_app:app", "--app-dir", HERE,
         "--port", str(options.port), "--backlog", "4096"], stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{options.port}/"):
                break
            time.sleep(0.1)
        compare(options.port, server.pid, options.clients, options.seconds)
    finally:
        server.kill()


def compare(port: int, pid: int, clients: int, seconds: int) -> None:
    measure(port, pid, 2)
    alone, memory, before = measure(port, pid, seconds), resident_mib(pid), descriptors(pid)
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    slow = multiprocessing.get_context("spawn").Process(target=be_slow, args=(port, clients, theirs))
    slow.start()
    ours.recv()
    begun = time.monotonic()
    time.sleep(SETTLE_SECONDS)
    beside, with_them = measure(port, pid, seconds), resident_mib(pid)
    print(f"honest requests a second  {alone.requests:9.0f} alone {beside.requests:9.0f} beside "
          f"{beside.requests / alone.requests:6.2f}")
    print(f"server CPU per request/us {alone.cost:9.2f} alone {beside.cost:9.2f} beside "
          f"{beside.cost / alone.cost:6.2f}")
    print(f"memory of the server/MiB  {memory:9.1f} alone {with_them:9.1f} beside, "
          f"{(with_them - memory) * 1024 / clients:.1f} KiB for each slow client", flush=True)
    left = clients
    while left and time.monotonic() - begun < PATIENCE_SECONDS:
        time.sleep(1)
        now = max(0, descriptors(pid) - before)
        if now < left:
            print(f"{left - now} cut by {time.monotonic() - begun:.0f} s, {now} left", flush=True)
        left = now
    print(f"memory of the server/MiB {resident_mib(pid):.1f} in the end")
    ours.send("enough")
    slow.join()


if __name__ == "__main__":
    main()
