"""Which encoder makes JSON of the value of ``Response(json=...)``.

``JAPRONTO_JSON`` names one; ``auto``, the default, takes orjson or msgspec where one is installed, and the
standard library otherwise.  What the others refuse (whole numbers beyond 64 bits, keys that are not str),
the standard library encodes after all, so that a program does not depend on what is installed.  A
program that has set ``Response.encode_json`` by itself keeps what it has set.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from japronto.config import ENCODER_VARIABLE, ENCODERS
from japronto.errors import UsageError
from japronto.pure.response import Response

Encoder: TypeAlias = Callable[[Any], str | bytes]

VARIABLE: Final = ENCODER_VARIABLE
NAMES: Final = ENCODERS
STDLIB: Final[Encoder] = Response.encode_json


def choose(name: str) -> Encoder:
    """The encoder of that name; raises UsageError if it is not there."""
    if name not in NAMES:
        raise UsageError(f"{VARIABLE} must be {' or '.join(NAMES)}; it is {name!r}")
    for candidate, make in (("orjson", _orjson), ("msgspec", _msgspec)):
        if name in ("auto", candidate):
            try:
                return make()
            except ImportError:
                if name == candidate:
                    raise UsageError(f"{VARIABLE} is {name}, which is not installed; pip install {name}, "
                                     "or set it to auto") from None
    return STDLIB


_taken = STDLIB
"""What ``use`` has taken last."""


def use() -> None:
    """Take the encoder that the environment asks for, unless the program has set one."""
    global _taken  # noqa: PLW0603 - the whole process has one
    if Response.encode_json is _taken:
        _taken = choose(os.environ.get(VARIABLE) or "auto")
        Response.encode_json = staticmethod(_taken)  # type: ignore[assignment]


def _orjson() -> Encoder:
    import orjson  # noqa: PLC0415 - where it is installed

    return _with_refuge(orjson.dumps)


def _msgspec() -> Encoder:
    import msgspec.json  # noqa: PLC0415 - where it is installed

    return _with_refuge(msgspec.json.encode)


def _with_refuge(encode: Callable[[Any], bytes]) -> Encoder:
    def encode_json(value: Any) -> str | bytes:
        try:
            return encode(value)
        except (TypeError, ValueError, OverflowError, RecursionError):
            return json.dumps(value)

    return encode_json
