"""Which encoder makes JSON of the value of ``Response(json=...)``.

``JAPRONTO_JSON`` names one; ``auto``, the default, takes orjson or msgspec where one is installed, and the
standard library otherwise.  What the others refuse (whole numbers beyond 64 bits, keys that are not str),
the standard library encodes after all, so that a program does not depend on what is installed.  A
program that has set ``Response.encode_json`` by itself keeps what it has set.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from japronto.config import ENCODER_VARIABLE, ENCODERS
from japronto.errors import UsageError, either
from japronto.pure.response import Response

Encoder: TypeAlias = Callable[[Any], str | bytes]

VARIABLE: Final = ENCODER_VARIABLE
NAMES: Final = ENCODERS
STDLIB: Final[Encoder] = Response.encode_json


def choose(name: str, said: str = VARIABLE) -> Encoder:
    """The encoder of that name; raises UsageError if it is not there.

    ``said`` is where the name comes from, as the error puts it.
    """
    if name not in NAMES:
        raise UsageError(f"{said} must be {either(NAMES)}; it is {name!r}")
    for candidate, make in (("orjson", _orjson), ("msgspec", _msgspec)):
        if name in ("auto", candidate):
            try:
                return make()
            except ImportError:
                if name == candidate:
                    raise UsageError(f"{said} is {name}, which is not installed; pip install {name}, "
                                     "or set it to auto") from None
    return STDLIB


_taken = STDLIB
"""What ``use`` has taken last."""


def use(said: Mapping[str, str] = MappingProxyType({})) -> None:
    """Take the encoder that the environment asks for, unless the program has set one.

    ``said`` as for ``backend.active``.
    """
    global _taken  # noqa: PLW0603 - the whole process has one
    if Response.encode_json is _taken:
        _taken = choose(os.environ.get(VARIABLE) or "auto", said.get(VARIABLE, VARIABLE))
        Response.encode_json = staticmethod(_taken)  # type: ignore[assignment]


def active() -> str:
    """The name of the one that is taken, for ``--version``."""
    return "stdlib" if Response.encode_json is STDLIB else Response.encode_json.__name__


def _orjson() -> Encoder:
    import orjson  # noqa: PLC0415 - where it is installed

    return _with_refuge("orjson", orjson.dumps)


def _msgspec() -> Encoder:
    import msgspec.json  # noqa: PLC0415 - where it is installed

    return _with_refuge("msgspec", msgspec.json.encode)


def _with_refuge(name: str, encode: Callable[[Any], bytes]) -> Encoder:
    def encode_json(value: Any) -> str | bytes:
        try:
            return encode(value)
        except (TypeError, ValueError, OverflowError, RecursionError):
            return STDLIB(value)

    encode_json.__name__ = name
    return encode_json
