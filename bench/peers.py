"""Parsers of others, driven as their documentation says and called back in C where they can be.

Each parser is given the octets of requests that came at once, and returns the targets of those that are
complete.  What stands in a head is made into objects of Python by all of them, as by ``interfaces.Parser``.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

Parse = Callable[[bytes], list[bytes]]
ANSWER = ((b"Content-Type", b"text/plain; charset=utf-8"), (b"Content-Length", b"12"),
          (b"Date", b"Sun, 06 Nov 1994 08:49:37 GMT"))


def imported(module: str, package: str) -> Any:
    """A peer that may not be there; then the row is left out, and says so."""
    return pytest.importorskip(
        module, reason=f"{package} is not installed, so it has no row; pip install -e '.[bench]' installs it")


def by_h11() -> Parse:
    """A connection of its own for each request: one that goes on must send the answer first."""
    h11 = imported("h11", "h11")

    def parse(octets: bytes) -> list[bytes]:
        targets = []
        while octets:
            connection = h11.Connection(h11.SERVER)
            connection.receive_data(octets)
            targets.append(connection.next_event().target)
            while type(connection.next_event()) is not h11.EndOfMessage:
                pass
            octets, _ = connection.trailing_data
        return targets

    return parse


def answered_by_h11() -> Callable[[bytes], bytes]:
    """One connection that answers what it is asked; returns the octets to send."""
    h11 = imported("h11", "h11")
    connection = h11.Connection(h11.SERVER)

    def answer(octets: bytes) -> bytes:
        connection.receive_data(octets)
        sent = []
        while connection.next_event() is not h11.NEED_DATA:
            while type(connection.next_event()) is not h11.EndOfMessage:
                pass
            sent += [connection.send(h11.Response(status_code=200, reason=b"OK", headers=ANSWER)),
                     connection.send(h11.Data(b"Hello world!")), connection.send(h11.EndOfMessage())]
            connection.start_next_cycle()
        return b"".join(sent)

    return answer


def by_httptools() -> Parse:
    """llhttp as it is: fields in a dict, since a list of them would take a call of Python for each."""
    httptools = imported("httptools", "httptools")
    targets: list[bytes] = []
    fields: dict[bytes, bytes] = {}
    content: list[bytes] = []
    parser = httptools.HttpRequestParser(SimpleNamespace(
        on_url=targets.append, on_header=fields.__setitem__, on_body=content.append))

    def parse(octets: bytes) -> list[bytes]:
        targets.clear()
        content.clear()
        parser.feed_data(octets)
        return targets

    return parse


def by_gunicorn_h1c() -> Parse:
    """picohttpparser as gunicorn's workers for asyncio call it; what is behind a message is fed anew."""
    h1c = imported("gunicorn_h1c", "gunicorn-h1c")
    content: list[bytes] = []
    parser = h1c.H1CProtocol(on_body=content.append, limit_remaining=0)

    def parse(octets: bytes) -> list[bytes]:
        targets = []
        content.clear()
        while octets:
            parser.feed(octets)
            if not parser.is_complete:
                break
            targets.append(parser.path)
            _ = parser.method, parser.headers
            octets = parser.remaining()
            parser.reset()
        return targets

    return parse


def heads_by_gunicorn_h1c() -> Parse:
    """picohttpparser, one head in each call, and what stands in it."""
    h1c = imported("gunicorn_h1c", "gunicorn-h1c")

    def parse(octets: bytes) -> list[bytes]:
        targets = []
        while octets:
            head = h1c.parse_request_fast(octets)
            targets.append(head.path)
            _ = head.method, head.headers
            octets = octets[head.consumed:]
        return targets

    return parse


PEERS: dict[str, Callable[[], Parse]] = {
    "h11": by_h11, "httptools alone": by_httptools, "gunicorn-h1c": by_gunicorn_h1c}
