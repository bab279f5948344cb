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
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from japronto import messages, tasks
from japronto.config import BACKEND_VARIABLE, BACKENDS, SIMD_LEVELS, SIMD_VARIABLE
from japronto.errors import UsageError, either
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
COMPILED: Final = ("japronto.accel._lane", "japronto.accel._scan")
SLOW: Final = ("pure", "httptools")
"""Those without instruction sets to choose from."""


class Lack(NamedTuple):
    """What keeps the fast parts from being used."""

    fault: str
    remedy: str
    absent: bool
    """They were not built, and then ``auto`` does without."""


def active(said: Mapping[str, str] = MappingProxyType({})) -> Backend:
    """The implementation that the environment asks for; raises UsageError if it is not there.

    ``said`` maps the variables that are set on behalf of something else to that, for the error to name.
    """
    name, simd = os.environ.get(VARIABLE) or "auto", os.environ.get(SIMD_VARIABLE) or "auto"
    name_said, simd_said = said.get(VARIABLE, VARIABLE), said.get(SIMD_VARIABLE, SIMD_VARIABLE)
    if name not in NAMES:
        raise UsageError(f"{name_said} must be {either(NAMES)}; it is {name!r}")
    if simd not in SIMD_LEVELS:
        raise UsageError(f"{simd_said} must be {either(SIMD_LEVELS)}; it is {simd!r}")
    if name in SLOW and simd != "auto":
        raise UsageError(f"{simd_said} is {simd}, which is for the fast parts, and {name_said} is {name}; "
                         "leave one of them out")
    if name == "pure":
        return PURE
    try:
        if name == "httptools":
            return _httptools()
    except ImportError as error:
        raise UsageError(f"{name_said} is httptools, which cannot be loaded ({error}); "
                         "pip install 'japronto[httptools]'") from None
    lack = _lack()
    if lack is None:
        return _accel(_level(simd, simd_said))
    if lack.absent and name == simd == "auto":
        return PURE
    asked = f"{simd_said} is {simd}, but " if simd != "auto" else f"{name_said} is {name}, but "
    raise UsageError(f"{asked if lack.absent else ''}{lack.fault}; {lack.remedy}, "
                     f"or choose the backend {'auto' if lack.absent else 'pure'}")


def described() -> str:
    """The implementation that is active, and why it is a slow one where nobody has asked for that."""
    backend = active()
    by_default = backend is PURE and os.environ.get(VARIABLE) != "pure"
    return f"{backend} (the fast parts are not built)" if by_default else str(backend)


def every() -> list[Backend]:
    """All implementations that there are, at all instruction sets that this processor has."""
    found = [PURE]
    with contextlib.suppress(ImportError):
        found.append(_httptools())
    if _lack() is None:
        from japronto.accel import scanner  # noqa: PLC0415

        found += map(_accel, scanner.levels())
    return found


@functools.cache
def _httptools() -> Backend:
    """The reference, with the scanner of llhttp; raises ImportError if httptools is not installed."""
    from japronto.accel import llhttp  # noqa: PLC0415 - which needs what need not be installed

    def make_parser(limits: Limits, content_max: ContentMax | None) -> parser.Parser:
        return parser.Parser(limits, content_max, llhttp.make_scan(scan))

    return PURE._replace(name="httptools", parser=make_parser)


@functools.cache
def _lack() -> Lack | None:
    """What keeps the fast parts from being used, unless nothing does.

    Of parts that were built from other sources nothing can be expected, not even that they fail: so they
    are not even asked for their names.
    """
    from japronto.accel import sources  # noqa: PLC0415

    try:
        agree = sources.agree()
    except ImportError as error:
        if error.name in COMPILED:
            return Lack(f"the fast parts are not built ({error})",
                        "install a C compiler and the headers of Python, and install Japronto again with "
                        "JAPRONTO_BUILD_ACCEL=yes", absent=True)
        return Lack(f"the fast parts cannot be loaded ({error})", "install Japronto again", absent=False)
    if agree:
        return None
    return Lack("the fast parts were built from other sources than those that are here",
                "build them again (pip install -e .)", absent=False)


def _level(simd: str, said: str) -> str:
    """The instruction set to use; raises UsageError for one that this processor does not have."""
    from japronto.accel import scanner  # noqa: PLC0415

    levels = scanner.levels()
    if simd not in ("auto", *levels):
        raise UsageError(f"{said} is {simd}, which this processor does not have; "
                         f"choose {either(['auto', *levels])}")
    return levels[-1] if simd == "auto" else simd


@functools.cache
def _accel(simd: str) -> Backend:
    from japronto.accel import scanner  # noqa: PLC0415

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
        "encode_text": response.encode_text,
        "large": assembler.LARGE,
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
