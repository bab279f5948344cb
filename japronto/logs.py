"""Where the logs go, and that writing them harms nothing.

Two loggers of the standard library: ``japronto.access`` (see access.py), and ``japronto.error`` for what goes
wrong.  Programs may give both what handlers they like.  The handler here is for those that do not:

* A line is one write to a file that is open for appending, so that several processes may share it.
* What cannot be written, say on a full disk, is lost; no request fails for it.  It is said, and the number
  of lost lines when writing works again, both at most once in ``SAID_SECONDS``.
* A pipe or terminal whose reader is behind holds up the server for ``PATIENCE_SECONDS``, and for a tenth of
  the time after that; lines are lost when this is used up.
* ``reopen`` opens files anew, for those that another program has renamed.

While a server runs, its handler is also that of last resort, in place of one of the standard library that
waits for as long as nobody reads standard error.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import logging
import os
import select
import stat
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TextIO

from japronto.errors import StartError, UsageError

if TYPE_CHECKING:
    from japronto.pure.request import Request

log = logging.getLogger("japronto.error")

PATIENCE_SECONDS: Final = 1
"""How long a reader that is behind may hold up the server."""
SAID_SECONDS: Final = 60
"""Least time between two complaints of one kind: who floods the server must not flood its log."""


# -- Where lines go --------------------------------------------------------------------------

class Output(logging.Handler):
    """Writes each record as a line to a file.

    ``path``      of the file; ``-`` is the standard stream
    ``standard``  that stream, as the interpreter found it: ``sys.__stdout__``, say
    ``tell``      called with a sentence when writing fails, and when it works again, once in a while

    Raises OSError when the file cannot be opened.
    """

    def __init__(self, path: str, standard: TextIO | None,
                 tell: Callable[[str], object] | None = None) -> None:
        self._path = path
        self._standard = standard
        self._use(self._opened())  # Ahead of what makes the standard library remember it.
        super().__init__()
        self._tell = tell
        self._lost = 0  # lines, of which nothing was said
        self._said = False  # that lines are lost
        self._silent_until = 0.0
        self._torn = False  # whether the last one has only begun
        self._patience: float = PATIENCE_SECONDS  # what was left of it,
        self._waited = time.monotonic()  # and when
        _outputs.add(self)

    def _use(self, file: FileIO) -> None:
        self._file = file
        self._waits = not stat.S_ISREG(os.fstat(file.fileno()).st_mode)

    @property
    def in_file(self) -> bool:
        """Whether it is a file, and no stream of the process."""
        return self._path != "-"

    def _opened(self) -> FileIO:
        if self._path != "-":
            return FileIO(self._path, "ab", opener=_open_at_once)
        if self._standard is None:  # It was closed; its descriptor may be anything by now.
            return FileIO(os.devnull, "wb")
        return FileIO(os.dup(self._standard.fileno()), "wb")

    def reopen(self) -> None:
        """Go on in a new file, where the old one was renamed; raises OSError, and stays with the old one."""
        if self._path == "-":
            return
        file = self._opened()
        self.acquire()
        old = self._file
        self._use(file)
        self.release()
        old.close()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record).encode("utf-8", "backslashreplace") + b"\n"
        except Exception:
            self.handleError(record)  # A mistake in a call of the logger; the standard library shows it.
            return
        try:
            self._write(b"\n" + line if self._torn else line)
        except (OSError, ValueError) as error:  # ValueError: somebody has closed it
            self._lost += 1
            if not self._said and time.monotonic() >= self._silent_until:
                self._said = True
                self._say(f"cannot be written, lines are lost: {getattr(error, 'strerror', None) or error}")
            return
        if self._lost and (self._said or time.monotonic() >= self._silent_until):
            lost, self._lost, self._said = self._lost, 0, False
            self._silent_until = time.monotonic() + SAID_SECONDS
            self._say(f"is written again; {lost} line{'s' * (lost > 1)} were lost")

    def _say(self, what: str) -> None:
        if self._tell is not None:
            self._tell(f"The log {'on standard output' if self._path == '-' else self._path} {what}")

    def _write(self, data: bytes) -> None:
        """In one write as a rule; more when a pipe or a disk takes no more at once."""
        left = memoryview(data)
        while left:
            if self._waits:
                self._wait()
            # A pipe that takes anything takes that much.
            written = self._file.write(left[:select.PIPE_BUF] if self._waits else left)
            left = left[written or 0:]
            self._torn = bool(left)
            if written is None and not self._waits:  # FileIO says so where write(2) says EAGAIN.
                raise TimeoutError(0, "it takes nothing")

    def _wait(self) -> None:
        """Until a pipe or a terminal takes something; raises TimeoutError when it does not soon."""
        poll = select.poll()
        poll.register(self._file.fileno(), select.POLLOUT)
        if poll.poll(0):
            return
        begun = time.monotonic()
        self._patience = min(self._patience + (begun - self._waited) / 10, PATIENCE_SECONDS)
        ready = poll.poll(self._patience * 1000)
        self._waited = time.monotonic()
        self._patience = max(0, self._patience - (self._waited - begun))
        if not ready:
            raise TimeoutError(0, "nobody reads it")

    def close(self) -> None:
        _outputs.discard(self)
        self._file.close()
        super().close()


def _open_at_once(path: str, flags: int) -> int:
    """Open a file; for a named pipe that nobody reads, that would be waiting."""
    return os.open(path, flags | os.O_NONBLOCK, 0o666)


_outputs: weakref.WeakSet[Output] = weakref.WeakSet()


@contextlib.contextmanager
def last_resort() -> Iterator[None]:
    """Within, what has no other handler goes to standard error as to any log: nobody waits long for a reader.

    So it is with the warnings of a program that has not set up logging, and with what :func:`say` is told.
    """
    standard = logging.lastResort
    if isinstance(standard, Output):  # Another server runs in this process.
        yield
        return
    try:
        output = Output("-", sys.stderr)
    except (OSError, ValueError, AttributeError):  # A program has put something else in its place.
        yield
        return
    output.setLevel(logging.WARNING)
    logging.lastResort = output
    try:
        yield
    finally:
        logging.lastResort = standard
        output.close()


def say(line: str) -> None:
    """Say something to the one who has started the program; in an error log of its own file, too."""
    record = logging.makeLogRecord(
        {"name": log.name, "levelno": logging.INFO, "levelname": "INFO", "msg": line})
    if isinstance(logging.lastResort, Output):
        logging.lastResort.handle(record)
    else:
        with contextlib.suppress(OSError):  # Nobody reads it.
            print(line, file=sys.stderr, flush=True)  # noqa: T201 - for the one who has started the program
    if log.isEnabledFor(logging.INFO):
        for handler in log.handlers:
            if isinstance(handler, Output) and handler.in_file:
                handler.handle(record)


def reopen() -> None:
    """Open all files of logs anew, those of the standard library's handlers too.  Raises nothing."""
    for handler in (*_outputs, *_file_handlers()):
        try:
            if isinstance(handler, Output):
                handler.reopen()
            elif isinstance(handler, logging.FileHandler):
                _reopen_standard(handler)
        except OSError as error:
            log.error("A log cannot be opened anew, and goes on in its old file: %s", error)


