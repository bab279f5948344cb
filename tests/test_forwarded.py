"""What is believed of the fields of proxies, and what is not."""

from __future__ import annotations

import re
from typing import Any

import pytest

from japronto import Application, Request, Response
from japronto.config import ServerConfig
from japronto.errors import UsageError
from japronto.pure.forwarded import AllowList, Origin, Proxies, fields_of, node_address
from japronto.pure.request import Headers

PROXY = ("10.0.0.1", 1000)
ALLOWED = "10.0.0.0/8, 2001:db8::/32, unix"
LISTED = "x-forwarded-for,x-forwarded-proto,x-forwarded-host,x-forwarded-port"
NOBODY = Origin(None)


def origin(*lines: str, fields: str = LISTED, allowed: str = ALLOWED, peername: object = PROXY) -> Origin:
    """Where a request is from whose header section has these lines."""
    section = "".join(f"{line}\r\n" for line in ("Host: own:8080", *lines))
    return Proxies(fields, allowed).origin(Headers(b"\n" + section.encode("latin-1")), peername)


def address(*lines: str, **options: Any) -> str | None:
    return origin(*lines, **options).address


# Who is believed

@pytest.mark.parametrize(("allowed", "peername", "taken"), [
    ("127.0.0.1,::1", ("127.0.0.1", 1), True),
    ("127.0.0.1,::1", ("::1", 1, 0, 0), True),
    ("127.0.0.1,::1", ("127.0.0.2", 1), False),
    ("127.0.0.1", ("::ffff:127.0.0.1", 1, 0, 0), True),  # a socket that takes both kinds
    ("::ffff:10.0.0.0/104", ("10.1.2.3", 1), True),
    ("10.0.0.0/8, 192.168.0.0/16", ("192.168.3.4", 1), True),
    ("10.0.0.0/8", ("11.0.0.0", 1), False),
    ("fe80::/10", ("fe80::1%eth0", 1, 0, 2), True),
    ("127.0.0.1", "", False), ("unix", "", True), ("unix", "/run/proxy", True), ("*", "", True),
    ("unix", ("127.0.0.1", 1), False), ("*", ("8.8.8.8", 1), True),
    ("*", None, False), ("unix", None, False),  # gone before anybody could ask who it was
])
def test_who_is_allowed(allowed: str, peername: object, taken: bool) -> None:
    assert AllowList(allowed).takes(peername) is taken
    assert address("X-Forwarded-For: 1.2.3.4", allowed=allowed, peername=peername) == (
        "1.2.3.4" if taken else peername[0] if isinstance(peername, tuple) else None)


@pytest.mark.parametrize("text", ["", ",", "10.0.0.1/33", "10.0.0", "unix:", "**", "10.0.0.1;::1",
                                  "10.0.0.1 10.0.0.2", "[::1]"])
