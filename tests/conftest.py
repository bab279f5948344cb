"""What all tests share: the backend under test."""

from __future__ import annotations

import pytest

from japronto.backend import VARIABLE, Backend, active

BACKENDS = ("pure",)
"""The backends that must be there.  One that is named here and cannot be had fails; nothing is skipped.
``conformance/test_backend.py`` fails when ``japronto.backend`` has one that is not named."""


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Backend:
    """Each backend in turn, chosen as a user chooses it."""
    monkeypatch.setenv(VARIABLE, request.param)
    return active()
