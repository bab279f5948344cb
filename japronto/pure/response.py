"""What a handler answers.

Everything that a handler sets is checked where it is set, and what could break out of a field
line (CR, LF, NUL, a name that is not a token, a character that latin-1 does not have) raises
``ResponseError`` there (RFC 9112 s.11.1).  Whether the fields that frame a message are consistent
can only be said once the request is known; ``assembler.py`` does.
"""

from __future__ import annotations

import json as json_module
import re
from collections.abc import (
    AsyncIterable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
)
from http.cookies import BaseCookie, CookieError, SimpleCookie
from typing import Any, Final, TypeAlias, cast

from japronto.errors import ResponseError

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
# field-value, in latin-1                                                  (RFC 9110 s.5.5)
_VALUE = re.compile("[\t -~\x80-\xff]*").fullmatch
_MEDIA_TYPE = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+/[\t -~]+").fullmatch

_strict_json = json_module.JSONEncoder(allow_nan=False).encode

Stream: TypeAlias = Iterable[bytes] | AsyncIterable[bytes]
HeadersLike: TypeAlias = Mapping[str, Any] | Iterable[tuple[str, Any]]
CookiesLike: TypeAlias = BaseCookie[Any] | Mapping[str, str]


def _checked(name: Any, value: Any) -> str:
    """The value of a field as text, if name and value can stand in a field line."""
    if not isinstance(name, str) or not _TOKEN(name):
        raise ResponseError(f"{name!r} cannot be the name of a field: it is not a token")
    text = value if isinstance(value, str) else str(value)
    if isinstance(value, (bytes, bytearray)) or not _VALUE(text):
        raise ResponseError(f"the value of {name} must be a str without control characters, "
                            f"in latin-1, not {value!r}")
    return text


class ResponseHeaders(MutableMapping[str, str]):
    """The fields that a handler sets; names are case-insensitive, and leave as they were written.

    Setting a name replaces all lines of that name; ``add`` puts one more line.
    """

    __slots__ = ("lines",)

    def __init__(self, fields: HeadersLike = ()) -> None:
        self.lines: list[tuple[str, str]] = []
        for name, value in fields.items() if isinstance(fields, Mapping) else fields:
            self.add(name, value)

    def add(self, name: str, value: Any) -> None:
        """Put one more line; raises ResponseError when it cannot be one."""
        self.lines.append((name, _checked(name, value)))

    def getall(self, name: str) -> list[str]:
        """The values of all lines called ``name``, in order."""
        lowered = name.lower()
        return [value for known, value in self.lines if known.lower() == lowered]

    def __getitem__(self, name: str) -> str:
        values = self.getall(name)
        if not values:
            raise KeyError(name)
        return ", ".join(values)

    def __setitem__(self, name: str, value: Any) -> None:
        text = _checked(name, value)
        self.lines = [line for line in self.lines if line[0].lower() != name.lower()]
        self.lines.append((name, text))

    def __delitem__(self, name: str) -> None:
        if not self.getall(name):
            raise KeyError(name)
        self.lines = [line for line in self.lines if line[0].lower() != name.lower()]

    def __iter__(self) -> Iterator[str]:
        seen = set()
        for name, _ in self.lines:
            if name.lower() not in seen:
                seen.add(name.lower())
                yield name

    def __len__(self) -> int:
        return len({name.lower() for name, _ in self.lines})

    def __repr__(self) -> str:
        return f"ResponseHeaders({self.lines!r})"


