"""Whether what is compiled comes of the sources that are here.

In a checkout the sources change, and what was compiled of them stays until it is built again.  Python would
then read structures that C lays out in another way.  So each compiled module knows the digest of the sources
that it was built from.  ``setup.py`` reads this file, too.
"""

from __future__ import annotations

import hashlib
from pathlib import Path


def digest() -> str:
    """Of names and octets of all C, in hexadecimal; empty where there is none, as behind a wheel."""
    files = sorted((Path(__file__).parent / "csrc").glob("*.[ch]"))
    total = hashlib.sha256()
    for file in files:
        octets = file.read_bytes()
        total.update(b"%b %d\n%b" % (file.name.encode(), len(octets), octets))
    return total.hexdigest() if files else ""


def agree() -> bool:
    """Whether the compiled modules are of the sources that are here; anything is, where there are none.

    Raises ImportError where they are not built.  A module that does not know was compiled without setup.py,
    by whoever knows.
    """
    import japronto.accel._lane as lane  # noqa: PLC0415 - not built yet when setup.py reads this file
    import japronto.accel._scan as scan  # noqa: PLC0415

    here = digest()
    try:
        built = {lane.sources, scan.ffi.string(scan.lib.jp_sources).decode()}
    except AttributeError:  # They are from the time before modules told.
        return not here
    return not here or built <= {here, ""}
