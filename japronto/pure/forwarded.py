"""Whom a request is from and what it asked for, where proxies stand in front: what is believed of their word.

A proxy tells the client's address, scheme and host in fields: ``Forwarded`` (RFC 7239), or X-Forwarded-For
and its like, which no standard defines.  A client can send the same fields.  So two things are decided
here, and both are set up by whoever runs the server:

*Who* is believed: the peer, if it is allowed.  The fields list the hops, each proxy appending the one that
it heard from; so the list is walked from its right end, on through addresses that are allowed, and the first
that is not is the client.  What stands further left is what that client says.  ``*`` allows whoever connects,
and nobody else: the last entry, which the peer itself has written, is the client then.

*Which fields* are believed: those that are named, since a proxy hands on what it does not know.  Of one that
sets X-Forwarded-For, a smuggled Forwarded would be the client's own word; so it is one kind or the other,
never both.  X-Forwarded-Host and X-Forwarded-Port must be named by themselves, because most proxies leave
them as the client has sent them.

Garbage makes nobody better off.  Where the walk comes to something that is no address (``unknown``, an
obfuscated identifier, a line that breaks the grammar), nobody who is believed has said who the client is, and
its address is None.  It is not that of the proxy, as with nginx: a client that makes its proxy write
garbage would be taken for somebody at 127.0.0.1.  A scheme, host or port that is malformed counts
as not given.  Of several values of X-Forwarded-Proto, -Host or -Port the last counts: the nearest proxy has
written it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from japronto.pure.grammar import HOST_AND_PORT, OWS, QUOTED_STRING, TOKEN

if TYPE_CHECKING:
    from japronto.pure.request import Headers

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

FORWARDED: Final = "forwarded"
FOR: Final = "x-forwarded-for"
PROTO: Final = "x-forwarded-proto"
HOST: Final = "x-forwarded-host"
PORT: Final = "x-forwarded-port"
KINDS: Final = {"off": (), "x-forwarded": (FOR, PROTO), FORWARDED: (FORWARDED,)}
"""What can be asked for in place of names of fields."""

SCHEMES: Final = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
"""What proxies call the scheme of a request; some name WebSocket's where the client asks for an upgrade."""

_V4_MAPPED: Final = IPv6Network("::ffff:0:0/96")


class Origin(NamedTuple):
    """Where a request comes from; what nobody has said who is believed is None."""

    address: str | None
    """The client's."""
    scheme: str | None = None
    """``http`` or ``https``."""
    host: str | None = None
    """The host that the client asked for, without the port."""
    port: int | None = None


# -- Who is believed -------------------------------------------------------------------------

class AllowList:
    """Addresses and networks, ``unix`` for the peers of Unix sockets, ``*`` for all peers; with commas.

    Raises ValueError, with the end of a sentence that says why, when the text is something else.
    """

    __slots__ = ("_networks", "_peers", "_unix")

    def __init__(self, text: str) -> None:
        words = [word.strip() for word in text.split(",")]
        self._peers = "*" in words
        self._unix = self._peers or "unix" in words
        self._networks = [_network(word) for word in words if word not in ("*", "unix")]

    def takes(self, peername: object) -> bool:
        """Whether a peer is allowed; ``peername`` is what its transport says, None when it is not known."""
        if isinstance(peername, str):  # the name of a Unix socket, mostly empty
            return self._unix
        return (self._peers and peername is not None) or self.names(peername)

    def names(self, peername: object) -> bool:
        """Whether the address of a peer is on the list."""
        return isinstance(peername, tuple) and self.has(unmapped(ip_address(peername[0])))

    def has(self, address: Address) -> bool:
        """Whether an address is on the list; for ``*`` alone none is."""
        return any(address in network for network in self._networks)


def _network(word: str) -> Network:
    if word.lower() == "localhost":
        raise ValueError("must name addresses; write 127.0.0.1,::1 for localhost")
    try:
        network = ip_network(word, strict=False)
    except ValueError:
        raise ValueError(f"must name addresses such as 10.0.0.1, networks such as 10.0.0.0/8, unix or *, "
                         f"with commas between them, and {word!r} is none of these") from None
    if "/" in word and ip_address(word.partition("/")[0]) != network.network_address:
        raise ValueError(f"must name networks by their first address; write {network} for {word}")
    if isinstance(network, IPv6Network) and network.subnet_of(_V4_MAPPED):
        return IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))
    return network


