"""Where a request line and its field lines begin and end, and whether they are well-formed.

This module decides what RFC 9112 s.2 to s.5 leave to syntax: lines, the request line, the four
forms of a target, field lines, and the bounds on all of them.  What the fields *mean* for the
length of the message and for the connection is decided in ``framing.py``.

Each rule is a regular expression under its ABNF.  The rules are composed into ``HEAD``, which
takes a whole head in one match; nearly every head on the wire goes that way.  Where ``HEAD`` does
not match, or a bound may be exceeded, the same rules are applied *line by line*, which
finds the first fault, or that octets are missing, or that the head is well-formed after all (an
absolute-form target, say).  Both ways give the same verdict; a property test says so.

Strictness: a line ends in CRLF and nothing else (s.2.2 allows to accept a bare LF; two parsers
that disagree about that are how requests get smuggled).  Octets are matched as octets; nothing
is decoded before it is judged.

Faults are taken in the order of the octets: a fault is reported as soon as the line that it stands
in is complete, or longer than its bound, so that the verdict does not hang on how the octets were
cut into reads.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from japronto.interfaces import Resume, Scanned
from japronto.limits import Limits
from japronto.messages import ENCODED_SLASH, PERSISTENT, RequestHead, Seen, Violation

# -- The rules -------------------------------------------------------------------------------
# Quantifiers are possessive (``*+``): no rule needs to give back what it took, so a match takes
# time linear in its input, whatever the input.

# tchar = "!" / "#" / "$" / "%" / "&" / "'" / "*" / "+" / "-" / "." / "^" / "_" / "`" / "|" / "~"
#         / DIGIT / ALPHA                                                  (RFC 9110 s.5.6.2)
TCHAR: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
# token = 1*tchar
TOKEN: Final = TCHAR + rb"++"
# OWS = *( SP / HTAB )                                                     (RFC 9110 s.5.6.3)
OWS: Final = rb"[\t ]*+"
# quoted-string = DQUOTE *( qdtext / quoted-pair ) DQUOTE                  (RFC 9110 s.5.6.4)
QUOTED_STRING: Final = (rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*+"')

# method = token                                                           (RFC 9110 s.9.1)
METHOD: Final = TOKEN
# origin-form = absolute-path [ "?" query ]                                (RFC 9112 s.3.2.1)
# Wider than RFC 3986 allows, since browsers leave some unsafe characters raw: any visible ASCII,
# but no "#" (a fragment never belongs here) and in the path no "\" (some take it for "/").
PATH: Final = rb"/[!\"$->@-\[\]-~]*+"
QUERY: Final = rb"[!\"$-~]*+"
ORIGIN_FORM: Final = rb"(" + PATH + rb")(?:\?(" + QUERY + rb"))?+"
# uri-host = IP-literal / IPv4address / reg-name; port = *DIGIT            (RFC 3986 s.3.2.2)
# The inside of an IP-literal is held to its characters, not to the count of its groups.
UNRESERVED_OR_SUB_DELIM: Final = rb"[0-9A-Za-z\-._~!$&'()*+,;=]"
REG_NAME: Final = rb"(?:" + UNRESERVED_OR_SUB_DELIM + rb"|%[0-9A-Fa-f]{2})*+"
IP_LITERAL: Final = (rb"\[(?:(?=[0-9A-Fa-f.]*+:)[0-9A-Fa-f:.]++"
                     rb"|[vV][0-9A-Fa-f]++\.[0-9A-Za-z\-._~!$&'()*+,;=:]++)\]")
HOST_AND_PORT: Final = rb"(?:" + IP_LITERAL + rb"|" + REG_NAME + rb")(?::[0-9]*+)?+"
# absolute-form = absolute-URI                                             (RFC 9112 s.3.2.2)
# Only the two schemes that this server can be the origin of.  userinfo is refused (RFC 9110
# s.4.2.4), and so is an empty host (s.4.2.1).
ABSOLUTE_FORM: Final = (rb"(?i:https?)://(?![:/?]|$)(" + HOST_AND_PORT + rb")(" + PATH + rb")?+"
                        rb"(?:\?(" + QUERY + rb"))?+")
# authority-form = uri-host ":" port                                       (RFC 9112 s.3.2.3)
AUTHORITY_FORM: Final = rb"(?!:)(?:" + IP_LITERAL + rb"|" + REG_NAME + rb"):[0-9]++"
# HTTP-version = "HTTP" "/" DIGIT "." DIGIT                                (RFC 9112 s.2.3)
HTTP_VERSION: Final = rb"HTTP/([0-9])\.([0-9])"
# request-line = method SP request-target SP HTTP-version                  (RFC 9112 s.3)
REQUEST_LINE: Final = rb"(" + METHOD + rb") ([^ ]++) " + HTTP_VERSION

# field-line = field-name ":" OWS field-value OWS                          (RFC 9112 s.5)
# field-vchar = VCHAR / obs-text; inside a value SP and HTAB too           (RFC 9110 s.5.5)
FIELD_LINE: Final = TOKEN + rb":[\t -~\x80-\xff]*+"

_HEAD = re.compile(rb"(" + METHOD + rb") " + ORIGIN_FORM + rb" HTTP/1\.([0-9])\r"
                   rb"(\n(?:" + FIELD_LINE + rb"\r\n)*+)\r\n").match
_REQUEST_LINE = re.compile(REQUEST_LINE).fullmatch
_ORIGIN_FORM = re.compile(ORIGIN_FORM).fullmatch
_ABSOLUTE_FORM = re.compile(ABSOLUTE_FORM).fullmatch
_AUTHORITY_FORM = re.compile(AUTHORITY_FORM).fullmatch
_FIELD_LINE = re.compile(FIELD_LINE).fullmatch
_TCHAR = re.compile(TCHAR).match
_FORBIDDEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})|%0[0AaDd]").search
_SLASHES = re.compile(rb"%2[Ff]").split

# Host = uri-host [ ":" port ]                                             (RFC 9110 s.7.2)
_HOST = re.compile(rb"\nhost:" + OWS + HOST_AND_PORT + OWS + rb"\r").search
_GOVERNING = re.compile(rb"\n(content-length|transfer-encoding|expect|upgrade|connection"
                        rb"(?!:[\t ]*+keep-alive[\t ]*+\r)):").findall

_FLAGS = {b"connection": Seen.CONNECTION, b"content-length": Seen.CONTENT_LENGTH,
          b"transfer-encoding": Seen.TRANSFER_ENCODING, b"expect": Seen.EXPECT,
          b"upgrade": Seen.UPGRADE}

_METHODS = {name.encode(): name for name in
            ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE")}


# -- What can be wrong -----------------------------------------------------------------------

_BARE_CR = Violation(400, "A carriage return stands without a line feed.")
_BARE_LF = Violation(400, "A line ends in a bare line feed.")
_EMPTY_LINES = Violation(400, "Too many empty lines stand ahead of the request line.")
_NOT_A_METHOD = Violation(400, "A request line must start with a method.")
_LONG_METHOD = Violation(400, "The request line is too long, and not because of its target.")
_LONG_TARGET = Violation(414, "The request target is longer than this server takes.")
_REQUEST_LINE_FAULT = Violation(400, "The request line is malformed.")
_VERSION = Violation(505, "Only HTTP/1.0 and HTTP/1.1 are spoken here.")
_TARGET = Violation(400, "The request target is malformed.")
_CONNECT_TARGET = Violation(400, "The target of CONNECT must be a host and a port.")
_ESCAPE = Violation(400, "The path holds a broken or forbidden percent-encoding.")
_NOT_UTF8 = Violation(400, "The path is not encoded in UTF-8.")
_LARGE_SECTION = Violation(431, "A field line, or all of them together, is longer than this server takes.")
_MANY_FIELDS = Violation(431, "There are more field lines than this server takes.")
_FOLDED = Violation(400, "A field line starts with white space.")
_FIELD_LINE_FAULT = Violation(400, "A field line is malformed.")


# -- Whole heads -----------------------------------------------------------------------------

def scan(buffer: bytes, start: int, heads_max: int, limits: Limits,
         resume: Resume | None = None) -> Scanned:
    """Find the heads of consecutive requests from ``start`` on; see ``interfaces.Scan``.

    Raises nothing, whatever the octets.
    """
    heads: list[RequestHead] = []
    # Below this size no bound on a line or on the section can be exceeded.
    small = min(limits.request_line_bytes, limits.field_line_bytes, limits.field_section_bytes)
    # Consecutive requests of one client mostly carry the same fields; comparing them with the
    # last ones costs a fraction of looking for the governing ones.
    last_section = None
    seen = 0
    while len(heads) < heads_max and start < len(buffer):
        match = None if resume else _HEAD(buffer, start)
        if match is not None and match.end() - start <= small:
            method, path, query, minor, section = match.groups()
            if method == b"CONNECT":
                return Scanned(heads, start, _CONNECT_TARGET, None)
            text = decode_path(path) if b"%" in path else path.decode("ascii")
            if isinstance(text, Violation):
                return Scanned(heads, start, text, None)
            if section != last_section:
                if section.count(b"\n") - 1 > limits.fields:
                    return Scanned(heads, start, _MANY_FIELDS, None)
                seen = governing(section)
                last_section = section
            target = path if query is None else b"%b?%b" % (path, query)
            head = RequestHead(
                _METHODS.get(method) or method.decode("ascii"), target, text,
                None if query is None else query.decode("ascii"), 0 if minor == b"0" else 1,
                section, PERSISTENT)
            stop = match.end()
        else:
            found = _line_by_line(buffer, start, limits, resume)
            if isinstance(found, Violation):
                return Scanned(heads, start, found, None)
            if isinstance(found, Resume):
                return Scanned(heads, start, None, found)
            head, stop = found
            seen = governing(head.section)
            resume = None
        heads.append(head)
        start = stop
        if seen != Seen.HOST or not head.minor or head.method == "CONNECT":
            return Scanned(heads, start, None, None, seen)
    return Scanned(heads, start, None, None)


def governing(section: bytes) -> int:
    """Which of the fields that govern the connection stand in ``section``."""
    section = section.lower()
    hosts = section.count(b"\nhost:")
    seen = 0
    if hosts:
        seen = Seen.HOST if hosts == 1 and _HOST(section) else Seen.HOST_FAULT
    for name in _GOVERNING(section):
        seen |= _FLAGS[name]
    return seen


# -- Line by line ----------------------------------------------------------------------------

class Bounds(NamedTuple):
    """The bounds of one section of field lines."""

    line_bytes: int
    section_bytes: int
    fields: int


class FieldLine(NamedTuple):
    """One look at a field line."""

    end: int
    """Where the next line starts; 0 when this one is not complete."""
    violation: Violation | None


_INCOMPLETE = FieldLine(0, None)


def field_line(buffer: bytes, section: int, start: int, seen: int, lines: int,
               bounds: Bounds) -> FieldLine:
    """Look at the field line at ``start`` of the section at ``section``.

    ``seen``   from where on to look for its end
    ``lines``  the number of field lines ahead of it in the section
    """
    newline = buffer.find(b"\n", seen)
    end = newline + 1 if newline >= 0 else len(buffer)
    if buffer.startswith(b"\r\n", start):
        return FieldLine(start + 2, None)
    if end - start == 1 and buffer[start] == 0x0D:  # what may yet become the empty line
        return _INCOMPLETE
    too_long = end - section > bounds.section_bytes if end > start else False
    if too_long or longer(buffer, start, newline, bounds.line_bytes):
        return FieldLine(0, _LARGE_SECTION)
    if newline < 0:
        return _INCOMPLETE
    if lines >= bounds.fields:
        return FieldLine(0, _MANY_FIELDS)
    violation = _judge_line(buffer, start, newline)
    if violation is None and not _FIELD_LINE(buffer, start, newline - 1):
        violation = _FOLDED if buffer[start] in b"\t " else _FIELD_LINE_FAULT
    return FieldLine(end, violation)


def longer(buffer: bytes, start: int, newline: int, bound: int) -> bool:
    """Whether the line at ``start`` is longer than ``bound``, its CRLF not counted.

    ``newline`` is where its LF stands, or -1 when it has not come; then a last CR may belong to it.
    """
    end = newline if newline >= 0 else len(buffer)
    return end - start > bound + 1 or (end - start == bound + 1 and buffer[end - 1] != 0x0D)


def _judge_line(buffer: bytes, start: int, newline: int) -> Violation | None:
    """Whether the line from ``start`` to the LF at ``newline`` ends in CRLF, and has no other CR."""
    if newline == start or buffer[newline - 1] != 0x0D:
        return _BARE_LF
    return _BARE_CR if buffer.find(b"\r", start, newline - 1) >= 0 else None


def _line_by_line(buffer: bytes, start: int, limits: Limits,
                  resume: Resume | None) -> tuple[RequestHead, int] | Resume | Violation:
    """One head, the careful way: the head and where it ends, or how far it is, or its fault."""
    begin = start
    for _ in range(limits.empty_lines + 1):
        if not buffer.startswith(b"\r\n", begin):
            break
        begin += 2
    else:
        return _EMPTY_LINES
    line, seen, lines = resume or Resume(begin - start, begin - start, 0)
    line, seen = max(line + start, begin), max(seen + start, begin)
    if not lines:
        end = _request_line(buffer, begin, seen, limits)
        if isinstance(end, Violation):
            return end
        if not end:
            return Resume(begin - start, len(buffer) - start, 0)
        line = seen = end
        lines = 1
    section = buffer.index(b"\n", begin) + 1
    bounds = Bounds(limits.field_line_bytes, limits.field_section_bytes, limits.fields)
    while True:
        end, violation = field_line(buffer, section, line, seen, lines - 1, bounds)
        if violation:
            return violation
        if not end:
            return Resume(line - start, len(buffer) - start, lines)
        if end - line == 2:
            break
        line = seen = end
        lines += 1
    request_line = parse_request_line(buffer[begin:section - 2])
    assert not isinstance(request_line, Violation)  # it was judged when it was complete
    method, target, path, query, minor, authority = request_line
    fields = buffer[section - 1:line]
    if authority is not None:
        fields = _replace_host(fields, authority, minor)
    return RequestHead(method, target, path, query, minor, fields, PERSISTENT), end


def _request_line(buffer: bytes, begin: int, seen: int, limits: Limits) -> int | Violation:
    """Judge the request line at ``begin``: where the next line starts, or 0 when it has no end."""
    if len(buffer) == begin:
        return 0
    if not _TCHAR(buffer, begin):
        if buffer[begin] != 0x0D:
            return _NOT_A_METHOD
        return _BARE_CR if len(buffer) > begin + 1 else 0
    newline = buffer.find(b"\n", seen)
    if longer(buffer, begin, newline, limits.request_line_bytes):
        spaces = buffer.count(b" ", begin, begin + limits.request_line_bytes)
        return _LONG_TARGET if spaces == 1 else _LONG_METHOD
    if newline < 0:
        return 0
    violation = _judge_line(buffer, begin, newline)
    if violation is None:
        parsed = parse_request_line(buffer[begin:newline - 1])
        violation = parsed if isinstance(parsed, Violation) else None
    return violation or newline + 1


class RequestLine(NamedTuple):
    """A request line (RFC 9112 s.3); the first five as in ``RequestHead``."""

    method: str
    target: bytes
    path: str
    query: str | None
    minor: int
    authority: bytes | None
    """Of a target in absolute-form; it replaces the value of Host (RFC 9112 s.3.2.2)."""


def parse_request_line(line: bytes) -> RequestLine | Violation:
    """Parse a request line without its CRLF."""
    match = _REQUEST_LINE(line)
    if match is None:
        return _REQUEST_LINE_FAULT
    octets, target, major, minor_digit = match.groups()
    if major != b"1":
        return _VERSION
    method = octets.decode("ascii")
    minor = 0 if minor_digit == b"0" else 1
    if method == "CONNECT":
        if not _AUTHORITY_FORM(target):
            return _CONNECT_TARGET
        return RequestLine(method, target, target.decode("ascii"), None, minor, None)
    if target == b"*" and method == "OPTIONS":
        return RequestLine(method, target, "*", None, minor, None)
    authority = None
    if match := _ORIGIN_FORM(target):
        raw_path, raw_query = match.groups()
    elif match := _ABSOLUTE_FORM(target):
        authority, raw_path, raw_query = match.groups()
        if raw_path is None:
            # An OPTIONS for no path at all is about the whole server (RFC 9112 s.3.2.4).
            raw_path = b"*" if method == "OPTIONS" and raw_query is None else b"/"
    else:
        return _TARGET
    path = decode_path(raw_path)
    if isinstance(path, Violation):
        return path
    query = None if raw_query is None else raw_query.decode("ascii")
    return RequestLine(method, target, path, query, minor, authority)


def decode_path(path: bytes) -> str | Violation:
    """Percent-decode a path, once, as UTF-8 (RFC 3986 s.2.1).

    An encoded slash becomes ``ENCODED_SLASH``.  Refused are broken escapes, and encoded NUL, CR
    and LF, which have no business in a path and much in attacks.
    """
    if _FORBIDDEN_ESCAPE(path):
        return _ESCAPE
    try:
        return ENCODED_SLASH.join(unquote_to_bytes(piece).decode() for piece in _SLASHES(path))
    except UnicodeDecodeError:
        return _NOT_UTF8


_HOST_LINES = re.compile(rb"(?i)\n(host):[^\n]*+\n")


def _replace_host(section: bytes, authority: bytes, minor: int) -> bytes:
    """Put ``authority`` in the place of the value of Host, so that handlers see one truth.

    A faulty Host, several, or none in HTTP/1.1 are left as they are: they must be found.
    """
    hosts = list(_HOST_LINES.finditer(section))
    if not hosts and not minor:
        return section + b"Host: " + authority + b"\r\n"
    if len(hosts) != 1 or not _HOST(section.lower()):
        return section
    return b"%b\n%b: %b\r\n%b" % (section[:hosts[0].start()], hosts[0][1], authority,
                                  section[hosts[0].end():])


def values(section: bytes, name: bytes) -> list[bytes]:
    """The values of the field lines called ``name`` (in lower case), in order, OWS removed."""
    found = []
    low = section.lower()
    at = low.find(b"\n" + name + b":")
    while at >= 0:
        begin = at + len(name) + 2
        end = section.index(b"\r", begin)
        found.append(section[begin:end].strip(b"\t "))
        at = low.find(b"\n" + name + b":", end)
    return found
