"""What the bare ASGI servers serve, with a dict for a router, since ASGI brings none."""

import asyncio

from orjson import dumps

TEXT = [(b"content-type", b"text/plain")]
JSON = [(b"content-type", b"application/json")]
OCTETS = [(b"content-type", b"application/octet-stream")]
LONG = {"/10k": b"x" * 10_240, "/1m": b"x" * 1_048_576}
USERS = "/users/"


async def answer(send, body, fields=TEXT):
    await send({"type": "http.response.start", "status": 200,
                "headers": [*fields, (b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def hello(scope, receive, send):
    await answer(send, b"Hello world!")


async def json(scope, receive, send):
    await answer(send, dumps({"message": "Hello world!"}), JSON)


async def user(scope, receive, send):
    await answer(send, ("Hello " + scope["path"][len(USERS):]).encode())


async def echo(scope, receive, send):
    pieces, more = [], True
    while more:
        message = await receive()
        pieces.append(message.get("body", b""))
        more = message.get("more_body")
    await answer(send, b"".join(pieces), OCTETS)


async def later(scope, receive, send):
    await asyncio.sleep(0)
    await answer(send, b"Hello world!")


async def long(scope, receive, send):
    await answer(send, LONG[scope["path"]])


async def upload(scope, receive, send):
    received, more = 0, True
    while more:
        message = await receive()
        received += len(message.get("body", b""))
        more = message.get("more_body")
    await answer(send, b"%d" % received)


ROUTES = {"/": hello, "/json": json, "/echo": echo, "/later": later, "/10k": long, "/1m": long,
          "/upload": upload}


def app(scope, receive, send):
    handler = ROUTES.get(scope["path"])
    if handler is None and scope["path"].startswith(USERS):
        handler = user
    return handler(scope, receive, send)
