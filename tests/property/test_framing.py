"""Where a message ends, and what it says: the same to us as to h11 and to llhttp.

What smuggles a request past somebody is a message that two parsers read differently.  So wherever
one of the others takes a message that we take, too, all of it must be the same; and wherever only
one of us takes it, the table in ``oracles.py`` must name the rule.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import given

from japronto.backend import Backend
from japronto.limits import Limits

from . import strategies
from .oracles import EXPLAINED, READERS, Difference, Explanation, by_japronto, differences, unexplained

NEXT = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"
PLAIN = (
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: a\r\n\r\n5;a=b\r\nhello\r\n0\r\nx: y\r\n\r\n")
OCTETS = b"\0\t\n\x0b\r \"#%,/0:;=@\\_a\x7f\x80"


def all_differences(backend: Backend, octets: bytes) -> list[Difference]:
    ours = by_japronto(backend.parser(Limits(), None), octets)
    return [difference for name, read in READERS.items()
            for difference in differences(name, octets, ours, read(octets))]


def disagreements(backend: Backend, octets: bytes) -> list[Difference]:
    return unexplained(all_differences(backend, octets))


@pytest.mark.parametrize("known", EXPLAINED, ids=lambda known: f"{known.rule}-{known.takes}")
def test_an_explanation_is_needed(known: Explanation, backend: Backend) -> None:
    """Each difference that is known is there: we are as strict as we say, and the others still are not."""
    found = all_differences(backend, known.example + NEXT)
    assert any(known.explains(difference) for difference in found), found
    assert unexplained(found) == []


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_the_others_read_what_is_valid(reader: object) -> None:
    """Else they would be of no use here."""
    for octets in PLAIN:
        read = reader(octets + NEXT)
        assert [message.end for message in read.messages] == [len(octets), len(octets + NEXT)]
        assert read.messages[0].content == (b"hello" if b"hello" in octets else b"")


@given(octets=strategies.OCTETS)
def test_all_read_the_same(octets: bytes, backend: Backend) -> None:
    assert disagreements(backend, octets) == []


@pytest.mark.parametrize("octets", PLAIN, ids=range(len(PLAIN)))
@pytest.mark.parametrize("line", strategies.DUBIOUS_LINES)
def test_a_dubious_line(octets: bytes, line: bytes, backend: Backend) -> None:
    """A line that one parser may take for what it is not, at every place where a line may stand."""
    for found in re.finditer(rb"\r\n", octets):
        put = octets[:found.end()] + line + b"\r\n" + octets[found.end():]
        assert disagreements(backend, put + NEXT) == []


@pytest.mark.parametrize("octets", PLAIN, ids=range(len(PLAIN)))
@pytest.mark.parametrize("line", strategies.DUBIOUS_REQUEST_LINES)
def test_a_dubious_request_line(octets: bytes, line: bytes, backend: Backend) -> None:
    assert disagreements(backend, line + octets[octets.index(b"\r\n"):] + NEXT) == []


@pytest.mark.parametrize("octets", PLAIN, ids=range(len(PLAIN)))
def test_an_octet_more_or_another(octets: bytes, backend: Backend) -> None:
    """Octets of each kind, ahead of each and instead of each."""
    for place in range(len(octets)):
        for octet in OCTETS:
            for behind in (octets[place:], octets[place + 1:]):
                put = octets[:place] + bytes((octet,)) + behind + NEXT
                assert disagreements(backend, put) == [], put
