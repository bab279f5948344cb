"""A client that asks an application in memory: no socket, no thread, the same protocol code as a server.

    with Client(app) as client:
        response = client.post("/planets", json={"name": "Mars"})
        assert response.status == 201

For the ``with`` block there is one event loop, plain asyncio; the start-up hooks run at its beginning,
the shutdown hooks at its end.  A client works without, too: then no hook runs, and each call has a
loop of its own.  The loop moves during calls and stands still between them.  Where set-up code has
made ``app.loop`` already, that loop is taken, and not closed.

Each call has a connection of its own, and nothing is remembered from one call to the next, cookies
included: give ``cookies=response.cookies`` to the next one.  Redirects are answers like all others.
An exception in a handler is answered as a server answers it, with 500.

Answers are held to RFC 9112: what is not exactly one complete answer raises :class:`BrokenResponse`.
Whatever takes longer than ``timeout`` seconds raises TimeoutError.  But a plain function that does not
return, and a task that cannot be cancelled, hold up a test as they would hold up a server.
"""

from __future__ import annotations

import asyncio
import json as json_module
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from email.message import Message
from http.cookies import Morsel, SimpleCookie
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Final, TypeAlias, TypedDict, TypeVar, Unpack
from urllib.parse import quote, urlencode
from uuid import uuid4

from japronto.app import Application
from japronto.forms import File
from japronto.pure.chunked import LAST_CHUNK, encode_chunk
from japronto.pure.grammar import FIELD_LINE
from japronto.pure.request import FORM, MULTIPART, Headers
from japronto.pure.response import OCTETS
from japronto.server import Worker

__all__ = ["BrokenResponse", "Client", "File", "TestResponse"]

Pairs: TypeAlias = Mapping[str, Any] | Iterable[tuple[str, Any]]
Fields: TypeAlias = list[tuple[str, Any]]
Cookies: TypeAlias = Mapping[str, str | Morsel[str]]
Content: TypeAlias = bytes | Iterable[bytes]
FileLike: TypeAlias = File | bytes | tuple[str, bytes] | tuple[str, bytes, str] | BinaryIO
Files: TypeAlias = Mapping[str, FileLike] | Iterable[tuple[str, FileLike]]
Result = TypeVar("Result")

READ_BYTES: Final = 64 * 1024
"""Most octets that the server gets in one read."""
HEAD_BYTES: Final = 1024 * 1024
"""Longest head of an answer."""
VISIBLE_ASCII: Final = bytes(range(0x21, 0x7F)).decode()


class BrokenResponse(Exception):
    """What has left is not exactly one complete and well-formed answer."""


@dataclass(frozen=True, slots=True)
class TestResponse:
    """An answer with all of its content."""

    __test__: ClassVar = False  # By its name, pytest would look for tests in it.

    status: int
    reason: str
    headers: Headers
    body: bytes
    trailers: Headers

    @property
    def text(self) -> str:
        """The content decoded by its charset, UTF-8 when none is given."""
        message = Message()
        message["Content-Type"] = self.headers.get("Content-Type", "")
        return self.body.decode(message.get_content_charset("utf-8"))

    def json(self) -> Any:
        """The content decoded as JSON."""
        return json_module.loads(self.body)

    @property
    def cookies(self) -> SimpleCookie:
        """The cookies that the answer sets, with their attributes."""
        cookies = SimpleCookie()
        for line in self.headers.getall("Set-Cookie"):
            cookies.load(line)
        return cookies


class RequestOptions(TypedDict, total=False):
    """What a request may have; see ``Client.request``."""

    query: Pairs
    headers: Pairs
    cookies: Cookies | None
    body: Content | None
    json: Any
    form: Pairs | None
    files: Files | None


