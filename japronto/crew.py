"""Which worker starts, which one leaves, and when: the decisions of a master, without processes or clock.

Each worker has a slot, from 0 on; there are as many slots as workers are wanted.  A worker that is to be
replaced, since the code has changed or since it has asked for it, serves until another one is ready in
its slot; the first with a new program must have served for a moment, too.  So nothing that works ends before
its successor works, and a new program that cannot start costs nothing.

While workers cannot start, the next one waits for twice as long as the one before.  One that has served
and ends by itself is replaced at once.

Who asks for a new program again and again does not get more and more processes: what still starts with an
older one is stopped where somebody serves, and a renewal waits while there are too many that leave.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Final

BACKOFF_SECONDS: Final = 0.5
BACKOFF_SECONDS_MAX: Final = 30.0
"""A mended program or a database that is back is found after this long at most."""
TRIAL_SECONDS: Final = 0.25
"""Who has served for so long with a new program proves it: the others may make way."""
INFANCY_SECONDS: Final = 1.0
"""Who ends within this time of getting ready has not really started."""
HEALTHY_SECONDS: Final = 10.0
"""Who has served for so long proves that workers can start."""
MORE: Final = 2
"""So many more than twice those that are wanted may be there, when some leave while others start."""


class State(enum.Enum):
    """Of a worker."""

    STARTING = "starting"
    READY = "ready"
    LEAVING = "leaving"


@dataclass(slots=True, eq=False)
class Member:
    """A worker, as its master sees it; all times are those of one clock, in seconds.

    ``started``   when its process was made
    ``ready``     when it said that it serves
    ``heard``     when it last said anything
    ``outdated``  why it is to be replaced, empty while it is not
    ``deadline``  when it must have ended; None while it may stay
    """

    pid: int
    slot: int
    started: float
    state: State = State.STARTING
    ready: float = 0.0
    heard: float = 0.0
    outdated: str = ""
    deadline: float | None = None


@dataclass(slots=True, eq=False)
class Crew:
    """All workers of a master.

    ``wanted``   how many there are to be; at least 1
    ``halted``   whether none is to be started: the master stops, or waits for a change of the program
    ``proven``   whether one has served for a moment since the program was to be loaded anew
    """

    wanted: int
    members: dict[int, Member] = field(default_factory=dict)
    halted: bool = False
    proven: bool = False
    failures: int = 0
    failed: float = float("-inf")
    not_before: float = float("-inf")

    # -- what has happened ---------------------------------------------------------------------

    def joined(self, pid: int, slot: int, now: float) -> Member:
        """A process was made for a slot."""
        member = self.members[pid] = Member(pid, slot, now, heard=now)
        return member

    def got_ready(self, member: Member, now: float) -> None:
        """A worker serves."""
        if member.state is State.STARTING:
            member.state, member.ready = State.READY, now

    def left(self, member: Member, now: float) -> bool:
        """A process has ended; returns whether that counts as one that could not start."""
        del self.members[member.pid]
        if any(other.state is State.READY and other.ready > self.failed
               and now - other.ready >= HEALTHY_SECONDS for other in (member, *self.members.values())):
            self.failures = 0
        infant = member.state is State.READY and now - member.ready < INFANCY_SECONDS
        # An older program says nothing of the one that is there now.
        if not infant and (member.state is not State.STARTING or member.outdated):
            return False
        if member.started >= self.failed:  # Those that fail side by side count once.
            self.failed_to_start(now)
        return True

    def failed_to_start(self, now: float) -> None:
        """The next try has to wait, for the longer the more have failed in a row."""
        self.failures += 1
        self.failed = now
        self.not_before = now + backoff(self.failures)

    def renew(self, why: str) -> None:
        """All workers there are become outdated."""
        self.proven = False
        self.halted = False
        self.failures = 0
        self.not_before = float("-inf")
        for member in self.members.values():
            if member.state is not State.LEAVING:
                member.outdated = member.outdated or why

    def give_renewal_up(self, why: str) -> None:
        """Those that were outdated for this reason are kept after all."""
        for member in self.members.values():
            if member.outdated == why:
                member.outdated = ""

    def promising(self) -> bool:
        """Whether the program that was to be loaded anew serves somewhere, or may still do so."""
        return self.proven or any(not member.outdated for member in self.of(State.STARTING, State.READY))

    def _prove(self, now: float) -> None:
        self.proven = self.proven or any(now >= moment for moment in self.trials())

    # -- what is to be done --------------------------------------------------------------------

    def to_start(self, now: float) -> list[int]:
        """The slots in which a worker is to be started now, those that nobody serves first.

        Of those whose worker serves until it is replaced, one is done at a time while it is not proven
        that workers can start, and a quarter of all from then on.
        """
        self._prove(now)
        if self.halted or now < self.not_before:
            return []
        there: dict[int, list[Member]] = {slot: [] for slot in range(self.wanted)}
        for member in self.members.values():
            if member.state is not State.LEAVING and member.slot < self.wanted:
                there[member.slot].append(member)
        empty, outdated, replacing = [], [], 0
        for slot, members in there.items():
            if not members:
                empty.append(slot)
            elif all(member.outdated for member in members):
                outdated.append(slot)
            else:
                replacing += any(member.outdated for member in members)
        at_once = max(1, self.wanted // 4) if self.proven else 1
        return empty + outdated[:max(0, min(at_once - replacing, self.room() - len(empty)))]

    def trials(self) -> list[float]:
        """When those that serve will have proven something, while nobody has."""
        return [] if self.proven else [member.ready + TRIAL_SECONDS for member in self.of(State.READY)
                                       if not member.outdated]

    def room(self) -> int:
        """How many may be started beside those that they are to replace."""
        return 2 * self.wanted + MORE - len(self.members)

    def to_retire(self, now: float) -> list[Member]:
        """Those that are not needed any more."""
        self._prove(now)
        ready = self.of(State.READY)  # in the order they came
        newest = {member.slot: member for member in ready}
        before = {} if self.proven else {member.slot: member for member in ready if member.outdated}

        def needed(member: Member) -> bool:
            if member.slot >= self.wanted:
                return False
            if member.state is State.STARTING:
                return not member.outdated or member.slot not in newest
            # While the newest is on trial, the one before stays, too.
            return member in (newest[member.slot], before.get(member.slot))

        return [member for member in (*ready, *self.of(State.STARTING)) if not needed(member)]

    def of(self, *states: State) -> list[Member]:
        """The workers in these states."""
        return [member for member in self.members.values() if member.state in states]

    def renewed(self) -> bool:
        """Whether all slots are served, by workers that nothing is wrong with."""
        return self.proven and not self.of(State.STARTING) and self.wanted <= len(
            {member.slot for member in self.of(State.READY) if not member.outdated})


def backoff(failures: int) -> float:
    """How many seconds to wait after so many failures in a row: nothing after the first one."""
    if failures < 2:
        return 0.0
    return min(BACKOFF_SECONDS * 2.0 ** min(failures - 2, 16), BACKOFF_SECONDS_MAX)
