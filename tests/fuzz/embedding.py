"""What a compiler must be told to embed the interpreter that runs this: printed, for ``run.sh``."""

from __future__ import annotations

import sys
from sysconfig import get_config_var, get_path


def includes() -> list[str]:
    return [f"-I{get_path('include')}"]


def flags() -> list[str]:
    """As ``python3-config --embed`` says it, which there is none of in a virtual environment."""
    directory = get_config_var("LIBDIR" if get_config_var("Py_ENABLE_SHARED") else "LIBPL")
    return [*includes(), f"-L{directory}", f"-Wl,-rpath,{directory}",
            f"-lpython{get_config_var('LDVERSION')}", *get_config_var("LIBS").split(),
            *get_config_var("SYSLIBS").split(), *get_config_var("LINKFORSHARED").split()]


if __name__ == "__main__":
    sys.stdout.write(" ".join(flags()))
