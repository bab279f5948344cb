"""The seams, as types: what a backend must offer to be swapped in for the reference.

``scan`` -> ``Parser`` -> connection -> ``assemble``.  The connection itself is concrete
(``pure/connection.py``) and never swapped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from japronto.limits import Limits
from japronto.messages import Event, Expects, RequestHead, Violation

ContentMax: TypeAlias = Callable[[RequestHead], int]
"""Called once for each head that announces content: the most octets of it to take."""


class Resume(NamedTuple):
    """How far an incomplete head has been validated, so that nothing is looked at twice."""

    line: int
    """Octets from the start of the head to the start of the first incomplete line."""
    seen: int
    """Octets from the start of the head that hold no further LF."""
    lines: int
    """Complete lines so far, the request line included."""


class Scanned(NamedTuple):
    """What one call of ``scan`` found."""

    heads: list[RequestHead]
    stop: int
    """Where the first octet stands that belongs to no head in ``heads``."""
    violation: Violation | None
    """What is wrong with the head at ``stop``."""
    resume: Resume | None
    """For the next call, when the head at ``stop`` is incomplete; ``None`` when nothing of one
    is there yet, or the scan ended for another reason."""


class Scan(Protocol):
    """Find the heads of consecutive requests.

    Stops after ``heads_max`` heads, at the first incomplete or malformed one, and *after* a head
    with content or with an Upgrade: what follows that one is for the parser to decide.
    """

    def __call__(self, buffer: bytes, start: int, heads_max: int, limits: Limits,
                 resume: Resume | None = None) -> Scanned: ...


class Parser(Protocol):
    """Octets in, events out.  No call raises, whatever the octets."""

    def feed(self, data: bytes, heads_max: int = ...) -> list[Event]:
        """Take ``data`` (may be empty) and return what it completes.

        At most ``heads_max`` heads; what lies behind them is kept, and ``more`` is true.
        """

    def feed_eof(self) -> list[Event]:
        """The peer will send nothing more.  An incomplete content is a Violation."""

    def resume(self) -> None:
        """After a head with ``framing.upgrade``: the connection stays HTTP; parse on."""

    def detach(self) -> bytes:
        """After a head with ``framing.upgrade``: the connection is another protocol's now.

        Returns the octets that were received and belong to it."""

    def stop(self) -> None:
        """Take no further request: what comes is counted as nothing."""

    @property
    def more(self) -> bool:
        """Whether a call of ``feed(b"")`` may give further events."""

    @property
    def expects(self) -> Expects:
        """What the next octet would belong to; decides which time limit runs."""


class Exchange(Protocol):
    """What an assembler must know of a request to answer it."""

    response: ResponseLike | None
    is_head: bool
    minor: int
    persistent: bool


class ResponseLike(Protocol):
    """What an assembler must know of a response; see ``pure/response.py``."""

    code: int


class Assemble(Protocol):
    """Turn answers into the octets that leave, one buffer or a few for one gathering write."""

    def __call__(self, exchanges: Sequence[Exchange], date: bytes) -> list[bytes]: ...
