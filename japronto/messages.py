"""The values that cross the seams: what a parser says about the octets it was fed.

A parser turns octets into *events*, in order:

* :class:`RequestHead`, once a request line and a header section are complete.  When nothing of
  the message is outstanding (``complete`` is true), it stands for the whole message, and no
  :class:`EndOfMessage` follows: either the request has no content, or all of it had arrived
  and is in ``content``.
* :class:`Body`, a piece of content.  How content is cut into pieces carries no meaning.
* :class:`EndOfMessage`, with the trailer section.
* :class:`Violation`, at most one and always last: what follows it on the connection is not HTTP.

They hold octets as received; decoding is left to whoever asks.
"""

from __future__ import annotations

import enum
from typing import Any, Final, NamedTuple, TypeAlias

CHUNKED: Final = -1
"""The value of :attr:`Framing.length` for content in chunks (RFC 9112 s.7.1)."""


class Seen:
    """Flags, to be added up: which of the fields that govern a connection stand in a header section.

    A scanner reports them so that a head without any (beyond one well-formed Host) need not be
    looked at again, and so that all others are judged in one place, ``pure/framing.py``.
    Plain integers: with an IntFlag, judging a head took 13 us instead of 4.
    """

    HOST: Final = 1
    """Exactly one Host line, and its value is ``uri-host [ ":" port ]`` (RFC 9112 s.3.2)."""
    HOST_FAULT: Final = 2
    """Several Host lines, or one whose value is malformed."""
    CONTENT_LENGTH: Final = 4
    TRANSFER_ENCODING: Final = 8
    CONNECTION: Final = 16
    """A Connection line that says anything but ``keep-alive``, which changes nothing in HTTP/1.1."""
    EXPECT: Final = 32
    UPGRADE: Final = 64


class Framing(NamedTuple):
    """What the head of a request says about the octets that follow it."""

    length: int | None
    """Octets of content; ``CHUNKED``; ``None`` when there is no content (RFC 9112 s.6.3)."""
    persistent: bool
    """Whether the client lets the connection go on after the answer (RFC 9112 s.9.3)."""
    expect_continue: bool = False
    """Whether the client waits for ``100 Continue`` before it sends content (RFC 9110 s.10.1.1)."""
    upgrade: bool = False
    """Whether what follows may be another protocol: an Upgrade that Connection names, or CONNECT."""


PERSISTENT: Final = Framing(None, True)
"""The framing of nearly every request: HTTP/1.1, no content, nothing special."""


class RequestHead:
    """A request line and a header section, validated (RFC 9112 s.2.1).

    ``method``   the method, case-sensitive
    ``target``   the request-target as received
    ``path``     the percent-decoded path; an encoded slash is U+DC2F (see ``ENCODED_SLASH``).
                 ``*`` for asterisk-form, the authority for CONNECT
    ``query``    what follows the first ``?``, undecoded, or ``None``
    ``minor``    1 for HTTP/1.1 and higher minor versions, 0 for HTTP/1.0
    ``section``  LF, then the field lines as received, each with its CRLF: every name follows
                 an LF, so that ``b"\\nhost:" in section.lower()`` finds names and nothing else
    ``framing``  see :class:`Framing`
    ``content``  the whole content if it had arrived with the head, else ``None``
    ``complete`` whether the message ends here
    ``route``    room for the application to remember what it routed the head to; ``None`` from a parser
    """

    __slots__ = ("complete", "content", "framing", "method", "minor", "path", "query", "route", "section",
                 "target")

    def __init__(self, method: str, target: bytes, path: str, query: str | None,
                 minor: int, section: bytes, framing: Framing) -> None:
        self.method = method
        self.target = target
        self.path = path
        self.query = query
        self.minor = minor
        self.section = section
        self.framing = framing
        self.content: bytes | None = None
        self.complete = True
        self.route: Any = None

    def __repr__(self) -> str:
        return f"<RequestHead {self.method} {self.target!r} HTTP/1.{self.minor} {self.framing}>"


ENCODED_SLASH: Final = "\udc2f"
"""Stands in ``RequestHead.path`` for ``%2F``, so that an encoded slash never separates segments.

It is what ``surrogateescape`` makes of the octet 0x2F.  Paths are decoded strictly, so it cannot
come from anything else.  Routing splits at ``/`` and then turns it back.
"""


class Body(NamedTuple):
    """A piece of content, in the order received, chunked coding removed; never empty."""

    data: bytes


class EndOfMessage(NamedTuple):
    """The end of a message whose head was not ``complete``."""

    trailers: bytes = b""
    """Trailer fields in the form of ``RequestHead.section`` (RFC 9112 s.7.1.2), those that frame,
    route or authenticate dropped (RFC 9110 s.6.5.1); empty when there are none."""


class Violation(NamedTuple):
    """The message breaks a rule: answer the good requests ahead of it, then this, then close."""

    status: int
    """The status code of the answer, 4xx or 5xx."""
    reason: str
    """One short sentence that names the fault; it repeats nothing of the request."""
    method: str | None = None
    """The method, if the head was well-formed and only what it says is at fault; as with what follows."""
    target: bytes | None = None
    """The request-target as received."""
    minor: int = 1
    """1 for HTTP/1.1 and higher minor versions, 0 for HTTP/1.0."""


class Expects(enum.Enum):
    """What a parser's next octet would belong to; decides which time limit runs."""

    REQUEST = "the first octet of a request"
    HEAD = "the rest of a request line and header section that has begun"
    CONTENT = "content, or the trailers behind it"
    DECISION = "nothing, until resume() or detach() says whose the octets are"
    NOTHING = "nothing any more: the last request has been seen, or a violation"


Event: TypeAlias = RequestHead | Body | EndOfMessage | Violation
