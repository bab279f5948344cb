"""A fuzz target: responses made by the C and by the reference, of the same arguments.

``one`` makes a batch of responses of an input, changes them, and assembles the answers to a batch of
requests.  It raises where an attribute, an error or an octet differs.

The octets of an input are choices, one after the other; behind the last one, all of them are 0.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable
from http import HTTPStatus
from http.cookies import SimpleCookie
from typing import Any, Final

from japronto.interfaces import Assemble, Target
from japronto.messages import PERSISTENT, RequestHead
from japronto.pure import assembler
from japronto.pure.assembler import is_common, prepare
from japronto.pure.connection import Stage
from japronto.pure.request import Request
from japronto.pure.response import Response

DATE: Final = b"Sun, 06 Nov 1994 08:49:37 GMT"
VARYING: Final = re.compile(r"0x[0-9a-f]+|japronto\.[a-z_.]+|<class '[^']*'>")
"""What differs in messages: addresses, and the modules of classes."""


class Choices:
    """The octets of an input."""

    def __init__(self, octets: bytes) -> None:
        self.octets = octets
        self.at = 0

    def number(self, below: int) -> int:
        number = self.octets[self.at] if self.at < len(self.octets) else 0
        self.at += 1
        return number % below

    def some(self) -> bytes:
        size = self.number(40)
        start, self.at = self.at, self.at + size
        return self.octets[start:self.at]

    def one_of(self, *makers: Any) -> Any:
        """One of the values; those that can be called make one."""
        made = makers[self.number(len(makers))]
        return made() if callable(made) else made

    def latin(self) -> str:
        return self.some().decode("latin-1")

    def any_text(self) -> str:
        return self.some().decode("utf-8", "surrogateescape")


# -- Arguments ---------------------------------------------------------------------------------

class Text(str):
    """A str that is formatted otherwise than the str that it is."""

    __slots__ = ()

    def __format__(self, _: str) -> str:
        return "formatted"

    def __str__(self) -> str:
        return "as str"


class Octets(bytes):
    """Bytes, and then again not."""

    __slots__ = ()


class Fields(dict[str, Any]):
    """A dict that says something else of itself than it holds."""

    def items(self) -> Any:
        return [("X-Items", "1")]


NAMES: Final = ("X-A", "x-a", "Content-Length", "content-type", "DATE", "Server", "Connection",
                "Transfer-Encoding", "Set-Cookie", "Upgrade", "", "a b", "\u20ac")
VALUES: Final = ("1", "0", "3", "close", "keep-alive", "chunked", "text/html", DATE.decode(), "", " a ",
                 "a\r\nb", "\u20ac", 7, None, b"octets", Text("mine"), HTTPStatus.OK)


def code(from_: Choices) -> Any:
    return from_.one_of(200, lambda: 100 + from_.number(256) * 2, lambda: 200 + from_.number(200), 204, 304,
                        205, 101, True, 200.0, HTTPStatus.CREATED, "200", None, 10**30, -1, Text("200"))


def text(from_: Choices) -> Any:
    return from_.one_of(from_.latin, from_.any_text, "text", None, "", "\u20ac", "\ud800", Text("mine"),
                        b"octets", 7, "\u00e9" * 70_000)


def body(from_: Choices) -> Any:
    return from_.one_of(from_.some, None, b"", lambda: b"x" * (65_530 + from_.number(12)),
                        lambda: bytearray(b"a"), lambda: memoryview(b"abcdef")[::2], Octets(b"mine"), "text",
                        7, lambda: [b"a", b"b"], lambda: iter((b"a", b"b")),
                        lambda: b"x" * (4095 - from_.number(256)))  # all of it about as long as a buffer


def json(from_: Choices) -> Any:
    return from_.one_of(from_.any_text, None, 0, False, "", 1.5, float("nan"), lambda: {"a": [1, None]},
                        lambda: {1, 2}, lambda: {from_.any_text(): from_.number(9)}, b"octets", 10**30,
                        lambda: [from_.latin()])


def mime_type(from_: Choices) -> Any:
    return from_.one_of("text/html", None, "", from_.latin, lambda: f"a/b{from_.number(256)}", "a",
                        "a/b; c=d", Text("a/b"), b"a/b", "text/\u20ac", "a/b\r\n", 7)


def encoding(from_: Choices) -> Any:
    return from_.one_of(None, "utf-8", "latin-1", "nonsense", "", "utf-16", from_.latin, "idna", 7, "hex")


def line(from_: Choices) -> tuple[Any, Any]:
    name = from_.one_of(*NAMES, from_.latin, Text("Mine"), 7, b"X")
    return name, from_.one_of(*VALUES, from_.latin, from_.any_text)


def lines(from_: Choices) -> list[Any]:
    return [line(from_) for _ in range(from_.number(4))]


def headers(from_: Choices) -> Any:
    given = lines(from_)
    return from_.one_of(given, lambda: dict(given), None, tuple(given),
                        lambda: [list(each) for each in given], lambda: iter(given), lambda: Fields(given),
                        lambda: [*given, ("X-A",)], lambda: [*given, ("X-A", "1", "2")], "X: a", 7,
                        lambda: [*given, 7], lambda: ["ab"])


def cookies(from_: Choices) -> Any:
    return from_.one_of(None, lambda: {"a": from_.latin()}, lambda: SimpleCookie({"a": "1", "b": "\xff"}),
                        dict, lambda: {from_.latin(): "b"}, "a=b", lambda: {7: "a"})


def upgrade(from_: Choices) -> Any:
    return from_.one_of(None, lambda: int, 7)


ARGUMENTS: Final[dict[str, Callable[[Choices], Any]]] = {
    "code": code, "text": text, "body": body, "json": json, "mime_type": mime_type, "encoding": encoding,
    "headers": headers, "cookies": cookies, "upgrade": upgrade}
COMMON: Final = ("code", "text", "json", "body", "mime_type", "headers")
POSITIONAL: Final = tuple(ARGUMENTS)[:-1]


def arguments(from_: Choices) -> tuple[list[Any], dict[str, Any]]:
    """What a response is called with; mostly what is common."""
    positional = [ARGUMENTS[name](from_) for name in POSITIONAL[:(0, 0, 0, 1, 1, 2, 4, 8)[from_.number(8)]]]
    names = COMMON if from_.number(4) else tuple(ARGUMENTS)
    named = {}
    for _ in range(from_.number(5)):
        name = from_.one_of(*names)
        named[name] = ARGUMENTS[name](from_)
    if from_.number(64) == 1:
        named["unknown"] = 1
    return positional, named


# -- What is done with them --------------------------------------------------------------------

def change(response: Any, from_: Choices) -> None:
    """What a handler may do with a response that it has made."""
    match from_.number(9):
        case 0:
            response.code = code(from_)
        case 1:
            response.body = body(from_)
        case 2:
            response.content_type = from_.one_of(None, b"a/b", b"a", "a/b", from_.some)
        case 3:
            response.cookies = cookies(from_)
        case 4:
            response.headers.add(*line(from_))
        case 5:
            name, value = line(from_)
            response.headers[name] = value
        case 6:
            del response.headers[line(from_)[0]]
        case 7:
            response.headers.lines.append(line(from_))  # which nobody should, and nobody checks
        case _:
            response.unknown = 1


def seen(response: Response) -> tuple[Any, ...]:
    """All that there is to a response, down to the classes of what it holds."""
    cookies, headers, stream = response._cookies, response._headers, response._stream
    values = (response._code, response._body, response._content_type, response._upgrade,
              None if headers is None else headers.lines)
    return (*values, *map(type, values), type(headers), type(stream),
            cookies and [morsel.OutputString() for morsel in cookies.values()], repr(response))


def said(error: Exception) -> tuple[Any, ...]:
    return type(error), VARYING.sub("", str(error))


def request(made: type[Request], from_: Choices) -> Request:
    """A request to answer."""
    method = from_.one_of("GET", "POST", "HEAD", "CONNECT", "BREW")
    minor, persistent = int(from_.number(4) != 1), from_.number(4) != 1
    head = RequestHead(method, b"/", "/", None, minor, b"\n",
                       PERSISTENT._replace(persistent=persistent, upgrade=from_.number(4) == 1))
    to: Any = Target(seen, None, None, False, 0)
    of: Any = None
    asked = made(head, to, of, Stage.RUNNING)
    asked.persistent = persistent
    return asked


def outcome(octets: bytes, made: type[Request], make: type[Response], assemble: Assemble) -> list[Any]:
    """All that comes of an input on one side."""
    from_, found = Choices(octets), []
    answered: list[Request] = []
    for _ in range(1 + from_.number(3)):
        asked = request(made, from_)
        try:
            positional, named = arguments(from_)
            response = make(*positional, **named)
            found.append(seen(response))
            for _ in range((0, 0, 0, 1, 2)[from_.number(5)]):
                change(response, from_)
                found.append(seen(response))
            if not is_common(asked, response):
                prepare(asked, response)
                asked.common = False
        except Exception as error:
            found.append(said(error))
            continue
        asked.response = response
        answered.append(asked)
    try:
        found.append(b"".join(assemble(answered, DATE)))
    except Exception as error:
        found.append(said(error))
    return found


def fast_parts() -> tuple[type[Request], type[Response], Assemble]:
    from japronto.backend import _fast

    fast = _fast()
    return fast.request, fast.response, fast.assemble


FAST: Final = fast_parts()
gc.freeze()


def one(octets: bytes) -> None:
    """Compare the two sides on an input."""
    fast, right = outcome(octets, *FAST), outcome(octets, Request, Response, assembler.assemble)
    assert fast == right, [(one, other) for one, other in zip(fast, right, strict=False) if one != other]