def unmapped(address: Address) -> Address:
    """The IPv4 address that stands in an IPv6 one, as on a socket that takes both (RFC 4291 s.2.5.5.2)."""
    return getattr(address, "ipv4_mapped", None) or address


# -- Which fields are believed ---------------------------------------------------------------

def fields_of(text: str) -> frozenset[str]:
    """The fields that ``--proxy-headers`` names, in lower case.

    Raises ValueError, with the end of a sentence that says why, when the text is something else.
    """
    words = [word.strip().lower() for word in text.split(",")]
    names = frozenset(name for word in words for name in KINDS.get(word, (word,)))
    if "x-real-ip" in names:
        raise ValueError("cannot have x-real-ip, which does not tell by which proxies a request has come; "
                         f"let the proxy set X-Forwarded-For, and name x-forwarded or {FOR}")
    if not names <= {FORWARDED, FOR, PROTO, HOST, PORT} or ("off" in words and len(words) > 1):
        raise ValueError("must be x-forwarded, forwarded, off, or names of fields such as "
                         f"{FOR},{PROTO},{HOST}")
    if FORWARDED in names and len(names) > 1:
        raise ValueError("must not mix forwarded with x-forwarded, since a proxy sets only one of them, and "
                         "the other would be the client's word")
    return names


class Proxies:
    """What is believed of the word of proxies; ``fields`` and ``allowed`` are read as shown above.

    With ``handed_on`` a peer is whoever the header of the PROXY protocol names as the source.  ``*`` and
    ``unix`` are not for those: they tell who may send such a header.
    """

    __slots__ = ("_allowed", "_fields", "_handed_on")

    def __init__(self, fields: str, allowed: str, *, handed_on: bool = False) -> None:
        self._fields = fields_of(fields)
        self._allowed = AllowList(allowed)
        self._handed_on = handed_on

    def believe(self, peername: object) -> bool:
        """Whether a peer is believed."""
        return self._allowed.names(peername) if self._handed_on else self._allowed.takes(peername)

    def origin(self, headers: Headers, peername: object) -> Origin:
        """Where a request comes from that this peer has sent with these fields; raises nothing."""
        if not self.believe(peername):
            return Origin(address_of(peername))
        if FORWARDED in self._fields:
            return self._from_forwarded(headers.getall(FORWARDED), peername)
        address = address_of(peername)
        if FOR in self._fields:
            for text in _from_the_right(headers.getall(FOR)):
                hop = node_address(text, bare=True)
                address = None if hop is None else str(hop)
                if hop is None or not self._allowed.has(hop):
                    break
        scheme = SCHEMES.get(self._last(headers, PROTO).lower())
        host, port = split_host(self._last(headers, HOST))
        if port is None:
            port = port_number(self._last(headers, PORT))
        return Origin(address, scheme, host, port)

    def _last(self, headers: Headers, name: str) -> str:
        """The last value of a field; empty when there is none, or it is not believed."""
        values = headers.getall(name) if name in self._fields else ()
        return values[-1].rpartition(",")[2].strip("\t ") if values else ""

    def _from_forwarded(self, lines: list[str], peername: object) -> Origin:
        """From the element that names the client, which also tells how that has asked."""
        origin = Origin(address_of(peername))
        for element in _elements_from_the_right(lines):
            pairs = {} if element is None else parameters(element)
            hop = node_address(pairs.get("for", ""))
            origin = Origin(None if hop is None else str(hop), SCHEMES.get(pairs.get("proto", "").lower()),
                            *split_host(pairs.get("host", "")))
            if hop is None or not self._allowed.has(hop):
                break
        return origin


def address_of(peername: object) -> str | None:
    """The address in what a transport says of its peer; None on a Unix socket."""
    return str(peername[0]) if isinstance(peername, tuple) and peername else None


