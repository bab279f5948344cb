"""What it costs to ask a request for something, once; the second time, it is there.

A call asks each of 128 new requests: divide by 128.
"""

from __future__ import annotations

from collections import deque
from operator import attrgetter
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.octets import BROWSER, post
from bench.standin import Server
from japronto.app import Application
from japronto.backend import Backend

REQUESTS, ROUNDS = 128, 50
FORM = b"name=Somebody&age=42&text=" + b"lorem+ipsum+" * 20
JSON = b'{"name": "Somebody", "age": 42, "tags": ["a", "b", "c"], "text": "%b"}' % (b"lorem ipsum " * 20)
ASKED = {
    # what is asked for: of whom, and what it must be
    "method": (BROWSER, "GET"),
    "path": (BROWSER, "/articles/2024/how-a-server-reads"),
    "match_dict": (BROWSER, {"year": "2024", "name": "how-a-server-reads"}),
    "query": (BROWSER, {"page": "2", "sort": "new"}),
    "headers": (BROWSER, 12),
    "cookies": (BROWSER, {"session": "0123456789abcdef" * 2, "theme": "dark",
                          "_ga": "GA1.2.1234567890.1712345678", "x": "y" * 96}),
    "hostname": (BROWSER, "www.example.com"),
    "keep_alive": (BROWSER, True),
    "remote_addr": (BROWSER, "127.0.0.1"),
    "mime_type": (post(b"/", JSON, b"Content-Type: application/json"), "application/json"),
    "body": (post(b"/", JSON, b"Content-Type: application/json"), JSON),
    "text": (post(b"/", JSON, b"Content-Type: application/json"), JSON.decode()),
    "json": (post(b"/", JSON, b"Content-Type: application/json"),
             {"name": "Somebody", "age": 42, "tags": ["a", "b", "c"], "text": "lorem ipsum " * 20}),
    "form": (post(b"/", FORM, b"Content-Type: application/x-www-form-urlencoded"),
             {"name": "Somebody", "age": "42", "text": "lorem ipsum " * 20}),
}


@pytest.mark.parametrize("asked", ASKED)
def test_property(asked: str, backend: Backend, benchmark: BenchmarkFixture) -> None:
    octets, expected = ASKED[asked]
    kept: list[Any] = []
    app = Application()

    def keep(request: Any) -> Any:
        kept.append(request)
        return request.Response(text="kept")

    for pattern in ("/", "/articles/{year}/{name}"):
        app.add_route(pattern, keep)
    attribute = attrgetter(asked)
    with Server(app) as server:
        def new_requests() -> tuple[tuple[list[Any]], dict[str, Any]]:
            kept.clear()
            server.answers(octets * REQUESTS)
            return (list(kept),), {}

        def ask(requests: list[Any]) -> None:
            deque(map(attribute, requests), maxlen=0)

        benchmark.group, benchmark.name = f"request: {asked}, of 128", str(backend)
        benchmark.pedantic(  # type: ignore[no-untyped-call]
            ask, setup=new_requests, rounds=ROUNDS, warmup_rounds=2)
        (requests,), _ = new_requests()
        values = [attribute(request) for request in requests]
    assert (len(values[0]) if asked == "headers" else values[0]) == expected
    assert values == [values[0]] * REQUESTS
