"""Octets for a server: what the grammar allows, what it nearly allows, and anything at all.

A :class:`Sent` is one request as a client may write it, together with what must come of it and how
much of each bound it needs.  It is built from the grammar of RFC 9112 and not from the code under test:
whatever there is two ways to write is written in either.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, NamedTuple
from urllib.parse import quote

from hypothesis import strategies as st

from japronto.limits import Limits
from japronto.messages import CHUNKED, ENCODED_SLASH, Framing

from .driving import Fields, Message

Draw = Callable[[st.SearchStrategy[Any]], Any]

DIGITS = "0123456789"
ALPHA = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
TCHARS = "!#$%&'*+-.^_`|~" + DIGITS + ALPHA
VISIBLE = "".join(map(chr, range(0x21, 0x7F)))
PATH_CHARS = "".join(char for char in VISIBLE if char not in "/?#\\%")
QUERY_CHARS = "".join(char for char in VISIBLE if char != "#")
VALUE_CHARS = "".join(map(chr, (0x09, *range(0x20, 0x7F), *range(0x80, 0x100))))

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
OTHER_METHODS = st.text(TCHARS, min_size=1, max_size=8).filter(lambda method: method != "CONNECT")
OFTEN = st.sampled_from((True,) * 7 + (False,))
GOVERNING = frozenset(("host", "connection", "content-length", "transfer-encoding", "expect", "upgrade"))
DROPPED_TRAILERS = ("Host", "content-length", "Transfer-Encoding", "CONNECTION", "Authorization", "cookie",
                    "Content-Type", "Set-Cookie", "Trailer", "Range", "TE", "Via", "X-Forwarded-For")
"""Of the fields that frame, route, authenticate or describe content: RFC 9110 s.6.5.1."""


# -- Parts -----------------------------------------------------------------------------------

def tokens(max_size: int = 8) -> st.SearchStrategy[str]:
    """token = 1*tchar (RFC 9110 s.5.6.2)."""
    return st.text(TCHARS, min_size=1, max_size=max_size)


def cased(text: str) -> st.SearchStrategy[str]:
    """``text`` in whatever case."""
    return st.sampled_from((text, text.lower(), text.upper(), text.title(), text.swapcase()))


def made_of(*parts: Any, max_size: int = 10) -> st.SearchStrategy[Any]:
    """Texts, or octets, of nothing but these parts."""
    return st.lists(st.sampled_from(parts), max_size=max_size).map(type(parts[0])().join)


# Of those that are attributes of a cookie none ends in a digit.
COOKIE_NAMES = st.text(ALPHA, max_size=3).map(lambda name: name + "0")
OWS = st.sampled_from(("", " ", "\t", " \t", "   "))
VALUES = st.text(VALUE_CHARS, max_size=12).map(lambda text: text.strip("\t "))
QUOTED_STRINGS = st.lists(
    st.sampled_from([char for char in VALUE_CHARS if char not in '"\\'])
    | st.sampled_from(VALUE_CHARS).map(lambda char: "\\" + char), max_size=4,
).map(lambda parts: '"' + "".join(parts) + '"')
PORTS = st.none() | st.text(DIGITS, max_size=5)
HOSTS = st.one_of(
    st.sampled_from(("localhost", "a.example", "A-b.EXAMPLE", "127.0.0.1", "[::1]", "[2001:DB8::7f00:1]",
                     "[v1.fe80::a+en1]", "%41.example")),
    st.text(ALPHA + DIGITS + "-._~!$&'()*+,;=", min_size=1, max_size=8))


@st.composite
def authorities(draw: Draw) -> str:
    """uri-host [ ":" port ] (RFC 9110 s.7.2), the host not empty."""
    host, port = draw(HOSTS), draw(PORTS)
    return str(host) if port is None else f"{host}:{port}"


class Path(NamedTuple):
    """A path on the wire, and what it means."""

    raw: str
    decoded: str


def _escaped(char: str) -> Path:
    """A character percent-encoded, in hexadecimal digits of either case."""
    raw = quote(char, safe="") if ord(char) > 0x7F else f"%{ord(char):02X}"
    return Path(raw.lower() if ord(char) % 2 else raw, ENCODED_SLASH if char == "/" else char)


PATH_PARTS = st.one_of(
    st.just(Path("/", "/")),
    st.text(PATH_CHARS, min_size=1, max_size=5).map(lambda text: Path(text, text)),
    st.characters(codec="utf-8", exclude_characters="\0\r\n").map(_escaped),
    st.sampled_from((Path("%2F", ENCODED_SLASH), Path("..", ".."), Path("//", "//"))))
PATHS = st.lists(PATH_PARTS, max_size=4).map(
    lambda parts: Path("/" + "".join(part.raw for part in parts),
                       "/" + "".join(part.decoded for part in parts)))
QUERIES = st.none() | st.text(QUERY_CHARS, max_size=8)


class TargetOf(NamedTuple):
    """A request-target, and what it says."""

    raw: str
    path: str
    query: str | None
    authority: str | None = None


@st.composite
def targets(draw: Draw, method: str) -> TargetOf:
    """Any of the four forms that goes with the method (RFC 9112 s.3.2)."""
    if method == "CONNECT":
        authority = f"{draw(HOSTS)}:{draw(st.text(DIGITS, min_size=1, max_size=5))}"
        return TargetOf(authority, authority, None)
    form = draw(st.sampled_from(("origin", "origin", "origin", "absolute", "asterisk")))
    if form == "asterisk" and method == "OPTIONS":
        return TargetOf("*", "*", None)
    path, query = draw(PATHS), draw(QUERIES)
    behind = "" if query is None else f"?{query}"
    if form != "absolute":
        return TargetOf(path.raw + behind, path.decoded, query)
    scheme, authority = draw(cased("http") | cased("https")), draw(authorities())
    if draw(st.booleans()):
        return TargetOf(f"{scheme}://{authority}{path.raw}{behind}", path.decoded, query, authority)
    # No path is "/", and with OPTIONS the server as a whole (RFC 9112 s.3.2.4).
    decoded = "*" if method == "OPTIONS" and query is None else "/"
    return TargetOf(f"{scheme}://{authority}{behind}", decoded, query, authority)


# -- Field lines -----------------------------------------------------------------------------

class FieldLine(NamedTuple):
    """name ":" OWS value OWS (RFC 9112 s.5)."""

    name: str
    value: str
    before: str = " "
    behind: str = ""

    @property
    def octets(self) -> bytes:
        return f"{self.name}:{self.before}{self.value}{self.behind}\r\n".encode("latin-1")

    @property
    def pair(self) -> tuple[bytes, bytes]:
        return self.name.encode(), self.value.encode("latin-1")


def lines_of(names: st.SearchStrategy[str], values: st.SearchStrategy[str]) -> st.SearchStrategy[FieldLine]:
    return st.builds(FieldLine, names, values, OWS, OWS)


ORDINARY_NAMES = tokens().filter(lambda name: name.lower() not in GOVERNING) | st.sampled_from(
    ("Accept", "cookie", "X-Forwarded-For", "Content_Length", "hos", "Transfer-Encodin", "Hostname"))
ORDINARY_LINES = lines_of(ORDINARY_NAMES, VALUES)
OTHER_OPTIONS = tokens(4).filter(lambda option: option.lower() not in ("close", "keep-alive", "upgrade"))


@st.composite
def lists(draw: Draw, name: str, elements: Sequence[str]) -> list[FieldLine]:
    """``elements`` as a list (RFC 9110 s.5.6.1), over one line or several, with empty elements."""
    elements = list(elements)
    lines = []
    while elements or not lines:
        taken = draw(st.integers(1, max(1, len(elements))))
        empty = st.just([]) if draw(OFTEN) else st.lists(st.sampled_from(("", " ", "\t")), max_size=1)
        parts = []
        for element in elements[:taken]:
            parts += [*draw(empty), draw(OWS) + element]
        value = ",".join([*parts, *draw(empty)])
        lines.append(FieldLine(draw(cased(name)), value.strip("\t "), draw(OWS), draw(OWS)))
        elements = elements[taken:]
    return lines


# -- Content ---------------------------------------------------------------------------------

class Coded(NamedTuple):
    """Content in chunks (RFC 9112 s.7.1): its octets, what they hold, and the bounds they need."""

    octets: bytes
    content: bytes
    trailers: list[FieldLine]
    line_bytes: int
    extension_bytes: int


@st.composite
def extensions(draw: Draw) -> str:
    """chunk-ext (RFC 9112 s.7.1.1), with bad white space."""
    text = ""
    for _ in range(draw(st.sampled_from((0, 0, 0, 1, 2)))):
        text += f"{draw(OWS)};{draw(OWS)}{draw(tokens(4))}"
        if draw(st.booleans()):
            text += f"{draw(OWS)}={draw(OWS)}{draw(tokens(4) | QUOTED_STRINGS)}"
    return text


@st.composite
def chunked(draw: Draw) -> Coded:
    """A chunked body."""
    octets, pieces, lines, bought = b"", draw(st.lists(st.binary(min_size=1, max_size=20), max_size=3)), [], 0
    for piece in [*pieces, b""]:
        extension = draw(extensions())
        size = draw(st.sampled_from(("", "", "0", "000"))) + f"{len(piece):{draw(st.sampled_from('xX'))}}"
        lines.append(f"{size}{extension}".encode("latin-1"))
        bought += len(extension)
        octets += lines[-1] + b"\r\n"
        octets += piece + b"\r\n" if piece else b""
    names = ORDINARY_NAMES | st.sampled_from(DROPPED_TRAILERS)
    trailers = draw(st.lists(lines_of(names, VALUES), max_size=3))
    octets += b"".join(line.octets for line in trailers) + b"\r\n"
    return Coded(octets, b"".join(pieces), trailers, max(map(len, lines)), bought)


KEPT_TRAILERS = re.compile("|".join(DROPPED_TRAILERS), re.IGNORECASE)


def kept(trailers: Sequence[FieldLine]) -> Fields:
    """The trailers that are handed over."""
    return tuple(line.pair for line in trailers if not KEPT_TRAILERS.fullmatch(line.name))


# -- Requests --------------------------------------------------------------------------------

@dataclass(frozen=True)
class Sent:
    """One request on the wire."""

    head: bytes
    body: bytes
    message: Message
    """What must come of it."""
    needs: dict[str, int]
    """Of each bound in ``Limits`` the least that takes it."""

    @property
    def octets(self) -> bytes:
        return self.head + self.body


def _needs(empty_lines: int, request_line: str, lines: Sequence[FieldLine], content: bytes,
           coded: Coded | None) -> dict[str, int]:
    trailers = coded.trailers if coded else []
    return {
        "empty_lines": empty_lines,
        "request_line_bytes": len(request_line),
        "field_line_bytes": max((len(line.octets) - 2 for line in (*lines, *trailers)), default=0),
        "field_section_bytes": sum(len(line.octets) for line in lines),
        "fields": len(lines),
        "content_bytes": len(content),
        "chunk_line_bytes": coded.line_bytes if coded else 0,
        "chunk_extension_bytes": coded.extension_bytes if coded else 0,
        "trailer_section_bytes": sum(len(line.octets) for line in trailers),
        "trailer_fields": len(trailers),
    }


@st.composite
def _connection(draw: Draw, minor: int, upgrade: bool) -> tuple[list[FieldLine], bool]:
    """Connection lines that say whether the connection goes on, and whether it does (RFC 9112 s.9.3)."""
    options = draw(st.lists(st.sampled_from(("close", "keep-alive")) | OTHER_OPTIONS, max_size=2))
    if upgrade:
        options.append("upgrade")
    if not options and draw(st.booleans()):
        return [], bool(minor)
    persistent = "close" not in options and (bool(minor) or "keep-alive" in options)
    return draw(lists("Connection", [draw(cased(option)) for option in options])), persistent


@st.composite
def requests(draw: Draw, *, framed: bool | None = None, upgrade: bool | None = None) -> Sent:
    """A request that the grammar allows.

    ``framed``   whether it has content; ``None`` for either
    ``upgrade``  whether another protocol may follow it; ``None`` for either, though seldom
    """
    minor = draw(st.sampled_from((1, 1, 1, 0)))
    wants_upgrade = upgrade if upgrade is not None else draw(st.sampled_from((False,) * 7 + (True,)))
    connect = wants_upgrade and (not minor or draw(st.booleans()))
    method = "CONNECT" if connect else draw(st.sampled_from(METHODS) if draw(OFTEN) else OTHER_METHODS)
    with_content = draw(st.booleans()) if framed is None else framed
    with_content = with_content and not wants_upgrade
    target = draw(targets(method))
    # In HTTP/1.0 an Upgrade is ignored (RFC 9110 s.7.8), and here with content.
    ignored = not wants_upgrade and (with_content or not minor) and not draw(OFTEN)
    upgrades = ignored or (wants_upgrade and not connect)
    connection, persistent = draw(_connection(minor, upgrades))
    lines = [*draw(st.lists(ORDINARY_LINES, max_size=3)), *connection]
    host = draw(authorities() | st.just("")) if minor or draw(st.booleans()) else None
    if host is not None:
        lines.append(FieldLine(draw(cased("Host")), host, draw(OWS), draw(OWS)))
    if upgrades:
        lines.append(FieldLine(draw(cased("Upgrade")), draw(tokens()), draw(OWS), draw(OWS)))
    length, content, body, coded, trailers = None, b"", b"", None, ()
    if with_content and minor and draw(st.booleans()):
        coded = draw(chunked())
        length, content, body, trailers = CHUNKED, coded.content, coded.octets, kept(coded.trailers)
        lines += draw(lists("Transfer-Encoding", [draw(cased("chunked"))]))
    elif with_content:
        content = body = draw(st.binary(max_size=30))
        length = len(content)
        lines.append(FieldLine(draw(cased("Content-Length")), "0" * draw(st.integers(0, 2)) + str(length)))
    expects = draw(st.sampled_from((False, False, False, True)))
    if expects:
        lines.append(FieldLine(draw(cased("Expect")), draw(cased("100-continue")), draw(OWS), draw(OWS)))
    lines = draw(st.permutations(lines))
    version = "HTTP/1.1" if draw(OFTEN) else draw(st.sampled_from(("HTTP/1.2", "HTTP/1.9")))
    version = version if minor else "HTTP/1.0"
    request_line = f"{method} {target.raw} {version}"
    empty_lines = draw(st.sampled_from((0, 0, 0, 1, 3)))
    head = b"\r\n" * empty_lines + request_line.encode() + b"\r\n"
    head += b"".join(line.octets for line in lines) + b"\r\n"
    framing = Framing(length, persistent, expects and bool(minor) and bool(length), wants_upgrade)
    message = Message(method, target.raw.encode(), target.path, target.query, minor, framing,
                      _seen(lines, target.authority, minor), content, trailers)
    return Sent(head, body, message, _needs(empty_lines, request_line, lines, content, coded))


def _seen(lines: Sequence[FieldLine], authority: str | None, minor: int) -> Fields:
    """The fields that are handed over: an authority in the target replaces Host (RFC 9112 s.3.2.2)."""
    pairs = [line.pair for line in lines]
    if authority is None:
        return tuple(pairs)
    told = authority.encode()
    replaced = tuple((name, told if name.lower() == b"host" else value) for name, value in pairs)
    if not minor and not any(name.lower() == b"host" for name, _ in pairs):
        return (*replaced, (b"Host", told))
    return replaced


def streams(min_size: int = 1, max_size: int = 4) -> st.SearchStrategy[list[Sent]]:
    """Pipelined requests; what follows one that says close is there too, and means nothing."""
    return st.lists(requests(), min_size=min_size, max_size=max_size)


def joined(stream: Sequence[Sent]) -> bytes:
    return b"".join(sent.octets for sent in stream)


def read_of(stream: Sequence[Sent]) -> list[Sent]:
    """Those that are looked at: up to the first that says close (RFC 9112 s.9.6)."""
    for number, sent in enumerate(stream, 1):
        if not sent.message.framing.persistent:
            return list(stream[:number])
    return list(stream)


def needed(stream: Sequence[Sent]) -> dict[str, int]:
    """The least of each bound that takes all of them; a bound is at least 1."""
    return {name: max(1, *(sent.needs[name] for sent in stream)) for name in stream[0].needs}


# -- What is nearly right --------------------------------------------------------------------

INTERESTING = (b"\r", b"\n", b"\r\n", b" ", b"\t", b"\0", b":", b",", b";", b"=", b'"', b"\\", b"/", b"?",
               b"#", b"%", b"*", b"@", b"[", b"0", b"1", b"f", b"-", b"+", b"_", b"\x7f", b"\x80", b"\xff",
               b"\x0b", b"\x0c", b"HTTP/2.0", b"%00", b"%2f", b"\r\n\r\n")
DUBIOUS_LINES = ( b"Content-Length: 5", b"Content-Length: +5", b"Content-Length: 5, 5",
    b"Content-Length: 0x5", b"Content-Length:", b"Content-Length: 5 5",
    b"Content-Length: 18446744073709551621", b"Content-Length: -1", b"Content-Length: 5_0",
    b"Content_Length: 5", b"Content-Length : 5", b"Content-Length\t: 5", b"Content-Length: 5;a",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: chunked, gzip",
    b"Transfer-Encoding: identity", b"Transfer-Encoding: xchunked", b'Transfer-Encoding: "chunked"',
    b"Transfer-Encoding: chunked;q=1", b"Transfer-Encoding:\x0bchunked", b"Transfer-Encoding: chunked\x00",
    b"Transfer-Encoding: \x80chunked", b"Transfer-Encoding: chunked, chunked", b"Transfer-Encoding:",
    b"Transfer-Encoding: ,chunked,", b'Transfer-Encoding: gzip;a="b,c", chunked',
    b"TransferEncoding: chunked", b"Host: b", b"Host: a b", b"Host: a, b", b"Host: user@a", b"Host: a/b",
    b"Host: [::1", b"Host: a:b", b"Host:", b"Connection: close", b"Connection: keep-alive",
    b"Connection: keep-alive, close", b"Connection: a b", b'Connection: "close"', b"Connection:",
    b"Connection: ,", b"Connection: close\x0b", b"Expect: 100-continue", b"Expect: 200-ok", b"Expect:",
    b"Upgrade: websocket", b" folded: a", b"\tfolded", b"no colon", b": no name", b"bad name: a",
    b"bad(name: a", b"n\x80me: a", b"a: b\rc: d", b"a: b\nc: d", b"a: b\x00", b"a: \x7f")
DUBIOUS_REQUEST_LINES = ( b"CONNECT / HTTP/1.1", b"CONNECT /%zz HTTP/1.1", b"CONNECT a HTTP/1.1",
    b"CONNECT a:b HTTP/1.1", b"CONNECT [::1]:1 HTTP/1.1", b"CONNECT :1 HTTP/1.1", b"connect / HTTP/1.1",
    b"GET * HTTP/1.1", b"GET a:1 HTTP/1.1", b"OPTIONS ** HTTP/1.1", b"GET http:///a HTTP/1.1",
    b"GET http://:1/ HTTP/1.1", b"GET ftp://a/ HTTP/1.1", b"GET http://u@a/ HTTP/1.1",
    b"GET http://a\\b HTTP/1.1", b"GET //a HTTP/1.1", b"GET /%2 HTTP/1.1", b"GET /%0a HTTP/1.1",
    b"GET /%ff HTTP/1.1", b"GET /%ed%b0%af HTTP/1.1", b"GET /a#b HTTP/1.1", b"GET /?a#b HTTP/1.1",
    b"GET /\\ HTTP/1.1", b"GET /\x80 HTTP/1.1", b"GET /\x7f HTTP/1.1", b"GET /\x00 HTTP/1.1",
    b"GET  / HTTP/1.1", b"GET /  HTTP/1.1", b"GET\t/ HTTP/1.1", b"GET /a b HTTP/1.1", b" GET / HTTP/1.1",
    b"G(T / HTTP/1.1", b"get / HTTP/1.1", b"GET / http/1.1", b"GET / HTTP/1.1 ", b"GET / HTTP/11",
    b"GET / HTTP/1.10", b"GET / HTTP/2.0", b"GET / HTTP/0.9", b"PRI * HTTP/2.0", b"GET /", b"GET / ICE/1.0",
    b"\x16\x03\x01\x02", b"GET /\rx HTTP/1.1")
LENGTHS = re.compile(rb"(?i)content-length:[\t ]*([0-9]+)|\r\n([0-9A-F]{1,4})(?:;[^\r\n]*)?\r\n")


def _replaced(octets: bytes, begin: int, end: int, put: bytes) -> bytes:
    return octets[:begin] + put + octets[end:]


@st.composite
def mutated(draw: Draw, octets: bytes) -> bytes:
    """``octets`` with one thing wrong, or at least different."""
    return MUTATIONS[draw(st.sampled_from(sorted(MUTATIONS)))](draw, octets)


def _place(draw: Draw, octets: bytes) -> int:
    return int(draw(st.integers(0, max(0, len(octets) - 1))))


def _puts(draw: Draw) -> bytes:
    return bytes(draw(st.sampled_from(INTERESTING) | st.binary(min_size=1, max_size=2)))


def _change(draw: Draw, octets: bytes) -> bytes:
    at = _place(draw, octets)
    return _replaced(octets, at, at + 1, _puts(draw))


def _remove(draw: Draw, octets: bytes) -> bytes:
    at = _place(draw, octets)
    return _replaced(octets, at, at + draw(st.integers(1, 3)), b"")


def _insert(draw: Draw, octets: bytes) -> bytes:
    at = _place(draw, octets)
    return _replaced(octets, at, at, _puts(draw))


def _duplicate(draw: Draw, octets: bytes) -> bytes:
    at = _place(draw, octets)
    return _replaced(octets, at, at, octets[at:at + draw(st.integers(1, 8))])


def _drop(end: bytes) -> Callable[[Draw, bytes], bytes]:
    def drop(draw: Draw, octets: bytes) -> bytes:
        """One CR, or one LF, gone."""
        places = [found.start() for found in re.finditer(end, octets)]
        at = draw(st.sampled_from(places)) if places else 0
        return _replaced(octets, at, at + 1, b"")

    return drop


def _another_line(draw: Draw, octets: bytes) -> bytes:
    """A line that governs, or is malformed, where a field line may stand."""
    places = [found.end() for found in re.finditer(rb"\r\n", octets)] or [0]
    at = draw(st.sampled_from(places))
    return _replaced(octets, at, at, draw(st.sampled_from(DUBIOUS_LINES)) + b"\r\n")


def _another_request_line(draw: Draw, octets: bytes) -> bytes:
    end = octets.find(b"\r\n")
    return draw(st.sampled_from(DUBIOUS_REQUEST_LINES)) + octets[max(0, end):]


def _repeat_a_line(draw: Draw, octets: bytes) -> bytes:
    ends = [0, *(found.end() for found in re.finditer(rb"\r\n", octets))]
    lines = list(pairwise(ends)) or [(0, len(octets))]
    begin, end = draw(st.sampled_from(lines))
    at = draw(st.sampled_from(ends))
    return _replaced(octets, at, at, octets[begin:end])


def _another_length(draw: Draw, octets: bytes) -> bytes:
    """A Content-Length or a chunk size that is not what follows."""
    found = list(LENGTHS.finditer(octets))
    if not found:
        return _change(draw, octets)
    match = draw(st.sampled_from(found))
    group = 1 if match[1] else 2
    base = 10 if match[1] else 16
    size = max(0, int(match[group], base) + draw(st.sampled_from((-2, -1, 1, 2, 16, 2**31, 2**63, 2**64))))
    return _replaced(octets, *match.span(group), (b"%d" if match[1] else b"%x") % size)


def _truncate(draw: Draw, octets: bytes) -> bytes:
    return octets[:_place(draw, octets)]


MUTATIONS: dict[str, Callable[[Draw, bytes], bytes]] = {
    "another length": _another_length,
    "another line": _another_line,
    "another request line": _another_request_line,
    "change": _change,
    "drop CR": _drop(b"\r"),
    "drop LF": _drop(b"\n"),
    "duplicate": _duplicate,
    "insert": _insert,
    "remove": _remove,
    "repeat a line": _repeat_a_line,
    "truncate": _truncate,
}


@st.composite
def nearly_valid(draw: Draw) -> bytes:
    """One to two requests that would be right but for one thing, or two."""
    octets = joined(draw(streams(max_size=2)))
    for _ in range(draw(st.sampled_from((1, 1, 1, 2)))):
        octets = draw(mutated(octets))
    return octets


ANYTHING = st.binary(max_size=60) | made_of(
    *INTERESTING, b"GET ", b"POST ", b"/ ", b"/", b"HTTP/1.1", b"HTTP/1.0", b"\r\n", b"\r\n", b"Host: a\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Content-Length: 3\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"5\r\nhello\r\n", b"0\r\n\r\n", max_size=16)
OCTETS = st.one_of(nearly_valid(), streams(max_size=3).map(joined), ANYTHING)


# -- Bounds and cuts -------------------------------------------------------------------------

TINY = {"request_line_bytes": 40, "field_line_bytes": 30, "field_section_bytes": 90, "fields": 5,
        "empty_lines": 3, "content_bytes": 30, "chunk_line_bytes": 12, "chunk_extension_bytes": 20,
        "trailer_section_bytes": 40,
        "trailer_fields": 3}
"""Around what the requests above need of each bound, so that each is now exceeded and now not."""
assert TINY.keys() < {bound.name for bound in fields(Limits)}


@st.composite
def limits(draw: Draw) -> Limits:
    """A few bounds that are soon reached, the others as they are by default."""
    tight = draw(st.lists(st.sampled_from(sorted(TINY)), max_size=4, unique=True))
    return Limits(**{name: draw(st.integers(1, TINY[name])) for name in tight})


@st.composite
def cuts(draw: Draw, octets: bytes) -> list[bytes]:
    """``octets`` in pieces, some perhaps empty."""
    places = sorted(draw(st.lists(st.integers(0, len(octets)), max_size=5)))
    return [octets[begin:end] for begin, end in pairwise([0, *places, len(octets)])]
