"""granian serving RSGI, its own interface, which it is fastest with; the application is plain RSGI."""

import asyncio

from orjson import dumps

NAME = "granian (RSGI)"
REQUIREMENTS = ("granian==2.8.7", "click==8.5.1", "uvloop==0.23.0", "orjson==3.13.0")
COMMAND = ("{python}", "-m", "granian", "granian_rsgi:app", "--working-dir", "{here}", "--port", "{port}",
           "--interface", "rsgi", "--http", "1", "--no-ws", "--no-log", "--loop", "uvloop",
           "--workers", "1", "--runtime-threads", "1", "--runtime-mode", "st", "--http1-pipeline-flush",
           # It takes no more connections than this, and idle ones count.
           "--backlog", "16384", "--backpressure", "16384",
           # The longest that there is; it ends idle connections as well.
           "--http1-header-read-timeout", "60000")
VERSION = ("{python}", "-I", "-c",
           "from importlib.metadata import version; print('granian', version('granian'))")

TEXT = [("content-type", "text/plain")]
JSON = [("content-type", "application/json")]
OCTETS = [("content-type", "application/octet-stream")]
LONG = {"/10k": b"x" * 10_240, "/1m": b"x" * 1_048_576}
USERS = "/users/"


async def hello(scope, proto):
    proto.response_str(200, TEXT, "Hello world!")


async def json(scope, proto):
    proto.response_bytes(200, JSON, dumps({"message": "Hello world!"}))


async def user(scope, proto):
    proto.response_str(200, TEXT, "Hello " + scope.path[len(USERS):])


async def echo(scope, proto):
    proto.response_bytes(200, OCTETS, await proto())


async def later(scope, proto):
    await asyncio.sleep(0)
    proto.response_str(200, TEXT, "Hello world!")


async def long(scope, proto):
    proto.response_bytes(200, TEXT, LONG[scope.path])


async def upload(scope, proto):
    received = 0
    async for piece in proto:
        received += len(piece)
    proto.response_str(200, TEXT, str(received))


ROUTES = {"/": hello, "/json": json, "/echo": echo, "/later": later, "/10k": long, "/1m": long,
          "/upload": upload}


def app(scope, proto):
    handler = ROUTES.get(scope.path)
    if handler is None and scope.path.startswith(USERS):
        handler = user
    return handler(scope, proto)