class Client:
    """Asks an application; see the module.

    ``peername``  what the application sees as the address of the client
    ``timeout``   most seconds for an exchange, and for all hooks of a kind; None lets them take any time
    """

    def __init__(self, app: Application, *, peername: tuple[str, int] = ("127.0.0.1", 50000),
                 timeout: float | None = 10) -> None:
        self.app = app
        self.peername = peername
        self.timeout = timeout
        self._block: ExitStack | None = None

    def request(self, method: str, target: str, *, query: Pairs = (), headers: Pairs = (),
                cookies: Cookies | None = None, body: Content | None = None, json: Any = None,
                form: Pairs | None = None, files: Files | None = None) -> TestResponse:
        """Send a request and return the answer.

        ``target``   what cannot stand in one, such as a space or a letter with an accent, is
                     percent-encoded
        ``query``    appended to the target, encoded
        ``headers``  fields; they take the place of those that the client sends by itself
        ``body``     content as bytes, or as an iterable of bytes that is sent in chunks
        ``json``     content as JSON
        ``form``     content as an HTML form sends it: multipart/form-data when there are ``files``
        ``files``    by the names of their fields, each as bytes, ``(name, bytes)``, ``(name, bytes,
                     media type)``, a ``File``, or a file that is open for reading bytes
        """
        if query := _pairs(query):
            target += ("&" if "?" in target else "?") + urlencode(query)
        content, media_type = _content(body, json, form, files)
        fields: Fields = [("Host", "testserver"), *_content_fields(content, media_type)]
        if cookies:
            jar = SimpleCookie(cookies)
            fields.append(("Cookie", "; ".join(f"{name}={jar[name].coded_value}" for name in jar)))
        return self._exchange(f"{method} {target} was not answered in full",
                              _request(method, target, fields, _pairs(headers), content), False,
                              lambda connection: _one_response(connection, method))

    def get(self, target: str, **options: Unpack[RequestOptions]) -> TestResponse:
        return self.request("GET", target, **options)

    def head(self, target: str, **options: Unpack[RequestOptions]) -> TestResponse:
        return self.request("HEAD", target, **options)

    def post(self, target: str, **options: Unpack[RequestOptions]) -> TestResponse:
        return self.request("POST", target, **options)

    def put(self, target: str, **options: Unpack[RequestOptions]) -> TestResponse:
        return self.request("PUT", target, **options)

    def patch(self, target: str, **options: Unpack[RequestOptions]) -> TestResponse:
        return self.request("PATCH", target, **options)

    def delete(self, target: str, **options: Unpack[RequestOptions]) -> TestResponse:
        return self.request("DELETE", target, **options)

    def options(self, target: str, **options: Unpack[RequestOptions]) -> TestResponse:
        return self.request("OPTIONS", target, **options)

    def raw(self, octets: Content, *, eof: bool = True) -> bytes:
        """Send octets as they are, and return all that leave until the server closes its side.

        Each item of an iterable is a read of its own.  With ``eof`` the client closes its side behind
        the last; without, the server must have a reason of its own to close.
        """
        return self._exchange("the server did not close the connection", _reads(octets), eof,
                              lambda connection: connection.reader.read())

    def _exchange(self, fault: str, reads: Iterator[bytes], eof: bool,
                  take: Callable[[_Connection], Awaitable[Result]]) -> Result:
        """Open a connection, send ``reads``, and return what ``take`` makes of what comes back."""
        async def exchange() -> Result:
            connection = _Connection(worker, reads, eof, self.peername)
            try:
                return await take(connection)
            finally:
                connection.abort()
                await connection.closed

        with self._serving() as worker:
            return self._run(worker, fault, exchange)

    # -- the loop -----------------------------------------------------------------------------

    def __enter__(self) -> Client:
        if self._block is not None:
            raise RuntimeError("this client is in a with block already")
        with ExitStack() as stack:
            worker = stack.enter_context(self._serving())
            self._run(worker, "the start-up hooks did not end", self.app.startup)
            stack.callback(self._run, worker, "the shutdown hooks did not end", self.app.shutdown)
            self._block = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._block is not None
        block, self._block = self._block, None
        block.close()

    @contextmanager
    def _serving(self) -> Iterator[Worker]:
        """A worker on the loop of the application, which is made if there is none yet."""
        if asyncio._get_running_loop() is not None:
            raise RuntimeError("an event loop runs in this thread already, and the client has one of its "
                               "own: call it in another thread, with asyncio.to_thread")
        runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        worker = Worker(self.app, self.app.loop_or(runner.get_loop))
        worker.start()
        try:
            yield worker
        finally:
            worker.loop.run_until_complete(worker.stop())
            runner.close()
            if worker.loop.is_closed():  # It was the runner's, and not the application's.
                self.app.loop = None

    def _run(self, worker: Worker, fault: str, function: Callable[[], Awaitable[Result]]) -> Result:
        """Call a coroutine function on the loop; ``fault`` is what to say when it takes too long."""
        async def bounded() -> Result:
            limit = asyncio.timeout(self.timeout)
            try:
                async with limit:
                    return await function()
            except TimeoutError:
                if limit.expired():
                    raise TimeoutError(f"{fault} within {self.timeout:g} s") from None
                raise

        return worker.loop.run_until_complete(bounded())


