"""Server processes for the tests, on both event loops; a missing uvloop is a failure."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from .process import ADDRESSES, PROGRAMS, Server, found


class Start(Protocol):
    def __call__(self, *options: str, dev: bool = True, ready: bool = True, hold: bool = False,
                 before: Sequence[str] = (), passed: Sequence[int] | None = None,
                 environment: Mapping[str, str] | None = None) -> Server: ...


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "plain: says nothing over TLS, since its clients know no certificate")
    config.addinivalue_line("markers", "program(name): needs a program that not every machine has")


def pytest_report_header() -> str:
    missing = [name for name in PROGRAMS if found(name) is None]
    missing += [] if "::1" in ADDRESSES else ["IPv6"]
    return f"left out, since this machine does not have it: {', '.join(missing) or 'nothing'}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The long forms run when ``-m`` asks for them; those that need a program, where it is installed.

    Such programs try the server from outside, with what others wrote.  Nothing is tested by them
    alone: a machine without them tries the same with the tests' own client and ``http.client``.
    """
    left_out = [item for item in items if not _runs(item, config)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def _runs(item: pytest.Item, config: pytest.Config) -> bool:
    if item.get_closest_marker("long") and "long" not in config.option.markexpr:
        return False
    if item.get_closest_marker("plain") and "tls" in item.callspec.params.get("loop", ""):  # type: ignore[attr-defined]
        return False
    return all(found(marker.args[0]) for marker in item.iter_markers("program"))


@pytest.fixture(scope="session", params=[
    "uvloop", "asyncio",
    # What is true of a connection is true over TLS; test_tls.py has the short form.
    pytest.param("uvloop tls", marks=pytest.mark.long), pytest.param("asyncio tls", marks=pytest.mark.long)])
def loop(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def start(loop: str, tmp_path: Path) -> Iterator[Start]:
    """Starts servers with options of the test's own; each must exit with 0 and in silence."""
    with ExitStack() as stack:
        count = itertools.count()

        def started(*options: str, **how: Any) -> Server:
            directory = tmp_path / f"server-{next(count)}"
            directory.mkdir()
            server = Server(directory, loop, *options, **how)
            stack.callback(server.stop)
            return server

        yield started


@pytest.fixture(scope="module")
def shared(loop: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"), loop, "--check-seconds", "0.1")
    yield server
    server.stop()


@pytest.fixture
def server(shared: Server) -> Iterator[Server]:
    """A server with the default bounds, shared by the tests of one file."""
    before = len(shared.complaints())
    yield shared
    assert shared.running(), shared.complaints()
    assert shared.complaints()[before:] == ""
