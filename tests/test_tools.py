"""What measures and what fuzzes says in one sentence why it cannot, ahead of all that takes time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command import ROOT, Done


def run(*command: object, **environment: str) -> Done:
    done = subprocess.run(list(map(str, command)), env={**os.environ, **environment}, text=True,
                          capture_output=True, timeout=60, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


FLOOR = (sys.executable, ROOT / "bench" / "floor.py")


def test_a_backend_that_there_is_none_of_is_not_measured() -> None:
    done = run(*FLOOR, "--backend", "fast", PYTHONPATH=str(ROOT))
    assert done == (1, "", "japronto: --backend must be auto, accel, pure or httptools; it is 'fast'\n")


def test_a_program_that_is_missing(tmp_path: Path) -> None:
    done = run(*FLOOR, PATH=str(tmp_path), PYTHONPATH=str(ROOT))
    assert (done.code, done.out) == (1, "")
    assert done.error.startswith("wrk and taskset and cc cannot be found; this needs Linux, ")
    assert done.error.count("\n") == 1


@pytest.mark.parametrize("seconds", ["0.5", "0", "x"])
def test_seconds_are_whole(seconds: str) -> None:
    done = run(*FLOOR, "--seconds", seconds)
    assert done.code == 2
    assert done.error.endswith(f"argument --seconds: must be a whole number above zero; it is '{seconds}'\n")


def test_an_interpreter_that_has_not_what_fuzzing_needs(tmp_path: Path) -> None:
    bare = tmp_path / "python"
    bare.write_text(f"#!/bin/sh\nexec {sys.executable} -S \"$@\"\n")
    bare.chmod(0o755)
    done = run("sh", ROOT / "tests" / "fuzz" / "run.sh", "lane", "1", tmp_path / "work", PYTHON=str(bare))
    assert (done.code, done.out) == (3, "")
    assert done.error == (f"{bare} lacks something (No module named 'multipart'); pip install -e . there, "
                          "or set PYTHON\n")
    assert not (tmp_path / "work").exists()