# -- The connection --------------------------------------------------------------------------

class _Connection(asyncio.Transport):
    """A connection in memory: the server's transport, and the client at its other end.

    Like those of asyncio it calls its protocol from the loop alone: never from within a call of the
    protocol, and from no task, where no handler may start (see ``tasks.py``).  What the server
    writes, the client takes one turn of the loop later.
    """

    def __init__(self, worker: Worker, reads: Iterator[bytes], eof: bool, peername: tuple[str, int]) -> None:
        super().__init__({"peername": peername, "sockname": ("127.0.0.1", 80)})
        self.reader = asyncio.StreamReader(limit=HEAD_BYTES)
        """What has left."""
        self.closed = worker.loop.create_future()
        """Whether the protocol knows that the connection is lost; if it failed, with what."""
        self._loop = worker.loop
        self._reads = reads
        self._eof = eof  # whether the client closes its side behind them
        self._reading = True
        self._written: list[bytes] = []
        self._high = READ_BYTES
        self._blocked = False  # whether the protocol was told to pause
        self._half_closed = False  # by the server
        self._closing = False
        self._soon(self._open, worker)

    def _soon(self, function: Callable[..., None], *arguments: Any) -> None:
        self._loop.call_soon(self._guard, function, *arguments)

    def _guard(self, function: Callable[..., None], *arguments: Any) -> None:
        """What a protocol raises ends the exchange, and is the client's to see."""
        if self.closed.done():
            return
        try:
            function(*arguments)
        except Exception as error:
            self.reader.set_exception(error)
            self.closed.set_exception(error)

    # -- the client's end -----------------------------------------------------------------------

    def _open(self, worker: Worker) -> None:
        self._protocol: Any = worker.protocol()
        self._protocol.connection_made(self)
        self._feed()

    def _feed(self) -> None:
        """Let the server read once."""
        if not self._reading or self._closing:
            return
        data = next(self._reads, None)
        if data is not None:
            self._protocol.data_received(data)
            self._soon(self._feed)
        elif self._eof:
            self._eof = False
            if not self._protocol.eof_received():
                self.close()

    def leave(self) -> None:
        """Close the client's side when all is sent."""
        self._eof = True
        self._soon(self._feed)

    def _take(self) -> None:
        """Take what the server has written."""
        written, self._written = self._written, []
        for data in written:
            self.reader.feed_data(data)
        if self._half_closed or self._closing:
            self.reader.feed_eof()
        if self._blocked:
            self._blocked = False
            self._protocol.resume_writing()
        if self._closing:
            self._protocol.connection_lost(None)
            self.closed.set_result(None)

    # -- the server's end -----------------------------------------------------------------------

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> Any:
        return self._protocol

    def is_reading(self) -> bool:
        return self._reading

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        self._soon(self._feed)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = READ_BYTES if high is None else high

    def get_write_buffer_size(self) -> int:
        return sum(map(len, self._written))

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._half_closed:
            raise RuntimeError("write() after write_eof()")
        if self._closing or not data:
            return
        self._written.append(bytes(data))
        self._soon(self._take)
        if self.get_write_buffer_size() > self._high and not self._blocked:
            self._blocked = True
            self._protocol.pause_writing()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._half_closed = True
        self._soon(self._take)

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True
        self._soon(self._take)

    def abort(self) -> None:
        self._written.clear()
        self._blocked = False
        self.close()


