"""What all benchmarks of parts share: the backends, how much comes at once, and how a table is laid out.

    python -m pytest bench --benchmark-only
    python -m pytest bench/test_parser.py --benchmark-only --benchmark-columns=median,iqr,rounds

There is one table for each job and depth, with a row for each backend and each peer.  *Calls* are timed: at
depth 24, one takes 24 requests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.octets import DEPTHS
from bench.standin import chosen
from japronto.backend import Backend

SECONDS = 0.2
"""How long each row is measured; all of them take some minutes."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.benchmark(max_time=SECONDS, min_rounds=20))


@pytest.fixture(params=["pure", "httptools", "accel"])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """Each backend in turn, active while its rows are measured."""
    with chosen(request.param) as backend:
        yield backend


@pytest.fixture(params=DEPTHS, ids=lambda depth: f"{depth}-at-once")
def depth(request: pytest.FixtureRequest) -> int:
    """How many requests come at once."""
    made: int = request.param
    return made


Measure = Callable[..., Any]


@pytest.fixture
def measure(benchmark: BenchmarkFixture) -> Measure:
    """``measure(table, row, function, *arguments)`` times calls, and returns what the last one returned."""

    def measure(table: str, row: str, function: Callable[..., Any], *arguments: Any) -> Any:
        benchmark.group, benchmark.name = table, row
        return benchmark(function, *arguments)

    return measure
