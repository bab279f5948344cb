"""Answers on the wire: what a client reads is what the handler said, and nothing else.

Responses go through a real connection, and are read by h11 and by llhttp, each as a client.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from japronto.backend import Backend
from japronto.errors import ResponseError
from japronto.interfaces import Target
from japronto.limits import Limits
from japronto.messages import RequestHead
from japronto.pure.connection import Phase
from japronto.pure.request import Request
from japronto.pure.response import Response

from . import strategies
from .hosting import DATE, Answer, Host, answers

EMPTY = (204, 205, 304)
"""The status codes whose answers have no content (RFC 9110 s.15.3.5, s.15.3.6, s.15.4.5)."""
DECIDED = frozenset(("content-type", "content-length", "transfer-encoding", "connection", "date", "server",
"set-cookie"))


# -- Responses -------------------------------------------------------------------------------

@dataclass
class Said:
    """A response as a handler may say it, and what must come of it."""

    code: int
    arguments: dict[str, Any]
    content: bytes
    content_type: bytes | None
    streams: bool
    declared: bool
    fields: list[tuple[str, str]]
    cookies: SimpleCookie
    connection: str | None

    def response(self) -> Response:
        headers = [*self.fields]
        if self.connection is not None:
            headers.append(("Connection", self.connection))
        if self.declared:
            headers.insert(0, ("Content-Length", str(len(self.content))))
        return Response(self.code, headers=headers or None, cookies=self.cookies or None, **self.arguments)


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=3)
                    | st.dictionaries(st.text(max_size=3), inner, max_size=2),
                    max_leaves=4).filter(lambda value: value is not None)
TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
LATIN = st.text(st.characters(codec="latin-1"), max_size=8)
FIELD_LISTS = st.lists(st.tuples(
    strategies.tokens().filter(lambda name: name.lower() not in DECIDED), strategies.VALUES), max_size=3)
CODES = st.sampled_from((200, 200, 200, *EMPTY, 201, 404, 500)) | st.integers(200, 599)


@st.composite
def contents(draw: strategies.Draw) -> tuple[dict[str, Any], bytes, bytes | None, bool]:
    """The arguments of a response, its content and Content-Type, and whether it is a stream."""
    kind = draw(st.sampled_from(("text", "body", "json", "stream", "none")))
    if kind == "text":
        text, charset = draw(TEXT), draw(st.sampled_from((None, "utf-8", "utf-16")))
        told = f"text/plain; charset={charset or 'utf-8'}".encode()
        return {"text": text, "encoding": charset}, text.encode(charset or "utf-8"), told, False
    if kind == "body":
        # Large content goes another way than small.
        body = draw(st.binary(max_size=20)) * draw(st.sampled_from((1, 1, 5000)))
        mime_type = draw(st.sampled_from((None, "image/png")))
        told = (mime_type or "application/octet-stream").encode()
        return {"body": body, "mime_type": mime_type}, body, told, False
    if kind == "json":
        value = draw(JSON)
        return {"json": value}, json.dumps(value).encode(), b"application/json", False
    if kind == "stream":
        pieces = draw(st.lists(st.binary(max_size=6), max_size=4))
        return {"body": iter(pieces)}, b"".join(pieces), b"application/octet-stream", True
    return {}, b"", None, False


@st.composite
def responses(draw: strategies.Draw) -> Said:
    code = draw(CODES)
    arguments, content, content_type, streams = draw(contents())
    cookies: SimpleCookie = SimpleCookie()
    for name, value in draw(st.dictionaries(strategies.COOKIE_NAMES, LATIN, max_size=2)).items():
        cookies[name] = value
    declared = draw(st.booleans()) and code not in EMPTY
    fields = draw(FIELD_LISTS)
    if draw(strategies.OFTEN) is False:
        content_type = b"Text/X"
        fields.append(("content-TYPE", "Text/X"))
    connection = draw(st.sampled_from((None, None, None, "close", "keep-alive", "Close, keep-alive")))
    return Said(code, arguments, content, content_type, streams, declared, fields, cookies, connection)


@dataclass
class Asked:
    """A request for an answer."""

    method: str
    minor: int
    option: str | None

    @property
    def persistent(self) -> bool:
        return self.option != "close" and (self.minor == 1 or self.option == "keep-alive")

    @property
    def octets(self) -> bytes:
        option = f"Connection: {self.option}\r\n" if self.option else ""
        host = "Host: a\r\n" if self.minor else ""
        return f"{self.method} / HTTP/1.{self.minor}\r\n{host}{option}\r\n".encode()


REQUESTS = st.builds(Asked, st.sampled_from(("GET", "GET", "HEAD", "POST", "OPTIONS")),
                     st.sampled_from((1, 1, 1, 0)),
                     st.sampled_from((None, None, None, "close", "keep-alive")))


# -- The wire --------------------------------------------------------------------------------

def sent_for(backend: Backend, exchanges: Sequence[tuple[Asked, Response]]) -> tuple[bytes, bool]:
    """What leaves for some requests that come in one read, and whether the connection goes on."""
    left = [response for _, response in exchanges]

    def target(head: RequestHead) -> Target:
        return Target(start, None, None, False, 0)

    def start(request: Request) -> None:
        host.connection.respond(request, left.pop(0))

    host = Host(backend, Limits(), target, start)
    host.receive(b"".join(asked.octets for asked, _ in exchanges))
    while host.connection.streaming is not None:
        host.send_stream()
    return host.sent, host.connection.phase is Phase.OPEN


def persists(asked: Asked, said: Said) -> bool:
    """Whether the connection goes on (RFC 9112 s.9.3)."""
    until_close = said.streams and not said.declared and not asked.minor
    has_content = asked.method != "HEAD" and said.code not in EMPTY
    return (asked.persistent and "close" not in (said.connection or "").lower()
            and not (until_close and has_content))


def expected_fields(asked: Asked, said: Said) -> list[tuple[bytes, bytes]]:
    """The field lines, in the order in which they leave."""
    fields: list[tuple[bytes, bytes]] = []
    own = [(name.lower().encode(), value.encode("latin-1")) for name, value in said.fields]
    own_type = any(name == b"content-type" for name, _ in own)
    if said.content_type and said.code not in (204, 205) and not own_type:
        fields.append((b"content-type", said.content_type))
    if said.code == 205:
        fields.append((b"content-length", b"0"))
    elif said.code not in EMPTY and (said.declared or not said.streams):
        fields.append((b"content-length", b"%d" % len(said.content)))
    elif said.code not in EMPTY and asked.minor:
        fields.append((b"transfer-encoding", b"chunked"))
    fields += own
    fields += [(b"set-cookie", morsel.OutputString().encode("latin-1")) for morsel in said.cookies.values()]
    if not persists(asked, said):
        fields.append((b"connection", b"close"))
    elif not asked.minor:
        fields.append((b"connection", b"keep-alive"))
    return [*fields, (b"date", DATE)]


def check(asked: Asked, said: Said, answer: Answer) -> None:
    """That a client reads what the handler said."""
    has_content = asked.method != "HEAD" and said.code not in EMPTY
    assert answer.whole
    assert answer.status == said.code
    assert answer.content == (said.content if has_content else b"")
    assert answer.fields == expected_fields(asked, said)
    assert answer.closes is not persists(asked, said)


@given(asked=REQUESTS, said=responses())
def test_h11_reads_what_the_handler_said(asked: Asked, said: Said, backend: Backend) -> None:
    sent, goes_on = sent_for(backend, [(asked, said.response())])
    [answer] = answers(sent, [asked.method], ended=not goes_on)
    check(asked, said, answer)
    assert goes_on is persists(asked, said)


@given(exchanges=st.lists(st.tuples(REQUESTS, responses()), min_size=2, max_size=5))
def test_answers_that_leave_together(exchanges: list[tuple[Asked, Said]], backend: Backend) -> None:
    """Of pipelined requests each has its answer, up to the first that ends the connection."""
    sent, goes_on = sent_for(backend, [(asked, said.response()) for asked, said in exchanges])
    lasting = [persists(asked, said) for asked, said in exchanges]
    count = lasting.index(False) + 1 if False in lasting else len(exchanges)
    got = list(answers(sent, [asked.method for asked, _ in exchanges], ended=not goes_on))
    assert len(got) == count
    for (asked, said), answer in zip(exchanges, got, strict=False):
        check(asked, said, answer)
    assert goes_on is all(lasting)


class Listener:
    """Reads one response with llhttp."""

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        self.content = b""
        self.keeps_alive: list[bool] = []
        self.parser = httptools.HttpResponseParser(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value.strip(b"\t ")))

    def on_body(self, octets: bytes) -> None:
        self.content += octets

    def on_message_complete(self) -> None:
        self.keeps_alive.append(self.parser.should_keep_alive())


@given(asked=REQUESTS.filter(lambda asked: asked.method != "HEAD"), said=responses())
def test_llhttp_reads_what_the_handler_said(asked: Asked, said: Said, backend: Backend) -> None:
    """Except for HEAD, which it cannot be told of."""
    sent, goes_on = sent_for(backend, [(asked, said.response())])
    listener = Listener()
    listener.parser.feed_data(sent)
    assert listener.parser.get_status_code() == said.code
    assert listener.content == (b"" if said.code in EMPTY else said.content)
    assert listener.fields == expected_fields(asked, said)
    until_close = not any(name in (b"content-length", b"transfer-encoding") for name, _ in listener.fields)
    if until_close and said.code not in (204, 304):
        assert listener.keeps_alive == []
        assert not goes_on
    else:
        assert listener.keeps_alive == [goes_on]


# -- What must not leave ---------------------------------------------------------------------

ANY_TEXT = st.text(max_size=6) | strategies.made_of(
    "\r", "\n", "\r\n", "\0", "X: y", ":", " ", "\t", "a", "\u00e9", "\u20ac", "\u2028", "\x85", "\x7f",
    "\ud800", ";", '"', "close", "chunked", "utf-8", max_size=5)
INJECTED = st.builds("{}{}{}".format, strategies.VALUES, ANY_TEXT, strategies.VALUES)
NAMES = ANY_TEXT | strategies.tokens() | st.sampled_from(sorted(DECIDED))
GET = Asked("GET", 1, None)


def lines_of(sent: bytes) -> list[bytes]:
    """The field lines of one answer."""
    head, end, _ = sent.partition(b"\r\n\r\n")
    assert end
    assert b"\0" not in head
    assert all(line.strip(b"\r") == line and b"\n" not in line for line in head.split(b"\r\n"))
    return head.split(b"\r\n")[1:]


def refused_or_sent(backend: Backend, make: Any) -> bytes | None:
    """What leaves of a response; ``None`` when it is refused, and then nothing leaves of it."""
    wire = b""
    try:
        response = make()
        wire, _ = sent_for(backend, [(GET, response)])
    except (ResponseError, CookieError):
        assert wire == b""
        return None
    return wire


@given(fields=st.lists(st.tuples(NAMES, INJECTED | st.integers() | st.binary(max_size=3)), max_size=2))
def test_fields_cannot_break_out_of_their_lines(fields: list[tuple[str, Any]], backend: Backend) -> None:
    wire = refused_or_sent(backend, lambda: Response(text="", headers=fields))
    if wire is not None:
        own = [f"{name}: {value}".encode("latin-1") for name, value in fields
               if name.lower() not in ("content-length", "connection")]
        lines = lines_of(wire)
        assert [line for line in lines if line in own] == own
        assert len(lines) <= len(own) + 4  # Content-Type, Content-Length, Connection and Date


GOVERNING = st.sampled_from((
    ("Date", "Sun, 06 Nov 1994 08:49:37 GMT"), ("date", "Mon, 07 Nov 1994 08:49:37 GMT"), ("DATE", "today"),
    ("Server", "a"), ("server", ""), ("Content-Type", "a/b"), ("content-type", "c/d"),
    ("Content-Length", "3"),
    ("content-length", "3"), ("CONTENT-LENGTH", "4"), ("Transfer-Encoding", "chunked"),
    ("transfer-encoding", "gzip"), ("Connection", "close"), ("connection", "keep-alive, Close"),
    ("Connection", "upgrade"), ("X", "y")))


@given(fields=st.lists(GOVERNING, max_size=4), method=st.sampled_from(("GET", "HEAD")),
       minor=st.sampled_from((0, 1)), streams=st.booleans(), code=st.sampled_from((200, 204, 205, 304)))
def test_what_governs_is_consistent_or_refused(fields: list[tuple[str, str]], method: str, minor: int,
                                               streams: bool, code: int, backend: Backend) -> None:
    """A handler may say what the server would; never two of one kind leave, nor what is not so."""
    asked = Asked(method, minor, None)
    response = Response(code, body=iter([b"abc"]) if streams else b"abc", headers=fields)
    try:
        sent, goes_on = sent_for(backend, [(asked, response)])
    except ResponseError:
        return
    [answer] = answers(sent, [method], ended=not goes_on)
    names = [name for name, _ in answer.fields if name != b"x"]
    assert len(names) == len(set(names))
    assert not {b"content-length", b"transfer-encoding"} <= set(names)
    assert answer.whole
    assert answer.content == (b"abc" if method == "GET" and code == 200 else b"")
    assert answer.closes is not goes_on
    own = {name.lower(): value for name, value in fields}
    assert answer.get(b"date") == own.get("date", DATE.decode()).encode()
    assert answer.get(b"server") == (own["server"].encode() if "server" in own else None)
    if code == 200 and not streams:
        assert answer.get(b"content-length") == b"3"
    elif code in (200, 304) and "content-length" in own:
        assert answer.get(b"content-length") == own["content-length"].encode()


@given(fields=st.lists(st.tuples(NAMES, INJECTED), min_size=1, max_size=2))
def test_fields_that_are_set_later_are_checked_too(fields: list[tuple[str, str]], backend: Backend) -> None:
    def make() -> Response:
        response = Response(text="")
        for name, value in fields:
            response.headers[name] = value
            response.headers.add(name, value)
        return response

    wire = refused_or_sent(backend, make)
    if wire is not None:
        assert len(lines_of(wire)) <= 2 * len(fields) + 4


@given(name=NAMES, value=ANY_TEXT, told=ANY_TEXT,
       attribute=st.sampled_from(("path", "domain", "comment", "max-age", "samesite")))
def test_cookies_cannot_break_out_of_their_lines(name: str, value: str, told: str, attribute: str,
                                                 backend: Backend) -> None:
    def make() -> Response:
        cookies: SimpleCookie = SimpleCookie()
        cookies[name] = value
        cookies[name][attribute] = told
        return Response(text="", cookies=cookies)

    wire = refused_or_sent(backend, make)
    if wire is not None:
        [cookie] = [line for line in lines_of(wire) if line.startswith(b"Set-Cookie: ")]
        assert cookie.startswith(b"Set-Cookie: " + name.encode() + b"=")
        assert len(lines_of(wire)) == 4


@given(mime_type=st.none() | ANY_TEXT | st.sampled_from(("text/html", "a/b; c=d")),
       encoding=st.none() | ANY_TEXT | st.sampled_from(
           ("idna", "punycode", "hex", "undefined", "utf-7", "latin-1", "\0")),
       text=TEXT | ANY_TEXT)
def test_a_media_type_cannot_break_out_of_its_line(mime_type: str | None, encoding: str | None, text: str,
                                                   backend: Backend) -> None:
    wire = refused_or_sent(backend, lambda: Response(text=text, mime_type=mime_type, encoding=encoding))
    if wire is not None:
        assert len(lines_of(wire)) == 3


@given(pieces=st.lists(st.binary(max_size=5) | st.sampled_from(("text", None, 1)), max_size=4),
       declared=st.none() | st.integers(0, 12))
def test_a_stream_that_cannot_be_sent_does_not_look_complete(pieces: list[Any], declared: int | None,
                                                             backend: Backend) -> None:
    """What is no octets, or more or fewer than declared, ends the answer early (RFC 9112 s.8)."""
    length = sum(len(piece) for piece in pieces if isinstance(piece, bytes))
    sound = all(isinstance(piece, bytes) for piece in pieces) and declared in (None, length)
    started: list[Request] = []
    host = Host(backend, Limits(), lambda head: Target(started.append, None, None, False, 0), started.append)
    host.receive(GET.octets)
    headers = None if declared is None else {"Content-Length": declared}
    host.connection.respond(started[0], Response(body=iter(pieces), headers=headers))
    host.pump()
    with nullcontext() if sound else pytest.raises(ResponseError):
        host.send_stream()
    if not sound:
        assert host.connection.abort_stream() is False
        host.pump()
    [answer] = answers(host.sent, ["GET"], ended=not sound)
    assert answer.whole is (sound or declared == len(answer.content))
    assert (host.connection.phase is Phase.OPEN) is sound
