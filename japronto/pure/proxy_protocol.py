"""The header with which a proxy opens a connection that it hands on: the PROXY protocol, versions 1 and 2.

It stands ahead of all else and says between whom the connection really is.  The source of all rules is
https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt, whose sections are cited.

The header is required: a peer that may choose whether to send one, or whose garbage is forgiven, could say
what it likes.  So whatever is not exactly a header is a Fault, and the connection is to be closed.  Where the
specification leaves a choice the stricter one is taken: what speaks of datagrams, or holds additions
(TLVs) that do not add up, is refused.  Additions are not looked at but for the checksum.

A verdict hangs on the octets alone and not on how they were cut into reads: each is reached at the first
octet that leaves no other.
"""

from __future__ import annotations

import functools
import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, NamedTuple, TypeAlias

from japronto.pure.forwarded import unmapped

Endpoint: TypeAlias = tuple[str, int] | tuple[str, int, int, int] | str
"""As ``socket.getpeername`` gives it: of IPv4, of IPv6, and the path of a Unix socket."""


class Ends(NamedTuple):
    """The two ends of a connection; None stands for "as the socket says": the proxy speaks for itself."""

    source: Endpoint | None
    destination: Endpoint | None


class Preamble(NamedTuple):
    """A whole header, and what has come behind it."""

    ends: Ends
    rest: bytes


class Fault(NamedTuple):
    """Why something is not a header; the end of a sentence."""

    reason: str


OWN: Final = Ends(None, None)

LINE_MAX: Final = 107
"""Octets of the longest line of version 1, CRLF included (s.2.1)."""
SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
"""What version 2 begins with (s.2.2)."""
V1: Final = b"PROXY "
HEAD: Final = 16
"""Octets of version 2 that tell how many follow."""
ENDS_BYTES: Final = {0x11: 12, 0x21: 36, 0x31: 216}
"""Octets of two ends, by family and kind: TCP over IPv4, TCP over IPv6, Unix stream (s.2.2)."""
UNSPEC: Final = 0x00
LOCAL: Final = 0x20
PROXY: Final = 0x21
TYPE_CRC32C: Final = 0x03

NOT_A_HEADER: Final = Fault("it does not begin with a header of the PROXY protocol")
MALFORMED_LINE: Final = Fault("the line of version 1 is malformed")
LONG_LINE: Final = Fault("the line of version 1 does not end in time")
NOT_VERSION_2: Final = Fault("the version or the command is unknown")
NOT_A_STREAM: Final = Fault("the addresses are not those of a stream")
SHORT: Final = Fault("the header is too short for its addresses")
LONG: Final = Fault("the header is longer than this server takes")
MALFORMED_TLV: Final = Fault("what follows the addresses is malformed")
CHECKSUM: Final = Fault("the checksum is wrong")


class PreambleReader:
    """Takes octets until the header is whole; ``bytes_max`` bounds version 2."""

    __slots__ = ("_buffer", "_bytes_max")

    def __init__(self, bytes_max: int) -> None:
        self._buffer = b""
        self._bytes_max = bytes_max

    def feed(self, data: bytes) -> Preamble | Fault | None:
        """Take octets; None as long as more are needed.  Raises nothing; a verdict is the last word."""
        self._buffer += data
        if _begins(self._buffer, V1):
            return self._version_1()
        if _begins(self._buffer, SIGNATURE):
            return self._version_2()
        return NOT_A_HEADER

    def _version_1(self) -> Preamble | Fault | None:
        end = self._buffer.find(b"\r\n", 0, LINE_MAX)
        if end < 0:
            return LONG_LINE if len(self._buffer) >= LINE_MAX else None
        ends = _ends_of_line(self._buffer[:end])
        return MALFORMED_LINE if ends is None else Preamble(ends, self._buffer[end + 2:])

    def _version_2(self) -> Preamble | Fault | None:
        buffer = self._buffer
        if len(buffer) > 12 and buffer[12] not in (LOCAL, PROXY):
            return NOT_VERSION_2
        local = buffer[12:13] == bytes((LOCAL,))
        if len(buffer) > 13 and not local and buffer[13] not in (UNSPEC, *ENDS_BYTES):
            return NOT_A_STREAM
        if len(buffer) < HEAD:
            return None
        size = HEAD + int.from_bytes(buffer[14:HEAD])
        if not local and size < HEAD + ENDS_BYTES.get(buffer[13], 0):
            return SHORT
        if size > self._bytes_max:
            return LONG
        if len(buffer) < size:
            return None
        # Whatever LOCAL says of addresses is ignored, and where additions would begin hangs on that.
        ends = OWN if local else _ends_of_block(buffer[:size])
        return ends if isinstance(ends, Fault) else Preamble(ends, buffer[size:])


