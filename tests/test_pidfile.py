"""Who holds a pid file, when others come at the same time."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from japronto import pidfile
from japronto.errors import StartError

FORKS = """
import os, sys
from japronto.pidfile import pid_file

with pid_file(sys.argv[1]):
    if os.fork():
        os._exit(0)  # It leaves the file there, as one that is killed does.
    sys.stdin.read()
    os._exit(0)
"""


def test_of_two_that_start_together_one_holds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second comes when the first has seen that there is none."""
    file = tmp_path / "pid"
    lock = pidfile._lock
    with ExitStack() as second:
        def late(descriptor: int) -> bool:
            monkeypatch.setattr(pidfile, "_lock", lock)
            with monkeypatch.context() as other:
                other.setattr(os, "getpid", os.getppid)
                second.enter_context(pidfile.pid_file(str(file)))
            return lock(descriptor)

        monkeypatch.setattr(pidfile, "_lock", late)
        with (pytest.raises(StartError, match=f"the process {os.getppid()}, which runs, holds"),
              pidfile.pid_file(str(file))):
            pass
        assert file.read_text() == f"{os.getppid()}\n"


def test_who_held_it_may_just_have_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "pid"
    lock = pidfile._lock

    def late(descriptor: int) -> bool:
        monkeypatch.setattr(pidfile, "_lock", lock)
        file.unlink()
        return lock(descriptor)

    file.write_text("1234567\n")
    monkeypatch.setattr(pidfile, "_lock", late)
    with pidfile.pid_file(str(file)):
        assert file.read_text() == f"{os.getpid()}\n"
    assert not file.exists()


def test_a_longer_number_leaves_nothing(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    file.write_text("12345678901234567890\n")
    with pidfile.pid_file(str(file)):
        assert file.read_text() == f"{os.getpid()}\n"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """Another user might have put it there, and what it leads to would be written over."""
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "pid").symlink_to(tmp_path / "precious")
    with pytest.raises(StartError, match="cannot be written"), pidfile.pid_file(str(tmp_path / "pid")):
        pass
    assert (tmp_path / "precious").read_text() == "precious"


def test_a_child_that_was_left_behind_holds_it(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    with subprocess.Popen([sys.executable, "-c", FORKS, str(file)], stdin=subprocess.PIPE) as process:
        process.wait()
        said = f"a child that the process {process.pid} has left behind holds"
        with pytest.raises(StartError, match=said), pidfile.pid_file(str(file)):
            pass
        file.unlink()  # as the message says
        with pidfile.pid_file(str(file)):
            assert file.read_text() == f"{os.getpid()}\n"
