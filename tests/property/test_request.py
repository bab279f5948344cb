"""What a handler sees of a request: decoded, or an error that is answered with 400; whatever the octets."""

from __future__ import annotations

import json
from collections.abc import Coroutine
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from japronto.app import Application
from japronto.backend import Backend
from japronto.errors import MalformedContent
from japronto.interfaces import Target
from japronto.limits import Limits
from japronto.messages import RequestHead
from japronto.pure.request import Headers, MultiDict, Request

from . import strategies
from .driving import fields_of
from .hosting import Host

# -- A request as a handler gets it ----------------------------------------------------------


def handled(backend: Backend, lines: list[tuple[str, str]], content: bytes | None = None, query: str = "",
            limits: Limits | None = None) -> Request:
    """A request with these fields and this content."""
    app, started = Application(limits=limits), []

    def target(head: RequestHead) -> Target:
        return Target(started.append, None, None, False, 10**6)

    host = Host(backend, app.limits, target, started.append, request_type=app.request_type)
    fields = [("Host", "a"), *lines]
    if content is not None:
        fields.append(("Content-Length", str(len(content))))
    section = "".join(f"{name}: {value}\r\n" for name, value in fields)
    host.receive(f"POST /{query} HTTP/1.1\r\n{section}\r\n".encode("latin-1") + (content or b""))
    [request] = started
    return request


def only_malformed(request: Request, attribute: str) -> Any:
    """The value of an attribute, or a MalformedContent, and then so the second time."""
    try:
        value = getattr(request, attribute)
    except MalformedContent as error:
        value = error
    if isinstance(value, MalformedContent):
        assert value.status == 400
        assert str(value)
        with pytest.raises(type(value)):
            getattr(request, attribute)
    else:
        assert repr(getattr(request, attribute)) == repr(value)  # NaN is not equal to itself
    return value


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine that does not wait returns."""
    with pytest.raises(StopIteration) as stopped:
        coroutine.send(None)
    return stopped.value.value


# -- Fields ----------------------------------------------------------------------------------

NAMES = strategies.ORDINARY_NAMES
REPEATED = st.sampled_from(("a", "A", "x-a", "X-A", "cookie", "Set-Cookie"))
LINES = st.lists(st.tuples(NAMES | REPEATED, strategies.VALUES), max_size=6)


@given(lines=LINES)
def test_headers(lines: list[tuple[str, str]]) -> None:
    """All lines are there, by names of any case, and in their order."""
    headers = Headers(("\n" + "".join(f"{name}: {value}\r\n" for name, value in lines)).encode("latin-1"))
    names = list(dict.fromkeys(name.lower() for name, _ in lines))
    assert [name.lower() for name in headers] == names
    assert len(headers) == len(names)
    for name in names:
        values = [value for known, value in lines if known.lower() == name]
        joint = "; " if name == "cookie" else ", "
        for spelling in (name, name.upper(), name.title()):
            assert spelling in headers
            assert headers.getall(spelling) == values
            assert headers[spelling] == (values[0] if name == "set-cookie" else joint.join(values))
    assert "no such field" not in headers
    assert headers.get("no-such-field") is None
    assert headers.getall("no-such-field") == []


@given(pairs=st.lists(st.tuples(st.sampled_from("abc"), st.integers()), max_size=6))
def test_multidict(pairs: list[tuple[str, int]]) -> None:
    """The last value counts, and all are reachable."""
    found = MultiDict(pairs)
    assert found == dict(pairs)
    for key in "abcd":
        assert found.getall(key) == [value for known, value in pairs if known == key]


ANY_VALUE = st.text(strategies.VALUE_CHARS, max_size=30).map(lambda text: text.strip("\t "))
COOKIES = strategies.made_of(
    "a=b", "=", ";", "; ", "a", "a=", "=b", '"', 'a="b;c"', "a=%41", "a=%ff", "a=\\101", "a=b=c", "a b=c",
    "expires=1", "path=/", "$Version=1", "a=\xe9", "__Host-a=b", "a={}", ",", "a=b,c=d", "HttpOnly", "a:b=c",
    max_size=6)


@given(value=COOKIES | ANY_VALUE, more=st.none() | COOKIES)
def test_cookies_are_decoded_or_left_out(value: str, more: str | None, backend: Backend) -> None:
    request = handled(backend, [("Cookie", value), *([("Cookie", more)] if more is not None else [])])
    cookies = request.cookies
    assert all(isinstance(name, str) and isinstance(text, str) for name, text in cookies.items())
    assert request.cookies is cookies  # It is decoded once.


@pytest.mark.parametrize(("field", "cookies"), [
    ("a=b", {"a": "b"}),
    ("version=2; path=x; expires=1; domain=a; HttpOnly=1; $Version=1", {
        "version": "2", "path": "x", "expires": "1", "domain": "a", "HttpOnly": "1", "$Version": "1"}),
    ('a={"b":1}', {"a": '{"b":1}'}),
    ("e=a b; f= c ", {"e": "a b", "f": "c"}),
    ("k[x]=1; a:b=c; a b=c; (=)", {"k[x]": "1", "a:b": "c", "a b": "c", "(": ")"}),
    ("a=b=c==", {"a": "b=c=="}),
    ("a=; b", {"a": ""}),
    ("=b; ; =; c=d", {"c": "d"}),
    ("a=1; a=2", {"a": "2"}),
    ("a=b;c=d;;e=f;", {"a": "b", "c": "d", "e": "f"}),
    ("a=b,c=d", {"a": "b,c=d"}),
    (r'a="b\"c\\d"; b="e\073f\341"; c="\400\08"', {"a": 'b"c\\d', "b": "e;f\xe1", "c": "40008"}),
    ('a="b; c="; d="', {"a": '"b', "c": '"', "d": '"'}),
    ('a=""; b="""', {"a": "", "b": '"'}),
    ("a=%41%2541; b=%C3%A9; c=%ff; d=%; e=a+b", {
        "a": "A%41", "b": "\xe9", "c": "\ufffd", "d": "%", "e": "a+b"}),
    ('a="%3B\\073"', {"a": ";;"}),
    ("a=\xe9", {"a": "\xe9"}),
    ("", {}),
])
def test_cookies_that_there_are(field: str, cookies: dict[str, str], backend: Backend) -> None:
    """A value may hold anything but a semicolon, and a name is what stands ahead of it."""
    assert handled(backend, [("Cookie", field)]).cookies == cookies


