"""The house rules that tools can check."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def check(*command: str) -> None:
    """Run a tool as a Python module; what it complains of is the failure."""
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT,
                          capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(done.stdout + done.stderr, pytrace=False)


def test_ruff() -> None:
    check("ruff", "check", "--no-cache", "--output-format=concise", ".")


@pytest.mark.slow
def test_mypy() -> None:
    check("mypy", "--strict", "japronto")
