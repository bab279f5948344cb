"""How fast heads are found: the reference, llhttp, and the scanner in C at each level.

What is measured is what Python sees, objects of heads included; heads.c measures the C alone.
"""

from __future__ import annotations

import pytest

from bench.conftest import Measure
from bench.octets import HEADS
from bench.peers import heads_by_gunicorn_h1c
from japronto.accel import llhttp, scanner
from japronto.interfaces import Scan
from japronto.limits import Limits
from japronto.pure import grammar

SCANNERS = ["pure", "httptools", *scanner.levels()]


def scan_by(name: str) -> Scan:
    if name == "pure":
        return grammar.scan
    return llhttp.make_scan(grammar.scan) if name == "httptools" else scanner.make_scan(grammar.scan, name)


def table(head: str, depth: int) -> str:
    return f"scanner: heads of {head}, {depth} at once"


@pytest.mark.parametrize("name", SCANNERS)
@pytest.mark.parametrize("head", HEADS)
def test_scan(head: str, depth: int, name: str, measure: Measure) -> None:
    octets, scan, limits = HEADS[head] * depth, scan_by(name), Limits()
    row = name if name in ("pure", "httptools") else f"accel with {name}"
    scanned = measure(table(head, depth), row, scan, octets, 0, 1 << 30, limits)
    assert (len(scanned.heads), scanned.stop) == (depth, len(octets))


@pytest.mark.parametrize("head", HEADS)
def test_peer(head: str, depth: int, measure: Measure) -> None:
    targets = measure(table(head, depth), "gunicorn-h1c", heads_by_gunicorn_h1c(), HEADS[head] * depth)
    assert targets == [HEADS[head].split(b" ")[1]] * depth
