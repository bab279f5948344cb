"""Two other parsers, and how Japronto and they read the same octets.

h11 is the strict one, llhttp (by way of httptools) the one that much of the web runs on.  A *reading* is
the same for all three: the messages, where each ends, and perhaps a fault.  Where two readings
of one message differ, ``EXPLAINED`` must say by which rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import NamedTuple

import h11
import httptools

from japronto.interfaces import Parser

from .driving import Fields, Outcome, one_by_one, take, take_more


class Read(NamedTuple):
    """One message, as one parser reads it."""

    method: str
    target: bytes
    fields: Fields
    """Names in lower case; without Host if the target has an authority, which replaces it for us."""
    content: bytes
    end: int
    """How many octets it and those ahead of it have."""
    persistent: bool | None
    """Whether another may follow; ``None`` where a parser leaves that to its user."""
    switches: bool | None
    """Whether what follows may be no HTTP; ``None`` likewise."""


ABSOLUTE_FORM = re.compile(rb"(?i)https?://").match


def _comparable(target: bytes, fields: Iterable[tuple[bytes, bytes]]) -> Fields:
    lowered = ((name.lower(), value.strip(b"\t ")) for name, value in fields)
    return tuple((name, value.lower() if name == b"transfer-encoding" else value) for name, value in lowered
                 if name != b"host" or not ABSOLUTE_FORM(target))


@dataclass
class Reading:
    """The messages, and the fault that ended the reading if there was one."""

    messages: list[Read] = field(default_factory=list)
    fault: str | None = None


def by_japronto(parser: Parser, octets: bytes) -> Reading:
    reading, outcome = Reading(), Outcome()
    for end, octet in enumerate(one_by_one(octets), 1):
        take(outcome, parser.feed(octet))
        take_more(outcome, parser)
        if len(outcome.whole) > len(reading.messages):
            message = outcome.whole[-1]
            reading.messages.append(Read(
                message.method, message.target, _comparable(message.target, message.fields), message.content,
                end, message.framing.persistent, message.framing.upgrade))
    reading.fault = outcome.violation.reason if outcome.violation else None
    return reading


EMPTY_LINES = re.compile(rb"\A(?:\r\n)+")
"""Ahead of a request line, where h11 does not skip them."""


def by_h11(octets: bytes) -> Reading:
    """A connection for each message, since h11 wants an answer before it goes on."""
    reading, rest = Reading(), octets
    while rest := EMPTY_LINES.sub(b"", rest):
        connection = h11.Connection(h11.SERVER)
        connection.receive_data(rest)
        try:
            message = _next_of_h11(connection)
        except h11.RemoteProtocolError as error:
            reading.fault = str(error)
            break
        if message is None:
            break
        rest = connection.trailing_data[0]
        reading.messages.append(message._replace(end=len(octets) - len(rest)))
        if message.persistent is False:
            break
    return reading


def _next_of_h11(connection: h11.Connection) -> Read | None:
    request = content = None
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            return None
        if isinstance(event, h11.Request):
            request, content = event, b""
        elif isinstance(event, h11.Data):
            content += event.data
        elif isinstance(event, h11.EndOfMessage):
            state = connection.their_state
            # It closes after any HTTP/1.0, and does not say before it is known whether the protocol changes.
            silent = request.http_version == b"1.0" or state is h11.MIGHT_SWITCH_PROTOCOL
            return Read(request.method.decode(), request.target, _comparable(request.target, request.headers),
                        content, 0, None if silent else state is not h11.MUST_CLOSE, None)


class _Listener:
    """What llhttp calls back."""

    def __init__(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.reading = Reading()
        self.fed = 0
        self.on_message_begin()

    def on_message_begin(self) -> None:
        self.target, self.fields, self.content, self.in_head = b"", [], b"", True

    def on_url(self, octets: bytes) -> None:
        self.target += octets

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.in_head:
            self.fields.append((name, value))

    def on_headers_complete(self) -> None:
        self.in_head = False

    def on_body(self, octets: bytes) -> None:
        self.content += octets

    def on_message_complete(self) -> None:
        self.reading.messages.append(Read(
            self.parser.get_method().decode(), self.target, _comparable(self.target, self.fields),
            self.content, self.fed, self.parser.should_keep_alive(), False))


def by_llhttp(octets: bytes) -> Reading:
    listener = _Listener()
    reading = listener.reading
    for octet in one_by_one(octets):
        listener.fed += 1
        try:
            listener.parser.feed_data(octet)
        except httptools.HttpParserUpgrade:
            reading.messages[-1] = reading.messages[-1]._replace(switches=True)
            break
        except httptools.HttpParserError as error:
            reading.fault = str(error)
            break
        if reading.messages and not reading.messages[-1].persistent:
            break
    return reading


# -- Where they differ -----------------------------------------------------------------------

READERS = {"h11": by_h11, "llhttp": by_llhttp}
US = "japronto"


class Difference(NamedTuple):
    """A message that two parsers read differently."""

    takes: str
    """Who takes it: one of the others, or we."""
    fault: str
    """What the one that does not take it says, or what they read differently."""
    octets: bytes
    """The message, and what follows it."""


class Explanation(NamedTuple):
    """Why that is no surprise."""

    rule: str
    """Of the checklist that the conformance cases stand under."""
    takes: str
    fault: str
    """A regular expression."""
    octets: bytes
    """A regular expression for what must stand in the message."""
    example: bytes

    def explains(self, difference: Difference) -> bool:
        return (self.takes == difference.takes and re.search(self.fault, difference.fault) is not None
                and re.search(self.octets, difference.octets) is not None)


# What must stand in a message for one of the explanations below to be one.
LINE = rb"\A(?:\r\n)*"
BARE_LF = rb"(?<!\r)\n"
CONTROL = rb"\n[^ \t\r\n][^\n]*[\x01-\x08\x0e-\x1f\x7f]"
NO_TARGET = LINE + (rb"\S+ (?:[^ ]*[#\\]|(?!/|(?i:https?)://)"
                    rb"|[^ :]*://(?:[:/? ]|[^/? ]*[^/?0-9A-Za-z\-._~!$&'()*+,;=]))")
NO_ESCAPE = LINE + rb"[^\r\n]*(?:%(?![0-9A-Fa-f]{2})|%0[0AaDd])"
NO_UTF8 = LINE + rb"[^\r\n]*%[89A-Fa-f]"
NO_HOST = LINE + rb"\S+ \S+ HTTP/1\.[1-9]\r\n(?!(?:.+\r\n)*(?i:host):)"
BAD_HOST = (rb"(?i)\nhost:[\t ]*(?:[^\t \r]*(?:[^0-9a-z\-._~!$&'()*+,;=%:\t \r]|:[0-9]*[^0-9\t \r]"
            rb"|%(?![0-9a-f]{2}))|[^\t \r]+[\t ]+[^\t \r]|(?s:.*)\nhost:)")
BAD_OPTION = rb"(?i)\nconnection:[^\r]*(?:[^!#$%&'*+\-.^_`|~0-9A-Za-z,\t \r]|[^\t ,:][\t ]+[^\t ,\r])"
BAD_EXPECT = rb"(?i)\nexpect:(?:(?![\t ]*100-continue[\t ]*\r)|(?s:.*)\nexpect:)"
LENGTHS = rb"(?i)\ncontent-length:(?:[^\r]*,|(?s:.*)\ncontent-length:)"
CODINGS = rb"(?i)\ntransfer-encoding:(?:(?![\t ]*chunked[\t ]*\r)|(?s:.*)\ntransfer-encoding:)"
FRAMED = rb"(?:content-length|transfer-encoding):"
UPGRADE_WITH_CONTENT = rb"(?is)\nupgrade:.*\n" + FRAMED + rb"|\n" + FRAMED + rb".*\nupgrade:"
EMPTY_ELEMENT = rb"(?i)\ntransfer-encoding:(?:[\t ]*[,\r]|[^\r]*,[\t ]*\r)"
LOOSE_CODING = rb"(?i)\ntransfer-encoding:(?:[\t ]*[,\r]|[^\r]*[,\t ]\r)"
TRAILER = rb"\n0+(?:;.*)?\r\n(?:.+\r\n)*(?i:connection|content-length|transfer-encoding):"
BWS_OF_CHUNK = rb"\n[0-9A-Fa-f]+[\t ]+;"
EXTENSION = rb"\n[0-9A-Fa-f]+[\t ]*;"

# Messages with a place for what is the matter.
GET = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"
LINED = b"GET / HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n0\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%b\r\nx\r\n0\r\n\r\n"
TRAILED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n%b\r\n\r\n"

# Those of h11, which ends lines at LF, and lets controls, folded lines and most values through.
TAKEN_BY_H11 = tuple(Explanation(rule, "h11", *more) for rule, *more in (
    ("A2", "A line ends in a bare line feed", BARE_LF, b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
    ("A6", "A field line is malformed", CONTROL, LINED % b"b: \x01"),
    ("B4", "Only HTTP/1.0 and HTTP/1.1", rb"HTTP/[02-9]\.[0-9]\r", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
    ("C3", "The target of CONNECT must be", LINE + rb"CONNECT ", b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("C5", "The request target is malformed", NO_TARGET, GET % b"/a#b"),
    ("C7", "percent-encoding", NO_ESCAPE, GET % b"/%zz"),
    ("C7", "The path is not encoded in UTF-8", NO_UTF8, GET % b"/%ff"),
    ("D3", "A field line starts with white space", rb"\n[\t ]", LINED % b"b: c\r\n d"),
    ("E1", "must carry a Host field", NO_HOST, b"GET / HTTP/1.2\r\n\r\n"),
    ("E3", "There must be one Host field", BAD_HOST, b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    ("F3", "Content-Length must be one decimal number", LENGTHS, POST % b"Content-Length: 5, 5"),
    ("F5", "exclude each other", rb"(?i)\ncontent-length:",
     POST % b"Content-Length: 5\r\nTransfer-Encoding: chunked"),
    ("F6", "HTTP/1.0 has no Transfer-Encoding", rb"HTTP/1\.0\r",
     b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("G1", "A chunk-size line is malformed", rb"\n[0-9A-Fa-f]+[\t ]+\r", CHUNKED % b"1 "),
    ("G3", "A chunk-size line is malformed", EXTENSION, CHUNKED % b"1;=a"),
    ("H3", "The only expectation", BAD_EXPECT, LINED % b"Expect: b"),
    ("I2", "Connection must be a list of tokens", BAD_OPTION, LINED % b"Connection: b c"),
    ("M3", "CONNECT has no content", LINE + rb"CONNECT ",
     b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"),
))

# Those of llhttp, which judges characters, and leaves the meaning of most of them to its user.
TAKEN_BY_LLHTTP = tuple(Explanation(rule, "llhttp", *more) for rule, *more in (
    ("A2", "A line ends in a bare line feed", LINE + rb"\S+ [^ \r\n]+\n", b"GET /\n\r\n"),
    ("A2", "A request line must start with a method", rb"\A[\r\n]*\n", b"\n" + GET % b"/"),
    ("A3", "A carriage return stands without a line feed", rb"\A[\r\n]*\r(?!\n)", b"\r" + GET % b"/"),
    ("B1", "The request line is malformed", LINE + rb"(?:\S+ \S+\r|[^\r\n]*(?:  | \r))", GET % b" /"),
    ("B4", "Only HTTP/1.0 and HTTP/1.1", rb"HTTP/(?:0\.9|2\.0)\r", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
    ("C3", "The target of CONNECT must be", LINE + rb"CONNECT ", b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("C5", "The request target is malformed", NO_TARGET, GET % b"*"),
    ("C7", "percent-encoding", NO_ESCAPE, GET % b"/%zz"),
    ("C7", "The path is not encoded in UTF-8", NO_UTF8, GET % b"/%ff"),
    ("E1", "must carry a Host field", NO_HOST, b"GET / HTTP/1.1\r\n\r\n"),
    ("E3", "There must be one Host field", BAD_HOST, b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    ("F6", "HTTP/1.0 has no Transfer-Encoding", rb"HTTP/1\.0\r",
     b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("F7", "Transfer-Encoding must be chunked, once", CODINGS,
     POST % b"Transfer-Encoding: chunked;a, chunked"),
    ("F7", "No transfer coding but chunked", CODINGS, POST % b"Transfer-Encoding: gzip;a=b, chunked"),
    ("G3", "A chunk-size line is malformed", EXTENSION, CHUNKED % b"1;;a"),
    ("H3", "The only expectation", BAD_EXPECT, LINED % b"Expect: b"),
    ("I2", "Connection must be a list of tokens", BAD_OPTION, LINED % b"Connection: b c"),
    ("I2", "persistent: False", rb"(?is)HTTP/1\.0\r.*\nconnection:[^\r]*keep-alive",
     b"GET / HTTP/1.0\r\nConnection: close, keep-alive\r\n\r\n"),
    ("M1", "incomplete|content:|end:|switches:|chunk", UPGRADE_WITH_CONTENT,
     LINED % b"Content-Length: 5\r\nConnection: upgrade\r\nUpgrade: b" + b"hello"),
    ("M3", "CONNECT has no content", LINE + rb"CONNECT ",
     b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"),
    ("F10", "persistent: True", TRAILER, TRAILED % b"Connection: close"),
))

# Ours, where RFC 9110 and RFC 9112 say so.  Of the others, both judge trailers like headers, and llhttp has
# a list of methods, and of versions.
TAKEN_BY_US = tuple(Explanation(rule, US, *more) for rule, *more in (
    ("B2", "Invalid method encountered|Expected space after method", rb"",
     b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("B4", "Invalid HTTP version", rb"HTTP/1\.[2-9]\r", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
    ("F8", "Only Transfer-Encoding: chunked|multiple Transfer-Encoding", EMPTY_ELEMENT,
     POST % b"Transfer-Encoding: ,chunked"),
    ("F8", "[Ii]nvalid `Transfer-Encoding`|Empty Transfer-Encoding", LOOSE_CODING,
     POST % b"Transfer-Encoding: chunked\t"),
    ("G3", "illegal chunk header", BWS_OF_CHUNK, CHUNKED % b"1 ;a"),
    ("G3", "Invalid character in chunk size", BWS_OF_CHUNK, CHUNKED % b"1 ;a"),
    ("G3", "Invalid character in chunk extensions", EXTENSION, CHUNKED % b"1;a= b"),
    ("G4", "bad Content-Length", TRAILER, TRAILED % b"Content-Length: b"),
    ("G4", "Transfer-Encoding", TRAILER, TRAILED % b"Content-Length: 1"),
))

EXPLAINED: Sequence[Explanation] = (*TAKEN_BY_H11, *TAKEN_BY_LLHTTP, *TAKEN_BY_US)


def differences(name: str, octets: bytes, ours: Reading, theirs: Reading) -> Iterator[Difference]:
    """What is different between two readings, up to the first message of which that is known."""
    begin = 0
    for mine, other in zip_longest(ours.messages, theirs.messages):
        if mine is None:
            yield Difference(name, ours.fault or "incomplete", octets[begin:])
        if other is None:
            yield Difference(US, theirs.fault or "incomplete", octets[begin:])
        if mine is None or other is None:
            return
        message, begin, same = octets[begin:mine.end], mine.end, True
        for what in Read._fields:
            our, their = getattr(mine, what), getattr(other, what)
            if our != their and their is not None:
                same = False
                yield Difference(name, f"{what}: {our!r}, and by {name} {their!r}", message)
        if not same or not mine.persistent or mine.switches:
            return


def unexplained(found: Iterable[Difference]) -> list[Difference]:
    return [difference for difference in found if not any(known.explains(difference) for known in EXPLAINED)]
