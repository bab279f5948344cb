"""The Japronto of 2017: the last release of its first author, on the newest Python that it runs on."""

import asyncio
import sys

from japronto import Application

NAME = "Japronto 0.1.2 (2017)"
REQUIREMENTS = ("japronto==0.1.2", "uvloop==0.14.0")
PYTHON = "3.6"
COMMAND = ("{python}", "-E", "{here}/japronto_2017.py", "{port}")
VERSION = ("{python}", "-I", "-c",
           "import japronto, sys; print('japronto', japronto.__version__, 'Python', sys.version.split()[0])")
MISSING_WORKLOADS = {"later": "it aborts when more than 10 pipelined requests of a connection wait",
                     "upload": "it holds all content of a request in memory, and cannot stream it"}

TEN_K, ONE_M = b"x" * 10240, b"x" * 1048576


def hello(request):
    return request.Response(text="Hello world!")


def json(request):
    return request.Response(json={"message": "Hello world!"})


def user(request):
    return request.Response(text="Hello " + request.match_dict["name"])


def echo(request):
    return request.Response(body=request.body, mime_type="application/octet-stream")


async def later(request):
    await asyncio.sleep(0)
    return request.Response(text="Hello world!")


def ten_k(request):
    return request.Response(body=TEN_K, mime_type="text/plain")


def one_m(request):
    return request.Response(body=ONE_M, mime_type="text/plain")


if __name__ == "__main__":
    app = Application(reaper_settings={"check_interval": 10, "idle_timeout": 3600})
    for path, handler in (("/", hello), ("/json", json), ("/users/{name}", user), ("/echo", echo),
                          ("/later", later), ("/10k", ten_k), ("/1m", one_m)):
        app.router.add_route(path, handler)
    app.run(host="127.0.0.1", port=int(sys.argv[1]))
