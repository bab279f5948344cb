"""aiohttp, client and server in one framework, on uvloop."""

import asyncio
import sys

import orjson
import uvloop
from aiohttp import web

NAME = "aiohttp"
REQUIREMENTS = ("aiohttp[speedups]==3.14.5", "uvloop==0.23.0", "orjson==3.13.0", "yarl==1.25.1",
                "multidict==7.2.1")
COMMAND = ("{python}", "{here}/aiohttp_app.py", "{port}")
VERSION = ("{python}", "-I", "-c",
           "from importlib.metadata import version; print('aiohttp', version('aiohttp'))")

TEN_K, ONE_M = b"x" * 10_240, b"x" * 1_048_576


async def hello(request):
    return web.Response(text="Hello world!")


async def json(request):
    return web.json_response(body=orjson.dumps({"message": "Hello world!"}))


async def user(request):
    return web.Response(text="Hello " + request.match_info["name"])


async def echo(request):
    return web.Response(body=await request.read(), content_type="application/octet-stream")


async def later(request):
    await asyncio.sleep(0)
    return web.Response(text="Hello world!")


async def ten_k(request):
    return web.Response(body=TEN_K, content_type="text/plain")


async def one_m(request):
    return web.Response(body=ONE_M, content_type="text/plain")


async def upload(request):
    received = 0
    async for piece in request.content.iter_any():
        received += len(piece)
    return web.Response(text=str(received))


async def main(port):
    app = web.Application()
    app.add_routes([web.get("/", hello), web.get("/json", json), web.get("/users/{name}", user),
                    web.post("/echo", echo), web.get("/later", later), web.get("/10k", ten_k),
                    web.get("/1m", one_m), web.post("/upload", upload)])
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=3600)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
