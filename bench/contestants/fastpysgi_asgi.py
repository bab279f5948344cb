"""FastPySGI serving ASGI: a server in C on libuv and llhttp; the application is plain ASGI."""

import sys

import fastpysgi
from _asgi import app

NAME = "FastPySGI (ASGI)"
REQUIREMENTS = ("fastpysgi==0.6", "orjson==3.13.0")
COMMAND = ("{python}", "{here}/fastpysgi_asgi.py", "{port}")
VERSION = ("{python}", "-I", "-c",
           "from importlib.metadata import version; print('fastpysgi', version('fastpysgi'))")
MISSING_WORKLOADS = {"upload": "it holds all content of a request in memory ahead of the application"}

if __name__ == "__main__":
    # It takes a function for ASGI only if that is a coroutine function.
    async def application(scope, receive, send):
        await app(scope, receive, send)

    server = fastpysgi.server
    server.add_header_date, server.add_header_server = False, None
    server.lifespan = 0
    server.tcp_nodelay = 1
    server.max_content_length = 2**31
    fastpysgi.run(application, "127.0.0.1", int(sys.argv[1]))
