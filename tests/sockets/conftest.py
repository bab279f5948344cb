"""Server processes for the tests, on both event loops; a missing uvloop is a failure."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from .process import Server


class Start(Protocol):
    def __call__(self, *options: str, dev: bool = True) -> Server: ...


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: the full form of a test that also has a short form")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The long forms run when ``-m`` asks for them."""
    if "long" in config.option.markexpr:
        return
    long = [item for item in items if item.get_closest_marker("long")]
    config.hook.pytest_deselected(items=long)
    items[:] = [item for item in items if item not in long]


@pytest.fixture(scope="session", params=["uvloop", "asyncio"])
def loop(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def start(loop: str, tmp_path: Path) -> Iterator[Start]:
    """Starts servers with options of the test's own; each must exit with 0 and in silence."""
    with ExitStack() as stack:
        count = itertools.count()

        def started(*options: str, dev: bool = True) -> Server:
            directory = tmp_path / f"server-{next(count)}"
            directory.mkdir()
            server = Server(directory, loop, *options, dev=dev)
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
