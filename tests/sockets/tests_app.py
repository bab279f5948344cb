"""The application that the server processes of these tests serve."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import logging
import os
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import cast

from japronto import Application, BadRequest, Request, Response

PIECE = bytes(range(256)) * 256
"""What downloads are made of: 64 KiB."""


class PlannedFailure(Exception):
    """Raised by a handler; answered with 500, and kept out of the log."""


class HandledFailure(Exception):
    """Raised by a handler; the application has an error handler for it."""


def unplanned(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], PlannedFailure))


def note(line: str) -> None:
    """For the test to see, even when the server has gone."""
    with Path(os.environ["TESTS_APP_RECORD"]).open("a") as record:
        record.write(line + "\n")


logging.getLogger("japronto.error").addFilter(unplanned)
app = Application()


@app.on_startup
async def prepare(app: Application) -> None:
    # In development mode asyncio would report each call that took long on a busy machine.
    asyncio.get_running_loop().slow_callback_duration = 3600
    if os.environ["TESTS_APP_HOLD"]:
        try:
            note("start-up began")
            await exists("start")
        finally:
            note("start-up cleaned up")


@app.on_shutdown
async def tell(app: Application) -> None:
    note("shutdown")


# Answers of all kinds, with a number in them, so that their order shows.

@app.get("/hello/{name}")
def hello(request: Request) -> Response:
    return Response(text=f"hello {request.match_dict['name']}")


@app.get("/ready/{name}")
async def ready(request: Request) -> Response:
    return Response(text=f"ready {request.match_dict['name']}")


@app.get("/late/{name}")
async def late(request: Request) -> Response:
    await asyncio.sleep(random.random() / 50)
    return Response(text=f"late {request.match_dict['name']}")


@app.get("/raise/{name}")
def fail(request: Request) -> Response:
    raise PlannedFailure(request.match_dict["name"])


@app.get("/raise-late/{name}")
async def fail_late(request: Request) -> Response:
    await asyncio.sleep(random.random() / 50)
    raise PlannedFailure(request.match_dict["name"])


@app.get("/handled/{name}")
def fail_handled(request: Request) -> Response:
    raise HandledFailure(request.match_dict["name"])


def handled(request: Request, error: Exception) -> Response:
    return Response(code=409, text=f"handled {error}")


app.add_error_handler(HandledFailure, handled)


@app.get("/big/{size:int}")
def big(request: Request) -> Response:
    return Response(body=b"x" * request.match_dict["size"])


# Handlers that wait for the test to let them go, and note what becomes of them.

@app.get("/when/{name}")
@app.post("/when/{name}")
async def when(request: Request) -> Response:
    """Answers once there is a file of that name beside the record."""
    name = request.match_dict["name"]
    note(f"{name} started")
    try:
        await exists(name)
    except asyncio.CancelledError:
        note(f"{name} cancelled, client gone: {request.is_disconnected}")
        raise
    finally:
        note(f"{name} cleaned up")
    return Response(text=f"when {name}")


@app.get("/after/{name}")
async def after(request: Request) -> Response:
    """The same without notes, for huge numbers of requests."""
    await exists(request.match_dict["name"])
    return Response(text="after")


async def exists(name: str) -> None:
    path = Path(os.environ["TESTS_APP_RECORD"]).with_name(name)
    while not path.exists():  # noqa: ASYNC110 - it comes of another process
        await asyncio.sleep(0.01)


class Counter:
    value = 0


@app.get("/counter")
async def read_counter(request: Request) -> Response:
    return Response(text=str(Counter.value))


@app.post("/counter")
async def increment(request: Request) -> Response:
    before = Counter.value
    await asyncio.sleep(0.05)
    Counter.value = before + 1
    return Response(text=str(Counter.value))


# Content, whole and in pieces.

@app.post("/echo")
def echo(request: Request) -> Response:
    return Response(body=request.body or b"", mime_type="application/octet-stream")


async def count(request: Request) -> Response:
    """Says what came, and notes it when it did not come whole."""
    length, digest = 0, hashlib.sha256()
    try:
        async for piece in request.stream():
            length += len(piece)
            digest.update(piece)
    except BaseException as error:
        note(f"upload of {request.match_dict['name']}: {type(error).__name__}")
        raise
    note(f"upload of {request.match_dict['name']}: whole")
    return Response(json={"bytes": length, "sha256": digest.hexdigest()})


app.router.add_route("/upload/{name}", count, methods=["POST", "PUT"], stream=True, content_bytes=4 << 30)
app.router.add_route("/upload-small/{name}", count, methods=["POST", "PUT"], stream=True, content_bytes=4096)


@app.post("/upload-late/{name}", stream=True, content_bytes=4 << 30)
async def count_late(request: Request) -> Response:
    """Reads nothing until there is a file of that name."""
    name = request.match_dict["name"]
    note(f"{name} started")
    try:
        await exists(name)
        return await count(request)
    finally:
        note(f"{name} cleaned up")


@app.post("/unread/{name}", stream=True, content_bytes=4 << 30)
async def unread(request: Request) -> Response:
    """Answers without having asked for the content."""
    return Response(text=f"unread {request.match_dict['name']}")


@app.get("/download/{pieces:int}")
def download(request: Request) -> Response:
    def produce() -> Iterator[bytes]:
        for _ in range(request.match_dict["pieces"]):
            yield PIECE

    return Response(body=produce())


@app.get("/download-async/{pieces:int}/{name}")
async def download_async(request: Request) -> Response:
    async def produce() -> AsyncIterator[bytes]:
        name, sent = request.match_dict["name"], 0
        note(f"{name} started")
        try:
            for _ in range(request.match_dict["pieces"]):
                await asyncio.sleep(0)
                yield PIECE
                sent += 1
        finally:
            note(f"{name} cleaned up, whole: {sent == request.match_dict['pieces']}")

    return Response(body=produce())


@app.get("/download-when/{name}")
async def download_when(request: Request) -> Response:
    """One piece at once, the other when the test allows it."""
    async def produce() -> AsyncIterator[bytes]:
        yield b"first,"
        await exists(request.match_dict["name"])
        yield b"second"

    return Response(body=produce())


@app.get("/download-broken")
async def download_broken(request: Request) -> Response:
    async def produce() -> AsyncIterator[bytes]:
        yield b"good so far"
        raise PlannedFailure

    return Response(body=produce())


@app.get("/download-short")
async def download_short(request: Request) -> Response:
    async def produce() -> AsyncIterator[bytes]:
        yield b"good so far"

    return Response(body=produce(), headers={"Content-Length": "100"})


@app.get("/refuse")
def refuse(request: Request) -> Response:
    raise BadRequest("not like this")


# What the collector of garbage finds.

@app.post("/garbage/count")
def garbage_count(request: Request) -> Response:
    """From here on garbage stays, so that none escapes the count."""
    gc.collect()
    gc.disable()
    return Response(text="counting")


@app.post("/garbage/found")
def garbage_found(request: Request) -> Response:
    """Of which types it is."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    gc.set_debug(0)
    found = sorted({type(thing).__name__ for thing in gc.garbage})
    gc.garbage.clear()
    gc.enable()
    return Response(json=found)


