"""Metrics of several workers, of whom some end."""

from __future__ import annotations

import os
import re
import signal

from sockets.process import until
from sockets.test_metrics import ask, values

from .conftest import Master, Start


def test_the_sum_over_workers_never_goes_back(start: Start) -> None:
    """Not when one is killed, nor when all are replaced, and whoever is asked."""
    master = start("--workers", "2", "--metrics-address", "0")
    master.until_said("Metrics and health are at")
    matched = re.search(r"Metrics and health are at http://127\.0\.0\.1:(\d+)\.", master.said())
    assert matched
    port, asked = int(matched[1]), 0
    for happens in (None, killed, replaced):
        if happens is not None:
            happens(master, port)
        for _ in range(20):
            assert ask(master.port, "/").status == 200
            asked += 1
        assert values(port)["requests_total GET,200"] == asked
        assert ask(port, "/ready").status == 200
    until(lambda: values(port)["workers"] == 2, "the old ones are gone")
    found = values(port)
    assert (found["requests_total GET,200"], found["worker_restarts_total"]) == (asked, 1)
    master.signal(signal.SIGTERM)
    master.exits()


def killed(master: Master, port: int) -> None:
    os.kill(master.workers()[0], signal.SIGKILL)
    until(lambda: values(port)["worker_restarts_total"] == 1, "the worker is replaced")
    until(lambda: values(port)["workers_ready"] == 2, "its successor is ready")


def replaced(master: Master, port: int) -> None:
    started = values(port)["start_time_seconds"]
    master.signal(signal.SIGHUP)
    until(lambda: values(port)["start_time_seconds"] > started, "all are new")
