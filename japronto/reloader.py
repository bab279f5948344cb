"""Whether the files of a program have changed, so that its worker is to be replaced.

``watchfiles`` hears of it from the kernel, where it is installed.  Otherwise all files are looked at, twice
a second, or more rarely where there are so many that this would take more than a tenth of a processor.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

from japronto.errors import UsageError

log = logging.getLogger("japronto.error")

LOOK_SECONDS: Final = 0.5
LOOK_SHARE: Final = 0.1
"""The most of a processor that looking may take."""
SKIPPED: Final = (".*", "__pycache__", "node_modules", "venv", "site-packages")
"""Directories that hold no program that somebody is writing."""
HAS_WATCHFILES: Final = importlib.util.find_spec("watchfiles") is not None

Known = dict[str, tuple[int, int]]
"""The files there are, with the time of their last change and their size."""


class Watcher:
    """Watches directories, in a thread, until it is closed; a socket becomes readable at a change.

    ``include`` and ``exclude`` are patterns of names; what is excluded may be a directory, too.
    Raises UsageError where one of the directories is none.
    """

    def __init__(self, directories: Sequence[str], include: Sequence[str], exclude: Sequence[str]) -> None:
        self._roots = [Path(directory).resolve() for directory in directories]
        for name, root in zip(directories, self._roots, strict=True):
            if not root.is_dir():
                raise UsageError(f"there is no directory {name} to watch for changes")
        self._include = include
        self._exclude = (*SKIPPED, *exclude)
        self._changed: set[str] = set()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="japronto reloader", daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        return self._read.fileno()

    def take(self) -> list[str]:
        """The files that have changed since the last call, by the names that people give them."""
        with suppress(BlockingIOError):
            self._read.recv(4096)
        with self._lock:
            changed, self._changed = self._changed, set()
        return sorted(map(_shown, changed))

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self._read.close()
        self._write.close()

    def counts(self, path: str) -> bool:
        """Whether a change of this file matters."""
        for root in self._roots:
            with suppress(ValueError):
                *directories, name = Path(path).relative_to(root).parts
                return not any(map(self._excluded, (*directories, name))) and any(
                    fnmatch(name, pattern) for pattern in self._include)
        return False

    def _excluded(self, name: str) -> bool:
        return any(fnmatch(name, pattern) for pattern in self._exclude)

    def _tell(self, paths: set[str]) -> None:
        with self._lock:
            self._changed |= paths
        with suppress(BlockingIOError):
            self._write.send(b"!")

    def _run(self) -> None:
        if HAS_WATCHFILES:
            try:
                watch_by_kernel(self._roots, self.counts, self._over, self._tell)
            except Exception as error:  # such as too many watches
                log.warning("watchfiles cannot watch (%s); all files are looked at in its place", error)
        if not self._over.is_set():
            watch_by_looking(self.found, self._over, self._tell)

    def found(self) -> Known:
        """All files that count, as they are now."""
        known: Known = {}
        for root in self._roots:
            for directory, inner, files in os.walk(root):
                inner[:] = [name for name in inner if not self._excluded(name)]
                for name in files:
                    path = f"{directory}/{name}"
                    if self.counts(path):
                        with suppress(OSError):  # gone since
                            status = Path(path).stat()
                            known[path] = status.st_mtime_ns, status.st_size
        return known


def watch_by_kernel(roots: Sequence[Path], counts: Callable[[str], bool], over: threading.Event,
                    tell: Callable[[set[str]], object]) -> None:
    """Tell of changes by way of watchfiles, until it is over."""
    from watchfiles import watch  # noqa: PLC0415 - where it is installed

    for changes in watch(*roots, watch_filter=lambda _, path: counts(path), stop_event=over,
                         rust_timeout=500, raise_interrupt=False):
        tell({path for _, path in changes})


def watch_by_looking(look: Callable[[], Known], over: threading.Event,
                     tell: Callable[[set[str]], object]) -> None:
    """Tell of what is different between two looks, until it is over."""
    known = look()
    pause = LOOK_SECONDS
    while not over.wait(pause):
        begun = time.thread_time()
        found = look()
        pause = max(LOOK_SECONDS, (time.thread_time() - begun) / LOOK_SHARE)
        changed = {path for path in known.keys() | found.keys() if known.get(path) != found.get(path)}
        known = found
        if changed:
            tell(changed)


def _shown(path: str) -> str:
    """A path as it is seen from here."""
    with suppress(ValueError, OSError):
        return str(Path(path).relative_to(Path.cwd()))
    return path
