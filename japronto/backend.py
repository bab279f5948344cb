"""Which implementation serves: the one place where that is chosen, and where both sides meet.

``JAPRONTO_BACKEND`` names one; ``auto``, the default, takes the fastest that is there, and never httptools,
which is there to be compared with the reference, not for speed.  ``JAPRONTO_SIMD`` names the instruction
set of the fast one, in place of the best that the processor has.  A name that means nothing, or an
implementation that is not there, is an error: nobody who asked for speed should find out from a graph that
he did not get it.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from japronto import messages, tasks
from japronto.config import BACKEND_VARIABLE, BACKENDS, SIMD_VARIABLE
from japronto.errors import UsageError
from japronto.interfaces import Assemble, ContentMax, Lane, Target
from japronto.limits import Limits
from japronto.protocol import HTTPProtocol
from japronto.pure import assembler, framing, parser, response
from japronto.pure import connection as connections
from japronto.pure.grammar import scan
from japronto.pure.request import Request

if TYPE_CHECKING:
    from japronto.accel.lane import Fast


class Backend(NamedTuple):
    """An implementation of the seams."""

    name: str
    simd: str
    """The instruction set that the parser uses; ``none`` where there is none to choose."""
    parser: connections.ParserFactory
    assemble: Assemble
    request: type[Request]
    response: type[response.Response]
    protocol: type[HTTPProtocol]
    lane: Callable[..., Lane] | None
    """Makes the fast lane of a worker, of its application, its runner and its date; if there is one."""

    def __str__(self) -> str:
        return self.name if self.simd == "none" else f"{self.name} with {self.simd}"


PURE: Final = Backend("pure", "none", parser.Parser, assembler.assemble, Request, response.Response,
                       HTTPProtocol, None)

VARIABLE: Final = BACKEND_VARIABLE
NAMES: Final = BACKENDS
SLOW: Final = {"pure": "there is none in Python", "httptools": "httptools is none"}
"""Why there is no instruction set to choose."""


def active() -> Backend:
    """The implementation that the environment asks for; raises UsageError if it is not there."""
    name, simd = os.environ.get(VARIABLE) or "auto", os.environ.get(SIMD_VARIABLE) or "auto"
    if name not in NAMES:
        raise UsageError(f"{VARIABLE} must be {' or '.join(NAMES)}; it is {name!r}")
    if name == "pure" and simd == "auto":
        return PURE
    if name == "httptools" and simd == "auto":
        return _httptools()
    why_not = SLOW.get(name) or _why_not_accel()
    if why_not is None:
        return _accel(simd)
    if simd != "auto":
        raise UsageError(f"{SIMD_VARIABLE} chooses among fast parts, and {why_not}; leave it out")
    if name == "accel":
        raise UsageError(f"{VARIABLE} is accel, but {why_not}; set it to auto or pure")
    return PURE


def every() -> list[Backend]:
    """All implementations that there are, at all instruction sets that this processor has."""
    found = [PURE]
    with contextlib.suppress(UsageError):
        found.append(_httptools())
    if _why_not_accel() is None:
        from japronto.accel import scanner  # noqa: PLC0415

        found += map(_accel, scanner.levels())
    return found


@functools.cache
def _httptools() -> Backend:
    """The reference, with the scanner of llhttp; raises UsageError if httptools is not installed."""
    try:
        from japronto.accel import llhttp  # noqa: PLC0415 - which needs what need not be installed
    except ImportError as error:
        raise UsageError(f"{VARIABLE} is httptools, which cannot be loaded ({error}); "
                         "pip install 'japronto[httptools]'") from None

    def make_parser(limits: Limits, content_max: ContentMax | None) -> parser.Parser:
        return parser.Parser(limits, content_max, llhttp.make_scan(scan))

    return PURE._replace(name="httptools", parser=make_parser)


@functools.cache
def _why_not_accel() -> str | None:
    """What keeps the fast parts from being used, unless nothing does."""
    try:
        from japronto.accel import _lane, scanner  # noqa: F401, PLC0415 - where they were built
    except ImportError as error:
        return f"the fast parts cannot be loaded ({error})"
    return None


@functools.cache
def _accel(simd: str) -> Backend:
    from japronto.accel import scanner  # noqa: PLC0415

    levels = scanner.levels()
    if simd == "auto":
        simd = levels[-1]
    if simd not in levels:
        raise UsageError(f"{SIMD_VARIABLE} must be auto or {' or '.join(levels)}, which this processor has; "
                         f"it is {simd!r}")
    fast_scan = scanner.make_scan(scan, simd)

    def make_parser(limits: Limits, content_max: ContentMax | None) -> parser.Parser:
        return parser.Parser(limits, content_max, fast_scan)

    fast = _fast()
    return Backend("accel", simd, make_parser, fast.assemble, fast.request, fast.response, fast.protocol,
                   functools.partial(fast.lane, level=scanner.LEVELS[simd]))


@functools.cache
def _fast() -> Fast:
    """The fast parts, set up with what they need of the reference."""
    from japronto.accel import lane  # noqa: PLC0415

    return lane.set_up(_parts())


def _parts() -> dict[str, Any]:
    """What csrc/lane.h needs of the reference."""
    types: dict[str, Any] = {
        "head": messages.RequestHead, "target": Target, "request": Request,
        "response": response.Response, "headers": response.ResponseHeaders,
        "connection": connections.Connection, "parser": parser.Parser, "protocol": HTTPProtocol,
        "driver": tasks.Driver}
    return {
        **{f"{name}_type": made for name, made in types.items()},
        "persistent_framing": messages.PERSISTENT,
        "frame": framing.frame,
        "assemble": assembler.assemble,
        "plain_answer": assembler.plain_answer,
        "status_lines": assembler.status_lines(),
        "content_type": response.content_type_of,
        "text_type": response.TEXT,
        "octets_type": response.OCTETS,
        "json_type": response.JSON,
        "running": connections.Stage.RUNNING,
        "done": connections.Stage.DONE,
        "open": connections.Phase.OPEN,
        "head_mode": parser.HEAD,
        "enter_task": tasks.enter_task,
        "leave_task": tasks.leave_task,
    }
