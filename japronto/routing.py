"""Which route a request is for: patterns, their order, and what is answered when none fits.

A pattern is a path in which a placeholder stands for what varies::

    /users/{id:int}/files/{rest:path}

=============  ==========================================================  ==================
``{name}``     a segment, or what is left of it behind the text ahead      ``str``
``{id:int}``   the same, of the digits 0 to 9 (at most 640)                ``int``
``{u:uuid}``   the same, as 8-4-4-4-12 hexadecimal digits                  ``uuid.UUID``
``{p:path}``   all of the rest, slashes too; only at the end of a pattern  ``str``
=============  ==========================================================  ==================

None of them matches nothing at all.  ``{{`` and ``}}`` are braces that mean themselves.  Patterns
are compared with the decoded path; an encoded slash never separates segments, and is a slash in
the value of a placeholder.  The pattern ``*`` is that of ``OPTIONS *``, and a route for CONNECT
alone may have one without a slash, such as ``{authority}``.

**Of the routes that match path and method, the one registered first is taken.**  Trying one after
the other would do, and cost more with each route.  Instead a :class:`Matcher` is made of all:

* Patterns without placeholders are keys of a dict.
* All others are laid into a tree, one level for each segment: a node has a dict of its literal
  segments and a short list of its placeholders.  A path is walked through the tree segment by
  segment, with *all* nodes that it can have reached so far.  A node is visited at most once, so
  no path costs more than the tree has nodes; routes under other literals cost nothing.

What both find is put into the order of registration, and the method decides among them.  Who
matches the same paths again and again may keep the answer (``Application.target`` does, for paths
without placeholders); a :class:`Router` tells when it changed.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, TypedDict, TypeVar, Unpack
from uuid import UUID

from japronto.messages import ENCODED_SLASH

HandlerType = TypeVar("HandlerType", bound=Callable[..., Any])

KNOWN_METHODS: Final = frozenset(
    ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"))
"""Those of RFC 9110 s.9.3 and RFC 5789; a method that is none of them, and that no route names, is
answered with 501."""

UNASKED: Final = frozenset(("CONNECT", "TRACE"))
"""Methods that a route takes only when it names them: one opens a tunnel, the other shows a client
the fields that intermediaries added for the server (RFC 9110 s.9.3.6, s.9.3.8)."""

_METHOD = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_PARTS = re.compile(r"\{\{|\}\}|\{[^{}]*\}|/|[^{}/]+|[{}]").findall
_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}").fullmatch
_INT = re.compile("[0-9]{1,640}").fullmatch


# -- Patterns --------------------------------------------------------------------------------

class Kind(NamedTuple):
    """What a placeholder takes, and what it makes of that."""

    matches: Callable[[str], object]
    convert: Callable[[str], Any]


def text(value: str) -> str:
    """The value of a placeholder that is not converted."""
    return value.replace(ENCODED_SLASH, "/")


KINDS: Final = {
    "str": Kind(bool, text),
    # Python converts so many digits whatever limit is set (see sys.set_int_max_str_digits).
    "int": Kind(_INT, int),
    "uuid": Kind(_UUID, UUID),
    "path": Kind(bool, text),
}


class Segment(NamedTuple):
    """What stands between two slashes of a pattern: text, then perhaps a placeholder."""

    literal: str
    name: str | None = None
    kind: str = "str"


def parse(pattern: str) -> list[Segment]:
    """The segments of a pattern; raises ValueError where it is none."""
    if not isinstance(pattern, str):
        raise TypeError(f"a pattern is a str such as '/users/{{id}}', not {pattern!r}")
    segments = [Segment("")]
    for part in _PARTS(pattern):
        literal, name, _ = segments[-1]
        if part == "/":
            segments.append(Segment(""))
        elif name is not None:
            raise ValueError(f'"}}" must be followed by "/" or end the pattern: {pattern}')
        elif part in ("{", "}"):
            raise ValueError(f'Unbalanced "{part}" in the pattern {pattern}')
        elif part in ("{{", "}}"):
            segments[-1] = Segment(literal + part[0])
        elif part[0] == "{":
            segments[-1] = Segment(literal, *_placeholder(part[1:-1], pattern))
        else:
            segments[-1] = Segment(literal + part)
    names = [segment.name for segment in segments if segment.name is not None]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f'Duplicate name "{name}" in the pattern {pattern}')
    if any(segment.kind == "path" for segment in segments[:-1]):
        raise ValueError(f"A placeholder of the type path must be the last of a pattern: {pattern}")
    return segments


def _placeholder(text: str, pattern: str) -> tuple[str, str]:
    """The name and the kind of a placeholder."""
    name, colon, kind = text.partition(":")
    if not name or "/" in name:
        raise ValueError(f"A placeholder needs a name: {pattern}")
    if colon and kind not in KINDS:
        raise ValueError(f'There is no type "{kind}" in the pattern {pattern}; '
                         f"there are {', '.join(sorted(KINDS))}")
    return name, kind or "str"


# -- Functions that are registered -----------------------------------------------------------

def describe(function: Callable[..., Any]) -> str:
    """Which function that is: its module and its name, where it has one."""
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__qualname__", None)
    module = getattr(function, "__module__", None)
    return f"{module}.{name}" if module and name else repr(function)


def not_a_response(request: Any, answer: Any) -> TypeError:
    """What to say of an answer that is no response: who gave it, as far as that is known."""
    who = "middleware"
    if request.route is not None:
        who = f"the handler {describe(request.route.handler)}"
        if request.destination.handler is not request.route.handler:
            who += ", or middleware around it,"
    if inspect.iscoroutine(answer):
        return TypeError(f"{who} must return a Response, not a coroutine: "
                         "what is async must be awaited, as in return await handler(request)")
    return TypeError(f"{who} must return a Response, not {answer!r}")


def checked(function: HandlerType, what: str, *arguments: str) -> HandlerType:
    """The function itself, if it can be called with these positional arguments; else raises TypeError.

    ``what`` names it in the message.  Where Python does not know what it takes, it is believed.
    """
    if not callable(function):
        raise TypeError(f"{what} must be a function, not {function!r}")
    try:
        # Of a decorated function, what the decorator made of it counts.
        signature = inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):
        return function
    try:
        signature.bind(*arguments)
    except TypeError as error:
        raise TypeError(f"{what} is called with ({', '.join(arguments)}), which "
                        f"{describe(function)}{signature} does not take: {error}") from None
    return function


# -- Routes ----------------------------------------------------------------------------------

class RouteOptions(TypedDict, total=False):
    """How a route wants its content."""

    stream: bool
    """Start the handler at the head; it takes the content piece by piece."""
    content_bytes: int | None
    """The most octets of content to take, in place of ``Limits.content_bytes``."""


class Route:
    """A pattern, the methods and the handler; ``request.route`` is one.

    No ``methods`` stand for all that are known, except CONNECT and TRACE.
    """

    __slots__ = ("content_bytes", "handler", "methods", "pattern", "segments", "stream")

    def __init__(self, pattern: str, handler: Callable[..., Any], methods: Iterable[str] = (), *,
                 stream: bool = False, content_bytes: int | None = None) -> None:
        self.segments = parse(pattern)
        self.pattern = pattern
        self.handler = checked(handler, f"the handler of {pattern}", "request")
        self.methods = _checked_methods(methods)
        self.stream = stream
        self.content_bytes = content_bytes
        if content_bytes is not None and content_bytes < 0:
            raise ValueError(f"content_bytes must not be negative, as it is for {pattern}")
        if pattern[:1] not in ("", "/") and pattern != "*" and self.methods != {"CONNECT"}:
            raise ValueError(f'A pattern must start with "/": {pattern}')

    def __repr__(self) -> str:
        return f"<Route {' '.join([self.pattern, *sorted(self.methods)])}>"

    def behind(self, prefix: str) -> Route:
        """The same route with a prefix ahead of its pattern."""
        return Route(prefix + self.pattern, self.handler, self.methods,
                     stream=self.stream, content_bytes=self.content_bytes)


class ReservedRoute(Route):
    """One of the server's own: no middleware is around it, and it is answered however much there is to do."""

    __slots__ = ()


