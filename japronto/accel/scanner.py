"""The scanner in C (csrc/scan.h) behind the seam ``interfaces.Scan``.

It finds what is common and right.  At a head that is not for it, the reference decides on that one,
and the scanner goes on behind it; so what is wrong, and how far an incomplete head has come, is said
in one place.
"""

from __future__ import annotations

from struct import Struct
from typing import Any, Final

from japronto.accel._scan import ffi, lib
from japronto.interfaces import Resume, Scan, Scanned
from japronto.limits import Limits
from japronto.messages import PERSISTENT, RequestHead, Seen

LEVELS: Final = {"scalar": lib.JP_SCALAR, "sse4.2": lib.JP_SSE42, "avx2": lib.JP_AVX2}
"""The instruction sets that there is a scanner for, the fastest last."""

def levels() -> list[str]:
    """The instruction sets that were built and that this processor has; the fastest last."""
    return [name for name, level in LEVELS.items() if lib.jp_has(level)]


def checked(name: str) -> int:
    """The number of an instruction set; raises ValueError if this processor cannot run it."""
    if name not in levels():
        raise ValueError(f"this processor runs {', '.join(levels())}; it does not run {name!r}")
    return LEVELS[name]


_BATCH: Final = 64
"""Heads that are found in one call; a longer pipeline takes several."""

_HEAD: Final = Struct("8I2B2x")  # jp_head
_UINT32_MAX: Final = 0xFFFFFFFF

# What the scanner writes heads to.  It runs without the GIL, so no two calls may have the same; each
# takes one from here and puts it back, which costs less than making one.
_spare: list[tuple[Any, Any]] = []


def _array() -> tuple[Any, Any]:
    """An array of jp_head, and a view of its octets."""
    try:
        return _spare.pop()
    except IndexError:
        array = ffi.new("jp_head[]", _BATCH)
        return array, ffi.buffer(array)


def _bounds(limits: Limits) -> Any:
    """What a head must keep within, or the reference decides on it.

    A head that is not longer than any line or section may be is within all bounds on octets.
    """
    head_bytes = min(limits.request_line_bytes, limits.field_line_bytes, limits.field_section_bytes)
    return ffi.new("jp_bounds *", (int(min(head_bytes, _UINT32_MAX)), int(min(limits.fields, _UINT32_MAX))))


def _take(level: int, buffer: bytes, start: int, heads_max: int, bounds: Any,
          heads: list[RequestHead]) -> tuple[int, int | None]:
    """Add the heads that the scanner finds to ``heads``.

    Returns where the last one ends, and its flags of ``Seen`` if it is not trivial.
    """
    array, view = _array()
    found = lib.jp_scan(level, buffer, len(buffer), start, bounds, array, heads_max)
    minor, seen = 1, Seen.HOST
    for at in range(0, found * _HEAD.size, _HEAD.size):
        (begin, method_end, target, path_end, target_end, section, section_end, start,
         minor, seen) = _HEAD.unpack_from(view, at)
        heads.append(RequestHead(
            buffer[begin:method_end].decode("ascii"), buffer[target:target_end],
            buffer[target:path_end].decode("ascii"),
            buffer[path_end + 1:target_end].decode("ascii") if path_end < target_end else None,
            minor, buffer[section:section_end], PERSISTENT))
    _spare.append((array, view))
    return start, None if minor and seen == Seen.HOST else seen


def make_scan(careful: Scan, level: str | None = None) -> Scan:
    """A scanner that hands what is not for it to ``careful``, one head at a time.

    ``level`` is the instruction set, the fastest one unless it is given; raises ValueError if this
    processor cannot run it.
    """
    number = lib.jp_best() if level is None else checked(level)
    last: tuple[Limits | None, Any] = None, None  # all connections of a server have the same limits

    def scan(buffer: bytes, start: int, heads_max: int, limits: Limits,
             resume: Resume | None = None) -> Scanned:
        nonlocal last
        known, bounds = last
        if known is not limits:
            bounds = _bounds(limits)
            last = limits, bounds
        heads: list[RequestHead] = []
        while start < len(buffer) and len(heads) < heads_max:
            if resume is None:
                wanted = min(len(heads) + _BATCH, heads_max)
                start, seen = _take(number, buffer, start, wanted - len(heads), bounds, heads)
                if seen is not None:
                    return Scanned(heads, start, None, None, seen)
                if len(heads) == wanted or start == len(buffer):
                    continue
            found = careful(buffer, start, 1, limits, resume)
            heads += found.heads
            start = found.stop
            resume = None
            if not found.heads or found.seen is not None:
                return found._replace(heads=heads)
        return Scanned(heads, start, None, None)

    return scan
