"""How many instructions a request takes: a figure that does not jitter, and so can be guarded.

    python bench/instructions.py                count, and compare with what is recorded
    python bench/instructions.py --record       write down what is counted, for this Python and this machine
    python bench/instructions.py --functions "accel: hello, 24 at once"    where they go

It needs valgrind with its headers, and a C compiler.  One process runs all workloads under callgrind, each on
a server without sockets (``standin.py``), for N calls and for 2 N; the difference, divided, is the count.  So
neither start-up, nor the kernel, nor what else the machine does has a part in it.

Counts depend on the processor, on the compilers of the fast parts and of Python, and on the libc.  So each
record says what it was taken with, and is compared only with its like.  What is spent in the fast parts
themselves hardly depends on how Python was built, and is compared wherever the same compiler has made them.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, deque
from collections.abc import Callable
from itertools import repeat
from pathlib import Path
from typing import Any, Final, NamedTuple

HERE: Final = Path(__file__).parent
RECORDED: Final = HERE / "instructions.json"
TOLERANCE: Final = 0.03
"""See docs/performance.md, "Guarded by instruction counts"."""
TAKES: Final = 5
"""How often each is counted; the least counts.  The second may have changed, and a Date is made anew.  Where
the last place of a pool of memory is given and taken in turn, that is dearer; so each take holds more."""
WARM: Final = 64
"""Calls ahead of counting: CPython adapts its instructions to what it sees."""
NO_REP_MOVSB: Final = "glibc.cpu.x86_rep_movsb_threshold=1073741824"
"""What copies long strings on some processors, and is counted octet by octet."""
SECONDS_MAX: Final = 300
ALL: Final = "all"
OWN: Final = "in the fast parts"
OWN_CONDITIONS: Final = ("processor", "fast parts", "python")
NEEDS: Final = "this needs valgrind with its headers, and a C compiler (Debian: valgrind gcc libc6-dev)"


class Workload(NamedTuple):
    """What is counted: what one call receives, and for how many requests it counts."""

    backend: str
    name: str
    octets: bytes
    requests: int
    calls: int

    def __str__(self) -> str:
        return f"{self.backend}: {self.name}"


class CannotCount(Exception):
    """What counting needs is not there, or has failed."""


# -- In the process that is counted ----------------------------------------------------------

def workloads() -> list[Workload]:
    from bench.octets import BROWSER, SMALL, get, post

    pipelined = {
        "hello": SMALL, "a browser's head": BROWSER, "a placeholder": get(b"/users/somebody"),
        "an async handler that does not wait": get(b"/async"), "JSON": get(b"/json"),
        "a POST of 1 KB": post(b"/echo", b"a" * 1024)}
    return [
        *(Workload("accel", f"{name}, 24 at once", octets * 24, 24, 10)
          for name, octets in pipelined.items()),
        Workload("accel", "hello, one by one", SMALL, 1, 100),
        Workload("accel", "a browser's head, one by one", BROWSER, 1, 100),
        Workload("accel", "an async handler that yields once, one by one", get(b"/later"), 1, 20),
        *(Workload("accel", f"the scanner alone, {name}", octets * 24, 24, 10)
          for name, octets in (("heads of 40 octets", SMALL), ("heads of 751 octets", BROWSER))),
        Workload("pure", "hello, 24 at once", SMALL * 24, 24, 2),
        Workload("pure", "hello, one by one", SMALL, 1, 10),
    ]


def count_here(library: str) -> None:
    """Run all workloads, and have callgrind write down what each takes; ``library`` is made of marks.c."""
    marks = ctypes.CDLL(library)
    from bench.standin import Server, application, chosen

    gc.disable()
    for backend in ("accel", "pure"):
        with chosen(backend) as active, Server(application()) as server:
            calls = [(workload, _call(workload, active, server)) for workload in workloads()
                     if workload.backend == backend]
            for workload, call in calls:
                _run(call, workload.octets, WARM)
            held = []
            marks.mark_start()
            for workload, call in calls:
                for times in (workload.calls, 2 * workload.calls):
                    for _ in range(TAKES):
                        held += [bytes(size) for size in range(0, 512, 16)]
                        marks.mark_zero()
                        _run(call, workload.octets, times)
                        marks.mark_dump(f"{workload} x {times}".encode())
            marks.mark_stop()


def _call(workload: Workload, active: Any, server: Any) -> Callable[[bytes], object]:
    """What is called; it has been seen to do its work."""
    if "scanner" in workload.name:
        return _scanner(workload, active)
    answers = server.answers(workload.octets)
    if answers.count(b"HTTP/1.1 200 OK\r\n") != workload.requests:
        raise AssertionError(f"{workload} is answered by {answers!r}")
    received: Callable[[bytes], object] = server.serve if "yields" in workload.name else server.receive
    return received


def _scanner(workload: Workload, active: Any) -> Callable[[bytes], object]:
    """The scanner in C, called from Python once for all heads."""
    from japronto.accel import scanner
    from japronto.accel._scan import ffi, lib

    heads, bounds = ffi.new("jp_head[]", workload.requests), ffi.new("jp_bounds *", (1 << 16, 100))
    level = scanner.LEVELS[active.simd]

    def scan(octets: bytes) -> int:
        found: int = lib.jp_scan(level, octets, len(octets), 0, bounds, heads, workload.requests)
        return found

    if scan(workload.octets) != workload.requests:
        raise AssertionError(f"{workload}: not all heads are found")
    return scan


def _run(call: Callable[[bytes], object], octets: bytes, times: int) -> None:
    """Call so often, by a loop that is none of Python."""
    deque(map(call, repeat(octets, times)), maxlen=0)


# -- In the process that counts --------------------------------------------------------------

Functions = Counter[tuple[str, str]]
"""Instructions by object file and function."""


class Spent(NamedTuple):
    """Where instructions went."""

    itself: Functions
    """Without those of what a function calls."""
    whole: Functions
    """With those."""

    def less(self, other: Spent, requests: int) -> Spent:
        """What is more here than there, for one of so many requests."""
        return Spent(*(Counter({function: (number - there[function]) / requests
                                for function, number in here.items() if number != there[function]})
                       for here, there in zip(self, other, strict=True)))


def count() -> dict[str, Spent]:
    """The instructions of one request of each workload; raises CannotCount."""
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        _run_under_callgrind(_build_marks(scratch), scratch / "out")
        dumps: dict[str, list[Spent]] = {}
        for path in scratch.glob("out*"):
            read = _read(path)
            if read is not None:
                dumps.setdefault(read[0], []).append(read[1])
    least = {name: min(takes, key=lambda spent: spent.itself.total()) for name, takes in dumps.items()}
    counted = {}
    for workload in workloads():
        once, twice = (least[f"{workload} x {times}"] for times in (workload.calls, 2 * workload.calls))
        counted[str(workload)] = twice.less(once, workload.requests * workload.calls)
    return counted


def _build_marks(scratch: Path) -> Path:
    compiler, library = shutil.which("cc"), scratch / "marks.so"
    if compiler is None or shutil.which("valgrind") is None:
        raise CannotCount(NEEDS)
    done = subprocess.run([compiler, "-shared", "-fPIC", "-O2", HERE / "marks.c", "-o", library],
                          capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotCount(f"{NEEDS}; {done.stderr.strip().splitlines()[0]}")
    return library


def _run_under_callgrind(marks: Path, out: Path) -> None:
    program = (f"import sys; sys.path.insert(0, {str(HERE.parent)!r})\n"
               f"from bench.instructions import count_here; count_here({str(marks)!r})")
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith(("JAPRONTO", "PYTHON", "COV", "GLIBC", "LD_", "MALLOC"))}
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--dump-line=no",
         f"--callgrind-out-file={out}", sys.executable, "-P", "-c", program],
        env=environment | {"PYTHONHASHSEED": "0", "JAPRONTO_JSON": "stdlib", "LC_ALL": "C",
                           "GLIBC_TUNABLES": NO_REP_MOVSB},
        capture_output=True, text=True, check=False, timeout=SECONDS_MAX)
    if done.returncode:
        raise CannotCount(f"counting has failed: {done.stderr}")


_TRIGGER = re.compile("desc: Trigger: Client Request: (.+)").fullmatch
_NAMED = re.compile(r"(ob|fn|cob|cfn)=\((\d+)\)(?: (.+))?").fullmatch


def _read(path: Path) -> tuple[str, Spent] | None:
    """The name of a dump and what it says; None if it has no name.

    The format is that of https://valgrind.org/docs/manual/cl-format.html: what is named once is a number from
    then on, and the line behind ``calls=`` is what the called function took.
    """
    name, spent = None, Spent(Functions(), Functions())
    names: dict[tuple[str, str], str] = {}
    place = {"ob": "", "fn": ""}
    lines = iter(path.read_text().splitlines())
    for line in lines:
        if match := _TRIGGER(line):
            name = match[1]
        elif match := _NAMED(line):
            what, number, said = match.groups()
            kind = what[-2:]
            if said is not None:
                names[kind, number] = said
            if what == kind:
                place[kind] = names[kind, number]
        elif line.startswith("calls="):
            spent.whole[place["ob"], place["fn"]] += int(next(lines).split()[1])
        elif line[:1] in "0123456789+-*" and line:
            for functions in spent:
                functions[place["ob"], place["fn"]] += int(line.split()[1])
    return None if name is None else (name, spent)


# -- What is recorded ------------------------------------------------------------------------

Counts = dict[str, dict[str, float]]
"""The instructions of a request, by workload: all of them, and those of them in the fast parts."""


def counts_of(counted: dict[str, Spent]) -> Counts:
    """How many there are, whatever the functions; without those of cffi, whose versions come and go."""
    counts: Counts = {}
    for name, (itself, _) in counted.items():
        own = sum(number for (file, _), number in itself.items() if "/japronto/accel/" in file)
        others = sum(number for (file, _), number in itself.items() if "_cffi_backend" in file)
        counts[name] = {ALL: round(itself.total() - others, 1), OWN: round(own, 1)}
    return counts


def conditions() -> dict[str, str]:
    """What counts depend on: those of the fast parts on ``OWN_CONDITIONS``, those of all on everything."""
    from japronto.accel import _lane, scanner

    comment = re.search(rb"GCC: \([^)]*\) [\d.]+|(?:\w+ )?clang version [\d.]+",
                        Path(_lane.__file__).read_bytes())
    return {"processor": f"{platform.machine()} with {scanner.levels()[-1]}",
            "fast parts": f"by {comment[0].decode() if comment else 'an unknown compiler'}",
            "python": ".".join(platform.python_version_tuple()[:2]),
            "exactly": f"{platform.python_version()} by {platform.python_compiler()}",
            "libc": " ".join(platform.libc_ver())}


def recorded() -> list[dict[str, Any]]:
    """All records: the conditions, and the counts."""
    records: list[dict[str, Any]] = json.loads(RECORDED.read_text()) if RECORDED.exists() else []
    return records


class Comparable(NamedTuple):
    """What was recorded under conditions like those here, and which of its counts can be compared."""

    counts: Counts
    kinds: tuple[str, ...]


def comparable(here: dict[str, str]) -> Comparable | None:
    """The record to compare with; None if there is none."""
    for names, kinds in ((list(here), (ALL, OWN)), (OWN_CONDITIONS, (OWN,))):
        for record in recorded():
            if all(record["conditions"][name] == here[name] for name in names):
                return Comparable(record["instructions per request"], kinds)
    return None


def record(counts: Counts) -> None:
    """Write down what was counted here, in place of what was written down before."""
    here = conditions()
    records = [record for record in recorded() if record["conditions"] != here]
    records.append({"conditions": here, "instructions per request": counts})
    RECORDED.write_text(json.dumps(records, indent=2) + "\n")


def differences(counts: Counts, before: Comparable) -> list[str]:
    """What has become different by more than the tolerance, in words."""
    said = [f"{name}: is {'new' if name in counts else 'not counted any more'}"
            for name in sorted(counts.keys() ^ before.counts.keys())]
    for name in sorted(counts.keys() & before.counts.keys()):
        for kind in before.kinds:
            now, then = counts[name][kind], before.counts[name][kind]
            change = (now - then) / then if then else 0.0
            if abs(change) > TOLERANCE:
                said.append(f"{name}: {now:,.0f} instructions for a request ({kind}), {abs(change):.1%} "
                            f"{'more' if change > 0 else 'fewer'} than the {then:,.0f} that are recorded")
    return said


NOTHING: Final = "Nothing is recorded for this processor, these compilers and this Python."
AGAIN: Final = ("If that is meant, write it down with `python bench/instructions.py --record`, and say in "
                "the commit what it buys.")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--record", action="store_true", help="write down what is counted")
    parser.add_argument("--functions", metavar="WORKLOAD", help="print where one workload spends them")
    options = parser.parse_args()
    names = [str(workload) for workload in workloads()]
    if options.functions and options.functions not in names:
        parser.error(f"there is no workload {options.functions!r}; there are {', '.join(map(repr, names))}")
    try:
        counted = count()
    except CannotCount as error:
        sys.exit(f"instructions.py: {error}")
    if options.functions:
        itself, whole = counted[options.functions]
        print(f"{'itself':>10}{'with calls':>12}")
        for (file, function), instructions in whole.most_common():
            print(f"{itself[file, function]:10,.1f}{instructions:12,.1f}  {Path(file).name}  {function}")
        return
    counts = counts_of(counted)
    if options.record:
        record(counts)
    print(f"{ALL:>10}{OWN:>20}")
    for name, kinds in counts.items():
        print(f"{kinds[ALL]:10,.1f}{kinds[OWN]:20,.1f}  {name}")
    before = comparable(conditions())
    said = [NOTHING] if before is None else differences(counts, before)
    print(*(said or ["As recorded."]), sep="\n")


if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))
    main()
