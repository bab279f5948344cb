"""What contestants need, made on demand below bench/.venvs: an environment of pinned packages, a build.

A directory belongs to what goes into it, by a hash in its name; a file in it says that it is complete.
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

from bench import Missing, StartMissing
from bench.contestants import VENVS, Contestant

ROOT: Final = Path(__file__).parent.parent
COMPLETE: Final = "complete"
CHECKOUT: Final = Contestant("checkout", Path(__file__), "Japronto itself.", "checkout",
                             requirements=("-e", f"{ROOT}[httptools,orjson]"))
"""Not one who is measured, but what Japronto runs in where the driver's own Python has not what it needs."""
POLL_SECONDS: Final = 0.1
QUERY_SECONDS: Final = 20


class Made(NamedTuple):
    """A contestant that is there."""

    python: str
    """What ``{python}`` is in its commands."""
    version: str


def make_all(contestants: Sequence[Contestant], patience: float) -> dict[str, Made | StartMissing]:
    """Make what is not there yet; for each contestant, by its key, what was made or why it is missing.

    Two at a time: one waits for the network while another compiles.  ``patience`` is for all, in seconds.
    """
    deadline = time.monotonic() + patience

    def one(contestant: Contestant) -> Made | StartMissing:
        try:
            python = make(contestant, ours.result, deadline)
            return Made(python, version(contestant, python))
        except StartMissing as error:
            return error

    with _locked(deadline), ThreadPoolExecutor(2) as pool:
        ours = pool.submit(_python_of_checkout, deadline)
        return dict(zip((contestant.key for contestant in contestants), pool.map(one, contestants),
                        strict=True))


def _python_of_checkout(deadline: float) -> str:
    """Our own Python if Japronto runs on it, else that of an environment that it is installed into."""
    try:
        _run([sys.executable, "-m", "japronto", "--version"], deadline)
    except StartMissing:
        return make(CHECKOUT, lambda: sys.executable, deadline)
    return sys.executable


def make(contestant: Contestant, ours: Callable[[], str], deadline: float) -> str:
    """Make what it needs, unless that is there; the Python to run it with.

    ``ours`` gives that for what needs nothing but this checkout.
    """
    for program, package in contestant.needs.items():
        if shutil.which(program) is None:
            raise StartMissing(f"{program} is not installed (Debian package {package})")
    made = contestant.made
    own = bool(contestant.requirements or contestant.python)
    uses = any("{python}" in part for part in (*contestant.build, *contestant.command, *contestant.version))
    python = str(made / "bin" / "python") if own else ours() if uses else sys.executable
    if (own or contestant.build) and not (made / COMPLETE).exists():
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        if own:
            _run([_interpreter(contestant.python), "-m", "venv", str(made)], deadline)
            _run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check",
                  *contestant.requirements], deadline)
        if contestant.build:
            _run(contestant.filled(contestant.build, python=python), deadline)
        (made / COMPLETE).touch()
    return python


def version(contestant: Contestant, python: str) -> str:
    """What its VERSION says; raises StartMissing if that cannot be had, as then it is not there."""
    if not contestant.version:
        return ""
    command = contestant.filled(contestant.version, python=python)
    return _run(command, time.monotonic() + QUERY_SECONDS).strip()


def _interpreter(wanted: str) -> str:
    """The Python of a version, such as 3.6, on PATH or among those of pyenv; "" is our own."""
    if not wanted:
        return sys.executable
    of_pyenv = sorted(map(str, Path.home().glob(f".pyenv/versions/{wanted}.*/bin/python")))
    for candidate in (shutil.which(f"python{wanted}"), *of_pyenv):
        with contextlib.suppress(StartMissing):  # What pyenv puts on PATH may be there and not run.
            if candidate and _run([candidate, "--version"], time.monotonic() + QUERY_SECONDS):
                return candidate
    raise StartMissing(f"Python {wanted} is not installed")


def _run(command: list[str], deadline: float) -> str:
    """What it prints; raises StartMissing with its last line if it fails or is not done by the deadline."""
    name = Path(command[0]).name if command[1:2] != ["-m"] else command[2]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT,
                              stdin=subprocess.DEVNULL, timeout=max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise StartMissing(f"there was not enough time to install it ({name} was not done)") from None
    except OSError as error:
        raise StartMissing(f"{name} cannot be run: {error}") from None
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise StartMissing(f"{name} failed: {lines[-1].strip() if lines else f'exit code {done.returncode}'}")
    return done.stdout


@contextlib.contextmanager
def _locked(deadline: float) -> Iterator[None]:
    """One program at a time makes environments."""
    VENVS.mkdir(exist_ok=True)
    with (VENVS / "lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Missing("another program is making environments here; wait for it") from None
                time.sleep(POLL_SECONDS)
        yield
