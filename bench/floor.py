"""What a request costs, beside the floor: a bare epoll loop with a canned answer (``floor.c``).

    python bench/floor.py [--rounds 5] [--seconds 2] [--backend pure]

The server runs on processor 0 and wrk on processor 1.  For each workload, floor and server take turns, and
what is printed is the median of the server's CPU time per request (user and system, in us), and its ratio
to the floor of the same workload.  Needs wrk and a C compiler.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
TICKS = os.sysconf("SC_CLK_TCK")
BROWSER = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
                  "Chrome/120.0.0.0 Safari/537.36",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,"
              "*/*;q=0.8",
    "Accept-Encoding": "gzip, deflate, br", "Accept-Language": "en-US,en;q=0.9,de;q=0.8",
    "Cache-Control": "max-age=0", "Connection": "keep-alive", "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "none", "Sec-Fetch-User": "?1",
    "Upgrade-Insecure-Requests": "1", "Referer": "https://www.example.com/articles/2024/how-a-server-reads",
    "Cookie": "session=0123456789abcdef0123456789abcdef; theme=dark; _ga=GA1.2.1234567890.1712345678"}


class Workload(NamedTuple):
    """What wrk sends."""

    name: str
    path: str = "/"
    depth: int = 24
    fields: tuple[tuple[str, str], ...] = ()
    content: int = 0
    """Octets of content, sent by POST."""


WORKLOADS = (
    Workload("hello, 24 pipelined"),
    Workload("hello, 24 pipelined, a browser's head", fields=tuple(BROWSER.items())),
    Workload("hello, one by one", depth=1),
    Workload("a placeholder route, 24 pipelined", "/users/somebody"),
    Workload("an async handler that does not wait, 24 pipelined", "/async"),
    Workload("a field and a media type, 24 pipelined", "/fields"),
    Workload("a small JSON response, 24 pipelined", "/json"),
    Workload("a POST of 1 KB, 24 pipelined", "/echo", content=1024),
)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def cost(port: int, pid: int, workload: Workload, seconds: int) -> float:
    """Server CPU per request, in us."""
    command = ["taskset", "-c", "1", "wrk", "-t1", "-c100", f"-d{seconds}"]
    for name, value in workload.fields:
        command += ["-H", f"{name}: {value}"]
    if workload.depth > 1 or workload.content:
        command += ["-s", str(HERE / "pipeline.lua")]
    before = cpu_seconds(pid)
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{port}{workload.path}"], capture_output=True, text=True, check=True,
        env={**os.environ, "DEPTH": str(workload.depth), "CONTENT": str(workload.content)})
    after = cpu_seconds(pid)
    match = re.search(r"(\d+) requests in", done.stdout)
    if match is None or "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        sys.exit(f"{workload.name}: not all requests were answered:\n{done.stdout}")
    return (after - before) / int(match[1]) * 1e6


@contextlib.contextmanager
def running(port: int, *command: object, **environ: str) -> Iterator[int]:
    """A server on processor 0; its process id."""
    with subprocess.Popen(["taskset", "-c", "0", *map(str, command)], env={**os.environ, **environ},
                          stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(100):
                with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/"):
                    break
                time.sleep(0.1)
            yield process.pid
        finally:
            process.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--port", type=int, default=18080, help="the first of two free ports")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        floor = Path(directory) / "floor"
        subprocess.run(["cc", "-O3", "-D_GNU_SOURCE", HERE / "floor.c", "-o", floor], check=True)
        with running(options.port, floor, options.port) as bare, running(
                options.port + 1, sys.executable, "-m", "japronto", "floor_app:app", "--app-dir", HERE,
                "--port", options.port + 1, JAPRONTO_BACKEND=options.backend) as ours:
            print(f"{'':52}{'floor':>8}{'Japronto':>10}{'ratio':>8}   ratios of all rounds")
            for workload in WORKLOADS:
                pairs = [(cost(options.port, bare, workload, options.seconds),
                          cost(options.port + 1, ours, workload, options.seconds))
                         for _ in range(options.rounds)]
                ratios = sorted(b / a for a, b in pairs)
                print(f"{workload.name:52}{statistics.median(a for a, _ in pairs):8.3f}"
                      f"{statistics.median(b for _, b in pairs):10.3f}{statistics.median(ratios):8.2f}   "
                      + " ".join(f"{ratio:.2f}" for ratio in ratios), flush=True)


if __name__ == "__main__":
    main()
