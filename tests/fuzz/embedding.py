"""What a compiler must be told to embed the interpreter that runs this: printed, for ``run.sh``."""

from __future__ import annotations

import sys
import sysconfig


def flags() -> list[str]:
    """As ``python3-config --embed`` says it, which there is none of in a virtual environment."""
    directory, version = sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("LDVERSION")
    return [f"-I{sysconfig.get_path('include')}", f"-L{directory}", f"-Wl,-rpath,{directory}",
            f"-lpython{version}", *str(sysconfig.get_config_var("LIBS")).split(), "-lm"]


if __name__ == "__main__":
    sys.stdout.write(" ".join(flags()))
