"""How ``japronto.accel._scan`` is built: scan*.c behind cffi.  ``setup.py`` reads this file."""

from __future__ import annotations

import os
import re
import runpy
from pathlib import Path

from cffi import FFI  # type: ignore[import-untyped]

CSRC = Path(__file__).parent
DIGEST = runpy.run_path(str(CSRC.parent / "sources.py"))["digest"]()


def declarations(header: str) -> str:
    """What a header of C declares, without the directives of the preprocessor."""
    return re.sub(r"(?m)^#.*$", "", header)


ffibuilder = FFI()
ffibuilder.cdef(declarations((CSRC / "scan.h").read_text(encoding="utf-8"))
                + "static const char *const jp_sources;")
ffibuilder.set_source(
    "japronto.accel._scan", f'#include "scan.h"\nstatic const char *const jp_sources = "{DIGEST}";',
    sources=sorted(map(str, CSRC.glob("scan*.c"))), depends=sorted(map(str, CSRC.glob("scan*.h"))),
    include_dirs=[str(CSRC)],
    extra_compile_args=[] if os.name == "nt" else ["-O3"])  # whatever CFLAGS says
