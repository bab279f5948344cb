"""Who is compared: one description for each contestant, read from its file without running it.

``NAME_app.py`` or ``NAME.py`` describes the contestant NAME by assignments of literals at its top level,
and mostly is its program as well.  (``_app`` is there so that no program is imported in place of the
package of the same name.)  A file whose name begins with ``_`` is shared by several.

=================  =======================================================================================
NAME               how tables call it
LANGUAGE           "Python" unless it is given
REQUIREMENTS       for pip, all pinned; empty for what runs on the driver's own Python
PYTHON             version of Python that it needs, such as "3.6", if not the driver's
NEEDS              programs that must be on PATH, each with the Debian package that brings it
BUILD              the command that builds it, where one does
COMMAND            the command that serves on 127.0.0.1, port ``{port}``
VERSION            a command that prints, on one line, what is measured
MISSING_WORKLOADS  each of ``ROUTES`` that it cannot serve, with the reason in one sentence
=================  =======================================================================================

Commands are run in the root of the checkout.  In them stand ``{python}`` for the Python of the
environment that was made for it, ``{here}`` for the directory of its file, ``{port}``, and ``{made}`` for
a directory of its own, below ``bench/.venvs``, that holds what is built.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

HERE: Final = Path(__file__).parent
VENVS: Final = HERE.parent / ".venvs"

ROUTES: Final = {
    "hello": ("GET", "/"),
    "json": ("GET", "/json"),
    "users": ("GET", "/users/{name}"),
    "echo": ("POST", "/echo"),
    "later": ("GET", "/later"),
    "10k": ("GET", "/10k"),
    "1m": ("GET", "/1m"),
    "upload": ("POST", "/upload"),
}
"""What a contestant serves, with the method and the path of each; bench/README.md says what is answered."""

PLACEHOLDER: Final = re.compile(r"\{(python|here|port|made)\}")

PINNED: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[a-z0-9,-]+\])?==[0-9][A-Za-z0-9.]*")


class DescriptionError(ValueError):
    """A description says what cannot be; the text names the file and the mistake in one sentence."""


class Contestant(NamedTuple):
    """A description that is well formed; see the module."""

    key: str
    """Its name on the command line and in files."""
    path: Path
    about: str
    """The first line of the docstring of its file."""
    name: str
    language: str = "Python"
    requirements: tuple[str, ...] = ()
    python: str = ""
    """Empty for the driver's own."""
    needs: Mapping[str, str] = {}
    build: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    version: tuple[str, ...] = ()
    missing_workloads: Mapping[str, str] = {}

    @property
    def made(self) -> Path:
        """The directory below ``bench/.venvs`` for its environment and for what is built.

        Another one whenever what goes into it changes.
        """
        here = str(self.path.parent)
        parts = [self.python, *self.requirements, *self.build]
        sources = [Path(part.replace("{here}", here)) for part in self.build if "{here}" in part]
        parts += [source.read_text() for source in sources if source.is_file()]
        return VENVS / f"{self.key}-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:12]}"

    def filled(self, command: tuple[str, ...], *, python: str = "", port: int = 0) -> list[str]:
        """``command``, which is BUILD, COMMAND or VERSION, as it can be run."""
        values = {"python": python, "here": str(self.path.parent), "port": str(port), "made": str(self.made)}
        return [PLACEHOLDER.sub(lambda found: values[found[1]], part) for part in command]


def all_contestants() -> dict[str, Contestant]:
    """All there are, by their keys, in the order of the names of their files."""
    found = (read(path) for path in sorted(HERE.glob("*.py")) if not path.name.startswith("_"))
    return {contestant.key: contestant for contestant in found}


def read(path: Path) -> Contestant:
    """The description in the file ``path``; raises DescriptionError."""
    tree = ast.parse(path.read_text(), str(path))
    fields: dict[str, Any] = {}
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name in KINDS:
                try:
                    fields[name] = ast.literal_eval(value)
                except ValueError as error:
                    raise DescriptionError(f"{path.name}: {name} must be a literal") from error
    about = (ast.get_docstring(tree) or "").partition("\n")[0]
    if not about:
        raise DescriptionError(f"{path.name} has no docstring that says what it is")
    for name in ("NAME", "COMMAND", "VERSION"):
        if name not in fields:
            raise DescriptionError(f"{path.name} does not assign {name}")
    for name, value in fields.items():
        _check(path.name, name, value)
    return Contestant(path.stem.removesuffix("_app"), path, about,
                      **{name.lower(): value for name, value in fields.items()})


KINDS: Final[Mapping[str, type[Any]]] = {
    "NAME": str, "LANGUAGE": str, "REQUIREMENTS": tuple, "PYTHON": str, "NEEDS": dict, "BUILD": tuple,
    "COMMAND": tuple, "VERSION": tuple, "MISSING_WORKLOADS": dict}
"""What a description may assign, and of which type each is."""


def _check(file: str, name: str, value: Any) -> None:
    """Raise DescriptionError unless ``value`` can be that of ``name``."""
    kind = KINDS[name]
    if not isinstance(value, kind):
        raise DescriptionError(f"{file}: {name} must be a {kind.__name__}; it is {value!r}")
    parts = [part for pair in value.items() for part in pair] if isinstance(value, dict) else value
    if not parts or not all(isinstance(part, str) and part for part in parts):
        raise DescriptionError(f"{file}: {name} must hold strings, none of them empty; it is {value!r}")
    if name == "REQUIREMENTS":
        for requirement in value:
            if not PINNED.fullmatch(requirement):
                raise DescriptionError(f"{file}: {requirement} must be pinned, as in package==1.0")
    elif name in {"BUILD", "COMMAND", "VERSION"}:
        unknown = re.search(r"\{\w*\}", PLACEHOLDER.sub("", " ".join(value)))
        if unknown:
            raise DescriptionError(f"{file}: {name} has {unknown[0]}, which nothing stands for")
        if name == "COMMAND" and "{port}" not in " ".join(value):
            raise DescriptionError(f"{file}: COMMAND does not say where {{port}} goes")
    elif name == "MISSING_WORKLOADS":
        for workload in value:
            if workload not in ROUTES:
                raise DescriptionError(f"{file}: there is no workload {workload!r}; there are "
                                       f"{', '.join(ROUTES)}")