def _checked_methods(methods: Iterable[str]) -> frozenset[str]:
    """The methods in upper case, as in 2017."""
    if isinstance(methods, str):
        raise TypeError(f"methods must be a list, such as [{methods!r}]; method takes a single one")
    checked = frozenset(method.upper() for method in methods)
    for method in checked:
        if not _METHOD(method):
            raise ValueError(f"{method!r} cannot be a method")
    return checked


class RouteDecorators:
    """Decorators that register a function as a handler and return it as it is."""

    def add_route(self, pattern: str, handler: Callable[..., Any], method: str | None = None,
                  methods: Collection[str] | None = None, **options: Unpack[RouteOptions]) -> Route:
        """Register a handler for one method, several ``methods``, or all; returns the route."""
        raise NotImplementedError

    def route(self, pattern: str, method: str | None = None, methods: Collection[str] | None = None,
              **options: Unpack[RouteOptions]) -> Callable[[HandlerType], HandlerType]:
        """``@app.route("/items", methods=["GET", "POST"])``."""
        parse(pattern)  # So that a missing "(...)" is found here, and not when a handler is missed.

        def decorate(handler: HandlerType) -> HandlerType:
            self.add_route(pattern, handler, method, methods, **options)
            return handler

        return decorate

    def get(self, pattern: str, **options: Unpack[RouteOptions]) -> Callable[[HandlerType], HandlerType]:
        """``@app.get("/items/{id}")``; HEAD is answered too."""
        return self.route(pattern, "GET", **options)

    def post(self, pattern: str, **options: Unpack[RouteOptions]) -> Callable[[HandlerType], HandlerType]:
        return self.route(pattern, "POST", **options)

    def put(self, pattern: str, **options: Unpack[RouteOptions]) -> Callable[[HandlerType], HandlerType]:
        return self.route(pattern, "PUT", **options)

    def patch(self, pattern: str, **options: Unpack[RouteOptions]) -> Callable[[HandlerType], HandlerType]:
        return self.route(pattern, "PATCH", **options)

    def delete(self, pattern: str, **options: Unpack[RouteOptions]) -> Callable[[HandlerType], HandlerType]:
        return self.route(pattern, "DELETE", **options)

    def head(self, pattern: str, **options: Unpack[RouteOptions]) -> Callable[[HandlerType], HandlerType]:
        return self.route(pattern, "HEAD", **options)

    def options(self, pattern: str, **options: Unpack[RouteOptions]) -> Callable[[HandlerType], HandlerType]:
        return self.route(pattern, "OPTIONS", **options)


