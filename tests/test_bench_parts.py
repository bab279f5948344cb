"""The benchmarks of parts, and that of writes, give what they time; how long it takes is no matter here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_each_benchmark_runs_once() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--benchmark-disable", "bench"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "gunicorn-h1c is not installed" in done.stdout or "skipped" not in done.stdout


@pytest.mark.slow
def test_writes_are_weighed() -> None:
    """Answers ahead of a handler that waits leave without it, and those behind it with its own."""
    if not hasattr(os, "sched_getaffinity") or not {0, 1} <= os.sched_getaffinity(0):
        pytest.skip("this needs Linux, and processors 0 and 1")
    done = subprocess.run([sys.executable, ROOT / "bench" / "writes.py", "--seconds", "0.05"],
                          cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = dict(re.findall(r"(?m)^(the first|the 13th) +1 ms +(\d+) ", done.stdout))
    assert rows == {"the first": "1", "the 13th": "2"}
