"""Drives a parser over the octets of a case, and says what it reported in the words of the cases."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from japronto.interfaces import Parser
from japronto.limits import Limits
from japronto.messages import Body, EndOfMessage, Expects, RequestHead, Violation
from japronto.messages import Event as ParserEvent

from .cases import Case, Content, End, Event, Fields, Head, Refused, Rest

MakeParser = Callable[[Limits], Parser]
ENOUGH = 1 << 30
CALLS_MAX = 100_000
"""So many calls without new octets, and the parser is taken to go round in circles."""


@dataclass
class Seen:
    """What a parser reported."""

    events: list[Event] = field(default_factory=list)
    reported_after: int = 0
    """How many octets it had been fed when it reported the violation."""
    reason: str = ""
    expects: Expects = Expects.REQUEST


def run(case: Case, make: MakeParser, pieces: Iterable[bytes], heads_max: int = ENOUGH) -> Seen:
    """Feed ``pieces``, which are the octets of the case, to a new parser."""
    parser = make(case.limits)
    seen = Seen()
    fed = 0
    for piece in pieces:
        fed += len(piece)
        _take(seen, case, _fed(case, parser, piece, heads_max), fed)
        assert not seen.reason or not parser.feed(b""), "an event behind a violation"
    if case.eof:
        _take(seen, case, parser.feed_eof(), fed)
    seen.expects = parser.expects
    if seen.reason:
        assert parser.expects is Expects.NOTHING
        assert parser.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") == []
        assert parser.feed_eof() == []
    return seen


def _fed(case: Case, parser: Parser, piece: bytes, heads_max: int) -> list[ParserEvent | Rest]:
    """The events of one piece, the parser being called until it has no more."""
    if case.detaches and parser.expects is Expects.NOTHING:
        return [Rest(piece)]
    events: list[ParserEvent | Rest] = [*parser.feed(piece, heads_max)]
    for _ in range(CALLS_MAX):
        if parser.expects is Expects.DECISION:
            assert not parser.more
            assert parser.feed(b"") == [], "an event ahead of the decision"
            if case.detaches:
                return [*events, Rest(parser.detach())]
            parser.resume()
        if not parser.more:
            return events
        events += parser.feed(b"", heads_max)
    raise AssertionError("the parser always has more events, and gives none")


def _take(seen: Seen, case: Case, events: Sequence[ParserEvent | Rest], fed: int) -> None:
    """Add what was reported to ``seen``, adjacent pieces of content joined."""
    for event in events:
        if isinstance(event, RequestHead) and event.target[:1] in b"/*":
            # Of absolute-form, the authority has replaced the value of Host (RFC 9112 s.3.2.2).
            assert event.section + b"\r\n" in case.octets, "the section is not as it was sent"
        for told in _told(event):
            match seen.events[-1:], told:
                case [Content(before)], Content(more):
                    seen.events[-1] = Content(before + more)
                case [Rest(before)], Rest(more):
                    seen.events[-1] = Rest(before + more)
                case _:
                    seen.events.append(told)
        if isinstance(event, Violation):
            seen.reported_after, seen.reason = fed, event.reason


def _told(event: ParserEvent | Rest) -> Iterator[Event]:
    """An event in the words of the cases; a head that came with its content is three of them."""
    match event:
        case RequestHead():
            yield _head(event)
            if event.complete and event.framing.length is not None:
                assert event.content is not None
                if event.content:
                    yield Content(event.content)
                yield End()
            else:
                assert event.content is None
                assert event.complete is (event.framing.length is None)
        case Body(data):
            assert data, "an empty piece of content"
            yield Content(data)
        case EndOfMessage(trailers):
            yield End(fields(trailers))
        case Violation(status):
            yield Refused(frozenset((status,)))
        case Rest():
            yield event


def _head(head: RequestHead) -> Head:
    framing = head.framing
    return Head(head.method, head.target, head.path, head.query, head.minor, framing.length,
                framing.persistent, framing.expect_continue, framing.upgrade, fields(head.section))


def fields(section: bytes) -> Fields:
    """The fields of a section, whose lines all follow an LF and end in CRLF."""
    if not section:
        return ()
    assert re.fullmatch(rb"\n(?:[^\r\n]+\r\n)*", section), section
    pairs = (line.partition(b":") for line in section[1:].split(b"\r\n")[:-1])
    return tuple((name, value.strip(b" \t")) for name, _, value in pairs)


def agreed(expected: Sequence[Event], reported: Sequence[Event]) -> list[Event]:
    """``reported``, with what the case leaves open said as the case says it."""
    agreed = list(reported)
    for number, (wanted, got) in enumerate(zip(expected, reported, strict=False)):
        if isinstance(wanted, Head) and isinstance(got, Head) and wanted.fields is None:
            agreed[number] = got._replace(fields=None)
        elif isinstance(wanted, Refused) and isinstance(got, Refused) and got.statuses <= wanted.statuses:
            agreed[number] = wanted
    return agreed


WHOLLY_CUT = 400
"""Octets up to which a case is cut at every place; longer ones only where something is decided."""
BYTE_BY_BYTE = 20_000
"""Octets up to which a case is fed byte by byte; longer ones in pieces of a prime length."""


def cuts(case: Case) -> list[list[bytes]]:
    """All the ways in which the octets of a case are cut: in two, and all to pieces."""
    octets = case.octets
    places = range(1, len(octets)) if len(octets) <= WHOLLY_CUT else _places(case)
    step = 1 if len(octets) <= BYTE_BY_BYTE else 997
    return [*([octets[:place], octets[place:]] for place in places),
            [octets[at:at + step] for at in range(0, len(octets), step)]]


def _places(case: Case) -> list[int]:
    """Where a long case is cut: near the ends of lines, near the mark, near both ends."""
    octets = case.octets
    near = [found.end() for found in re.finditer(rb"\n", octets)]
    near = [0, len(octets), case.mark or 0, *near[:20], *near[-20:]]
    places = {place + away for place in near for away in range(-3, 4)}
    return sorted(place for place in places if 0 < place < len(octets))
