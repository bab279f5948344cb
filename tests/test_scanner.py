"""The scanner in C is a twin of the reference: what ``accel/scanner.py`` says against ``pure/grammar.py``.

Two things are compared.  What ``make_scan`` gives must be what the reference gives, whatever the octets.
And what the C finds must be exactly what it is for: the heads that the reference takes in one match, but
those with a percent-encoded path; else it could find nothing at all, and nobody would see.

All of it runs at every level that this processor has.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from struct import iter_unpack
from typing import Any, NamedTuple

import pytest
from conformance.cases import all_cases
from fuzz import corpus
from hypothesis import given, settings
from hypothesis import strategies as st
from property import strategies

from japronto.accel import scanner
from japronto.accel._scan import ffi, lib
from japronto.interfaces import Resume, Scanned
from japronto.limits import Limits
from japronto.messages import Seen
from japronto.pure import grammar

CSRC = Path(scanner.__file__).parent / "csrc"
FUZZ = Path(__file__).parent / "fuzz"
ENOUGH = 1 << 30
LIMITS = Limits()
DETERMINISTIC = settings(deadline=None, derandomize=True, database=None, max_examples=200)

fast_scan = scanner.make_scan(grammar.scan)


def levels() -> list[str]:
    """The levels that this processor has, as the kernel tells them."""
    cpuinfo = Path("/proc/cpuinfo")
    if platform.machine() != "x86_64" or not cpuinfo.exists():
        return scanner.levels()
    flags = set(re.findall(r"(?m)^flags\s*:(.*)", cpuinfo.read_text())[0].split())
    needed = {"scalar": set(), "sse4.2": {"sse4_2"}, "avx2": {"avx2", "bmi1"}}
    return [level for level, names in needed.items() if names <= flags]


LEVELS = levels()


@pytest.fixture(params=LEVELS, scope="module")
def level(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each level in turn; one that was not built fails."""
    global fast_scan  # noqa: PLW0603 - what compare() compares
    before, fast_scan = fast_scan, scanner.make_scan(grammar.scan, request.param)
    yield request.param
    fast_scan = before


# -- What is compared --------------------------------------------------------------------------

class Spans(NamedTuple):
    """``jp_head``."""

    start: int
    method_end: int
    target: int
    path_end: int
    target_end: int
    section: int
    section_end: int
    end: int
    minor: int
    seen: int


def found_in_c(level: str, octets: Any, length: int, start: int = 0, *, heads_max: int = 16,
               head_bytes: int = 8192, fields: int = 100) -> list[Spans]:
    """What ``jp_scan`` writes; ``octets`` are octets, or a pointer to them."""
    heads = ffi.new("jp_head[]", heads_max + 1)
    bounds = ffi.new("jp_bounds *", (head_bytes, fields))
    found = lib.jp_scan(scanner.LEVELS[level], octets, length, start, bounds, heads, heads_max)
    assert found <= heads_max
    octets_of_heads = ffi.buffer(heads, found * ffi.sizeof("jp_head"))
    return [Spans(*head) for head in iter_unpack("8I2B2x", octets_of_heads)] if found else []


def due_in_c(octets: bytes, start: int = 0, *, heads_max: int = 16, head_bytes: int = 8192,
             fields: int = 100) -> list[Spans]:
    """What ``jp_scan`` must write, by the rules of the reference."""
    due: list[Spans] = []
    while len(due) < heads_max:
        match = grammar._HEAD(octets, start)
        if match is None or match.end() - start > head_bytes:
            break
        method, path, _, minor, section = match.groups()
        if b"%" in path or method == b"CONNECT" or section.count(b"\n") - 1 > fields:
            break
        target_end = match.end(2) if match[3] is None else match.end(3)
        due.append(Spans(start, match.end(1), match.start(2), match.end(2), target_end, match.start(5),
                         match.end(5), match.end(), int(minor != b"0"), grammar.governing(section)))
        start = match.end()
        if due[-1].seen != Seen.HOST or not due[-1].minor:
            break
    return due


