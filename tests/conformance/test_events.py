"""Each case as a parser sees it: the same events, however its octets are cut."""

from __future__ import annotations

import re

import pytest
from conftest import Backend

from .cases import Case, all_cases
from .parsing import agreed, cuts, run

CASES = [case for case in all_cases() if case.events or case.expects]
SENTENCE = re.compile(r"[A-Z][ -~]*[a-z0-9][ -~]*\.")


def name(case: Case) -> str:
    return re.sub(r"[^ -~]|[\[\]:]", "_", str(case))[:100]


@pytest.mark.parametrize("case", CASES, ids=name)
def test_events(case: Case, backend: Backend) -> None:
    """What is reported of the whole, and that it is the same of every cut."""
    whole = run(case, backend.parser, [case.octets])
    assert agreed(case.events, whole.events) == list(case.events), case.where
    assert case.expects in (None, whole.expects), case.where
    assert run(case, backend.parser, [case.octets], heads_max=1) == whole, case.where
    for pieces in cuts(case):
        cut = run(case, backend.parser, pieces)
        assert (cut.events, cut.reason, cut.expects) == (whole.events, whole.reason, whole.expects), (
            f"{case.where}, cut into {pieces[:2]} ...")


@pytest.mark.parametrize("case", [case for case in CASES if case.mark is not None], ids=name)
def test_violation_is_reported_in_time(case: Case, backend: Backend) -> None:
    """The octets up to the mark show the fault, and it is reported with the last of them at the latest.

    The reason is a sentence that somebody can read in the answer.
    """
    assert case.mark is not None
    begun = case.octets[:case.mark]
    for pieces in ([begun], [begun[at:at + 1] for at in range(len(begun))]):
        seen = run(case, backend.parser, pieces)
        assert agreed(case.events, seen.events) == list(case.events), case.where
        assert SENTENCE.fullmatch(seen.reason), case.where
