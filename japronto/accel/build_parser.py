"""How ``japronto.accel._scan`` is built: csrc/scan*.c behind cffi.  ``setup.py`` reads this file."""

from __future__ import annotations

import re
from pathlib import Path

from cffi import FFI  # type: ignore[import-untyped]

CSRC = Path(__file__).parent / "csrc"


def declarations(header: str) -> str:
    """What a header of C declares, without the directives of the preprocessor."""
    return re.sub(r"(?m)^#.*$", "", header)


ffibuilder = FFI()
ffibuilder.cdef(declarations((CSRC / "scan.h").read_text(encoding="utf-8")))
ffibuilder.set_source(
    "japronto.accel._scan", '#include "scan.h"',
    sources=sorted(map(str, CSRC.glob("scan*.c"))), depends=sorted(map(str, CSRC.glob("scan*.h"))),
    include_dirs=[str(CSRC)])
