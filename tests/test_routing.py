"""Patterns, the order of routes, mounted routers, and what is found for a path."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from japronto.messages import ENCODED_SLASH
from japronto.routing import (
    KNOWN_METHODS,
    Matcher,
    Node,
    Route,
    Router,
    Segment,
    choose,
    describe,
    parse,
)

ORDINARY = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


def handler(request: Any) -> None:
    """Never called here."""


def matcher_of(*patterns: str) -> Matcher:
    """Of routes such as ``/items GET,POST``."""
    routes = []
    for pattern in patterns:
        path, _, methods = pattern.partition(" ")
        routes.append(Route(path, handler, methods.split(",") if methods else ()))
    return Matcher(routes)


def found(matcher: Matcher, path: str) -> list[str]:
    return [candidate.route.pattern for candidate in matcher.find(path)]


def match(matcher: Matcher, request: str) -> tuple[str, dict[str, Any] | None] | None:
    """The pattern and the values for a request such as ``GET /items``."""
    method, _, path = request.partition(" ")
    candidate = choose(matcher.find(path), method)
    return None if candidate is None else (repr(candidate.route), candidate.match(path))


# Patterns

@pytest.mark.parametrize(("pattern", "segments"), [
    ("/", [Segment(""), Segment("")]),
    ("/a", [Segment(""), Segment("a")]),
    ("/a/", [Segment(""), Segment("a"), Segment("")]),
    ("//", [Segment(""), Segment(""), Segment("")]),
    ("/t\u00e9st", [Segment(""), Segment("t\u00e9st")]),
    ("/{{a}}", [Segment(""), Segment("{a}")]),
    ("/{{{a}", [Segment(""), Segment("{", "a")]),
    ("/{{a}}/b", [Segment(""), Segment("{a}"), Segment("b")]),
    ("{a}", [Segment("", "a")]),
    ("a/{a}", [Segment("a"), Segment("", "a")]),
    ("{a}/a", [Segment("", "a"), Segment("a")]),
    ("{a}/{{a}}", [Segment("", "a"), Segment("{a}")]),
    ("{a}/{b}", [Segment("", "a"), Segment("", "b")]),
    ("/user-{id}/x", [Segment(""), Segment("user-", "id"), Segment("x")]),
    ("/{id:int}", [Segment(""), Segment("", "id", "int")]),
    ("/{id:str}", [Segment(""), Segment("", "id", "str")]),
    ("/{id:uuid}", [Segment(""), Segment("", "id", "uuid")]),
    ("/v-{rest:path}", [Segment(""), Segment("v-", "rest", "path")]),
    ("/{any name-1}", [Segment(""), Segment("", "any name-1")]),
    ("/.*+?[a](b)\\d", [Segment(""), Segment(".*+?[a](b)\\d")]),
])
def test_a_pattern(pattern: str, segments: list[Segment]) -> None:
    assert parse(pattern) == segments


@pytest.mark.parametrize(("pattern", "message"), [
    ("{a", "Unbalanced"),
    ("{a}/{b", "Unbalanced"),
    ("/a}", "Unbalanced"),
    ("/{a}}", "followed by"),
    ("/{{a}", "Unbalanced"),
    ("/{", "Unbalanced"),
    ("/}", "Unbalanced"),
    ("/{a{b}", "Unbalanced"),
    ("{a}a", "followed by"),
    ("/{a}{b}", "followed by"),
    ("/{a}}}", "followed by"),
    ("/{a}{{", "followed by"),
    ("{a}/{a}", "Duplicate"),
    ("/{a:int}/b/{a}", "Duplicate"),
    ("/{}", "needs a name"),
    ("/{:int}", "needs a name"),
    ("/{a/b}", "needs a name"),
    ("/{a:float}", "no type"),
    ("/{a:}", "no type"),
    ("/{a:INT}", "no type"),
    ("/{a:path}/b", "must be the last"),
    ("/{a:path}/", "must be the last"),
    ("/{a:path}/{b:path}", "must be the last"),
])
def test_what_is_no_pattern(pattern: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(pattern)


def test_an_unknown_type_is_told_the_known_ones() -> None:
    with pytest.raises(ValueError, match="there are int, path, str, uuid"):
        parse("/{a:float}")


# Routes

def test_what_a_route_shows() -> None:
    route = Router().add_route("/items/{id}", handler, method="get")
    assert (route.pattern, route.handler) == ("/items/{id}", handler)
    assert route.methods == {"GET"}
    assert (route.stream, route.content_bytes) == (False, None)
    assert repr(route) == "<Route /items/{id} GET>"


def test_methods_in_any_form() -> None:
    router = Router()
    assert router.add_route("/", handler).methods == frozenset()
    assert router.add_route("/", handler, None, None).methods == frozenset()
    assert router.add_route("/", handler, "POST").methods == {"POST"}
    assert router.add_route("/", handler, methods=["put", "Delete"]).methods == {"PUT", "DELETE"}
    assert router.add_route("/", handler, methods={"M-SEARCH"}).methods == {"M-SEARCH"}
    assert router.add_route("/", handler, methods=[]).methods == frozenset()


def test_options_of_a_route() -> None:
    route = Router().add_route("/", handler, "PUT", stream=True, content_bytes=7)
    assert (route.stream, route.content_bytes) == (True, 7)


@pytest.mark.parametrize("pattern", ["items", "{a}/b", "**", "a*", " /"])
def test_a_pattern_that_no_path_can_match_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match='must start with "/"'):
        Router().add_route(pattern, handler)


@pytest.mark.parametrize("pattern", ["", "/", "*"])
def test_patterns_that_start_otherwise(pattern: str) -> None:
    assert Router().add_route(pattern, handler).pattern == pattern


def test_method_and_methods_exclude_each_other() -> None:
    router = Router()
    with pytest.raises(ValueError, match="method and methods"):
        router.add_route("/", handler, "GET", ["POST"])
    assert list(router.placed()) == []


@pytest.mark.parametrize(("arguments", "options", "error"), [
    (("/", handler), {"methods": "GET"}, TypeError),
    (("/", handler), {"method": "G T"}, ValueError),
    (("/", handler), {"methods": ["GET", ""]}, ValueError),
    (("/", handler), {"methods": ["GET\r\n"]}, ValueError),
    (("/", handler), {"content_bytes": -1}, ValueError),
    (("/", "handler"), {}, TypeError),
    ((handler, "/"), {}, TypeError),
    ((b"/", handler), {}, TypeError),
    (("/", handler), {"streaming": True}, TypeError),
])
def test_mistakes_in_a_route(arguments: tuple[Any, ...], options: dict[str, Any],
                             error: type[Exception]) -> None:
    router = Router()
    with pytest.raises(error):
        router.add_route(*arguments, **options)
    assert list(router.placed()) == []


@pytest.mark.parametrize("name", ["get", "post", "put", "patch", "delete", "head", "options"])
def test_decorators_return_the_function(name: str) -> None:
    router = Router()
    assert getattr(router, name)("/x", stream=True)(handler) is handler
    (route, _), = router.placed()
    assert (route.pattern, route.stream) == ("/x", True)
    assert route.methods == {name.upper()}


def test_the_general_decorator() -> None:
    router = Router()
    assert router.route("/all")(handler) is handler
    assert router.route("/one", "GET")(handler) is handler
    assert router.route("/two", methods=["GET", "PUT"], content_bytes=3)(handler) is handler
    routes = [route for route, _ in router.placed()]
    assert [sorted(route.methods) for route in routes] == [[], ["GET"], ["GET", "PUT"]]
    assert [route.content_bytes for route in routes] == [None, None, 3]


def test_a_decorator_without_its_brackets() -> None:
    with pytest.raises(TypeError, match="pattern is a str"):
        Router().get(handler)  # type: ignore[arg-type]


# What handlers take

class Page:
    """Handlers of all kinds."""

    def __init__(self, request: Any = None) -> None:
        self.request = request

    def __call__(self, request: Any) -> Any:
        return request

    def method(self, request: Any, page: int = 1) -> Any:
        return request

    @staticmethod
    def none() -> None:
        return None


def passes_a_user(function: Callable[..., Any]) -> Callable[[Any], Any]:
    @functools.wraps(function)
    def wrapper(request: Any) -> Any:
        return function(request, "ida")

    return wrapper


def passes_anything(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*arguments: Any, **options: Any) -> Any:
        return function(*arguments, **options)

    return wrapper


@pytest.mark.parametrize("function", [
    handler, Page, Page(), Page().method, lambda *arguments: None, lambda anything, /: None, print,
    functools.partial(lambda name, request: None, "ida"),
    functools.partial(lambda request, name: None, name="ida"),
    passes_a_user(lambda request, user: None),
    passes_anything(lambda: None),
    dict.fromkeys, type,  # whose parameters Python knows, or does not
])
def test_what_can_be_a_handler(function: Callable[..., Any]) -> None:
    assert Route("/", function).handler is function


@pytest.mark.parametrize(("function", "end"), [
    (lambda: None, "<lambda>() does not take: too many positional arguments"),
    (lambda request, it: None, "<lambda>(request, it) does not take: missing a required argument: 'it'"),
    (lambda *, request: None, "<lambda>(*, request) does not take: too many positional arguments"),
    (functools.partial(lambda request: None, 1), "<lambda>() does not take: too many positional arguments"),
    (Page.none, "Page.none() -> 'None' does not take: too many positional arguments"),
])
def test_what_cannot_be_a_handler(function: Callable[..., Any], end: str) -> None:
    with pytest.raises(TypeError) as raised:
        Route("/x/{name}", function)
    assert str(raised.value) == (
        f"the handler of /x/{{name}} is called with (request), which {__name__}.{end}")


@pytest.mark.parametrize(("function", "name"), [
    (handler, f"{__name__}.handler"), (Page().method, f"{__name__}.Page.method"), (Page, f"{__name__}.Page"),
    (functools.partial(functools.partial(handler)), f"{__name__}.handler"),
    (passes_a_user(handler), f"{__name__}.handler"), (print, "builtins.print"), ("x".join, "<built-in"),
])
def test_how_functions_are_described(function: Callable[..., Any], name: str) -> None:
    assert describe(function).startswith(name)


# Matching

OF_2017 = ["/", "/test GET", "/hi/{there} POST,DELETE", "/{oh}/{dear} PATCH", "/lets PATCH"]


@pytest.mark.parametrize(("request_", "route", "values"), [
    ("GET /", "<Route />", None),
    ("POST /", "<Route />", None),
    ("GET /test", "<Route /test GET>", None),
    ("DELETE /hi/jane", "<Route /hi/{there} DELETE POST>", {"there": "jane"}),
    ("PATCH /lets/go", "<Route /{oh}/{dear} PATCH>", {"oh": "lets", "dear": "go"}),
    ("PATCH /hi/jane", "<Route /{oh}/{dear} PATCH>", {"oh": "hi", "dear": "jane"}),
    ("PATCH /lets", "<Route /lets PATCH>", None),
])
def test_matches_of_2017(request_: str, route: str, values: dict[str, str] | None) -> None:
    assert match(matcher_of(*OF_2017), request_) == (route, values)


@pytest.mark.parametrize("request_", [
    "POST /test", "GET /test/", "GET /hi/jane", "POST /hi/jane/", "POST /hi/", "GET /abc", "PATCH //dance",
    "PATCH /a/", "PATCH /a/b/c", "PATCH /a/b/"])
def test_no_match_in_2017(request_: str) -> None:
    assert match(matcher_of(*OF_2017), request_) is None


@pytest.mark.parametrize(("pattern", "path", "values"), [
    ("/{a}", "/x", {"a": "x"}),
    ("/{a}", "/.", {"a": "."}),
    ("/{a}", "/ \u00e9+%2F", {"a": " \u00e9+%2F"}),
    ("/{a}", f"/x{ENCODED_SLASH}y", {"a": "x/y"}),
    ("/{a}", f"/{ENCODED_SLASH}", {"a": "/"}),
    ("/a-{a}", "/a-x", {"a": "x"}),
    ("/a-{a}/b", "/a-x/b", {"a": "x"}),
    ("/a{a}", "/aa", {"a": "a"}),
    ("/{{{a}", "/{x", {"a": "x"}),
    ("/{a}/", "/x/", {"a": "x"}),
    ("/{n:int}", "/0", {"n": 0}),
    ("/{n:int}", "/007", {"n": 7}),
    ("/{n:int}", "/" + "9" * 640, {"n": 10 ** 640 - 1}),
    ("/v{n:int}/x", "/v2/x", {"n": 2}),
    ("/{u:uuid}", "/12345678-1234-ABCD-abcd-123456789abc",
     {"u": UUID("12345678-1234-abcd-abcd-123456789abc")}),
    ("/f/{p:path}", "/f/a", {"p": "a"}),
    ("/f/{p:path}", "/f/a/b//c/", {"p": "a/b//c/"}),
    ("/f/{p:path}", "/f//", {"p": "/"}),
    ("/f/{p:path}", f"/f/a{ENCODED_SLASH}b/c", {"p": "a/b/c"}),
    ("/f/{p:path}", "/f/../x", {"p": "../x"}),
    ("/{p:path}", "/f", {"p": "f"}),
    ("/f-{p:path}", "/f-/", {"p": "/"}),
    ("/f-{p:path}", "/f-a/b", {"p": "a/b"}),
    ("/{a}/{n:int}/{p:path}", "/x/1/y/z", {"a": "x", "n": 1, "p": "y/z"}),
])
def test_placeholders(pattern: str, path: str, values: dict[str, Any]) -> None:
    candidate, = matcher_of(pattern).find(path)
    matched = candidate.match(path)
    assert matched == values
    assert matched is not None
    assert {name: type(value) for name, value in matched.items()} == {
        name: type(value) for name, value in values.items()}


@pytest.mark.parametrize(("pattern", "path"), [
    ("/{a}", "/"),
    ("/{a}", "/a/b"),
    ("/{a}", "/a/"),
    ("/{a}", "//"),
    ("/{a}/b", "//b"),
    ("/a{a}", "/a"),
    ("/a{a}", "/ba"),
    ("/{n:int}", "/"),
    ("/{n:int}", "/-1"),
    ("/{n:int}", "/+1"),
    ("/{n:int}", "/1.0"),
    ("/{n:int}", "/1_0"),
    ("/{n:int}", "/ 1"),
    ("/{n:int}", "/1\n"),
    ("/{n:int}", "/\u0661"),
    ("/{n:int}", "/\u00b2"),
    ("/{n:int}", "/0x1"),
    ("/{n:int}", f"/1{ENCODED_SLASH}1"),
    ("/{n:int}", "/" + "9" * 641),
    ("/{u:uuid}", "/12345678123412341234123456789abc"),
    ("/{u:uuid}", "/{12345678-1234-abcd-abcd-123456789abc}"),
    ("/{u:uuid}", "/urn:uuid:12345678-1234-abcd-abcd-123456789abc"),
    ("/{u:uuid}", "/12345678-1234-abcd-abcd-123456789abg"),
    ("/{u:uuid}", "/12345678-1234-abcd-abcd-123456789abc1"),
    ("/f/{p:path}", "/f"),
    ("/f/{p:path}", "/f/"),
    ("/f/{p:path}", "/g/a"),
    ("/f-{p:path}", "/f-"),
    ("/f-{p:path}", "/f/"),
    ("/a/b", f"/a{ENCODED_SLASH}b"),
    ("/a/{b}", f"/a{ENCODED_SLASH}b"),
    ("/a%2Fb", f"/a{ENCODED_SLASH}b"),
    ("/a", "/A"),
    ("/a", "/a/"),
    ("/a/", "/a"),
    ("/.*", "/xx"),
    ("*", "/"),
    ("", "/"),
])
def test_what_does_not_match(pattern: str, path: str) -> None:
    assert matcher_of(pattern).find(path) == []


def test_an_exact_pattern_with_braces_and_letters_beyond_ascii() -> None:
    matcher = matcher_of("/{{\u00e9}}")
    assert found(matcher, "/{\u00e9}") == ["/{{\u00e9}}"]
    assert matcher.find("/{{\u00e9}}") == []


def test_values_are_made_anew() -> None:
    candidate, = matcher_of("/{a}").find("/x")
    assert candidate.match("/x") is not candidate.match("/x")


# The order

@pytest.mark.parametrize(("patterns", "path", "expected"), [
    (["/a", "/{x}"], "/a", ["/a", "/{x}"]),
    (["/{x}", "/a"], "/a", ["/{x}", "/a"]),
    (["/{x}", "/a"], "/b", ["/{x}"]),
    (["/{x:path}", "/a/b", "/{x}/b", "/a/{x}"], "/a/b", ["/{x:path}", "/a/b", "/{x}/b", "/a/{x}"]),
    (["/a/{x}", "/{x}/b", "/a/b", "/{x:path}"], "/a/b", ["/a/{x}", "/{x}/b", "/a/b", "/{x:path}"]),
    (["/{x}", "/{y:int}", "/1"], "/1", ["/{x}", "/{y:int}", "/1"]),
    (["/1", "/{y:int}", "/{x}"], "/1", ["/1", "/{y:int}", "/{x}"]),
    (["/{y:int}", "/{x}"], "/a", ["/{x}"]),
    (["/{x}/c", "/a/b"], "/a/c", ["/{x}/c"]),
    (["/a/{x}/c", "/{x}/b/d"], "/a/b/d", ["/{x}/b/d"]),
    (["/x{a}", "/xy{a}", "/{a}"], "/xyz", ["/x{a}", "/xy{a}", "/{a}"]),
    (["/x{a}", "/y{a}"], "/yz", ["/y{a}"]),
    (["/{a}", "/{b}"], "/x", ["/{a}", "/{b}"]),
    (["/f/{a:path}", "/f/{a}/{b}", "/f/x/{b:int}"], "/f/x/1", ["/f/{a:path}", "/f/{a}/{b}", "/f/x/{b:int}"]),
])
def test_registration_decides_the_order(patterns: list[str], path: str, expected: list[str]) -> None:
    assert found(matcher_of(*patterns), path) == expected


def test_the_first_that_takes_the_method() -> None:
    matcher = matcher_of("/{a} POST", "/x GET", "/{b}", "/x PUT")
    assert match(matcher, "GET /x") == ("<Route /x GET>", None)
    assert match(matcher, "POST /x") == ("<Route /{a} POST>", {"a": "x"})
    assert match(matcher, "PUT /x") == ("<Route /{b}>", {"b": "x"})


# Methods

@pytest.mark.parametrize(("patterns", "expected"), [
    (["/x GET"], "<Route /x GET>"),
    (["/x POST"], None),
    (["/x GET", "/x HEAD"], "<Route /x HEAD>"),
    (["/x HEAD", "/x GET"], "<Route /x HEAD>"),
    (["/{a} GET", "/x HEAD"], "<Route /x HEAD>"),
    (["/x GET", "/{a} HEAD,POST"], "<Route /{a} HEAD POST>"),
    (["/x", "/x HEAD"], "<Route /x>"),
    (["/x GET", "/x"], "<Route /x GET>"),
    (["/x POST", "/x"], "<Route /x>"),
])
def test_head_is_answered_from_get_unless_a_route_names_it(patterns: list[str], expected: str | None) -> None:
    matched = match(matcher_of(*patterns), "HEAD /x")
    assert (matched and matched[0]) == expected


def test_a_route_without_methods_takes_all_but_connect_and_trace() -> None:
    matcher = matcher_of("/x", "/y BREW")
    taken = {method for method in (*KNOWN_METHODS, "BREW", "STEW") if choose(matcher.find("/x"), method)}
    assert taken == ORDINARY | {"BREW"}
    assert matcher.known == KNOWN_METHODS | {"BREW"}


@pytest.mark.parametrize(("patterns", "path", "expected"), [
    (["/x GET"], "/x", {"GET", "HEAD", "OPTIONS"}),
    (["/x POST"], "/x", {"POST", "OPTIONS"}),
    (["/x POST", "/{a} GET", "/y PUT"], "/x", {"POST", "GET", "HEAD", "OPTIONS"}),
    (["/x"], "/x", ORDINARY),
    (["/x TRACE"], "/x", {"TRACE", "OPTIONS"}),
    (["/x GET"], "/y", set()),
    (["/x PUT", "/{a:int} GET"], "*", {"PUT", "GET", "HEAD", "OPTIONS"}),
    (["/x PUT", "* OPTIONS"], "*", {"PUT", "OPTIONS"}),
    ([], "*", {"OPTIONS"}),
    ([], "/", set()),
])
def test_what_is_allowed(patterns: list[str], path: str, expected: set[str]) -> None:
    assert matcher_of(*patterns).allowed(path) == expected


def test_connect_and_the_asterisk() -> None:
    matcher = matcher_of("/{a:path}", "{authority} CONNECT", "* OPTIONS", "/x")
    assert match(matcher, "CONNECT a.example:443") == (
        "<Route {authority} CONNECT>", {"authority": "a.example:443"})
    assert match(matcher, "OPTIONS *") == ("<Route * OPTIONS>", None)
    assert match(matcher, "CONNECT /x") is None


# What a path can cost

def visits_of(matcher: Matcher) -> list[str]:
    """Fills with the segment of each visit to a node of the tree."""
    visits: list[str] = []

    class Literals(dict[str, Any]):
        def get(self, segment: str, default: Any = None) -> Any:
            visits.append(segment)
            return super().get(segment, default)

    for node in nodes_below(matcher._root):
        node.literals = Literals(node.literals)
    return visits


def nodes_below(node: Node) -> list[Node]:
    children = [*node.literals.values(), *(child for _, child in node.placeholders)]
    return [node, *(below for child in children for below in nodes_below(child))]


def test_only_the_nodes_that_a_path_reaches_are_looked_at() -> None:
    matcher = matcher_of(*(f"/{number}/{{a}}/{{b}}" for number in range(1000)), "/{x:path}")
    visits = visits_of(matcher)
    assert found(matcher, "/7/a/b") == ["/7/{a}/{b}", "/{x:path}"]
    assert visits == ["", "7", "a", "b"]
    visits.clear()
    assert found(matcher, "/" * 8000) == ["/{x:path}"]
    assert len(visits) == 2


def test_placeholders_of_one_kind_share_a_node() -> None:
    matcher = matcher_of(*(f"/{{a{number}}}/{{b}}/{number}" for number in range(100)))
    visits = visits_of(matcher)
    assert found(matcher, "/x/y/77") == ["/{a77}/{b}/77"]
    assert len(visits) == 4


def test_no_node_is_visited_twice() -> None:
    """However many ways through the tree are open to the path."""
    depth = 12
    patterns = ["/x" * place + f"/{{a{place}}}" + "/x" * (depth - place - 1) + "/end"
                for place in range(depth)]
    matcher = matcher_of(*patterns)
    nodes, visits = len(nodes_below(matcher._root)), visits_of(matcher)
    assert matcher.find("/x" * depth + "/nowhere") == []
    assert len(visits) <= nodes
    assert found(matcher, "/x" * depth + "/end") == patterns


LITERALS = st.sampled_from(["", "a", "b", "ab", "1", "12"])
SEGMENTS = st.one_of(
    LITERALS,
    st.builds("{}{{{}{}}}".format, st.sampled_from(["", "", "a", "1"]), st.just("NAME"),
              st.sampled_from(["", ":int", ":str"])))
TAILS = st.sampled_from(["", "", "/{NAME:path}", "/a{NAME:path}"])


def pattern_of(segments: list[str], tail: str) -> str:
    """The segments joined, with a name of its own for each placeholder."""
    parts = ["/" + segment for segment in segments] + [tail]
    return "".join(part.replace("NAME", f"n{place}") for place, part in enumerate(parts)) or "/"


PATTERNS = st.builds(pattern_of, st.lists(SEGMENTS, max_size=4), TAILS)
PATHS = st.builds(lambda segments: "/" + "/".join(segments),
                  st.lists(st.sampled_from(["", "a", "b", "ab", "aa", "1", "12", "1a", f"a{ENCODED_SLASH}b"]),
                           max_size=5))
OF_KIND: dict[str, tuple[str, Callable[[str], Any]]] = {
    "": ("[^/]+", str), ":str": ("[^/]+", str), ":int": ("[0-9]+", int), ":path": (".+", str)}


def by_expression(pattern: str, path: str) -> dict[str, Any] | None:
    """What an ordinary regular expression makes of the same pattern: values, or no match."""
    kinds = {}
    expression = ""
    for literal, name, kind in re.findall(r"([^{]*)(?:\{(\w+)(:\w+)?\})?", pattern):
        expression += re.escape(literal)
        if name:
            kinds[name] = kind
            expression += f"(?P<{name}>{OF_KIND[kind][0]})"
    matched = re.fullmatch(expression, path, re.DOTALL)
    if matched is None:
        return None
    return {name: OF_KIND[kind][1](matched[name].replace(ENCODED_SLASH, "/")) for name, kind in kinds.items()}


@given(st.lists(PATTERNS, max_size=8), PATHS)
def test_the_same_as_trying_one_after_the_other(patterns: list[str], path: str) -> None:
    expected = [(pattern, values) for pattern in patterns
                if (values := by_expression(pattern, path)) is not None]
    candidates = matcher_of(*patterns).find(path)
    assert [(candidate.route.pattern, candidate.match(path) or {}) for candidate in candidates] == expected


@given(st.text(max_size=30))
def test_any_text_is_a_pattern_or_a_value_error(text: str) -> None:
    try:
        segments = parse(text)
    except ValueError:
        return
    assert len(segments) == text.count("/") + 1
    assert all(segment.name != "" for segment in segments)


# Mounting

def patterns_of(router: Router) -> list[str]:
    return [route.pattern for route, _ in router.placed()]


def test_mounted_routes_stand_where_they_were_mounted() -> None:
    inner, outer = Router(), Router()
    inner.add_route("/", handler)
    outer.add_route("/first", handler)
    outer.mount("/in", inner)
    outer.add_route("/last", handler)
    inner.add_route("/later/{x:int}", handler)
    inner.add_route("", handler)
    assert patterns_of(outer) == ["/first", "/in/", "/in/later/{x:int}", "/in", "/last"]
    assert patterns_of(inner) == ["/", "/later/{x:int}", ""]


def test_a_mounted_route_keeps_everything_else() -> None:
    inner, outer = Router(), Router()
    inner.add_route("/a", handler, methods=["GET", "PUT"], stream=True, content_bytes=5)
    outer.mount("/in", inner)
    (route, middleware), = outer.placed()
    assert (route.handler, route.stream, route.content_bytes) == (handler, True, 5)
    assert route.methods == {"GET", "PUT"}
    assert middleware == ()


@pytest.mark.parametrize(("prefix", "pattern"), [
    ("/in", "/in/a"), ("/in/", "/in/a"), ("/in/deep", "/in/deep/a"), ("", "/a"), ("/", "/a"),
    ("/{{in}}", "/{{in}}/a"), ("/t\u00e9st", "/t\u00e9st/a")])
def test_prefixes(prefix: str, pattern: str) -> None:
    inner, outer = Router(), Router()
    inner.add_route("/a", handler)
    outer.mount(prefix, inner)
    assert patterns_of(outer) == [pattern]


@pytest.mark.parametrize(("prefix", "message"), [
    ("in", 'start with "/"'), ("/{x}", "placeholders"), ("/in{", "Unbalanced"), ("*", 'start with "/"')])
def test_what_is_no_prefix(prefix: str, message: str) -> None:
    outer = Router()
    with pytest.raises(ValueError, match=message):
        outer.mount(prefix, Router())
    assert patterns_of(outer) == []


def test_mounts_nest_and_collect_middleware() -> None:
    deep, inner, outer = Router(), Router(), Router()
    layers: list[Callable[..., Any]] = [len]
    deep.add_route("/x", handler)
    inner.add_route("/y", handler)
    inner.mount("/deep", deep, [str, int])
    outer.mount("/in", inner, layers)
    layers.append(max)
    assert [(placed.route.pattern, placed.middleware) for placed in outer.placed()] == [
        ("/in/y", (len, max)), ("/in/deep/x", (len, max, str, int))]


def test_the_asterisk_and_connect_are_not_mounted() -> None:
    inner, outer = Router(), Router()
    inner.add_route("*", handler)
    inner.add_route("{authority}", handler, method="CONNECT")
    inner.add_route("/x", handler)
    outer.mount("/in", inner)
    assert patterns_of(outer) == ["/in/x"]


def test_a_router_is_not_mounted_below_itself() -> None:
    deep, inner, outer = Router(), Router(), Router()
    outer.mount("/in", inner)
    inner.mount("/deep", deep)
    for router in (deep, inner, outer):
        with pytest.raises(ValueError, match="below itself"):
            deep.mount("/again", router)
        with pytest.raises(ValueError, match="below itself"):
            router.mount("/again", router)
    assert patterns_of(outer) == []


def test_a_router_may_be_mounted_twice() -> None:
    inner, outer = Router(), Router()
    outer.mount("/v1", inner)
    outer.mount("/v2", inner)
    inner.add_route("/x", handler)
    assert patterns_of(outer) == ["/v1/x", "/v2/x"]


def test_whoever_watches_is_told_of_every_change() -> None:
    deep, inner, outer = Router(), Router(), Router()
    told: list[str] = []
    outer.watch(lambda: told.append("changed"))
    outer.add_route("/a", handler)
    outer.mount("/in", inner)
    inner.mount("/deep", deep)
    deep.add_route("/b", handler)
    assert told == ["changed"] * 4


def test_candidates_know_their_order() -> None:
    matcher = matcher_of("/{a}", "/b GET", "/c")
    assert [candidate.order for candidate in matcher.candidates] == [0, 1, 2]
    assert [sorted(candidate.methods) for candidate in matcher.candidates] == [
        sorted(ORDINARY), ["GET"], sorted(ORDINARY)]
