"""From a head to its handler, among one route and among many.

Every backend has the router of the reference.  The fast lane has a tree of its own, which nobody can call by
itself; what it costs shows in ``test_connection.py``.
"""

from __future__ import annotations

from typing import Any

import pytest

from bench.conftest import Measure
from bench.octets import get
from japronto.app import Application
from japronto.backend import PURE
from japronto.interfaces import Target
from japronto.limits import Limits
from japronto.messages import RequestHead

ROUTES = (1, 100)
PATHS = {"a literal path": "/static{}/list", "a placeholder": "/users{}/somebody",
         "two placeholders, one a number": "/years{}/2024/posts/a-title",
         "a path that nobody serves": "/none{}"}


def handler(request: Any) -> Any:
    """Never called."""


def routed(count: int) -> Application:
    """An application with ``count`` routes of each kind."""
    app = Application()
    for number in range(count):
        app.add_route(f"/static{number}/list", handler)
        app.add_route(f"/users{number}/{{name}}", handler)
        app.add_route(f"/years{number}/{{year:int}}/posts/{{title}}", handler)
    return app


def head_for(path: str) -> RequestHead:
    event = PURE.parser(Limits(), lambda head: 0).feed(get(path.encode()))[0]
    assert isinstance(event, RequestHead)
    return event


@pytest.mark.parametrize("kind", PATHS)
@pytest.mark.parametrize("count", ROUTES)
def test_target(count: int, kind: str, measure: Measure) -> None:
    head = head_for(PATHS[kind].format(count - 1))
    target: Target = measure(f"router: {kind}, {count} of a kind", "pure", routed(count).target, head)
    expected = {"a placeholder": {"name": "somebody"},
                "two placeholders, one a number": {"year": 2024, "title": "a-title"}}.get(kind)
    assert (target.route is None, target.match) == (kind == "a path that nobody serves", expected)
