"""Octets to events: small heads, a browser's, and a POST whose content has come with it."""

from __future__ import annotations

import pytest

from bench.conftest import Measure
from bench.octets import BROWSER, SMALL, post
from bench.peers import PEERS
from japronto.backend import Backend
from japronto.limits import Limits

REQUESTS = {"heads of 40 octets": SMALL, "heads of 751 octets": BROWSER,
            "POSTs of 1 KB": post(b"/echo", b"a" * 1024)}


def table(kind: str, depth: int) -> str:
    return f"parser: {kind}, {depth} at once"


@pytest.mark.parametrize("kind", REQUESTS)
def test_parse(kind: str, depth: int, backend: Backend, measure: Measure) -> None:
    octets = REQUESTS[kind] * depth
    parser = backend.parser(Limits(), lambda head: 1024)
    heads = measure(table(kind, depth), str(backend), parser.feed, octets)
    assert [(head.target, head.complete) for head in heads] == [(REQUESTS[kind].split(b" ")[1], True)] * depth


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("kind", REQUESTS)
def test_peer(kind: str, depth: int, peer: str, measure: Measure) -> None:
    targets = measure(table(kind, depth), peer, PEERS[peer](), REQUESTS[kind] * depth)
    assert targets == [REQUESTS[kind].split(b" ")[1]] * depth
