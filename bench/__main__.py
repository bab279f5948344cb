"""``python -m bench``: servers beside each other, each on one processor, under the same load from another.

It decides what is measured and for how long, prints a table for each workload when it is done, and writes
results.json and the charts.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn, TypeVar

from bench import NEEDS, Missing, StartMissing
from bench.contest import Contest
from bench.contestants import Contestant, all_contestants
from bench.driving import cores, count
from bench.environments import ROOT, Made, make_all
from bench.idle import raise_descriptors
from bench.measuring import Effort
from bench.report import document, table, workload_entry
from bench.workloads import QUICK, WORKLOADS, Workload

RESULTS: Final = ROOT / "bench" / "results"
FULL_EFFORT: Final = Effort(rounds=5, seconds=2, warm_seconds=1)
QUICK_EFFORT: Final = Effort(rounds=3, seconds=1, warm_seconds=0.3)
QUICK_SECONDS: Final = 165
"""When the last round has ended with --quick; charts come after."""
QUICK_MAKE_SECONDS: Final = 70
MAKE_SECONDS: Final = 1800
CHART_SECONDS: Final = 120
QUICK_CONTESTANTS: Final = ("floor", "japronto_accel", "japronto_httptools", "japronto_pure", "uvicorn",
                            "aiohttp", "node", "go")
"""What is there at once, or installed within seconds."""
CHARTS: Final = Contestant("charts", Path(__file__), "What draws.", "charts",
                           requirements=("matplotlib==3.11.2",))
"""An environment like those of contestants, where the driver's own has no matplotlib."""
T = TypeVar("T")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One sentence, without the usage."""
        self.exit(2, f"bench: {message}\n")


def main() -> int:
    """The program; its exit code."""
    begun = time.monotonic()
    for number in (signal.SIGTERM, signal.SIGHUP):  # Servers have sessions of their own, and would stay.
        signal.signal(number, signal.default_int_handler)
    contestants = all_contestants()
    parser = _parser()
    options = parser.parse_args()
    quick = options.quick
    try:
        if options.list:
            _list(contestants)
            return 0
        chosen = _chosen("--contestants", options.contestants, contestants,
                         QUICK_CONTESTANTS if quick else tuple(contestants))
        workloads = _chosen("--workloads", options.workloads, WORKLOADS,
                            QUICK if quick else tuple(WORKLOADS))
        _check_output(options.output)
        server_core, load_core = cores()
        left_out = _left_out(chosen, contestants, workloads)
        busy = round(os.getloadavg()[0], 1)
        if busy >= 1:
            print(f"Other programs run here (the load average is {busy}), and blur what is measured.")
        for what, names in left_out.items():
            if names:
                print(f"Left out of the {what}: {', '.join(names)}")
        print(flush=True)
        made = _made(list(chosen.values()), QUICK_MAKE_SECONDS if quick else MAKE_SECONDS)
    except Missing as error:
        parser.error(str(error))
    raise_descriptors()
    os.sched_setaffinity(0, {load_core})
    effort = QUICK_EFFORT if quick else FULL_EFFORT
    effort = effort._replace(rounds=options.rounds or effort.rounds,
                             seconds=options.seconds or effort.seconds)
    contest = Contest(list(chosen.values()), made, list(workloads.values()), effort, server_core,
                      tell=_tell, deadline=begun + QUICK_SECONDS if quick else None)
    interrupted = _run(contest, chosen)
    versions = {key: what.version for key, what in made.items() if isinstance(what, Made)}
    command = shlex.join(["python", "-m", "bench", *sys.argv[1:]])
    results = document(contest.outcomes, chosen, versions, effort, command, left_out, busy)
    written = options.output / "results.json"
    written.write_text(json.dumps(results, indent=1) + "\n")
    print(f"{written} written")
    drawn = _draw(made.get("charts"), written)
    if interrupted:
        return 130
    return 0 if drawn and any(workload["rows"] for workload in results["workloads"]) else 1


def _parser() -> _Parser:
    parser = _Parser(
        prog="python -m bench", description="HTTP servers beside each other, each on one processor.",
        epilog=f"Each is checked before it is measured, and whoever is missing is named with the reason. "
               f"What contestants need is installed into bench/.venvs. {NEEDS[0].upper()}{NEEDS[1:]}.")
    parser.add_argument("--quick", action="store_true",
                        help=f"{', '.join(QUICK)} and what is soon installed, in less than three minutes")
    parser.add_argument("--contestants", type=_names, metavar="A,B", help="measure only these; see --list")
    parser.add_argument("--workloads", type=_names, metavar="A,B", help="measure only these; see --list")
    parser.add_argument("--rounds", type=count,
                        help=f"how often each is measured (default {FULL_EFFORT.rounds}; "
                             f"{QUICK_EFFORT.rounds} with --quick, if there is time)")
    parser.add_argument("--seconds", type=count, help="how long each measurement takes, in whole seconds "
                        f"(default {FULL_EFFORT.seconds}; {QUICK_EFFORT.seconds} with --quick)")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="DIR",
                        help="where results.json and the charts go (default bench/results)")
    parser.add_argument("--list", action="store_true", help="name the contestants and the workloads")
    return parser


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise argparse.ArgumentTypeError(f"must be names with commas between them; it is {text!r}")
    return names


def _chosen(option: str, wanted: Sequence[str] | None, there_are: Mapping[str, T],
            default: Sequence[str]) -> dict[str, T]:
    """What an option names.  Raises Missing for a name that there is none of."""
    for name in wanted or ():
        if name not in there_are:
            raise Missing(f"{option}: there is no {name!r}; there are {', '.join(there_are)}")
    return {key: value for key, value in there_are.items() if key in (wanted or default)}


def _check_output(directory: Path) -> None:
    """Raise Missing, ahead of all that takes time, if nothing can be written there."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with (directory / "results.json").open("a"):
            pass
    except OSError as error:
        raise Missing(f"nothing can be written to --output {directory}: {error.strerror}") from None


