"""The pipelining queue: which request may start, which answer may leave, when the connection ends.

Two machines.  An *exchange* (a ``Request``) goes through these stages:

    QUEUED     its content is still arriving, or requests ahead of it must finish first
    RUNNING    its handler was started
    READY      its answer is there and waits for those ahead of it
    STREAMING  the head of its answer has left, the content is leaving piece by piece
    DONE       it is over

Answers leave in the order of the requests, whatever order they get READY in (RFC 9112 s.9.3.2);
neighbours that are READY leave together.  Requests with safe methods run side by side; one with an
unsafe method waits until all ahead of it are answered, and those behind wait for it.

A *connection* goes through these phases:

    OPEN       octets are parsed, requests start
    LINGERING  the last answer has left; what arrives is thrown away for a while, so that a reset
               does not destroy that answer at the client (RFC 9112 s.9.6)
    SWITCHED   another protocol has it (RFC 9110 s.7.8)
    CLOSED     it is over

No call blocks, none knows the time.  Whoever owns the connection calls, in a loop: ``receive``
with what came, ``next_request`` and ``respond`` for what may start, ``data_to_send`` for what may
leave, until ``stalled``; and looks at ``wants_reading``, ``streaming`` and ``phase``.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from japronto.errors import ResponseError
from japronto.interfaces import Assemble, ContentMax, Host, Parser, Service, Target
from japronto.limits import Limits
from japronto.messages import (
    CHUNKED,
    PERSISTENT,
    Body,
    EndOfMessage,
    Event,
    Expects,
    Framing,
    RequestHead,
    Violation,
)
from japronto.pure.assembler import CONTINUE, has_content, is_common, plan, prepare
from japronto.pure.chunked import LAST_CHUNK, encode_chunk
from japronto.pure.request import Request
from japronto.pure.response import Response


class Stage(enum.Enum):
    """Of an exchange."""

    QUEUED = "queued"
    RUNNING = "running"
    READY = "ready"
    STREAMING = "streaming"
    DONE = "done"


class Phase(enum.Enum):
    """Of a connection."""

    OPEN = "open"
    LINGERING = "lingering"
    SWITCHED = "switched"
    CLOSED = "closed"


# QUEUED goes straight to READY when the content turns out to be malformed; anything goes to DONE
# when the client is gone, or when an answer ahead closes the connection.
STAGES: Final = {
    Stage.QUEUED: frozenset((Stage.RUNNING, Stage.READY, Stage.DONE)),
    Stage.RUNNING: frozenset((Stage.READY, Stage.DONE)),
    Stage.READY: frozenset((Stage.STREAMING, Stage.DONE)),
    Stage.STREAMING: frozenset((Stage.DONE,)),
    Stage.DONE: frozenset[Stage](),
}
PHASES: Final = {
    Phase.OPEN: frozenset((Phase.LINGERING, Phase.SWITCHED, Phase.CLOSED)),
    Phase.LINGERING: frozenset((Phase.CLOSED,)),
    Phase.SWITCHED: frozenset((Phase.CLOSED,)),
    Phase.CLOSED: frozenset[Phase](),
}

SAFE_METHODS: Final = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))
"""Methods that are defined to change nothing (RFC 9110 s.9.2.1)."""

ParserFactory = Callable[[Limits, ContentMax], Parser]

# Named once: CPython 3.11 takes its time to look a member up in the class of an enum.
_QUEUED, _RUNNING, _READY, _STREAMING, _DONE = (
    Stage.QUEUED, Stage.RUNNING, Stage.READY, Stage.STREAMING, Stage.DONE)
_OPEN, _LINGERING = Phase.OPEN, Phase.LINGERING
_NOTHING, _REQUEST, _DECISION = Expects.NOTHING, Expects.REQUEST, Expects.DECISION


class Connection:
    """One connection, without its socket.

    ``service``   the application
    ``host``      whoever moves the octets
    ``parser``    makes the parser
    ``assemble``  makes octets of answers
    ``observed``  whether the host wants to hear of each exchange that begins, and that is over
    """

    __slots__ = ("_assemble", "_closing", "_discarded", "_draining", "_ignores_events", "_observed",
                 "_parser", "_ready_bytes", "_receiving", "_running", "_spared", "_unread",
                 "_unsafe", "_waiting", "blocked", "eof", "heads", "host", "late", "limits", "phase",
                 "queue", "received", "sent", "service", "streaming", "upgrade")

    def __init__(self, service: Service, host: Host, limits: Limits, parser: ParserFactory,
                 assemble: Assemble, *, observed: bool = False) -> None:
        self.service = service
        self.host = host
        self.limits = limits
        self.phase = _OPEN
        self.queue: deque[Request] = deque()
        """The exchanges that are not DONE, in order."""
        self.streaming: Request | None = None
        """The exchange whose content is to be sent now, with ``send_piece``."""
        self.upgrade: Callable[[], Any] | None = None
        """After SWITCHED: what the handler gave to make the new protocol."""
        self.blocked = False
        """Set by the host while the client does not take what it is sent."""
        self.heads = 0
        """Heads so far; tells the host that a new one has begun."""
        self.received = 0
        """Octets of content so far; tells the host that content makes progress."""
        self.sent = 0
        """Octets of content of the last stream that have left."""
        self.eof = False
        """Whether the client sends nothing more."""
        self.late: bytes | None = None
        """While the fast lane serves this connection, what has come meanwhile; else None."""
        self._observed = observed
        self._parser = parser(limits, _content_max(service))
        self._assemble = assemble
        self._waiting: deque[Request] = deque()  # QUEUED, in order
        self._running = 0  # RUNNING, or answered by a stream that is not over
        self._unsafe = False  # whether what runs includes an unsafe method
        self._receiving: Request | None = None  # whose content the parser is in
        self._unread = 0  # octets of its content that were thrown away
        self._ready_bytes = 0  # content of answers that are READY
        self._discarded = 0  # octets thrown away after the end
        self._ignores_events = False  # those that the parser has given already, behind content given up
        self._draining = False
        self._spared = False  # by the drain, until something comes
        self._closing = False  # whether an answer that closes the connection is there

    # -- what came --------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Take octets from the client; ``b""`` goes on with what was left for later."""
        if self.phase is not _OPEN or self._parser.expects is _NOTHING:
            self._throw_away(len(data))
            return
        room = self.limits.pipelined_requests - len(self.queue)
        if self._draining and data and not self._spared:
            # Of what comes now, only the rest of a request that has begun is taken.
            room = min(room, int(self._parser.expects is Expects.HEAD))
        self._take(self._parser.feed(data, room))
        if self._draining:
            if self._spared:
                self._spared = self._is_idle()
            elif data and self._parser.more:
                self._parser.stop()
            self._settle_drain()

    def receive_eof(self) -> None:
        """The client sends nothing more; what it has asked is still answered."""
        self.eof = True
        if self.phase is _LINGERING:
            self._enter(Phase.CLOSED)  # The client has seen the last answer, or has gone without.
        self._end_if_over()

    def lost(self) -> None:
        """The client is gone: whatever is under way is for nobody."""
        self._abandon()
        self._enter(Phase.CLOSED)

    def drain(self) -> None:
        """Take no further request; close when those that have begun are answered."""
        self._draining = True
        self._spared = False
        self._settle_drain()

    def retire(self) -> None:
        """Drain, but let a client that is idle ask once more, and learn by the answer that this was the last.

        It may be sending just now, and a close would cross its request on the way (RFC 9112 s.9.5).
        """
        if self._draining:
            return
        self._draining = True
        self._spared = self._is_idle()
        self._settle_drain()

    def _is_idle(self) -> bool:
        """Whether no request is there, nor has begun to come."""
        return not self.queue and not self._parser.more and self._parser.expects is _REQUEST

    def time_out(self, violation: Violation) -> None:
        """The client took too long to send: answer what is complete, then this, then close."""
        self._parser.stop()
        self._violate(violation)

    def _throw_away(self, octets: int) -> None:
        """What comes after the end is not looked at, and too much of it ends the patience."""
        self._discarded += octets
        if self._discarded > self.limits.linger_bytes and self.phase is _LINGERING:
            self._enter(Phase.CLOSED)

    def _settle_drain(self) -> None:
        """A request that has begun to arrive is still taken; at its end, no more."""
        if self._parser.expects is _REQUEST and not self._parser.more and not self._spared:
            self._parser.stop()
        self._end_if_over()

    def _take(self, events: list[Event]) -> None:
        for event in events:
            if self._ignores_events:
                break
            kind = type(event)
            if kind is RequestHead:
                self._begin(event)  # type: ignore[arg-type]
            elif kind is Body:
                self._take_content(event[0])  # type: ignore[index,arg-type]
            elif kind is EndOfMessage:
                self._complete(event[0])  # type: ignore[index,arg-type]
            else:
                self._violate(event)  # type: ignore[arg-type]

    def _begin(self, head: RequestHead) -> None:
        self.heads += 1
        destination = head.route or self.service.target(head)
        request = self.service.request_type(head, destination, self, _QUEUED)
        self.queue.append(request)
        self._waiting.append(request)
        if self._observed:
            self.host.begun(request)
        if head.framing is not PERSISTENT:
            request.persistent = head.framing.persistent
            self.received += len(head.content or b"")
            if not head.complete:
                self._receiving = request
                self._unread = 0
                if not request.destination.stream:
                    self.content_wanted(request)

    def _take_content(self, data: bytes) -> None:
        request = self._receiving
        assert request is not None
        self.received += len(data)
        if _may_read(request):
            request.content.put(data)
            return
        self._unread += len(data)
        if self._unread > self.limits.unread_content_bytes:
            self._give_content_up(request)

    @staticmethod
    def _end_content(request: Request) -> None:
        """What still comes is thrown away, and who reads on must not take that for complete."""
        request.content.failure = "The request was answered before all its content was read."
        request.content.notify()

    def _give_content_up(self, request: Request) -> None:
        """The rest of the content is neither wanted nor near its end: the connection must close."""
        self._say_close(request)
        self._receiving = None
        self._ignores_events = True
        self._parser.stop()
        self._end_if_over()

    def _complete(self, trailers: bytes) -> None:
        request = self._receiving
        assert request is not None
        self._receiving = None
        if request.content.failure is None:
            request.content.trailers = trailers
            request.content.complete = True
            request.content.notify()

    def _violate(self, violation: Violation) -> None:
        """Answer a fault in the place of the request that it belongs to (RFC 9112 s.2.2)."""
        request = self._receiving
        self._receiving = None
        if request is None:
            # Whatever it was; only that an answer to HEAD has no content must be known.
            head = RequestHead(violation.method or "GET", b"*", "*", None, 1, b"\n", Framing(None, False))
            request = self.service.request_type(head, REFUSED, self, _QUEUED)
            self.queue.append(request)
            if self._observed:
                self.host.begun(request)
        self._say_close(request)
        request.content.failure = violation.reason
        if request.stage is _QUEUED or request.stage is _RUNNING:
            # A handler that runs learns of it when it reads on; what it answers comes too late.  It is
            # not counted as running any more, though it goes on: nothing is behind this request, and
            # nothing will be, that would have to wait for it.
            if request.stage is _RUNNING:
                self._running -= 1
            elif request.destination is not REFUSED:
                self._waiting.remove(request)
            request.refusal = violation
            request.response = request.Response(violation.status, text=violation.reason)
            request.boundary = True
            self._move(request, _READY)
        request.content.notify()

    # -- what may start ---------------------------------------------------------------------------

    def next_request(self) -> Request | None:
        """The next request whose handler may start; it is RUNNING then."""
        if not self._may_start():
            return None
        request = self._waiting.popleft()
        self._running += 1
        self._unsafe = request.head.method not in SAFE_METHODS
        request.stage = _RUNNING
        return request

    def _may_start(self) -> bool:
        """Whether the handler of the first request that waits may start.

        Not behind an answer that closes the connection: nobody would get what it does answered
        (RFC 9112 s.9.6).
        """
        if not self._waiting or self._closing or self.blocked:
            return False
        if self._ready_bytes >= self.limits.unsent_bytes:
            return False
        request = self._waiting[0]
        head = request.head
        if self._running and (self._unsafe or head.method not in SAFE_METHODS):
            return False
        return head.complete or request.destination.stream or request.content.complete

    def adopt(self, request: Request) -> None:
        """Take over a request whose handler the fast lane has called while nothing was queued."""
        self.heads += 1
        self.queue.append(request)
        self._running += 1
        self._unsafe = request.head.method not in SAFE_METHODS
        self.received += len(request.head.content or b"")
        request.stage = _RUNNING

    def respond(self, request: Request, response: Response) -> None:
        """Answer a request; too late for one that is over, and then without effect.

        Raises ResponseError when the response does not go with the request; the request is still
        to be answered then.
        """
        if request.stage is not _RUNNING:
            if response.stream is not None:
                self.host.discard(response.stream)
            return
        if not is_common(request, response):
            prepare(request, response)
            request.common = False
            if response.stream is not None:
                request.streams = has_content(request, response)
                if not request.streams:
                    self.host.discard(response.stream)
            request.boundary = (request.streams or response.upgrade is not None
                                or not request.persistent)
            self._closing = self._closing or not request.persistent
        request.response = response
        request.stage = _READY
        self._ready_bytes += len(response._body)
        if not request.streams:
            self._running -= 1
        if request is self._receiving:
            request.boundary = True
            if not request.streams:
                self._end_content(request)
        if request.head.framing.upgrade and response.upgrade is None:
            self._parser.resume()
            if self._draining:  # It could not be said before whether anything follows.
                self._settle_drain()

    # -- what may leave ---------------------------------------------------------------------------

    def data_to_send(self, date: bytes) -> list[bytes]:
        """The octets that may leave now; ``date`` is an IMF-fixdate."""
        buffers: list[bytes] = []
        while self.queue and self.streaming is None and self.phase is _OPEN:
            batch = []
            for request in self.queue:
                if request.stage is not _READY:
                    break
                batch.append(request)
                if request.boundary:
                    break
            if not batch:
                self._continue(buffers)
                break
            self._decide_persistence(batch[-1])
            buffers += self._assemble(batch, date)
            self._leave(batch)
        self._end_if_over()
        return buffers

    def _continue(self, buffers: list[bytes]) -> None:
        """100 Continue, once, when the first in the queue wants its content (RFC 9110 s.10.1.1)."""
        request = self.queue[0]
        if request.wants_continue and not request.content.received:
            request.head.framing = request.head.framing._replace(expect_continue=False)
            buffers.append(CONTINUE)
        request.wants_continue = False

    def _decide_persistence(self, last: Request) -> None:
        """Say close on the last answer there will be, and on one whose content cannot be drained."""
        if last is self._receiving:
            if self._draining or (not self._can_drain(last) and not _may_read(last)):
                self._say_close(last)
        elif last is self.queue[-1] and self._parser.expects is _NOTHING:
            self._say_close(last)

    def _can_drain(self, request: Request) -> bool:
        """Whether the end of the content that is still to come is known, and near (RFC 9112 s.9.3)."""
        framing = request.head.framing
        if framing.length is None or framing.length == CHUNKED:
            return False
        if framing.expect_continue and not request.content.received + self._unread:
            return False
        return framing.length - request.content.received <= self.limits.unread_content_bytes

    @staticmethod
    def _say_close(request: Request) -> None:
        request.persistent = False
        request.common = False

    def _leave(self, batch: list[Request]) -> None:
        last = batch[-1]
        response = last.response
        assert response is not None
        if last.streams:
            del batch[-1]
            self._ready_bytes -= len(response.body)
            self._move(last, _STREAMING)
            self.streaming = last
            self.sent = 0
        for request in batch:
            self.queue.popleft()
            self._ready_bytes -= len(request.response._body)  # type: ignore[union-attr]
            request.stage = _DONE
            if self._observed or request._done_callbacks is not None:
                self.host.finished(request)
        if not self.queue:
            self._ready_bytes = 0  # also when somebody has changed a body since it was counted
        if response.upgrade is not None:
            self.upgrade = response.upgrade
            self._enter(Phase.SWITCHED)
        elif not last.persistent and self.streaming is None:
            self._close()

    # -- content that leaves piece by piece -------------------------------------------------------

    def send_piece(self, data: bytes) -> bytes:
        """The octets of a piece of streamed content; empty for an empty piece (RFC 9112 s.7.1).

        Raises ResponseError when it is more than the Content-Length that was declared.
        """
        request = self.streaming
        assert request is not None
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise ResponseError(f"a piece of content must be bytes, not {type(data).__name__}")
        data = bytes(data)
        if not data:
            return b""
        framing = plan(request, request.response)  # type: ignore[arg-type]
        self.sent += len(data)
        if framing.length is not None and self.sent > framing.length:
            raise ResponseError(f"the content is longer than the {framing.length} octets declared")
        return encode_chunk(data) if framing.chunked else data

    def end_stream(self) -> bytes:
        """The octets that end streamed content.

        Raises ResponseError when it is less than the Content-Length that was declared.
        """
        request = self.streaming
        assert request is not None
        framing = plan(request, request.response)  # type: ignore[arg-type]
        if framing.length is not None and self.sent < framing.length:
            raise ResponseError(f"the content ends after {self.sent} of {framing.length} octets")
        self._end_exchange(request)
        return LAST_CHUNK if framing.chunked else b""

    def abort_stream(self) -> bool:
        """The content cannot be completed, and must not look complete (RFC 9112 s.8).

        Returns whether it would, if the connection closed in the usual way.
        """
        request = self.streaming
        assert request is not None
        framing = plan(request, request.response)  # type: ignore[arg-type]
        self._say_close(request)
        self._end_exchange(request)
        return framing.length is None and not framing.chunked

    def _end_exchange(self, request: Request) -> None:
        self.streaming = None
        self._running -= 1
        self.queue.popleft()
        self._move(request, _DONE)
        if request is self._receiving:
            self._end_content(request)
        if self._observed or request._done_callbacks is not None:
            self.host.finished(request)
        if not request.persistent or (request is self._receiving and not self._can_drain(request)):
            self._close()
        self._end_if_over()

    # -- content that arrives piece by piece ------------------------------------------------------

    def content_wanted(self, request: Request) -> None:
        """Someone waits for the content of ``request``: send 100 Continue if the client wants it."""
        if request.head.framing.expect_continue and not request.content.received:
            request.wants_continue = True
        self.host.wake()

    def content_taken(self, request: Request) -> None:
        """The handler took a piece, so that reading may go on."""
        if request is self._receiving:
            self.host.wake()

    # -- the end ----------------------------------------------------------------------------------

    @property
    def stalled(self) -> bool:
        """Whether nothing more can be parsed or started until something happens.

        What was left for later is taken up when half of the queue is free, not one by one.
        """
        if self.blocked or self.phase is not _OPEN:
            return True
        if self._may_start():
            return False  # It had to wait until answers that were ready have left.
        return not self._parser.more or len(self.queue) > self.limits.pipelined_requests // 2

    @property
    def undisturbed(self) -> bool:
        """Whether it goes on, in both directions, as far as can be said now."""
        return not (self.phase is not _OPEN or self.blocked or self._draining or self.eof)

    @property
    def expects(self) -> Expects:
        """What the next octet would belong to that the client has to send; decides which time runs."""
        if self.phase is not _OPEN:
            return _NOTHING
        request = self._receiving
        if (request is not None and request.stage is not _STREAMING
                and request.head.framing.expect_continue and not request.content.received):
            return _NOTHING  # It is the handler that lets the client wait.
        return self._parser.expects

    @property
    def wants_reading(self) -> bool:
        """Whether there is room for more octets from the client."""
        if self.phase is not _OPEN:
            return self.phase is _LINGERING
        if self.blocked or self._parser.more:
            return False
        request = self._receiving
        if request is None:
            expects = self._parser.expects
            if expects is _NOTHING:
                return self._discarded <= self.limits.linger_bytes
            return (expects is not _DECISION
                    and len(self.queue) < self.limits.pipelined_requests
                    and (not self.received or self._held() < self.limits.content_buffer_bytes))
        if not _may_read(request):
            return True
        if request.destination.stream:
            return request.content.buffered < self.limits.content_buffer_bytes
        return request is self.queue[0] or self._held() < self.limits.content_buffer_bytes

    def _held(self) -> int:
        """Octets of content that the requests behind the first one hold."""
        return sum(len(request.head.content or b"")
                   + (0 if request._content is None else request._content.buffered)
                   for request in self.queue if request is not self.queue[0])

    def detach(self) -> bytes:
        """After SWITCHED: the octets that belong to the new protocol."""
        return self._parser.detach()

    def _move(self, request: Request, stage: Stage) -> None:
        assert stage in STAGES[request.stage], f"{request.stage} -> {stage}"
        request.stage = stage

    def _enter(self, phase: Phase) -> None:
        if self.phase is not phase:
            assert phase in PHASES[self.phase], f"{self.phase} -> {phase}"
            self.phase = phase

    def _close(self) -> None:
        """The last answer has left; what is queued behind it is not answered (RFC 9112 s.9.6)."""
        self._parser.stop()
        self._abandon()
        self._enter(Phase.CLOSED if self.eof else _LINGERING)

    def _end_if_over(self) -> None:
        if self.phase is not _OPEN or self.late is not None:
            return  # The request that the lane is at is in no queue.
        if self.eof and not self._parser.more:
            self._take(self._parser.feed_eof())
        if not self.queue and self._parser.expects is _NOTHING:
            self._close()

    def _abandon(self) -> None:
        """Nobody will get the answers to what is in the queue."""
        queue, self.queue = self.queue, deque()
        self._waiting.clear()
        self._receiving = None
        for request in queue:
            request.is_disconnected = True
            if request._content is not None:
                request._content.failure = request._content.failure or "The client has gone away."
                request._content.notify()
            if request.streams and request.stage is _READY:
                self.host.discard(request.response.stream)  # type: ignore[union-attr]
            self._move(request, _DONE)
            if self._observed or request._done_callbacks is not None:
                self.host.finished(request)
        self.streaming = None


def _content_max(service: Service) -> ContentMax:
    """Route a head that announces content, to learn how much its route takes.

    A function of its own: a parser that held its connection would be garbage only a collector finds.
    """
    def content_max(head: RequestHead) -> int:
        head.route = target = service.target(head)
        return target.content_bytes

    return content_max


def _may_read(request: Request) -> bool:
    """Whether somebody may still want the content: the handler, or what it answers with."""
    stage = request.stage
    return (stage is _QUEUED or stage is _RUNNING or stage is _STREAMING
            or (stage is _READY and request.streams))


def _never_called(request: Request) -> Response:
    raise AssertionError("a refusal has no handler")


REFUSED = Target(_never_called, None, None, False, 0)
"""Whom a request is for that is none, but a fault on the wire."""
