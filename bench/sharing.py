"""How workers share a port: one socket that all inherit, or one for each (SO_REUSEPORT).

    python bench/sharing.py

Starts two workers either way, loads them with ``wrk`` over connections that stay and with one connection
for each request, and tells the CPU time of both workers per request and the share of the busier one.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SECONDS = 5
ROUNDS = 3
TICK = os.sysconf("SC_CLK_TCK")


def main() -> None:
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed; it is what makes the load")
    print("| connections | socket | CPU per request, µs | share of the busier worker | requests/s |")
    print("|---|---|---|---|---|")
    for kind, fields in (("stay", ()), ("one for each request", ("-H", "Connection: close"))):
        for name, options in (("inherited", ()), ("SO_REUSEPORT", ("--reuse-port",))):
            for _ in range(ROUNDS):
                cost, share, rate = measure(options, fields)
                print(f"| {kind} | {name} | {cost:.1f} | {share:.0%} | {rate:,.0f} |", flush=True)


def measure(options: tuple[str, ...], fields: tuple[str, ...]) -> tuple[float, float, float]:
    """CPU per request in microseconds, share of the busier worker, requests per second."""
    with tempfile.TemporaryFile("w+") as said, subprocess.Popen(
            [sys.executable, "-m", "japronto", "demo", "--workers", "2", "--port", "0", *options],
            stderr=said) as master:
        try:
            url = listening(said)
            workers = children(master.pid)
            before = [cpu(pid) for pid in workers]
            report = subprocess.run(["wrk", "-t1", "-c64", f"-d{SECONDS}s", *fields, f"{url}/hello"],
                                    capture_output=True, text=True, check=True).stdout
            spent = [cpu(pid) - start for pid, start in zip(workers, before, strict=True)]
        finally:
            master.send_signal(signal.SIGTERM)
    matched = re.search(r"(\d+) requests in", report)
    assert matched, report
    requests = int(matched[1])
    return sum(spent) / requests * 1e6, max(spent) / sum(spent), requests / SECONDS


def listening(said: object) -> str:
    """The URL that the server says it listens on."""
    while True:
        said.seek(0)  # type: ignore[attr-defined]
        if matched := re.search(r"http://\S+", said.read()):  # type: ignore[attr-defined]
            return matched[0]
        time.sleep(0.05)


def children(pid: int) -> list[int]:
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


if __name__ == "__main__":
    main()
