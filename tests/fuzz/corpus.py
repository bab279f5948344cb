"""The inputs that fuzzing starts from: ``python -m fuzz.corpus scan|lane|response DIRECTORY`` writes them.

For ``fuzz_scan.c`` and ``fuzz_lane.py`` they are the octets of the conformance cases, behind those that say
how they are sent; for the lane also requests for each of its handlers.  For ``fuzz_response.py``, whose
inputs are no HTTP, they are choices among its arguments.
"""

from __future__ import annotations

import hashlib
import itertools
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
    for case in sent():
        found |= {choices() + case, choices(start=min(len(case), 3)) + case,
                  choices(heads_max=2, head_bytes=48, fields=2) + case}
    return found


PATHS = ("/", "/json", "/form?a=b&c=%20", "/fields?X-A=b&x-a=c", "/fields?Date=today", "/fields?a+b=c",
         "/fields?Connection=close", "/fields?Content-Length=6", "/cookies", "/code/204", "/code/404",
         "/code/7", "/large", "/pieces", "/raises", "/raises?", "/nothing", "/nothing?a", "/keeps", "/async",
         "/waits", "/turn", "/broken", "/broken?", "/read", "/p/a", "/p/a/b", "/p/xa/b", "/i/12/3",
         "/i/1/x", "/p/%41", "/u/01234567-89ab-cdef-0123-456789ABCDEF", "/none/of/them")
"""For the handlers of ``fuzz_lane.py``."""

LINES = (b"", b"Cookie: a=1; b=2\r\n", b"Connection: close\r\n", b"Content-Length: 3\r\n",
         b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 3\r\n")


def lane() -> set[bytes]:
    """Each case, and requests for each handler; whole and in pieces, with wide limits and narrow ones."""
    found = {case for case in sent() if len(case) < LONGEST}
    for path in PATHS:
        for method in (b"GET", b"POST", b"HEAD"):
            for line in LINES:
                head = b"%b %b HTTP/1.1\r\nHost: a\r\n%b\r\n" % (method, path.encode(), line)
                request = head + (b"a=1" if b"Length" in line else b"")
                found |= {request, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" + request * 2}
    return {how + each for each in found for how in (b"\0\0\0", b"\1\0\0", b"\2\x07\1", b"\3\0\7")}


def response() -> set[bytes]:
    """Each common argument, with each of its values, alone and behind a text; any field; any octets; and
    content of many sizes."""
    found = {octets(number, size) for number in range(300) for size in (8, 40, 120)}
    for method, name, value in itertools.product(range(5), range(6), range(16)):
        argument = bytes((name, value)) + octets(value, 24)
        found |= {bytes((0, method, 0, 0, 0, 0, 1)) + ahead + argument for ahead in (b"\1", b"\2\1\2")}
    for name, value in itertools.product(range(16), range(19)):
        found.add(bytes((0, 0, 0, 0, 0, 0, 1, 2, 1, 2, 5, 1, name, value)))
    return found | {bytes((0, 0, 0, 0, 0, 0, 1, 1, 3, 11, less)) for less in range(0, 256, 8)}


def octets(number: int, size: int) -> bytes:
    """Octets that mean nothing, the same ones every time."""
    return hashlib.shake_128(b"%d" % number).digest(size)


INPUTS: dict[str, Callable[[], set[bytes]]] = {"scan": scan, "lane": lane, "response": response}


def write(directory: Path, target: str = "scan") -> list[Path]:
    """Write the inputs of a target, one file each; the files."""
    directory.mkdir(parents=True, exist_ok=True)
    files = []
    for made in sorted(INPUTS[target]()):
        files.append(directory / hashlib.sha256(made).hexdigest()[:20])
        files[-1].write_bytes(made)
    return files


if __name__ == "__main__":
    print(f"{len(write(Path(sys.argv[2]), sys.argv[1]))} inputs")
