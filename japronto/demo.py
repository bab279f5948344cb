"""``japronto demo``: a small application with a page that shows the server at work.

It is an ordinary program: all it uses is open to every other one.  What it counts lives in one
object, made anew for each application.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import importlib.resources
import json
import re
import time
from collections.abc import AsyncIterator
from typing import Any, Final

from japronto import Response
from japronto.app import Application
from japronto.errors import BadRequest
from japronto.pure.request import Request

UPLOAD_BYTES: Final = 1 << 40
"""None of an upload is kept, so it may be as large as somebody has patience for."""
PIECES: Final = 10
PIECES_MAX: Final = 1000
PIECE_SECONDS: Final = 0.2
SLOW_SECONDS: Final = 1
LIVE_SECONDS: Final = 0.5
LIVE_TIMES: Final = 6
"""Then the page asks anew, so that a server which is told to stop need not wait long for it."""


class Demo:
    """The handlers, and what they count."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.requests = 0
        self.content_bytes = 0
        self.page = importlib.resources.files("japronto").joinpath("demo.html").read_bytes()
        self.policy = _policy(self.page)

    def count(self, request: Request, handler: Any) -> Any:
        """Middleware: every request passes here, also one for an unknown path."""
        self.requests += 1
        return handler(request)

    def index(self, _request: Request) -> Response:
        return Response(body=self.page, mime_type="text/html", encoding="utf-8", headers={
            "Content-Security-Policy": self.policy, "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-cache"})

    def hello(self, _request: Request) -> Response:
        return Response(text="Hello world!")

    async def slow(self, _request: Request) -> Response:
        await asyncio.sleep(SLOW_SECONDS)
        return Response(text="Sorry to keep you waiting.\n")

    def json(self, _request: Request) -> Response:
        return Response(json={"message": "Hello world!"})

    def echo(self, request: Request) -> Response:
        if request.body is None:
            raise BadRequest("send some JSON, and it comes back")
        return Response(text=json.dumps(request.json, ensure_ascii=False), mime_type="application/json")

    def stream(self, request: Request) -> Response:
        asked = request.query.get("pieces", str(PIECES))
        if not re.fullmatch("[0-9]{1,4}", asked) or not 1 <= int(asked) <= PIECES_MAX:
            raise BadRequest(f"pieces must be a number from 1 to {PIECES_MAX}")
        return Response(body=_pieces(int(asked)), mime_type="text/plain", encoding="utf-8")

    async def upload(self, request: Request) -> Response:
        started = time.monotonic()
        received = pieces = 0
        async for piece in request.stream():
            received += len(piece)
            pieces += 1
            self.content_bytes += len(piece)
        seconds = time.monotonic() - started
        return Response(json={"bytes": received, "pieces": pieces, "seconds": seconds,
                              "bytes_per_second": received / max(seconds, 1e-6)})

    def request(self, request: Request) -> Response:
        return Response(json={
            "method": request.method, "path": request.path, "query_string": request.query_string,
            "version": request.version, "remote_addr": request.remote_addr, "keep_alive": request.keep_alive,
            "headers": [[name, value] for name in request.headers for value in request.headers.getall(name)]})

    def live(self, _request: Request) -> Response:
        return Response(body=self._counters(), mime_type="text/event-stream",
                        headers={"Cache-Control": "no-store"})

    async def _counters(self) -> AsyncIterator[bytes]:
        """Server-sent events; ``retry`` is the wait in milliseconds before the browser asks anew."""
        yield b"retry: 100\n\n"
        for _ in range(LIVE_TIMES):
            counted = {"requests": self.requests, "content_bytes": self.content_bytes,
                       "seconds": round(time.monotonic() - self.started, 3)}
            yield b"data: " + json.dumps(counted).encode() + b"\n\n"
            await asyncio.sleep(LIVE_SECONDS)


async def _pieces(count: int) -> AsyncIterator[bytes]:
    for number in range(1, count + 1):
        yield f"piece {number} of {count}\n".encode()
        if number < count:
            await asyncio.sleep(PIECE_SECONDS)


def _policy(page: bytes) -> str:
    """A Content-Security-Policy that lets the page's own script and style run, and nothing else."""
    hashes = {name: " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'"
                             for text in re.findall(b"<%b>(.*?)</%b>" % (name, name), page, re.DOTALL))
              for name in (b"script", b"style")}
    return (f"default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
            f"frame-ancestors 'none'; script-src {hashes[b'script']}; style-src {hashes[b'style']}")


def application() -> Application:
    """The application, with counters at zero."""
    demo = Demo()
    app = Application()
    app.middleware(demo.count)
    app.get("/")(demo.index)
    app.get("/hello")(demo.hello)
    app.get("/slow")(demo.slow)
    app.get("/json")(demo.json)
    app.post("/echo")(demo.echo)
    app.get("/stream")(demo.stream)
    app.route("/upload", methods=["POST", "PUT"], stream=True, content_bytes=UPLOAD_BYTES)(demo.upload)
    app.get("/request")(demo.request)
    app.get("/live")(demo.live)
    return app
