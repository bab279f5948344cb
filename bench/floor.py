"""What a request costs, beside the floor: a bare epoll loop with a canned answer (``floor.c``).

    python bench/floor.py [--rounds 5] [--seconds 2] [--backend pure]

The server runs on one processor and wrk on another.  For each workload, floor and server take turns, and
what is printed is the median of the server's CPU time per request (user and system, in us), and its ratio
to the floor of the same workload.  The first line says what is measured.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # Started by its path, it has only its directory.
from bench import NEEDS, Missing, wrk
from bench.driving import Server, cores, count, free_port, running
from bench.workloads import BROWSER, Workload

HERE = Path(__file__).parent
JAPRONTO = (sys.executable, "-m", "japronto")
WORKLOADS = (
    Workload("hello", "hello, 24 pipelined", depth=24),
    Workload("browser", "hello, 24 pipelined, a browser's head", depth=24, fields=tuple(BROWSER.items())),
    Workload("one", "hello, one by one"),
    Workload("users", "a placeholder route, 24 pipelined", path="/users/somebody", depth=24),
    Workload("async", "an async handler that does not wait, 24 pipelined", path="/async", depth=24),
    Workload("fields", "a field and a media type, 24 pipelined", path="/fields", depth=24),
    Workload("json", "a small response of JSON, 24 pipelined", path="/json", depth=24),
    Workload("pieces", "two pieces from an iterator, 24 pipelined", path="/pieces", depth=24),
    Workload("echo", "a POST of 1 KB, 24 pipelined", path="/echo", depth=24, content=b"a" * 1024),
)


def cost(server: Server, port: int, workload: Workload, seconds: int) -> float:
    """Server CPU per request, in us."""
    before = server.cpu_seconds()
    load = wrk.drive(port, workload, seconds)
    return (server.cpu_seconds() - before) / load.requests * 1e6


def version(backend: str) -> str:
    """What is measured, in the words of ``japronto --version``; ends the program if it cannot be had."""
    done = subprocess.run([*JAPRONTO, "--version", "--backend", backend], capture_output=True, text=True,
                          check=False)
    if done.returncode:
        sys.exit(done.stderr.strip())
    return done.stdout.strip()


def compare(backend: str, rounds: int, seconds: int, core: int, encoder: str) -> None:
    """Measure and print every workload; raises Missing."""
    ports = free_port(), free_port()
    with tempfile.TemporaryDirectory() as directory:
        floor = Path(directory) / "floor"
        subprocess.run(["cc", "-O3", "-D_GNU_SOURCE", HERE / "floor.c", "-o", floor], check=True)
        with running([str(floor), str(ports[0])], ports[0], core) as bare, running(
                [*JAPRONTO, "floor_app:app", "--app-dir", str(HERE), "--port", str(ports[1]),
                 "--backend", backend], ports[1], core) as ours:
            print(f"{'':52}{'floor':>8}{'Japronto':>10}{'ratio':>8}   ratios of all rounds")
            for workload in WORKLOADS:
                pairs = [(cost(bare, ports[0], workload, seconds), cost(ours, ports[1], workload, seconds))
                         for _ in range(rounds)]
                ratios = sorted(b / a for a, b in pairs)
                name = workload.about.replace("JSON", encoder)
                print(f"{name:52}{statistics.median(a for a, _ in pairs):8.3f}"
                      f"{statistics.median(b for _, b in pairs):10.3f}{statistics.median(ratios):8.2f}   "
                      + " ".join(f"{ratio:.2f}" for ratio in ratios), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0],
                                     epilog=f"{NEEDS[0].upper()}{NEEDS[1:]}.")
    parser.add_argument("--rounds", type=count, default=5, help="how often each is measured (default 5)")
    parser.add_argument("--seconds", type=count, default=2,
                        help="how long each measurement takes, in whole seconds (default 2)")
    parser.add_argument("--backend", default="accel", help="what is measured (default accel)")
    options = parser.parse_args()
    measured = version(options.backend)
    encoder = re.search(r"JSON by \S+(?=,)", measured)
    try:
        core, load_core = cores("cc")
        os.sched_setaffinity(0, {load_core})
        print(measured, flush=True)
        compare(options.backend, options.rounds, options.seconds, core, encoder[0] if encoder else "JSON")
    except Missing as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
