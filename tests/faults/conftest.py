"""A master and its workers as processes, which must end with the test, whatever it does to them."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest
from command import COMMAND, ROOT, WAIT_SECONDS
from sockets.conftest import pytest_collection_modifyitems, pytest_configure
from sockets.process import until

__all__ = ["pytest_collection_modifyitems", "pytest_configure"]

PROGRAM = """
import asyncio, os
from japronto import Application
app = Application()
@app.get("/")
def who(request):
    return request.Response(text=str(os.getpid()))
@app.get("/block")
def block(request):
    open("blocked", "w").close()
    while True:
        pass
@app.get("/wait")
async def wait(request):
    open("waiting", "w").close()
    while not os.path.exists("go"):
        await asyncio.sleep(0.01)
    return request.Response(text="gone")
@app.get("/slow")
async def slow(request):
    await asyncio.sleep(3600)
"""


class Master:
    """``python -m japronto``, or a program, with workers."""

    def __init__(self, directory: Path, command: tuple[str, ...], environment: dict[str, str],
                 passed: Sequence[int] = ()) -> None:
        self.directory = directory
        self._errors = directory / "stderr"
        inherited = {name: value for name, value in os.environ.items()
                     if not name.startswith(("JAPRONTO_", "PYTHON", "COVERAGE_", "WEB_CONCURRENCY"))}
        with self._errors.open("w") as stream:
            self.process = subprocess.Popen(
                command, cwd=directory, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
                pass_fds=passed,
                env={**inherited, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **environment})
        self.port = 0

    def listening(self) -> None:
        self.until_said("is listening on")
        matched = re.search(r"https?://[^ ]*:(\d+)", self.said())
        assert matched, self.said()
        self.port = int(matched[1])

    def said(self) -> str:
        return self._errors.read_text()

    def until_said(self, words: str) -> None:
        until(lambda: words in self.said() or self.process.poll() is not None, f"it says {words!r}")
        assert words in self.said(), self.said()

    def workers(self) -> list[int]:
        """The process ids of the workers there are."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(text) for text in path.read_text().split()]

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def exits(self, code: int = 0) -> str:
        """It ends with this code; returns all that it has said."""
        assert self.process.wait(WAIT_SECONDS) == code, self.said()
        return self.said()

    def end(self) -> None:
        """Whatever is left is killed, workers that outlive their master too."""
        workers = self.workers() if self.process.poll() is None else []
        self.process.kill()
        self.process.wait()
        for pid in workers:
            until(lambda pid=pid: not alive(pid), f"the worker {pid} ends with its master")


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Start(Protocol):
    def __call__(self, *options: str, program: str = PROGRAM, ready: bool = True, run: bool = False,
                 **environment: str) -> Master: ...


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts masters of workers that serve a program; ``run`` runs the program itself."""
    with ExitStack() as stack:
        count = itertools.count()

        def started(*options: str, program: str = PROGRAM, ready: bool = True, run: bool = False,
                    **environment: str) -> Master:
            directory = tmp_path / f"master-{next(count)}"
            directory.mkdir()
            (directory / "hello.py").write_text(program)
            command = (sys.executable, "hello.py") if run else (
                *COMMAND, "hello:app", *(() if "--bind" in options else ("--port", "0")))
            master = Master(directory, (*command, *options), environment)
            stack.callback(master.end)
            if ready:
                master.listening()
            return master

        yield started