# -- The router ------------------------------------------------------------------------------

class Placed(NamedTuple):
    """A route where it stands in the end, under all prefixes."""

    route: Route
    middleware: tuple[Callable[..., Any], ...]
    """What the mounted applications put around it, the outermost first."""


class Mount(NamedTuple):
    """A router under a prefix."""

    prefix: str
    router: Router
    middleware: Sequence[Callable[..., Any]]

    def placed(self) -> Iterator[Placed]:
        for route, middleware in self.router.placed():
            # A prefix means nothing to "*" and to the authority of CONNECT.
            if route.pattern[:1] in ("", "/"):
                yield Placed(route.behind(self.prefix), (*self.middleware, *middleware))


class Router(RouteDecorators):
    """Routes, and routers under prefixes, in the order in which they were registered."""

    def __init__(self) -> None:
        self._entries: list[Route | Mount] = []
        self._watchers: list[Callable[[], object]] = []

    def add_route(self, pattern: str, handler: Callable[..., Any], method: str | None = None,
                  methods: Collection[str] | None = None, **options: Unpack[RouteOptions]) -> Route:
        if method and methods:
            raise ValueError("Cannot use method and methods")
        route = Route(pattern, handler, [method] if method else methods or (), **options)
        self._entries.append(route)
        self.changed()
        return route

    def mount(self, prefix: str, router: Router,
              middleware: Sequence[Callable[..., Any]] = ()) -> None:
        """Put all routes of ``router`` under ``prefix``, also those that it gets later.

        They stand at this place of the order.  ``/`` in it is ``prefix/`` then, and an empty
        pattern is the prefix itself.  ``request.route`` has the whole pattern.
        """
        if not isinstance(router, Router):
            raise TypeError(f"a router mounts another Router, not {router!r}; "
                            "app.mount takes an Application too")
        prefix = prefix.removesuffix("/")
        if any(segment.name is not None for segment in parse(prefix)):
            raise ValueError(f"A prefix cannot have placeholders: {prefix}")
        if prefix and not prefix.startswith("/"):
            raise ValueError(f'A prefix must start with "/": {prefix}')
        if router.holds(self):
            raise ValueError("A router cannot be mounted below itself")
        self._entries.append(Mount(prefix, router, middleware))
        router.watch(self.changed)
        self.changed()

    def holds(self, router: Router) -> bool:
        """Whether ``router`` is this one, or mounted somewhere below it."""
        return router is self or any(
            entry.router.holds(router) for entry in self._entries if isinstance(entry, Mount))

    def placed(self) -> Iterator[Placed]:
        """All routes in their order, those of mounted routers among them."""
        for entry in self._entries:
            if isinstance(entry, Route):
                yield Placed(entry, ())
            else:
                yield from entry.placed()

    def watch(self, watcher: Callable[[], object]) -> None:
        """Call ``watcher`` whenever something is registered, here or in a mounted router."""
        self._watchers.append(watcher)

    def changed(self) -> None:
        """Whoever remembers something of this router must forget it."""
        for watcher in self._watchers:
            watcher()


# -- Matching --------------------------------------------------------------------------------

class Value(NamedTuple):
    """Where in a path the value of a placeholder stands, and what is made of it."""

    name: str
    place: int
    """The number of its segment."""
    skip: int
    """Characters of literal text ahead of it."""
    tail: bool
    """Whether it goes on to the end of the path."""
    convert: Callable[[str], Any]


