"""The chunked transfer coding, in both directions: RFC 9112 s.7.1.

    chunked-body   = *chunk last-chunk trailer-section CRLF
    chunk          = chunk-size [ chunk-ext ] CRLF chunk-data CRLF
    last-chunk     = 1*"0" [ chunk-ext ] CRLF
    chunk-size     = 1*HEXDIG
    chunk-ext      = *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )

Strict to the octet: exactly CRLF where CRLF stands, no sign, no prefix, no space ahead of a size.
A size is judged digit by digit as it arrives, a line as soon as it is complete.  Extensions are
held to their grammar and thrown away; their octets are counted over the whole message, since a
flood of one-octet chunks with long extensions would cost much and carry nothing.
"""

from __future__ import annotations

import enum
import re
from typing import Final

from japronto.limits import Limits
from japronto.messages import Violation
from japronto.pure.framing import LENGTH_MAX
from japronto.pure.grammar import QUOTED_STRING, TOKEN, Bounds, field_line, longer

# chunk-ext-val = token / quoted-string                                    (RFC 9112 s.7.1.1)
_EXTENSION: Final = (rb"[\t ]*+;[\t ]*+%b(?:[\t ]*+=[\t ]*+(?:%b|%b))?+" % (TOKEN, TOKEN, QUOTED_STRING))
_SIZE_LINE = re.compile(rb"[0-9A-Fa-f]++((?:%b)*+)" % _EXTENSION).fullmatch
_SIZE = re.compile(rb"0*+([0-9A-Fa-f]*+)").match
_SIZE_MAX_DIGITS = 16

_SIZE_FAULT = Violation(400, "A chunk size must be a hexadecimal number.")
_SIZE_OVERFLOW = Violation(400, "A chunk size is too large to be a size.")
_LINE_FAULT = Violation(400, "A chunk-size line is malformed.")
_LONG_LINE = Violation(400, "A chunk-size line is longer than this server takes.")
_EXTENSIONS = Violation(400, "The chunks carry more extensions than this server takes.")
_DATA_END = Violation(400, "The data of a chunk must end in CRLF, where its size says.")

TOO_LARGE: Final = Violation(413, "The content is larger than this resource takes.")

