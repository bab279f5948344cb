"""A connection as a whole: whatever client, handlers and server do, in whatever order.

The machine plays all of them: a client that pipelines requests, cuts them anywhere, stops reading, closes
its side or vanishes; handlers that answer in any order, with streams too, or read content; a server that
drains and loses patience.  What it checks after each step is what must be true at any time; at the
end it lets everything come to rest, and reads the whole wire with h11.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Coroutine, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from japronto.backend import Backend
from japronto.errors import DisconnectError, ResponseError
from japronto.interfaces import Target
from japronto.limits import Limits
from japronto.messages import Expects, RequestHead, Violation
from japronto.pure.connection import SAFE_METHODS, Phase, Stage
from japronto.pure.request import ContentStream, Request
from japronto.pure.response import Response

from .hosting import CONTINUE, Answer, Host, Waiter, answers

LIMITS = Limits(pipelined_requests=4, unsent_bytes=100, content_buffer_bytes=40, unread_content_bytes=20,
                linger_bytes=100, content_bytes=120, chunk_line_bytes=20, request_line_bytes=60)
TIMED = (Expects.REQUEST, Expects.HEAD, Expects.CONTENT)
READ_MAX = 200
"""The most octets that come in one read."""
SLOW = Violation(408, "The request did not arrive in time.")
BIG = b"x" * 170


# -- What the client sends -------------------------------------------------------------------

@dataclass(eq=False)
class Asked:
    """A request, and what becomes of it."""

    number: int
    head: bytes
    content: bytes | None = None
    coded: bytes = b""
    """The content as it is sent."""
    method: str = "GET"
    closes: bool = False
    old: bool = False
    """Whether it is HTTP/1.0."""
    waits: bool = False
    """Whether the client waits for 100 Continue before it sends content."""
    faulty: bool = False
    """Whether it is to be refused."""
    answered: tuple[int, bytes] | None = None
    """What the handler has answered: the status and the content."""
    may_close: bool = False
    """Whether there was a reason to close behind the answer."""


def chunks(content: bytes, size: int) -> bytes:
    pieces = [content[at:at + size] for at in range(0, len(content), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def head(method: str, path: str, *lines: str, version: str = "1.1") -> bytes:
    host = ["Host: a"] if version == "1.1" else []
    return "\r\n".join([f"{method} {path} HTTP/{version}", *host, *lines, "", ""]).encode()


def with_content(number: int, path: str, method: str, size: int, chunk: int, waits: bool) -> Asked:
    """A request with content: in chunks of ``chunk`` octets, or in one piece if that is 0."""
    content = bytes(65 + at % 26 for at in range(size))
    lines = ["Transfer-Encoding: chunked" if chunk else f"Content-Length: {size}"]
    lines += ["Expect: 100-continue"] * waits
    return Asked(number, head(method, path, *lines), content, chunks(content, chunk) if chunk else content,
                 method, waits=waits and bool(size or chunk))


NUMBER = re.compile(r"/?[sw]+(\d+)").match
METHODS = st.sampled_from(("GET", "HEAD", "OPTIONS", "POST", "DELETE"))
SELDOM = st.sampled_from((False,) * 7 + (True,))
SAYS = st.sampled_from((*[("1.1", "")] * 8, ("1.1", "close"), ("1.0", ""), ("1.0", "keep-alive"),
                        ("1.0", "close")))
READ = st.sampled_from((0, 5, 90, READ_MAX, READ_MAX))
FAULTS = st.sampled_from((
    b"GET / HTTP/1.1\r\n\r\n", b"GET /\n", b"\0", b"GET /" + b"x" * 60,
    b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 121\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nExpect: b\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"))


# -- What a handler does ---------------------------------------------------------------------

def streams(request: Request, response: Response | None) -> bool:
    """Whether the answer has content that is still to be made."""
    return (response is not None and response.stream is not None
            and response.code != 204 and request.method != "HEAD")


class Pieces:
    """The content of a response, piece by piece; must be closed, by whoever has it in the end."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.left = list(pieces)

    def __iter__(self) -> Pieces:
        return self

    def __next__(self) -> bytes:
        raise AssertionError("the machine takes the pieces itself")


