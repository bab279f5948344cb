"""wrk: what it is told, and what is read of what it says."""

from __future__ import annotations

import bisect
import contextlib
import itertools
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Final, NamedTuple

from bench import Missing
from bench.workloads import Workload

SCRIPT: Final = Path(__file__).with_name("pipeline.lua")
GRACE_SECONDS: Final = 20
"""How much longer than it is told to run wrk may take."""
ERRORS: Final = {
    "status": "answers with a status of an error", "connect": "connections that were refused",
    "read": "connections that broke while read from", "write": "connections that broke while written to",
    "timeout": "answers that came too late or not at all"}


class Load(NamedTuple):
    """What wrk saw.  A latency, in milliseconds, is that of a whole batch of pipelined requests."""

    requests: int
    seconds: float
    p50: float
    p99: float
    p99_9: float


def version() -> str:
    """The first words of what ``wrk --version`` says."""
    done = subprocess.run(["wrk", "--version"], capture_output=True, text=True, check=False, timeout=10)
    return " ".join((done.stdout or done.stderr).split()[:2])


def drive(port: int, workload: Workload, seconds: int) -> Load:
    """Send requests on end for so many seconds.  Raises Missing unless all are answered well."""
    command, environment = _command(port, workload, seconds)
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment,
                              timeout=seconds + GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        raise Missing(f"wrk did not end {GRACE_SECONDS} s after its time") from None
    return parse(done.stdout, done.stderr, connections=workload.active)


def warm(port: int, workload: Workload, seconds: float) -> None:
    """The same for parts of a second, without looking at what comes of it."""
    command, environment = _command(port, workload, 10)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          env=environment) as process:
        try:
            for patience in (seconds, GRACE_SECONDS):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(patience)
                process.send_signal(signal.SIGINT)  # It counts up what it has, and ends.
        finally:
            process.kill()


def parse(said: str, complained: str = "", *, connections: int = 100) -> Load:
    """What the lines of ``pipeline.lua`` say.  Raises Missing if they are not there or tell of errors."""
    line = re.search(r"^measured (.*)$", said, re.MULTILINE)
    if line is None:
        raise Missing(f"wrk does not say what it measured: {' '.join((said + complained).split()) or '-'}")
    values = {name: int(value) for name, value in (pair.split("=") for pair in line[1].split())}
    wrong = [f"{values[name]:,} {text}" for name, text in ERRORS.items() if values[name]]
    if wrong:
        raise Missing(f"wrk counted {' and '.join(wrong)}, beside {values['requests']:,} answers")
    if not values["requests"]:
        raise Missing("wrk got no answer")
    expected = values["microseconds"] // max(1, values["requests"] // connections)
    seen = uncorrected(_latencies(said), expected)
    return Load(values["requests"], values["microseconds"] / 1e6,
                *(percentile(seen, share) / 1e3 for share in (0.5, 0.99, 0.999)))


def uncorrected(latencies: dict[int, int], expected: int) -> dict[int, int]:
    """How often each latency was seen, without what wrk adds to correct for requests that it did not send.

    For every latency it adds what is shorter by ``expected``, the mean time between two requests of a
    connection, again and again as long as more than that is left.  It forgets that a batch of pipelined
    requests is timed once, adds far too many and below the least that it saw, and then finds no
    percentiles (``stats_correct`` and ``stats_percentile`` of wrk 4.1).
    """
    return {latency: times - (latencies.get(latency + expected, 0) if latency > expected else 0)
            for latency, times in latencies.items()}


def percentile(latencies: dict[int, int], share: float) -> int:
    """The least latency that so many, of 1, do not exceed."""
    ordered = sorted(latencies)
    sums = list(itertools.accumulate(latencies[latency] for latency in ordered))
    return ordered[bisect.bisect_left(sums, share * sums[-1])]


def _latencies(said: str) -> dict[int, int]:
    """In microseconds, each with how often it counts."""
    line = re.search(r"^latencies (.*)$", said, re.MULTILINE)
    if line is None or not line[1]:
        raise Missing("wrk has no latencies")
    return {int(latency): int(times) for latency, times in (pair.split(":") for pair in line[1].split())}


def _command(port: int, workload: Workload, seconds: int) -> tuple[list[str], dict[str, str]]:
    command = ["wrk", "-t1", f"-c{workload.active}", f"-d{seconds}", "--timeout", "10", "-s", str(SCRIPT)]
    for name, value in workload.fields:
        command += ["-H", f"{name}: {value}"]
    return ([*command, f"http://127.0.0.1:{port}{workload.path}"],
            {**os.environ, "DEPTH": str(workload.depth), "CONTENT": str(len(workload.content))})
