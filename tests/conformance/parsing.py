"""Feeds a parser, and tells what it reports in the words of the case files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from japronto.backend import Backend
from japronto.interfaces import Parser
from japronto.messages import CHUNKED, Body, EndOfMessage, Event, Expects, RequestHead, Violation

from .cases import Case

ENOUGH = 1 << 30
SECTION = re.compile(rb"(?:\n(?:[^\r\n]+\r\n)*)?").fullmatch


class Told(NamedTuple):
    """What a parser reported."""

    events: list[bytes]
    reason: str
    """Of the violation, if there was one."""


def run(case: Case, backend: Backend, pieces: Iterable[bytes], heads_max: int = ENOUGH) -> Told:
    """Feed ``pieces`` to a new parser."""
    parser = backend.parser(case.limits, lambda head: case.limits.content_bytes)
    detaches = any(event.startswith(b"rest ") for event in case.events)
    told: list[bytes] = []
    violations: list[Violation] = []
    for piece in pieces:
        if detaches and parser.expects is Expects.NOTHING:
            _add(told, b"rest", piece)
            continue
        for event in _fed(parser, piece, heads_max, detaches):
            assert not violations, "an event behind a violation"
            _tell(told, event, case)
            if isinstance(event, Violation):
                violations.append(event)
        if detaches and parser.expects is Expects.DECISION:
            _add(told, b"rest", parser.detach())
    if case.eof:
        for event in parser.feed_eof():
            _tell(told, event, case)
    assert parser.expects is Expects.NOTHING or not detaches
    told.append(b"expects " + parser.expects.name.encode())
    if parser.expects is Expects.NOTHING and not detaches:
        assert parser.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") == [], "an event behind the end"
        assert parser.feed_eof() == []
    return Told(told, violations[0].reason if violations else "")


def _fed(parser: Parser, piece: bytes, heads_max: int, detaches: bool) -> Iterator[Event]:
    """The events of one piece; the parser is called until it has no more."""
    events = parser.feed(piece, heads_max)
    while True:
        assert sum(isinstance(event, RequestHead) for event in events) <= heads_max
        yield from events
        if parser.expects is Expects.DECISION and not detaches:
            assert not parser.more
            assert parser.feed(b"") == [], "an event ahead of the decision"
            parser.resume()
        if not parser.more:
            return
        events = parser.feed(b"", heads_max)
        assert events or not parser.more, "the parser always has more events, and gives none"


def _tell(told: list[bytes], event: Event, case: Case) -> None:
    """Add an event in the words of the case files."""
    match event:
        case RequestHead():
            _tell_head(told, event, case)
        case Body(data):
            assert data, "an empty piece of content"
            _add(told, b"body", data)
        case EndOfMessage(trailers):
            assert trailers != b"\n", "no trailers are no octets"
            told.append(b"end")
            told += (b"trailer " + field for field in _fields(trailers))
        case Violation(status):
            told.append(b"violation %d" % status)


def _add(told: list[bytes], word: bytes, data: bytes) -> None:
    """Add octets, to those ahead if they are of the same kind."""
    if told and told[-1].startswith(word + b' "'):
        data = told.pop()[len(word) + 2:-1] + data
    told.append(word + b' "' + data + b'"')


def _tell_head(told: list[bytes], head: RequestHead, case: Case) -> None:
    """Add a head; one that came with its content is a head, content and an end."""
    framing = head.framing
    target, question, query = head.target.partition(b"?")
    assert head.query == (query.decode() if question else None)
    if head.target[:1] in b"/*":
        # With absolute-form, the authority has replaced the value of Host (RFC 9112 s.3.2.2).
        assert head.section + b"\r\n" in case.sent, "the section is not as it was sent"
    path = head.path.encode("utf-8", "surrogatepass")
    words = [
        b"head", head.method.encode(), head.target,
        path != target and b'path="%b"' % path,
        not head.minor and b"minor=%d" % head.minor,
        framing.length is not None and (
            b"length=chunked" if framing.length == CHUNKED else b"length=%d" % framing.length),
        not framing.persistent and b"close",
        framing.expect_continue and b"expect-continue",
        framing.upgrade and b"upgrade",
    ]
    told.append(b" ".join(word for word in words if word))
    told += (b"field " + field for field in _fields(head.section))
    if not head.complete or framing.length is None:
        assert head.content is None
        assert head.complete is (framing.length is None)
        return
    assert head.content is not None
    if head.content:
        _add(told, b"body", head.content)
    told.append(b"end")


def _fields(section: bytes) -> Iterator[bytes]:
    """The fields of a section, without the white space around their values."""
    assert SECTION(section), section
    for line in section[1:].split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        yield (name + b": " + value.strip(b" \t")).rstrip(b" ")


def agreed(told: list[bytes], expected: list[bytes]) -> list[bytes]:
    """``told`` without the kinds of lines that a case may leave out, and does."""
    kinds = {line.split(b" ")[0] for line in expected}
    left_out = {b"field", b"expects"} - kinds
    return [line for line in told if line.split(b" ")[0] not in left_out]
