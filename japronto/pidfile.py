"""A file that has the process id of the server, for those who send it signals.

It is locked while its process runs, and by that alone it is held.  The number in one that was left behind
may be that of any process by now: after a restart of the machine, or of a container, it mostly is.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from japronto.errors import StartError


@contextmanager
def pid_file(path: str | None) -> Iterator[None]:
    """While this is entered, the file has the id of this process; afterwards it is gone.

    Raises StartError when it cannot be written, or is held by a process that runs.  A file that was left
    behind is written anew, and one that another process has put there meanwhile stays.
    """
    if path is None:
        yield
        return
    file = Path(path).absolute()
    own = f"{os.getpid()}\n"
    held = _held(file, own)
    try:
        yield
    finally:
        with suppress(OSError):
            if file.read_text(encoding="ascii", errors="replace") == own:
                file.unlink()
        os.close(held)


def _held(file: Path, own: str) -> int:
    """Lock the file and write to it; returns what holds it."""
    held = None
    try:
        held = _locked(file)
        os.ftruncate(held, 0)
        os.write(held, own.encode())
    except OSError as error:
        if held is not None:
            os.close(held)
        raise StartError(f"the pid file {file} cannot be written: {error.strerror}; "
                         "choose another") from error
    return held


def _locked(file: Path) -> int:
    """The file, which is made if there is none; raises StartError when another process has locked it.

    Two servers that start together open the same one, so only one of them gets the lock.
    """
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_NOFOLLOW, 0o644)
        try:
            if not _lock(descriptor):
                raise StartError(_who_holds(descriptor, file))
            with suppress(FileNotFoundError):  # Who has held it has just ended, and removed it.
                if os.path.samestat(os.fstat(descriptor), file.stat()):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _who_holds(descriptor: int, file: Path) -> str:
    """A process that was killed leaves the lock to children that it has forked, if they live on."""
    number = os.read(descriptor, 32).decode("ascii", "replace").strip()
    if not number.isdecimal():  # It is about to be written.
        return f"another process, which starts, holds the pid file {file}; stop it, or choose another file"
    try:
        os.kill(int(number), 0)
    except (ProcessLookupError, OverflowError):
        return (f"a child that the process {number} has left behind holds the pid file {file}; stop it, "
                "remove the file, or choose another")
    except PermissionError:
        pass
    return f"the process {number}, which runs, holds the pid file {file}; stop it, or choose another file"


def _lock(descriptor: int) -> bool:
    """Whether nobody else has locked the file; it is locked by now, where its file system can do that."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True
