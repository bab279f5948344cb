"""Which implementation serves: the one place where that is chosen.

``JAPRONTO_BACKEND`` names one; ``auto``, the default, takes the fastest that is there.  A name that
means nothing, or an implementation that is not there, is an error: nobody who asked for speed
should find out from a graph that he did not get it.
"""

from __future__ import annotations

import os
from typing import Final, NamedTuple

from japronto.errors import UsageError
from japronto.interfaces import Assemble
from japronto.pure.assembler import assemble
from japronto.pure.connection import ParserFactory
from japronto.pure.parser import Parser


class Backend(NamedTuple):
    """An implementation of the seams."""

    name: str
    simd: str
    """The instruction set that the parser uses; ``none`` for Python."""
    parser: ParserFactory
    assemble: Assemble


PURE: Final = Backend("pure", "none", Parser, assemble)

VARIABLE: Final = "JAPRONTO_BACKEND"
AVAILABLE: Final = {"auto": PURE, "pure": PURE}
PLANNED: Final = ("accel", "httptools")


def active() -> Backend:
    """The implementation that the environment asks for; raises UsageError if it is not there."""
    name = os.environ.get(VARIABLE) or "auto"
    if name in AVAILABLE:
        return AVAILABLE[name]
    known = " or ".join(AVAILABLE)
    if name in PLANNED:
        raise UsageError(f"{VARIABLE} is {name}, which this version does not have; set it to {known}")
    raise UsageError(f"{VARIABLE} must be {known}; it is {name!r}")
