"""socketify: uWebSockets, a server in C++, by way of cffi."""

import asyncio
import sys

from orjson import dumps
from socketify import App, AppListenOptions

NAME = "socketify"
REQUIREMENTS = ("socketify==0.0.31", "cffi==2.1.1", "orjson==3.13.0")
COMMAND = ("{python}", "{here}/socketify_app.py", "{port}")
VERSION = ("{python}", "-I", "-c",
           "from importlib.metadata import version; print('socketify', version('socketify'))")
MISSING_WORKLOADS = {"later": "uWebSockets ends a connection that pipelines to a handler that waits",
                     "upload": "uWebSockets refuses a Content-Length of ten digits"}

TEN_K, ONE_M = b"x" * 10_240, b"x" * 1_048_576


def hello(res, req):
    res.send(b"Hello world!", b"text/plain")


def json(res, req):
    res.send(dumps({"message": "Hello world!"}), b"application/json")


def user(res, req):
    res.send("Hello " + req.get_parameter(0), b"text/plain")


def echo(res, req):
    pieces = []

    def take(res, piece, last):
        pieces.append(piece)
        if last:
            res.send(b"".join(pieces), b"application/octet-stream")

    res.on_data(take)


async def later(res, req):
    await asyncio.sleep(0)
    res.cork_send(b"Hello world!", b"text/plain")


def ten_k(res, req):
    res.send(TEN_K, b"text/plain")


def one_m(res, req):
    res.send(ONE_M, b"text/plain")


def upload(res, req):
    received = 0

    def take(res, piece, last):
        nonlocal received
        received += len(piece)
        if last:
            res.send(b"%d" % received, b"text/plain")

    res.on_data(take)


if __name__ == "__main__":
    app = App(lifespan=False)
    for path, handler in (("/", hello), ("/json", json), ("/users/:name", user), ("/later", later),
                          ("/10k", ten_k), ("/1m", one_m)):
        app.get(path, handler)
    app.post("/echo", echo)
    app.post("/upload", upload)
    app.listen(AppListenOptions(port=int(sys.argv[1]), host="127.0.0.1"), lambda config: None)
    app.run()
