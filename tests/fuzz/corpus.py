"""The inputs that fuzzing starts from: ``python -m fuzz.corpus scan|lane|response DIRECTORY`` writes them.

For ``fuzz_scan.c`` and ``fuzz_lane.py`` they are the octets of the conformance cases, behind those that say
how they are sent; for the lane also requests for each of its handlers.  For ``fuzz_response.py``, whose
inputs are no HTTP, they are octets that are spread evenly.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

from conformance.cases import all_cases

LONGEST = 4096
"""What ``run.sh`` lets libFuzzer make."""


def sent() -> set[bytes]:
    """What the clients of the conformance cases send."""
    return {case.sent for case in all_cases()}


def choices(*, heads_max: int = 16, start: int = 0, head_bytes: int = 8192, fields: int = 100) -> bytes:
    """The octets that say how the others are scanned."""
    return bytes((heads_max, start)) + head_bytes.to_bytes(2, "little") + bytes((fields,))


def scan() -> set[bytes]:
    """Each case as it is, and from within it, and with bounds that are soon reached."""
    found = set()
    for octets in sent():
        found |= {choices() + octets, choices(start=min(len(octets), 3)) + octets,
                  choices(heads_max=2, head_bytes=48, fields=2) + octets}
    return found


PATHS = ("/", "/json", "/form?a=b&c=%20", "/fields?X-A=b&x-a=c", "/fields?Date=today", "/fields?a+b=c",
         "/fields?Connection=close", "/fields?Content-Length=6", "/cookies", "/code/204", "/code/404",
         "/code/7", "/large", "/pieces", "/raises", "/raises?", "/nothing", "/nothing?a", "/keeps", "/async",
         "/waits", "/turn", "/broken", "/broken?", "/read", "/p/a", "/p/a/b", "/p/xa/b", "/i/12/3", "/i/1/x", "/p/%41",
         "/u/01234567-89ab-cdef-0123-456789ABCDEF", "/none/of/them")
"""For the handlers of ``fuzz_lane.py``."""

LINES = (b"", b"Cookie: a=1; b=2\r\n", b"Connection: close\r\n", b"Content-Length: 3\r\n",
         b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 3\r\n")


def lane() -> set[bytes]:
    """Each case, and requests for each handler; whole and in pieces, with wide limits and narrow ones."""
    octets = {octets for octets in sent() if len(octets) < LONGEST}
    for path in PATHS:
        for method in (b"GET", b"POST", b"HEAD"):
            for line in LINES:
                head = b"%b %b HTTP/1.1\r\nHost: a\r\n%b\r\n" % (method, path.encode(), line)
                request = head + (b"a=1" if b"Length" in line else b"")
                octets |= {request, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" + request * 2}
    return {how + each for each in octets for how in (b"\0\0\0", b"\1\0\0", b"\2\x07\1", b"\3\0\7")}


def response() -> set[bytes]:
    """Octets that mean nothing."""
    return {hashlib.shake_128(b"%d" % number).digest(size) for number in range(300) for size in (8, 40, 120)}


INPUTS: dict[str, Callable[[], set[bytes]]] = {"scan": scan, "lane": lane, "response": response}


def write(directory: Path, target: str = "scan") -> list[Path]:
    """Write the inputs of a target, one file each; the files."""
    directory.mkdir(parents=True, exist_ok=True)
    files = []
    for octets in sorted(INPUTS[target]()):
        files.append(directory / hashlib.sha256(octets).hexdigest()[:20])
        files[-1].write_bytes(octets)
    return files


if __name__ == "__main__":
    print(f"{len(write(Path(sys.argv[2]), sys.argv[1]))} inputs")
