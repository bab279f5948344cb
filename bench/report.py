"""What was measured, as JSON and as tables for a terminal."""

from __future__ import annotations

import datetime
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bench import wrk
from bench.contest import Outcome
from bench.contestants import Contestant
from bench.environments import ROOT
from bench.measuring import Effort, median
from bench.workloads import UPLOAD_OCTETS

MEASURES: Final = {
    "requests_per_second": "answers that the load generator counted, by its time",
    "cpu_us": "user and system time of the processor, of all processes of the server, for each request",
    "p50_ms": "latency by wrk; where requests are pipelined, that of a whole batch",
    "pss_bytes": "resident memory when the load has ended, proportional set size, of all its processes",
    "rss_bytes": "the same, resident set size",
    "peak_bytes": "the highest resident set size of each of its processes, summed",
    "idle_bytes": "growth of the proportional set size for each idle connection",
}
MIB: Final = 2**20


def document(outcomes: Sequence[Outcome], contestants: Mapping[str, Contestant], versions: Mapping[str, str],
             effort: Effort, command: str, left_out: Mapping[str, Sequence[str]],
             busy: float) -> dict[str, Any]:
    """All that is known, as it is written to results.json; what the charts are drawn from.

    ``busy`` is the load average ahead of it.
    """
    return {
        "command": command,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(), "load_average_before": busy,
        "rounds": effort.rounds, "seconds": effort.seconds, "warm_seconds": effort.warm_seconds,
        "measures": MEASURES,
        "left_out": left_out,
        "contestants": {key: {"name": contestant.name, "language": contestant.language,
                              "about": contestant.about, "version": versions.get(key)}
                        for key, contestant in contestants.items()},
        "workloads": [workload_entry(outcome, contestants) for outcome in outcomes],
    }


def workload_entry(outcome: Outcome, contestants: Mapping[str, Contestant]) -> dict[str, Any]:
    """One workload; rows in the order of what a request costs, the least first."""
    rows = [{"contestant": key, "name": contestants[key].name, **median(rounds)._asdict(),
             "rounds": [measured._asdict() for measured in rounds]}
            for key, rounds in outcome.measured.items()]
    missing = [{"contestant": key, "name": contestants[key].name, "reason": reason}
               for key, reason in outcome.missing.items()]
    workload = outcome.workload
    return {"key": workload.key, "about": workload.about, "path": workload.path, "depth": workload.depth,
            "active": 1 if workload.upload else workload.active, "idle": workload.idle,
            "upload_octets": UPLOAD_OCTETS if workload.upload else 0,
            "rounds": max(map(len, outcome.measured.values()), default=0),
            "rows": sorted(rows, key=lambda row: row["cpu_us"]), "missing": missing}


def machine() -> dict[str, Any]:
    """What it runs on."""
    model = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    commit = None
    if shutil.which("git"):
        commit = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"], check=False,
                                capture_output=True, text=True, timeout=60).stdout.strip() or None
    return {"cpu": model[1].strip() if model else platform.machine(), "cores": os.cpu_count(),
            "kernel": f"{platform.system()} {platform.release()}", "python": platform.python_version(),
            "wrk": wrk.version(), "commit": commit}


def table(workload: Mapping[str, Any]) -> str:
    """One workload for a terminal, what is missing included."""
    columns = UPLOAD_COLUMNS if workload["upload_octets"] else COLUMNS
    if not any(row["idle_bytes"] is not None for row in workload["rows"]):
        columns = tuple(column for column in columns if column[1] != "idle_bytes")
    names = [entry["name"] for entry in (*workload["rows"], *workload["missing"])]
    width = max(map(len, [workload["about"], *names])) + 2
    lines = [f"{workload['about']:{width}}" + "".join(f"{title:>13}" for title, *_ in columns)]
    for row in workload["rows"]:
        cells = ((form.format(row[key] * factor) if row[key] is not None else "-")
                 for _, key, factor, form in columns)
        lines.append(f"{row['name']:{width}}" + "".join(f"{cell:>13}" for cell in cells))
    lines += [f"{entry['name']:{width}}{'-':>13}  {entry['reason']}" for entry in workload["missing"]]
    return "\n".join(lines)


_Column = tuple[str, str, float, str]
COLUMNS: Final[tuple[_Column, ...]] = (
    ("requests/s", "requests_per_second", 1, "{:,.0f}"), ("CPU us", "cpu_us", 1, "{:,.2f}"),
    ("p50 ms", "p50_ms", 1, "{:,.2f}"), ("p99 ms", "p99_ms", 1, "{:,.2f}"),
    ("p99.9 ms", "p99_9_ms", 1, "{:,.2f}"), ("memory MiB", "pss_bytes", 1 / MIB, "{:,.1f}"),
    ("KiB for idle", "idle_bytes", 1 / 1024, "{:,.2f}"))
"""Title, name of the figure, what it is multiplied by, format."""
UPLOAD_COLUMNS: Final[tuple[_Column, ...]] = (
    ("GB/s", "requests_per_second", UPLOAD_OCTETS / 1e9, "{:,.2f}"), ("CPU s", "cpu_us", 1e-6, "{:,.2f}"),
    ("peak MiB", "peak_bytes", 1 / MIB, "{:,.1f}"))
