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
from japronto.messages import Expects

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
    """``None`` where a parser leaves it to its user."""


ABSOLUTE_FORM = re.compile(rb"(?i)https?://").match


def _comparable(target: bytes, fields: Iterable[tuple[bytes, bytes]]) -> Fields:
    lowered = ((name.lower(), value.strip(b"\t ")) for name, value in fields)
    return tuple((name, value.lower() if name == b"transfer-encoding" else value) for name, value in lowered
                 if name != b"host" or not ABSOLUTE_FORM(target))


@dataclass
class Reading:
    """The messages, and what ended the reading: a fault, or what may be the end of HTTP."""

    messages: list[Read] = field(default_factory=list)
    fault: str | None = None
    switched: bool = False


def by_japronto(parser: Parser, octets: bytes) -> Reading:
    reading, outcome = Reading(), Outcome()
    for end, octet in enumerate(one_by_one(octets), 1):
        take(outcome, parser.feed(octet))
        take_more(outcome, parser)
        if len(outcome.whole) > len(reading.messages):
            message = outcome.whole[-1]
            reading.messages.append(Read(message.method, message.target,
                                         _comparable(message.target, message.fields), message.content, end,
                                         message.framing.persistent))
            reading.switched = message.framing.upgrade
        if reading.switched:
            break
        if parser.expects is Expects.NOTHING:
            break
    reading.fault = outcome.violation.reason if outcome.violation else None
    return reading


def by_h11(octets: bytes) -> Reading:
    """A connection for each message, since h11 wants an answer before it goes on."""
    reading, rest = Reading(), octets
    while rest := rest.lstrip(b"\r\n"):  # Empty lines ahead of a request it does not skip.
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
                        content, 0, None if silent else state is not h11.MUST_CLOSE)


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
            self.content, self.fed, self.parser.should_keep_alive()))


def by_llhttp(octets: bytes) -> Reading:
    listener = _Listener()
    reading = listener.reading
    for octet in one_by_one(octets):
        listener.fed += 1
        try:
            listener.parser.feed_data(octet)
        except httptools.HttpParserUpgrade:
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


class Explanation(NamedTuple):
    """Why one parser takes what another refuses, or reads it otherwise."""

    rule: str
    """Of the checklist that the conformance cases stand under."""
    takes: str
    """Who takes the message: one of the others, or us."""
    fault: str
    """What is the matter with it to the one that does not; a regular expression."""
    octets: bytes = rb""
    """What must stand in the message; a regular expression."""


# What must stand in a message for one of the explanations below to be one.
LINE = rb"\A[\r\n]*"
BARE_LF = rb"(?<!\r)\n"
BARE_CR = rb"\r(?!\n)"
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