def test_cookies_of_several_lines(backend: Backend) -> None:
    assert handled(backend, [("Cookie", "a=1; b=2"), ("Cookie", "b=3")]).cookies == {"a": "1", "b": "3"}
    assert handled(backend, []).cookies == {}


LATIN = st.text(st.characters(codec="latin-1", exclude_characters="%"), max_size=8)


@given(cookies=st.dictionaries(strategies.COOKIE_NAMES, LATIN, max_size=4))
def test_cookies_come_back(cookies: dict[str, str], backend: Backend) -> None:
    """Those that Python encodes are decoded; what is none harms no other."""
    encoded: SimpleCookie = SimpleCookie()
    for name, value in cookies.items():
        encoded[name] = value
    pairs = [morsel.OutputString() for morsel in encoded.values()]
    request = handled(backend, [("Cookie", "; ".join(["=)", *pairs, "b@d"]))])
    assert request.cookies == cookies


HOST_VALUES = st.sampled_from(("a:", "a:0", "a:65536", "[::1]:8", "[::1]", "a:00080", ""))


@given(value=ANY_VALUE | strategies.authorities() | HOST_VALUES,
       minor=st.sampled_from((0, 1)))
def test_where_it_was_sent_to(value: str, minor: int, backend: Backend) -> None:
    """Whatever passes for Host has a host and a port, or none."""
    started: list[Request] = []
    host = Host(backend, Limits(), lambda head: Target(started.append, None, None, False, 0), started.append)
    host.receive(f"GET / HTTP/1.{minor}\r\nHost: {value}\r\n\r\n".encode("latin-1"))
    for request in started:
        assert request.hostname is not None
        assert request.port is None or 0 <= request.port < 10**5
        if request.port is not None:
            before, _, port = value.rpartition(":")
            assert (request.hostname, request.port) == (before, int(port))
        else:
            assert request.hostname == value.removesuffix(":") or value.count(":") == 1


# -- The query -------------------------------------------------------------------------------

@given(query=st.text(strategies.QUERY_CHARS, max_size=20) | strategies.made_of(
    "a", "=", "&", ";", "%", "%41", "%ff", "+", "%00", "?", "b", max_size=8))
def test_any_query(query: str, backend: Backend) -> None:
    request = handled(backend, [], query=f"?{query}")
    assert request.query_string == query
    assert all(isinstance(value, str) for name in request.query for value in request.query.getall(name))


TEXT = st.text(st.characters(codec="utf-8"), max_size=4)
PAIRS = st.lists(st.tuples(TEXT, TEXT), max_size=4)