class Candidate:
    """A route among all others.

    ``order``    its place in the order of registration, from 0
    ``methods``  those that it takes, written out
    ``values``   where the values of its placeholders stand
    """

    __slots__ = ("methods", "order", "route", "values")

    def __init__(self, order: int, route: Route, methods: frozenset[str]) -> None:
        self.order = order
        self.route = route
        self.methods = methods
        self.values = [
            Value(segment.name, place, len(segment.literal), segment.kind == "path",
                  KINDS[segment.kind].convert)
            for place, segment in enumerate(route.segments) if segment.name is not None]

    def match(self, path: str) -> dict[str, Any] | None:
        """The values of the placeholders in a path that matches; None if there are none."""
        if not self.values:
            return None
        segments = path.split("/")
        values = {}
        for name, place, skip, tail, convert in self.values:
            text = "/".join(segments[place:]) if tail else segments[place]
            values[name] = convert(text[skip:])
        return values


class Node:
    """A place in the tree of patterns: what may follow the segments that lead to it."""

    __slots__ = ("ends", "literals", "placeholders", "tails")

    def __init__(self) -> None:
        self.literals: dict[str, Node] = {}
        self.placeholders: list[tuple[Segment, Node]] = []
        self.tails: list[tuple[str, Candidate]] = []
        """Routes whose last placeholder takes all the rest, by the text ahead."""
        self.ends: list[Candidate] = []
        """Routes whose pattern ends here."""

    def add(self, candidate: Candidate, segments: Sequence[Segment]) -> None:
        """Lay a pattern into the tree below this node."""
        node = self
        for segment in segments:
            if segment.kind == "path":
                node.tails.append((segment.literal, candidate))
                return
            node = node.child(segment)
        node.ends.append(candidate)

    def child(self, segment: Segment) -> Node:
        """The node that a segment of a pattern leads to; two placeholders of one kind share it."""
        if segment.name is None:
            return self.literals.setdefault(segment.literal, Node())
        for known, node in self.placeholders:
            if (known.literal, known.kind) == (segment.literal, segment.kind):
                return node
        node = Node()
        self.placeholders.append((segment, node))
        return node


class Matcher:
    """All routes of a router as they are now, laid out to be found."""

    def __init__(self, routes: Iterable[Route]) -> None:
        routes = list(routes)
        self.known = KNOWN_METHODS.union(*(route.methods for route in routes))
        """All methods that mean something here."""
        self.candidates: list[Candidate] = []
        self.exact: dict[str, list[Candidate]] = {}
        """The routes without placeholders, by path."""
        self._root = Node()
        for order, route in enumerate(routes):
            candidate = Candidate(order, route, route.methods or self.known - UNASKED)
            self.candidates.append(candidate)
            if all(segment.name is None for segment in route.segments):
                path = "/".join(segment.literal for segment in route.segments)
                self.exact.setdefault(path, []).append(candidate)
            else:
                self._root.add(candidate, route.segments)

    def find(self, path: str) -> list[Candidate]:
        """All routes that match ``path``, in their order, whatever their methods."""
        found = self._find_in_tree(path)
        if path in self.exact:
            found += self.exact[path]
        if len(found) > 1:
            found.sort(key=_order)
        return found

    def _find_in_tree(self, path: str) -> list[Candidate]:
        found: list[Candidate] = []
        nodes = [self._root]
        segments = path.split("/")
        for place, segment in enumerate(segments):
            following = []
            for node in nodes:
                child = node.literals.get(segment)
                if child is not None:
                    following.append(child)
                for (literal, _, kind), child in node.placeholders:
                    if segment.startswith(literal) and KINDS[kind].matches(segment[len(literal):]):
                        following.append(child)
                for literal, candidate in node.tails:
                    more = len(segment) > len(literal) or place + 1 < len(segments)
                    if more and segment.startswith(literal):
                        found.append(candidate)
            if not following:
                return found
            nodes = following
        for node in nodes:
            found += node.ends
        return found

    def allowed(self, path: str) -> frozenset[str]:
        """The methods of the resource at ``path``, or of the server as a whole for ``*``.

        Empty when there is no such resource; else OPTIONS is among them, and HEAD if GET is.
        """
        candidates = self.candidates if path == "*" else self.find(path)
        if not candidates and path != "*":
            return frozenset()
        methods = frozenset(("OPTIONS",)).union(*(candidate.methods for candidate in candidates))
        return methods | {"HEAD"} if "GET" in methods else methods


def _order(candidate: Candidate) -> int:
    return candidate.order


def choose(candidates: Sequence[Candidate], method: str) -> Candidate | None:
    """The first that takes ``method``.

    A route for GET takes HEAD too (RFC 9110 s.9.3.2), unless one of the others names HEAD.
    """
    accepted = {method}
    if method == "HEAD" and not any("HEAD" in candidate.route.methods for candidate in candidates):
        accepted.add("GET")
    for candidate in candidates:
        if not accepted.isdisjoint(candidate.methods):
            return candidate
    return None