# -- What is sent ----------------------------------------------------------------------------

def _pairs(values: Pairs) -> Fields:
    return list(values.items() if isinstance(values, Mapping) else values)


def _reads(octets: Content) -> Iterator[bytes]:
    """What the server reads at a time."""
    for piece in (octets,) if isinstance(octets, bytes) else octets:
        for start in range(0, len(piece), READ_BYTES):
            yield piece[start:start + READ_BYTES]


def _request(method: str, target: str, own: Fields, given: Fields,
             content: Content | None) -> Iterator[bytes]:
    """The octets of a request, with the client's own fields where there are not others ``given``."""
    names = {name.lower() for name, _ in given}
    lines = [f"{method} {quote(target, safe=VISIBLE_ASCII)} HTTP/1.1",
             *(f"{name}: {value}" for name, value in own if name.lower() not in names),
             *(f"{name}: {value}" for name, value in given)]
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    if content is None or isinstance(content, bytes):
        return _reads(head + (content or b""))
    return _reads(chain([head], (encode_chunk(piece) for piece in content if piece), [LAST_CHUNK]))


def _content(body: Content | None, json: Any, form: Pairs | None,
             files: Files | None) -> tuple[Content | None, str | None]:
    """The content of a request, and its media type as far as it is known."""
    if (body is not None) + (json is not None) + (form is not None or files is not None) > 1:
        raise ValueError("give body, json, or form and files, and only one of them")
    if json is not None:
        return json_module.dumps(json).encode(), "application/json"
    if files is not None:
        return _multipart(_pairs(form or ()), [(field, _file(field, file)) for field, file in _pairs(files)])
    if form is not None:
        return urlencode(_pairs(form)).encode(), FORM
    if isinstance(body, (bytearray, memoryview)):
        return bytes(body), None
    if isinstance(body, (str, Mapping)) or not isinstance(body, (Iterable, type(None))):
        raise TypeError(f"body must be bytes, or an iterable of bytes, not {type(body).__name__}")
    return body, None


def _content_fields(content: Content | None, media_type: str | None) -> Iterator[tuple[str, str]]:
    if media_type is not None:
        yield "Content-Type", media_type
    if isinstance(content, bytes):
        yield "Content-Length", str(len(content))
    elif content is not None:
        yield "Transfer-Encoding", "chunked"


def _file(field: str, given: FileLike) -> File:
    """A file of a form; one without a name of its own has that of its field."""
    octets = OCTETS.decode()
    match given:
        case File():
            return given
        case bytes():
            return File(octets, given, field)
        case (str(name), bytes(body)):
            return File(octets, body, name)
        case (str(name), bytes(body), str(kind)):
            return File(kind, body, name)
    read, path = getattr(given, "read", None), getattr(given, "name", None)
    if read is not None and isinstance(body := read(), bytes):
        return File(octets, body, Path(path).name if isinstance(path, str) else field)
    raise TypeError(f"the file {field} must be bytes, (name, bytes), (name, bytes, media type), a File, or a "
                    f"file that is open for reading bytes; it is {given!r}")


