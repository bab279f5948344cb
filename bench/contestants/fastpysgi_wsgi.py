"""FastPySGI serving WSGI: a server in C on libuv and llhttp; the application is plain WSGI."""

import sys

import fastpysgi
from _wsgi import app

NAME = "FastPySGI (WSGI)"
REQUIREMENTS = ("fastpysgi==0.6", "orjson==3.13.0")
COMMAND = ("{python}", "{here}/fastpysgi_wsgi.py", "{port}")
VERSION = ("{python}", "-I", "-c",
           "from importlib.metadata import version; print('fastpysgi', version('fastpysgi'))")
MISSING_WORKLOADS = {"later": "WSGI has no asynchronous handlers",
                     "upload": "it holds all content of a request in memory ahead of the application"}

if __name__ == "__main__":
    server = fastpysgi.server
    server.add_header_date, server.add_header_server = False, None
    server.tcp_nodelay = 1
    server.max_content_length = 2**31
    fastpysgi.run(app, "127.0.0.1", int(sys.argv[1]))
