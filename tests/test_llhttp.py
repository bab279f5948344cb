"""The backend httptools: what ``accel/llhttp.py`` says against the reference, and that llhttp is who says it.

Three things are shown.  What the scanner and the parser behind it give is what the reference gives,
whatever the octets and however they are cut.  llhttp alone would give something else, in the ways that
docs/backends.md lists.  And heads that are common and right never reach the reference; else llhttp could
be left out, and nobody would see.
"""

from __future__ import annotations

import gc
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httptools
import pytest
from conformance.cases import all_cases
from hypothesis import given, settings
from hypothesis import strategies as st
from property import strategies

from japronto import backend
from japronto.accel import llhttp
from japronto.errors import UsageError
from japronto.interfaces import Resume, Scan, Scanned
from japronto.limits import Limits
from japronto.messages import Event, Expects, RequestHead, Violation
from japronto.pure import grammar
from japronto.pure.parser import Parser

PAGE = Path(__file__).parent.parent / "docs" / "backends.md"
ENOUGH = 1 << 30
LIMITS = Limits()
DETERMINISTIC = settings(deadline=None, derandomize=True, database=None, max_examples=300)

TRIVIAL = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
BROWSER = (
    b"GET /articles/how?page=2&next=/a?b HTTP/1.1\r\nHost: www.example.com:8080\r\nConnection: keep-alive\r\n"
    b"Upgrade-Insecure-Requests: 1\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) Chrome/124.0.0.0\r\n"
    b"Accept: text/html,*/*;q=0.8\r\nReferer: https://www.example.com/\r\nCookie: a=b; c=\"d\"\r\n\r\n")


def told(scanned: Scanned) -> tuple[Any, ...]:
    """All that a scan says, its heads taken apart."""
    return [_apart(head) for head in scanned.heads], *scanned[1:]


def _apart(event: Event) -> Any:
    if isinstance(event, RequestHead):
        return {name: getattr(event, name) for name in event.__slots__}
    return event


def compare(octets: bytes, start: int = 0, heads_max: int = ENOUGH, limits: Limits = LIMITS,
            resume: Resume | None = None) -> Scanned:
    """Scan with both."""
    right = grammar.scan(octets, start, heads_max, limits, resume)
    scan = llhttp.make_scan(grammar.scan)
    assert told(scan(octets, start, heads_max, limits, resume)) == told(right)
    return right


def careful_calls() -> tuple[Scan, list[int]]:
    """A scanner of llhttp, and where the reference was asked to decide."""
    calls: list[int] = []

    def careful(buffer: bytes, start: int, heads_max: int, limits: Limits,
                resume: Resume | None = None) -> Scanned:
        calls.append(start)
        return grammar.scan(buffer, start, heads_max, limits, resume)

    return llhttp.make_scan(careful), calls


def taken_by_llhttp(octets: bytes, limits: Limits = LIMITS) -> bool:
    """Whether all heads are found without the reference, and as the reference finds them."""
    scan, calls = careful_calls()
    assert told(scan(octets, 0, ENOUGH, limits)) == told(grammar.scan(octets, 0, ENOUGH, limits))
    return not calls


# -- What can be asked for -----------------------------------------------------------------------

@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """httptools is asked for, and nothing is remembered of what could be had."""
    monkeypatch.setenv(backend.VARIABLE, "httptools")
    monkeypatch.delenv(backend.SIMD_VARIABLE, raising=False)
    for name in ("_httptools", "_lack"):
        monkeypatch.setattr(backend, name, cache(getattr(backend, name).__wrapped__))
    return monkeypatch


def without(monkeypatch: pytest.MonkeyPatch, module: str, importers: str) -> None:
    """As if ``module`` were not installed, or not built."""
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, f"japronto.accel.{importers}", raising=False)
    monkeypatch.delattr(f"japronto.accel.{importers}", raising=False)


def test_the_backend(environment: pytest.MonkeyPatch) -> None:
    active = backend.active()
    assert (active.name, active.simd, str(active), active.lane) == ("httptools", "none", "httptools", None)
    assert active in backend.every()


