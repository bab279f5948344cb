"""What a request costs, beside the floor: a bare epoll loop with a canned answer (``floor.c``).

    python bench/floor.py [--rounds 5] [--seconds 2] [--backend pure]

The server runs on processor 0 and wrk on processor 1.  For each workload, floor and server take turns, and
what is printed is the median of the server's CPU time per request (user and system, in us), and its ratio
to the floor of the same workload.  The first line says what is measured.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import socket
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
NEEDS = "this needs Linux, processors 0 and 1, and the programs wrk, taskset (of util-linux) and cc"
JAPRONTO = (sys.executable, "-m", "japronto")
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
    Workload("a small response of JSON, 24 pipelined", "/json"),
    Workload("two pieces from an iterator, 24 pipelined", "/pieces"),
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
        [*command, f"http://127.0.0.1:{port}{workload.path}"], capture_output=True, text=True, check=False,
        env={**os.environ, "DEPTH": str(workload.depth), "CONTENT": str(workload.content)})
    after = cpu_seconds(pid)
    match = re.search(r"(\d+) requests in", done.stdout)
    if match is None or "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        sys.exit(f"{workload.name}: not all requests were answered:\n{done.stdout}{done.stderr}")
    return (after - before) / int(match[1]) * 1e6


@contextlib.contextmanager
def running(port: int, *command: object) -> Iterator[int]:
    """A server on processor 0; its process id."""
    with socket.socket() as free:
        if free.connect_ex(("127.0.0.1", port)) == 0:
            sys.exit(f"port {port} is taken; choose two free ones with --port")
    with subprocess.Popen(["taskset", "-c", "0", *map(str, command)], stderr=subprocess.PIPE,
                          text=True) as process:
        try:
            wait_for(process, port, Path(str(command[0])).name)
            yield process.pid
        finally:
            process.terminate()


def wait_for(process: subprocess.Popen[str], port: int, name: str) -> None:
    """Until it answers; ends the program with what the server has to say if it does not."""
    for _ in range(100):
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/"):
            return
        if process.poll() is not None:
            sys.exit(f"{name} has not started: {process.communicate()[1].strip() or process.returncode}")
        time.sleep(0.1)
    sys.exit(f"{name} does not answer on port {port}")


def check_the_machine() -> None:
    """End the program if something is missing."""
    missing = [name for name in ("wrk", "taskset", "cc") if shutil.which(name) is None]
    if missing:
        sys.exit(f"{' and '.join(missing)} cannot be found; {NEEDS}")
    if not Path("/proc/self/stat").exists() or not {0, 1} <= os.sched_getaffinity(0):
        sys.exit(f"this is not a machine to measure on; {NEEDS}")


def version(backend: str) -> str:
    """What is measured, in the words of ``japronto --version``; ends the program if it cannot be had."""
    done = subprocess.run([*JAPRONTO, "--version", "--backend", backend], capture_output=True, text=True,
                          check=False)
    if done.returncode:
        sys.exit(done.stderr.strip())
    return done.stdout.strip()


def count(text: str) -> int:
    """A whole number above zero."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a whole number above zero; it is {text!r}")
    return int(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0],
                                     epilog=f"{NEEDS[0].upper()}{NEEDS[1:]}.")
    parser.add_argument("--rounds", type=count, default=5, help="how often each is measured (default 5)")
    parser.add_argument("--seconds", type=count, default=2,
                        help="how long each measurement takes, in whole seconds (default 2)")
    parser.add_argument("--backend", default="accel", help="what is measured (default accel)")
    parser.add_argument("--port", type=count, default=18080,
                        help="the first of two free ports (default 18080)")
    options = parser.parse_args()
    measured = version(options.backend)
    check_the_machine()
    print(measured, flush=True)
    encoder = re.search(r"JSON by \S+(?=,)", measured)
    with tempfile.TemporaryDirectory() as directory:
        floor = Path(directory) / "floor"
        subprocess.run(["cc", "-O3", "-D_GNU_SOURCE", HERE / "floor.c", "-o", floor], check=True)
        with running(options.port, floor, options.port) as bare, running(
                options.port + 1, *JAPRONTO, "floor_app:app", "--app-dir", HERE,
                "--port", options.port + 1, "--backend", options.backend) as ours:
            print(f"{'':52}{'floor':>8}{'Japronto':>10}{'ratio':>8}   ratios of all rounds")
            for workload in WORKLOADS:
                pairs = [(cost(options.port, bare, workload, options.seconds),
                          cost(options.port + 1, ours, workload, options.seconds))
                         for _ in range(options.rounds)]
                ratios = sorted(b / a for a, b in pairs)
                name = workload.name.replace("JSON", encoder[0]) if encoder else workload.name
                print(f"{name:52}{statistics.median(a for a, _ in pairs):8.3f}"
                      f"{statistics.median(b for _, b in pairs):10.3f}{statistics.median(ratios):8.2f}   "
                      + " ".join(f"{ratio:.2f}" for ratio in ratios), flush=True)


if __name__ == "__main__":
    main()
