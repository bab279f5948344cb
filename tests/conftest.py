"""What all tests share: the backend under test."""

from __future__ import annotations

import os
import platform

import pytest

# Some tests compare octets of JSON; test_encoders.py is about all encoders.
os.environ.setdefault("JAPRONTO_JSON", "stdlib")

from japronto.backend import SIMD_VARIABLE, VARIABLE, Backend, active

LEVELS = ("scalar", "sse4.2", "avx2") if platform.machine() == "x86_64" else ("scalar",)
"""The instruction sets that there must be a scanner for."""

BACKENDS = {"pure": ("pure", "auto"), "httptools": ("httptools", "auto")} | {
    f"accel-{level}": ("accel", level) for level in LEVELS}
"""The backends that must be there, and what chooses them.  One that is named here and cannot be had
fails; nothing is skipped.  ``conformance/test_backend.py`` fails when ``japronto.backend`` has one
that is not named."""


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Backend:
    """Each backend in turn, chosen as a user chooses it."""
    name, simd = BACKENDS[request.param]
    monkeypatch.setenv(VARIABLE, name)
    monkeypatch.setenv(SIMD_VARIABLE, simd)
    return active()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Coverage is what the tests of the reference reach, and those alone pay for the measuring."""
    for item in items:
        backend = getattr(item, "callspec", None) and item.callspec.params.get("backend", "pure")
        if backend not in (None, "pure"):
            item.add_marker("no_cover")