@dataclass
class Reader:
    """A handler that reads content piece by piece."""

    stream: ContentStream
    got: bytes = b""
    waiting: Coroutine[Any, Any, bytes] | None = None
    waiter: Waiter | None = None
    ended: bool = False

    def step(self) -> None:
        """Read one piece, or wait for one."""
        if self.ended or (self.waiter is not None and not self.waiter.done()):
            return
        coroutine, self.waiting, self.waiter = self.waiting or self.stream.__anext__(), None, None
        try:
            self.waiter = coroutine.send(None)
            self.waiting = coroutine
            return
        except StopIteration as stop:
            piece = stop.value
        except (StopAsyncIteration, DisconnectError):
            self.ended = True
            return
        assert piece, "an empty piece of content"
        self.got += piece


# -- The machine -----------------------------------------------------------------------------

class ConnectionMachine(RuleBasedStateMachine):
    backend: Backend

    @initialize(lasts=st.integers(0, 10))
    def opens(self, lasts: int) -> None:
        self.lasts = lasts  # how many requests begin before anything ends the connection
        self.host = Host(self.backend, LIMITS, self.target, self.start)
        self.connection = self.host.connection
        self.asked: list[Asked] = []
        self.outbound: list[bytes | Asked] = []  # octets that were not read yet, and where the client waits
        self.begun: list[Request] = []
        self.running: list[Request] = []
        self.readers: dict[Request, Reader] = {}
        self.streams: list[Pieces] = []
        self.ended: list[object] = []  # streams of which the host has seen the end
        self.may_close = False  # whether there is a reason to close besides what requests and handlers say
        self.gone = self.half_closed = False
        self.draining = False

    # What the application does.

    def target(self, head: RequestHead) -> Target:
        """What starts with ``/s`` starts at its head and may read the content piece by piece."""
        return Target(self.start, None, None, head.path.startswith("/s"), LIMITS.content_bytes)

    def asked_by(self, request: Request) -> Asked:
        return self.asked[int(NUMBER(request.path)[1])]

    def start(self, request: Request) -> None:
        """What the rules say about who may run beside whom, and when enough is enough."""
        connection, queue = self.connection, list(self.connection.queue)
        assert connection.phase is Phase.OPEN
        assert not connection.blocked
        ready = [ahead for ahead in queue if ahead.stage is Stage.READY]
        assert sum(len(ahead.response.body) for ahead in ready if ahead.response) < LIMITS.unsent_bytes
        place = queue.index(request)
        unfinished = [ahead for ahead in queue[:place]
                      if ahead.stage is not Stage.READY or streams(ahead, ahead.response)]
        if request.method in SAFE_METHODS:
            assert all(ahead.method in SAFE_METHODS for ahead in unfinished)
        else:
            assert not unfinished
        assert all(behind.stage is not Stage.RUNNING for behind in queue[place + 1:])
        asked = self.asked_by(request)
        if request.path.startswith("/s"):
            self.readers[request] = Reader(request.stream())  # type: ignore[arg-type]
        else:
            assert request.body == asked.content
        self.begun.append(request)
        self.running.append(request)

    # What the client does.

    def can_ask(self) -> bool:
        return not self.gone and not self.half_closed and len(self.asked) < 16

    def may_end(self) -> bool:
        return not self.gone and len(self.begun) >= self.lasts

    def sends(self, asked: Asked, read: int = 0) -> None:
        """Send a request, of which perhaps some octets are read at once."""
        self.asked.append(asked)
        self.outbound += [asked.head, *[asked] * asked.waits, asked.coded]
        if read and self.can_be_read():
            self.is_read(read)

    @precondition(can_ask)
    @rule(method=METHODS, streams=st.booleans(), says=SAYS, read=READ)
    def asks(self, method: str, streams: bool, says: tuple[str, str], read: int) -> None:
        number = len(self.asked)
        version, option = says
        lines = [f"Connection: {option}"] if option else []
        path = f"/{'s' if streams else 'w'}{number}"
        closes = option == "close" or (version == "1.0" and not option)
        self.sends(Asked(number, head(method, path, *lines, version=version),
                         method=method, closes=closes, old=version == "1.0"), read)

    @precondition(can_ask)
    @rule(methods=st.lists(METHODS, min_size=2, max_size=6), read=READ)
    def asks_for_several(self, methods: list[str], read: int) -> None:
        for method in methods:
            number = len(self.asked)
            self.sends(Asked(number, head(method, f"/w{number}"), method=method))
        if read and self.can_be_read():
            self.is_read(read)

    @precondition(can_ask)
    @rule(method=METHODS, streams=st.booleans(), size=st.integers(0, 120),
          chunk=st.sampled_from((0, 1, 7, 50)), waits=st.booleans(), read=READ)
    def asks_with_content(self, method: str, streams: bool, size: int, chunk: int, waits: bool,
                          read: int) -> None:
        number = len(self.asked)
        path = f"/{'s' if streams else 'w'}{number}"
        self.sends(with_content(number, path, method, size, chunk, waits), read)

    @precondition(can_ask)
    @rule(connect=st.booleans(), closes=SELDOM, behind=st.sampled_from((b"", b"\0", b"\0" * 9)))
    def asks_for_another_protocol(self, connect: bool, closes: bool, behind: bytes) -> None:
        number = len(self.asked)
        options = "Connection: upgrade" + ", close" * closes
        octets = head("CONNECT", f"sw{number}:1", *["Connection: close"] * closes) if connect else head(
            "GET", f"/w{number}", "Upgrade: other", options)
        self.sends(Asked(number, octets, method="CONNECT" if connect else "GET", closes=closes))
        if behind:
            self.outbound.append(behind)  # no HTTP, so a fault to whoever takes it for that
            self.may_close = True

    @precondition(lambda self: self.can_ask() and self.may_end())
    @rule(octets=FAULTS)
    def asks_what_is_malformed(self, octets: bytes) -> None:
        self.sends(Asked(len(self.asked), octets, faulty=True))

    @precondition(lambda self: self.can_ask() and self.may_end())
    @rule(method=METHODS, streams=st.booleans(), size=st.integers(0, 60))
    def sends_malformed_content(self, method: str, streams: bool, size: int) -> None:
        number = len(self.asked)
        coded = chunks(b"x" * size, 20)[:-5] + b"oops"
        path = f"/{'s' if streams else 'w'}{number}"
        self.sends(Asked(number, head(method, path, "Transfer-Encoding: chunked"), b"x" * size, coded, method,
                         faulty=True))

    def can_be_read(self) -> bool:
        return (not self.gone and bool(self.outbound) and self.connection.wants_reading
                and isinstance(self.outbound[0], bytes))

    @precondition(can_be_read)
    @rule(most=st.sampled_from((1, 5, 20, 60, READ_MAX, READ_MAX, READ_MAX)))
    def is_read(self, most: int) -> None:
        """Some of what the client has sent arrives."""
        octets = b""
        while self.outbound and isinstance(self.outbound[0], bytes) and len(octets) < most:
            taken, left = self.outbound[0][:most - len(octets)], self.outbound[0][most - len(octets):]
            octets += taken
            self.outbound[:1] = [left] if left else []
        if octets:
            self.host.receive(octets)

    @precondition(lambda self: bool(self.outbound) and isinstance(self.outbound[0], Asked))
    @rule()
    def stops_waiting(self) -> None:
        """The client sends its content though there was no 100 Continue."""
        self.outbound.pop(0)

    @precondition(lambda self: self.may_end() and not self.outbound and not self.half_closed
                  and self.connection.wants_reading)
    @rule()
    def half_closes(self) -> None:
        self.half_closed = True
        self.connection.receive_eof()
        self.host.pump()

    @precondition(lambda self: not self.gone and not self.connection.blocked)
    @rule()
    def stops_taking(self) -> None:
        self.connection.blocked = True

    @precondition(lambda self: not self.gone and self.connection.blocked)
    @rule()
    def takes_again(self) -> None:
        self.connection.blocked = False
        self.host.pump()

    @precondition(may_end)
    @rule()
    def vanishes(self) -> None:
        self.gone = True
        self.connection.lost()

    # What handlers do.

    @precondition(lambda self: bool(self.running))
    @rule(data=st.data(), close=SELDOM, code=st.sampled_from((200, 200, 201, 204, 404)),
          content=st.sampled_from((b"", b"short", BIG)))
    def answers(self, data: st.DataObject, close: bool, code: int, content: bytes) -> None:
        request = data.draw(st.sampled_from(self.running))
        response = Response(code, body=content, headers={"Connection": "close"} if close else None)
        self.answer(request, response, b"" if code == 204 else content, close)

    @precondition(lambda self: bool(self.running))
    @rule(data=st.data(), pieces=st.lists(st.sampled_from((b"", b"a", b"piece", BIG)), max_size=4),
          declared=st.booleans(), code=st.sampled_from((200, 204)))
    def answers_with_a_stream(self, data: st.DataObject, pieces: list[bytes], declared: bool,
                              code: int) -> None:
        request = data.draw(st.sampled_from(self.running))
        content = b"".join(pieces)
        declared = declared and code == 200
        stream = Pieces(pieces)
        self.streams.append(stream)
        response = Response(code, body=stream, headers={"Content-Length": len(content)} if declared else None)
        until_close = self.asked_by(request).old and not declared and code == 200 and request.method != "HEAD"
        self.answer(request, response, b"" if code == 204 else content, until_close)

    @precondition(lambda self: bool(self.running))
    @rule(data=st.data())
    def answers_what_cannot_be_sent(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from(self.running))
        late = request.stage is not Stage.RUNNING
        with nullcontext() if late else pytest.raises(ResponseError):
            self.connection.respond(request, Response(body=b"12", headers={"Content-Length": "3"}))
        if not late:
            self.answer(request, Response(500, text="no"), b"no", False)

    def answer(self, request: Request, response: Response, content: bytes, closes: bool) -> None:
        asked = self.asked_by(request)
        in_time = request.stage is Stage.RUNNING
        if in_time and request.method == "CONNECT" and response.code < 300:
            with pytest.raises(ResponseError):  # Its client would take the content for that of a tunnel.
                self.connection.respond(request, response)
            self.ended.append(response.stream)
            response, content = Response(404, text="no"), b"no"
        if in_time:
            asked.answered = response.code, content if request.method != "HEAD" else b""
            asked.may_close = closes or request.awaits_content
            # A stream may end with content unread that nobody could know of when its head left.
            self.may_close |= request.awaits_content and streams(request, response)
        self.running.remove(request)
        response.headers["X-Number"] = asked.number
        self.connection.respond(request, response)
        assert not in_time or request.stage is Stage.READY
        self.host.pump()

    @precondition(lambda self: bool(self.running))
    @rule(data=st.data())
    def switches(self, data: st.DataObject) -> None:
        """A handler takes the Upgrade."""
        request = data.draw(st.sampled_from(self.running))
        code = 200 if request.method == "CONNECT" else 101
        late = request.stage is not Stage.RUNNING
        number = self.asked_by(request).number
        response = Response(code, headers={"Upgrade": "other", "X-Number": number}, upgrade=object)
        if not late and not request.head.framing.upgrade:
            with pytest.raises(ResponseError):
                self.connection.respond(request, response)
            return
        self.running.remove(request)
        if not late:
            self.asked[number].answered = code, b""
        self.connection.respond(request, response)
        self.host.pump()

    @precondition(lambda self: bool(self.readers))
    @rule(data=st.data())
    def reads_content(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from(list(self.readers)))
        reader, asked = self.readers[request], self.asked_by(request)
        content = asked.content or b""
        reader.step()
        assert content.startswith(reader.got)
        if reader.ended and request.content.failure is None:
            assert (reader.got, asked.faulty) == (content, False)
        if self.host.awake and not self.gone:
            self.host.pump()

    @precondition(lambda self: self.connection.streaming is not None and not self.connection.blocked)
    @rule(fails=SELDOM)
    def sends_a_piece(self, fails: bool) -> None:
        request = self.connection.streaming
        assert request is not None
        assert request.response is not None
        stream = request.response.stream
        assert isinstance(stream, Pieces)
        if stream.left and not fails:
            self.host.sent += self.connection.send_piece(stream.left.pop(0))
            return
        self.ended.append(stream)
        if not fails:
            self.host.sent += self.connection.end_stream()
        else:
            self.asked_by(request).may_close = self.may_close = True
            self.asked_by(request).answered = None
            if self.connection.abort_stream():
                self.gone = True
                self.connection.lost()
        self.host.pump()

    # What the server does.

    @precondition(lambda self: self.may_end() and not self.draining)
    @rule()
    def drains(self) -> None:
        self.draining = self.may_close = True
        self.connection.drain()
        self.host.pump()

    @precondition(lambda self: self.may_end() and not self.draining)
    @rule()
    def retires(self) -> None:
        self.may_close = True
        self.connection.retire()
        self.host.pump()

    @precondition(lambda self: self.may_end() and self.connection.expects in (Expects.HEAD, Expects.CONTENT))
    @rule()
    def loses_patience(self) -> None:
        self.may_close = True
        self.outbound.clear()
        self.half_closed = True  # nothing else that it sends means anything
        self.connection.time_out(SLOW)
        self.host.pump()

    @rule()
    def looks_again(self) -> None:
        """Nothing happens by itself."""
        before = self.host.sent, self.connection.phase, len(self.begun)
        self.host.pump()
        assert (self.host.sent, self.connection.phase, len(self.begun)) == before

    # What must always be true.

    @invariant()
    def is_within_its_bounds(self) -> None:
        queue = self.connection.queue
        assert len(queue) <= LIMITS.pipelined_requests + 1  # the last may be a fault, answered in its place
        held = {request: request._content.buffered if request._content else 0 for request in queue}
        most = LIMITS.content_buffer_bytes + READ_MAX
        assert all(held[request] < most for request in queue if request.destination.stream)
        assert sum(held.values()) < LIMITS.content_bytes + 2 * most

    @invariant()
    def is_not_stuck(self) -> None:
        """Somebody else can do something: a handler, a stream, or the client."""
        connection = self.connection
        if connection.phase is not Phase.OPEN:
            assert not connection.queue
            return
        queue = list(connection.queue)
        if connection.streaming is None:
            assert not queue or queue[0].stage is not Stage.READY
        running = any(request.stage is Stage.RUNNING for request in queue)
        if running or connection.streaming is not None or connection.blocked:
            return
        assert len(queue) <= 1
        assert not queue or (queue[0].stage is Stage.QUEUED and queue[0].awaits_content)
        assert not connection.eof
        assert connection.wants_reading
        # A client that says nothing more is waited for by a clock, and not at all by a server that drains.
        assert connection.expects in ((Expects.HEAD, Expects.CONTENT) if self.draining else TIMED)

    @invariant()
    def does_not_wait_for_a_client_that_waits(self) -> None:
        """Who waits for content in its turn is read, and the client is told to go on if it waits for that."""
        connection = self.connection
        if connection.phase is not Phase.OPEN or connection.blocked or not connection.queue:
            return
        first = connection.queue[0]
        reader = self.readers.get(first)
        waits = reader is not None and reader.waiter is not None and not reader.waiter.done()
        if waits or first.stage is Stage.QUEUED:
            assert connection.wants_reading
            if self.outbound and self.outbound[0] is self.asked_by(first):
                # No 100 follows a final head, which tells the client as well that it need not wait.
                assert self.host.sent.endswith(CONTINUE) is (first.stage is not Stage.STREAMING)
                self.outbound.pop(0)

    # The end.

    def teardown(self) -> None:
        if sys.exc_info()[0] is not None:
            return  # It has failed already, and how is all that is of interest.
        self.come_to_rest()
        self.check_the_wire()
        self.check_what_is_over()

    def come_to_rest(self) -> None:
        connection = self.connection
        while not self.gone and connection.phase is Phase.OPEN:
            if connection.blocked:
                self.takes_again()
            elif connection.streaming is not None:
                self.sends_a_piece(fails=False)
            elif any(request.stage is Stage.RUNNING for request in self.running):
                request = next(request for request in self.running if request.stage is Stage.RUNNING)
                self.answer(request, Response(text="done"), b"done", False)
            elif self.outbound and not isinstance(self.outbound[0], bytes):
                self.stops_waiting()
            elif self.outbound:
                assert connection.wants_reading
                self.is_read(READ_MAX)
            elif not self.half_closed:
                self.half_closes()
            else:
                assert connection.expects in (Expects.HEAD, Expects.CONTENT)
                break
            self.is_not_stuck()
        if not self.gone and connection.phase is Phase.LINGERING and not connection.eof:
            connection.receive_eof()
            assert connection.phase is Phase.CLOSED, "lingers though the client has closed its side"

    def check_the_wire(self) -> None:
        """The answers are those of the handlers, in order; one that says close is the last."""
        methods = [asked.method for asked in self.asked] + ["GET"]
        ended = self.gone or self.connection.phase is not Phase.OPEN
        got = list(answers(self.host.sent, methods, ended=ended))
        for number, answer in enumerate(got):
            last = number == len(got) - 1
            asked = self.asked[number] if number < len(self.asked) else None
            if answer.get(b"x-number") is None:
                assert answer.status in (400, 408, 413, 414, 417)
                assert answer.closes
            else:
                assert asked is not None
                assert answer.get(b"x-number") == b"%d" % number
                if asked.answered is not None:
                    status, content = asked.answered
                    cut = last and (self.gone or not answer.whole)
                    assert answer.status == status
                    assert answer.content == (content[:len(answer.content)] if cut else content)
            assert answer.informational <= (asked is not None and asked.waits)
            assert last or (answer.whole and not answer.closes)
            if asked is not None:
                self.check_persistence(asked, answer, last)
        if got and got[-1].closes and not self.gone:
            assert self.connection.phase is not Phase.OPEN
        self.check_that_all_are_answered(len(got), bool(got) and got[-1].closes)

    def check_persistence(self, asked: Asked, answer: Answer, last: bool) -> None:
        """Who asked for a close is told so, and nobody else without a reason."""
        if asked.closes and answer.status != 101 and asked.method != "CONNECT":
            assert answer.closes
        if answer.closes and not (asked.closes or asked.may_close or self.may_close):
            assert last
            assert self.half_closed or any(each.faulty for each in self.asked)

    def check_that_all_are_answered(self, count: int, closed: bool) -> None:
        """Nothing that the server took is left without an answer, unless an answer was the last."""
        closes_silently = self.may_close or any(asked.faulty for asked in self.asked)
        if not (self.gone or closed or closes_silently or self.connection.phase is Phase.SWITCHED):
            assert count == len(self.asked)

    def check_what_is_over(self) -> None:
        """Each exchange is finished once, and each stream is given to one who closes it."""
        if self.connection.phase is Phase.OPEN:
            return
        assert all(request in self.host.over for request in self.begun)
        waiters = [reader.waiter for reader in self.readers.values() if reader.waiter is not None]
        assert all(waiter.done() for waiter in waiters), "a handler waits for content that never comes"
        given = [stream for stream in self.streams if stream not in self.ended]
        assert len(self.host.discarded) == len(set(map(id, self.host.discarded)))
        assert all(stream not in self.ended for stream in self.host.discarded)
        assert len(given) - len(self.host.discarded) <= 1  # what was being sent is the host's to close


def test_connections(backend: Backend) -> None:
    machine = type("Machine", (ConnectionMachine,), {"backend": backend})
    run_state_machine_as_test(machine, settings=settings(max_examples=2 * settings().max_examples))
