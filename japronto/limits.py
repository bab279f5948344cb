"""Every bound of the server, with its unit in its name, its default, and the reason beside it.

A server that reads from strangers must be able to say, for every queue, buffer and wait, how
much and how long.  All bounds are on by default; each is an option of the command line
(``request_line_bytes`` is ``--request-line-bytes``), an environment variable
(``JAPRONTO_REQUEST_LINE_BYTES``) and a keyword of :class:`Limits` or :class:`Timeouts`.

A name that ends in ``_bytes`` counts octets, in ``_seconds`` seconds; the others count things.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

KIB = 1024
MIB = 1024 * KIB


def _bound(default: float, reason: str) -> Any:
    """A dataclass field whose reason the command line and the documentation can read."""
    return field(default=default, metadata={"reason": reason})


class _Bounds:
    """What Limits and Timeouts share: a value must be positive, and whole where things are counted."""

    def __post_init__(self) -> None:
        for bound in fields(self):  # type: ignore[arg-type]
            value = getattr(self, bound.name)
            kinds, words = (int, "whole number") if bound.type == "int" else ((int, float), "number")
            if isinstance(value, bool) or not isinstance(value, kinds) or not value > 0:
                raise ValueError(f"{bound.name} must be a positive {words}, not {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits(_Bounds):
    """How much a client may ask the server to hold or to do."""

    request_line_bytes: int = _bound(
        8 * KIB, "longest request line; RFC 9112 s.3 asks for at least 8,000")
    field_line_bytes: int = _bound(
        16 * KIB, "longest field line; room for an 8 KiB cookie and its name")
    field_section_bytes: int = _bound(
        64 * KIB, "longest header section; what one connection can make the server buffer")
    fields: int = _bound(
        100, "most field lines in a header section; every look-up walks them")
    empty_lines: int = _bound(
        8, "most empty lines ahead of a request line (RFC 9112 s.2.2); more is a flood")
    content_bytes: int = _bound(
        16 * MIB, "largest content of a request, unless its route says otherwise; "
        "it is held in memory until the handler has it")
    form_fields: int = _bound(
        1000, "most fields and files of a form; each costs far more than its octets")
    chunk_line_bytes: int = _bound(
        1 * KIB, "longest chunk-size line with its extensions")
    chunk_extension_bytes: int = _bound(
        16 * KIB, "most octets of chunk extensions in one message; they buy nothing and cost reads")
    trailer_section_bytes: int = _bound(
        8 * KIB, "longest trailer section")
    trailer_fields: int = _bound(
        32, "most field lines in a trailer section")
    pipelined_requests: int = _bound(
        128, "most requests of one connection that are started and not yet answered")
    unsent_bytes: int = _bound(
        1 * MIB, "most octets of finished answers that wait to leave before reading pauses")
    content_buffer_bytes: int = _bound(
        256 * KIB, "most octets of streamed content that wait for the handler before reading pauses")
    unread_content_bytes: int = _bound(
        256 * KIB, "most octets of content, unread by its handler, that are thrown away "
        "to keep the connection")
    linger_bytes: int = _bound(
        1 * MIB, "most octets that are read and thrown away after the last answer, "
        "so that a reset does not destroy it (RFC 9112 s.9.6)")
    connections: int = _bound(
        10_000, "most connections of a worker; at that, those that have been idle for longest are closed, "
        "and where none is idle, none is accepted")
    connections_per_client: int = _bound(
        5000, "most connections of a worker from one IPv4 address or IPv6 /64; more are closed as they "
        "come, but for those of a proxy in front")
    requests_in_flight: int = _bound(
        10_000, "most requests of a worker whose handlers or streams wait for something; "
        "then 503 with Retry-After")
    proxy_header_bytes: int = _bound(
        4 * KIB, "longest header of the PROXY protocol with what a balancer adds, such as a certificate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts(_Bounds):
    """How long a client may make the server wait; all looked at by one coarse timer."""

    idle_seconds: float = _bound(
        75, "between requests; longer than the 60 s that balancers in front use, "
        "or they send into a closing connection")
    handshake_seconds: float = _bound(
        10, "for the TLS handshake, from the start of the connection; it holds memory for nobody known yet")
    head_seconds: float = _bound(
        30, "from the first octet of a request to the end of its header section; then 408")
    content_seconds: float = _bound(
        30, "between two pieces of content; then 408")
    content_bytes_per_second: float = _bound(
        240, "least rate of content, looked at after content_seconds; then 408")
    send_seconds: float = _bound(
        60, "in which a client must take something of what it is sent; then it is cut")
    half_close_seconds: float = _bound(
        30, "in which answers to a client that has closed its side must make progress; mostly it is "
        "gone, and nobody waits for them")
    linger_seconds: float = _bound(
        2, "for the client to see the last answer and close, after the server half-closed")
    retire_seconds: float = _bound(
        10, "for idle clients of a worker that is replaced to ask once more, and learn by the answer that "
        "it closes; then they are closed")
    drain_seconds: float = _bound(
        30, "for the requests in flight to finish once the server was told to stop")
    arrival_seconds: float = _bound(
        1, "for the first request of a connection, since it was opened, once the server was told to stop; "
        "a client that has just connected is sending it")
    check_seconds: float = _bound(
        1, "between two looks at all connections; a time limit may strike two of them late")
