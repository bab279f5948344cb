"""The header of the PROXY protocol: the octets, and what they say."""

from __future__ import annotations

import pytest

from japronto.pure import proxy_protocol
from japronto.pure.proxy_protocol import (
    CHECKSUM,
    LONG,
    LONG_LINE,
    MALFORMED_LINE,
    MALFORMED_TLV,
    NOT_A_HEADER,
    NOT_A_STREAM,
    NOT_VERSION_2,
    OWN,
    SHORT,
    SIGNATURE,
    Ends,
    Fault,
    Preamble,
    PreambleReader,
    crc32c,
)

V4 = bytes((1, 2, 3, 4, 10, 0, 0, 1)) + (1000).to_bytes(2) + (80).to_bytes(2)
V6 = bytes.fromhex("20010db8" + "0" * 23 + "1" + "0" * 31 + "1") + (1000).to_bytes(2) + (80).to_bytes(2)
LONGEST = ":".join(["ffff"] * 8)
ENDS = Ends(("1.2.3.4", 1000), ("10.0.0.1", 80))


def block(octets: bytes = V4, family: int = 0x11, command: int = 0x21, length: int | None = None) -> bytes:
    """A header of version 2."""
    size = len(octets) if length is None else length
    return SIGNATURE + bytes((command, family)) + size.to_bytes(2) + octets


def tlv(kind: int, value: bytes) -> bytes:
    return bytes((kind,)) + len(value).to_bytes(2) + value


def checked(*additions: bytes, flip: int = 0) -> bytes:
    """A header with a checksum, ahead of other additions."""
    zeroed = block(V4 + tlv(3, bytes(4)) + b"".join(additions))
    at = len(block()) + 3
    return zeroed[:at] + (crc32c(zeroed) ^ flip).to_bytes(4) + zeroed[at + 4:]


def read(octets: bytes, bytes_max: int = 4096) -> Preamble | Fault | None:
    return PreambleReader(bytes_max).feed(octets)


@pytest.mark.parametrize(("octets", "ends"), [
    # Version 1, the examples of s.2.1 among them
    (b"PROXY TCP4 1.2.3.4 10.0.0.1 1000 80\r\n", ENDS),
    (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
     Ends(("255.255.255.255", 65535), ("255.255.255.255", 65535))),
    (b"PROXY TCP6 %b %b 65535 65535\r\n" % (LONGEST.encode(), LONGEST.encode()),
     Ends((LONGEST, 65535, 0, 0), (LONGEST, 65535, 0, 0))),
    (b"PROXY TCP6 2001:DB8:0::1 ::1 0 1\r\n", Ends(("2001:db8::1", 0, 0, 0), ("::1", 1, 0, 0))),
    (b"PROXY TCP6 ::ffff:1.2.3.4 ::1 1000 1\r\n", Ends(("1.2.3.4", 1000), ("::1", 1, 0, 0))),
    (b"PROXY UNKNOWN\r\n", OWN),
    (b"PROXY UNKNOWN ffff:f...f:ffff whatever 65535 65535\r\n", OWN),
    # Version 2
    (block(), ENDS),
    (block(V6, 0x21), Ends(("2001:db8::1", 1000, 0, 0), ("::1", 80, 0, 0))),
    (block(b"/run/a".ljust(108, b"\0") + b"\0abstract".ljust(108, b"\0"), 0x31),
     Ends("/run/a", "\0abstract")),
    (block(b"x" * 108 + b"\xff" * 108, 0x31), Ends("x" * 108, "\udcff" * 108)),
    (block(b"", 0x00), OWN),
    (block(tlv(4, b"padding"), 0x00), OWN),
    (block(b"", 0x00, 0x20), OWN),
    (block(V4, 0x11, 0x20), OWN),
    (block(b"garbage", 0xEE, 0x20), OWN),  # LOCAL: all of it is ignored.
    (block(V4 + tlv(1, b"http/1.1") + tlv(0xE0, b"") + tlv(4, bytes(100))), ENDS),
    (block(V6 + tlv(2, b"example.org"), 0x21), Ends(("2001:db8::1", 1000, 0, 0), ("::1", 80, 0, 0))),
    (checked(), ENDS), (checked(tlv(0x20, b"more")), ENDS),
])
def test_a_header(octets: bytes, ends: Ends) -> None:
    assert read(octets) == Preamble(ends, b"")
    assert read(octets + b"GET / HTTP/1.1\r\n") == Preamble(ends, b"GET / HTTP/1.1\r\n")
    assert read(octets[:-1]) is None


