"""Which implementation serves: the one place where that is chosen, and where both sides meet.

``JAPRONTO_BACKEND`` names one; ``auto``, the default, takes the fastest that is there.  A name that
means nothing, or an implementation that is not there, is an error: nobody who asked for speed
should find out from a graph that he did not get it.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from japronto import messages, tasks
from japronto.errors import UsageError
from japronto.interfaces import Assemble, Lane, Target
from japronto.limits import Limits
from japronto.pure import assembler, framing, parser, response
from japronto.pure import connection as connections
from japronto.pure.grammar import scan
from japronto.pure.request import Request


class Backend(NamedTuple):
    """An implementation of the seams."""

    name: str
    simd: str
    """The instruction set that the parser uses; ``none`` for Python."""
    parser: connections.ParserFactory
    assemble: Assemble
    request: type[Request]
    response: type[response.Response]
    lane: Callable[..., Lane] | None
    """Makes the fast lane of a worker, of its application, its runner and its date; if there is one."""


PURE: Final = Backend("pure", "none", parser.Parser, assembler.assemble, Request, response.Response, None)

VARIABLE: Final = "JAPRONTO_BACKEND"
NAMES: Final = ("auto", "accel", "pure")


def active() -> Backend:
    """The implementation that the environment asks for; raises UsageError if it is not there."""
    name = os.environ.get(VARIABLE) or "auto"
    if name not in NAMES:
        raise UsageError(f"{VARIABLE} must be {' or '.join(NAMES)}; it is {name!r}")
    if name == "pure":
        return PURE
    why_not = _why_not_accel()
    if why_not is None:
        return _accel()
    if name == "accel":
        raise UsageError(f"{VARIABLE} is accel, but {why_not}; set it to auto or pure")
    return PURE


@functools.cache
def _why_not_accel() -> str | None:
    """What keeps the fast parts from being used, unless nothing does."""
    try:
        from japronto.accel import _lane, scanner  # noqa: F401, PLC0415 - where they were built
    except ImportError as error:
        return f"the fast parts cannot be loaded ({error})"
    if scanner.levels() == ["scalar"]:
        return "this processor has none of the instruction sets that they are made for"
    return None


def _accel() -> Backend:
    from japronto.accel import scanner  # noqa: PLC0415

    fast = _fast()
    level = scanner.active()
    return Backend("accel", level, fast.parser, fast.assemble, fast.request, fast.response,
                   functools.partial(fast.lane, level=scanner.LEVELS[level]))


class _Fast(NamedTuple):
    parser: connections.ParserFactory
    assemble: Assemble
    request: type[Request]
    response: type[response.Response]
    lane: Callable[..., Lane]


@functools.cache
def _fast() -> _Fast:
    """The fast parts, set up with what they need of the reference."""
    from japronto.accel import lane, scanner  # noqa: PLC0415

    fast = lane.set_up(_parts())
    fast_scan = scanner.make_scan(scan)

    def make_parser(limits: Limits, content_max: Any) -> parser.Parser:
        return parser.Parser(limits, content_max, fast_scan)

    return _Fast(make_parser, fast.assemble, fast.request, fast.response, fast.lane)


def _parts() -> dict[str, Any]:
    """What csrc/lane.h needs of the reference."""
    types: dict[str, Any] = {
        "head": messages.RequestHead, "target": Target, "request": Request,
        "response": response.Response, "headers": response.ResponseHeaders,
        "connection": connections.Connection, "parser": parser.Parser, "driver": tasks.Driver}
    return {
        **{f"{name}_type": made for name, made in types.items()},
        "persistent_framing": messages.PERSISTENT,
        "frame": framing.frame,
        "assemble": assembler.assemble,
        "plain_answer": assembler.plain_answer,
        "status_lines": assembler.status_lines(),
        "text_type": response.TEXT,
        "octets_type": response.OCTETS,
        "json_type": response.JSON,
        "running": connections.Stage.RUNNING,
        "done": connections.Stage.DONE,
        "open": connections.Phase.OPEN,
        "head_mode": parser.HEAD,
        "enter_task": tasks.enter_task,
        "leave_task": tasks.leave_task,
        "cancelled_error": tasks.CancelledError,
    }