# Those that frame, route, or authenticate a message, or say how its content is to be read: a
# trailer must not change any of that after the fact (RFC 9110 s.6.5.1).
FORBIDDEN_TRAILERS: Final = frozenset((
    b"authorization", b"cache-control", b"connection", b"content-encoding", b"content-length",
    b"content-range", b"content-type", b"cookie", b"expect", b"forwarded", b"host", b"keep-alive",
    b"max-forwards", b"pragma", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection",
    b"range", b"set-cookie", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"via",
    b"www-authenticate", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"))


class _Part(enum.Enum):
    """What the next octet belongs to."""

    SIZE = enum.auto()
    DATA = enum.auto()
    DATA_END = enum.auto()
    TRAILERS = enum.auto()
    DONE = enum.auto()


class ChunkedDecoder:
    """Takes the content of one message out of its chunks, as it arrives."""

    __slots__ = ("_content_max", "_extension_bytes", "_left", "_limits", "_line", "_lines", "_part",
                 "_seen", "trailers", "violation")

    trailers: bytes
    """The trailer section, once ``done``, in the form of ``RequestHead.section``."""
    violation: Violation | None

    def __init__(self, limits: Limits, content_max: int) -> None:
        self._limits = limits
        self._content_max = content_max
        self._extension_bytes = 0
        self._left = 0
        # In the trailer section, like Resume: the octets of it that are judged, that hold no LF,
        # and the lines so far.
        self._line = self._seen = self._lines = 0
        self._part = _Part.SIZE
        self.trailers = b""
        self.violation = None

    @property
    def done(self) -> bool:
        """Whether the last chunk and the trailer section have been taken."""
        return self._part is _Part.DONE

    def feed(self, buffer: bytes, start: int) -> tuple[bytes, int]:
        """Decode from ``start`` on: the content found, and where the first octet stands that was
        not taken.  Octets that were not taken must come again, with more behind them.

        After the call, ``violation`` or ``done`` may say that it was the last.
        """
        pieces = []
        while self.violation is None:
            if self._part is _Part.DATA:
                data = buffer[start:start + self._left]
                if not data:
                    break
                pieces.append(data)
                start += len(data)
                self._left -= len(data)
                if self._left:
                    break
                self._part = _Part.DATA_END
            elif self._part is _Part.DATA_END:
                end = buffer[start:start + 2]
                if not b"\r\n".startswith(end):
                    self.violation = _DATA_END
                if end != b"\r\n":
                    break
                start += 2
                self._part = _Part.SIZE
            elif self._part is _Part.SIZE:
                end_of_line = self._size_line(buffer, start)
                if not end_of_line:
                    break
                start = end_of_line
            else:
                end_of_section = self._trailer_section(buffer, start)
                if end_of_section:
                    start = end_of_section
                    self._part = _Part.DONE
                break
        return pieces[0] if len(pieces) == 1 else b"".join(pieces), start

    def _size_line(self, buffer: bytes, start: int) -> int:
        """Take the chunk-size line at ``start``: where the next line starts, or 0."""
        bound = self._limits.chunk_line_bytes
        size = _SIZE(buffer, start, start + bound)
        assert size is not None  # it matches nothing, too
        digits, end = size[1], size.end()
        if len(digits) > _SIZE_MAX_DIGITS:
            self.violation = _SIZE_OVERFLOW
        elif end < len(buffer) and end - start < bound and (
                end == start or buffer[end] not in b"\t ;\r"):
            self.violation = _SIZE_FAULT
        if self.violation:
            return 0
        newline = buffer.find(b"\n", end, start + bound + 2)
        if longer(buffer, start, newline, bound):
            self.violation = _LONG_LINE
            return 0
        if newline < 0:
            return 0
        match = _SIZE_LINE(buffer, start, newline - 1) if buffer[newline - 1] == 0x0D else None
        if match is None:
            self.violation = _LINE_FAULT
            return 0
        self._extension_bytes += len(match[1])
        if self._extension_bytes > self._limits.chunk_extension_bytes:
            self.violation = _EXTENSIONS
        self._take_size(int(digits or b"0", 16))
        return newline + 1

    def _take_size(self, size: int) -> None:
        self._left = size
        self._part = _Part.DATA if size else _Part.TRAILERS
        self._content_max -= size
        if self.violation is None and size > LENGTH_MAX:
            self.violation = _SIZE_OVERFLOW
        elif self.violation is None and self._content_max < 0:
            self.violation = TOO_LARGE

    def _trailer_section(self, buffer: bytes, start: int) -> int:
        """Take the trailer section at ``start``: where it ends, or 0 when it is not complete."""
        limits = self._limits
        bounds = Bounds(limits.field_line_bytes, limits.trailer_section_bytes, limits.trailer_fields)
        while True:
            line = start + self._line
            end, self.violation = field_line(
                buffer, start, line, start + self._seen, self._lines, bounds)
            if self.violation or not end:
                self._seen = len(buffer) - start
                return 0
            if end - line == 2:
                self.trailers = allowed_trailers(buffer[start:line])
                return end
            self._line = self._seen = end - start
            self._lines += 1


def allowed_trailers(lines: bytes) -> bytes:
    """The field lines of a trailer section without those that a trailer must not carry."""
    kept = [line for line in lines.split(b"\r\n")[:-1]
            if line[:line.index(b":")].lower() not in FORBIDDEN_TRAILERS]
    return b"\n" + b"".join(line + b"\r\n" for line in kept) if kept else b""


LAST_CHUNK: Final = b"0\r\n\r\n"


def encode_chunk(data: bytes) -> bytes:
    """One chunk; ``data`` must not be empty, since an empty one would end the content."""
    return b"%x\r\n%b\r\n" % (len(data), data)
