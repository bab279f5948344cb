"""Drives a parser, and says what it reported in a form that can be compared.

How content is cut into pieces carries no meaning, so the pieces are joined; whatever else the contract
in ``japronto/interfaces.py`` and ``japronto/messages.py`` promises of events is checked on the way.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from japronto.interfaces import Parser
from japronto.messages import Body, EndOfMessage, Event, Expects, Framing, RequestHead, Violation

ENOUGH = 1 << 30
Fields: TypeAlias = "tuple[tuple[bytes, bytes], ...]"
SECTION = re.compile(rb"\n(?:[^\r\n]+\r\n)*").fullmatch


class Message(NamedTuple):
    """One request as a parser reports it."""

    method: str
    target: bytes
    path: str
    query: str | None
    minor: int
    framing: Framing
    fields: Fields
    content: bytes = b""
    trailers: Fields = ()
    whole: bool = True
    """Whether its end was reported."""


@dataclass
class Outcome:
    """All that a parser reported."""

    messages: list[Message] = field(default_factory=list)
    violation: Violation | None = None
    expects: Expects = Expects.REQUEST

    @property
    def whole(self) -> list[Message]:
        return [message for message in self.messages if message.whole]


def fields_of(section: bytes) -> Fields:
    """The names and values of a section, white space around the values removed."""
    if not section:
        return ()
    assert SECTION(section), f"not a section: {section!r}"
    pairs = (line.partition(b":") for line in section[1:].split(b"\r\n")[:-1])
    return tuple((name, value.strip(b" \t")) for name, _, value in pairs)


def one_by_one(octets: bytes) -> list[bytes]:
    return [octets[at:at + 1] for at in range(len(octets))]


def parse(parser: Parser, pieces: Iterable[bytes], *, heads_max: int = ENOUGH, eof: bool = False) -> Outcome:
    """Feed ``pieces`` to a new parser; an Upgrade that it reports is not taken."""
    outcome = Outcome()
    for piece in pieces:
        take(outcome, parser.feed(piece, heads_max))
        take_more(outcome, parser, heads_max)
    if eof:
        take(outcome, parser.feed_eof())
    outcome.expects = parser.expects
    return outcome


def take_more(outcome: Outcome, parser: Parser, heads_max: int = ENOUGH) -> None:
    """Call the parser again until it has no more for now."""
    while True:
        if parser.expects is Expects.DECISION:
            assert parser.feed(b"") == [], "an event ahead of the decision"
            parser.resume()
        if not parser.more:
            assert parser.feed(b"", heads_max) == [], "an event though there is no more"
            return
        before = len(outcome.messages)
        take(outcome, parser.feed(b"", heads_max))
        assert len(outcome.messages) > before or not parser.more, "there is more, and it never comes"


def take(outcome: Outcome, events: list[Event]) -> None:
    """Add what was reported."""
    for event in events:
        assert outcome.violation is None, "an event behind a violation"
        messages = outcome.messages
        is_open = bool(messages) and not messages[-1].whole
        if isinstance(event, Violation):
            outcome.violation = event
        elif isinstance(event, RequestHead):
            assert not is_open, "a head inside a message"
            messages.append(_begun(event))
        elif isinstance(event, Body):
            assert is_open, "content outside of a message"
            assert event.data, "an empty piece of content"
            messages[-1] = messages[-1]._replace(content=messages[-1].content + event.data)
        else:
            assert isinstance(event, EndOfMessage)
            assert is_open, "the end of no message"
            messages[-1] = messages[-1]._replace(trailers=fields_of(event.trailers), whole=True)


def _begun(head: RequestHead) -> Message:
    assert head.route is None
    if head.content is not None:
        assert head.complete
        assert head.framing.length == len(head.content)
    else:
        assert head.complete is (head.framing.length is None)
    return Message(head.method, head.target, head.path, head.query, head.minor, head.framing,
                   fields_of(head.section), head.content or b"", (), head.complete)
