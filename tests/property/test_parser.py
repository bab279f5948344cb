"""What a parser reports: what the grammar says, the same for every cut, and within its bounds."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, TypeAlias

from hypothesis import given
from hypothesis import strategies as st

from japronto.backend import Backend
from japronto.interfaces import Parser, Resume, Scanned
from japronto.limits import Limits
from japronto.messages import CHUNKED, Expects, RequestHead, Violation
from japronto.pure.grammar import scan

from . import strategies
from .driving import ENOUGH, Outcome, fields_of, one_by_one, parse, take

HEADS_MAX = st.sampled_from((1, 2, ENOUGH))
BLAMED = {
    "empty_lines": {400}, "request_line_bytes": {400, 414}, "field_line_bytes": {431},
    "field_section_bytes": {431}, "fields": {431}, "content_bytes": {413}, "chunk_line_bytes": {400},
    "chunk_extension_bytes": {400}, "trailer_section_bytes": {431}, "trailer_fields": {431}}
"""The status of the answer to what exceeds a bound."""


# -- What is valid ---------------------------------------------------------------------------

@given(stream=strategies.streams(), data=st.data(), heads_max=HEADS_MAX, eof=st.booleans())
def test_a_valid_stream_is_what_it_says(stream: list[strategies.Sent], data: st.DataObject, heads_max: int,
                                        eof: bool, backend: Backend) -> None:
    pieces = data.draw(strategies.cuts(strategies.joined(stream)))
    outcome = parse(backend.parser(Limits(), None), pieces, heads_max=heads_max, eof=eof)
    read = strategies.read_of(stream)
    assert outcome.messages == [sent.message for sent in read]
    assert outcome.violation is None
    ended = eof or not read[-1].message.framing.persistent
    assert outcome.expects is (Expects.NOTHING if ended else Expects.REQUEST)


@given(stream=strategies.streams(max_size=2), data=st.data())
def test_a_valid_stream_that_ends_early(stream: list[strategies.Sent], data: st.DataObject,
                                        backend: Backend) -> None:
    """An incomplete head is dropped, an incomplete content a violation (RFC 9112 s.8)."""
    read = strategies.read_of(stream)
    octets = strategies.joined(read)
    end = data.draw(st.integers(0, len(octets) - 1))
    outcome = parse(backend.parser(Limits(), None), data.draw(strategies.cuts(octets[:end])), eof=True)
    begun, incomplete = _begun(read, end)
    assert len(outcome.messages) == begun
    assert outcome.whole == [sent.message for sent in read[:begun - incomplete]]
    assert (outcome.violation.status if outcome.violation else 0) == (400 if incomplete else 0)
    assert outcome.expects is Expects.NOTHING


def _begun(stream: list[strategies.Sent], end: int) -> tuple[int, bool]:
    """How many heads are complete within ``end`` octets, and whether the last message is not."""
    begun = 0
    for sent in stream:
        if end < len(sent.head):
            break
        begun += 1
        end -= len(sent.octets)
        if end < 0:
            return begun, True
    return begun, False


@given(stream=strategies.streams(max_size=3), data=st.data(), octets=st.binary(max_size=30))
def test_the_octets_of_another_protocol(stream: list[strategies.Sent], data: st.DataObject, octets: bytes,
                                        backend: Backend) -> None:
    """What follows a head with an Upgrade belongs to whoever takes it, however it was cut."""
    ahead = [sent for sent in stream
             if sent.message.framing.persistent and not sent.message.framing.upgrade]
    switch = data.draw(strategies.requests(upgrade=True))
    pieces = data.draw(strategies.cuts(strategies.joined(ahead) + switch.octets + octets))
    parser, outcome, rest = backend.parser(Limits(), None), Outcome(), b""
    for piece in pieces:
        if parser.expects is Expects.NOTHING:
            rest += piece
            continue
        take(outcome, parser.feed(piece))
        if parser.expects is Expects.DECISION:
            assert not parser.more
            if data.draw(st.booleans()):
                rest = parser.detach()
    rest = rest if parser.expects is Expects.NOTHING else parser.detach()
    assert outcome.messages == [sent.message for sent in (*ahead, switch)]
    assert outcome.violation is None
    assert rest == octets
    assert (parser.expects, parser.more, parser.feed(b"GET")) == (Expects.NOTHING, False, [])


# -- The bounds ------------------------------------------------------------------------------

@given(stream=strategies.streams(max_size=3), data=st.data())
def test_a_bound_is_exact(stream: list[strategies.Sent], data: st.DataObject, backend: Backend) -> None:
    """What needs exactly a bound is taken, and what needs one more is refused; all tight, or that one."""
    read = strategies.read_of(stream)
    octets, needed = strategies.joined(read), strategies.needed(read)
    name = data.draw(st.sampled_from(sorted(needed)))
    for pieces in ([octets], data.draw(strategies.cuts(octets))):
        for tight in (Limits(**needed), Limits(**{name: needed[name]})):
            assert parse(backend.parser(tight, None), pieces).messages == [sent.message for sent in read]
            if needed[name] > 1:
                tighter = replace(tight, **{name: needed[name] - 1})
                outcome = parse(backend.parser(tighter, None), pieces)
                assert outcome.violation is not None
                assert outcome.violation.status in BLAMED[name]
                assert len(outcome.whole) < len(read)
                assert outcome.whole == [sent.message for sent in read[:len(outcome.whole)]]


@given(request=strategies.requests(framed=True), most=st.integers(0, 40), data=st.data())
def test_a_route_says_how_much_content_it_takes(request: strategies.Sent, most: int, data: st.DataObject,
                                                backend: Backend) -> None:
    """The bound on content is asked for once, with the head that announces it."""
    asked = []

    def content_max(head: RequestHead) -> int:
        asked.append((head.method, fields_of(head.section)))
        return most

    limits = Limits(content_bytes=10**9)
    outcome = parse(backend.parser(limits, content_max), data.draw(strategies.cuts(request.octets)))
    framed = request.message.framing.length is not None
    assert asked == [(request.message.method, request.message.fields)] * framed
    if len(request.message.content) <= most:
        assert outcome.messages == [request.message]
    else:
        assert outcome.violation is not None
        assert outcome.violation.status == 413
        assert bool(outcome.messages) is (request.message.framing.length == CHUNKED)
        assert all(len(message.content) <= most for message in outcome.messages)


@given(octets=strategies.OCTETS, limits=strategies.limits(), data=st.data())
def test_what_is_kept_is_bounded(octets: bytes, limits: Limits, data: st.DataObject,
                                 backend: Backend) -> None:
    """Between two calls no more is kept than one head, chunk line or trailer section may have."""
    head = 2 * limits.empty_lines + limits.request_line_bytes + 2 + limits.field_section_bytes + 2
    most = max(head, limits.chunk_line_bytes + 2, limits.trailer_section_bytes + 2)
    parser = backend.parser(limits, None)
    for piece in data.draw(st.just([octets]) | st.just(one_by_one(octets)) | strategies.cuts(octets)):
        take(Outcome(), parser.feed(piece)) if parser.expects is Expects.REQUEST else parser.feed(piece)
        if parser.expects is Expects.DECISION:
            parser.resume()
            parser.feed(b"")
        assert parser.expects is Expects.DECISION or octets_held(parser) <= most


def octets_held(parser: Parser) -> int:
    """How many octets a parser holds, itself and in what it is made of."""
    held, seen = 0, {id(parser)}
    todo: list[Any] = [parser]
    while todo:
        for referred in gc.get_referents(todo.pop()):
            if isinstance(referred, (bytes, bytearray)):
                held += len(referred)
            elif type(referred).__module__.startswith("japronto.") and id(referred) not in seen:
                seen.add(id(referred))
                todo.append(referred)
    return held


# -- All cuts are one ------------------------------------------------------------------------

@given(octets=strategies.OCTETS, limits=strategies.limits(), eof=st.booleans(), data=st.data(),
       heads_max=HEADS_MAX)
def test_any_cut_gives_the_same(octets: bytes, limits: Limits, eof: bool, data: st.DataObject, heads_max: int,
                                backend: Backend) -> None:
    whole = parse(backend.parser(limits, None), [octets], eof=eof)
    for pieces in (data.draw(strategies.cuts(octets)), one_by_one(octets)):
        assert parse(backend.parser(limits, None), pieces, heads_max=heads_max, eof=eof) == whole


@given(octets=strategies.OCTETS, more=st.binary(max_size=20), limits=strategies.limits())
def test_what_is_reported_stands(octets: bytes, more: bytes, limits: Limits, backend: Backend) -> None:
    """What follows changes nothing of what has been reported."""
    before = parse(backend.parser(limits, None), [octets])
    after = parse(backend.parser(limits, None), [octets + more])
    assert after.messages[:len(before.whole)] == before.whole
    if before.violation:
        assert after == before


# -- Nothing raises --------------------------------------------------------------------------

Call: TypeAlias = "tuple[Any, ...]"
CALLS: st.SearchStrategy[Call] = st.one_of(
    st.tuples(st.just("feed"), strategies.OCTETS, st.sampled_from((0, 1, 2, ENOUGH))),
    st.tuples(st.just("feed"), st.just(b""), st.sampled_from((0, 1, ENOUGH))),
    st.tuples(st.sampled_from(("feed_eof", "resume", "detach", "stop"))))


@given(calls=st.lists(CALLS, max_size=10), limits=strategies.limits())
def test_no_order_of_calls_raises(calls: list[Call], limits: Limits, backend: Backend) -> None:
    """Whatever is called when: a violation comes once and last, and the end is the end."""
    parser, outcome = backend.parser(limits, None), Outcome()
    ended = False
    for name, *arguments in calls:
        returned = getattr(parser, name)(*arguments)
        if name in ("feed", "feed_eof"):
            take(outcome, returned)
            assert not (ended and returned)
        elif name == "detach":
            assert isinstance(returned, bytes)
            assert not (ended and returned)
        ended = ended or parser.expects is Expects.NOTHING
        assert (parser.expects is Expects.NOTHING) is ended
        assert not (ended and parser.more)
        assert not (outcome.violation and not ended)
        assert len(outcome.messages) - len(outcome.whole) <= 1


# -- The two ways of the scanner -------------------------------------------------------------

def _told(scanned: Scanned) -> tuple[list[tuple[Any, ...]], int, Violation | None, Any, Any]:
    heads = [(head.method, head.target, head.path, head.query, head.minor, head.section, head.framing,
              head.content, head.complete) for head in scanned.heads]
    return heads, scanned.stop, scanned.violation, scanned.resume, scanned.seen


def _line_by_line(octets: bytes, start: int, heads_max: int, limits: Limits) -> Iterator[Scanned]:
    """The same scan, head by head and each line by line: nobody knows yet that it is complete."""
    for _ in range(heads_max):
        scanned = scan(octets, start, 1, limits, Resume(0, 0, 0))
        yield scanned
        start = scanned.stop
        if not scanned.heads or scanned.seen is not None:
            return


@given(octets=strategies.OCTETS, limits=strategies.limits(), heads_max=st.integers(1, 4),
       start=st.integers(0, 3))
def test_whole_heads_and_lines_are_judged_alike(octets: bytes, limits: Limits, heads_max: int,
                                                start: int) -> None:
    start = min(start, len(octets))
    whole = scan(octets, start, heads_max, limits)
    steps = list(_line_by_line(octets, start, heads_max, limits))
    last = steps[-1]
    carefully = last._replace(heads=[head for step in steps for head in step.heads])
    assert _told(whole) == _told(carefully)