def _multipart(fields: Fields, files: Iterable[tuple[str, File]]) -> tuple[bytes, str]:
    """Fields and files in the form of RFC 7578."""
    boundary = uuid4().hex
    parts = [(f'name="{_escaped(name)}"', str(value).encode()) for name, value in fields]
    for name, file in files:
        names = f'name="{_escaped(name)}"; filename="{_escaped(file.name)}"'
        parts.append((f"{names}\r\nContent-Type: {file.type}", file.body))
    content = b"".join(
        f"--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + body + b"\r\n"
        for head, body in parts)
    return content + f"--{boundary}--\r\n".encode(), f"{MULTIPART}; boundary={boundary}"


def _escaped(name: str) -> str:
    """As browsers do it."""
    return name.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")


# -- What comes back -------------------------------------------------------------------------

# status-line = HTTP-version SP status-code SP [ reason-phrase ]            (RFC 9112 s.4)
_HEAD = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2}) ([\t -~\x80-\xff]*)\r\n"
                   rb"((?:%b\r\n)*)\r\n" % FIELD_LINE).fullmatch
_FIELD_LINES = re.compile(rb"(?:%b\r\n)*" % FIELD_LINE).fullmatch
_LENGTH = re.compile("[0-9]{1,15}").fullmatch
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})\r\n").fullmatch


async def _one_response(connection: _Connection, method: str) -> TestResponse:
    """The answer to the only request of a connection."""
    try:
        response = await _response(connection.reader, method)
    except asyncio.IncompleteReadError:
        raise BrokenResponse("the connection was closed before the answer was complete") from None
    if not _ends_http(method, response.status):
        connection.leave()
        if octets := await connection.reader.read():
            raise BrokenResponse(f"this follows the answer: {octets[:100]!r}")
    return response


async def _response(reader: asyncio.StreamReader, method: str) -> TestResponse:
    while True:
        octets = await reader.readuntil(b"\r\n\r\n")
        head = _HEAD(octets)
        if head is None:
            raise BrokenResponse(f"the head of the answer is malformed: {octets!r}")
        status, reason, headers = int(head[1]), head[2].decode("latin-1"), Headers(b"\n" + head[3])
        if status >= 200 or status == 101:
            break
    length = _length(method, status, headers)
    if length is None:
        body, trailers = await _chunks(reader)
    else:
        body, trailers = await reader.readexactly(length), b""
    return TestResponse(status, reason, headers, body, Headers(b"\n" + trailers))


def _ends_http(method: str, status: int) -> bool:
    """Whether another protocol follows the head of the answer (RFC 9110 s.7.8, s.9.3.6)."""
    return status == 101 or (method == "CONNECT" and status < 300)


def _length(method: str, status: int, headers: Headers) -> int | None:
    """How many octets of content follow; None if they are in chunks (RFC 9112 s.6.3)."""
    lengths, codings = headers.getall("Content-Length"), headers.getall("Transfer-Encoding")
    unframed = status == 204 or _ends_http(method, status)
    counts = (0,) if unframed else (0, 1) if status == 304 else (1,)
    if (len(lengths + codings) not in counts or codings not in ([], ["chunked"])
            or not all(map(_LENGTH, lengths))):
        raise BrokenResponse(f"the fields of a {status} do not say how long it is: {headers!r}")
    if unframed or status == 304 or method == "HEAD":
        return 0
    return int(lengths[0]) if lengths else None


async def _chunks(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Content in chunks, and the trailers behind it (RFC 9112 s.7.1)."""
    pieces = []
    size = -1
    while size:
        line = await reader.readuntil(b"\r\n")
        match = _CHUNK_SIZE(line)
        if match is None:
            raise BrokenResponse(f"a chunk-size line is malformed: {line!r}")
        size = int(match[1], 16)
        if size:
            data = await reader.readexactly(size + 2)
            if not data.endswith(b"\r\n"):
                raise BrokenResponse("the data of a chunk does not end where its size says")
            pieces.append(data[:-2])
    trailers = b""
    while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
        trailers += line
    if not _FIELD_LINES(trailers):
        raise BrokenResponse(f"the trailers are malformed: {trailers!r}")
    return b"".join(pieces), trailers