def _file_handlers() -> Iterator[logging.FileHandler]:
    """Those that any logger has; one that truncates is left alone."""
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    found = {handler for logger in loggers if isinstance(logger, logging.Logger)
             for handler in logger.handlers}
    return (handler for handler in found if isinstance(handler, logging.FileHandler) and "a" in handler.mode)


def _reopen_standard(handler: logging.FileHandler) -> None:
    """As ``logging.handlers.WatchedFileHandler`` does it by itself."""
    handler.acquire()
    try:
        old, handler.stream = handler.stream, handler._open()
        if old is not None:
            old.close()
    finally:
        handler.release()


def opened(what: str, path: str, standard: TextIO | None,
           tell: Callable[[str], object] | None = None) -> Output:
    """An output; raises StartError when it cannot be opened."""
    with _must_do(what, path):
        return Output(path, standard, tell)


def tried(what: str, path: str) -> None:
    """Raise StartError when a file cannot be opened for writing; makes none."""
    with _must_do(what, path):
        try:
            os.close(_open_at_once(path, os.O_WRONLY | os.O_APPEND))
        except FileNotFoundError:
            directory = Path(path).parent
            if not directory.is_dir():
                raise
            if not os.access(directory, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from None


@contextlib.contextmanager
def _must_do(what: str, path: str) -> Iterator[None]:
    """Say with StartError that a file does not do, and why."""
    try:
        yield
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StartError(f"cannot write the {what} to {path}: {reason}; choose another path") from error


@functools.lru_cache(maxsize=16)
def _utc(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def rfc3339(seconds: float) -> str:
    """A moment in UTC with microseconds (RFC 3339 s.5.6)."""
    microseconds = round(seconds * 1e6)
    return f"{_utc(microseconds // 1_000_000)}.{microseconds % 1_000_000:06}Z"


# -- The error log ---------------------------------------------------------------------------

class Said:
    """What is said once in a while, however often it is true."""

    def __init__(self) -> None:
        self._until = 0.0

    def warning(self, message: str, *arguments: object) -> None:
        now = time.monotonic()
        if now >= self._until:
            self._until = now + SAID_SECONDS
            log.warning(message, *arguments)


def complain(message: str, request: Request, error: BaseException) -> None:
    """Log what went wrong with a request; ``%s`` in the message becomes the request and its client.

    Neither fields nor the query are shown, which may hold secrets.
    """
    path, remote = request.target.partition("?")[0], request.remote_addr
    text = f"{request.method} {path}"
    if remote is not None:
        text += f" from {remote}"
    if request._id is not None or request.app.request_id_header is not None:  # It may be found elsewhere.
        text += f" (id {request.id})"
    log.error(message, text, exc_info=error, stacklevel=2, extra={
        "request": {"method": request.method, "path": path, "remote": remote, "request_id": request.id}})


class TextFormatter(logging.Formatter):
    """Time, process, level and message on a line; a traceback behind it."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s [%(process)d] %(levelname)s %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        return rfc3339(record.created)


class JSONFormatter(logging.Formatter):
    """One object a line; a traceback is a string in it."""

    def format(self, record: logging.LogRecord) -> str:
        values: dict[str, Any] = {
            "time": rfc3339(record.created), "level": record.levelname.lower(), "logger": record.name,
            "pid": record.process, "message": record.getMessage(), **getattr(record, "request", {})}
        if record.exc_info and record.exc_info[0] is not None:
            values["traceback"] = self.formatException(record.exc_info)
        return json.dumps(values, default=str)


FORMATTERS: Final[dict[str, Callable[[], logging.Formatter]]] = {
    "plain": logging.Formatter, "text": TextFormatter, "json": JSONFormatter}


class ErrorLog(NamedTuple):
    """What of the error log is to be other than it is by default; ``None`` is as it is.

    ``level``   one of ``config.LOG_LEVELS``; ``warning`` by default
    ``format``  one of ``config.LOG_FORMATS``; by default ``text`` in a file, and ``plain`` on stderr
    ``path``    a file; by default, and with ``-``, stderr
    ``config``  a file for ``logging.config``, in place of all this: JSON, TOML or INI
    """

    level: str | None = None
    format: str | None = None
    path: str | None = None
    config: str | None = None

    def tried(self) -> ErrorLog:
        """The same on stderr, which makes no file; raises StartError where that could not be written."""
        if self.path not in (None, "-"):
            tried("error log", self.path)
        return self._replace(path=None)

    def set_up(self) -> None:
        """Raises UsageError or StartError where it will not do."""
        if self.config is not None:
            _configure(self.config)
        elif any(self):
            output = opened("error log", self.path or "-", sys.__stderr__)
            in_file = self.path not in (None, "-")
            output.setFormatter(FORMATTERS[self.format or ("text" if in_file else "plain")]())
            for logger in (log, logging.getLogger("asyncio")):
                logger.addHandler(output)
                logger.setLevel((self.level or "warning").upper())
                logger.propagate = False


def _configure(path: str) -> None:
    """Set logging up as a file says; loggers that it does not name stay as they are."""
    import logging.config  # noqa: PLC0415 - seldom asked for
    import tomllib  # noqa: PLC0415

    try:
        text = Path(path).read_text(encoding="utf-8")
        if path.endswith((".json", ".toml")):
            values = json.loads(text) if path.endswith(".json") else tomllib.loads(text)
            logging.config.dictConfig({"version": 1, "disable_existing_loggers": False, **values})
        else:
            logging.config.fileConfig(path, disable_existing_loggers=False, encoding="utf-8")
    except Exception as error:  # Whatever classes and functions the file names may raise anything.
        reason = error.strerror if isinstance(error, OSError) and error.strerror else _causes(error)
        raise UsageError(f"the logging configuration {path} cannot be used: {reason}; "
                         "mend it, or choose another file") from error


def _causes(error: BaseException) -> str:
    """What an exception says, with what has caused it; the standard library tells that there."""
    said = " ".join(str(error).split()) or type(error).__name__
    return said if error.__cause__ is None else f"{said}: {_causes(error.__cause__)}"
