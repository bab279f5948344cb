"""Signals: which of them stop a server, which are for its master, and what comes of the others.

A manager, or a terminal, may signal all processes at once, and at any time.  None but those that stop
(``STOP``) may end a process, or halt it, though that is what most of them do where nobody takes them.  Where
they mean something they are taken with handlers of the loop or of the master; until then, and in a worker,
there is one that does nothing.  A handler, other than SIG_IGN, is not inherited by what the program starts.
"""

from __future__ import annotations

import atexit
import os
import signal
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Final

STOP: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
HARMLESS: Final = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU)
"""Those that ask for something else than the end."""
FOR_MASTER: Final = (signal.SIGINT, signal.SIGQUIT, *HARMLESS)
"""Those of which a worker takes no notice: it is the master who decides what comes of them."""
NO_USR2: Final = "SIGUSR2 means nothing here; SIGHUP loads the program anew, where there are --workers"

_terminal: Final = os.fstat(0).st_rdev if os.isatty(0) else None


def nothing(_number: int, _frame: object) -> None:
    """What a signal calls that is for another process, comes too early, or too late."""


def calm(numbers: Collection[signal.Signals]) -> None:
    """From now on these do nothing, where that can be said: in the main thread."""
    with suppress(ValueError):
        for number in numbers:
            signal.signal(number, nothing)


@contextmanager
def calm_behind() -> Iterator[None]:
    """Afterwards no signal ends this process, which has little left to do."""
    try:
        yield
    finally:
        calm((*STOP, *HARMLESS))


def end_at_once() -> None:
    """From now on those that stop end this process, however long it waits for what was left running.

    So it may for threads, and for functions of ``atexit``.
    """
    for number in STOP:
        signal.signal(number, signal.SIG_DFL)


def calm_at_exit() -> None:
    """Let no signal end this process behind its last line.

    The interpreter takes all handlers away long before it is gone.
    """
    def ignore() -> None:
        with suppress(ValueError):
            for number in (*STOP, *HARMLESS):
                signal.signal(number, signal.SIG_IGN)

    atexit.register(ignore)


def free(number: signal.Signals) -> bool:
    """Whether the program has no use of its own for a signal; who has started it may have it ignored."""
    return signal.getsignal(number) in (signal.SIG_DFL, signal.SIG_IGN, nothing)


def of_terminal(number: signal.Signals) -> bool:
    """Whether a terminal may halt this process by a signal, when it writes there from the background.

    If that were taken, the process would try again for ever.
    """
    return number in (signal.SIGTTIN, signal.SIGTTOU) and any(map(os.isatty, range(3)))


@contextmanager
def blocked(numbers: Collection[signal.Signals]) -> Iterator[None]:
    """Meanwhile these wait, also in a process that is started here: until that one unblocks them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def terminal_gone() -> bool:
    """Whether this process was started at a terminal that is there no more; then SIGHUP says so.

    A program that has put something else in the place of its standard input has left the terminal by itself.
    """
    if _terminal is None:
        return False
    with suppress(OSError):
        if os.fstat(0).st_rdev != _terminal:
            return False
    return not os.isatty(0)
