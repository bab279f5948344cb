"""What the tests say to the server, and a strict reading of what it answers.

The reader shares no code with Japronto, so that the two cannot be wrong in the same way.  It
takes only what RFC 9112 lets a server send, and stops at the first octet that is out of place.
No wait is endless: every one fails after ``WAIT_SECONDS``.
"""

from __future__ import annotations

import json
import re
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .tls import TLSSocket

WAIT_SECONDS = 60.0
"""How long the tests wait for what must come; generous, since it passes only in a failing test."""

STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) ([\t -~]*)")
FIELD_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*")
CHUNK_LINE = re.compile(rb"[0-9A-Fa-f]+")
IMF_FIXDATE = re.compile(
    r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-3][0-9] "
    r"(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [0-9]{4} [0-2][0-9]:[0-5][0-9]:[0-6][0-9] GMT")
LONGEST_LINE = 65536


class Malformed(AssertionError):
    """The server sent what is not HTTP/1.1."""


class Truncated(AssertionError):
    """The connection ended, or was reset, within an answer."""


class Head(NamedTuple):
    """A status line and a header section."""

    status: int
    fields: list[tuple[str, str]]

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def field(self, name: str) -> str | None:
        """The value of a field that may stand there once."""
        values = self.all(name)
        if len(values) > 1:
            raise Malformed(f"{name} stands there {len(values)} times")
        return values[0] if values else None

    @property
    def closes(self) -> bool:
        """Whether the server says that this is its last answer on the connection."""
        options = (self.field("Connection") or "").lower().split(",")
        return "close" in (option.strip() for option in options)


class Answer(NamedTuple):
    """A whole answer, its transfer coding removed."""

    status: int
    head: Head
    content: bytes

    def field(self, name: str) -> str | None:
        return self.head.field(name)

    @property
    def closes(self) -> bool:
        return self.head.closes

    @property
    def text(self) -> str:
        return self.content.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.content)


class Reader:
    """Takes answers, one by one, out of the octets that ``receive`` gives (empty at their end)."""

    def __init__(self, receive: Callable[[int], bytes]) -> None:
        self._receive = receive
        self._buffer = bytearray()

    @property
    def waiting(self) -> bool:
        """Whether octets have been received that no answer has used yet."""
        return bool(self._buffer)

    def head(self) -> Head:
        matched = STATUS_LINE.fullmatch(line := self._line())
        if matched is None:
            raise Malformed(f"not a status line: {line!r}")
        fields: list[tuple[str, str]] = []
        while line := self._line():
            if (field := FIELD_LINE.fullmatch(line)) is None:
                raise Malformed(f"not a field line: {line!r}")
            fields.append((field[1].decode("latin-1"), field[2].decode("latin-1")))
        head = Head(int(matched[1]), fields)
        _check(head)
        return head

    def pieces(self, head: Head, method: str = "GET") -> Iterator[bytes]:
        """The content, in pieces as they arrive (RFC 9112 s.6.3)."""
        length = head.field("Content-Length")
        if method == "HEAD" or head.status < 200 or head.status in (204, 304):
            return
        if head.field("Transfer-Encoding") is not None:
            yield from self._chunks()
        elif length is not None:
            yield from self._exactly(int(length))
        elif head.closes:
            yield from self._rest()
        else:
            raise Malformed(f"nothing says where the content of this answer ends: {head}")

    def answer(self, method: str = "GET") -> Answer:
        head = self.head()
        return Answer(head.status, head, b"".join(self.pieces(head, method)))

    def raw(self, count: int) -> bytes:
        """At most so many octets, whatever they are."""
        if not self._buffer:
            return self._receive(count)
        octets = bytes(self._buffer[:count])
        del self._buffer[:count]
        return octets

    def end(self) -> None:
        """The connection must end here."""
        if octets := bytes(self._buffer) or self._receive(LONGEST_LINE):
            raise Malformed(f"after the last answer came {octets[:200]!r}")

    def _more(self) -> None:
        octets = self._receive(LONGEST_LINE)
        if not octets:
            raise Truncated(f"the connection ended after {bytes(self._buffer[:200])!r}")
        self._buffer += octets

    def _line(self) -> bytes:
        seen = 0
        while (end := self._buffer.find(b"\n", seen)) < 0:
            seen = len(self._buffer)
            if seen > LONGEST_LINE:
                raise Malformed("a line has no end")
            self._more()
        line = bytes(self._buffer[:end + 1])
        del self._buffer[:end + 1]
        if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
            raise Malformed(f"not a line: {line[:200]!r}")
        return line[:-2]

    def _exactly(self, length: int) -> Iterator[bytes]:
        while length:
            if not self._buffer:
                self._more()
            piece = bytes(self._buffer[:length])
            del self._buffer[:length]
            length -= len(piece)
            yield piece

    def _chunks(self) -> Iterator[bytes]:
        while True:
            if CHUNK_LINE.fullmatch(line := self._line()) is None:
                raise Malformed(f"not a chunk size: {line[:200]!r}")
            size, last = int(line, 16), b""
            for piece in self._exactly(size):
                if last:
                    yield last
                last = piece
            if self._line():
                raise Malformed("a chunk does not end where its size says")
            if last:
                yield last  # So that nothing of a chunk is left unread when the test has all its data.
            if not size:
                return

    def _rest(self) -> Iterator[bytes]:
        yield bytes(self._buffer)
        self._buffer.clear()
        while octets := self._receive(LONGEST_LINE):
            yield octets


