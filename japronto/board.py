"""Counters in memory that the processes of a server share, a row for each.

A process writes its own row and no other, so nothing has to be locked, and reads all of them.  A row belongs
to a place among the workers, not to a worker: who takes the place of one that has died counts on from there.
So no counter ever goes back, whenever a process ends, and nothing has to be moved while others read.
What is no counter, such as the number of open connections, is left out while the place is empty.

A cell is a double: eight octets that processors write and read in one piece, and exact for whole numbers
up to 2**53.
"""

from __future__ import annotations

import contextlib
import itertools
import mmap
import os
import zlib
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple

from japronto.errors import StartError

if TYPE_CHECKING:
    from japronto.listening import Listener

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "other")
"""The methods that are told apart; the first five in the order of csrc/lane_module.c."""
STATUSES: Final = (*(f"{status.value}" for status in HTTPStatus), "499",
                   *(f"{first}xx" for first in range(1, 6)))
"""The status codes that are told apart, and what the others are called: a label must not grow without end."""
BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of durations, in seconds; what takes longer is in a bucket of its own."""
TIMEOUTS: Final = ("idle", "head", "content", "send", "half-close", "linger", "handshake", "proxy_header")

COUNTERS: Final = (
    "received_bytes", "sent_bytes", "lane_requests", "accepted", "refused", "evicted", "busy", "restarts",
    "cpu_seconds", "duration_seconds",
    *(f"timeout {what}" for what in TIMEOUTS),
    *(f"duration {number}" for number in range(len(BUCKETS) + 1)),
    *(f"violation {status}" for status in STATUSES),
    *(f"request {method} {status}" for method in METHODS for status in STATUSES))
GAUGES: Final = ("alive", "ready", "connections", "in_flight", "resident_bytes", "open_files", "started")
CELLS: Final = {name: number for number, name in enumerate((*COUNTERS, *GAUGES))}
"""Where in a row each value stands."""

ROW_BYTES: Final = -(-8 * (len(CELLS) + 1) // 4096) * 4096
VERSION: Final = float(zlib.crc32("\n".join(CELLS).encode()))
"""Of the layout; it stands at the end of each row that is in use."""
STATUS_CELLS: Final = bytes(
    STATUSES.index(f"{code}") if f"{code}" in STATUSES else STATUSES.index(f"{max(1, min(code // 100, 5))}xx")
    for code in range(1000))
"""Which of ``STATUSES`` a code from 0 to 999 is."""


class Row:
    """The values of one process."""

    def __init__(self, cells: memoryview[float]) -> None:
        self.cells = cells

    def add(self, name: str, amount: float = 1) -> None:
        """Count up."""
        self.cells[CELLS[name]] += amount

    def set(self, name: str, value: float) -> None:
        """Set what is no counter."""
        self.cells[CELLS[name]] = value

    def get(self, name: str) -> float:
        value: float = self.cells[CELLS[name]]
        return value

    def vacate(self) -> None:
        """The process is gone; what it has counted stays."""
        for name in GAUGES:
            self.set(name, 0)


class Place(NamedTuple):
    """Where a process counts, and the sockets at which it tells the sums, if it was given any."""

    board: Board
    slot: int
    listeners: list[Listener] | None


class Board:
    """Rows in memory that other processes can share, who are given its descriptor."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        size = os.fstat(descriptor).st_size
        self._memory = mmap.mmap(descriptor, size)
        self._cells = memoryview(self._memory).cast("d")
        self.slots = size // ROW_BYTES

    @classmethod
    def create(cls, slots: int) -> Board:
        """A new board; memory is used up only by the rows that are."""
        descriptor = _shared_file()
        os.truncate(descriptor, slots * ROW_BYTES)
        return cls(descriptor)

    @classmethod
    def attach(cls, descriptor: int) -> Board:
        """The board of the process that has started this one; raises StartError if of another version."""
        board = cls(descriptor)
        if any(row.cells[-1] != VERSION for row in board.used()):
            board.close()
            raise StartError("the counters of the master are of another version of Japronto; start it anew")
        return board

    def row(self, slot: int) -> Row:
        """The row of a place, for the process that has that place now."""
        view = self._view(slot)
        view[-1] = VERSION
        return Row(view)

    def _view(self, slot: int) -> memoryview[float]:
        at = slot * ROW_BYTES // 8
        return self._cells[at:at + len(CELLS) + 1]

    def used(self) -> Iterator[Row]:
        """All rows that anything was ever counted in; they are taken in their order.

        The others are not looked at, since to look at shared memory is to use it up.
        """
        views = map(self._view, range(self.slots))
        return (Row(view) for view in itertools.takewhile(lambda view: view[-1], views))

    def totals(self) -> dict[str, float]:
        """The sums of all rows: of what is no counter, over the places that are taken."""
        rows = list(self.used())
        living = [row for row in rows if row.get("alive")]
        return {**_sums(COUNTERS, rows), **_sums(GAUGES, living)}

    def close(self) -> None:
        """Let go of the memory, and of the descriptor."""
        with contextlib.suppress(BufferError):  # Rows are in use; it goes with the last of them.
            self._cells.release()
            self._memory.close()
        os.close(self.descriptor)


def _sums(names: Iterable[str], rows: list[Row]) -> dict[str, float]:
    return {name: sum(row.cells[CELLS[name]] for row in rows) for name in names}


def _shared_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("japronto-counters")
    import tempfile  # noqa: PLC0415 - not on Linux

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
