"""What can be asked for: where and how to serve, and what there is to choose from.

It imports no event loop and no part of the server, so that the command line can read its options, and a
master can keep workers, in a process that holds hardly more than the interpreter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from japronto.errors import UsageError

BACKENDS: Final = ("auto", "accel", "pure", "httptools")
BACKEND_VARIABLE: Final = "JAPRONTO_BACKEND"
SIMD_VARIABLE: Final = "JAPRONTO_SIMD"
SIMD_LEVELS: Final = ("auto", "scalar", "sse4.2", "avx2")
"""Those that there are; whether this processor has them, the backend says."""
ENCODERS: Final = ("auto", "orjson", "msgspec", "stdlib")
ENCODER_VARIABLE: Final = "JAPRONTO_JSON"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """Where and how to serve; how much and how long is up to the application's limits and timeouts.

    ``host``        an address or a name; an empty one listens on all addresses
    ``port``        0 takes a free one
    ``uds``         the path of a Unix socket, in place of host and port
    ``backlog``     most connections that wait to be accepted
    ``loop``        ``uvloop``, ``asyncio``, or ``auto``: uvloop where it is there
    ``access_log``  print a line for each request
    ``debug``       show tracebacks to clients
    """

    host: str = "127.0.0.1"
    port: int = 8080
    uds: str | None = None
    backlog: int = 1024
    loop: str = "auto"
    access_log: bool = False
    debug: bool = False

    def __post_init__(self) -> None:
        if type(self.port) is not int or not 0 <= self.port <= 65535:  # uvloop would take the remainder
            raise UsageError(f"the port must be a whole number from 0 to 65535; it is {self.port!r}")
