"""What is made to be installed: the wheel and the sdist, with a compiler and without.

Each is made from a copy of the tree and installed into an environment of its own, as a user would.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow


def run(*command: object, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), cwd=cwd, text=True, capture_output=True, check=False,
                          env={**os.environ, **environ})


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is in the tree, without what was built."""
    tree = tmp_path_factory.mktemp("tree") / "japronto"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(
        ".git", ".venv", ".hypothesis", ".*_cache", "*.so", "*.egg-info", "build", "dist", "__pycache__"))
    return tree


@pytest.fixture(scope="module")
def sdist(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution."""
    out = tmp_path_factory.mktemp("sdist")
    done = run(sys.executable, "-m", "build", "--sdist", "--outdir", out, cwd=tree)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = out.iterdir()
    return made


def installed(sdist: Path, directory: Path, **environ: str) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Python with what the sdist has become, and what pip said."""
    venv.create(directory, with_pip=True)
    python = directory / "bin" / "python"
    return python, run(python, "-m", "pip", "install", sdist, cwd=directory, **environ)


def test_the_sdist_builds_and_serves_with_the_fast_parts(sdist: Path, tmp_path: Path) -> None:
    python, done = installed(sdist, tmp_path / "venv", JAPRONTO_BUILD_ACCEL="yes")
    assert done.returncode == 0, done.stdout + done.stderr
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= {"japronto/accel/csrc/lane.h", "japronto/accel/csrc/scan_avx2.c", "japronto/demo.html",
                     "japronto/accel/csrc/build_parser.py", "japronto/accel/_scan.pyi", "tests/wheel.py",
                     "LICENSE"}
    served = run(python, ROOT / "tests" / "wheel.py", cwd=tmp_path)
    assert (served.returncode, served.stderr) == (0, "")
    assert served.stdout.startswith("backend accel with ")


def test_the_wheel_has_what_it_needs_and_no_more(tree: Path, tmp_path: Path) -> None:
    done = run(sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, cwd=tree,
               JAPRONTO_BUILD_ACCEL="yes")
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = tmp_path.iterdir()
    with zipfile.ZipFile(made) as archive:
        names = set(archive.namelist())
    assert {"japronto/py.typed", "japronto/demo.html", "japronto/accel/_lane.pyi"} <= names
    assert {Path(name).suffix for name in names if ".dist-info/" not in name} == {
        ".py", ".pyi", ".typed", ".html", ".so"}
    assert not any("csrc" in name for name in names)
    assert sum(name.startswith("japronto/accel/_") and name.endswith(".so") for name in names) == 2
    assert not any(name.startswith(("tests/", "bench/", "examples/")) for name in names)


def test_without_a_compiler_the_server_is_pure(sdist: Path, tmp_path: Path) -> None:
    python, done = installed(sdist, tmp_path / "venv", CC="/bin/false")
    assert done.returncode == 0, done.stdout + done.stderr
    code = "from japronto import backend; print(backend.active())"
    assert run(python, "-c", code, cwd=tmp_path).stdout == "pure\n"
    refused = run(python, "-m", "japronto", "--version", cwd=tmp_path, JAPRONTO_BACKEND="accel")
    assert refused.returncode == 2
    assert "the fast parts are not built" in refused.stderr


def test_without_a_compiler_the_fast_parts_cannot_be_asked_for(sdist: Path, tmp_path: Path) -> None:
    _, done = installed(sdist, tmp_path / "venv", CC="/bin/false", JAPRONTO_BUILD_ACCEL="yes")
    assert done.returncode != 0


@pytest.mark.parametrize(("choice", "good"), [("no", True), ("perhaps", False)])
def test_the_choice(sdist: Path, tmp_path: Path, choice: str, good: bool) -> None:
    python, done = installed(sdist, tmp_path / "venv", JAPRONTO_BUILD_ACCEL=choice)
    assert (done.returncode == 0) is good
    if good:
        code = "from japronto import backend; print(backend.active())"
        assert run(python, "-c", code, cwd=tmp_path).stdout == "pure\n"
    else:
        assert "JAPRONTO_BUILD_ACCEL must be auto, yes or no; it is 'perhaps'" in done.stdout + done.stderr


def test_yes_needs_cffi() -> None:
    """Without it setuptools would leave out what it builds."""
    code = ("import runpy, sys; sys.modules['cffi'] = None; sys.argv = ['setup.py', '--version']; "
            "runpy.run_path('setup.py')")
    done = run(sys.executable, "-c", code, cwd=ROOT, JAPRONTO_BUILD_ACCEL="yes")
    assert (done.returncode, done.stderr) == (
        1, ("JAPRONTO_BUILD_ACCEL is yes, and the fast parts are built with cffi, which is not installed; "
           "pip install cffi\n"))


def built(tree: Path) -> list[str]:
    """What there is of compiled modules, in the tree and in its build directory."""
    return [str(path.relative_to(tree)) for path in tree.rglob("*.so")]


@pytest.mark.parametrize("environment", [
    pytest.param({"CC": "/bin/false"}, id="failed"),
    pytest.param({"JAPRONTO_BUILD_ACCEL": "no"}, id="declined")])
def test_what_is_not_built_is_not_there(tree: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    """An earlier build has left what it has built, of other sources perhaps."""
    copy = tmp_path / "japronto"
    shutil.copytree(tree, copy)
    build = (sys.executable, "setup.py", "-q", "build_ext", "--inplace")
    done = run(*build, cwd=copy, JAPRONTO_BUILD_ACCEL="yes", CFLAGS="-O0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(built(copy)) == 4
    for source in (copy / "japronto" / "accel" / "csrc").glob("*.[ch]"):
        source.touch()
    again = run(*build, cwd=copy, **environment)
    assert again.returncode == 0, again.stdout + again.stderr
    assert not [name for name in built(copy) if not name.startswith("build/")]
    assert ", backend pure (the fast parts are not built), " in run(
        sys.executable, "-m", "japronto", "--version", cwd=copy).stdout
    if "CC" in environment:
        assert built(copy) == []


def test_an_editable_install_that_declines(tree: Path, tmp_path: Path) -> None:
    copy = tmp_path / "japronto"
    shutil.copytree(tree, copy, ignore=shutil.ignore_patterns("build"))  # in which other tests have built
    (copy / "japronto" / "accel" / "_lane.abi3.so").touch()
    venv.create(tmp_path / "venv", with_pip=True)
    done = run(tmp_path / "venv" / "bin" / "python", "-m", "pip", "install", "--no-deps", "-e", copy,
               cwd=tmp_path, JAPRONTO_BUILD_ACCEL="no")
    assert done.returncode == 0, done.stdout + done.stderr
    assert built(copy) == []