def test_what_is_no_list(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must name addresses such as .* and '.*' is none of these$"):
        AllowList(text)


@pytest.mark.parametrize("field", ["X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https",
                                   "X-Forwarded-Host: evil", "X-Forwarded-Port: 443"])
def test_a_stranger_is_not_believed(field: str) -> None:
    assert origin(field, peername=("8.8.8.8", 1)) == Origin("8.8.8.8")


def test_a_stranger_is_not_believed_by_forwarded() -> None:
    line = "Forwarded: for=1.2.3.4;proto=https;host=evil"
    assert origin(line, fields="forwarded", peername=("8.8.8.8", 1)) == Origin("8.8.8.8")


# Which fields are believed

@pytest.mark.parametrize(("text", "fields"), [
    ("off", set()),
    ("x-forwarded", {"x-forwarded-for", "x-forwarded-proto"}),
    ("forwarded", {"forwarded"}),
    ("X-Forwarded, X-Forwarded-Host", {"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"}),
    ("x-forwarded-proto", {"x-forwarded-proto"}),
])
def test_fields(text: str, fields: set[str]) -> None:
    assert fields_of(text) == fields


@pytest.mark.parametrize(("text", "remedy"), [
    ("10.0.0.1/8", "must name networks by their first address; write 10.0.0.0/8 for 10.0.0.1/8"),
    ("::1, fd00::1/8", "must name networks by their first address; write fd00::/8 for fd00::1/8"),
    ("LocalHost", "must name addresses; write 127.0.0.1,::1 for localhost")])
def test_what_is_nearly_a_list(text: str, remedy: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(remedy) + "$"):
        AllowList(text)


def test_a_field_that_does_not_say_enough() -> None:
    with pytest.raises(ValueError, match=r"^cannot have x-real-ip.* let the proxy set X-Forwarded-For"):
        fields_of("X-Real-IP, x-forwarded-proto")


@pytest.mark.parametrize("text", ["", "on", "true", "off,x-forwarded", "x-forwarded-for,,"])
def test_what_names_no_fields(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be x-forwarded, forwarded, off, or names of fields such as"):
        fields_of(text)


@pytest.mark.parametrize("text", ["forwarded,x-forwarded", "x-forwarded-host,forwarded"])
def test_both_kinds_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must not mix forwarded with x-forwarded"):
        fields_of(text)


def test_the_kind_that_the_proxy_does_not_set_is_the_clients_word() -> None:
    forwarded, listed = "Forwarded: for=6.6.6.6;proto=https;host=evil", "X-Forwarded-For: 1.2.3.4"
    assert origin(forwarded, listed) == Origin("1.2.3.4")
    smuggled = ("X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil")
    assert origin("Forwarded: for=1.2.3.4", *smuggled, fields="forwarded") == Origin("1.2.3.4")


def test_host_and_port_are_believed_only_when_named() -> None:
    lines = ("X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil",
             "X-Forwarded-Port: 99")
    assert origin(*lines, fields="x-forwarded") == Origin("1.2.3.4", "https")
    assert origin(*lines, fields="x-forwarded,x-forwarded-port") == Origin("1.2.3.4", "https", None, 99)


@pytest.mark.parametrize(("name", "value"), [
    ("proxy_headers", "on"), ("proxy_headers", "forwarded,x-forwarded"), ("proxy_headers", 1),
    ("forwarded_allow_ips", "localhost"), ("forwarded_allow_ips", "off"),
    ("forwarded_allow_ips", ["127.0.0.1"])])
def test_a_config_with_a_mistake_is_refused(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"^{name} must .*; it is {re.escape(repr(value))}$"):
        ServerConfig(**{name: value})  # type: ignore[arg-type]


# The walk

@pytest.mark.parametrize(("values", "client"), [
    ([], "10.0.0.1"),  # The proxy speaks for itself.
    (["1.2.3.4"], "1.2.3.4"),
    (["1.2.3.4:5678"], "1.2.3.4"),
    (["2001:0DB9::1"], "2001:db9::1"),
    (["[2001:db9::1]"], "2001:db9::1"),
    (["[2001:db9::1]:80"], "2001:db9::1"),
    (["::ffff:1.2.3.4"], "1.2.3.4"),
    # Whatever stands left of the client is what that says.
    (["6.6.6.6, 1.2.3.4"], "1.2.3.4"),
    (["127.0.0.1, 1.2.3.4"], "1.2.3.4"),
    (["garbage, 1.2.3.4"], "1.2.3.4"),
    (['"quoted, 1.2.3.4'], "1.2.3.4"),
    # On through those that are allowed.
    (["6.6.6.6, 1.2.3.4, 10.9.9.9"], "1.2.3.4"),
    (["6.6.6.6, 1.2.3.4, 2001:db8::9,10.9.9.9"], "1.2.3.4"),
    (["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
    # Lines are one list, in order.
    (["6.6.6.6", "1.2.3.4"], "1.2.3.4"),
    (["6.6.6.6, 1.2.3.4", "10.0.0.2"], "1.2.3.4"),
    (["1.2.3.4, ", ", ", ""], "1.2.3.4"),  # Empty members are none.
    # Garbage: nobody has said who it is.
    (["unknown"], None), (["_hidden"], None), (["6.6.6.6, unknown"], None), (["6.6.6.6, x, 10.0.0.2"], None),
    (["1.2.3"], None), (["1.2.3.4.5"], None), (["01.2.3.4"], None), (["1.2.3.256"], None), (["1"], None),
    (["1.2.3.4:"], None), (["1.2.3.4:x"], None), (["1.2.3.4:123456"], None), (["[1.2.3.4]"], None),
    (["[::1"], None), (["::1]"], None), (["[::1]x"], None), (["fe80::1%eth0"], None), (["1.2.3.4 5"], None),
    (["\u00b9.2.3.4"], None), (["0x7f.1"], None), (["::" + "0" * 9999], None), (["6.6.6.6;1.2.3.4"], None),
    (["unix:"], None),
])
def test_x_forwarded_for(values: list[str], client: str | None) -> None:
    assert address(*(f"X-Forwarded-For: {value}" for value in values)) == client


def test_a_peer_on_a_unix_socket() -> None:
    assert address("X-Forwarded-For: 6.6.6.6, 1.2.3.4", peername="") == "1.2.3.4"
    assert address(peername="") is None


def test_everybody_is_believed_for_one_step() -> None:
    """The peer has written the last entry; whoever wrote the others may be the client itself."""
    assert address("X-Forwarded-For: 6.6.6.6, 1.2.3.4", allowed="*", peername=("8.8.8.8", 1)) == "1.2.3.4"
    assert address("X-Forwarded-For: 6.6.6.6, 1.2.3.4, 10.0.0.1", allowed="*,10.0.0.0/8",
                   peername=("8.8.8.8", 1)) == "1.2.3.4"


def test_who_may_send_a_header_is_not_believed_for_that() -> None:
    """With the PROXY protocol, the peer is whoever the header names, and that may be anybody."""
    proxies = Proxies(LISTED, "*,unix,10.0.0.0/8", handed_on=True)
    assert [proxies.believe(peername) for peername in (PROXY, ("8.8.8.8", 1), "", "/run/socket", None)] == [
        True, False, False, False, False]


# Scheme, host and port

@pytest.mark.parametrize(("values", "scheme"), [
    (["https"], "https"), (["HTTP"], "http"), (["wss"], "https"), (["ws"], "http"),
    (["http", "https"], "https"), (["https, http"], "http"),
    (["ftp"], None), (["https;"], None), (["https,"], None), ([""], None), (["https", "x"], None), ([], None),
])
def test_x_forwarded_proto(values: list[str], scheme: str | None) -> None:
    assert origin(*(f"X-Forwarded-Proto: {value}" for value in values)).scheme == scheme


@pytest.mark.parametrize(("lines", "expected"), [
    (["Host: example.org"], ("example.org", None)),
    (["Host: example.org:8443"], ("example.org", 8443)),
    (["Host: example.org:"], ("example.org", None)),
    (["Host: [2001:db8::1]:8443"], ("[2001:db8::1]", 8443)),
    (["Host: [2001:db8::1]"], ("[2001:db8::1]", None)),
    (["Host: evil, example.org"], ("example.org", None)),
    (["Host: evil", "Host: example.org"], ("example.org", None)),
    (["Host: example.org", "Port: 443"], ("example.org", 443)),
    (["Host: example.org:1", "Port: 443"], ("example.org", 1)),
    (["Port: 443"], (None, 443)), (["Port: 443, 80"], (None, 80)),
    (["Host: exa mple"], (None, None)), (["Host: a/b"], (None, None)), (["Host: user@a"], (None, None)),
    (["Host: a:b"], (None, None)), (["Host: a:0"], (None, None)), (["Host: a:65536"], (None, None)),
    (["Host: :80"], (None, None)), (["Host: ::1"], (None, None)), (["Host: a\u00e9"], (None, None)),
    (["Port: 0"], (None, None)), (["Port: 65536"], (None, None)), (["Port: x"], (None, None)),
])
def test_x_forwarded_host_and_port(lines: list[str], expected: tuple[str | None, int | None]) -> None:
    assert origin(*(f"X-Forwarded-{line}" for line in lines))[2:] == expected


# Forwarded (RFC 7239)

@pytest.mark.parametrize(("values", "expected"), [
    ([], Origin("10.0.0.1")),
    (["for=1.2.3.4"], Origin("1.2.3.4")),
    (["For=1.2.3.4;Proto=HTTPS"], Origin("1.2.3.4", "https")),
    (['for="1.2.3.4:5678"'], Origin("1.2.3.4")),
    (['for="1.2.3.4:_port"'], Origin("1.2.3.4")),
    (['for="[2001:db9::1]"'], Origin("2001:db9::1")),
    (['for="[2001:db9::1]:4711"'], Origin("2001:db9::1")),
    (['for="\\1.2.3\\.4"'], Origin("1.2.3.4")),
    (['for=1.2.3.4;by=10.0.0.1;proto=https;host="example.org:8443"'],
     Origin("1.2.3.4", "https", "example.org", 8443)),
    (["for=1.2.3.4 ; proto=http"], Origin("1.2.3.4", "http")),
    ([";for=1.2.3.4;;"], Origin("1.2.3.4")),
    (["for=6.6.6.6;proto=https;host=evil, for=1.2.3.4"], Origin("1.2.3.4")),
    (["for=6.6.6.6", "for=1.2.3.4"], Origin("1.2.3.4")),
    # The element that names the client tells how it has asked.
    (["for=1.2.3.4;proto=https;host=example.org, for=10.0.0.2;proto=http;host=inner"],
     Origin("1.2.3.4", "https", "example.org")),
    (["for=1.2.3.4;ext=\"a, for=6.6.6.6\", for=10.0.0.2"], Origin("1.2.3.4")),
    (["for=1.2.3.4, ,", ","], Origin("1.2.3.4")),
    # What a client leaves open ends with its line.
    (['for="6.6.6.6', "for=1.2.3.4"], Origin("1.2.3.4")),
    (['for="6.6.6.6, for=1.2.3.4'], NOBODY),
    (['for=1.2.3.4, for="'], NOBODY),
    (["for=unknown"], NOBODY), (["for=_hidden"], NOBODY), (["for=6.6.6.6, for=unknown"], NOBODY),
    (["for=6.6.6.6, proto=https"], Origin(None, "https")),
    (["for=1.2.3.4;for=6.6.6.6"], NOBODY), (["for=a;for=a;proto=https"], NOBODY),
    (["for=6.6.6.6;FOR=1.2.3.4;proto=https"], NOBODY),
    (["for=2001:db9::1"], NOBODY), (['for="2001:db9::1"'], NOBODY), (["for=[2001:db9::1]"], NOBODY),
    (["for = 1.2.3.4"], NOBODY), (["1.2.3.4"], NOBODY), (["for=1.2.3.4 proto=https"], NOBODY),
    (["for=1.2.3.4;proto=ftp;host=a/b"], NOBODY), (["for="], NOBODY), (['for=""'], NOBODY),
    (["for=1.2.3.4;proto=ftp"], Origin("1.2.3.4")), (['for=1.2.3.4;host="a b"'], Origin("1.2.3.4")),
])
def test_forwarded(values: list[str], expected: Origin) -> None:
    assert origin(*(f"Forwarded: {value}" for value in values), fields="forwarded") == expected


def test_a_long_list_takes_time_in_proportion() -> None:
    """Of sixteen thousand octets; a regular expression that tries again would not come back."""
    for piece in ("for=", 'a="', "a=b;", "a=b,", 'a="\\', " ", "\t;", ","):
        line = "Forwarded: " + piece * (16_000 // len(piece))
        assert address(line, fields="forwarded") in (None, "10.0.0.1")


@pytest.mark.parametrize("node", ["2001:db8::1", "1.2.3.4\n", "", "[]", "[", ":80"])
def test_what_is_no_node(node: str) -> None:
    assert node_address(node) is None


# What a handler sees, on every backend and in the lane

class Transport:
    """One that knows its peer."""

    peername: object = PROXY

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.peername if name == "peername" else default


class Host:
    transport = Transport()
    proxies: Proxies | None = None


class Connection:
    host = Host()


def request_with(app: Application, section: bytes, proxies: Proxies | None) -> Request:
    from japronto.interfaces import Target
    from japronto.messages import PERSISTENT, RequestHead
    from japronto.pure.connection import Stage

    connection: Any = Connection()
    connection.host = Host()
    connection.host.proxies = proxies
    head = RequestHead("GET", b"/", "/", None, 1, section, PERSISTENT)
    return app.request_type(head, Target(Response, None, None, False, 0), connection, Stage.RUNNING)


SECTION = (b"\nHost: own:8080\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\n"
           b"X-Forwarded-Host: a\r\n")


def seen(request: Request) -> tuple[object, ...]:
    return request.remote_addr, request.scheme, request.hostname, request.port


def test_what_a_request_shows(backend: object) -> None:
    app = Application()
    assert seen(request_with(app, SECTION, None)) == ("10.0.0.1", "http", "own", 8080)
    assert seen(request_with(app, SECTION, Proxies("x-forwarded", "*"))) == ("1.2.3.4", "https", "own", 8080)
    assert seen(request_with(app, SECTION, Proxies(LISTED, "*"))) == ("1.2.3.4", "https", "a", None)
    assert seen(request_with(app, SECTION, Proxies(LISTED, "unix"))) == ("10.0.0.1", "http", "own", 8080)


def test_the_fields_are_read_once_and_when_asked_for(backend: object) -> None:
    reads = 0

    class Counting(Proxies):
        __slots__ = ()

        def origin(self, headers: Headers, peername: object) -> Origin:
            nonlocal reads
            reads += 1
            return super().origin(headers, peername)

    request = request_with(Application(), SECTION, Counting(LISTED, "*"))
    assert (request.method, reads) == ("GET", 0)
    assert seen(request) == seen(request) == ("1.2.3.4", "https", "a", None)
    assert reads == 1