class Response:
    """An answer: a status code, content, fields.

    ``code``       200-599, or 101 with ``upgrade``
    ``text``       content as text, encoded as ``encoding`` (UTF-8)
    ``body``       content as bytes, or an iterator or async iterator of bytes, which is sent as it
                   is made: chunked to HTTP/1.1, until the connection closes to HTTP/1.0
    ``json``       content as whatever the standard library's json can encode
    ``mime_type``  the media type; by default what suits text, body or json
    ``encoding``   the charset; named in Content-Type for text
    ``headers``    a mapping or an iterable of pairs; repeated names become lines of their own
    ``cookies``    an ``http.cookies.SimpleCookie``, each morsel of which becomes a Set-Cookie line; or
                   a mapping of names to values, for cookies without attributes
    ``upgrade``    with 101, or a 2xx to CONNECT: makes the asyncio protocol that takes over the
                   connection (RFC 9110 s.7.8)

    ``code``, ``body``, ``content_type``, ``headers`` and ``cookies`` may be changed until the response is
    returned.  Raises ResponseError when one of them cannot be sent.
    """

    __slots__ = ("_body", "_code", "_content_type", "_cookies", "_headers", "_stream", "_upgrade")

    @staticmethod
    def encode_json(value: Any) -> str | bytes:
        """JSON of a value.  May be replaced: ``Response.encode_json = staticmethod(...)``."""
        try:
            return _strict_json(value)
        except ValueError:
            # A number that JSON does not have (RFC 8259 s.6) is null, as in ECMAScript and in other encoders.
            text = json_module.dumps(value)
            return _strict_json(json_module.loads(text, parse_constant=lambda name: None))

    def __init__(self, code: int = 200, text: str | None = None, body: bytes | Stream | None = None,
                 json: Any = None, mime_type: str | None = None, encoding: str | None = None,
                 headers: HeadersLike | None = None, cookies: CookiesLike | None = None, *,
                 upgrade: Callable[[], Any] | None = None) -> None:
        self._code = 200 if code == 200 and upgrade is None else _checked_code(code, upgrade)
        self._stream: Stream | None = None
        self._cookies = None if cookies is None else _checked_cookies(cookies)
        self._upgrade = upgrade
        self._headers = None if headers is None else ResponseHeaders(headers)
        if text is not None and body is None and json is None:
            if mime_type is None and encoding is None:
                # By far the commonest answer.
                try:
                    self._body: bytes = text.encode()
                except (AttributeError, UnicodeEncodeError):
                    encode_text(text, "utf-8")  # says what is wrong
                    raise
                self._content_type: bytes | None = TEXT
                return
            self._body = encode_text(text, encoding or "utf-8")
            self._content_type = content_type_of(mime_type or "text/plain", encoding or "utf-8")
        else:
            self._set_content(text, body, json, mime_type, encoding)

    def _set_content(self, text: str | None, body: bytes | Stream | None, json: Any,
                     mime_type: str | None, encoding: str | None) -> None:
        """Take the content from ``body`` or ``json``, or have none."""
        if (text is not None) + (body is not None) + (json is not None) > 1:
            raise ResponseError("give text, body or json, and only one of them")
        self._body = b""
        default = None
        if isinstance(body, (bytes, bytearray, memoryview)):
            self._body = bytes(body)
            default = OCTETS.decode()
        elif isinstance(body, (Iterable, AsyncIterable)) and not isinstance(body, str):
            self._stream = cast("Stream", body)
            default = OCTETS.decode()
        elif body is not None:
            raise ResponseError(f"body must be bytes, or an iterator of bytes, not "
                                f"{type(body).__name__}; give text=... for a str")
        elif json is not None:
            octets = self.encode_json(json)
            self._body = octets if isinstance(octets, bytes) else encode_text(octets, encoding or "utf-8")
            default = JSON.decode()
        media_type = mime_type or default
        self._content_type = content_type_of(media_type, encoding) if media_type else None

    @property
    def code(self) -> int:
        """The status code."""
        return self._code

    @code.setter
    def code(self, code: int) -> None:
        self._code = _checked_code(code, self._upgrade)

    @property
    def body(self) -> bytes:
        """The content; empty when it is a stream."""
        return self._body

    @body.setter
    def body(self, body: bytes) -> None:
        if not isinstance(body, (bytes, bytearray, memoryview)):
            raise ResponseError(f"body can be set to bytes, and not to {type(body).__name__}; an iterator "
                                "is given when the response is made")
        if self._stream is not None:
            raise ResponseError("the content of this response is a stream; make another one")
        self._body = bytes(body)

    @property
    def stream(self) -> Stream | None:
        """The iterator that the content comes of, if it is one."""
        return self._stream

    @property
    def content_type(self) -> bytes | None:
        """The value of Content-Type; ``None`` when there is to be none."""
        return self._content_type

    @content_type.setter
    def content_type(self, content_type: bytes | None) -> None:
        if content_type is not None and not _is_media_type(content_type):
            raise ResponseError(f"content_type must be a media type as bytes, or None, not {content_type!r}")
        self._content_type = content_type

    @property
    def cookies(self) -> BaseCookie[Any] | None:
        """The cookies to set; ``None`` when there are none."""
        return self._cookies

    @cookies.setter
    def cookies(self, cookies: CookiesLike | None) -> None:
        self._cookies = None if cookies is None else _checked_cookies(cookies)

    @property
    def upgrade(self) -> Callable[[], Any] | None:
        """What makes the protocol that takes over the connection, if one does."""
        return self._upgrade

    @property
    def headers(self) -> ResponseHeaders:
        """The fields besides Content-Type, Content-Length, Date and cookies; to be changed at will."""
        if self._headers is None:
            self._headers = ResponseHeaders()
        return self._headers

    @property
    def fields(self) -> list[tuple[str, str]]:
        """The field lines that the handler set, cookies not among them."""
        return [] if self._headers is None else self._headers.lines

    def __repr__(self) -> str:
        return f"<Response {self._code} {'streamed' if self._stream else f'{len(self._body)} octets'}>"


