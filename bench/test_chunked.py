"""Content in chunks: 64 KB in large ones and in small ones, at once, head included.

Every backend has the decoder of the reference; what differs between their rows is the head.
"""

from __future__ import annotations

import pytest

from bench.conftest import Measure
from bench.octets import chunked
from bench.peers import PEERS
from japronto.backend import Backend
from japronto.limits import Limits
from japronto.messages import Body, EndOfMessage
from japronto.pure.chunked import encode_chunk

CONTENT = bytes(range(256)) * 256
SIZES = {"16 chunks of 4 KB": 4096, "1,024 chunks of 64 octets": 64}


def table(kind: str) -> str:
    return f"chunked: {kind}"


@pytest.mark.parametrize("kind", SIZES)
def test_decode(kind: str, backend: Backend, measure: Measure) -> None:
    parser = backend.parser(Limits(), lambda head: len(CONTENT))
    head, *events = measure(table(kind), str(backend), parser.feed, chunked(b"/echo", CONTENT, SIZES[kind]))
    assert (head.target, events) == (b"/echo", [Body(CONTENT), EndOfMessage()])


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("kind", SIZES)
def test_peer(kind: str, peer: str, measure: Measure) -> None:
    parse = PEERS[peer]()
    assert measure(table(kind), peer, parse, chunked(b"/echo", CONTENT, SIZES[kind])) == [b"/echo"]


@pytest.mark.parametrize("octets", [64, 4096])
def test_encode(octets: int, measure: Measure) -> None:
    chunk = measure(f"chunked: to encode a chunk of {octets} octets", "pure", encode_chunk, CONTENT[:octets])
    assert chunk == b"%x\r\n%b\r\n" % (octets, CONTENT[:octets])