@given(pairs=PAIRS)
def test_a_query_comes_back(pairs: list[tuple[str, str]], backend: Backend) -> None:
    request = handled(backend, [], query=f"?{urlencode(pairs)}")
    for name, _ in pairs:
        assert request.query.getall(name) == [value for known, value in pairs if known == name]
    assert dict(request.query) == dict(pairs)


# -- Content ---------------------------------------------------------------------------------

CHARSETS = st.sampled_from((
    "utf-8", "UTF8", "utf-16", "utf-7", "latin-1", "us-ascii", "idna", "punycode", "hex", "base64", "zlib",
    "bz2", "rot13", "uu", "quopri", "undefined", "unicode_escape", "raw_unicode_escape", "mbcs", "tactis",
    "hz", "oem", "utf_32_be", "iso2022_kr", "shift_jis", "johab", "cp1252", "none", "../x", "utf-8-sig",
    "palmos"))
CONTENT_TYPES = st.one_of(
    st.builds("text/plain; charset={}".format, CHARSETS | strategies.tokens()),
    st.builds('application/json;charset="{}"'.format, CHARSETS),
    st.builds("multipart/form-data; boundary={}".format, st.text("ab-'\"; =", max_size=6)),
    st.sampled_from((
        "application/x-www-form-urlencoded", "APPLICATION/X-WWW-Form-Urlencoded ; charset=x", "text/plain",
        "", "multipart/form-data", "application/json", ";", "; charset=utf-8", "charset")),
    ANY_VALUE)
CONTENTS = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=10).map(lambda text: text.encode("utf-8", "surrogatepass")),
    strategies.made_of(b"a", b"=", b"&", b"%", b"%41", b"%ff", b"+", b";", b"\xff", b"\x80"),
    strategies.made_of(b"{", b"}", b"[", b"]", b'"', b":", b",", b"1", b"null", b"NaN", b"\\u", b"d800",
                       b"\\ud800", b" ", b"1e999", b"-", b"\xef\xbb\xbf"),
    strategies.made_of(b"--a", b"--", b"\r\n", b"\n", b"Content-Disposition: form-data; name=x",
                       b"Content-Type: ", b'; filename="y"', b"text/plain; charset=utf-8", b"charset=hex",
                       b"x", b"--a--\r\n", b'; name="\xff"', b"\0", max_size=14),
    st.sampled_from((b"[" * 200_000, b"1" * 5000, b"[1" + b"0" * 5000 + b"]", b"&" * 3000)))


@given(content=st.none() | CONTENTS, content_type=st.none() | CONTENT_TYPES,
       attributes=st.permutations(("text", "json", "form", "files", "body", "encoding", "mime_type")))
def test_any_content_of_any_type(content: bytes | None, content_type: str | None, attributes: list[str],
                                 backend: Backend) -> None:
    """It is what its type says, or malformed; in whatever order somebody asks."""
    lines = [] if content_type is None else [("Content-Type", content_type)]
    request = handled(backend, lines, content)
    values = {attribute: only_malformed(request, attribute) for attribute in attributes}
    assert values["body"] == content
    for attribute in ("text", "json", "form", "files"):
        if content is None:
            assert values[attribute] is None
    assert isinstance(values["text"], (str, MalformedContent)) or content is None
    assert isinstance(values["form"], (MultiDict, MalformedContent, type(None)))
    assert isinstance(values["files"], (MultiDict, MalformedContent, type(None)))


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3)
                    | st.dictionaries(st.text(max_size=3), inner, max_size=2), max_leaves=6)


@given(value=JSON, charset=st.sampled_from(("utf-8", "utf-16", "utf-32")), pretty=st.booleans())
def test_json_comes_back(value: Any, charset: str, pretty: bool, backend: Backend) -> None:
    text = json.dumps(value, ensure_ascii=True, indent=1 if pretty else None)
    lines = [("Content-Type", f"application/json; charset={charset}")]
    request = handled(backend, lines, text.encode(charset))
    assert request.json == value
    assert request.text == text


URLENCODED = [("Content-Type", "application/x-www-form-urlencoded")]


@given(pairs=PAIRS)
def test_a_form_comes_back(pairs: list[tuple[str, str]], backend: Backend) -> None:
    request = handled(backend, URLENCODED, urlencode(pairs).encode())
    assert request.form is not None
    assert dict(request.form) == dict(pairs)
    for name, _ in pairs:
        assert request.form.getall(name) == [value for known, value in pairs if known == name]


