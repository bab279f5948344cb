"""What a handler sees of a request.

Nothing is decoded before it is asked for, and everything is decoded once.  A request is also the
connection's record of the exchange: ``stage``, ``response`` and what ends with it.

Content comes in two ways.  An ordinary handler starts when all of it has arrived and reads
``body`` (or ``text``, ``json``, ``form``, ``files``).  A handler of a route with ``stream=True``
starts at the head and takes the pieces as they arrive: ``async for piece in request.stream()``.
"""

from __future__ import annotations

import encodings.aliases
import json
import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import parse_qsl, unquote

from japronto.errors import DisconnectError, MalformedContent, MalformedJSON, MalformedText
from japronto.messages import ENCODED_SLASH, RequestHead, Violation
from japronto.pure.forwarded import Origin, address_of
from japronto.pure.response import Response

if TYPE_CHECKING:
    from japronto.interfaces import Target, Waiter
    from japronto.pure.connection import Connection, Stage

Value = TypeVar("Value")


class Headers(Mapping[str, str]):
    """The fields of a header or trailer section; names are case-insensitive (RFC 9110 s.5.1).

    Iteration gives each name once, in Camel-Case, in the order of first appearance.  The values
    of lines with one name are joined by a comma and a space (s.5.3), except Cookie, by a semicolon
    (RFC 6265 s.4.2.1), and Set-Cookie, of which the first counts; ``getall`` gives them apart.
    Octets 0x80-0xFF are shown as latin-1, reversibly (RFC 9110 s.5.5).
    """

    __slots__ = ("_fields",)

    def __init__(self, section: bytes) -> None:
        self._fields: dict[str, list[str]] = {}
        for line in section[1:].decode("latin-1").split("\r\n")[:-1]:
            name, _, value = line.partition(":")
            self._fields.setdefault(name.lower(), []).append(value.strip("\t "))

    def __getitem__(self, name: str) -> str:
        lowered = name.lower()
        values = self._fields[lowered]
        if len(values) == 1 or lowered == "set-cookie":
            return values[0]
        return ("; " if lowered == "cookie" else ", ").join(values)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._fields

    def __iter__(self) -> Iterator[str]:
        return ("-".join(part.capitalize() for part in name.split("-")) for name in self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        return f"Headers({dict(self)!r})"

    def getall(self, name: str) -> list[str]:
        """The values of all lines called ``name``, in order; empty when there are none."""
        return list(self._fields.get(name.lower(), ()))


class MultiDict(dict[str, Value]):
    """A dict in which the last value of a repeated key counts; ``getall`` gives all of them."""

    __slots__ = ("_pairs",)

    def __init__(self, pairs: Iterable[tuple[str, Value]] = ()) -> None:
        self._pairs = list(pairs)
        super().__init__(self._pairs)

    def getall(self, key: str) -> list[Value]:
        """All values of ``key``, in order; empty when there are none."""
        return [value for name, value in self._pairs if name == key]


class Content:
    """The content of one request on its way from the parser to the handler."""

    __slots__ = ("buffered", "complete", "failure", "pieces", "received", "taken", "trailers",
                 "waiter")

    def __init__(self) -> None:
        self.pieces: deque[bytes] = deque()
        self.buffered = 0
        """Octets in ``pieces``."""
        self.received = 0
        """Octets that have come so far."""
        self.complete = False
        self.failure: str | None = None
        """Why the rest will never come."""
        self.taken = False
        """Whether a handler has taken pieces away, so that the whole can not be had any more."""
        self.trailers = b""
        self.waiter: Waiter | None = None

    def put(self, data: bytes) -> None:
        """A piece arrived."""
        self.pieces.append(data)
        self.buffered += len(data)
        self.received += len(data)
        self.notify()

    def joined(self) -> bytes:
        """All pieces in one, which is not held twice."""
        whole = b"".join(self.pieces)
        self.pieces.clear()
        self.buffered = 0
        return whole

    def notify(self) -> None:
        """Something arrived, or nothing more will: wake the handler that waits."""
        waiter, self.waiter = self.waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


TAKEN: Final = "the content was taken piecewise, by stream()"

CODECS: Final = frozenset(encodings.aliases.aliases.values())
"""Those that are looked up for a client.  Python remembers each unknown name that it was asked
for, so a client must not choose freely; and punycode and idna, which are not among these, take
time that grows with the square of the length."""


def decode_text(data: bytes, charset: str) -> str:
    """Text from octets in a charset that the client chose; raises MalformedContent."""
    name = encodings.normalize_encoding(charset).lower()
    codec = encodings.aliases.aliases.get(name, name)
    if codec not in CODECS:
        raise MalformedContent("The charset of the content is not known here.")
    try:
        return data.decode(codec)
    except UnicodeDecodeError as error:
        raise MalformedText(error.encoding, error.object, error.start, error.end,
                            error.reason) from None
    except (LookupError, UnicodeError):  # a codec, but none of text; or one without a position
        raise MalformedContent("The content is not text in its charset.") from None


_ESCAPED = re.compile(r"\\([0-3][0-7][0-7]|.)", re.DOTALL).sub


def decode_cookies(field: str) -> dict[str, str]:
    """The cookies of a Cookie field.

    As browsers and servers do it, and not by the grammar of RFC 6265 s.4.1.1, which few cookies keep to:
    a value may hold anything but a semicolon.  One in quotes loses them, and its escapes, as
    ``http.cookies`` writes them; then it is percent-decoded.  What has no name is left out.
    """
    cookies = {}
    for pair in field.split(";"):
        name, equals, value = pair.partition("=")
        name, value = name.strip(), value.strip()
        if equals and name:
            if len(value) > 1 and value[0] == value[-1] == '"':
                value = _ESCAPED(_unescaped, value[1:-1])
            cookies[name] = unquote(value)
    return cookies


def _unescaped(match: re.Match[str]) -> str:
    escape = match[1]
    return escape if len(escape) == 1 else chr(int(escape, 8))


# charset of a Content-Type: parameter = token "=" ( token / quoted-string )  (RFC 9110 s.8.3)
_CHARSET = re.compile(r""";\s*charset\s*=\s*"?([^\s";]+)""", re.IGNORECASE).search
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"


class Request:
    """One request, and the exchange that it starts.

    Attributes that are decoded from octets raise ``MalformedContent`` (a 400) where those are not
    what they claim to be.
    """

    __slots__ = ("__weakref__", "_content", "_cookies", "_done_callbacks", "_extra", "_form", "_headers",
                 "_id", "_json", "_origin", "_query", "_trailers", "boundary", "common", "connection",
                 "destination", "head", "is_disconnected", "persistent", "refusal", "response", "stage",
                 "streams", "wants_continue")

    Response = Response
    parse_multipart: Callable[[bytes, str], tuple[MultiDict[str], MultiDict[Any]]] | None = None
    """Set by the application: content and Content-Type to form fields and files."""

    def __init__(self, head: RequestHead, destination: Target, connection: Connection,
                 stage: Stage) -> None:
        self.head = head
        self.destination = destination
        self.connection = connection
        self.stage = stage
        self.response: Response | None = None
        """The answer, once there is one."""
        self.refusal: Violation | None = None
        """Set when the request is not a request at all, but a fault on the wire to be answered."""
        self.is_disconnected = False
        """Whether the client has gone away."""
        self.persistent = True
        """Whether the connection goes on after the answer."""
        self.common = True
        """Whether the answer is of the commonest kind; see ``assembler.py``."""
        self.streams = False
        """Whether the content of the answer leaves piece by piece."""
        self.boundary = False
        """Whether the answer must be the last of a batch."""
        self.wants_continue = False
        """Whether somebody waits for content that the client sends only after ``100 Continue``."""
        self._content: Content | None = None
        self._headers: Headers | None = None
        self._trailers: Headers | None = None
        self._cookies: dict[str, str] | None = None
        self._origin: Origin | None = None
        self._query: MultiDict[str] | None = None
        self._form: tuple[MultiDict[str] | None, MultiDict[Any] | None] | None = None
        self._json: tuple[Any] | None = None
        self._extra: dict[str, Any] | None = None
        self._done_callbacks: list[Callable[[Any], object]] | None = None
        self._id: str | None = None

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.target}>"

    # -- the request line ---------------------------------------------------------------------

    @property
    def method(self) -> str:
        """The method, case-sensitive (RFC 9110 s.9.1)."""
        return self.head.method

    @property
    def target(self) -> str:
        """The request-target as received (RFC 9112 s.3.2)."""
        return self.head.target.decode("ascii")

    @property
    def path(self) -> str:
        """The path, percent-decoded once; an encoded slash stays ``%2F``."""
        return self.head.path.replace(ENCODED_SLASH, "%2F")

    @property
    def query_string(self) -> str | None:
        """What follows the first ``?``, undecoded; ``None`` when there is none."""
        return self.head.query

    @property
    def query(self) -> MultiDict[str]:
        """The query as form fields (WHATWG URL s.5.1); empty when there is none."""
        if self._query is None:
            self._query = MultiDict(
                parse_qsl(self.head.query or "", keep_blank_values=True, errors="replace"))
        return self._query

    @property
    def version(self) -> str:
        """``1.1`` or ``1.0``."""
        return "1.1" if self.head.minor else "1.0"

    # -- the fields ---------------------------------------------------------------------------

    @property
    def headers(self) -> Headers:
        """The header section."""
        if self._headers is None:
            self._headers = Headers(self.head.section)
        return self._headers

    @property
    def trailers(self) -> Headers:
        """The trailer section; empty until the content is complete (RFC 9110 s.6.5)."""
        if self._trailers is None:
            if self._content is None or not self._content.complete:
                return Headers(b"")
            self._trailers = Headers(self._content.trailers)
        return self._trailers

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies, decoded; of several with one name the last counts."""
        if self._cookies is None:
            self._cookies = decode_cookies(self.headers.get("cookie", ""))
        return self._cookies

    @property
    def mime_type(self) -> str | None:
        """The media type of the content, in lower case, without parameters."""
        value = self.headers.get("content-type")
        return value.partition(";")[0].strip().lower() if value else None

    @property
    def encoding(self) -> str | None:
        """The charset of the content, as Content-Type gives it."""
        match = _CHARSET(self.headers.get("content-type", ""))
        return match[1] if match else None

    @property
    def scheme(self) -> str:
        """``http`` or ``https``: how the client asked, as far as this server or a believed proxy knows."""
        told = self._told()
        if told is not None and told.scheme is not None:
            return told.scheme
        return "http" if self.transport.get_extra_info("ssl_object") is None else "https"

    @property
    def hostname(self) -> str | None:
        """The host that the client asked for, without the port (RFC 9110 s.7.2)."""
        told = self._told()
        if told is not None and told.host is not None:
            return told.host
        host = self.headers.get("host")
        return host if host is None else re.sub(r":\d*$", "", host)

    @property
    def port(self) -> int | None:
        """The port that the client asked for; ``None`` when none is given (RFC 3986 s.3.2.3)."""
        told = self._told()
        if told is not None and (told.port is not None or told.host is not None):
            return told.port
        match = re.search(r":0*([0-9]{1,5})$", self.headers.get("host", ""))
        return int(match[1]) if match else None

    @property
    def keep_alive(self) -> bool:
        """Whether the client lets the connection go on (RFC 9112 s.9.3)."""
        return self.head.framing.persistent

    # -- the surroundings ---------------------------------------------------------------------

    @property
    def app(self) -> Any:
        """The application."""
        return self.connection.service

    @property
    def id(self) -> str:
        """What tells this request from all others, in the logs say; made when it is first asked for."""
        if self._id is None:
            self._id = self.connection.service.request_id(self)
        return self._id

    @property
    def transport(self) -> Any:
        """The transport of the connection, for ``get_extra_info``."""
        return self.connection.host.transport

    @property
    def remote_addr(self) -> str | None:
        """The address of the client; ``None`` on a Unix socket, and where a proxy does not tell it.

        That of the peer, unless the peer is a proxy that is believed; see ``forwarded.py``.
        """
        told = self._told()
        return address_of(self.transport.get_extra_info("peername")) if told is None else told.address

    def _told(self) -> Origin | None:
        """What proxies say of the client, looked at once; None where no proxy is believed."""
        proxies = self.connection.host.proxies
        if proxies is not None and self._origin is None:
            self._origin = proxies.origin(self.headers, self.transport.get_extra_info("peername"))
        return self._origin

    @property
    def route(self) -> Any:
        """The route that matched, or ``None``."""
        return self.destination.route

    @property
    def match_dict(self) -> dict[str, Any]:
        """The values of the placeholders of the route."""
        match = self.destination.match
        return {} if match is None else match

    @property
    def extra(self) -> dict[str, Any]:
        """A dict for whatever handlers, middleware and extensions want to remember."""
        if self._extra is None:
            self._extra = {}
        return self._extra

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        """Call ``callback(request)`` once the answer has left, or can not leave any more."""
        if self._done_callbacks is None:
            self._done_callbacks = []
        self._done_callbacks.append(callback)

    # -- the content, whole -------------------------------------------------------------------

    @property
    def body(self) -> bytes | None:
        """The whole content; ``None`` when the request has none.

        Raises RuntimeError when it has not all arrived (``await request.read()`` waits for it)
        or was taken piecewise.
        """
        if self.head.content is not None or self._content is None:
            return self.head.content
        content = self._content
        if content.taken:
            raise RuntimeError(TAKEN)
        if not content.complete:
            raise RuntimeError("the content has not all arrived: await request.read() instead")
        self.head.content = content.joined()
        return self.head.content

    @property
    def text(self) -> str | None:
        """The content decoded by its charset, UTF-8 when none is given."""
        body = self.body
        if body is None:
            return None
        return decode_text(body, self.encoding or "utf-8")

    @property
    def json(self) -> Any:
        """The content decoded as JSON (RFC 8259); ``None`` when there is none."""
        if self._json is None:
            text = self.text
            try:
                self._json = (None if text is None else json.loads(text),)
            except json.JSONDecodeError as error:
                raise MalformedJSON(error.msg, error.doc, error.pos) from None
            except (RecursionError, ValueError):  # nested too deep; a number too long
                raise MalformedJSON("Too deep or too long to decode", text or "", 0) from None
        return self._json[0]

    @property
    def form(self) -> MultiDict[str] | None:
        """The fields of a form; ``None`` when the content is not one."""
        return self._form_and_files()[0]

    @property
    def files(self) -> MultiDict[Any] | None:
        """The files of a form; ``None`` when the content is not one."""
        return self._form_and_files()[1]

    def _form_and_files(self) -> tuple[MultiDict[str] | None, MultiDict[Any] | None]:
        if self._form is None:
            body, mime_type = self.body, self.mime_type
            if body is not None and mime_type == FORM:
                self._form = self._urlencoded(body), MultiDict()
            elif body is not None and mime_type == MULTIPART and self.parse_multipart:
                self._form = self.parse_multipart(body, self.headers["content-type"])
            else:
                self._form = None, None
        return self._form

    def _urlencoded(self, body: bytes) -> MultiDict[str]:
        try:
            text = body.decode("ascii")
            return MultiDict(parse_qsl(text, keep_blank_values=True, errors="strict",
                                       max_num_fields=self.connection.limits.form_fields))
        except ValueError:
            raise MalformedContent("The form is malformed, or has too many fields.") from None

    # -- the content, piecewise ---------------------------------------------------------------

    @property
    def content(self) -> Content:
        """The content on its way; for the connection."""
        if self._content is None:
            self._content = Content()
            if self.head.complete:
                self._content.complete = True
        return self._content

    @property
    def awaits_content(self) -> bool:
        """Whether some of the content is still to come."""
        return not self.head.complete and not self.content.complete

    def stream(self) -> AsyncIterator[bytes]:
        """The content, piece by piece as it arrives; pieces are not empty.

        Waits send ``100 Continue`` if the client wants it.  Raises DisconnectError when the rest
        can not come any more.
        """
        return ContentStream(self)

    async def read(self) -> bytes:
        """The whole content, waiting for it; empty when the request has none.

        Raises DisconnectError when the rest can not come any more, and RuntimeError when some of it was
        taken piecewise.
        """
        if self.head.framing.length is None:
            return b""
        if self.head.content is None:
            if self.content.taken:
                raise RuntimeError(TAKEN)
            self.head.content = b"".join([piece async for piece in self.stream()])
        return self.head.content


class ContentStream(AsyncIterator[bytes]):
    """What ``Request.stream`` gives.

    Not a generator, since the loop would have to look after one that is not exhausted.
    """

    __slots__ = ("_request",)

    def __init__(self, request: Request) -> None:
        self._request = request

    async def __anext__(self) -> bytes:
        request = self._request
        content = request.content
        while True:
            if content.pieces:
                piece = content.pieces.popleft()
                content.buffered -= len(piece)
                content.taken = True
                request.connection.content_taken(request)
                return piece
            if request.head.content and not content.taken:  # It was there, or was joined, as a whole.
                content.taken = True
                return request.head.content
            if content.complete:
                raise StopAsyncIteration
            if content.failure is not None:
                raise DisconnectError(content.failure)
            if content.waiter is not None:
                raise RuntimeError("another task is already waiting for this content")
            content.waiter = request.connection.host.waiter()
            request.connection.content_wanted(request)
            try:
                await content.waiter
            finally:
                content.waiter = None
