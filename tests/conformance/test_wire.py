"""Each case as a client sees it: what leaves, however the octets that come are cut.

The connection is the real one, the application that of ``application.py``, and the reader of the
answers that of the socket tests, which takes only what RFC 9112 lets a server send.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import NamedTuple

import pytest
from sockets.wire import Reader, Truncated

from japronto.backend import Backend
from japronto.pure.connection import Stage

from .cases import Act, Case, Words, all_cases, cut, ways_to_cut
from .host import Host

CASES = [case for case in all_cases() if case.on_wire]
REFUSED = [case for case in all_cases() if case.events and case.events[-1].startswith(b"violation ")]
STATES = frozenset((b"open", b"paused", b"lingering", b"switched", b"closed"))
OVER = frozenset((b"lingering", b"closed"))
SENTENCE = re.compile(r"[A-Z][ -~]*[a-z0-9][ -~]*\.")


class Played(NamedTuple):
    """What came of a case."""

    left: list[bytes]
    """What had left at the end of each act."""
    states: list[bytes]
    """The state of the connection at the end of each act."""
    notes: list[bytes]
    was_reset: bool


def play(case: Case, backend: Backend, places: Sequence[int] = ()) -> Played:
    """Let the acts of a case happen, with the octets of the client cut at ``places``."""
    host = Host(backend, case.limits)
    left, states, sent = [], [], 0
    for act in case.acts:
        for sign, text in act.happens:
            if sign == "!":
                host.happens(text.decode())
                continue
            for piece in cut(text, [place - sent for place in places if sent < place < sent + len(text)]):
                host.client_sends(piece)
            sent += len(text)
        left.append(host.take_what_left())
        states.append(host.state)
    notes = list(host.transport.notes) if case.notes else []
    host.close()
    assert set(host.started) <= set(host.announced) == set(host.over), "a request has begun and is never over"
    assert len(set(host.over)) == len(host.over), "a request is over twice"
    assert all(request.stage is Stage.DONE for request in host.over)
    assert host.take_what_left() == b"", "octets for a client that has gone"
    return Played(left, states, notes, host.was_reset)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_wire(case: Case, backend: Backend) -> None:
    """What leaves is what the case says, and it is the same of every cut."""
    whole = play(case, backend)
    over = False
    for act, left, state in zip(case.acts, whole.left, whole.states, strict=True):
        over = check(act, left, state, over, whole.was_reset)
    assert whole.notes == case.notes
    if not case.uncut:
        for places in ways_to_cut(len(case.sent)):
            assert play(case, backend, places) == whole, f"cut at {places}"


def check(act: Act, left: bytes, state: bytes, over: bool, was_reset: bool) -> bool:
    """Compare what left in an act with what should have; whether the connection is over by now."""
    reader = Reader(io.BytesIO(left).read)
    over |= not {("!", b"eof"), ("!", b"reset")}.isdisjoint(act.happens)
    expected_states = frozenset[bytes]()
    for expected in act.leaves:
        if isinstance(expected, bytes):
            assert reader.raw(len(expected)) == expected
            over |= expected == b"Connection: close\r\n"
        elif expected[""] in STATES:
            expected_states = frozenset((expected[""],))
        else:
            assert told(reader, expected, was_reset) == expected
            over |= not {"close", "until-close", "cut"}.isdisjoint(expected)
    reader.end()
    assert state in (expected_states or (OVER if over else {b"open"}))
    return over


def told(reader: Reader, expected: Words, was_reset: bool) -> Words:
    """The next answer in the words of the case; of what may be left out, what ``expected`` has."""
    head, content = reader.head(), b""
    words: Words = {"": b"%d" % head.status}
    try:
        for piece in reader.pieces(head, "HEAD" if "bare" in expected else "GET"):
            content += piece
    except Truncated:
        words["cut"] = b""
    if was_reset:
        words["cut"] = b""
    if "bare" in expected:  # The reader has taken no content; if there is any, it cannot read on.
        words["bare"] = b""
    if head.closes:
        framed = head.field("Content-Length") or head.field("Transfer-Encoding")
        ends = framed or "bare" in expected or head.status in (204, 304)
        words["close" if ends else "until-close"] = b""
    for name in expected:
        if name == "content":
            words[name] = content
        elif name[:1].isupper():
            value = head.field(name)
            words[name] = None if value is None else value.encode("latin-1")
    return words


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.id)
def test_violation_is_answered(case: Case, backend: Backend) -> None:
    """As the last answer there is, behind one for each good request ahead of it."""
    good = [event for event in case.events
            if event == b"end" or (event.startswith(b"head ") and b" length=" not in event)]
    played = play(case, backend)
    assert play(case, backend, range(1, len(case.sent))) == played
    reader = Reader(io.BytesIO(b"".join(played.left)).read)
    for _ in good:
        assert not reader.answer().closes
    bare = any("bare" in words for act in case.acts for words in act.leaves)
    last = reader.answer("HEAD" if bare else "GET")
    assert b"violation %d" % last.status == case.events[-1]
    assert last.closes
    assert last.field("Content-Type") == "text/plain; charset=utf-8"
    assert bare or SENTENCE.fullmatch(last.text)
    reader.end()
    assert played.states[-1] in OVER