@app.get("/address")
def address(request: Request) -> Response:
    return Response(json=request.transport.get_extra_info("peername")[:2])


@app.get("/scheme")
def scheme(request: Request) -> Response:
    """And who the client is, by its certificate."""
    shown = request.transport.get_extra_info("peercert") or {}
    names = [name for _, name in shown.get("subjectAltName", ())]
    return Response(json={"scheme": request.scheme, "names": names})


@app.get("/inheritance")
def inheritance(request: Request) -> Response:
    """What a child of this process would know of the sockets that were passed to it."""
    open_ones = [number for number in range(3, 256) if Path(f"/proc/self/fd/{number}").exists()]
    return Response(json={"variables": [name for name in os.environ if name.startswith("LISTEN_")],
                          "descriptors": [number for number in open_ones if os.get_inheritable(number)]})


# Another protocol takes the connection over.

class Shout(asyncio.Protocol):
    """Gives each octet back in upper case, and ends when it has heard a full stop."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's only looks like one
        note("shout began")

    def data_received(self, data: bytes) -> None:
        self.transport.write(data.upper())
        if data.endswith(b"."):
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        note("shout ended")


@app.get("/shout")
async def shout(request: Request) -> Response:
    if request.headers.get("upgrade") != "shout":
        return Response(text="not upgraded")
    await asyncio.sleep(0)
    return Response(code=101, headers={"Upgrade": "shout"}, upgrade=Shout)


@app.get("/client")
def client(request: Request) -> Response:
    """Who asks, and for what, in the lane too."""
    peername, proxy = (request.transport.get_extra_info(name) for name in ("peername", "proxy"))
    return Response(json={
        "address": request.remote_addr, "scheme": request.scheme, "hostname": request.hostname,
        "port": request.port, "peername": peername, "proxy": proxy})
