"""The C of requests, answers and the fast lane, set up with the classes of the reference.

``parts`` are named in csrc/lane.h; japronto/backend.py, which alone may import both sides, hands them over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from japronto.accel import _lane
from japronto.interfaces import Assemble, Lane


class Fast(NamedTuple):
    """What comes of the parts."""

    request: type[Any]
    response: type[Any]
    protocol: type[Any]
    assemble: Assemble
    lane: Callable[..., Lane]


def set_up(parts: dict[str, Any]) -> Fast:
    """Make the fast classes; can be called once in an interpreter."""
    request, response, protocol, lane = _lane.setup(parts)
    response.__module__ = "japronto"  # where pickle finds the one of the backend that is active
    return Fast(request, response, protocol, _lane.assemble, lane)
