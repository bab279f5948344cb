"""Sanic, a framework with a server of its own, on uvloop and httptools, in a single process."""

import asyncio
import sys

from orjson import dumps
from sanic import Sanic
from sanic.response import json as as_json
from sanic.response import raw, text

NAME = "Sanic"
REQUIREMENTS = ("sanic==25.12.1", "sanic-routing==23.12.0", "uvloop==0.23.0", "httptools==0.9.0",
                "orjson==3.13.0")
COMMAND = ("{python}", "{here}/sanic_app.py", "{port}")
VERSION = ("{python}", "-I", "-c",
           "from importlib.metadata import version; print('sanic', version('sanic'))")

TEN_K, ONE_M = b"x" * 10_240, b"x" * 1_048_576

app = Sanic("bench", dumps=dumps, configure_logging=False)
app.config.ACCESS_LOG = False
app.config.KEEP_ALIVE_TIMEOUT = 3600
app.config.REQUEST_MAX_SIZE = 2**34


@app.get("/")
async def hello(request):
    return text("Hello world!")


@app.get("/json")
async def json(request):
    return as_json({"message": "Hello world!"})


@app.get("/users/<name>")
async def user(request, name):
    return text("Hello " + name)


@app.post("/echo")
async def echo(request):
    return raw(request.body)


@app.get("/later")
async def later(request):
    await asyncio.sleep(0)
    return text("Hello world!")


@app.get("/10k")
async def ten_k(request):
    return raw(TEN_K, content_type="text/plain")


@app.get("/1m")
async def one_m(request):
    return raw(ONE_M, content_type="text/plain")


@app.post("/upload", stream=True)
async def upload(request):
    received = 0
    while piece := await request.stream.read():
        received += len(piece)
    return text(str(received))


if __name__ == "__main__":
    app.run("127.0.0.1", int(sys.argv[1]), single_process=True, access_log=False, motd=False, debug=False)