def _begins(buffer: bytes, word: bytes) -> bool:
    """Whether a buffer begins with a word, as far as it goes."""
    return word.startswith(buffer[:len(word)])


# -- Version 1 ---------------------------------------------------------------------------------------

# "PROXY" SP ( "TCP4" / "TCP6" ) SP source SP destination SP source-port SP destination-port CRLF
# Of UNKNOWN, whatever stands ahead of CRLF is ignored.                                          (s.2.1)
_LINE = re.compile(rb"PROXY (?:UNKNOWN(?: .*)?|TCP([46]) ([0-9A-Fa-f:.]++) ([0-9A-Fa-f:.]++)"
                   rb" (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4}))", re.DOTALL).fullmatch


def _ends_of_line(line: bytes) -> Ends | None:
    match = _LINE(line)
    if match is None:
        return None
    version, *rest = (group and group.decode() for group in match.groups())
    if version is None:
        return OWN
    kind = IPv4Address if version == "4" else IPv6Address
    try:
        addresses = [kind(text) for text in rest[:2]]
    except ValueError:
        return None
    ports = [int(text) for text in rest[2:]]
    if max(ports) > 65535:
        return None
    return Ends(*map(_endpoint, addresses, ports))


def _endpoint(address: IPv4Address | IPv6Address, port: int) -> Endpoint:
    address = unmapped(address)
    return (str(address), port) if address.version == 4 else (str(address), port, 0, 0)


# -- Version 2 ---------------------------------------------------------------------------------------

def _ends_of_block(block: bytes) -> Ends | Fault:
    """The ends in a whole header with the command PROXY."""
    family = block[13]
    start = HEAD + ENDS_BYTES.get(family, 0)
    fault = _fault_of_additions(block, start)
    if fault is not None:
        return fault
    if family == UNSPEC:
        return OWN
    ends = block[HEAD:start]
    if family == 0x31:
        return Ends(_path(ends[:108]), _path(ends[108:]))
    size = 4 if family == 0x11 else 16
    ports = int.from_bytes(ends[-4:-2]), int.from_bytes(ends[-2:])
    return Ends(*map(_endpoint, (ip_address(ends[:size]), ip_address(ends[size:2 * size])), ports))


def _path(octets: bytes) -> str:
    return octets.rstrip(b"\0").decode("utf-8", "surrogateescape")


def _fault_of_additions(block: bytes, start: int) -> Fault | None:
    """What is wrong with the TLVs: type, length in two octets, value (s.2.2)."""
    checked = False  # Once is enough: a sum takes time, and there is room for hundreds.
    while start < len(block):
        if start + 3 > len(block):
            return MALFORMED_TLV
        value = start + 3
        end = value + int.from_bytes(block[start + 1:value])
        if end > len(block):
            return MALFORMED_TLV
        if block[start] == TYPE_CRC32C:
            if end - value != 4 or checked:
                return MALFORMED_TLV
            checked = True
            zeroed = block[:value] + bytes(4) + block[end:]                                  # s.2.2.4
            if crc32c(zeroed) != int.from_bytes(block[value:end]):
                return CHECKSUM
        start = end
    return None


@functools.cache
def _crc32c_table() -> tuple[int, ...]:
    """Of each octet, for the polynomial of Castagnoli (RFC 3309 appendix B), bits reversed."""
    def entry(value: int) -> int:
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        return value

    return tuple(map(entry, range(256)))


def crc32c(data: bytes) -> int:
    """The checksum that version 2 may carry."""
    table, value = _crc32c_table(), 0xFFFFFFFF
    for octet in data:
        value = value >> 8 ^ table[(value ^ octet) & 0xFF]
    return value ^ 0xFFFFFFFF
