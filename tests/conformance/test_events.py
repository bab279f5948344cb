"""Each case as a parser sees it: the same events, however its octets are cut."""

from __future__ import annotations

import re

import pytest

from japronto.backend import Backend

from .cases import Case, all_cases, cut, ways_to_cut
from .parsing import agreed, run

CASES = [case for case in all_cases() if case.events]
SENTENCE = re.compile(r"[A-Z][ -~]*[a-z0-9][ -~]*\.")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_events(case: Case, backend: Backend) -> None:
    """What is reported of the whole, and that it is the same of every cut."""
    whole = run(case, backend, [case.sent])
    assert agreed(whole.events, case.events) == case.events
    assert run(case, backend, [case.sent], heads_max=1) == whole
    for places in ways_to_cut(len(case.sent)):
        assert run(case, backend, cut(case.sent, places)) == whole, f"cut at {places}"


@pytest.mark.parametrize("case", [case for case in CASES if case.mark is not None], ids=lambda case: case.id)
def test_violation_is_reported_in_time(case: Case, backend: Backend) -> None:
    """The octets up to the mark show the fault, and it is reported with the last of them at the latest.

    The reason is a sentence that somebody can read in the answer.
    """
    assert case.mark is not None
    begun = case.sent[:case.mark]
    for places in (range(0), range(1, case.mark)):
        told = run(case, backend, cut(begun, places))
        assert agreed(told.events, case.events) == case.events
        assert SENTENCE.fullmatch(told.reason)
