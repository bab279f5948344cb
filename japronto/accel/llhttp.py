"""The scanner of llhttp, by way of httptools, behind the seam ``interfaces.Scan``.

It is for platforms without a compiler, and for comparing: a parser that was written by others, from the
same RFCs, and that much of the web runs on.

llhttp splits a complete head, one at a time, and judges which octets may stand in its parts.  It is more
lenient than the reference about what stands between them, and about targets and versions.  So what it
reports is written out again, in the one form that nearly all clients send::

    method SP origin-form SP HTTP/1.x CRLF *( name ":" SP value CRLF ) CRLF

and only if that is the head, octet for octet, is the head taken.  Everything else the reference decides on:
what llhttp refuses, what is incomplete, and also what is right and not common (methods that llhttp does not
know, absolute-form, an escape in the path, a name that is repeated, an IPv6 address in Host, an Upgrade).
Hence there is no divergence from the reference; docs/backends.md tells where llhttp alone would diverge.

What the fields mean, and the content, llhttp never gets to see: ``pure/framing.py`` and ``pure/chunked.py``
decide on them for every backend.
"""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from japronto.interfaces import Resume, Scan, Scanned
from japronto.limits import Limits
from japronto.messages import PERSISTENT, RequestHead, Seen

# origin-form, wider than RFC 3986 as in the reference, but without an escape in the path; llhttp lets a
# fragment and a backslash through.
_ORIGIN_FORM = re.compile(rb'(/[!"$&->@-\[\]-~]*+)(?:\?([!"$-~]*+))?+').fullmatch
# Host = uri-host [ ":" port ], without IP-literals, escapes and what hardly stands in a name
_PLAIN_HOST = re.compile(rb"[0-9A-Za-z.\-]*+(?::[0-9]*+)?+").fullmatch

_GOVERNING: Final = {
    b"host": Seen.HOST, b"content-length": Seen.CONTENT_LENGTH, b"transfer-encoding": Seen.TRANSFER_ENCODING,
    b"connection": Seen.CONNECTION, b"expect": Seen.EXPECT, b"upgrade": Seen.UPGRADE}


class _Splitter:
    """llhttp, and what it reports of the head that it is fed.

    What it calls back is written in C, and is of nothing that refers to it: a callback in Python for each
    field would cost more than llhttp does, and one of this object would be a cycle.
    """

    __slots__ = ("_fields", "_parser", "_targets")

    def __init__(self) -> None:
        self._targets: list[bytes] = []
        # One value for each name: a head that repeats a name is not what is written out.
        self._fields: dict[bytes, bytes] = {}
        self._parser = HttpRequestParser(
            SimpleNamespace(on_url=self._targets.append, on_header=self._fields.__setitem__))

    def split(self, octets: bytes, fields_max: float) -> tuple[RequestHead, int] | None:
        """The head that ``octets`` are, and its flags of ``Seen``; or None, and it is for the reference.

        After anything but a trivial head, llhttp waits for something else than the next one; then this
        object is of no more use.
        """
        try:
            self._parser.feed_data(octets)
        except (HttpParserError, HttpParserUpgrade):
            return None
        target, fields = b"".join(self._targets), self._fields.copy()
        self._targets.clear()
        self._fields.clear()
        method, minor = self._parser.get_method(), int(self._parser.get_http_version() == "1.1")
        section = b"\n" + b"".join([b"%b: %b\r\n" % field for field in fields.items()])
        form = _ORIGIN_FORM(target)
        if form is None or b"%b %b HTTP/1.%d\r%b\r\n" % (method, target, minor, section) != octets:
            return None
        seen = _governing(fields)
        if seen is None or len(fields) > fields_max:
            return None
        path, query = form.groups()
        return RequestHead(method.decode("ascii"), target, path.decode("ascii"),
                           None if query is None else query.decode("ascii"), minor, section, PERSISTENT), seen


def _governing(fields: dict[bytes, bytes]) -> int | None:
    """The flags of ``Seen``; None when Host is not plain, or there are two."""
    seen = 0
    for name, value in fields.items():
        flag = _GOVERNING.get(name.lower(), 0)
        if flag == Seen.HOST and (seen & Seen.HOST or not _PLAIN_HOST(value)):
            return None
        if flag != Seen.CONNECTION or value.strip(b"\t ").lower() != b"keep-alive":
            seen |= flag
    return seen


def make_scan(careful: Scan) -> Scan:
    """A scanner for one connection, that hands what is not for llhttp to ``careful``, one head at a time."""
    splitter: _Splitter | None = None

    def scan(buffer: bytes, start: int, heads_max: int, limits: Limits,
             resume: Resume | None = None) -> Scanned:
        nonlocal splitter
        heads: list[RequestHead] = []
        # A head within this is within all bounds on octets.
        most = int(min(limits.request_line_bytes, limits.field_line_bytes, limits.field_section_bytes,
                       len(buffer)))
        while start < len(buffer) and len(heads) < heads_max:
            taken = None
            if resume is None and (end := buffer.find(b"\r\n\r\n", start, start + most)) >= 0:
                splitter = splitter or _Splitter()
                taken = splitter.split(buffer[start:end + 4], limits.fields)
            if taken is not None:
                head, seen = taken
                heads.append(head)
                start = end + 4
                if seen == Seen.HOST and head.minor:
                    continue
                splitter = None
                return Scanned(heads, start, None, None, seen)
            splitter = None
            found = careful(buffer, start, 1, limits, resume)
            heads += found.heads
            start = found.stop
            resume = None
            if not found.heads or found.seen is not None:
                return found._replace(heads=heads)
        return Scanned(heads, start, None, None)

    return scan