def told(scanned: Scanned) -> tuple[Any, ...]:
    """All that a scan says, its heads taken apart."""
    return [{name: getattr(head, name) for name in head.__slots__} for head in scanned.heads], *scanned[1:]


def compare(octets: bytes, start: int = 0, heads_max: int = ENOUGH, limits: Limits = LIMITS,
            resume: Resume | None = None) -> Scanned:
    """Scan with both, at the level that is forced."""
    right = grammar.scan(octets, start, heads_max, limits, resume)
    assert told(fast_scan(octets, start, heads_max, limits, resume)) == told(right)
    return right


# -- What can be asked and set -----------------------------------------------------------------

def test_all_levels_are_built() -> None:
    assert scanner.levels() == LEVELS
    assert LEVELS[0] == "scalar"


def test_the_fastest_level_is_used() -> None:
    """Unless another one is asked for."""
    assert scanner.LEVELS[LEVELS[-1]] == lib.jp_best()


def test_another_level_is_refused() -> None:
    with pytest.raises(ValueError, match=r"this processor runs scalar.*; it does not run 'mmx'"):
        scanner.make_scan(grammar.scan, "mmx")


def test_a_level_that_the_processor_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(scanner.LEVELS, "later", lib.JP_LEVELS)
    assert scanner.levels() == LEVELS
    with pytest.raises(ValueError, match="does not run 'later'"):
        scanner.make_scan(grammar.scan, "later")


