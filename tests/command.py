"""``python -m japronto`` as a process of its own: run to its end, or serving until it is stopped."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
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


def japronto(directory: Path, *arguments: str, **environment: str) -> Done:
    """Run the command in ``directory`` until it ends."""
    done = subprocess.run((*COMMAND, *arguments), cwd=directory, env=_environment(environment), text=True,
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=WAIT_SECONDS, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


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
    with errors.open("w") as stream, subprocess.Popen(
            (*COMMAND, *arguments), cwd=directory, env=_environment(environment), text=True,
            stdin=subprocess.DEVNULL, stdout=stream, stderr=stream) as process:
        try:
            deadline = time.monotonic() + WAIT_SECONDS
            while "listening" not in errors.read_text():
                assert process.poll() is None, errors.read_text()
                assert time.monotonic() < deadline, "the server does not listen"
                time.sleep(0.01)
            yield Serving(process, errors.read_text())
            process.send_signal(signal.SIGTERM)
            assert process.wait(WAIT_SECONDS) == 0, errors.read_text()
        finally:
            process.kill()
