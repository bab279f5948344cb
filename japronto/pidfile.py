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
    behind is replaced, and one that another process has put there meanwhile stays.
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
    """Put the file there as a whole, so that nobody sees it half written; returns what holds it."""
    made = file.with_name(f".{file.name}.{os.getpid()}")
    left = held = None
    try:
        left = _left_behind(file)
        held = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        _lock(held)
        os.write(held, own.encode())
        made.replace(file)
    except OSError as error:
        if held is not None:
            os.close(held)
        with suppress(OSError):
            made.unlink()
        raise StartError(f"the pid file {file} cannot be written: {error.strerror}; "
                         "choose another") from error
    finally:
        if left is not None:  # Till here, nobody else could replace it.
            os.close(left)
    return held


def _left_behind(file: Path) -> int | None:
    """The file that is there, locked; raises StartError when another process has done that."""
    while True:
        try:
            descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        try:
            if not _lock(descriptor):
                number = os.read(descriptor, 32).decode("ascii", "replace").strip()
                raise StartError(f"the process {number}, which runs, holds the pid file {file}; stop it, "
                                 "or choose another file")
            with suppress(FileNotFoundError):  # Who has held it has just ended.
                if os.path.samestat(os.fstat(descriptor), file.stat()):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Whether nobody else has locked the file; it is locked by now, where its file system can do that."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True