EXPLAINED: Sequence[Explanation] = (
    # h11 takes it.  It ends lines at LF, and lets controls, folded lines and most values through.
    Explanation("A2", "h11", "A line ends in a bare line feed", BARE_LF),
    Explanation("A2", "h11", "A request line must start with a method", rb"\A(?:\r\n)*\n"),
    Explanation("A3", "h11", "A carriage return stands without a line feed", BARE_CR),
    Explanation("A6", "h11", "A field line is malformed", CONTROL),
    Explanation("B4", "h11", "Only HTTP/1.0 and HTTP/1.1", rb"HTTP/[02-9]\.[0-9]\r"),
    Explanation("C3", "h11", "The target of CONNECT must be", LINE + rb"CONNECT "),
    Explanation("C5", "h11", "The request target is malformed", NO_TARGET),
    Explanation("C7", "h11", "percent-encoding", NO_ESCAPE),
    Explanation("C7", "h11", "The path is not encoded in UTF-8", NO_UTF8),
    Explanation("D3", "h11", "A field line starts with white space", rb"\n[\t ]"),
    Explanation("E1", "h11", "must carry a Host field", NO_HOST),
    Explanation("E3", "h11", "There must be one Host field", BAD_HOST),
    Explanation("F3", "h11", "Content-Length must be one decimal number", LENGTHS),
    Explanation("F5", "h11", "exclude each other", rb"(?i)\ncontent-length:"),
    Explanation("G1", "h11", "A chunk-size line is malformed", rb"\n[0-9A-Fa-f]+[\t ]+\r"),
    Explanation("G3", "h11", "A chunk-size line is malformed", rb"\n[0-9A-Fa-f]+[\t ]*;"),
    Explanation("F6", "h11", "HTTP/1.0 has no Transfer-Encoding", rb"HTTP/1\.0\r"),
    Explanation("H3", "h11", "The only expectation", BAD_EXPECT),
    Explanation("I2", "h11", "Connection must be a list of tokens", BAD_OPTION),
    Explanation("M3", "h11", "CONNECT has no content", LINE + rb"CONNECT "),
    # llhttp takes it.  It judges characters, and leaves the meaning of most of them to its user.
    Explanation("A2", "llhttp", "A line ends in a bare line feed", LINE + rb"\S+ [^ \r\n]+\n"),
    Explanation("A2", "llhttp", "A request line must start with a method", rb"\A[\r\n]*\n"),
    Explanation("A3", "llhttp", "A carriage return stands without a line feed", rb"\A[\r\n]*" + BARE_CR),
    Explanation("B1", "llhttp", "The request line is malformed", LINE + rb"(?:\S+ \S+\r|[^\r\n]*(?:  | \r))"),
    Explanation("B4", "llhttp", "Only HTTP/1.0 and HTTP/1.1", rb"HTTP/(?:0\.9|2\.0)\r"),
    Explanation("C3", "llhttp", "The target of CONNECT must be", LINE + rb"CONNECT "),
    Explanation("C5", "llhttp", "The request target is malformed", NO_TARGET),
    Explanation("C7", "llhttp", "percent-encoding", NO_ESCAPE),
    Explanation("C7", "llhttp", "The path is not encoded in UTF-8", NO_UTF8),
    Explanation("E1", "llhttp", "must carry a Host field", NO_HOST),
    Explanation("E3", "llhttp", "There must be one Host field", BAD_HOST),
    Explanation("F6", "llhttp", "HTTP/1.0 has no Transfer-Encoding", rb"HTTP/1\.0\r"),
    Explanation("F7", "llhttp", "Transfer-Encoding must be chunked, once", CODINGS),
    Explanation("F7", "llhttp", "No transfer coding but chunked", CODINGS),
    Explanation("G3", "llhttp", "A chunk-size line is malformed", rb"\n[0-9A-Fa-f]+.*[;=][\t ]*[;=\r]"),
    Explanation("H3", "llhttp", "The only expectation", BAD_EXPECT),
    Explanation("I2", "llhttp", "Connection must be a list of tokens", BAD_OPTION),
    Explanation("I2", "llhttp", "persistent: False", rb"(?is)HTTP/1\.0\r.*\nconnection:[^\r]*keep-alive"),
    Explanation("M1", "llhttp", "incomplete|content:|end:|chunk", UPGRADE_WITH_CONTENT),
    Explanation("M3", "llhttp", "CONNECT has no content", LINE + rb"CONNECT "),
    # We take it, as RFC 9110 and RFC 9112 say, and h11 does not: it judges trailers like headers, for one.
    Explanation("F8", US, "Only Transfer-Encoding: chunked|multiple Transfer-Encoding", EMPTY_ELEMENT),
    Explanation("G3", US, "illegal chunk header", BWS_OF_CHUNK),
    Explanation("G4", US, "bad Content-Length|Transfer-Encoding", TRAILER),
    # Nor does llhttp, which does so too, and has a list of methods, and of versions.
    Explanation("B2", US, "Invalid method encountered|Expected space after method"),
    Explanation("B4", US, "Invalid HTTP version", rb"HTTP/1\.[2-9]\r"),
    Explanation("F8", US, "[Ii]nvalid `Transfer-Encoding`|Empty Transfer-Encoding", LOOSE_CODING),
    Explanation("F10", "llhttp", "persistent: True", TRAILER),
    Explanation("G3", US, "Invalid character in chunk size", BWS_OF_CHUNK),
    Explanation("G3", US, "Invalid character in chunk extensions",
                rb"\n[0-9A-Fa-f]+[\t ]*;.*[\t \x80-\xff].*\r"),
    Explanation("G4", US, "Transfer-Encoding", TRAILER),
)


def differences(name: str, octets: bytes, ours: Reading, theirs: Reading) -> Iterator[str]:
    """What is different between two readings, and not explained."""
    begin = 0
    for mine, other in zip_longest(ours.messages, theirs.messages):
        if mine is None and not ours.switched:
            yield from _unexplained(name, ours.fault, octets[begin:])
        if other is None:
            yield from _unexplained(US, theirs.fault, octets[begin:])
        if mine is None or other is None:
            return
        for what in Read._fields:
            our, their = getattr(mine, what), getattr(other, what)
            if our != their and their is not None:
                fault = f"{what}: {our!r}, and by {name} {their!r}"
                yield from _unexplained(name, fault, octets[begin:mine.end])
        if not mine.persistent or other.persistent is False:
            return
        begin = mine.end


def _unexplained(takes: str, fault: str | None, octets: bytes) -> Iterator[str]:
    fault = fault or "incomplete"
    if not any(known.takes == takes and re.search(known.fault, fault) and re.search(known.octets, octets)
               for known in EXPLAINED):
        yield f"{takes} takes what is not: {fault}"
