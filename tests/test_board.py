"""Counters that processes share."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from japronto.board import CELLS, STATUS_CELLS, STATUSES, Board
from japronto.errors import StartError

ROOT = Path(__file__).parent.parent
COUNT = """
import sys
from japronto.board import Board
row = Board.attach(int(sys.argv[1])).row(int(sys.argv[2]))
row.set("alive", 1)
for _ in range(int(sys.argv[3])):
    row.add("accepted")
row.set("connections", 7)
"""


def test_processes_count_beside_each_other_and_after_each_other() -> None:
    """Whoever takes a row counts on from where the one before has ended; what is no counter ends with it."""
    board = Board.create(4)

    def start(slot: int, count: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", COUNT, str(board.descriptor), str(slot), str(count)],
                                cwd=ROOT, pass_fds=(board.descriptor,))

    before = 0.0
    for together in ([(0, 20_000), (1, 30_000)], [(0, 10_000), (1, 1), (2, 5_000)]):
        running = [start(slot, count) for slot, count in together]
        while any(process.poll() is None for process in running):
            now = board.totals()["accepted"]
            assert now >= before
            before = now
        assert all(process.wait() == 0 for process in running)
        assert board.totals()["connections"] == 7 * len(running)
        for slot, _ in together:
            board.row(slot).vacate()
    totals = board.totals()
    assert (totals["accepted"], totals["connections"], totals["alive"]) == (65_001, 0, 0)
    board.close()


def test_rows_that_nobody_uses_take_no_memory() -> None:
    board = Board.create(2000)
    board.row(0).add("busy")
    board.row(1).add("busy", 2)
    assert board.totals()["busy"] == 3
    assert os.fstat(board.descriptor).st_blocks * 512 < 20 * 4096
    board.close()


def test_a_board_of_another_version_is_refused() -> None:
    board = Board.create(2)
    board.row(0).cells[-1] = 1.0
    descriptor = os.dup(board.descriptor)
    with pytest.raises(StartError, match="of another version"):
        Board.attach(descriptor)
    board.close()


def test_every_status_has_a_cell_and_there_are_not_many() -> None:
    assert {STATUSES[cell] for cell in STATUS_CELLS} == set(STATUSES)
    assert [STATUSES[STATUS_CELLS[code]] for code in (200, 404, 499, 599, 299, 999, 0)] == [
        "200", "404", "499", "5xx", "2xx", "5xx", "1xx"]
    assert len(CELLS) < 1000