def test_without_httptools(environment: pytest.MonkeyPatch) -> None:
    """An error that says what to do, and no backend to be tested."""
    without(environment, "httptools", "llhttp")
    with pytest.raises(UsageError, match=r"httptools, which cannot be loaded .*"
                                         r"pip install 'japronto\[httptools\]'$"):
        backend.active()
    assert "httptools" not in [each.name for each in backend.every()]


def test_auto_never_takes_it(environment: pytest.MonkeyPatch) -> None:
    """Not even where the fast parts are not built."""
    environment.setenv(backend.VARIABLE, "auto")
    assert backend.active().name != "httptools"
    without(environment, "japronto.accel._scan", "scanner")
    backend._lack.cache_clear()
    assert backend.active() is backend.PURE


def test_it_has_no_instruction_sets(environment: pytest.MonkeyPatch) -> None:
    environment.setenv(backend.SIMD_VARIABLE, "scalar")
    with pytest.raises(UsageError, match=r"^JAPRONTO_SIMD is scalar, which is for the fast parts, and "
                                         "JAPRONTO_BACKEND is httptools; leave one of them out$"):
        backend.active()


# -- It is llhttp that splits the common heads ---------------------------------------------------

class Spy:
    """llhttp, watched."""

    fed: list[bytes]
    made: int

    def __init__(self, listener: Any) -> None:
        type(self).made += 1
        self._parser = httptools.HttpRequestParser(listener)
        self.get_method = self._parser.get_method
        self.get_http_version = self._parser.get_http_version

    def feed_data(self, octets: bytes) -> None:
        self.fed.append(octets)
        self._parser.feed_data(octets)


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> type[Spy]:
    Spy.fed, Spy.made = [], 0
    monkeypatch.setattr(llhttp, "HttpRequestParser", Spy)
    return Spy


def test_each_head_goes_to_llhttp_alone(spy: type[Spy]) -> None:
    """One llhttp for a connection, as long as its requests are trivial; and each head once."""
    scan, calls = careful_calls()
    parser = Parser(LIMITS, None, scan)
    assert len(parser.feed(TRIVIAL * 3 + BROWSER)) == 4
    assert len(parser.feed(BROWSER)) == 1
    assert spy.fed == [TRIVIAL] * 3 + [BROWSER] * 2
    assert (spy.made, calls) == (1, [])


@pytest.mark.parametrize("other", [
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: b\r\nConnection: upgrade\r\n\r\n",
], ids=["length", "chunked", "1.0", "method", "host", "upgrade"])
def test_llhttp_goes_on_behind_what_is_not_for_it(other: bytes, spy: type[Spy]) -> None:
    """Behind content, whose octets it does not see, and behind what the reference took."""
    parser = Parser(LIMITS, None, llhttp.make_scan(grammar.scan))
    parser.feed(TRIVIAL + other)
    parser.resume()
    heads = parser.feed(TRIVIAL)
    assert len(heads) == 1
    assert spy.fed == [TRIVIAL, other.partition(b"\r\n\r\n")[0] + b"\r\n\r\n", TRIVIAL]
    assert spy.made == 2


@pytest.mark.parametrize("octets", [
    TRIVIAL, BROWSER, TRIVIAL * 24 + BROWSER * 3,
    b"OPTIONS /a!\"$&'()*+,-./:;<=>@[]^_`{|}~?\\%zz\" HTTP/1.1\r\nHost: a\r\n\r\n",
    b"DELETE / HTTP/1.0\r\n\r\n", b"TRACE / HTTP/1.1\r\nhOST: A.b-c:1\r\nx: y \t\r\nz: \r\n\r\n",
    b"HEAD / HTTP/1.1\r\nHost: :\r\nConnection: Keep-Alive \r\n\r\n" + TRIVIAL,
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: b\r\nConnection: close\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
    b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
])
def test_common_heads_never_reach_the_reference(octets: bytes) -> None:
    assert taken_by_llhttp(octets)


