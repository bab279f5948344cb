"""Proxies: whatever a client sends, a proxy that is believed has the last word, however octets are cut."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

from hypothesis import example, given
from hypothesis import strategies as st

from japronto.pure.forwarded import SCHEMES, Proxies, unmapped
from japronto.pure.proxy_protocol import SIGNATURE, Ends, Fault, Preamble, PreambleReader, crc32c
from japronto.pure.request import Headers

from . import strategies

PEER = ("10.0.0.1", 1000)
ALLOWED = "10.0.0.0/8"
CLIENTS = (st.ip_addresses(v=4, network="192.0.2.0/24")
           | st.ip_addresses(v=6, network="2001:db8::/32")).map(str)
HOPS = st.lists(st.ip_addresses(v=4, network="10.0.0.0/8").map(str), max_size=3)
VALUES = st.text(strategies.VALUE_CHARS, max_size=60) | st.lists(st.sampled_from(
    ["for=", "proto=https", "host=", "1.2.3.4", "[::1]", '"', "\\", ",", ";", " ", "=", "unknown", "10.0.0.1",
     "https", "evil", ":80"]), max_size=12).map("".join)
NAMES = st.sampled_from(("Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host",
                         "X-Forwarded-Port"))


def headers(*lines: tuple[str, str]) -> Headers:
    return Headers(b"\n" + "".join(f"{name}: {value}\r\n" for name, value in lines).encode("latin-1"))


@given(lines=st.lists(st.tuples(NAMES, VALUES), max_size=5),
       fields=st.sampled_from(("forwarded", "x-forwarded,x-forwarded-host,x-forwarded-port")))
def test_what_is_believed_is_well_formed(lines: list[tuple[str, str]], fields: str) -> None:
    address, scheme, host, port = Proxies(fields, ALLOWED).origin(headers(*lines), PEER)
    assert address is None or str(ip_address(address)) == address
    assert scheme in {None, *SCHEMES.values()}
    assert host is None or (host and not set(host) & set(' /@"\\'))
    assert port is None or 0 < port < 65536


@given(said=st.lists(VALUES, max_size=3), client=CLIENTS, hops=HOPS, joined=st.booleans())
def test_x_forwarded_for_cannot_be_forged(said: list[str], client: str, hops: list[str],
                                          joined: bool) -> None:
    """The proxy has heard from the client, and others that are allowed have handed it on."""
    appended = ", ".join([client, *hops])
    values = [", ".join([*said, appended])] if joined else [*said, appended]
    origin = Proxies("x-forwarded", ALLOWED).origin(
        headers(*(("X-Forwarded-For", value) for value in values)), PEER)
    assert origin.address == client


@example(said='for="', client="192.0.2.1", hops=[])
@given(said=VALUES, client=CLIENTS, hops=HOPS)
def test_forwarded_cannot_be_forged(said: str, client: str, hops: list[str]) -> None:
    """In a line of its own, what the proxy says holds.

    Appended to the line of the client it may be spoilt by that, but nobody else is believed.
    """
    appended = ", ".join(f'for="[{hop}]"' if ":" in hop else f"for={hop}" for hop in (client, *hops))
    proxies = Proxies("forwarded", ALLOWED)
    apart = proxies.origin(headers(("Forwarded", said), ("Forwarded", appended)), PEER)
    joined = proxies.origin(headers(("Forwarded", f"{said}, {appended}")), PEER)
    assert apart.address == client
    assert joined.address in (client, None)


# -- The PROXY protocol ------------------------------------------------------------------------------

PORTS = st.integers(0, 65535)
PAIRS = (st.tuples(st.ip_addresses(v=4), PORTS, st.ip_addresses(v=4), PORTS)
         | st.tuples(st.ip_addresses(v=6), PORTS, st.ip_addresses(v=6), PORTS))
TLVS = st.lists(st.tuples(st.integers(4, 255), st.binary(max_size=30)), max_size=3)
Pair = tuple[IPv4Address | IPv6Address, int, IPv4Address | IPv6Address, int]


def end(address: IPv4Address | IPv6Address, port: int) -> tuple[str, int] | tuple[str, int, int, int]:
    plain = unmapped(address)
    return (str(plain), port) if plain.version == 4 else (str(plain), port, 0, 0)


def version_1(pair: Pair) -> bytes:
    source, source_port, destination, port = pair
    return f"PROXY TCP{source.version} {source} {destination} {source_port} {port}\r\n".encode()


def version_2(pair: Pair, tlvs: list[tuple[int, bytes]], checksum: bool) -> bytes:
    source, source_port, destination, port = pair
    ends = source.packed + destination.packed + source_port.to_bytes(2) + port.to_bytes(2)
    more = b"".join(bytes((kind,)) + len(value).to_bytes(2) + value for kind, value in tlvs)
    sum_at = 16 + len(ends) + len(more) + 3
    content = ends + more + (b"\x03\0\x04" + bytes(4) if checksum else b"")
    family = 0x11 if source.version == 4 else 0x21
    block = SIGNATURE + bytes((0x21, family)) + len(content).to_bytes(2) + content
    return block[:sum_at] + crc32c(block).to_bytes(4) if checksum else block


HEADERS = (PAIRS.map(version_1) | st.builds(version_2, PAIRS, TLVS, st.booleans())
           | st.sampled_from((b"PROXY UNKNOWN\r\n", SIGNATURE + b"\x20\0\0\0")))


@st.composite
def nearly(draw: st.DrawFn) -> bytes:
    """A header with a mistake in it, mostly."""
    octets = bytearray(draw(HEADERS))
    for _ in range(draw(st.integers(0, 2))):
        octets[draw(st.integers(0, len(octets) - 1))] = draw(st.integers(0, 255))
    return bytes(octets) + draw(st.binary(max_size=20))


def verdict(pieces: list[bytes]) -> Preamble | Fault | None:
    """What a reader says that is fed these; what comes behind a header is handed on."""
    reader = PreambleReader(300)
    for number, piece in enumerate(pieces):
        found = reader.feed(piece)
        if isinstance(found, Preamble):
            return found._replace(rest=found.rest + b"".join(pieces[number + 1:]))
        if found is not None:
            return found
    return None


@given(pair=PAIRS, tlvs=TLVS, checksum=st.booleans(), rest=st.binary(max_size=20))
def test_what_was_said_is_heard(pair: Pair, tlvs: list[tuple[int, bytes]], checksum: bool,
                                rest: bytes) -> None:
    heard = Preamble(Ends(end(*pair[:2]), end(*pair[2:])), rest)
    assert verdict([version_1(pair) + rest]) == heard
    assert verdict([version_2(pair, tlvs, checksum) + rest]) == heard


@given(octets=nearly() | st.binary(max_size=40), data=st.data())
def test_any_cut_gives_the_same_verdict(octets: bytes, data: st.DataObject) -> None:
    whole = verdict([octets])
    assert verdict(data.draw(strategies.cuts(octets))) == whole
    assert verdict([octets[at:at + 1] for at in range(len(octets))]) == whole


@given(octets=st.binary(max_size=400), start=st.sampled_from((b"PROXY ", SIGNATURE, SIGNATURE + b"\x21\x11")))
def test_a_reader_comes_to_an_end(octets: bytes, start: bytes) -> None:
    """It never holds more than its bound and one read."""
    found = verdict([start + octets + b"x" * 400])
    assert found is not None
