"""A program that does wrong what a program may do wrong, when it is asked for that by its name."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from resource import RLIMIT_AS, setrlimit
from typing import Any, Never

from japronto import Application, Request, Response

app = Application()

if more := os.environ.get("MEMORY_MORE"):
    # As on a machine that has no more than this beyond what the program needs to start.
    size = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE") + int(more)
    setrlimit(RLIMIT_AS, (size, size))


@app.get("/")
def who(request: Request) -> Response:
    return request.Response(text=str(os.getpid()))


# -- What no answer comes of -------------------------------------------------------------------

class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("it cannot be told")

    __repr__ = __str__


class Forever:
    """Waits for what no loop knows."""

    def __await__(self) -> Any:
        yield "nonsense"


def throw(error: BaseException) -> Never:
    raise error


def deeper(request: Request) -> Any:
    return deeper(request)


async def pieces() -> AsyncIterator[bytes]:
    yield b"x"


RAISES: dict[str, Callable[[Request], Any]] = {
    "ValueError": lambda _: int("x"),
    "SystemExit": lambda _: sys.exit(5),
    "StopIteration": lambda _: next(iter(())),
    "RecursionError": deeper,
    "MemoryError": lambda _: bytes(10**15),
    "ExceptionGroup": lambda _: throw(ExceptionGroup("both", [ValueError("one"), OSError("two")])),
    "UnspeakableError": lambda _: throw(UnspeakableError()),
}
NONSENSE: dict[str, Callable[[Request], Any]] = {
    "nothing": lambda _: None,
    "a-number": lambda _: 42,
    "octets": lambda _: b"HTTP/1.1 200 OK\r\n\r\n",
    "its-request": lambda request: request,
    "a-class": lambda request: request.Response,
    "a-generator": lambda _: pieces(),
    "an-exception": lambda _: UnspeakableError(),
    "what-waits-for-nonsense": lambda _: Forever(),
    "a-wrong-length": lambda request: request.Response(text="x", headers={"Content-Length": "5"}),
    "two-lines": lambda request: request.Response(text="x", headers={"A": "b\r\nSet-Cookie: c"}),
    "what-is-no-text": lambda request: request.Response(text="\udc80"),
    "no-status": lambda request: request.Response(5000),
}


def fault(request: Request) -> Any:
    return (RAISES | NONSENSE)[request.match_dict["name"]](request)


app.router.add_route("/now/{name}", fault)


@app.get("/at-once/{name}")
async def at_once(request: Request) -> Any:
    return fault(request)


@app.get("/later/{name}")
async def later(request: Request) -> Any:
    await asyncio.sleep(0.001)
    return fault(request)


# -- What stops everything ---------------------------------------------------------------------

def patiently(request: Request) -> Response:
    Path("blocked").touch()
    time.sleep(float(request.query["seconds"]))
    return request.Response(text=str(os.getpid()))


app.router.add_route("/patiently", patiently)


@app.get("/sleep")
def sleep(request: Request) -> None:
    time.sleep(3600)


@app.get("/spin")
async def spin(request: Request) -> None:
    while True:
        pass


@app.get("/match")
def match(request: Request) -> None:
    re.match("(a+)+b", "a" * 50)  # In C, for longer than the world has stood.


@app.get("/deaf")
def deaf(request: Request) -> None:
    signal.signal(signal.SIGABRT, signal.SIG_IGN)
    time.sleep(3600)


# -- What ends the process -----------------------------------------------------------------------

@app.get("/exit")
def leave(request: Request) -> None:
    os._exit(7)


@app.get("/signal/{number}")
async def kill(request: Request) -> None:
    os.kill(os.getpid(), int(request.match_dict["number"]))



# -- What takes all memory -------------------------------------------------------------------------

def fill() -> list[Any]:
    """As much as there is, down to the last octets."""
    kept: Any = []
    size = 1 << 20
    while size:
        try:
            while True:
                kept = [kept, bytes(size)]
        except MemoryError:
            size //= 2
    return kept


@app.get("/large")
def large(request: Request) -> Response:
    return request.Response(body=bytes(1 << 30))


@app.get("/full")
def full(request: Request) -> None:
    kept = fill()
    while True:
        kept = [kept, bytes(1000)]
