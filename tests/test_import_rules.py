"""Who may import whom: the section of that name in docs/architecture.md, read from the syntax trees.

An import inside a function counts like one at the top; one under ``if TYPE_CHECKING:`` does not,
since it never happens.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "japronto"

FOUNDATION = {"japronto.messages", "japronto.errors", "japronto.limits", "japronto.interfaces"}

OUTSIDE = {"asyncio", "concurrent", "logging", "multiprocessing", "os", "select", "selectors", "signal",
           "socket", "socketserver", "ssl", "subprocess", "threading", "time", "uvloop"}
"""What the sans-I/O part must not know: I/O, the clock, logging."""

HIDING = {"importlib", "runpy"}
"""What could import without this test seeing it."""

LOOPS = {"asyncio", "multiprocessing", "select", "selectors", "signal", "socket", "socketserver", "ssl",
         "subprocess", "uvloop"}
"""The event loop, sockets and processes."""

RING = {"japronto.protocol", "japronto.server", "japronto.supervisor", "japronto.reloader", "japronto.cli",
        "japronto.admission", "japronto.listening", "japronto.systemd", "japronto.worker",
        "japronto.signals",
        # The same ring: how a coroutine handler is driven, the client without a socket, and a
        # program like a user's own, whose handlers may sleep.
        "japronto.tasks", "japronto.testing", "japronto.demo",
        # And how a connection begins that a proxy hands on; and what asks whether a pipe takes a line.
        "japronto.preamble", "japronto.logs",
        # And TLS, by which it may.
        "japronto.tls", "japronto.tls_protocol"}


def modules() -> dict[str, Path]:
    """The modules of the package, by name."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(source: str, name: str, known: set[str], *, package: bool = False) -> set[str]:
    """The modules that ``source``, the module ``name``, imports, wherever it does.

    ``from a import b`` is an import of ``a.b`` when that is a module, and of ``a`` when it is not.
    """
    names: set[str] = set()
    for node in executed(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = name.split(".") if package else name.split(".")[:-1]
                parents = parents[:len(parents) - node.level + 1]
                base = ".".join([*parents, *filter(None, [node.module])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                names.add(inner if inner in known else base)
    return names


def executed(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only a type checker looks at."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            for other in child.orelse:
                yield other
                yield from executed(other)
            continue
        yield child
        yield from executed(child)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def faults(name: str, imports: set[str]) -> list[str]:
    """What is wrong with these imports of the module ``name``, one line each."""
    return sorted(f"{name} imports {other}: {rule}" for other in imports if (rule := broken(name, other)))


def broken(name: str, other: str) -> str | None:
    """The rule that the import of ``other`` breaks."""
    top = other.partition(".")[0]
    ours = top == "japronto"
    if name in FOUNDATION and ours and other not in FOUNDATION:
        return "messages, errors, limits and interfaces import nothing above them"
    if within(name, "japronto.pure"):
        if top in OUTSIDE | HIDING or (not ours and top not in sys.stdlib_module_names):
            return "pure is the standard library without I/O, clock and logging"
        if ours and other not in FOUNDATION and not within(other, "japronto.pure"):
            return "pure imports messages, errors, limits, interfaces and itself"
    if within(name, "japronto.accel"):
        if ours and other not in FOUNDATION and not within(other, "japronto.accel"):
            return "accel imports messages, errors, limits, interfaces and its compiled modules"
    elif within(other, "japronto.accel") and name != "japronto.backend":
        return "backend alone chooses between pure and accel"
    if top in LOOPS and name not in RING:
        return "the event loop, sockets and processes belong to the outermost ring"
    return None


MODULES = modules()


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports(name: str) -> None:
    path = MODULES[name]
    source = path.read_text(encoding="utf-8")
    assert faults(name, imported(source, name, set(MODULES), package=path.name == "__init__.py")) == []


def test_the_package_was_read() -> None:
    assert FOUNDATION | {"japronto", "japronto.pure.framing", "japronto.backend"} <= set(MODULES)
    source = MODULES["japronto.backend"].read_text(encoding="utf-8")
    assert any(within(other, "japronto.pure") for other in imported(source, "japronto.backend", set(MODULES)))


KNOWN = FOUNDATION | {"japronto", "japronto.app", "japronto.backend", "japronto.pure", "japronto.pure.parser",
                      "japronto.accel", "japronto.accel.parser"}


@pytest.mark.parametrize(("name", "source"), [
    ("japronto.limits", "import japronto.app"),
    ("japronto.limits", "from japronto import Application"),
    ("japronto.errors", "from . import app"),
    ("japronto.messages", "def f():\n    from japronto.pure import parser"),
    ("japronto.interfaces", "if TYPE_CHECKING:\n    x = 1\nelse:\n    import japronto.app"),
    ("japronto.pure.parser", "import asyncio"),
    ("japronto.pure.parser", "import os.path"),
    ("japronto.pure.parser", "from time import monotonic"),
    ("japronto.pure.parser", "def f():\n    if True:\n        import logging"),
    ("japronto.pure.parser", "async def f():\n    from concurrent.futures import Future"),
    ("japronto.pure.parser", "import multipart"),
    ("japronto.pure.parser", "import importlib"),
    ("japronto.pure.parser", "from ..accel import parser"),
    ("japronto.pure.parser", "from .. import backend"),
    ("japronto.pure.parser", "from japronto.app import Application"),
    ("japronto.accel.parser", "from japronto.pure.parser import Parser"),
    ("japronto.accel.parser", "from japronto import backend"),
    ("japronto.app", "from japronto.accel import parser"),
    ("japronto.app", "from japronto import accel"),
    ("japronto.app", "import asyncio"),
    ("japronto.app", "try:\n    import uvloop\nexcept ImportError:\n    pass"),
    ("japronto.backend", "import socket"),
])
def test_a_forbidden_import_is_found(name: str, source: str) -> None:
    assert len(faults(name, imported(source, name, KNOWN))) == 1


@pytest.mark.parametrize(("name", "source"), [
    ("japronto.interfaces", "from japronto.limits import Limits"),
    ("japronto.interfaces", "import typing\nif typing.TYPE_CHECKING:\n    import japronto.app"),
    ("japronto.pure.parser", "import re\nfrom . import grammar\nfrom ..messages import Body"),
    ("japronto.pure.parser", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import asyncio"),
    ("japronto.accel.parser", "from japronto.accel import _parser\nfrom japronto import messages"),
    ("japronto.backend", "from japronto.pure import parser\nfrom japronto.accel import parser as p"),
    ("japronto.backend", "import os"),
    ("japronto.server", "import asyncio, signal, socket"),
])
def test_a_permitted_import_passes(name: str, source: str) -> None:
    assert faults(name, imported(source, name, KNOWN)) == []
