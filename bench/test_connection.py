"""From octets that have come to octets that leave: a whole connection, without a socket.

The rows of accel have the fast lane.  The async handler that yields is answered after turns of asyncio's
loop, which are timed, too.
"""

from __future__ import annotations

import pytest

from bench.conftest import Measure
from bench.octets import BROWSER, SMALL, get, post
from bench.peers import answered_by_h11
from bench.standin import Server, application
from japronto.backend import Backend

HELLO = b"Hello world!"
WORKLOADS = {
    # what comes, and the content of what leaves
    "hello": (SMALL, HELLO),
    "a browser's head": (BROWSER, HELLO),
    "a placeholder": (get(b"/users/somebody"), b"Hello somebody"),
    "JSON": (get(b"/json"), None),
    "a POST of 1 KB": (post(b"/echo", b"a" * 1024), b"a" * 1024),
    "an async handler that does not wait": (get(b"/async"), HELLO),
    "an async handler that yields once": (get(b"/later"), HELLO),
}
JSON = (b'{"message":"Hello world!"}', b'{"message": "Hello world!"}')


def table(kind: str, depth: int) -> str:
    return f"connection: {kind}, {depth} at once"


def check(answers: bytes, depth: int, content: bytes | None) -> None:
    """Each of ``depth`` answers is a 200 with this content, and has a Date."""
    first = answers[:len(answers) // depth]
    head, _, body = first.partition(b"\r\n\r\n")
    assert answers == first * depth
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nDate: " in head
    assert body in (JSON if content is None else (content,))


@pytest.mark.parametrize("kind", WORKLOADS)
def test_serve(kind: str, depth: int, backend: Backend, measure: Measure) -> None:
    octets, content = WORKLOADS[kind]
    with Server(application()) as server:
        check(server.answers(octets * depth), depth, content)
        receive = server.serve if octets == get(b"/later") else server.receive
        measure(table(kind, depth), str(backend), receive, octets * depth)
        check(server.answers(octets * depth), depth, content)


@pytest.mark.parametrize("kind", ["hello", "a browser's head", "a POST of 1 KB"])
def test_h11(kind: str, depth: int, measure: Measure) -> None:
    """It has neither a router nor a handler: what is answered is always the same."""
    check(measure(table(kind, depth), "h11", answered_by_h11(), WORKLOADS[kind][0] * depth), depth, HELLO)