def _check(head: Head) -> None:
    """What every header section has to obey (RFC 9110 s.6.6.1, s.8.6; RFC 9112 s.6.1, s.6.2)."""
    coding, length, date = (head.field(name) for name in ("Transfer-Encoding", "Content-Length", "Date"))
    if coding not in (None, "chunked"):
        raise Malformed(f"a transfer coding that nobody asked for: {coding}")
    if length is not None and not re.fullmatch("[0-9]+", length):
        raise Malformed(f"not a length: {length}")
    if coding and length:
        raise Malformed("both a length and a transfer coding")
    if (head.status < 200 or head.status == 204) and (coding or length):
        raise Malformed(f"content announced with {head.status}")
    if head.status >= 200 and not (date and IMF_FIXDATE.fullmatch(date)):
        raise Malformed(f"no Date, or one that is not IMF-fixdate: {date}")


class Client:
    """One connection to the server."""

    def __init__(self, sock: socket.socket | TLSSocket) -> None:
        self.sock = sock
        sock.settimeout(WAIT_SECONDS)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = Reader(self._receive)
        self.head = self._reader.head
        self.pieces = self._reader.pieces
        self.answer = self._reader.answer
        self.ends = self._reader.end

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self.sock.close()

    def _receive(self, size: int) -> bytes:
        try:
            return self.sock.recv(size)
        except ConnectionResetError as error:
            raise Truncated("the connection was reset") from error

    def send(self, octets: bytes) -> None:
        self.sock.sendall(octets)

    def ask(self, octets: bytes, method: str = "GET") -> Answer:
        self.send(octets)
        return self.answer(method)

    def receive(self, count: int) -> bytes:
        """At most so many octets that are not an answer; empty at the end."""
        return self._reader.raw(count)

    def send_beside(self, octets: bytes) -> threading.Thread:
        """Send from a thread, for what the server does not take while answers wait."""
        thread = threading.Thread(target=self._send_all, args=(octets,), daemon=True)
        thread.start()
        return thread

    def _send_all(self, octets: bytes) -> None:
        try:
            self.sock.sendall(octets)
        except OSError:
            return  # The reading side of the test sees what became of the connection.

    def half_close(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Vanish: the server's side of the connection is destroyed (TCP's RST)."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def was_reset(self) -> bool:
        """Whether the server has reset the connection, whatever of it is still to be read."""
        poll = select.poll()
        poll.register(self.sock, 0)
        return any(event & select.POLLERR for _, event in poll.poll(WAIT_SECONDS * 1000))

    def quiet(self, seconds: float) -> bool:
        """Whether nothing at all arrives for so long, not even the end."""
        if self._reader.waiting:
            return False
        self.sock.settimeout(seconds)
        try:
            self.sock.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            return True
        except ConnectionResetError:
            return False
        finally:
            self.sock.settimeout(WAIT_SECONDS)
        return False


def get(path: str, *fields: str, method: str = "GET", version: str = "1.1") -> bytes:
    """A request without content."""
    lines = [f"{method} {path} HTTP/{version}", "Host: server.example", *fields]
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1") + b"\r\n"


def post(path: str, content: bytes, *fields: str, method: str = "POST", version: str = "1.1") -> bytes:
    """A request with content of a declared length."""
    head = get(path, *fields, f"Content-Length: {len(content)}", method=method, version=version)
    return head + content


def post_head(path: str, *fields: str, version: str = "1.1") -> bytes:
    """A head whose ``fields`` announce content that the test sends itself."""
    return get(path, *fields, method="POST", version=version)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
