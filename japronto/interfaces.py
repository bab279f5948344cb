"""The seams, as types: what a backend must offer to be swapped in for the reference.

``scan`` -> ``Parser`` -> connection -> ``assemble``.  The connection itself is concrete
(``pure/connection.py``) and never swapped.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

from japronto.limits import Limits
from japronto.messages import Event, Expects, RequestHead, Violation

if TYPE_CHECKING:
    from japronto.pure.connection import Connection
    from japronto.pure.forwarded import Proxies
    from japronto.pure.request import Request
    from japronto.pure.response import Response

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
    seen: int | None = None
    """The flags of ``Seen`` for the last head; ``None`` when that head is trivial too."""


class Scan(Protocol):
    """Find the heads of consecutive requests.

    Stops after ``heads_max`` heads, at the first incomplete or malformed one, and *after* the
    first that is not *trivial*: trivial is HTTP/1.1 with one well-formed Host, no other field of
    ``Seen``, and not CONNECT.  What follows a head that is not trivial, ``pure/framing.py`` decides.
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


class Target:
    """Whom a request is for: what the application answers when it is asked to route a head.

    ``handler``        called with the request; gives a Response or an awaitable of one
    ``match``          the values of the placeholders, or ``None`` when the pattern has none
    ``route``          the route that matched, or ``None``
    ``stream``         whether the handler starts at the head, and not when all content is there
    ``content_bytes``  the most octets of content to take
    """

    __slots__ = ("content_bytes", "handler", "match", "route", "stream")

    def __init__(self, handler: Callable[[Request], Any], match: dict[str, Any] | None,
                 route: object, stream: bool, content_bytes: int) -> None:
        self.handler = handler
        self.match = match
        self.route = route
        self.stream = stream
        self.content_bytes = content_bytes


class Service(Protocol):
    """What a connection needs of an application."""

    request_type: type[Request]

    def target(self, head: RequestHead) -> Target:
        """Route a head; called once for each.  Whatever goes wrong is the handler's to raise."""

    def failed(self, request: Request, error: BaseException) -> Response | Awaitable[Response]:
        """The answer to a request whose handling raised ``error``; raises nothing."""

    def request_id(self, request: Request) -> str:
        """What tells this request from all others; called once for each that is asked for its ``id``."""


class Waiter(Protocol):
    """A future, of whatever event loop there is."""

    def done(self) -> bool: ...

    def set_result(self, result: None) -> None: ...

    def __await__(self) -> Any: ...


class Host(Protocol):
    """What a connection needs of whoever moves its octets."""

    transport: Any
    """What ``request.transport`` shows: ``get_extra_info`` tells the addresses."""

    @property
    def proxies(self) -> Proxies | None:
        """What is believed of the fields that proxies set, if anything is."""

    def waiter(self) -> Waiter:
        """A new future, for a handler that waits for content."""

    def wake(self) -> None:
        """Something may leave, or be read again, that did not come of a call of the host's own."""

    def discard(self, stream: object) -> None:
        """A stream of content that will not be sent: close it, if it can be closed."""

    def begun(self, request: Request) -> None:
        """A head has arrived, or a fault in the place of one; called where the connection is observed."""

    def finished(self, request: Request) -> None:
        """The exchange is over: its answer has been handed over, or will never be."""


class Assemble(Protocol):
    """Turn answers into the octets that leave, one buffer or a few for one gathering write."""

    def __call__(self, answered: Sequence[Request], date: bytes) -> list[bytes]: ...


class Outcome(enum.IntEnum):
    """Where the fast lane has stopped."""

    LEFT = 0
    """Ahead of a request that is not for it, or in the middle of one: only the rest is handed over."""
    ANSWERED = 1
    """A handler has returned something that is not for the lane."""
    RAISED = 2
    """A handler has raised an exception."""
    WAITS = 3
    """The coroutine of a handler waits: (coroutine, what it waits for)."""
    RETURNED = 4
    """The coroutine of a handler has returned something that is not for the lane."""
    BROKE = 5
    """The coroutine of a handler has raised an exception."""


Handover: TypeAlias = "tuple[bytes, bytes, Request | None, Any, int]"
"""The octets to send; the rest of what was received; the request whose handler was called, if any; what
came of that; and the Outcome."""


class Lane(Protocol):
    """A shortcut in front of the general path; see docs/architecture.md and csrc/lane_serve.c."""

    def serve(self, connection: Connection, data: bytes, /) -> bytes | Handover | None:
        """Serve what is plain of ``data``, which an idle connection has received.

        Returns the octets to send when that was all of it, a Handover when it stopped earlier, and
        None when nothing was done because the connection is not idle.
        """

    def forget(self) -> None:
        """The application has changed: ask it anew before the next request."""

    def count_into(self, *cells: Any) -> None:
        """Count what is served from now on; see ``metrics.Meter.lane_cells``."""

    def elapsed(self) -> float:
        """The seconds since ``serve`` was called last, where it counts."""