def test_a_forced_level_is_the_one_that_runs(level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []

    class Lib:
        def jp_scan(self, level: int, *rest: Any) -> int:
            ran.append(level)
            return int(lib.jp_scan(level, *rest))

    monkeypatch.setattr(scanner, "lib", Lib())
    fast_scan(TRIVIAL, 0, 1, LIMITS)
    assert ran == [scanner.LEVELS[level]]


def test_the_flags_are_those_of_the_reference() -> None:
    flags = {name: value for name, value in vars(Seen).items() if name.isupper()}
    assert {name: getattr(lib, f"JP_{name}") for name in flags} == flags
    assert len(flags) == 7


# -- The octets of the conformance cases -------------------------------------------------------

SENT = sorted({case.sent[:300] for case in all_cases()} | {case.sent for case in all_cases()}, key=len)
SHORT = [octets for octets in SENT if len(octets) <= 300]


def test_conformance_cases(level: str) -> None:
    for case in all_cases():
        for heads_max in (1, 2, ENOUGH):
            compare(case.sent, 0, heads_max, case.limits)


def test_conformance_cases_from_every_start(level: str) -> None:
    for octets in SHORT:
        for start in range(len(octets) + 1):
            assert found_in_c(level, octets, len(octets), start) == due_in_c(octets, start)


def test_conformance_cases_up_to_every_end(level: str) -> None:
    for octets in SHORT:
        for end in range(len(octets) + 1):
            part = octets[:end]
            assert found_in_c(level, part, end) == due_in_c(part)


def test_conformance_cases_in_two_reads(level: str) -> None:
    """What is said of the first read goes into the scan of both."""
    for octets in SHORT:
        for end in range(0, len(octets), 7):
            first = compare(octets[:end])
            if first.violation is None and first.seen is None:
                compare(octets, first.stop, ENOUGH, LIMITS, first.resume)


# -- What is generated -------------------------------------------------------------------------

@DETERMINISTIC
@given(octets=strategies.OCTETS, limits=strategies.limits(), heads_max=st.sampled_from((0, 1, 2, ENOUGH)),
       data=st.data())
def test_generated_octets(octets: bytes, limits: Limits, heads_max: int, data: st.DataObject,
                          level: str) -> None:
    start = data.draw(st.integers(0, len(octets)))
    compare(octets, start, heads_max, limits)
    compare(octets, 0, heads_max, limits)
    cut = data.draw(st.integers(0, len(octets)))
    first = compare(octets[:cut], 0, heads_max, limits)
    if first.violation is None and first.seen is None:
        compare(octets, first.stop, heads_max, limits, first.resume)


@DETERMINISTIC
@given(octets=strategies.OCTETS, data=st.data(), bounds=st.fixed_dictionaries({
    "heads_max": st.integers(0, 3), "head_bytes": st.integers(0, 300), "fields": st.integers(0, 6)}))
def test_generated_octets_in_c(octets: bytes, data: st.DataObject, bounds: dict[str, int],
                               level: str) -> None:
    start = data.draw(st.integers(0, len(octets)))
    assert found_in_c(level, octets, len(octets), start, **bounds) == due_in_c(octets, start, **bounds)
    assert found_in_c(level, octets, len(octets), **bounds) == due_in_c(octets, **bounds)


HOSTS = st.text("aZ09-._~!$&'()*+,;=:[]%vV/@\" \t\x80", max_size=40).map(lambda text: text.encode("latin-1"))
HOSTS |= st.lists(st.sampled_from([
    b"[", b"]", b"::1", b"v1.", b"V", b"f", b".", b":", b"80", b"%4a", b"%", b"%4", b"a", b"g", b" ", b"\t",
    b"a" * 31]), max_size=8).map(b"".join)


@settings(DETERMINISTIC, max_examples=600)
@given(host=HOSTS, rest=st.sampled_from((b"", b"X: " + b"y" * 40 + b"\r\n")))
def test_generated_hosts(host: bytes, rest: bytes, level: str) -> None:
    octets = b"GET / HTTP/1.1\r\nHost:" + host + b"\r\n" + rest + b"\r\n"
    assert found_in_c(level, octets, len(octets)) == due_in_c(octets)


RIGHT_HOSTS = [b"", b"a", b"a:", b"a:80", b":80", b"%41", b"a%4a%4A", b"[::1]", b"[::1]:80", b"[v1.a]",
               b"[VF.:]:1"]
WRONG_HOSTS = [b"a:8a", b"a:80:", b"%", b"%4", b"%4g", b"%g4", b"[::1]a", b"[::1", b"[", b"[]", b"[1.2]",
               b"[::g]", b"[::1g", b"[v.a]", b"[v1.]", b"[v1]", b"[v1", b"[v1.a", b"[v1.a/", b"[vg.a]", b"[v",
               b"a b", b"a@b", b"a/", b"\x80"]


@pytest.mark.parametrize("around", [b"%b", b" %b", b"%b ", b"\t %b \t"])
def test_hosts(around: bytes, level: str) -> None:
    for host in (*RIGHT_HOSTS, *WRONG_HOSTS):
        octets = b"GET / HTTP/1.1\r\nHost:" + around % host + b"\r\n\r\n"
        found = found_in_c(level, octets, len(octets))
        assert found == due_in_c(octets)
        assert found[0].seen == (Seen.HOST if host in RIGHT_HOSTS else Seen.HOST_FAULT), host


NAMES = (b"Host", b"Expect", b"Upgrade", b"Connection", b"Content-Length", b"Transfer-Encoding")
LINES = st.tuples(
    st.sampled_from((*NAMES, b"Keep-Alive", b"Xy")).flatmap(lambda name: st.sampled_from(
        (name, name.lower(), name.upper(), name.swapcase(), name[:-1], name + b"s", b"X" + name[1:],
         name.replace(b"-", b"_"), name.replace(b"o", b"0"), name[:-1] + bytes((name[-1] ^ 0x20,))))),
    st.sampled_from((b"", b" ", b"\t \t")),
    st.sampled_from((b"a", b"keep-alive", b"Keep-Alive", b"KEEP-ALIVE", b"keep-alive, close", b"keep-aliv",
                     b"keep-alives", b"keep_alive", b"close", b"a:80", b"[::1]", b"a b", b"")),
    st.sampled_from((b"", b" ", b"\t \t"))).map(lambda parts: b"%b:%b%b%b\r\n" % parts)


@settings(DETERMINISTIC, max_examples=600)
@given(lines=st.lists(LINES, max_size=5))
def test_generated_fields_that_govern(lines: list[bytes], level: str) -> None:
    octets = b"GET / HTTP/1.1\r\n" + b"".join(lines) + b"\r\n"
    assert found_in_c(level, octets, len(octets)) == due_in_c(octets)
    assert len(due_in_c(octets)) == 1


# -- Every octet, everywhere -------------------------------------------------------------------

PLACES = {
    "method": (b"", b"M", b" / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "path": (b"GET /", b"p", b" HTTP/1.1\r\nHost: a\r\n\r\n"),
    "query": (b"GET /?", b"q", b" HTTP/1.1\r\nHost: a\r\n\r\n"),
    "version": (b"GET / HTTP/1.", b"", b"\r\nHost: a\r\n\r\n"),
    "end of the request line": (b"GET / HTTP/1.1", b"", b"\nHost: a\r\n\r\n"),
    "its LF": (b"GET / HTTP/1.1\r", b"", b"Host: a\r\n\r\n"),
    "name": (b"GET / HTTP/1.1\r\nHost: a\r\n", b"n", b": v\r\n\r\n"),
    "value": (b"GET / HTTP/1.1\r\nHost: a\r\nN:", b"v", b"\r\n\r\n"),
    "host": (b"GET / HTTP/1.1\r\nHost:", b"h", b"\r\n\r\n"),
    "port": (b"GET / HTTP/1.1\r\nHost: a:", b"8", b"\r\n\r\n"),
    "literal": (b"GET / HTTP/1.1\r\nHost: [::", b"1", b"]\r\n\r\n"),
    "future": (b"GET / HTTP/1.1\r\nHost: [vF.", b"x", b"]\r\n\r\n"),
    "line": (b"GET / HTTP/1.1\r\n", b"", b": a\r\n\r\n"),
    "end of a line": (b"GET / HTTP/1.1\r\nHost: a", b"", b"\n\r\n"),
    "LF of a line": (b"GET / HTTP/1.1\r\nHost: a\r", b"", b"\r\n"),
    "empty line": (b"GET / HTTP/1.1\r\nHost: a\r\n", b"", b"\n"),
    "end": (b"GET / HTTP/1.1\r\nHost: a\r\n\r", b"", b""),
}
BEHIND = (b"", b"GET /another HTTP/1.1\r\nHost: a.example\r\nX: y\r\n\r\n")


@pytest.mark.parametrize("place", PLACES)
def test_every_octet_at_every_offset(place: str, level: str) -> None:
    """``offset`` octets ahead of it in its part of the head, so that it stands anywhere in a block."""
    before, fill, behind = PLACES[place]
    accepted = set()
    for offset in range(71 if fill else 1):
        for octet in range(256):
            head = before + fill * offset + bytes((octet,)) + behind
            for octets in (head, head + BEHIND[1]):
                due = due_in_c(octets)
                assert found_in_c(level, octets, len(octets)) == due, (offset, octet)
            accepted |= {octet} if due else set()
    assert 0 not in accepted
    assert accepted


@pytest.mark.parametrize("place", [place for place, (_, fill, _) in PLACES.items() if fill])
def test_every_octet_of_a_part_is_judged_as_the_reference_judges_it(place: str, level: str) -> None:
    before, fill, behind = PLACES[place]
    for octet in range(256):
        for offset in (0, 1, 20, 40):
            compare(before + fill * offset + bytes((octet,)) + fill + behind)


@pytest.mark.parametrize("line", [*(name + b": a" for name in NAMES), b"Connection: keep-alive"])
def test_every_octet_of_a_line_that_governs(line: bytes, level: str) -> None:
    for at in range(len(line)):
        for octet in range(256):
            octets = b"GET / HTTP/1.1\r\n%b%c%b\r\n\r\n" % (line[:at], octet, line[at + 1:])
            assert found_in_c(level, octets, len(octets)) == due_in_c(octets), octets


# -- Ends and bounds ---------------------------------------------------------------------------

class Guarded:
    """Some pages of memory between two that must not be touched."""

    def __init__(self, pages: int) -> None:
        page = mmap.PAGESIZE
        self.size = pages * page
        self._memory = mmap.mmap(-1, self.size + 2 * page)
        self._start = ctypes.addressof(ctypes.c_char.from_buffer(self._memory)) + page
        mprotect = ctypes.CDLL(None, use_errno=True).mprotect
        for at in (self._start - page, self._start + self.size):
            assert mprotect(ctypes.c_void_p(at), page, 0) == 0, ctypes.get_errno()

    def put(self, octets: bytes, *, at_end: bool) -> Any:
        """Put ``octets`` at the end of the pages, or at their start; where they are."""
        at = self._start + (self.size - len(octets) if at_end else 0)
        ctypes.memmove(at, octets, len(octets))
        return ffi.cast("uint8_t *", at)


@pytest.fixture(scope="module")
def guarded() -> Guarded:
    return Guarded(8)


def test_the_pages_around_are_guarded() -> None:
    """Else the next test would show nothing: reading one octet more ends the process."""
    code = ("from test_scanner import Guarded, ffi; at = Guarded(1).put(b'a', at_end={}); print(at[0]);"
            "print('read', at[{}])")
    for at_end, beyond in ((True, 1), (False, -1)):
        done = subprocess.run([sys.executable, "-c", code.format(at_end, beyond)], cwd=Path(__file__).parent,
                              capture_output=True, text=True, check=False)
        assert (done.returncode < 0, done.stdout) == (True, ""), done.stderr


@pytest.mark.parametrize("at_end", [True, False])
def test_no_octet_outside_of_the_buffer_is_read(at_end: bool, guarded: Guarded, level: str) -> None:
    for octets in SHORT:
        for end in {len(octets), *range(0, len(octets), 5)}:
            part = octets[:end]
            place = guarded.put(part, at_end=at_end)
            for bound in (8192, 33, 20):
                assert found_in_c(level, place, end, head_bytes=bound) == due_in_c(part, head_bytes=bound)


TRIVIAL = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize("octets", [
    TRIVIAL, b"GET /" + b"p" * 33 + b" HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n"])
def test_the_bound_on_octets_is_exact(octets: bytes, level: str) -> None:
    for ahead in (b"", TRIVIAL):
        buffer = ahead + octets + TRIVIAL
        start, size = len(ahead), len(octets)
        assert len(found_in_c(level, buffer, len(buffer), start, heads_max=1, head_bytes=size)) == 1
        assert not found_in_c(level, buffer, len(buffer), start, heads_max=1, head_bytes=size - 1)


def test_the_bound_on_fields_is_exact(level: str) -> None:
    octets = b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nY: z\r\n\r\n"
    assert len(found_in_c(level, octets, len(octets), fields=3)) == 1
    assert not found_in_c(level, octets, len(octets), fields=2)
    none = b"GET /" + b"p" * 32 + b" HTTP/1.1\r\n\r\n"
    assert len(found_in_c(level, none, len(none), fields=0)) == 1


def test_bounds_that_no_number_of_c_can_hold(level: str) -> None:
    most = 1 << 70
    limits = Limits(request_line_bytes=most, field_line_bytes=most, field_section_bytes=most, fields=most)
    octets = b"GET /" + b"p" * 70_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n" + TRIVIAL
    assert len(compare(octets, limits=limits).heads) == 2


def test_limits_may_differ_from_call_to_call(level: str) -> None:
    for limits in (LIMITS, Limits(fields=1), LIMITS, Limits(request_line_bytes=10), Limits(fields=1)):
        compare(TRIVIAL + b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n", limits=limits)


def test_a_head_behind_four_gibibytes_is_not_for_it(level: str) -> None:
    """Its places are 32 bits wide."""
    memory = mmap.mmap(-1, (1 << 32) + mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    octets = TRIVIAL + b"GET /" + b"p" * 40 + b" HTTP/1.1\r\nHost: a\r\n\r\n"
    for beyond in (0, 1, 5, len(octets) - len(TRIVIAL), len(octets), len(octets) + 1):
        at = (1 << 32) - 1 - len(octets) + beyond
        ctypes.memmove(start + at, octets, len(octets))
        found = found_in_c(level, ffi.cast("uint8_t *", start), len(memory), at)
        assert [head.end for head in found] == [
            end for end in (at + len(TRIVIAL), at + len(octets)) if end <= 0xFFFFFFFF]


# -- What is handed over -----------------------------------------------------------------------

class Careful:
    """The reference, and for which heads it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int, Resume | None]] = []

    def __call__(self, buffer: bytes, start: int, heads_max: int, limits: Limits,
                 resume: Resume | None = None) -> Scanned:
        self.asked.append((start, heads_max, resume))
        return grammar.scan(buffer, start, heads_max, limits, resume)


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 128, 129, 200])
def test_trivial_heads_are_not_handed_over(count: int, level: str) -> None:
    careful = Careful()
    scanned = scanner.make_scan(careful)(TRIVIAL * count, 0, ENOUGH, LIMITS)
    assert told(scanned) == told(grammar.scan(TRIVIAL * count, 0, ENOUGH, LIMITS))
    assert len(scanned.heads) == count
    for heads_max in (0, 1, count - 1, count):
        scanned = scanner.make_scan(careful)(TRIVIAL * count, 0, heads_max, LIMITS)
        assert (len(scanned.heads), scanned.stop) == (heads_max, heads_max * len(TRIVIAL))
    assert careful.asked == []


@pytest.mark.parametrize("method", [b"CONNECS", b"CONNECTS", b"CONNEC", b"XONNECT", b"connect", b"!"])
def test_any_other_method_than_connect_is_not_handed_over(method: bytes, level: str) -> None:
    careful = Careful()
    octets = TRIVIAL.replace(b"GET", method)
    assert len(scanner.make_scan(careful)(octets, 0, ENOUGH, LIMITS).heads) == 1
    assert careful.asked == []


NOT_TRIVIAL = [TRIVIAL[:-2] + line + b"\r\n\r\n" for line in (
    b"Content-Length: 0", b"Transfer-Encoding: chunked", b"Connection: close", b"Expect: x", b"Upgrade: x",
    b"Host: b")]
NOT_TRIVIAL += [TRIVIAL.replace(b"/1.1", b"/1.0"), TRIVIAL.replace(b"Host", b"Hose"),
                TRIVIAL.replace(b": a", b": /")]


@pytest.mark.parametrize("octets", NOT_TRIVIAL)
def test_a_head_that_is_not_trivial_ends_the_scan(octets: bytes, level: str) -> None:
    careful = Careful()
    scanned = scanner.make_scan(careful)(TRIVIAL + octets + TRIVIAL, 0, ENOUGH, LIMITS)
    assert told(scanned) == told(grammar.scan(TRIVIAL + octets + TRIVIAL, 0, ENOUGH, LIMITS))
    assert (len(scanned.heads), scanned.stop) == (2, len(TRIVIAL + octets))
    assert careful.asked == []


@pytest.mark.parametrize("octets", [
    b"GET /a%20b HTTP/1.1\r\nHost: a\r\n\r\n", b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", b"\r\n" + TRIVIAL])
def test_a_head_that_is_handed_over_does_not_end_the_scan(octets: bytes, level: str) -> None:
    careful = Careful()
    buffer = (TRIVIAL * 2 + octets) * 2 + TRIVIAL
    scanned = scanner.make_scan(careful)(buffer, 0, ENOUGH, LIMITS)
    assert told(scanned) == told(grammar.scan(buffer, 0, ENOUGH, LIMITS))
    assert len(scanned.heads) == 7
    at = 2 * len(TRIVIAL)
    assert careful.asked == [(at, 1, None), (2 * at + len(octets), 1, None)]


@pytest.mark.parametrize("octets", [
    b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", b"GET /# HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /%0a HTTP/1.1\r\nHost: a\r\n\r\n", b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"CONNECT /a HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n", b"G", b"\r", b"\r\n"])
def test_what_ends_the_scan_is_the_word_of_the_reference(octets: bytes, level: str) -> None:
    careful = Careful()
    scanned = scanner.make_scan(careful)(TRIVIAL + octets, 0, ENOUGH, LIMITS)
    assert told(scanned) == told(grammar.scan(TRIVIAL + octets, 0, ENOUGH, LIMITS))
    assert careful.asked == [(len(TRIVIAL), 1, None)]


def test_an_incomplete_head_is_taken_up_where_the_reference_left_it(level: str) -> None:
    careful = Careful()
    scan = scanner.make_scan(careful)
    resume = scan(TRIVIAL[:20], 0, ENOUGH, LIMITS).resume
    scanned = scan(TRIVIAL * 3, 0, ENOUGH, LIMITS, resume)
    assert told(scanned)[0] == told(grammar.scan(TRIVIAL * 3, 0, 3, LIMITS))[0]
    assert careful.asked == [(0, 1, None), (0, 1, Resume(16, 20, 1))]


def test_threads_do_not_share_what_heads_are_written_to() -> None:
    """The scanner runs without the lock of the interpreter."""
    wrong: list[int] = []
    before = sys.getswitchinterval()

    def work(octets: bytes) -> None:
        right = told(grammar.scan(octets, 0, ENOUGH, LIMITS))
        scans = (told(fast_scan(octets, 0, ENOUGH, LIMITS)) for _ in range(300))
        wrong.append(sum(scan != right for scan in scans))

    threads = [threading.Thread(target=work, args=(TRIVIAL.replace(b"/ ", b"/%b " % (b"p" * size)) * 40,))
               for size in range(1, 5)]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert wrong == [0] * 4


# -- The C by itself ---------------------------------------------------------------------------

COMPILERS = [name for name in ("gcc", "clang") if shutil.which(name)] or ["cc"]
SOURCES = sorted(map(str, CSRC.glob("scan*.c")))


def compiled(compiler: str, output: Path, *arguments: str) -> None:
    """Compile; what the compiler complains of is the failure."""
    sources = [*SOURCES, str(FUZZ / "fuzz_scan.c"), str(FUZZ / "replay.c"), "-o", str(output)]
    done = subprocess.run([compiler, "-std=c11", f"-I{CSRC}", "-Wall", "-Wextra", "-Werror", *arguments,
                           *sources], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(done.stderr, pytrace=False)


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("optimized", ["-O0", "-O2", "-O3"])
def test_no_compiler_has_anything_to_complain_of(compiler: str, optimized: str, tmp_path: Path) -> None:
    compiled(compiler, tmp_path / "replay", optimized, "-Wpedantic", "-Wconversion", "-Wshadow",
             "-Wcast-qual", "-Wstrict-prototypes", "-Wmissing-prototypes")


@pytest.mark.slow
@pytest.mark.parametrize("compiler", COMPILERS)
def test_the_conformance_cases_under_sanitizers(compiler: str, tmp_path: Path) -> None:
    """AddressSanitizer and UndefinedBehaviorSanitizer; the levels are compared as the fuzz target does it."""
    compiled(compiler, tmp_path / "replay", "-g", "-O1", "-fsanitize=address,undefined",
             "-fno-sanitize-recover=all")
    files = corpus.write(tmp_path / "corpus")
    done = subprocess.run([tmp_path / "replay", *files], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{len(files)} inputs\n"
