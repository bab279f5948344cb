"""One contestant under one workload: started, checked, warmed up, measured, ended."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Final, NamedTuple

from bench import Missing, wrk
from bench.checking import check
from bench.contestants import Contestant
from bench.driving import Server, free_port, running
from bench.environments import ROOT
from bench.idle import holding
from bench.uploading import upload
from bench.workloads import UPLOAD_OCTETS, Workload

IDLE_MIN: Final = 500
"""With fewer idle connections, memory for each is lost in what memory does anyway."""
SMALL_UPLOAD: Final = 2**24


class Effort(NamedTuple):
    """How long, and how often, each is measured."""

    rounds: int
    seconds: int
    warm_seconds: float


class Measured(NamedTuple):
    """What came of it; the names are those of the JSON."""

    requests_per_second: float
    cpu_us: float
    """Server CPU time, user and system, of all its processes, for a request."""
    p50_ms: float | None
    """Latency; None where there is one request only."""
    p99_ms: float | None
    p99_9_ms: float | None
    pss_bytes: float
    """Memory when all has been answered and its connections, but for the idle ones, are closed."""
    rss_bytes: float
    peak_bytes: float
    idle_bytes: float | None
    """Memory for each idle connection, where there are many."""


def measure(contestant: Contestant, python: str, workload: Workload, effort: Effort, core: int) -> Measured:
    """Raises Missing, or StartMissing if the contestant does not even start."""
    if workload.route in contestant.missing_workloads:
        raise Missing(contestant.missing_workloads[workload.route])
    port = free_port()
    with running(contestant.filled(contestant.command, python=python, port=port), port, core,
                 cwd=ROOT) as server:
        try:
            return (_upload if workload.upload else _drive)(server, port, workload, effort)
        except Missing:
            server.check()  # That it has ended says more.
            raise


def _drive(server: Server, port: int, workload: Workload, effort: Effort) -> Measured:
    check(port, workload)
    wrk.warm(port, workload, effort.warm_seconds)
    bare = server.memory()
    with holding(port, workload.idle):
        held = server.memory()
        before = server.cpu_seconds()
        load = wrk.drive(port, workload, effort.seconds)
        spent = server.cpu_seconds() - before
        memory = server.memory()
    server.check()
    return Measured(load.requests / load.seconds, spent / load.requests * 1e6, load.p50, load.p99, load.p99_9,
                    *memory, (held.pss - bare.pss) / workload.idle if workload.idle >= IDLE_MIN else None)


def _upload(server: Server, port: int, workload: Workload, _effort: Effort) -> Measured:
    upload(port, workload, SMALL_UPLOAD)
    before = server.cpu_seconds()
    seconds = upload(port, workload, UPLOAD_OCTETS)
    spent = server.cpu_seconds() - before
    return Measured(1 / seconds, spent * 1e6, None, None, None, *server.memory(), None)


def median(rounds: Sequence[Measured]) -> Measured:
    """Of each figure by itself."""
    figures = []
    for values in zip(*rounds, strict=True):
        known = [value for value in values if value is not None]
        figures.append(statistics.median(known) if known else None)
    return Measured(*figures)  # type: ignore[arg-type]
