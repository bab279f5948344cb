"""Octets to events: RFC 9112 s.2.2, one connection, requests only.

The parser keeps the octets that are not yet an event, and knows what the next one belongs to:

    HEAD      -> head without content    -> HEAD
              -> head with content       -> CONTENT -> end of the message -> HEAD
              -> head with an Upgrade    -> DECISION -> HEAD, or another protocol
              -> head with "close"       -> (its content, then) FINISHED
    anywhere  -> violation               -> FINISHED

What arrives in FINISHED is not looked at: after a request that says close nothing is processed
(s.9.6), and after a violation nobody knows what it is.
"""

from __future__ import annotations

import enum

from japronto.interfaces import ContentMax, Resume, Scan
from japronto.limits import Limits
from japronto.messages import (
    CHUNKED,
    Body,
    EndOfMessage,
    Event,
    Expects,
    RequestHead,
    Violation,
)
from japronto.pure.chunked import TOO_LARGE, ChunkedDecoder
from japronto.pure.framing import frame
from japronto.pure.grammar import scan as pure_scan

_TRUNCATED = Violation(400, "The connection ended before the content did.")


class _Mode(enum.Enum):
    HEAD = enum.auto()
    CONTENT = enum.auto()
    DECISION = enum.auto()
    FINISHED = enum.auto()


# Named once: CPython 3.11 takes its time to look a member up in the class of an enum.
HEAD = _Mode.HEAD
"""The mode of a parser that waits for a head; for the fast lane."""
_CONTENT, _DECISION, _FINISHED = _Mode.CONTENT, _Mode.DECISION, _Mode.FINISHED
_REQUEST = Expects.REQUEST


class Parser:
    """Events from octets; see ``interfaces.Parser`` and the essay above.

    ``content_max``  asked once for each head that announces content; without it
                     ``limits.content_bytes`` holds for all
    ``scan``         finds heads; the seam at which a faster scanner is swapped in
    """

    __slots__ = ("_buffer", "_content_max", "_decoder", "_left", "_limits", "_mode", "_persistent",
                 "_resume", "_scan", "more")

    more: bool
    """Whether ``heads_max`` ended the last call, so that ``feed(b"")`` may give further events."""

    def __init__(self, limits: Limits, content_max: ContentMax | None = None,
                 scan: Scan = pure_scan) -> None:
        self._limits = limits
        self._content_max = content_max
        self._scan = scan
        self._buffer = b""
        self._mode = HEAD
        self._resume: Resume | None = None
        self._persistent = True
        self._left = 0
        self._decoder: ChunkedDecoder | None = None
        self.more = False

    @property
    def expects(self) -> Expects:
        """What the next octet would belong to."""
        if self._mode is HEAD:
            return Expects.HEAD if self._buffer.lstrip(b"\r\n") else _REQUEST
        if self._mode is _CONTENT:
            return Expects.CONTENT
        return Expects.DECISION if self._mode is _DECISION else Expects.NOTHING

    def _finished(self) -> bool:
        return self._mode is _FINISHED

    def feed(self, data: bytes, heads_max: int = 1 << 30) -> list[Event]:
        """Take octets and return what they complete; see ``interfaces.Parser``."""
        if self._finished():
            return []
        buffer = self._buffer + data if self._buffer else data
        events: list[Event] = []
        at = 0
        self.more = False
        while True:
            if self._mode is HEAD:
                if at == len(buffer):
                    break
                if heads_max <= 0:
                    self.more = True
                    break
                scanned = self._scan(buffer, at, heads_max, self._limits, self._resume)
                heads, at, violation, self._resume, seen = scanned
                events += heads
                heads_max -= len(heads)
                if violation is not None:
                    self._violate(events, violation)
                elif seen is not None:
                    at = self._judge(heads[-1], seen, events, buffer, at)
                elif self._resume is not None or not heads:
                    break
            elif self._mode is _CONTENT:
                at = self._content(events, buffer, at)
                if self._mode is _CONTENT:  # The rest of it has not come.
                    break
            else:
                break
        self._buffer = b"" if self._finished() else buffer[at:]
        return events

    def feed_eof(self) -> list[Event]:
        """The peer sends nothing more (RFC 9112 s.8): an incomplete head is dropped, an incomplete
        content is a violation."""
        events: list[Event] = []
        if self._mode is _CONTENT:
            self._violate(events, _TRUNCATED)
        elif self._mode is HEAD and not self.more:
            self.stop()
        return events

    def resume(self) -> None:
        """After a head with ``framing.upgrade``: the connection stays HTTP."""
        if self._mode is _DECISION:
            self._next_message()
            if self._finished():  # The request says close: what follows is nothing.
                self._buffer = b""
            self.more = bool(self._buffer)

    def detach(self) -> bytes:
        """After a head with ``framing.upgrade``: the octets that belong to the new protocol."""
        octets = self._buffer
        self.stop()
        return octets

    def stop(self) -> None:
        """Take no further request."""
        self._mode = _FINISHED
        self._buffer = b""
        self._decoder = None
        self.more = False

    def _violate(self, events: list[Event], violation: Violation) -> None:
        events.append(violation)
        self.stop()

    def _next_message(self) -> None:
        self._decoder = None
        self._mode = HEAD if self._persistent else _FINISHED

    def _judge(self, head: RequestHead, seen: int, events: list[Event], buffer: bytes,
               at: int) -> int:
        """Frame the last head that was scanned; take its content if all of it is there.

        Returns where the next octet stands.
        """
        framing = frame(head, seen)
        if isinstance(framing, Violation):
            events.pop()
            self._violate(events, _named(framing, head))
            return at
        head.framing = framing
        self._persistent = framing.persistent
        length = framing.length
        if length is None:
            if framing.upgrade:
                self._mode = _DECISION
            else:
                self._next_message()
            return at
        content_max = self._content_max(head) if self._content_max else self._limits.content_bytes
        if length > content_max:
            events.pop()
            self._violate(events, _named(TOO_LARGE, head))
            return at
        if length == CHUNKED:
            head.complete = False
            self._decoder = ChunkedDecoder(self._limits, content_max)
            self._mode = _CONTENT
        elif at + length <= len(buffer):
            head.content = buffer[at:at + length]
            self._next_message()
            return at + length
        else:
            head.complete = False
            self._left = length
            self._mode = _CONTENT
        return at

    def _content(self, events: list[Event], buffer: bytes, at: int) -> int:
        """Take content, to the end of the message if it is there."""
        if self._decoder is not None:
            data, at = self._decoder.feed(buffer, at)
            if data:
                events.append(Body(data))
            if self._decoder.violation is not None:
                self._violate(events, self._decoder.violation)
            elif self._decoder.done:
                events.append(EndOfMessage(self._decoder.trailers))
                self._next_message()
            return at
        data = buffer[at:at + self._left]
        if data:
            events.append(Body(data))
            self._left -= len(data)
            if not self._left:
                events.append(EndOfMessage())
                self._next_message()
        return at + len(data)


def _named(violation: Violation, head: RequestHead) -> Violation:
    """With the request line that it is about."""
    return violation._replace(method=head.method, target=head.target, minor=head.minor)
