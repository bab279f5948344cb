"""``python -m japronto`` as a process of its own: run to its end, or serving until it is stopped."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
WAIT_SECONDS = 60


class Done(NamedTuple):
    code: int
    out: str
    error: str


def _environment(extra: dict[str, str]) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items()
                 if not name.startswith(("JAPRONTO_", "PYTHON", "COVERAGE_"))}
    return {**inherited, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **extra}


COMMAND = (sys.executable, "-W", "error", "-m", "japronto")


def japronto(directory: Path, *arguments: str, python: Sequence[str] = COMMAND, **environment: str) -> Done:
    """Run the command in ``directory`` until it ends."""
    done = subprocess.run((*python, *arguments), cwd=directory, env=_environment(environment), text=True,
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=WAIT_SECONDS, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


@contextmanager
def start(directory: Path, *arguments: str, python: Sequence[str] = COMMAND,
          **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run the command in ``directory`` while the body runs; it writes to the file ``stderr`` there."""
    with (directory / "stderr").open("w") as stream, subprocess.Popen(
            (*python, *arguments), cwd=directory, env=_environment(environment), text=True,
            stdin=subprocess.DEVNULL, stdout=stream, stderr=stream) as process:
        try:
            yield process
        finally:
            process.kill()


def until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for what a process that runs brings about."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert process.poll() is None, "the process has ended"
        assert time.monotonic() < deadline, "the process has not done what it should"
        time.sleep(0.01)


class Serving(NamedTuple):
    process: subprocess.Popen[str]
    line: str

    @property
    def port(self) -> int:
        matched = re.search(r"http://[^ ]*:(\d+) ", self.line)
        assert matched, self.line
        return int(matched[1])


@contextmanager
def serving(directory: Path, *arguments: str, **environment: str) -> Iterator[Serving]:
    """Run the command in ``directory`` while the body runs; then it must drain and exit with 0."""
    errors = directory / "stderr"
    with start(directory, *arguments, **environment) as process:
        until(lambda: "listening" in errors.read_text(), process)
        yield Serving(process, errors.read_text())
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_SECONDS) == 0, errors.read_text()
