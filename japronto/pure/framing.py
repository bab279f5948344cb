"""How long the content is, and whether the connection goes on: RFC 9112 s.6 and s.9.

Every decision that request smuggling turns on is in this one file, and it is made from the header
section alone, before any handler runs.  The rule behind all of them: where two parsers could
disagree about where a message ends, the message is refused and the connection closed.

Stricter than the RFC asks: Transfer-Encoding together with Content-Length, several equal
Content-Length values, and Transfer-Encoding in HTTP/1.0 are refused, though s.6.1 and s.6.3 would
let a server repair them.  No honest client sends them; some go-between may read them otherwise.
"""

from __future__ import annotations

import re

from japronto.messages import CHUNKED, Framing, RequestHead, Seen, Violation
from japronto.pure.grammar import QUOTED_STRING, TOKEN, values

LENGTH_MAX = 2**63 - 1
"""The largest length that is not taken for an overflow: what fits a signed 64-bit integer."""

_NO_HOST = Violation(400, "An HTTP/1.1 request must carry a Host field.")
_HOST_FAULT = Violation(400, "There must be one Host field, with a host and an optional port.")
_LENGTH_FAULT = Violation(400, "Content-Length must be one decimal number.")
_LENGTH_OVERFLOW = Violation(400, "Content-Length is too large to be a length.")
_BOTH = Violation(400, "Transfer-Encoding and Content-Length exclude each other.")
_OLD_CODING = Violation(400, "HTTP/1.0 has no Transfer-Encoding.")
_CODING_FAULT = Violation(400, "Transfer-Encoding must be chunked, once, and last.")
_CODING_UNKNOWN = Violation(501, "No transfer coding but chunked is understood here.")
_CONNECTION_FAULT = Violation(400, "Connection must be a list of tokens.")
_EXPECTATION = Violation(417, "The only expectation that can be met is 100-continue.")
_CONNECT_CONTENT = Violation(400, "CONNECT has no content.")

# Content-Length = 1*DIGIT                                                 (RFC 9110 s.8.6)
_DIGITS = re.compile(rb"[0-9]++").fullmatch
# #element = [ element ] *( OWS "," OWS [ element ] )                      (RFC 9110 s.5.6.1.2)
# Connection = #connection-option; connection-option = token               (RFC 9110 s.7.6.1)
_OPTIONS = re.compile(rb"[\t ,]*+(?:%b(?:[\t ]*+,[\t ,]*+|\Z))*+" % TOKEN).fullmatch
# Transfer-Encoding = #transfer-coding                                     (RFC 9112 s.6.1)
# transfer-coding = token *( OWS ";" OWS token BWS "=" BWS ( token / quoted-string ) )
_CODINGS = re.compile(
    rb"[\t ,]*+(?:%(token)b(?:[\t ]*+;[\t ]*+%(token)b[\t ]*+=[\t ]*+(?:%(token)b|%(quoted)b))*+"
    rb"(?:[\t ]*+,[\t ,]*+|\Z))*+" % {b"token": TOKEN, b"quoted": QUOTED_STRING}).fullmatch
# What stands between the commas of a list that has been found well-formed.
_ELEMENTS = re.compile(rb"(?:[^,\"]++|%b)++" % QUOTED_STRING).findall


def frame(head: RequestHead, seen: int) -> Framing | Violation:
    """Judge a head: the framing of its message, or what is wrong with it.

    ``seen``  the flags that the scanner raised for it
    """
    if seen & Seen.HOST_FAULT:
        return _HOST_FAULT                                                # RFC 9112 s.3.2
    if head.minor and not seen & Seen.HOST:
        return _NO_HOST                                                   # RFC 9112 s.3.2
    length = content_length(head.section, seen, head.minor)
    if isinstance(length, Violation):
        return length
    options: frozenset[bytes] | Violation = frozenset()
    if seen & Seen.CONNECTION or not head.minor:  # "keep-alive" alone means something in HTTP/1.0
        options = connection_options(head.section)
    if isinstance(options, Violation):
        return options
    expect_continue = False
    if seen & Seen.EXPECT and head.minor:                                 # RFC 9110 s.10.1.1
        expectations = values(head.section, b"expect")
        if [value.lower() for value in expectations] != [b"100-continue"]:
            return _EXPECTATION
        expect_continue = bool(length)
    upgrade = False
    if head.method == "CONNECT":
        if length is not None:
            return _CONNECT_CONTENT
        upgrade = True
    elif seen & Seen.UPGRADE and head.minor and length is None:
        # RFC 9110 s.7.8.  With content the Upgrade is ignored, as any may be: the client would
        # have to send content in one protocol while the server answers in the other.
        upgrade = b"upgrade" in options
    return Framing(length, persists(head.minor, options), expect_continue, upgrade)


def content_length(section: bytes, seen: int, minor: int) -> int | Violation | None:
    """The length of the content: octets, ``CHUNKED``, or ``None`` (RFC 9112 s.6.3)."""
    if seen & Seen.TRANSFER_ENCODING:
        if seen & Seen.CONTENT_LENGTH:
            return _BOTH
        return transfer_coding(section) if minor else _OLD_CODING
    if not seen & Seen.CONTENT_LENGTH:
        return None
    lengths = values(section, b"content-length")
    if len(lengths) != 1 or not _DIGITS(lengths[0]):
        return _LENGTH_FAULT
    # Counted before it is converted: converting thousands of digits is slow, and int() refuses.
    digits = lengths[0].lstrip(b"0")
    if len(digits) > 19 or int(digits or b"0") > LENGTH_MAX:
        return _LENGTH_OVERFLOW
    return int(digits or b"0")


def transfer_coding(section: bytes) -> int | Violation:
    """``CHUNKED``, if that is the one transfer coding; several lines count as one list."""
    joined = b",".join(values(section, b"transfer-encoding"))
    if not _CODINGS(joined):
        return _CODING_FAULT
    codings = [element.strip(b"\t ").lower() for element in _ELEMENTS(joined)]
    codings = [coding for coding in codings if coding]
    if codings == [b"chunked"]:
        return CHUNKED
    names = [coding.split(b";")[0].rstrip(b"\t ") for coding in codings]
    if not codings or codings[-1] != b"chunked" or b"chunked" in names[:-1]:
        return _CODING_FAULT
    return _CODING_UNKNOWN


def connection_options(section: bytes) -> frozenset[bytes] | Violation:
    """The options of all Connection lines, in lower case (RFC 9110 s.7.6.1)."""
    joined = b",".join(values(section, b"connection"))
    if not _OPTIONS(joined):
        return _CONNECTION_FAULT
    return frozenset(option.strip(b"\t ").lower() for option in joined.split(b","))


def persists(minor: int, options: frozenset[bytes]) -> bool:
    """Whether the connection goes on after the answer (RFC 9112 s.9.3); close wins."""
    if b"close" in options:
        return False
    return bool(minor) or b"keep-alive" in options
