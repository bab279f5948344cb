"""No request takes more instructions than are recorded; see bench/instructions.py."""

from __future__ import annotations

import shutil

import pytest

from bench.instructions import (
    AGAIN,
    ALL,
    NOTHING,
    OWN,
    TOLERANCE,
    Comparable,
    comparable,
    conditions,
    count,
    counts_of,
    differences,
    recorded,
)


@pytest.mark.slow
def test_a_request_takes_as_many_instructions_as_recorded() -> None:
    if shutil.which("valgrind") is None:
        pytest.skip("valgrind is not installed, and counts the instructions")
    before = comparable(conditions())
    if before is None:
        pytest.skip(f"{NOTHING} It is {conditions()}.")
    said = differences(counts_of(count()), before)
    assert not said, "\n".join([*said, AGAIN])


def test_what_differs_is_told_in_words() -> None:
    before = Comparable({"a": {ALL: 1000.0, OWN: 100.0}, "b": {ALL: 10.0, OWN: 0.0}}, (ALL, OWN))
    assert differences(before.counts, before) == []
    within = {"a": {ALL: 1000 * (1 + TOLERANCE), OWN: 98.0}, "b": {ALL: 10.0, OWN: 0.0}}
    assert differences(within, before) == []
    assert differences({"a": {ALL: 1040.0, OWN: 90.0}, "c": {ALL: 1.0, OWN: 1.0}}, before) == [
        "b: is not counted any more", "c: is new",
        "a: 1,040 instructions for a request (all), 4.0% more than the 1,000 that are recorded",
        "a: 90 instructions for a request (in the fast parts), 10.0% fewer than the 100 that are recorded"]


def test_elsewhere_only_the_fast_parts_are_compared() -> None:
    first = recorded()[0]
    here = first["conditions"]
    counts = first["instructions per request"]
    assert comparable(here) == (counts, (ALL, OWN))
    assert comparable(here | {"exactly": "another build"}) == (counts, (OWN,))
    assert comparable(here | {"processor": "another"}) is None
