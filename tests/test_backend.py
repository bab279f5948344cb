"""The choice of a backend: what is said where it cannot be had, and what ``auto`` makes of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from command import COMMAND, ROOT, Done, japronto

from japronto import Application, backend
from japronto.errors import UsageError


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the package, with what was built in it."""
    shutil.copytree(ROOT / "japronto", tmp_path / "japronto", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def version(tree: Path, *arguments: str, **environment: str) -> Done:
    return japronto(tree, "--version", *arguments, PYTHONPATH=str(tree), **environment)


def refused(done: Done) -> str:
    """The one sentence that a command has ended with."""
    assert (done.code, done.out) == (2, "")
    assert done.error.startswith("japronto: ")
    assert done.error.count("\n") == 1
    return done.error.removeprefix("japronto: ").rstrip("\n")


# -- What was not built ----------------------------------------------------------------------------

REMEDY = ("install a C compiler and the headers of Python, and install Japronto again with "
          "JAPRONTO_BUILD_ACCEL=yes, or choose the backend auto")


@pytest.mark.parametrize("name", ["_lane", "_scan"])
def test_what_was_not_built(tree: Path, name: str) -> None:
    for module in (tree / "japronto" / "accel").glob(f"{name}.*so"):
        module.unlink()
    lack = f"the fast parts are not built (No module named 'japronto.accel.{name}'); {REMEDY}"
    assert ", backend pure (the fast parts are not built), " in version(tree).out
    assert ", backend pure, " in version(tree, "--backend", "pure").out
    assert refused(version(tree, "--backend", "accel")) == f"--backend is accel, but {lack}"
    assert refused(version(tree, JAPRONTO_BACKEND="accel")) == f"JAPRONTO_BACKEND is accel, but {lack}"
    assert refused(version(tree, "--simd", "scalar")) == f"--simd is scalar, but {lack}"


def test_what_was_built_from_other_sources(tree: Path) -> None:
    """As after a pull in a checkout.  Nothing is as safe as it looks then, and ``auto`` does not pretend."""
    with (tree / "japronto" / "accel" / "csrc" / "lane_serve.c").open("a") as source:
        source.write("/* another version */\n")
    for arguments in ((), ("--backend", "accel"), ("--simd", "scalar")):
        assert refused(version(tree, *arguments)) == (
            "the fast parts were built from other sources than those that are here; build them again "
            "(pip install -e .), or choose the backend pure")
    assert version(tree, "--backend", "pure").code == 0


def test_what_a_wheel_has(tree: Path) -> None:
    """No sources, and so no others than those that it was built from."""
    shutil.rmtree(tree / "japronto" / "accel" / "csrc")
    assert ", backend accel with " in version(tree).out


def test_what_cannot_be_loaded(tree: Path) -> None:
    """It was built, so nobody expects to do without."""
    for module in (tree / "japronto" / "accel").glob("_lane.*so"):
        module.write_bytes(b"not a library")
    sentence = refused(version(tree))
    assert sentence.startswith("the fast parts cannot be loaded (")
    assert sentence.endswith("); install Japronto again, or choose the backend pure")


# -- What a program says ---------------------------------------------------------------------------

@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in (backend.VARIABLE, backend.SIMD_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize(("variables", "sentence"), [
    ({"BACKEND": "fast"}, "JAPRONTO_BACKEND must be auto, accel, pure or httptools; it is 'fast'"),
    ({"SIMD": "neon"}, "JAPRONTO_SIMD must be auto, scalar, sse4.2 or avx2; it is 'neon'"),
    ({"BACKEND": "pure", "SIMD": "none"}, "JAPRONTO_SIMD must be auto, scalar, sse4.2 or avx2; it is 'none'"),
    ({"BACKEND": "pure", "SIMD": "scalar"},
     ("JAPRONTO_SIMD is scalar, which is for the fast parts, and JAPRONTO_BACKEND is pure; "
      "leave one of them out")),
])
def test_a_choice_that_cannot_be(variables: dict[str, str], sentence: str,
                                 environment: pytest.MonkeyPatch) -> None:
    """The words are those of the command."""
    for name, text in variables.items():
        environment.setenv(f"JAPRONTO_{name}", text)
    with pytest.raises(UsageError) as raised:
        Application()
    assert str(raised.value) == sentence


def test_an_instruction_set_that_this_processor_has_not(environment: pytest.MonkeyPatch) -> None:
    from japronto.accel import scanner

    environment.setattr(scanner, "levels", lambda: ["scalar", "sse4.2"])
    environment.setenv("JAPRONTO_SIMD", "avx2")
    for said, name in (({}, "JAPRONTO_SIMD"), ({"JAPRONTO_SIMD": "--simd"}, "--simd")):
        with pytest.raises(UsageError) as raised:
            backend.active(said)
        assert str(raised.value) == (
            f"{name} is avx2, which this processor does not have; choose auto, scalar or sse4.2")


WITHOUT = """
import sys
for name in ("orjson", "httptools"):
    sys.modules[name] = None
from japronto.cli import main
sys.exit(main())
"""


def test_errors_name_what_the_user_has_said(tmp_path: Path) -> None:
    python = (*COMMAND[:3], "-c", WITHOUT)
    for arguments, variables, start in [
            (["--json", "orjson"], {}, "--json is orjson, which is not installed; "),
            ([], {"JSON": "orjson"}, "JAPRONTO_JSON is orjson, which is not installed; "),
            (["--backend", "httptools"], {}, "--backend is httptools, which cannot be loaded ("),
            (["--backend", "httptools"], {"BACKEND": "pure"}, "--backend is httptools, which cannot be "),
            ([], {"BACKEND": "httptools"}, "JAPRONTO_BACKEND is httptools, which cannot be loaded ("),
            (["--simd", "scalar"], {"BACKEND": "pure"},
             "--simd is scalar, which is for the fast parts, and JAPRONTO_BACKEND is pure; ")]:
        done = japronto(tmp_path, "--version", *arguments, python=python,
                        **{f"JAPRONTO_{name}": text for name, text in variables.items()})
        assert refused(done).startswith(start)