@given(names=st.lists(st.sampled_from("ab"), max_size=6), most=st.integers(1, 6))
def test_the_fields_of_a_form_are_bounded(names: list[str], most: int, backend: Backend) -> None:
    content = urlencode([(name, "x") for name in names]).encode()
    request = handled(backend, URLENCODED, content, limits=Limits(form_fields=most))
    if len(names) > most:
        assert isinstance(only_malformed(request, "form"), MalformedContent)
    else:
        assert request.form == dict.fromkeys(names, "x")


@given(content=st.none() | st.binary(max_size=5), asks_first=st.booleans())
def test_waiting_for_content_changes_nothing(content: bytes | None, asks_first: bool,
                                             backend: Backend) -> None:
    """Of what has arrived, read() gives the same as body; and where there is none, there stays none."""
    request = handled(backend, [], content)
    if asks_first:
        assert request.body == content
    assert run(request.read()) == (content or b"")
    assert request.body == content
    if content is None:
        assert (request.text, request.json, request.form, request.files) == (None, None, None, None)


@given(content=st.none() | st.binary(max_size=5), asks_first=st.booleans())
def test_what_has_arrived_can_be_had_piecewise(content: bytes | None, asks_first: bool,
                                               backend: Backend) -> None:
    request, pieces = handled(backend, [], content), []
    if asks_first:
        assert request.body == content
    stream = request.stream()
    with pytest.raises(StopAsyncIteration):
        pieces.extend(run(stream.__anext__()) for _ in range(3))
    assert b"".join(pieces) == (content or b"")


def piecewise(backend: Backend, *pieces: bytes, complete: bool = True) -> Request:
    """A request whose content comes in chunks."""
    started: list[Request] = []
    target = Target(started.append, None, None, True, 10**6)
    host = Host(backend, Limits(), lambda head: target, started.append)
    host.receive(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    for piece in pieces:
        host.receive(b"%x\r\n%b\r\n" % (len(piece), piece))
    if complete:
        host.receive(b"0\r\nX-A: b\r\n\r\n")
    [request] = started
    return request


def test_what_was_taken_piecewise_is_not_had_as_the_whole(backend: Backend) -> None:
    request = piecewise(backend, b"first", b"then")
    assert run(request.stream().__anext__()) == b"first"
    for _ in range(2):
        with pytest.raises(RuntimeError, match="taken piecewise"):
            request.read().send(None)
        with pytest.raises(RuntimeError, match="taken piecewise"):
            request.body  # noqa: B018 - it raises
    assert run(request.stream().__anext__()) == b"then"


def test_content_is_held_once(backend: Backend) -> None:
    """Whoever asks for it, in whatever order, gets it; and it is not there twice."""
    request = piecewise(backend, b"first", b"then")
    assert request.body == b"firstthen"
    assert (list(request.content.pieces), request.content.buffered) == ([], 0)
    stream = request.stream()
    assert run(stream.__anext__()) is request.body
    with pytest.raises(StopAsyncIteration):
        run(stream.__anext__())
    assert run(request.read()) is request.body
    whole = handled(backend, [], b"whole")
    assert run(whole.stream().__anext__()) is whole.body


def test_trailers_are_decoded_once_they_are_there(backend: Backend) -> None:
    request = piecewise(backend, b"first", complete=False)
    assert dict(request.trailers) == {}
    request = piecewise(backend, b"first")
    assert dict(request.trailers) == {"X-A": "b"}
    assert request.trailers is request.trailers


# -- A request as a whole --------------------------------------------------------------------

@given(sent=strategies.requests(upgrade=False))
def test_a_handler_sees_what_was_sent(sent: strategies.Sent, backend: Backend) -> None:
    started: list[Request] = []
    target = Target(started.append, None, None, False, 10**6)
    host = Host(backend, Limits(), lambda head: target, started.append)
    host.receive(sent.octets)
    [request] = started
    message = sent.message
    assert (request.method, request.target) == (message.method, message.target.decode())
    assert request.path == message.path.replace("\udc2f", "%2F")
    assert request.query_string == message.query
    assert request.version == f"1.{message.minor}"
    assert request.keep_alive is message.framing.persistent
    assert request.body == (None if message.framing.length is None else message.content)
    section = b"\n" + b"".join(name + b": " + value + b"\r\n" for name, value in message.fields)
    assert dict(request.headers) == dict(Headers(section))
    trailers = b"\n" + b"".join(name + b": " + value + b"\r\n" for name, value in message.trailers)
    assert dict(request.trailers) == dict(Headers(trailers))
    assert fields_of(request.head.section) == message.fields