TEXT: Final = b"text/plain; charset=utf-8"
OCTETS: Final = b"application/octet-stream"
JSON: Final = b"application/json"


def _checked_code(code: Any, upgrade: Callable[[], Any] | None) -> int:
    if isinstance(code, str):
        raise ResponseError(f"a status code is a number, not {code!r}; give text=... for a str")
    if isinstance(code, bool) or not isinstance(code, int) or not 100 <= code <= 599:
        raise ResponseError(f"a status code is a number from 200 to 599, not {code!r}")
    if code < 200 and code != 101:
        raise ResponseError(f"{code} is not a final status code: the server sends those itself")
    if code == 101 and upgrade is None:
        raise ResponseError("101 needs upgrade=..., the protocol that takes over")
    if upgrade is not None and code != 101 and code >= 300:
        raise ResponseError("upgrade goes with 101, or with a 2xx to CONNECT")
    return int(code)


def _checked_cookies(cookies: Any) -> BaseCookie[Any]:
    if isinstance(cookies, BaseCookie):
        return cookies
    if not isinstance(cookies, Mapping):
        raise ResponseError(f"cookies must be a SimpleCookie, or a mapping of names to values, not "
                            f"{type(cookies).__name__}")
    jar: SimpleCookie = SimpleCookie()
    for name, value in cookies.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise ResponseError(f"names and values of cookies must be str, not {name!r}: {value!r}")
        try:
            jar[name] = value
        except CookieError as error:
            raise ResponseError(f"{name!r} cannot be the name of a cookie: {error}") from None
    return jar


def encode_text(text: str, encoding: str) -> bytes:
    """Content as octets; raises ResponseError when it is no text, or cannot be encoded."""
    if not isinstance(text, str):
        raise ResponseError(f"text must be a str, not {type(text).__name__}")
    try:
        return text.encode(encoding)
    except (LookupError, ValueError) as error:  # some codecs raise no UnicodeEncodeError
        raise ResponseError(f"the content cannot be encoded as {encoding!r}: {error}") from None


def _is_media_type(value: Any) -> bool:
    return isinstance(value, bytes) and _MEDIA_TYPE(value.decode("latin-1")) is not None


def content_type_of(mime_type: str, encoding: str | None) -> bytes:
    """The value of Content-Type; raises ResponseError when it is no media type."""
    value = f"{mime_type}; charset={encoding}" if encoding else mime_type
    if not _MEDIA_TYPE(value):
        raise ResponseError(f"{value!r} is not a media type")
    return value.encode("ascii")