def _left_out(chosen: Mapping[str, Contestant], contestants: Mapping[str, Contestant],
              workloads: Mapping[str, Workload]) -> dict[str, list[str]]:
    """What is not even tried."""
    return {"contestants": [key for key in contestants if key not in chosen],
            "workloads": [key for key in WORKLOADS if key not in workloads]}


def _list(contestants: Mapping[str, Contestant]) -> None:
    for title, entries in (("Contestants", [(key, entry.about) for key, entry in contestants.items()]),
                           ("Workloads", [(key, entry.about) for key, entry in WORKLOADS.items()])):
        print(f"{title}:")
        for key, about in entries:
            print(f"  {key:22}{about}")


def _made(contestants: list[Contestant], patience: float) -> dict[str, Made | StartMissing]:
    """Environments for all, and for the charts where matplotlib is not there."""
    if importlib.util.find_spec("matplotlib") is None:
        contestants = [*contestants, CHARTS]
    _tell("making environments")
    made = make_all(contestants, patience)
    made.setdefault("charts", Made(sys.executable, ""))
    return made


def _run(contest: Contest, contestants: Mapping[str, Contestant]) -> bool:
    """Measure, and print each workload when it is done; whether that was interrupted."""
    printed = 0
    try:
        for outcome in contest.run():
            _tell("")
            print(table(workload_entry(outcome, contestants)), end="\n\n", flush=True)
            printed += 1
    except KeyboardInterrupt:
        _tell("")
        print("Interrupted; what there is of it:")
        for outcome in contest.outcomes[printed:]:
            print(table(workload_entry(outcome, contestants)), end="\n\n", flush=True)
        return True
    return False


def _draw(made: Made | StartMissing | None, results: Path) -> bool:
    """The charts, beside ``results``; whether there are any."""
    assert made is not None
    reason = str(made)
    if isinstance(made, Made):
        try:
            done = subprocess.run([made.python, "-m", "bench.charts", results.resolve()], cwd=ROOT, text=True,
                                  capture_output=True, check=False, timeout=CHART_SECONDS)
            if done.returncode == 0:
                print(done.stdout, end="")
                return True
            reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        except subprocess.TimeoutExpired:
            reason = f"they took longer than {CHART_SECONDS} s"
    print(f"bench: there are no charts: {reason}", file=sys.stderr)
    return False


def _tell(text: str) -> None:
    """Progress, on a line that is written over; nothing where nobody watches."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
