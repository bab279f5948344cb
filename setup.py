"""What pyproject.toml cannot say: the parts in C, and what happens when they cannot be built.

``JAPRONTO_BUILD_ACCEL`` is ``auto`` (the default: where they cannot be built, the server is pure Python),
``yes`` (then the build fails) or ``no``.  What is not built is not there afterwards: what an earlier build
has left of it is deleted.
"""

import importlib.machinery
import importlib.util
import os
import runpy
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.editable_wheel import editable_wheel

CHOICE = os.environ.get("JAPRONTO_BUILD_ACCEL", "auto")
if CHOICE not in ("auto", "yes", "no"):
    raise SystemExit(f"JAPRONTO_BUILD_ACCEL must be auto, yes or no; it is {CHOICE!r}")

if CHOICE == "yes" and importlib.util.find_spec("cffi") is None:
    # Without it setuptools knows no cffi_modules, and only warns.
    raise SystemExit("JAPRONTO_BUILD_ACCEL is yes, and the fast parts are built with cffi, which is not "
                     "installed; pip install cffi")

ACCEL = Path("japronto/accel")
CSRC = ACCEL / "csrc"
MODULES = ("_lane", "_scan")
DIGEST = runpy.run_path(str(ACCEL / "sources.py"))["digest"]()

LANE = Extension(
    "japronto.accel._lane",
    sources=sorted(map(str, [*CSRC.glob("lane*.c"), *CSRC.glob("scan*.c")])),
    depends=sorted(map(str, CSRC.glob("*.h"))),
    include_dirs=[str(CSRC)],
    define_macros=[("JP_SOURCES", f'"{DIGEST}"')],
    extra_compile_args=[] if os.name == "nt" else [
        "-std=c11", "-O3", "-fvisibility=hidden", "-Wall", "-Wextra"])


def drop(directory: Path, *modules: str) -> None:
    """Delete what was built of these modules for this Python."""
    for module in modules:
        for suffix in importlib.machinery.EXTENSION_SUFFIXES:
            (directory / f"{module}{suffix}").unlink(missing_ok=True)


class BuildExtensions(build_ext):
    """Builds what it can, unless all is asked for."""

    def finalize_options(self) -> None:
        super().finalize_options()
        for extension in self.extensions or ():
            extension.optional = CHOICE == "auto"

    def run(self) -> None:
        self.beside = [Path(self.build_lib) / ACCEL]
        if self.inplace:  # setuptools takes it back while it builds
            self.beside.append(ACCEL)
            if CHOICE == "no":
                drop(ACCEL, *MODULES)
        super().run()

    def build_extension(self, extension: Extension) -> None:
        try:
            super().build_extension(extension)
        except Exception:
            for directory in self.beside:
                drop(directory, extension.name.rpartition(".")[2])
            raise


class InstallEditable(editable_wheel):
    """Where nothing is built, the step above is left out."""

    def run(self) -> None:
        if CHOICE == "no":
            drop(ACCEL, *MODULES)
        super().run()


setup(
    cffi_modules=[] if CHOICE == "no" else ["japronto/accel/csrc/build_parser.py:ffibuilder"],
    ext_modules=[] if CHOICE == "no" else [LANE],
    cmdclass={"build_ext": BuildExtensions, "editable_wheel": InstallEditable},
)
