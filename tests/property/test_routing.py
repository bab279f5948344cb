"""Which route takes a path: the same as trying one after the other."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from japronto.app import Application
from japronto.limits import Limits
from japronto.messages import ENCODED_SLASH, PERSISTENT, RequestHead, Violation
from japronto.pure.grammar import decode_path
from japronto.pure.parser import Parser
from japronto.routing import KNOWN_METHODS, UNASKED, Route

from . import strategies

# -- A naive router --------------------------------------------------------------------------

REGEXES = {"": "[^/]+", "str": "[^/]+", "int": "[0-9]{1,640}", "path": "(?s:.+)",
           "uuid": "[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"}
CONVERSIONS = {"int": int, "uuid": UUID}


def matched(pattern: str, path: str) -> dict[str, Any] | None:
    """The values of the placeholders, if the pattern matches; as a regular expression does it."""
    regex, kinds = "", {}
    for part in re.findall(r"\{\{|\}\}|\{[^{}]*\}|[^{}]+", pattern):
        if part in ("{{", "}}"):
            regex += re.escape(part[0])
        elif part[0] == "{":
            name, _, kind = part[1:-1].partition(":")
            kinds[name] = kind
            regex += f"(?P<{name}>{REGEXES[kind]})"
        else:
            regex += re.escape(part)
    found = re.fullmatch(regex, path)
    if found is None:
        return None
    return {name: CONVERSIONS.get(kind, lambda text: text.replace(ENCODED_SLASH, "/"))(found[name])
            for name, kind in kinds.items()}


def takes(route: Route, method: str, known: frozenset[str]) -> bool:
    return method in (route.methods or known - UNASKED)


def naively(routes: list[Route], method: str, path: str) -> tuple[Route, dict[str, Any]] | None:
    """The first route that takes path and method; a HEAD is a GET unless one of them names it."""
    known = KNOWN_METHODS.union(*(route.methods for route in routes))
    found = [(route, values) for route in routes if (values := matched(route.pattern, path)) is not None]
    methods = {method}
    if method == "HEAD" and not any("HEAD" in route.methods for route, _ in found):
        methods.add("GET")
    return next(((route, values) for route, values in found
                 if any(takes(route, each, known) for each in methods)), None)


# -- Patterns and paths that meet ------------------------------------------------------------

LITERALS = st.sampled_from(("", "a", "b", "ab", "1", "{{", "a}}b", "%2F", "\u00e9", "."))
KINDS = st.sampled_from(("", "", ":str", ":int", ":uuid"))
VALUES = st.sampled_from(("a", "ab", "b", "1", "12", "007", "\u0661", "-1", "", "{", "a}b", "\u00e9",
                          ENCODED_SLASH, "\n", "%2F", "a" + ENCODED_SLASH, ".", "..",
                          "0" * 8 + "-0000-0000-0000-" + "f" * 12, "1" * 641))


@st.composite
def patterns(draw: strategies.Draw) -> str:
    pattern = ""
    for number in range(draw(st.integers(1, 4))):
        pattern += "/" + draw(LITERALS)
        if draw(st.booleans()):
            pattern += f"{{p{number}{draw(KINDS)}}}"
    return pattern + (draw(st.sampled_from(("", "", "/", "/{rest:path}", "/a{rest:path}"))))


METHODS = st.sampled_from((*sorted(KNOWN_METHODS), "BREW"))
ROUTES = st.lists(st.tuples(patterns(), st.lists(METHODS, max_size=2)), max_size=6)
TEXTS = VALUES | LITERALS.map(lambda text: text.replace("{{", "{").replace("}}", "}"))
PATHS = st.text(max_size=8) | st.just("*") | st.lists(TEXTS, min_size=1, max_size=5).map(
    lambda segments: "/" + "/".join(segments))


def head_of(method: str, path: str) -> RequestHead:
    return RequestHead(method, b"/", path, None, 1, b"\n", PERSISTENT)


@given(routes=ROUTES, method=METHODS, paths=st.lists(PATHS, min_size=1, max_size=5))
def test_the_first_route_that_matches_is_taken(routes: list[tuple[str, list[str]]], method: str,
                                               paths: list[str]) -> None:
    app = Application()
    added = [app.add_route(pattern, lambda request: None, methods=methods) for pattern, methods in routes]
    for path in (*paths, paths[0]):  # The first time and the second are not the same way through the code.
        target = app.target(head_of(method, path))
        found = naively(added, method, path)
        if found is None:
            assert target.route is None
            assert target.match is None
        else:
            route, values = found
            assert target.route is route
            assert (target.match or {}) == values
            assert all(type(target.match[name]) is type(value) for name, value in values.items())


@given(pattern=patterns(), method=METHODS, path=PATHS, more=ROUTES)
def test_a_route_that_is_added_later_counts(pattern: str, method: str, path: str,
                                            more: list[tuple[str, list[str]]]) -> None:
    """What routing remembers is forgotten."""
    app = Application()
    added = []
    for each, methods in [(pattern, []), *more]:
        added.append(app.add_route(each, lambda request: None, methods=methods))
        found = naively(added, method, path)
        assert app.target(head_of(method, path)).route is (found[0] if found else None)


@given(pattern=st.text("a/{}:intpathstruuid*", max_size=14) | patterns())
def test_a_pattern_is_taken_or_refused(pattern: str) -> None:
    """Refused with a ValueError that names it; and with what is taken, routing goes on."""
    app, refused = Application(), None
    try:
        app.add_route(pattern, print)
    except ValueError as error:
        refused = str(error)
    assert refused is None or pattern in refused
    assert app.target(head_of("GET", "/a/1")).content_bytes == Limits().content_bytes


# -- Paths -----------------------------------------------------------------------------------

@given(path=st.binary(max_size=20) | strategies.made_of(
    b"%", b"%2", b"%2f", b"%2F", b"%00", b"%0d", b"%c3%a9", b"%C3", b"%ff", b"%ED%B0%AF", b"/", b"a", b"+",
    b"%25", b"%7e", max_size=8))
def test_decoding_a_path_raises_nothing(path: bytes) -> None:
    """And gives text without what must not be there, or a 400."""
    ascii_path = bytes(octet & 0x7F for octet in path)
    decoded = decode_path(ascii_path)
    if isinstance(decoded, Violation):
        assert decoded.status == 400
        assert b"%" in ascii_path
    else:
        decoded.replace(ENCODED_SLASH, "/").encode()
        assert decoded.count("/") == ascii_path.count(b"/")
        assert not set("\0\r\n") & set(decoded) - set(ascii_path.decode())


CHARACTERS = st.characters(codec="utf-8", exclude_characters="\0\r\n")


@given(segments=st.lists(st.text(CHARACTERS, min_size=1, max_size=5), min_size=1, max_size=4))
def test_values_of_placeholders_come_back(segments: list[str]) -> None:
    """Whatever a client puts into segments, properly encoded, is what the handler is given."""
    app = Application()
    route = app.add_route("".join(f"/{{p{number}}}" for number in range(len(segments))), print)
    target = "".join("/" + quote(segment, safe="") for segment in segments)
    [head] = Parser(Limits()).feed(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    found = app.target(head)
    assert found.route is route
    assert list((found.match or {}).values()) == segments
