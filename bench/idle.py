"""Connections that wait: each asks once, reads the answer, and then only stays open.

    python -m bench.idle PORT COUNT

It says so when all are open, stays until its input ends, and then says how many are still open.  It
is a process of its own so that its thousands of sockets are not the driver's.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Final

from bench import Missing
from bench.environments import ROOT
from bench.workloads import HELLO

REQUEST: Final = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
SPARE_DESCRIPTORS: Final = 200
OPEN_SECONDS: Final = 60
ANSWER_SECONDS: Final = 10


def raise_descriptors() -> int:
    """Let this process, and those that it starts, open as many files as the system allows; how many."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


@contextlib.contextmanager
def holding(port: int, count: int) -> Iterator[None]:
    """So many idle connections to ``port``; raises Missing if they cannot be had, or if some do not stay."""
    if count == 0:
        yield
        return
    if raise_descriptors() < count + SPARE_DESCRIPTORS:
        raise Missing(f"a process may not open {count + SPARE_DESCRIPTORS:,} files here; see ulimit -Hn")
    with subprocess.Popen([sys.executable, "-m", "bench.idle", str(port), str(count)], cwd=ROOT,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as holder:
        assert holder.stdin is not None
        try:
            _expect(holder, f"{count} are open", OPEN_SECONDS)
            yield
            holder.stdin.close()
            _expect(holder, f"{count} are still open", ANSWER_SECONDS)
        finally:
            holder.kill()


def _expect(holder: subprocess.Popen[bytes], line: str, seconds: float) -> None:
    """Raise Missing unless that is the next line that it says."""
    assert holder.stdout is not None
    deadline = time.monotonic() + seconds
    said = b""
    while not said.endswith(b"\n"):
        if not select.select([holder.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise Missing(f"the idle connections are not heard of within {seconds:.0f} s")
        piece = os.read(holder.stdout.fileno(), 4000)
        if not piece:
            break
        said += piece
    lines = said.decode().strip().splitlines()
    if lines != [line]:
        raise Missing(f"of the idle connections, not {line}: {lines[-1] if lines else 'nothing is heard'}")


def main() -> None:
    """The program."""
    port, count = map(int, sys.argv[1:])
    raise_descriptors()
    deadline = time.monotonic() + OPEN_SECONDS
    held: list[socket.socket] = []
    try:
        while len(held) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"no more within {OPEN_SECONDS} s")
            held.append(_opened(port))
    except OSError as error:
        sys.exit(f"after {len(held)} that came about: {error}")
    print(f"{len(held)} are open", flush=True)
    sys.stdin.read()
    print(f"{sum(map(_is_open, held))} are still open", flush=True)


def _opened(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), ANSWER_SECONDS)
    connection.sendall(REQUEST)
    answer = b""
    while HELLO not in answer:
        piece = connection.recv(4096)
        if not piece:
            raise ConnectionError("closed without an answer")
        answer += piece
    connection.setblocking(False)
    return connection


def _is_open(connection: socket.socket) -> bool:
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return True
    except OSError:
        return False


if __name__ == "__main__":
    main()
