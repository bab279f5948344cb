"""The contestants take turns: for each workload several rounds, in each round everyone once.

Whoever fails is out for that workload, and whoever does not start is out altogether; either with the reason.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from bench import Missing, StartMissing
from bench.contestants import Contestant
from bench.environments import Made
from bench.measuring import Effort, Measured, measure
from bench.workloads import Workload


class Outcome(NamedTuple):
    """Of one workload; both by the keys of contestants."""

    workload: Workload
    measured: dict[str, list[Measured]]
    missing: dict[str, str]


class Contest:
    """What is to be measured, and what has been.

    ``made`` holds for each contestant how to run it, or why it is not there.
    """

    def __init__(self, contestants: Sequence[Contestant], made: Mapping[str, Made | StartMissing],
                 workloads: Sequence[Workload], effort: Effort, core: int, *,
                 tell: Callable[[str], None], deadline: float | None = None) -> None:
        self.outcomes: list[Outcome] = []
        self._contestants = contestants
        self._made = dict(made)
        self._workloads = workloads
        self._effort = effort
        self._core = core
        self._tell = tell
        self._deadline = deadline
        self._begun = time.monotonic()
        self._turns = 0

    def run(self) -> Iterator[Outcome]:
        """Measure; each workload as soon as it is done.  What an interrupt leaves is in ``outcomes``."""
        for position, workload in enumerate(self._workloads):
            outcome = Outcome(workload, {}, {})
            self.outcomes.append(outcome)
            self._all_rounds(outcome, self._share(len(self._workloads) - position))
            yield outcome

    def _share(self, left: int) -> float | None:
        """Until when a workload may begin a round, if time is bounded and so many workloads are left."""
        if self._deadline is None:
            return None
        now = time.monotonic()
        return now + (self._deadline - now) / left

    def _all_rounds(self, outcome: Outcome, deadline: float | None) -> None:
        for number in range(self._effort.rounds):
            begun = time.monotonic()
            # Whoever is first in one round is later in another: none always follows the same one.
            shift = number % len(self._contestants)
            for contestant in (*self._contestants[shift:], *self._contestants[:shift]):
                if contestant.key not in outcome.missing:
                    self._tell(f"{self._progress()}{outcome.workload.key}, round {number + 1} of "
                               f"{self._effort.rounds}: {contestant.name}")
                    self._turn(contestant, outcome)
                self._turns += 1
            now = time.monotonic()
            if deadline is not None and now + (now - begun) > deadline:
                return

    def _progress(self) -> str:
        """How far it is, and how long that leaves if the rest takes as long."""
        turns = len(self._contestants) * len(self._workloads) * self._effort.rounds
        if self._turns == 0:
            return f"0 of {turns}: "
        left = (time.monotonic() - self._begun) / self._turns * (turns - self._turns)
        return f"{self._turns} of {turns}, {left / 60:.0f} min left: "

    def _turn(self, contestant: Contestant, outcome: Outcome) -> None:
        made = self._made[contestant.key]
        try:
            if isinstance(made, StartMissing):
                raise made
            measured = measure(contestant, made.python, outcome.workload, self._effort, self._core)
            outcome.measured.setdefault(contestant.key, []).append(measured)
        except Missing as error:
            outcome.missing[contestant.key] = str(error)
            outcome.measured.pop(contestant.key, None)
            if isinstance(error, StartMissing):
                self._made[contestant.key] = error
