"""The application that all cases use.

=========================  ==============================================================================
any /                      the content, read whole
GET /hello                 ``hello``
GET PUT DELETE /item       ``item``
GET /host                  the host and the port that the handler sees
GET /segment/{text}        what the placeholder took
GET /query                 the query as it came; ``None`` without one
GET /field/{name}          the value of a field of the request, as it came
GET /fields/{name}         the values of all its lines, with ``|`` between
POST PUT /echo             the content, read whole
GET POST /taken            the content, read piece by piece; ``ended early`` when that fails
GET POST /untaken          ``untaken``, at once
POST /taken-after/{name}   the content, read piece by piece after a wait as in /wait/{name}
POST /taken-first/{name}   takes the first piece of the content, then is as /wait/{name}
POST /trailers/{name}      the value of a field, ``|``, the value of the trailer of that name
GET POST /wait/{name}      the name, once somebody asks for /go/{name}, or at ``! go NAME``
GET /go/{name}             ``gone``; lets those go on that wait for the name
GET /late                  ``late``, after all others have had a turn
GET /count                 how often /count was posted to
POST /count                the same, after counting, which takes a turn
GET /raise                 an exception whose text should stay in the house
GET /refuse                an exception that is an answer: 400, with the query as its text
GET /set                   ``set``, with the fields that the query names
GET /status/{code}         ``content`` with a status code, and the fields that the query names
GET /pieces                ``ab``, nothing, ``c``, piece by piece, with the fields that the query names
GET /pieces-late           the same, each after a turn
GET /pieces-wait/{name}    the same, but ``c`` waits as /wait/{name} does
GET /pieces-after/{name}   the same, all after the wait
GET /pieces-broken         the same, and then an exception in place of the end
GET /pieces-of-text        a piece that is no octets
GET /pieces-status/{code}  pieces with a status code
POST /pieces-taken         the pieces of the content, as they come
POST /pieces-untaken       ``ab``, nothing, ``c``, without a look at the content
GET /large/{size}          so many octets
HEAD /head                 nothing, with the fields that the query names
GET /cookies               two cookies, the first of them for the path that the query gives
GET POST /shout            101 to a client that offers the protocol ``shout``, which speaks in upper case
GET /shout-wrongly/{code}  that protocol with a status code, and without saying so
CONNECT shout.example:443  that protocol, behind a 200
CONNECT wrong.example:443  that protocol, behind a 101
CONNECT 500.example:443    ``hello``, with 200
CONNECT 403.example:443    ``hello``, with 403
TRACE /trace               ``traced``
=========================  ==============================================================================

What handlers share, and what they note down for the test to see, is in the ``Scene`` of the
connection, which they find as ``request.transport``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from functools import cache
from http.cookies import SimpleCookie
from typing import Any, Protocol, cast
from urllib.parse import parse_qsl, unquote

from japronto import Application, BadRequest, DisconnectError, Limits, Request, Response
from japronto.interfaces import Waiter


class Transport(Protocol):
    """What a protocol that takes over needs of its transport."""

    def write(self, octets: bytes) -> None: ...


class Shout:
    """The protocol that takes over: it gives each octet back in upper case."""

    def connection_made(self, transport: Transport) -> None:
        self._transport = transport

    def data_received(self, octets: bytes) -> None:
        self._transport.write(octets.upper())


class Scene:
    """What the handlers of one connection share."""

    def __init__(self, waiter: Callable[[], Waiter]) -> None:
        self.notes: list[bytes] = []
        self.count = 0
        self._waiter = waiter
        self._gone: set[str] = set()
        self._waiting: dict[str, list[Waiter]] = {}

    def get_extra_info(self, name: str) -> None:
        """A transport knows addresses; this one does not."""

    def note(self, text: str) -> None:
        self.notes.append(text.encode())

    async def until(self, name: str) -> None:
        if name not in self._gone:
            waiter = self._waiter()
            self._waiting.setdefault(name, []).append(waiter)
            await waiter

    def go(self, name: str) -> None:
        self._gone.add(name)
        for waiter in self._waiting.pop(name, []):
            waiter.set_result(None)

    def turn(self) -> Waiter:
        """To await, so that others have their turn."""
        waiter = self._waiter()
        waiter.set_result(None)
        return waiter


@cache
def application(limits: Limits) -> Application:
    """One application for all cases with these limits; it remembers nothing of any."""
    app = Application(limits=limits)
    for register in (_requests, _contents, _order, _answers, _pieces, _protocols):
        register(app)
    return app


def _requests(app: Application) -> None:
    """What handlers see of a request."""
    app.get("/hello")(lambda request: Response(text="hello"))
    app.route("/item", methods=["GET", "PUT", "DELETE"])(lambda request: Response(text="item"))
    app.get("/host")(lambda request: Response(text=f"{request.hostname} {request.port}"))
    app.get("/segment/{text}")(lambda request: Response(text=request.match_dict["text"]))
    app.get("/query")(lambda request: Response(text=str(request.query_string)))
    app.get("/field/{name}")(lambda request: latin_1(request.headers[request.match_dict["name"]]))
    app.get("/fields/{name}")(
        lambda request: latin_1("|".join(request.headers.getall(request.match_dict["name"]))))


def latin_1(text: str) -> Response:
    return Response(body=text.encode("latin-1"))


def _contents(app: Application) -> None:
    """How handlers take content."""
    @app.route("/")
    @app.route("/echo", methods=["POST", "PUT"])
    def echo(request: Request) -> Response:
        return Response(body=request.body or b"")

    @app.route("/taken", methods=["GET", "POST"], stream=True)
    async def taken(request: Request) -> Response:
        try:
            content = await request.read()
        except DisconnectError:
            request.transport.note("ended early")
            raise
        return Response(body=content)

    @app.post("/taken-after/{name}", stream=True)
    async def taken_after(request: Request) -> Response:
        await wait(request)
        return await taken(request)

    @app.post("/taken-first/{name}", stream=True)
    async def taken_first(request: Request) -> Response:
        await anext(request.stream())
        return await wait(request)

    @app.route("/untaken", methods=["GET", "POST"], stream=True)
    def untaken(request: Request) -> Response:
        return Response(text="untaken")

    @app.post("/trailers/{name}")
    def trailers(request: Request) -> Response:
        name = request.match_dict["name"]
        return Response(text=f"{request.headers.get(name)}|{request.trailers.get(name)}")


async def wait(request: Request) -> Response:
    name = request.match_dict["name"]
    request.transport.note(f"{name} begins")
    await request.transport.until(name)
    request.transport.note(f"{name} ends, disconnected: {request.is_disconnected}")
    return Response(text=name)


def _order(app: Application) -> None:
    """Who waits for whom."""
    app.route("/wait/{name}", methods=["GET", "POST"])(wait)

    @app.get("/go/{name}")
    def go(request: Request) -> Response:
        request.transport.go(request.match_dict["name"])
        return Response(text="gone")

    @app.get("/late")
    async def late(request: Request) -> Response:
        await request.transport.turn()
        return Response(text="late")

    @app.get("/count")
    def count(request: Request) -> Response:
        return Response(text=str(request.transport.count))

    @app.post("/count")
    async def count_one_more(request: Request) -> Response:
        before = request.transport.count
        await request.transport.turn()
        request.transport.count = before + 1
        return Response(text=str(request.transport.count))


def named(request: Request) -> list[tuple[str, str]]:
    """The fields that the query names."""
    return parse_qsl(request.query_string or "", keep_blank_values=True)


def _answers(app: Application) -> None:
    """What handlers answer."""
    @app.get("/raise")
    def fail(request: Request) -> Response:
        raise RuntimeError("the password is xyzzy")

    @app.get("/refuse")
    def refuse(request: Request) -> Response:
        raise BadRequest(str(request.query_string))

    app.get("/set")(lambda request: Response(text="set", headers=named(request)))
    app.get("/status/{code:int}")(
        lambda request: Response(request.match_dict["code"], text="content", headers=named(request)))

    app.get("/large/{size:int}")(lambda request: Response(body=b"x" * request.match_dict["size"]))
    app.head("/head")(lambda request: Response(headers=named(request)))

    @app.get("/cookies")
    def cookies(request: Request) -> Response:
        jar: SimpleCookie = SimpleCookie()
        jar["a"], jar["b"] = "1", "2"
        jar["a"]["path"] = unquote(request.query_string or "/")
        return Response(text="cookies", cookies=jar)

    app.route("/trace", "TRACE")(lambda request: Response(text="traced"))


def _pieces(app: Application) -> None:
    """Content that leaves piece by piece."""
    async def late(request: Request) -> AsyncIterator[bytes]:
        for piece in (b"ab", b"", b"c"):
            await request.transport.turn()
            yield piece

    async def waiting(request: Request) -> AsyncIterator[bytes]:
        yield b"ab"
        await request.transport.until(request.match_dict["name"])
        yield b"c"

    def broken() -> Iterator[bytes]:
        yield from (b"ab", b"", b"c")
        raise RuntimeError("the password is xyzzy")

    app.get("/pieces")(lambda request: Response(body=iter((b"ab", b"", b"c")), headers=named(request)))
    app.get("/pieces-late")(lambda request: Response(body=late(request), headers=named(request)))
    @app.get("/pieces-after/{name}")
    async def after(request: Request) -> Response:
        await wait(request)
        return Response(body=iter((b"ab", b"", b"c")))

    app.get("/pieces-of-text")(lambda request: Response(body=cast("Any", iter(("ab",)))))
    app.get("/pieces-wait/{name}")(lambda request: Response(body=waiting(request)))
    app.get("/pieces-broken")(lambda request: Response(body=broken(), headers=named(request)))
    app.get("/pieces-status/{code:int}")(
        lambda request: Response(request.match_dict["code"], body=broken(), headers=named(request)))
    app.post("/pieces-taken", stream=True)(lambda request: Response(body=request.stream()))
    app.post("/pieces-untaken", stream=True)(lambda request: Response(body=iter((b"ab", b"", b"c"))))


def _protocols(app: Application) -> None:
    """Another protocol takes the connection over."""
    @app.route("/shout", methods=["GET", "POST"])
    def shout(request: Request) -> Response:
        if request.headers.get("upgrade") != "shout":
            return Response(426, text="shout", headers={"Upgrade": "shout"})
        return Response(101, headers={"Upgrade": "shout"}, upgrade=Shout)

    app.get("/shout-wrongly/{code:int}")(lambda request: Response(request.match_dict["code"], upgrade=Shout))
    app.route("wrong.example:443", "CONNECT")(lambda request: Response(101, headers={"Upgrade": "shout"},
                                                                       upgrade=Shout))
    app.route("500.example:443", "CONNECT")(lambda request: Response(text="hello"))
    app.route("403.example:443", "CONNECT")(lambda request: Response(403, text="hello"))
    app.route("shout.example:443", "CONNECT")(lambda request: Response(upgrade=Shout))
