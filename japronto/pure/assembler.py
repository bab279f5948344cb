"""Responses to octets: RFC 9112 s.4, s.6 and s.9 from the sending side.

``assemble`` turns a batch of answers into as few buffers as one write should carry.  The common
answer (200, known length, nothing special) is a matter of joining; all others go through
``head_of``, where the rules stand:

* exactly one of Content-Length, chunked, or until-close (to HTTP/1.0 alone) for an answer that may
  have content (RFC 9112 s.6.3), none of them for one that may not (RFC 9110 s.15);
* what a handler sets of Content-Length, Transfer-Encoding, Connection, Date and Server is honoured
  when it is consistent, and refused by ``prepare`` when it is not; never two of one kind;
* an answer after which the server closes says so (RFC 9112 s.9.6), and one that names other protocols
  in Upgrade names that field, too (RFC 9110 s.7.8).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus
from http.cookies import Morsel
from typing import Final, NamedTuple

from japronto.errors import ResponseError
from japronto.pure.request import Request
from japronto.pure.response import Response

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

LARGE: Final = 64 * 1024
"""Content of at least so many octets is handed on by reference: copying it costs more than one
more buffer in a gathering write."""

_PHRASES = {status.value: status.phrase for status in HTTPStatus} | {
    413: "Content Too Large", 414: "URI Too Long", 422: "Unprocessable Content"}

_HTTP_DATE = re.compile(
    r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) "
    r"\d{4} \d\d:\d\d:\d\d GMT").fullmatch

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def http_date(year: int, month: int, day: int, hour: int, minute: int, second: int,
              weekday: int) -> bytes:
    """IMF-fixdate (RFC 9110 s.5.6.7), whatever the locale; Monday is 0."""
    return (f"{_DAYS[weekday]}, {day:02} {_MONTHS[month - 1]} {year} "
            f"{hour:02}:{minute:02}:{second:02} GMT").encode("ascii")


def status_lines() -> tuple[bytes, ...]:
    """The status lines of all final status codes, from 200 on (RFC 9112 s.4)."""
    return tuple(f"HTTP/1.1 {code} {reason_phrase(code)}".encode() for code in range(200, 600))


def reason_phrase(code: int) -> str:
    """The reason phrase of a status code; empty for one without a name (RFC 9112 s.4)."""
    return _PHRASES.get(code, "")


def assemble(answered: Sequence[Request], date: bytes) -> list[bytes]:
    """The octets of consecutive answers, in order; see ``interfaces.Assemble``.

    Of a streamed response only the head: its content is sent by the connection, piece by piece.
    """
    tail = b"\r\nDate: " + date + b"\r\n\r\n"
    buffers: list[bytes] = []
    pieces: list[bytes] = []
    for request in answered:
        response = request.response
        assert response is not None
        body = response._body
        if request.common:
            pieces += (b"HTTP/1.1 200 OK\r\nContent-Type: ", response._content_type,  # type: ignore[arg-type]
                       b"\r\nContent-Length: %d" % len(body), tail)
        else:
            pieces.append(head_of(request, response, date))
            if not has_content(request, response):
                continue
        if len(body) < LARGE:
            pieces.append(body)
        else:
            buffers += (b"".join(pieces), body)
            pieces = []
    if pieces:
        buffers.append(b"".join(pieces))
    return buffers


def plain_answer(request: Request, response: Response, date: bytes) -> bytes | None:
    """The octets of an answer of known length, after which the connection goes on; None for any other.

    None too for large content, which leaves by itself: a copy would stay for as long as the client is slow.

    Raises ResponseError when the response cannot be sent.  The request must be new, and not answered.
    """
    prepare(request, response)
    if (response.stream is not None or response.upgrade is not None or not request.persistent
            or len(response.body or b"") >= LARGE):
        request.persistent = request.head.framing.persistent
        return None
    head = head_of(request, response, date)
    return head + response.body if has_content(request, response) else head


def is_common(request: Request, response: Response) -> bool:
    """Whether the answer is a matter of joining: 200, content of known length, nothing special."""
    return (response._headers is None and response._code == 200 and response._stream is None
            and response._cookies is None and response._upgrade is None
            and response._content_type is not None
            and request.persistent and request.head.minor == 1
            and request.head.method not in ("HEAD", "CONNECT"))


def has_content(request: Request, response: Response) -> bool:
    """Whether content follows the head (RFC 9110 s.6.4.1)."""
    return (request.head.method != "HEAD" and response.code not in (204, 205, 304)
            and response.upgrade is None)


class Plan(NamedTuple):
    """How a response is framed."""

    length: int | None
    """The value of Content-Length, if there is to be one."""
    chunked: bool
    persistent: bool
    """Whether the connection can go on after it."""


def plan(request: Request, response: Response) -> Plan:
    """How ``response`` is framed as the answer to ``request`` (RFC 9112 s.6.3).

    Raises ResponseError where the fields that the handler set contradict that.
    """
    declared = _declared_length(response)
    close = any("close" in _options(value) for name, value in response.fields
                if name.lower() == "connection")
    persistent = request.persistent and not close
    if response.code in (101, 204) or response.upgrade is not None:
        length = None
    elif response.code == 304:
        length = declared
    elif response.code == 205:
        length = 0
    elif response.stream is None:
        length = len(response.body)
        if request.head.method == "HEAD" and not length and declared is not None:
            length = declared
    else:
        length = declared
        chunked = length is None and bool(request.head.minor)
        return Plan(length, chunked, persistent and (
            chunked or length is not None or not has_content(request, response)))
    if declared is not None and declared != length:
        raise ResponseError(f"Content-Length is set to {declared}, but the content has "
                            f"{'none' if length is None else length} octets")
    return Plan(length, False, persistent)


def prepare(request: Request, response: Response) -> None:
    """Decide whether the connection goes on after ``response``; for all but the commonest answers.

    Sets ``request.persistent``.  Raises ResponseError when the response cannot be sent.
    """
    if response.fields or response.cookies:
        _check_fields(response)
    if response.upgrade is not None:
        if not request.head.framing.upgrade:
            raise ResponseError("the client did not ask for an upgrade")
        if (response.code == 101) is (request.head.method == "CONNECT"):
            raise ResponseError("an Upgrade is answered with 101, CONNECT with a 2xx")
        if response.code == 101 and "upgrade" not in response.headers:
            raise ResponseError("a 101 must name the new protocol in an Upgrade field")
    elif request.head.method == "CONNECT" and response.code < 300:
        raise ResponseError("a 2xx to CONNECT opens a tunnel (RFC 9110 s.9.3.6); it needs upgrade=...")
    chosen = plan(request, response)
    if response.fields and not chosen.chunked and "transfer-encoding" in response.headers:
        raise ResponseError("Transfer-Encoding does not go with this response")
    request.persistent = chosen.persistent


def head_of(request: Request, response: Response, date: bytes) -> bytes:
    """The status line and the header section of any response."""
    length, chunked, persistent = plan(request, response)
    code = response.code
    lines = [f"HTTP/1.1 {code} {reason_phrase(code)}"]
    fields = response.fields
    names = {name.lower() for name, _ in fields}
    if response.content_type is not None and "content-type" not in names and code not in (204, 205):
        lines.append(f"Content-Type: {response.content_type.decode()}")
    if length is not None:
        lines.append(f"Content-Length: {length}")
    elif chunked:
        lines.append("Transfer-Encoding: chunked")
    lines += [f"{name}: {value}" for name, value in fields
              if name.lower() not in ("content-length", "transfer-encoding", "connection")]
    if response.cookies:
        lines += [f"Set-Cookie: {morsel.OutputString()}" for morsel in response.cookies.values()]
    options = ["upgrade"] if "upgrade" in names else []                   # RFC 9110 s.7.8
    if response.upgrade is None and not persistent:
        options.append("close")
    elif not request.head.minor:
        options.append("keep-alive")
    if options:
        lines.append(f"Connection: {', '.join(options)}")
    if "date" not in names:
        lines.append(f"Date: {date.decode()}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


_SINGLE = frozenset(("content-length", "content-type", "date", "server", "transfer-encoding"))


def _check_fields(response: Response) -> None:
    """Raise ResponseError for what a handler may not set, or not so."""
    seen = set()
    for name, value in response.fields:
        lowered = name.lower()
        if lowered in _SINGLE and lowered in seen:
            raise ResponseError(f"{name} is set twice")
        seen.add(lowered)
        if lowered == "date" and not _HTTP_DATE(value):
            raise ResponseError(f"Date must be an IMF-fixdate, not {value!r}")
        if lowered == "server" and not value.strip():
            raise ResponseError("Server must not be empty")
        if lowered == "transfer-encoding" and value.strip().lower() != "chunked":
            raise ResponseError("the only Transfer-Encoding that can be sent is chunked")
        if lowered == "connection":
            allowed = {"close", "keep-alive"} | ({"upgrade"} if "upgrade" in response.headers else set())
            if not _options(value) <= allowed:
                raise ResponseError(f"Connection cannot be {value!r} here")
    for morsel in response.cookies.values() if response.cookies else ():
        if not isinstance(morsel, Morsel):  # update() of a jar takes anything
            raise ResponseError(f"a cookie must be a Morsel, not {morsel!r}")
        if not re.fullmatch("[\t -~\x80-\xff]*", morsel.OutputString()):
            raise ResponseError(f"the cookie {morsel.key} holds a character that cannot be sent")


def _options(value: str) -> set[str]:
    return {option.strip().lower() for option in value.split(",")} - {""}


def _declared_length(response: Response) -> int | None:
    """The Content-Length that the handler set."""
    for name, value in response.fields:
        if name.lower() == "content-length":
            if not re.fullmatch("[0-9]{1,18}", value.strip()):
                raise ResponseError(f"Content-Length must be a number, not {value!r}")
            return int(value)
    return None
