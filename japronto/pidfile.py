"""A file that has the process id of the server, for those who send it signals."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from japronto.errors import StartError


@contextmanager
def pid_file(path: str | None) -> Iterator[None]:
    """While this is entered, the file has the id of this process; afterwards it is gone.

    Raises StartError when it cannot be written, or has the id of a process that runs.  A file that was
    left behind is replaced, and one that another process has put there meanwhile stays.
    """
    if path is None:
        yield
        return
    file = Path(path).absolute()
    own = f"{os.getpid()}\n"
    _write(file, own)
    try:
        yield
    finally:
        with suppress(OSError):
            if file.read_text(encoding="ascii", errors="replace") == own:
                file.unlink()


def _write(file: Path, own: str) -> None:
    """Put the file there as a whole: nobody sees it half written."""
    made = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        other = _holder(file)
        if other is not None:
            raise StartError(f"the process {other}, which runs, holds the pid file {file}; stop it, "
                             "or choose another file")
        made.write_text(own, encoding="ascii")
        made.replace(file)
    except OSError as error:
        with suppress(OSError):
            made.unlink()
        raise StartError(f"the pid file {file} cannot be written: {error.strerror}; "
                         "choose another") from error


def _holder(file: Path) -> int | None:
    """The process whose id is in the file, if it runs."""
    try:
        text = file.read_bytes()[:32].strip()
    except FileNotFoundError:
        return None
    if not text.isdigit() or len(text) > 9 or int(text) in (0, os.getpid()):
        return None
    try:
        os.kill(int(text), 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return int(text)
