"""A server on a processor of its own: started, watched and ended with every process that it starts.

It leads a session; what is in the session is what is measured, and what is killed in the end.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Final, NamedTuple

from bench import NEEDS, Missing, StartMissing

TICKS: Final = os.sysconf("SC_CLK_TCK")
START_SECONDS: Final = 20
STOP_SECONDS: Final = 3
POLL_SECONDS: Final = 0.02
SAID_MAX: Final = 300
"""Characters of what a contestant said that are quoted."""
SETTINGS: Final = ("JAPRONTO_", "PYTHON", "WEB_CONCURRENCY", "GRANIAN_", "UVICORN_", "SANIC_", "ROBYN_",
                   "NODE_", "GO", "LD_", "MALLOC_")
"""How variables begin that change what a server does."""


class Memory(NamedTuple):
    """Octets, summed over the processes of a session."""

    pss: int
    """Resident; what processes share is divided between them, those of others included."""
    rss: int
    """Resident; what processes share counts in each."""
    peak: int
    """The highest rss of each so far."""


class Server:
    """A process that was started as the leader of a session."""

    def __init__(self, process: subprocess.Popen[bytes], said: IO[bytes]) -> None:
        self._process = process
        self._said = said

    def members(self, *, zombies: bool = True) -> list[int]:
        """Every process of the session, those that have ended and are not reaped included or not."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                state, _, _, session, *_ = _stat(int(path.name))
                if int(session) == self._process.pid and (zombies or state != "Z"):
                    found.append(int(path.name))
        return found

    def cpu_seconds(self) -> float:
        """User and system time of all processes, of those that have ended as well."""
        ticks = 0
        for pid in self.members():
            with contextlib.suppress(OSError):  # What has just ended counts in its parent.
                ticks += sum(map(int, _stat(pid)[11:15]))
        return ticks / TICKS

    def memory(self) -> Memory:
        """What it holds now."""
        pss = rss = peak = 0
        for pid in self.members():
            with contextlib.suppress(OSError):
                rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
                pss += _kib(rollup, "Pss")
                rss += _kib(rollup, "Rss")
                peak += _kib(Path(f"/proc/{pid}/status").read_text(), "VmHWM")
        return Memory(pss, rss, peak)

    def said(self) -> str:
        """The last lines that it wrote, as one line, or how it ended."""
        self._said.seek(0, os.SEEK_END)
        self._said.seek(max(0, self._said.tell() - 4000))
        lines = self._said.read().decode(errors="replace").split("\n")
        text = " / ".join(line.strip() for line in lines if line.strip())
        text = text if len(text) <= SAID_MAX else f"... {text[-SAID_MAX:]}"
        code = self._process.poll()
        return text or ("it says nothing" if code is None else f"exit code {code}")

    def check(self) -> None:
        """Raise Missing if it has ended."""
        if self._process.poll() is not None:
            raise Missing(f"it ended while it was measured: {self.said()}")

    def wait(self, port: int) -> None:
        """Until it answers; raises StartMissing with what it says if it does not."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(
                    http.client.HTTPConnection("127.0.0.1", port, timeout=2)) as connection:
                connection.request("GET", "/")
                connection.getresponse()
                return
            if self._process.poll() is not None:
                raise StartMissing(f"it does not start: {self.said()}")
            time.sleep(POLL_SECONDS)
        raise StartMissing(f"it does not answer within {START_SECONDS} s of its start: {self.said()}")

    def stop(self) -> None:
        """Ask its leader to end; kill what is left of the session by the deadline."""
        try:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
        finally:
            deadline = time.monotonic() + STOP_SECONDS
            while (left := self.members(zombies=False)) and time.monotonic() < deadline:
                for pid in left:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                time.sleep(POLL_SECONDS)
            self._process.wait()


@contextlib.contextmanager
def running(command: Sequence[str], port: int, core: int, *, cwd: Path | None = None,
            env: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A server that listens on ``port`` and answers; raises StartMissing if it does not come to that."""
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(["taskset", "-c", str(core), *command], stdin=subprocess.DEVNULL,
                                       stdout=said, stderr=said, start_new_session=True, cwd=cwd,
                                       env=_plain_environment() if env is None else env)
        except OSError as error:
            raise StartMissing(f"it cannot be started: {error}") from None
        server = Server(process, said)
        try:
            server.wait(port)
            yield server
        finally:
            server.stop()


def _plain_environment() -> dict[str, str]:
    """Ours, without what would change the settings of a contestant behind the back of its description."""
    return {name: value for name, value in os.environ.items()
            if name == "PYTHONPATH" or not name.startswith(SETTINGS)}


def free_port() -> int:
    """A port of the loopback interface that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def count(text: str) -> int:
    """A whole number above zero, for argparse."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a whole number above zero; it is {text!r}")
    return int(text)


def cores(*programs: str) -> tuple[int, int]:
    """The processor for servers and the one for load.  Raises Missing if this machine lacks something."""
    lacking = [name for name in ("wrk", "taskset", *programs) if shutil.which(name) is None]
    if lacking:
        raise Missing(f"{' and '.join(lacking)} cannot be found; {NEEDS}")
    if sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2:
        raise Missing(f"this is not a machine to measure on; {NEEDS}")
    first, *others = sorted(os.sched_getaffinity(0))
    # A thread of the same core as the server's would take from what is measured.
    apart = [other for other in others if other not in _threads(first)]
    return first, (apart or others)[0]


def _threads(processor: int) -> set[int]:
    """The processors that are threads of one core, as the kernel lists them, such as 0-1 or 0,64."""
    path = Path(f"/sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list")
    found: set[int] = set()
    for part in path.read_text().split(",") if path.exists() else ():
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on, which is field 3 in proc(5)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _kib(text: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0