CHARACTERS = "abcXYZ019!$&'()*+,-.;=@^_`{|}~"
QUERIES = st.just("") | st.text(CHARACTERS + "/?%\\:[]\"").map("?".__add__)
COMMON = st.builds(
    lambda method, path, query, fields, host: "".join((
        f"{method} /{path}{query} HTTP/1.1\r\nHost: {host}\r\n",
        *(f"X-{name}: {value}\r\n" for name, value in fields.items()), "\r\n")).encode("latin-1"),
    st.sampled_from(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")),
    st.text(CHARACTERS + "/:<>[]\"", max_size=12), QUERIES,
    st.dictionaries(st.text("abc019!#$%&'*+-.^_`|~", max_size=8),
                    st.text(CHARACTERS + "\xe9\xff:\"/?", max_size=12), max_size=6),
    st.from_regex(r"\A[a-z0-9.-]{0,12}(:[0-9]{0,5})?\Z"))


@DETERMINISTIC
@given(heads=st.lists(COMMON, min_size=1, max_size=4))
def test_generated_common_heads_never_reach_the_reference(heads: list[bytes]) -> None:
    assert taken_by_llhttp(b"".join(heads))


class Liar(Spy):
    """llhttp, and what it says of ``GET / HTTP/1.1`` with one field is not true."""

    def feed_data(self, octets: bytes) -> None:
        super().feed_data(self.told.get("octets", octets))

    told: dict[str, Any]

    def __init__(self, listener: Any) -> None:
        super().__init__(SimpleNamespace(
            on_url=lambda target: listener.on_url(self.told.get("target", target)),
            on_header=lambda name, value: listener.on_header(
                self.told.get("name", name), self.told.get("value", value))))
        self.get_method = lambda: self.told.get("method", b"GET")
        self.get_http_version = lambda: self.told.get("version", "1.1")


@pytest.mark.parametrize("lie", [
    {"method": b"HEAD"}, {"target": b"/b"}, {"version": "1.0"}, {"name": b"Hosts"}, {"value": b"b"},
    {"octets": b"GET / HTTP/1.1\r\nHost: a\r\nb: c\r\n\r\n"}, {"octets": b"GET / HTTP/1.1\r\n\r\n"},
    {"octets": b""}, {"octets": b"GET / HT"}, {"octets": TRIVIAL[:-2]}, {"octets": b"no"}], ids=str)
def test_llhttp_is_not_trusted(lie: dict[str, Any], spy: type[Spy], monkeypatch: pytest.MonkeyPatch) -> None:
    """What it reports must be the head; else the reference decides."""
    monkeypatch.setattr(llhttp, "HttpRequestParser", Liar)
    monkeypatch.setattr(Liar, "told", {}, raising=False)
    assert taken_by_llhttp(TRIVIAL)
    monkeypatch.setattr(Liar, "told", lie)
    assert not taken_by_llhttp(TRIVIAL)


# -- Where llhttp alone would diverge ------------------------------------------------------------

GET = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"
LINE = b"%b\r\nHost: a\r\n\r\n"
LINED = b"GET / HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n"

LENIENT = {
    "several spaces in the request line": [LINE % b"GET  / HTTP/1.1"],
    "HTTP/0.9 and HTTP/2.0": [LINE % b"GET / HTTP/0.9", LINE % b"GET / HTTP/2.0", LINE % b"GET /"],
    "a fragment or a backslash in the target": [GET % b"/#a", GET % b"/?a#b", GET % b"/\\"],
    "`*` with any method": [GET % b"*"],
    "any scheme, an empty authority": [GET % b"ftp://a/", GET % b"http:///"],
    "a broken or forbidden escape, a path that is not UTF-8": [GET % b"/%zz", GET % b"/%00", GET % b"/%ff"],
    "a malformed Host, or several": [b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", LINED % b"Host: a",
                                     LINED % b"hOST: a", b"GET / HTTP/1.1\r\nHost: a/\r\n\r\n"],
    "any number of empty lines": [b"\r\n" * 9 + TRIVIAL],
}
"""What llhttp takes and the reference refuses, as docs/backends.md calls it."""

STRICT = {
    "methods that it does not know": [LINE % b"BREW / HTTP/1.1", LINE % b"get / HTTP/1.1"],
    "HTTP/1.2 and higher": [LINE % b"GET / HTTP/1.2", LINE % b"GET / HTTP/1.9"],
    "an empty element in Transfer-Encoding": [LINED % b"Transfer-Encoding: chunked,"],
}
"""What the reference takes and llhttp refuses."""


def alone(octets: bytes) -> bool:
    """Whether llhttp by itself takes a head."""
    complete: list[bool] = []
    parser = httptools.HttpRequestParser(SimpleNamespace(on_headers_complete=lambda: complete.append(True)))
    try:
        parser.feed_data(octets)
    except httptools.HttpParserError:
        return False
    return complete == [True]


def judged(octets: bytes) -> Violation | None:
    """What the parser behind the scanner of llhttp, which must say the same as the reference, says."""
    events = Parser(LIMITS, None, llhttp.make_scan(grammar.scan)).feed(octets)
    assert [*map(_apart, events)] == [*map(_apart, Parser(LIMITS).feed(octets))]
    assert len(events) == 1
    return events[0] if isinstance(events[0], Violation) else None


@pytest.mark.parametrize("what", LENIENT)
def test_what_llhttp_takes_is_refused(what: str) -> None:
    for octets in LENIENT[what]:
        assert alone(octets), octets
        assert judged(octets), octets


@pytest.mark.parametrize("what", STRICT)
def test_what_llhttp_refuses_is_taken(what: str) -> None:
    for octets in STRICT[what]:
        assert not alone(octets), octets
        assert not judged(octets), octets


def test_the_page_lists_both() -> None:
    rows = [line.split(" | ")[0].removeprefix("| ") for line in PAGE.read_text(encoding="utf-8").splitlines()]
    assert [row for row in rows if row in {*LENIENT, *STRICT}] == [*LENIENT, *STRICT]


# -- It says what the reference says -------------------------------------------------------------

def test_conformance_cases() -> None:
    for case in all_cases():
        for heads_max in (0, 1, 2, ENOUGH):
            compare(case.sent, 0, heads_max, case.limits)


def test_conformance_cases_in_two_reads() -> None:
    """What is said of the first read goes into the scan of both."""
    for case in all_cases():
        for end in range(0, min(300, len(case.sent)), 7):
            first = compare(case.sent[:end], limits=case.limits)
            if first.violation is None and first.seen is None:
                compare(case.sent, first.stop, ENOUGH, case.limits, first.resume)


@DETERMINISTIC
@given(octets=strategies.OCTETS, limits=strategies.limits(), heads_max=st.sampled_from((0, 1, 2, ENOUGH)),
       start=st.integers(0, 60))
def test_generated_octets(octets: bytes, limits: Limits, heads_max: int, start: int) -> None:
    compare(octets, 0, heads_max, limits)
    compare(octets, min(start, len(octets)), heads_max, limits)


def parsers(limits: Limits) -> tuple[Parser, Parser]:
    return Parser(limits), Parser(limits, None, llhttp.make_scan(grammar.scan))


@DETERMINISTIC
@given(octets=strategies.OCTETS, limits=strategies.limits(), heads_max=st.sampled_from((1, 2, ENOUGH)),
       data=st.data())
def test_the_parsers_say_the_same(octets: bytes, limits: Limits, heads_max: int, data: st.DataObject) -> None:
    """Call by call, to the last piece of content, whatever the octets and the cuts."""
    pieces = [piece for cut in data.draw(strategies.cuts(octets)) for piece in (cut, b"")]
    reference, adapter = parsers(limits)
    for piece in pieces:
        due = [*map(_apart, reference.feed(piece, heads_max))]
        assert [*map(_apart, adapter.feed(piece, heads_max))] == due
        assert (adapter.expects, adapter.more) == (reference.expects, reference.more)
        if reference.expects is Expects.DECISION and data.draw(st.booleans()):
            reference.resume()
            adapter.resume()
    assert adapter.feed_eof() == reference.feed_eof()
    assert adapter.detach() == reference.detach()


NAMES = (b"Host", b"Expect", b"Upgrade", b"Connection", b"Content-Length", b"Transfer-Encoding",
         b"Proxy-Connection", b"Keep-Alive", b"HOST", b"connection", b"Content_Length", b"Xy")
VALUES = (b"a", b"keep-alive", b"Keep-Alive", b"keep-alive, close", b"close", b"upgrade", b"a:80", b"[::1]",
          b"a b", b"", b"5", b"chunked", b"100-continue")
LINES = st.builds(b"%b:%b%b%b\r\n".__mod__, st.tuples(
    st.sampled_from(NAMES), st.sampled_from((b" ", b" ", b" ", b"", b"\t")), st.sampled_from(VALUES),
    st.sampled_from((b"", b"", b" ", b"\t \t"))))


@settings(DETERMINISTIC, max_examples=1000)
@given(lines=st.lists(LINES, max_size=4), minor=st.integers(0, 1))
def test_generated_fields_that_govern(lines: list[bytes], minor: int) -> None:
    """And the head behind them, if there is another."""
    octets = b"GET / HTTP/1.%d\r\n%b\r\n" % (minor, b"".join(lines))
    compare(octets + TRIVIAL)
    reference, adapter = parsers(LIMITS)
    for piece in (octets, TRIVIAL, TRIVIAL):
        assert [*map(_apart, adapter.feed(piece))] == [*map(_apart, reference.feed(piece))]


PLACES = {
    "method": (b"G", b"T / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "space": (b"GET", b"/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    "path": (b"GET /a", b"b HTTP/1.1\r\nHost: a\r\n\r\n"),
    "query": (b"GET /?a", b"b HTTP/1.1\r\nHost: a\r\n\r\n"),
    "behind the target": (b"GET / ", b"HTTP/1.1\r\nHost: a\r\n\r\n"),
    "version": (b"GET / HTTP/1.", b"\r\nHost: a\r\n\r\n"),
    "behind the request line": (b"GET / HTTP/1.1", b"\r\nHost: a\r\n\r\n"),
    "start of a line": (b"GET / HTTP/1.1\r\nHost: a\r\n", b"n: v\r\n\r\n"),
    "name": (b"GET / HTTP/1.1\r\nHost: a\r\nn", b"m: v\r\n\r\n"),
    "end of a name": (b"GET / HTTP/1.1\r\nHost: a\r\nn", b": v\r\n\r\n"),
    "behind the colon": (b"GET / HTTP/1.1\r\nHost: a\r\nn:", b"v\r\n\r\n"),
    "start of a value": (b"GET / HTTP/1.1\r\nHost: a\r\nn: ", b"v\r\n\r\n"),
    "value": (b"GET / HTTP/1.1\r\nHost: a\r\nn: v", b"w\r\n\r\n"),
    "end of a value": (b"GET / HTTP/1.1\r\nHost: a\r\nn: v", b"\r\n\r\n"),
    "value of Host": (b"GET / HTTP/1.1\r\nHost: a", b"b\r\n\r\n"),
    "port": (b"GET / HTTP/1.1\r\nHost: a:1", b"\r\n\r\n"),
    "value of Connection": (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive", b"\r\n\r\n"),
    "CR of a line": (b"GET / HTTP/1.1\r\nHost: a", b"\n\r\n"),
    "LF of a line": (b"GET / HTTP/1.1\r\nHost: a\r", b"\r\n"),
    "ahead of all": (b"", TRIVIAL),
}


@pytest.mark.parametrize("place", PLACES)
def test_every_octet_in_every_place(place: str) -> None:
    """Also in place of what stands there, and twice."""
    before, behind = PLACES[place]
    for octet in range(256):
        for octets in (bytes((octet,)), bytes((octet, octet)), b"\r\n" + bytes((octet,))):
            compare(before + octets + behind + TRIVIAL)
            compare(before + octets + behind[1:] + TRIVIAL)


def test_a_field_too_many() -> None:
    octets = b"GET / HTTP/1.1\r\nHost: a\r\nb: c\r\nd: e\r\n\r\n"
    assert taken_by_llhttp(octets, Limits(fields=3))
    assert not taken_by_llhttp(octets, Limits(fields=2))
    violation = compare(octets, limits=Limits(fields=2)).violation
    assert violation is not None
    assert violation.status == 431


@pytest.mark.parametrize("bound", ["request_line_bytes", "field_line_bytes", "field_section_bytes"])
def test_a_head_that_may_be_too_long_is_for_the_reference(bound: str) -> None:
    octets = BROWSER + TRIVIAL
    assert taken_by_llhttp(octets, Limits(**{bound: len(BROWSER)}))
    assert not taken_by_llhttp(octets, Limits(**{bound: len(BROWSER) - 1}))
    assert taken_by_llhttp(octets, Limits(**{bound: 2**40}))


def test_nothing_is_left_for_the_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            _, adapter = parsers(LIMITS)
            adapter.feed(TRIVIAL * 2)
            del adapter
        assert gc.collect() == 0
    finally:
        gc.enable()