# -- What stands in the fields ---------------------------------------------------------------

def _from_the_right(lines: list[str]) -> Iterator[str]:
    """The members of a list, the last one first; empty ones are none (RFC 9110 s.5.6.1)."""
    for line in reversed(lines):
        for member in reversed(line.split(",")):
            if stripped := member.strip("\t "):
                yield stripped


# node = nodename [ ":" node-port ]                                        (RFC 7239 s.6)
# node-port = port / obfport; port = 1*5DIGIT; obfport = "_" 1*( ALPHA / DIGIT / "." / "_" / "-" )
_NODE = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]++)\]|(?P<v4>[0-9.]++))"
                   r"(?::(?:[0-9]{1,5}|_[0-9A-Za-z._-]++))?+").fullmatch
_BARE_V6 = re.compile(r"[0-9A-Fa-f:.]++").fullmatch


def node_address(node: str, *, bare: bool = False) -> Address | None:
    """The address in a node; None for ``unknown``, an obfuscated identifier, and what is no node at all.

    X-Forwarded-For also has IPv6 addresses without brackets, which is told by ``bare``.
    """
    match = _NODE(node)
    text = match[match.lastgroup or 0] if match else node if bare and _BARE_V6(node) else ""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if match and (address.version == 4) is not (match.lastgroup == "v4"):
        return None
    return unmapped(address)


_HOST = re.compile(f"({HOST_AND_PORT.decode()})").fullmatch


def split_host(text: str) -> tuple[str | None, int | None]:
    """A host and its port, as in Host (RFC 9110 s.7.2); nothing of both when one is malformed."""
    host, _, digits = text.rpartition(":") if re.search(r":[0-9]*$", text) else (text, "", "")
    port = port_number(digits)
    if not host or not _HOST(text) or (digits and port is None):
        return None, None
    return host, port


def port_number(digits: str) -> int | None:
    """A port; None when the text is none."""
    return int(digits) if re.fullmatch("[0-9]{1,5}", digits) and 0 < int(digits) < 65536 else None


# Forwarded = 1#forwarded-element                                          (RFC 7239 s.4)
# forwarded-element = [ forwarded-pair ] *( ";" [ forwarded-pair ] )
# forwarded-pair = token "=" value; value = token / quoted-string
# Wider than that: white space around the semicolons, which some proxies send.
_PAIR: Final = f"{TOKEN.decode()}=(?:{TOKEN.decode()}|{QUOTED_STRING.decode()})"
_OWS: Final = OWS.decode()
_ELEMENT: Final = f"(?:{_PAIR})?+{_OWS}(?:;{_OWS}(?:{_PAIR})?+{_OWS})*+"
_LINE = re.compile(f"{_OWS}{_ELEMENT}(?:,{_OWS}{_ELEMENT})*+").fullmatch
_ELEMENTS = re.compile(f"(?:^|,){_OWS}({_ELEMENT})").findall
_PAIRS = re.compile(f"({TOKEN.decode()})=(?:({TOKEN.decode()})|({QUOTED_STRING.decode()}))").findall


def _elements_from_the_right(lines: list[str]) -> Iterator[str | None]:
    """The elements of Forwarded, the last one first; None stands for a line that breaks the grammar.

    Lines are taken one by one, although they could be joined (RFC 9110 s.5.3): a quote that a client has
    left open ends with its line, and does not swallow what the proxy has added in a line of its own.
    """
    for line in reversed(lines):
        if not _LINE(line):
            yield None
            return
        for element in reversed(_ELEMENTS(line)):
            if element.strip("\t ;"):
                yield element


def parameters(element: str) -> dict[str, str]:
    """The parameters of an element, by names in lower case; none where one stands twice (RFC 7239 s.4)."""
    pairs: dict[str, str] = {}
    for name, token, quoted in _PAIRS(element):
        if name.lower() in pairs:
            return {}
        pairs[name.lower()] = token or _unquoted(quoted)
    return pairs


def _unquoted(quoted: str) -> str:
    return re.sub(r"\\(.)", r"\1", quoted[1:-1], flags=re.DOTALL)