@pytest.mark.parametrize(("octets", "fault"), [
    (b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", NOT_A_HEADER),
    (b"\x16\x03\x01\x02\x00", NOT_A_HEADER),
    (b"\r\nPROXY TCP4 1.2.3.4 10.0.0.1 1000 80\r\n", NOT_A_HEADER),
    (b"proxy TCP4 1.2.3.4 10.0.0.1 1000 80\r\n", NOT_A_HEADER),
    (b"PROXYTCP4", NOT_A_HEADER),
    (SIGNATURE[:-1] + b"!", NOT_A_HEADER),
    (b"PROXY TCP4 1.2.3.4 10.0.0.1 1000 80\n" + b" " * 80, LONG_LINE),
    (b"PROXY " + b"x" * 101, LONG_LINE),
    (b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n", LONG_LINE),  # 108 octets
    (b"PROXY \r\n", MALFORMED_LINE), (b"PROXY TCP4\r\n", MALFORMED_LINE),
    (b"PROXY UNKNOWNX\r\n", MALFORMED_LINE),
    (b"PROXY  TCP4 1.2.3.4 10.0.0.1 1000 80\r\n", MALFORMED_LINE),
    (b"PROXY TCP4 1.2.3.4  10.0.0.1 1000 80\r\n", MALFORMED_LINE),
    (b"PROXY TCP4 1.2.3.4 10.0.0.1 1000 80 \r\n", MALFORMED_LINE),
    (b"PROXY TCP4 1.2.3.4 10.0.0.1 1000\r\n", MALFORMED_LINE),
    (b"PROXY TCP4 ::1 ::1 1000 80\r\n", MALFORMED_LINE),
    (b"PROXY TCP6 1.2.3.4 1.2.3.4 1 1\r\n", MALFORMED_LINE),
    (b"PROXY TCP4 1.2.3.256 10.0.0.1 1000 80\r\n", MALFORMED_LINE),
    (b"PROXY TCP4 1.2.3.04 10.0.0.1 1000 80\r\n", MALFORMED_LINE),
    (b"PROXY TCP4 1.2.3.4 10.0.0.1 1000 65536\r\n", MALFORMED_LINE),
    (b"PROXY TCP4 1.2.3.4 10.0.0.1 01 80\r\n", MALFORMED_LINE),
    (b"PROXY TCP4 1.2.3.4 10.0.0.1 +1 80\r\n", MALFORMED_LINE),
    (b"PROXY TCP6 ::1%lo ::1 1 1\r\n", MALFORMED_LINE), (b"PROXY TCP6 [::1] ::1 1 1\r\n", MALFORMED_LINE),
    (b"PROXY UDP4 1.2.3.4 10.0.0.1 1000 80\r\n", MALFORMED_LINE),
    (block(command=0x11), NOT_VERSION_2), (block(command=0x22), NOT_VERSION_2),
    (block(command=0), NOT_VERSION_2),
    (block(family=0x12), NOT_A_STREAM), (block(family=0x41), NOT_A_STREAM),
    (block(family=0x01), NOT_A_STREAM),
    (block(V4[:-1]), SHORT), (block(V4, 0x21), SHORT), (block(V4, 0x31), SHORT),
    (block(bytes(4081)), LONG), (block(b"", 0, 0x20, 65535), LONG),
    (block(V4 + b"\x04"), MALFORMED_TLV), (block(V4 + b"\x04\x00\x05abcd"), MALFORMED_TLV),
    (block(V4 + tlv(3, b"123")), MALFORMED_TLV), (block(b"\x04\x00", 0x00), MALFORMED_TLV),
    (checked(flip=1), CHECKSUM), (checked(tlv(3, bytes(4))), MALFORMED_TLV),
])
def test_what_is_no_header(octets: bytes, fault: Fault) -> None:
    assert read(octets) == fault
    reader = PreambleReader(4096)
    assert next(filter(None, (reader.feed(bytes((octet,))) for octet in octets))) == fault


def test_the_longest_line_and_the_longest_block() -> None:
    line = b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n"
    assert (len(line), read(line)) == (107, Preamble(OWN, b""))
    whole = block(V4 + tlv(4, bytes(4096 - 16 - 12 - 3)))
    assert (len(whole), read(whole)) == (4096, Preamble(ENDS, b""))
    assert read(whole, 4095) == LONG


def test_the_checksum() -> None:
    """The test vectors of RFC 3720 appendix B.4, which are read the other way round there."""
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43


def test_the_names_of_the_faults_end_a_sentence() -> None:
    faults = [value for value in vars(proxy_protocol).values() if isinstance(value, Fault)]
    assert len(faults) == len({fault.reason for fault in faults}) == 9
    assert all(fault.reason[-1].isalpha() for fault in faults)
