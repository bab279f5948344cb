"""Robyn, a framework in Rust on actix, with one process and one worker."""

import asyncio

from orjson import dumps
from robyn import Headers, Response, Robyn

NAME = "Robyn"
REQUIREMENTS = ("robyn==0.88.0", "uvloop==0.22.1", "orjson==3.13.0")
COMMAND = ("env", "ROBYN_PORT={port}", "ROBYN_KEEP_ALIVE_TIMEOUT=3600", "{python}", "{here}/robyn_app.py",
           "--processes", "1", "--workers", "1", "--log-level", "ERROR", "--disable-openapi")
VERSION = ("{python}", "-I", "-c",
           "from importlib.metadata import version; print('robyn', version('robyn'))")
MISSING_WORKLOADS = {"upload": "it gives the content to a handler as a whole, and cannot stream it"}

TEXT, JSON, OCTETS = (Headers({"Content-Type": media_type}) for media_type in (
    "text/plain", "application/json", "application/octet-stream"))
TEN_K, ONE_M = b"x" * 10_240, b"x" * 1_048_576

app = Robyn(__file__)


@app.get("/")
def hello():
    return Response(200, TEXT, "Hello world!")


@app.get("/json")
def json():
    return Response(200, JSON, dumps({"message": "Hello world!"}))


@app.get("/users/:name")
def user(request):
    return Response(200, TEXT, "Hello " + request.path_params["name"])


@app.post("/echo")
def echo(request):
    return Response(200, OCTETS, request.body)


@app.get("/later")
async def later():
    await asyncio.sleep(0)
    return Response(200, TEXT, "Hello world!")


@app.get("/10k")
def ten_k():
    return Response(200, TEXT, TEN_K)


@app.get("/1m")
def one_m():
    return Response(200, TEXT, ONE_M)


if __name__ == "__main__":
    app.start(host="127.0.0.1", _check_port=False)
