"""Answers to octets: the common one, one with fields of its own, one without content, and some kilobytes."""

from __future__ import annotations

from typing import Any

import pytest

from bench.conftest import Measure
from bench.octets import get
from bench.standin import Server
from japronto.app import Application
from japronto.backend import Backend

DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"
FIELDS = {"Cache-Control": "no-store", "X-Name": "value"}
ANSWERS: dict[str, dict[str, Any]] = {
    "plain answers": {"text": "Hello world!"},
    "answers with two fields": {"text": "Hello world!", "headers": FIELDS},
    "answers without content": {"code": 204},
    "answers of 10 KB": {"body": b"x" * 10240},
}
EXPECTED = {
    "plain answers":
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 12\r\n"
        b"Date: %b\r\n\r\nHello world!" % DATE,
    "answers with two fields":
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 12\r\n"
        b"Cache-Control: no-store\r\nX-Name: value\r\nDate: %b\r\n\r\nHello world!" % DATE,
    "answers without content": b"HTTP/1.1 204 No Content\r\nDate: %b\r\n\r\n" % DATE,
    "answers of 10 KB":
        b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 10240\r\n"
        b"Date: %b\r\n\r\n%b" % (DATE, b"x" * 10240),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_assemble(kind: str, depth: int, backend: Backend, measure: Measure) -> None:
    app = Application()
    answered: list[Any] = []

    @app.get("/")
    def answer(request: Any) -> Any:
        answered.append(request)
        return request.Response(**ANSWERS[kind])

    with Server(app) as server:
        server.answers(get(b"/") * depth)
        buffers = measure(
            f"assembler: {kind}, {depth} at once", str(backend), backend.assemble, answered, DATE)
    assert b"".join(buffers) == EXPECTED[kind] * depth
