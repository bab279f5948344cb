"""BlackSheep, an ASGI framework with parts in Cython, served by granian."""

import asyncio

from blacksheep import Application, Content, Response
from blacksheep.server.responses import json as as_json
from blacksheep.server.responses import text
from blacksheep.settings.json import json_settings
from orjson import dumps

NAME = "BlackSheep (granian)"
REQUIREMENTS = ("blacksheep==2.6.4", "granian==2.8.7", "click==8.5.1", "uvloop==0.23.0", "orjson==3.13.0")
COMMAND = ("{python}", "-m", "granian", "blacksheep_app:app", "--working-dir", "{here}", "--port", "{port}",
           "--interface", "asgi", "--http", "1", "--no-ws", "--no-log", "--loop", "uvloop",
           "--workers", "1", "--runtime-threads", "1", "--runtime-mode", "st", "--http1-pipeline-flush",
           # It takes no more connections than this, and idle ones count.
           "--backlog", "16384", "--backpressure", "16384",
           # The longest that there is; it ends idle connections as well.
           "--http1-header-read-timeout", "60000")
VERSION = ("{python}", "-I", "-c",
           "from importlib.metadata import version; print('blacksheep', version('blacksheep'))")

TEN_K, ONE_M = b"x" * 10_240, b"x" * 1_048_576

app = Application()
json_settings.use(dumps=lambda value: dumps(value).decode())


@app.router.get("/")
async def hello(request):
    return text("Hello world!")


@app.router.get("/json")
async def json(request):
    return as_json({"message": "Hello world!"})


@app.router.get("/users/{name}")
async def user(request):
    return text("Hello " + request.route_values["name"])


@app.router.post("/echo")
async def echo(request):
    return Response(200, None, Content(b"application/octet-stream", await request.read()))


@app.router.get("/later")
async def later(request):
    await asyncio.sleep(0)
    return text("Hello world!")


@app.router.get("/10k")
async def ten_k(request):
    return Response(200, None, Content(b"text/plain", TEN_K))


@app.router.get("/1m")
async def one_m(request):
    return Response(200, None, Content(b"text/plain", ONE_M))


@app.router.post("/upload")
async def upload(request):
    received = 0
    async for piece in request.stream():
        received += len(piece)
    return text(str(received))
