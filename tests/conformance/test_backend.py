"""Which backend these tests run on."""

from __future__ import annotations

import sys
from types import FrameType

from conftest import BACKENDS

from japronto.backend import Backend, every
from japronto.limits import Limits

from .host import Host

SCANNERS = {"pure": "japronto.pure.grammar", "accel": "japronto.accel.scanner",
            "httptools": "japronto.accel.llhttp"}
"""The module whose ``scan`` finds the heads of requests."""


def test_all_backends_are_tested() -> None:
    known = {each.name if each.simd == "none" else f"{each.name}-{each.simd}" for each in every()}
    assert known == set(BACKENDS)


def test_the_backend_under_test_is_what_runs(backend: Backend) -> None:
    """Its scanner sees the request, and no other one does."""
    scanners: set[str] = set()

    def called(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code.co_name == "scan":
            scanners.add(frame.f_globals["__name__"])

    host = Host(backend, Limits())
    sys.setprofile(called)
    try:
        host.client_sends(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
    finally:
        sys.setprofile(None)
    assert host.take_what_left().endswith(b"\r\n\r\nhello")
    assert scanners == {SCANNERS[backend.name]}
