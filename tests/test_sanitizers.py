"""The C under sanitizers: what runs past an end, is used after it was freed, or is not defined at all.

The extension modules are built anew, in a copy of the tree, with AddressSanitizer and
UndefinedBehaviorSanitizer, and tests that others wrote run on them.  Leaks are not looked for: CPython
keeps much to the end by design; ``test_leaks.py`` counts what stays.  The scanner by itself also runs at
guard pages, in ``test_scanner.py``.

And the fuzz targets, which would be forgotten otherwise, run on the inputs that fuzzing starts from.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz import corpus, embedding

ROOT = Path(__file__).parent.parent
FUZZ = ROOT / "tests" / "fuzz"
CSRC = ROOT / "japronto" / "accel" / "csrc"
LANE = sorted(CSRC.glob("lane*.c"))
SOURCES = sorted(CSRC.glob("*.c"))
COMPILERS = [name for name in ("gcc", "clang") if shutil.which(name)] or ["cc"]
COMPILER = COMPILERS[0]
STRICT = ("-std=c11", "-Wall", "-Wextra", "-Werror")
SANITIZED = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")
pytestmark = pytest.mark.slow


def run(*command: object, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), cwd=cwd, text=True, capture_output=True, check=False,
                          env={**os.environ, **environ})


def succeeds(*command: object, cwd: Path, **environ: str) -> str:
    """Run a command; what it complains of is the failure."""
    done = run(*command, cwd=cwd, **environ)
    if done.returncode:
        pytest.fail(f"{done.stdout[-20_000:]}\n{done.stderr[-20_000:]}", pytrace=False)
    return done.stdout


# -- Compilers -----------------------------------------------------------------------------------

@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("optimized", ["-O0", "-O3"])
def test_no_compiler_has_anything_to_complain_of(compiler: str, optimized: str, tmp_path: Path) -> None:
    """test_scanner.py is stricter with the scanner, which does not know of Python."""
    succeeds(compiler, *STRICT, optimized, "-c", *embedding.includes(), *LANE, cwd=tmp_path)


# -- Extension modules -----------------------------------------------------------------------------

@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree, with extension modules that sanitizers watch."""
    tree = tmp_path_factory.mktemp("tree") / "japronto"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(
        ".git", ".venv", ".venvs", ".hypothesis", ".*_cache", "*.so", "*.egg-info", "build", "dist",
        "__pycache__"))
    flags = " ".join(SANITIZED)
    succeeds(sys.executable, "setup.py", "-q", "build_ext", "--inplace", cwd=tree, CC=COMPILER, CFLAGS=flags,
             LDFLAGS=flags, JAPRONTO_BUILD_ACCEL="yes")
    built = list((tree / "japronto" / "accel").glob("*.so"))
    assert len(built) == 2
    for module in built:
        assert {b"__asan_report_load8", b"__ubsan_handle_type_mismatch_v1_abort"} <= set(
            re.findall(rb"__\w+", module.read_bytes())), f"{module.name} is not watched"
    return tree


QUICK = ("test_lane.py", "property/test_lane.py", "test_response.py", "test_scanner.py",
         "-k", "not (generated or conformance or octet_ or compiler or gibibytes or guarded)")
THOROUGH = ("conformance", "property", "test_app.py", "test_encoders.py", "test_forms.py", "test_lane.py",
            "test_response.py", "test_routing.py", "test_scanner.py", "test_server.py", "test_tasks.py",
            "test_testing.py", "-k", "not (compiler or gibibytes or guarded or pure or httptools)")
"""The guard pages need a process that dies by a signal; AddressSanitizer takes all signals."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The thorough form is there when ``-m`` asks for it."""
    if "tests" in metafunc.fixturenames:
        asked = "long" in metafunc.config.option.markexpr
        metafunc.parametrize("tests", [
            pytest.param(QUICK, id="quick"),
            *([pytest.param(THOROUGH, id="long", marks=pytest.mark.long)] if asked else [])])


def test_nothing_is_reported(tests: tuple[str, ...], tree: Path, tmp_path: Path) -> None:
    library = succeeds(COMPILER, "-print-file-name=libasan.so", cwd=tree).strip()
    code = "from japronto import accel; print(accel.__file__)"
    watched = {
        "LD_PRELOAD": library, "PYTHONMALLOC": "malloc",  # else all small objects are of one block
        "ASAN_OPTIONS": f"detect_leaks=0:log_path={tmp_path}/asan",
        "UBSAN_OPTIONS": f"log_path={tmp_path}/ubsan"}
    assert Path(succeeds(sys.executable, "-c", code, cwd=tree, **watched).strip()).is_relative_to(tree)
    done = run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow", *tests,
               cwd=tree / "tests", **watched, PYTHONPATH=str(tree))
    reports = "\n".join(file.read_text() for file in tmp_path.iterdir())
    assert (done.returncode, reports) == (0, ""), done.stdout[-20_000:] + done.stderr[-20_000:]


# -- Fuzz targets ----------------------------------------------------------------------------------

@pytest.mark.parametrize("target", ["lane", "response"])
def test_the_inputs_that_fuzzing_starts_from(target: str, tmp_path: Path) -> None:
    """Without libFuzzer, and so with any compiler; fuzz_scan.c has the same in test_scanner.py.

    With clang where it is there: it also sees arithmetic with null pointers, which gcc lets pass.
    """
    succeeds(COMPILERS[-1], *STRICT, *SANITIZED, f"-I{CSRC}", f'-DTARGET="fuzz.fuzz_{target}"',
             FUZZ / "embedded.c", FUZZ / "replay.c", *SOURCES, *embedding.flags(), "-o", "replay",
             cwd=tmp_path)
    files = corpus.write(tmp_path / "corpus", target)[::4]
    said = succeeds("./replay", *files, cwd=tmp_path, ASAN_OPTIONS="detect_leaks=0",
                    JAPRONTO_PYTHON=sys.executable, PYTHONPATH=f"{ROOT}:{ROOT / 'tests'}")
    assert said == f"{len(files)} inputs\n"


BROKEN = {
    "lane: octets": "fuzz_lane.FixedWorker.date = lambda worker: DATE[worker.backend.name == 'accel':]",
    "lane: calls": "fuzz_lane.Calls.note = lambda calls, request: calls.seen.append(type(request))",
    "lane: an exception that escapes": "fuzz_lane.HTTPProtocol._take_answer = None",
    "response: attributes": "fuzz_response.FAST[1].encode_json = staticmethod(repr)",
    "response: octets": "fuzz_response.DATE, fuzz_response.assembler.assemble = b'', lambda *_: [b'a']",
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_difference_is_found(broken: str) -> None:
    target = broken.partition(":")[0]
    code = (f"from fuzz import corpus, fuzz_{target}; from fuzz.fuzz_{target} import *\n{{}}\n"
            f"for octets in sorted(corpus.INPUTS['{target}']()): fuzz_{target}.one(octets)\n")
    done = run(sys.executable, "-c", code.format(BROKEN[broken]), cwd=ROOT / "tests", PYTHONPATH=str(ROOT))
    assert done.returncode == 1
    assert "AssertionError" in done.stderr.splitlines()[-1]
