"""The conformance cases as inputs for ``fuzz_scan.c``: ``python -m fuzz.corpus DIRECTORY`` writes them."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from conformance.cases import all_cases


def choices(*, heads_max: int = 16, start: int = 0, head_bytes: int = 8192, fields: int = 100) -> bytes:
    """The octets that say how the others are scanned."""
    return bytes((heads_max, start)) + head_bytes.to_bytes(2, "little") + bytes((fields,))


def inputs() -> set[bytes]:
    """All inputs: each case as it is, and from within it, and with bounds that are soon reached."""
    found = set()
    for sent in {case.sent for case in all_cases()}:
        found |= {choices() + sent, choices(start=min(len(sent), 3)) + sent,
                  choices(heads_max=2, head_bytes=48, fields=2) + sent}
    return found


def write(directory: Path) -> list[Path]:
    """Write them, one file each; the files."""
    directory.mkdir(parents=True, exist_ok=True)
    files = []
    for octets in sorted(inputs()):
        files.append(directory / hashlib.sha256(octets).hexdigest()[:20])
        files[-1].write_bytes(octets)
    return files


if __name__ == "__main__":
    print(f"{len(write(Path(sys.argv[1])))} inputs")
