"""What pyproject.toml cannot say: the parts in C, and what happens when they cannot be built.

``JAPRONTO_BUILD_ACCEL`` is ``auto`` (the default: where they cannot be built, the server is pure Python),
``yes`` (then the build fails) or ``no``.
"""

import os
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

CHOICE = os.environ.get("JAPRONTO_BUILD_ACCEL", "auto")
if CHOICE not in ("auto", "yes", "no"):
    raise SystemExit(f"JAPRONTO_BUILD_ACCEL must be auto, yes or no; it is {CHOICE!r}")

CSRC = Path("japronto/accel/csrc")

LANE = Extension(
    "japronto.accel._lane",
    sources=sorted(map(str, [*CSRC.glob("lane*.c"), *CSRC.glob("scan*.c")])),
    depends=sorted(map(str, CSRC.glob("*.h"))),
    include_dirs=[str(CSRC)],
    extra_compile_args=[] if os.name == "nt" else [
        "-std=c11", "-O3", "-fvisibility=hidden", "-Wall", "-Wextra"])


class BuildExtensions(build_ext):
    """Builds what it can, unless all is asked for."""

    def finalize_options(self) -> None:
        super().finalize_options()
        for extension in self.extensions or ():
            extension.optional = CHOICE == "auto"


setup(
    cffi_modules=[] if CHOICE == "no" else ["japronto/accel/build_parser.py:ffibuilder"],
    ext_modules=[] if CHOICE == "no" else [LANE],
    cmdclass={"build_ext": BuildExtensions},
)
