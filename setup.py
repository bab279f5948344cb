"""What pyproject.toml cannot say: the parts in C, and what happens when they cannot be built.

``JAPRONTO_BUILD_ACCEL`` is ``try`` (the default: without a compiler, the server is pure Python),
``require`` (without a compiler, the build fails) or ``skip``.
"""

import os
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

CHOICE = os.environ.get("JAPRONTO_BUILD_ACCEL", "try")
if CHOICE not in ("try", "require", "skip"):
    raise SystemExit(f"JAPRONTO_BUILD_ACCEL must be try, require or skip; it is {CHOICE!r}")


CSRC = Path("japronto/accel/csrc")

LANE = Extension(
    "japronto.accel._lane",
    sources=sorted(map(str, [*CSRC.glob("lane*.c"), *CSRC.glob("scan*.c")])),
    depends=sorted(map(str, CSRC.glob("*.h"))),
    include_dirs=[str(CSRC)],
    extra_compile_args=[] if os.name == "nt" else [
        "-std=c11", "-O3", "-fvisibility=hidden", "-Wall", "-Wextra"])


class BuildExtensions(build_ext):
    """Builds what it can, unless all is required."""

    def finalize_options(self) -> None:
        super().finalize_options()
        for extension in self.extensions or ():
            extension.optional = CHOICE == "try"


setup(
    cffi_modules=[] if CHOICE == "skip" else ["japronto/accel/build_parser.py:ffibuilder"],
    ext_modules=[] if CHOICE == "skip" else [LANE],
    cmdclass={"build_ext": BuildExtensions},
)
