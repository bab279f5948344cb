"""What the WSGI servers serve, with a dict for a router, since WSGI brings none."""

from orjson import dumps

TEXT, JSON, OCTETS = "text/plain", "application/json", "application/octet-stream"
TEN_K, ONE_M = b"x" * 10_240, b"x" * 1_048_576
USERS = "/users/"
PIECE_OCTETS = 65_536


def hello(environ):
    return TEXT, b"Hello world!"


def json(environ):
    return JSON, dumps({"message": "Hello world!"})


def user(environ):
    return TEXT, ("Hello " + environ["PATH_INFO"][len(USERS):]).encode("latin-1")


def echo(environ):
    return OCTETS, environ["wsgi.input"].read()


def ten_k(environ):
    return TEXT, TEN_K


def one_m(environ):
    return TEXT, ONE_M


def upload(environ):
    received, read = 0, environ["wsgi.input"].read
    while piece := read(PIECE_OCTETS):
        received += len(piece)
    return TEXT, b"%d" % received


ROUTES = {"/": hello, "/json": json, "/echo": echo, "/10k": ten_k, "/1m": one_m, "/upload": upload}


def app(environ, start_response):
    handler = ROUTES.get(environ["PATH_INFO"])
    if handler is None and environ["PATH_INFO"].startswith(USERS):
        handler = user
    media_type, body = handler(environ)
    start_response("200 OK", [("Content-Type", media_type), ("Content-Length", str(len(body)))])
    return [body]
