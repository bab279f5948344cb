"""The application: routing as its users see it, middleware, errors, extensions, hooks, mounting."""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import sys
import types
from collections.abc import Awaitable, Callable, Iterator
from http import HTTPStatus
from typing import Any, cast

import pytest

import japronto
from japronto import (
    Application,
    BadRequest,
    ContentTooLarge,
    DisconnectError,
    HTTPError,
    Limits,
    MalformedContent,
    MalformedJSON,
    MalformedText,
    MethodNotAllowed,
    Request,
    Response,
    ResponseError,
    RouteNotFoundException,
    Router,
    Timeouts,
    default_error_handler,
    default_request_logger,
)
from japronto.app import compose
from japronto.config import MasterConfig, ServerConfig, TLSConfig
from japronto.errors import MethodNotImplemented, StartError, UsageError
from japronto.messages import ENCODED_SLASH, Framing, RequestHead
from japronto.routing import not_a_response

ORDINARY = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"


# Requests without a server

class Transport:
    def get_extra_info(self, name: str) -> Any:
        return {"peername": ("192.0.2.7", 4711)}.get(name)


class Connection:
    """As much of a connection as requests look at."""

    def __init__(self, app: Application) -> None:
        self.service = app
        self.limits = app.limits
        self.host = types.SimpleNamespace(transport=Transport(), proxies=None)


def head_of(method: str, path: str, content: bytes | None = None, section: bytes = b"\n") -> RequestHead:
    target = path.encode("ascii", "replace")
    path, _, query = path.partition("?")
    framing = Framing(None if content is None else len(content), True)
    head = RequestHead(method, target, path, query or None, 1, section, framing)
    head.content = content
    head.complete = True
    return head


def request_of(app: Application, method: str = "GET", path: str = "/", content: bytes | None = None,
               section: bytes = b"\n") -> Request:
    head = head_of(method, path, content, section)
    return app.request_type(head, app.target(head), cast(Any, Connection(app)), cast(Any, None))


async def settled(answer: Any) -> Any:
    return await answer if isinstance(answer, Awaitable) else answer


async def answered(app: Application, request: Request) -> Response:
    """What a connection does with a request."""
    try:
        response = await settled(request.destination.handler(request))
    except BaseException as error:
        return cast(Response, await settled(app.failed(request, error)))
    assert isinstance(response, Response)
    return response


def answer(app: Application, method: str = "GET", path: str = "/", content: bytes | None = None,
           section: bytes = b"\n") -> Response:
    return asyncio.run(answered(app, request_of(app, method, path, content, section)))


def text(app: Application, method: str = "GET", path: str = "/") -> str:
    response = answer(app, method, path)
    assert response.code == 200, response.body
    return response.body.decode()


def failed(app: Application, error: BaseException) -> Response:
    return cast(Response, asyncio.run(settled(app.failed(request_of(app), error))))


def says(word: str) -> Callable[[Any], Response]:
    return lambda request: Response(text=word)


def says_async(word: str) -> Callable[[Any], Awaitable[Response]]:
    async def handler(request: Request) -> Response:
        await asyncio.sleep(0)
        return Response(text=word)

    return handler


def fails_with(error: BaseException) -> Callable[[Any], Response]:
    def handler(request: Request) -> Response:
        raise error

    return handler


@pytest.fixture
def app() -> Application:
    return Application()


@pytest.fixture
def errors() -> Iterator[list[logging.LogRecord]]:
    """What ``japronto.error`` logs.

    Nobody else sees it: pytest-xdist does not survive text that cannot be encoded.
    """
    records: list[logging.LogRecord] = []

    def take(record: logging.LogRecord) -> bool:
        records.append(record)
        return False

    logger = logging.getLogger("japronto.error")
    logger.addFilter(take)
    yield records
    logger.removeFilter(take)


# The package

def test_the_public_names() -> None:
    assert sorted(japronto.__all__) == japronto.__all__
    for name in japronto.__all__:
        assert getattr(japronto, name) is not None
    assert japronto.__version__ == "2.0.0a1"


# Construction

def test_what_a_new_application_has(app: Application) -> None:
    assert (app.limits, app.timeouts) == (Limits(), Timeouts())
    assert (app.debug, app.log_request, app.protocol_factory) == (False, None, None)
    assert isinstance(app.router, Router)
    assert app.router is app.router


def test_options_of_an_application() -> None:
    limits, timeouts = Limits(fields=7), Timeouts(idle_seconds=3)
    app = Application(debug=True, limits=limits, timeouts=timeouts, protocol_factory=Connection)
    assert (app.limits, app.timeouts) == (limits, timeouts)
    assert (app.debug, app.protocol_factory) == (True, Connection)


@pytest.mark.parametrize(("options", "sentence"), [
    ({"limits": 5}, r"^limits must be Limits\(\.\.\.\) with the bounds by name, not 5$"),
    ({"limits": 0}, r"^limits must be Limits"),
    ({"limits": Timeouts()}, r"^limits must be Limits"),
    ({"timeouts": {"idle_seconds": 5}}, r"^timeouts must be Timeouts\(\.\.\.\) with the bounds by name"),
    ({"log_request": "yes"}, r"^log_request must be a function, not 'yes'$"),
    ({"log_request": lambda: None}, r"^log_request is called with \(request\), which .*<lambda>\(\) does"),
    ({"protocol_factory": Transport}, r"^protocol_factory is called with \(app\), which .*Transport\(\)"),
])
def test_mistakes_in_options(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(TypeError, match=sentence):
        Application(**options)


def test_limits_are_limits_later_too(app: Application) -> None:
    with pytest.raises(TypeError, match=r"^limits must be Limits"):
        app.limits = 5  # type: ignore[assignment]
    assert app.limits == Limits()


def test_reaper_settings_are_timeouts() -> None:
    app = Application(reaper_settings={"check_interval": 2, "idle_timeout": 30},
                      timeouts=Timeouts(head_seconds=9))
    assert app.timeouts == Timeouts(check_seconds=2, idle_seconds=30, head_seconds=9)
    assert Application(reaper_settings={"idle_timeout": 5}).timeouts == Timeouts(idle_seconds=5)


@pytest.mark.parametrize("settings", [{"idle_timout": 5}, {"idle_timeout": 0}, {"check_interval": -1}])
def test_mistakes_in_reaper_settings(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"idle_|check_"):
        Application(reaper_settings=settings)


def test_options_are_given_by_name() -> None:
    with pytest.raises(TypeError):
        Application({})  # type: ignore[call-arg]


def test_log_request() -> None:
    assert Application(log_request=True).log_request is default_request_logger
    assert Application(log_request=False).log_request is None
    assert Application(log_request=print).log_request is print


def test_the_default_request_logger_prints_one_line(app: Application,
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    request = request_of(app, "POST", "/a%20b%1B?secret=1")
    default_request_logger(request)
    app.default_request_logger(request)
    assert capsys.readouterr().out == "192.0.2.7 POST /a%20b%1B\n" * 2


# Routing

def test_programs_of_2017_run_unchanged() -> None:
    """The heart of the tutorial programs of old."""
    app = Application()
    r = app.router
    r.add_route("/", lambda request: request.Response(text="hello"))
    r.add_route("/bye", lambda request: request.Response(text="bye"), "GET")
    r.add_route("/love", lambda request: request.Response(text="love"), method="GET")
    r.add_route("/methods", lambda request: request.Response(text=request.method), methods=["POST", "DELETE"])
    r.add_route("/params/{p1}/{p2}", lambda request: request.Response(text=str(request.match_dict)))
    assert text(app) == "hello"
    assert text(app, "PUT", "/") == "hello"
    assert text(app, "GET", "/love") == "love"
    assert text(app, "DELETE", "/methods") == "DELETE"
    assert answer(app, "GET", "/methods").code == 405
    assert text(app, "GET", "/params/1/2") == "{'p1': '1', 'p2': '2'}"


def test_decorators_return_the_function(app: Application) -> None:
    def handler(request: Request) -> Response:
        return Response(text=request.method)

    for name in ("get", "post", "put", "patch", "delete", "head", "options"):
        assert getattr(app, name)(f"/{name}")(handler) is handler
        assert text(app, name.upper(), f"/{name}") == name.upper()
    assert app.route("/all")(handler) is handler
    assert app.route("/some", methods=["PUT", "POST"])(handler) is handler
    assert app.route("/one", "GET")(handler) is handler
    assert text(app, "PATCH", "/all") == "PATCH"
    assert answer(app, "GET", "/some").code == 405
    assert answer(app, "POST", "/one").code == 405


def test_decorators_stack(app: Application) -> None:
    @app.get("/a")
    @app.post("/b")
    def handler(request: Request) -> Response:
        return Response(text=request.path)

    assert text(app, "GET", "/a") == "/a"
    assert text(app, "POST", "/b") == "/b"


def test_what_a_request_knows_of_its_route(app: Application) -> None:
    route = app.add_route("/{n:int}/{rest:path}", says("x"))
    exact = app.router.add_route("/exact", says("x"))
    request = request_of(app, "GET", f"/7/a{ENCODED_SLASH}b/c")
    assert request.route is route
    assert request.match_dict == {"n": 7, "rest": "a/b/c"}
    request = request_of(app, "GET", "/exact")
    assert request.route is exact
    assert request.match_dict == {}
    request = request_of(app, "GET", "/nowhere")
    assert request.route is None
    assert request.match_dict == {}


def test_the_target_of_an_exact_path_is_made_once(app: Application) -> None:
    handler = says("x")
    app.get("/x")(handler)
    target = app.target(head_of("GET", "/x"))
    assert target.handler is handler
    assert target.match is None
    assert app.target(head_of("GET", "/x")) is target
    assert app.target(head_of("HEAD", "/x")) is target


def test_values_of_one_request_are_not_seen_by_the_next(app: Application) -> None:
    app.get("/{x}")(says("x"))
    app.get("/a")(says("exact"))
    for _ in range(2):
        request = request_of(app, "GET", "/a")
        assert request.match_dict == {"x": "a"}
        request.match_dict["x"] = "changed"


def test_clients_cannot_make_anything_grow(app: Application) -> None:
    app.get("/x")(says("x"))
    app.get("/{x}")(says("x"))
    answer(app, "GET", "/x")
    paths, methods = len(app._exact), len(app._exact["/x"])
    for number in range(20):
        answer(app, "GET", f"/{number}")
        answer(app, "GET", f"/nowhere/{number}")
        answer(app, f"M{number}", "/x")
    assert (len(app._exact), len(app._exact["/x"])) == (paths, methods)


@pytest.mark.parametrize("first", ["/a", "/{x}"])
def test_registration_order_decides_between_exact_and_placeholder(app: Application, first: str) -> None:
    second = {"/a": "/{x}", "/{x}": "/a"}[first]
    app.get(first)(says("first"))
    app.route(second)(says("second"))
    assert text(app, "GET", "/a") == "first"
    assert text(app, "POST", "/a") == "second"


def test_routes_may_be_added_while_serving(app: Application) -> None:
    assert answer(app, "GET", "/a").code == 404
    app.get("/a")(says("a"))
    assert text(app, "GET", "/a") == "a"
    app.get("/{x}")(says("x"))
    assert text(app, "GET", "/b") == "x"
    app.post("/a")(says("posted"))
    assert text(app, "POST", "/a") == "posted"


def test_an_unknown_path(app: Application) -> None:
    response = answer(app, "GET", "/nowhere")
    assert (response.code, response.body) == (404, b"Not Found")


def test_a_method_that_is_not_allowed(app: Application) -> None:
    app.get("/x")(says("x"))
    app.put("/{x}")(says("x"))
    response = answer(app, "POST", "/x")
    assert (response.code, response.body) == (405, b"Method Not Allowed")
    assert response.headers["Allow"] == "GET, HEAD, OPTIONS, PUT"
    assert answer(app, "TRACE", "/x").code == 405
    assert answer(app, "POST", "/y").headers["Allow"] == "OPTIONS, PUT"


def test_an_unknown_method(app: Application) -> None:
    app.route("/x")(says("x"))
    for method in ("BREW", "get", "Post"):
        for path in ("/x", "/nowhere"):
            response = answer(app, method, path)
            assert (response.code, response.body) == (501, b"Not Implemented")
    app.route("/coffee", "BREW")(says("coffee"))
    assert text(app, "BREW", "/coffee") == "coffee"
    assert text(app, "BREW", "/x") == "x"
    assert answer(app, "BREW", "/nowhere").code == 404


def test_connect_and_trace_are_taken_only_when_named(app: Application) -> None:
    app.route("/x")(says("x"))
    assert answer(app, "CONNECT", "a.example:443").code == 501
    assert answer(app, "TRACE", "/x").headers["Allow"] == ORDINARY
    assert answer(app, "TRACE", "/nowhere").code == 404
    app.route("/x", "TRACE")(says("traced"))
    app.route("{authority}", "CONNECT")(lambda request: Response(text=request.match_dict["authority"]))
    assert text(app, "TRACE", "/x") == "traced"
    assert text(app, "CONNECT", "a.example:443") == "a.example:443"


def test_head_is_answered_from_get(app: Application) -> None:
    app.get("/x")(says("got"))
    app.post("/y")(says("posted"))
    assert text(app, "HEAD", "/x") == "got"
    assert answer(app, "HEAD", "/y").code == 405
    app.head("/x")(says("headed"))
    assert text(app, "HEAD", "/x") == "headed"
    assert text(app, "GET", "/x") == "got"


def test_options_are_answered_unless_a_route_takes_them(app: Application) -> None:
    app.get("/x")(says("x"))
    response = answer(app, "OPTIONS", "/x")
    assert (response.code, response.body, response.headers["Allow"]) == (204, b"", "GET, HEAD, OPTIONS")
    assert answer(app, "OPTIONS", "/nowhere").code == 404
    app.options("/x")(says("optioned"))
    assert text(app, "OPTIONS", "/x") == "optioned"
    app.route("/y")(says("all"))
    assert text(app, "OPTIONS", "/y") == "all"


def test_options_of_the_server(app: Application) -> None:
    assert answer(app, "OPTIONS", "*").headers["Allow"] == "OPTIONS"
    app.get("/x")(says("x"))
    app.route("/{y}", methods=["PUT", "BREW"])(says("y"))
    response = answer(app, "OPTIONS", "*")
    assert (response.code, response.headers["Allow"]) == (204, "BREW, GET, HEAD, OPTIONS, PUT")
    app.router.add_route("*", says("asterisk"), "OPTIONS")
    assert text(app, "OPTIONS", "*") == "asterisk"


def test_how_content_is_wanted() -> None:
    app = Application(limits=Limits(content_bytes=100))
    app.post("/plain")(says("x"))
    app.post("/stream", stream=True, content_bytes=7)(says("x"))
    app.post("/none", content_bytes=0)(says("x"))
    app.post("/{x}/large", content_bytes=1 << 40)(says("x"))

    def wanted(method: str, path: str) -> tuple[bool, int]:
        target = app.target(head_of(method, path))
        return target.stream, target.content_bytes

    assert wanted("POST", "/plain") == (False, 100)
    assert wanted("POST", "/stream") == (True, 7)
    assert wanted("POST", "/none") == (False, 0)
    assert wanted("POST", "/a/large") == (False, 1 << 40)
    assert wanted("PUT", "/stream") == (True, 100)  # 405, and nobody wants its content
    assert wanted("POST", "/nowhere") == (True, 100)
    app.limits = Limits(content_bytes=50)
    assert wanted("POST", "/plain") == (False, 50)
    assert wanted("POST", "/nowhere") == (True, 50)
    app.middleware(lambda request, handler: handler(request))  # It may want the content.
    assert wanted("POST", "/nowhere") == (False, 50)
    assert wanted("PUT", "/stream") == (False, 50)
    assert wanted("POST", "/stream") == (True, 7)


def test_what_target_can_not_do_the_handler_raises(app: Application) -> None:
    app.get("/x")(says("x"))
    for method, path, error in (("GET", "/nowhere", RouteNotFoundException), ("PUT", "/x", MethodNotAllowed),
                                ("BREW", "/x", MethodNotImplemented)):
        request = request_of(app, method, path)
        with pytest.raises(error):
            request.destination.handler(request)


# Middleware

def test_the_first_registered_is_outermost(app: Application) -> None:
    def outer(request: Request, handler: Callable[..., Any]) -> Any:
        response = handler(request)
        response.headers.add("Trace", "outer")
        return response

    def inner(request: Request, handler: Callable[..., Any]) -> Any:
        response = handler(request)
        response.headers.add("Trace", "inner")
        return response

    assert app.middleware(outer) is outer
    assert app.middleware(inner) is inner
    app.get("/")(says("x"))
    assert answer(app).headers.getall("Trace") == ["inner", "outer"]


def traced(trace: list[str], name: str, asynchronous: bool) -> Callable[..., Any]:
    async def layer_async(request: Request, handler: Callable[..., Any]) -> Any:
        trace.append(f"{name} in")
        response = await handler(request)
        assert isinstance(response, Response)
        trace.append(f"{name} out")
        return response

    def layer(request: Request, handler: Callable[..., Any]) -> Any:
        trace.append(f"{name} in")
        return handler(request)

    return layer_async if asynchronous else layer


@pytest.mark.parametrize("handler", [says("x"), says_async("x")], ids=["sync", "async"])
@pytest.mark.parametrize("path", ["/exact", "/some/thing"])
@pytest.mark.parametrize("kinds", [(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1)])
def test_sync_and_async_middleware_mix(app: Application, handler: Callable[..., Any], path: str,
                                       kinds: tuple[int, ...]) -> None:
    trace: list[str] = []
    for place, kind in enumerate(kinds):
        app.middleware(traced(trace, str(place), bool(kind)))
    app.get("/exact")(handler)
    app.get("/some/{x}")(handler)
    assert text(app, "GET", path) == "x"
    ins = [f"{place} in" for place in range(3)]
    outs = [f"{place} out" for place in (2, 1, 0) if kinds[place]]
    assert trace == ins + outs


def test_a_sync_middleware_gets_what_the_handler_returns(app: Application) -> None:
    got: list[Any] = []

    @app.middleware
    def layer(request: Request, handler: Callable[..., Any]) -> Any:
        got.append(handler(request))
        return got[-1]

    app.get("/sync")(says("sync"))
    app.get("/async")(says_async("async"))
    assert text(app, "GET", "/sync") == "sync"
    assert text(app, "GET", "/async") == "async"
    assert isinstance(got[0], Response)
    assert isinstance(got[1], Awaitable)


def test_without_async_nothing_becomes_async(app: Application) -> None:
    app.middleware(lambda request, handler: handler(request))
    app.get("/")(says("x"))
    request = request_of(app)
    assert isinstance(request.destination.handler(request), Response)


class AsyncLayer:
    async def __call__(self, request: Request, handler: Callable[..., Any]) -> Any:
        return await handler(request)


async def async_layer(word: str, request: Request, handler: Callable[..., Any]) -> Any:
    return await handler(request)


@pytest.mark.parametrize("layer", [AsyncLayer(), AsyncLayer().__call__, functools.partial(async_layer, "x")],
                         ids=["object", "method", "partial"])
def test_whatever_is_async_can_await(app: Application, layer: Callable[..., Any]) -> None:
    app.middleware(layer)
    app.middleware(lambda request, handler: handler(request))
    app.get("/")(says("x"))
    assert text(app) == "x"


def test_an_async_object_is_a_handler(app: Application) -> None:
    class Handler:
        async def __call__(self, request: Request) -> Response:
            return Response(text="object")

    app.middleware(AsyncLayer())
    app.get("/")(Handler())
    assert text(app) == "object"


def test_middleware_may_answer_itself(app: Application) -> None:
    @app.middleware
    def guard(request: Request, handler: Callable[..., Any]) -> Any:
        return handler(request) if request.path == "/open" else Response(code=401, text="who are you?")

    app.get("/open")(says("open"))
    app.get("/closed")(fails_with(AssertionError("not reached")))
    assert text(app, "GET", "/open") == "open"
    assert answer(app, "GET", "/closed").code == 401
    assert answer(app, "GET", "/nowhere").code == 401


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize(("method", "path", "error"), [
    ("GET", "/nowhere", RouteNotFoundException), ("POST", "/x", MethodNotAllowed),
    ("BREW", "/x", MethodNotImplemented), ("GET", "/fails", ZeroDivisionError)])
def test_middleware_sees_errors(app: Application, asynchronous: bool, method: str, path: str,
                                error: type[Exception]) -> None:
    def caught(failure: Exception) -> Response:
        return Response(text=f"caught {type(failure).__name__}")

    if asynchronous:
        @app.middleware
        async def layer_async(request: Request, handler: Callable[..., Any]) -> Any:
            try:
                return await handler(request)
            except Exception as failure:
                return caught(failure)
    else:
        @app.middleware
        def layer(request: Request, handler: Callable[..., Any]) -> Any:
            try:
                return handler(request)
            except Exception as failure:
                return caught(failure)

    app.get("/x")(says("x"))
    app.get("/fails")(lambda request: 1 / 0)
    assert text(app, method, path) == f"caught {error.__name__}"


def test_middleware_surrounds_the_automatic_options(app: Application) -> None:
    @app.middleware
    async def cross_origin(request: Request, handler: Callable[..., Any]) -> Any:
        response = await handler(request)
        response.headers["Access-Control-Allow-Origin"] = "*"
        return response

    app.get("/x")(says("x"))
    response = answer(app, "OPTIONS", "/x")
    assert response.code == 204
    assert dict(response.headers) == {"Allow": "GET, HEAD, OPTIONS", "Access-Control-Allow-Origin": "*"}


def test_middleware_may_be_added_while_serving(app: Application) -> None:
    app.get("/exact")(says("x"))
    app.get("/some/{x}")(says("x"))
    for path in ("/exact", "/some/thing"):
        assert text(app, "GET", path) == "x"
    app.middleware(lambda request, handler: Response(text="surrounded"))
    for path in ("/exact", "/some/thing", "/nowhere"):
        assert text(app, "GET", path) == "surrounded"


def test_errors_of_middleware_go_to_the_error_handlers(app: Application) -> None:
    app.middleware(lambda request, handler: 1 / 0)
    app.add_error_handler(ZeroDivisionError, lambda request, error: Response(text="handled"))
    assert text(app) == "handled"


def test_an_async_middleware_can_await_what_a_sync_one_answers_itself(app: Application) -> None:
    app.middleware(AsyncLayer())
    app.middleware(lambda request, handler: Response(text="itself"))
    app.get("/")(says_async("not reached"))
    assert text(app) == "itself"


def test_what_can_be_awaited_already_is_handed_on_as_it_is() -> None:
    given: list[Any] = []

    async def layer(request: Request, handler: Callable[..., Any]) -> Any:
        given.append(handler)
        return await handler(request)

    handler = says_async("x")
    asyncio.run(settled(compose(handler, [layer])(cast(Any, None))))
    assert given == [handler]


def test_compose_without_middleware_is_the_handler_itself() -> None:
    handler = says("x")
    assert compose(handler, []) is handler


# What is registered, and how it is called

def registers(app: Application) -> dict[str, Callable[[Any], object]]:
    """All that registers functions, by what its messages begin with."""
    return {
        "middleware": app.middleware,
        "a start-up hook": app.on_startup,
        "a shutdown hook": app.on_shutdown,
        "an error handler": functools.partial(app.add_error_handler, ValueError),
        "an extension": functools.partial(app.extend_request, name="x"),
        "the handler of /x": app.get("/x"),
    }


def test_what_cannot_be_called_is_refused(app: Application) -> None:
    for what, register in registers(app).items():
        for nothing in (7, None):
            with pytest.raises(TypeError, match=f"^{what} must be a function, not {nothing}$"):
                register(nothing)


def of_nothing() -> None:
    """Takes less than anything that is registered is called with."""


def of_three(one: object, two: object, three: object) -> None:
    """Takes more than anything that is registered is called with."""


@pytest.mark.parametrize(("what", "given"), [
    ("middleware", "request, handler"), ("a start-up hook", "app"), ("a shutdown hook", "app"),
    ("an error handler", "request, exception"), ("the handler of /x", "request")])
def test_what_takes_other_arguments_is_refused(app: Application, what: str, given: str) -> None:
    register = registers(app)[what]
    for function, name in ((of_nothing, "of_nothing()"), (of_three, "of_three(one: 'object', ")):
        with pytest.raises(TypeError) as raised:
            register(function)
        assert str(raised.value).startswith(f"{what} is called with ({given}), which {__name__}.{name}")
    assert answer(app, "GET", "/x").code == 404


def test_empty_parentheses_make_no_difference(app: Application) -> None:
    ran: list[str] = []

    @app.middleware()
    def layer(request: Request, handler: Callable[..., Any]) -> Any:
        ran.append("layer")
        return handler(request)

    @app.on_startup()
    def start(app: Application) -> None:
        ran.append("start")

    @app.on_shutdown()
    async def stop(app: Application) -> None:
        ran.append("stop")

    app.get("/")(says("x"))
    asyncio.run(app.startup())
    assert text(app) == "x"
    asyncio.run(app.shutdown())
    assert ran == ["start", "layer", "stop"]
    assert all(map(callable, (layer, start, stop)))


# What a handler must return

def index(request: Request) -> None:
    """Forgets to return."""


async def forgets_to_await(request: Request, handler: Callable[..., Any]) -> Any:
    return handler(request)


def wrong_answer(app: Application, path: str, answer: Any) -> str:
    return str(not_a_response(request_of(app, "GET", path), answer))


def test_a_wrong_answer_is_told_with_the_name_of_the_handler(app: Application) -> None:
    app.get("/")(index)
    app.get("/part")(functools.partial(index))
    app.get("/object")(type("Page", (), {"__call__": lambda page, request: "y"})())
    for path in ("/", "/part"):
        assert wrong_answer(app, path, None) == (
            f"the handler {__name__}.index must return a Response, not None")
    assert wrong_answer(app, "/object", "y").startswith(f"the handler <{__name__}.Page object at ")
    app.middleware(forgets_to_await)
    assert wrong_answer(app, "/", 5) == (
        f"the handler {__name__}.index, or middleware around it, must return a Response, not 5")
    assert wrong_answer(app, "/no/where", 5) == "middleware must return a Response, not 5"


def test_a_coroutine_that_nobody_awaited_is_told(app: Application) -> None:
    app.get("/")(says_async("x"))
    app.middleware(forgets_to_await)
    request = request_of(app)
    coroutine = asyncio.run(request.destination.handler(request))
    assert str(not_a_response(request, coroutine)).endswith(
        "must return a Response, not a coroutine: what is async must be awaited, as in return await "
        "handler(request)")
    coroutine.close()


# Errors

class KittyError(Exception):
    def __init__(self) -> None:
        self.greet = "meow"


class DoggieError(Exception):
    pass


def test_error_handlers_of_2017(app: Application) -> None:
    app.router.add_route("/cat", fails_with(KittyError()))
    app.router.add_route("/dog", fails_with(DoggieError()))
    app.router.add_route("/unhandled", lambda request: 1 / 0)
    app.add_error_handler(KittyError, lambda request, error: request.Response(text=error.greet))
    app.add_error_handler(DoggieError, lambda request, error: request.Response(text="woof"))
    app.add_error_handler(RouteNotFoundException,
                          lambda request, error: request.Response(code=404, text="miao"))
    assert text(app, "GET", "/cat") == "meow"
    assert text(app, "GET", "/dog") == "woof"
    assert answer(app, "GET", "/unhandled").code == 500
    assert answer(app, "GET", "/nowhere").body == b"miao"


def test_the_first_registered_matching_handler_is_taken(app: Application) -> None:
    app.add_error_handler(LookupError, lambda request, error: Response(text="lookup"))
    app.add_error_handler(KeyError, lambda request, error: Response(text="key"))
    app.add_error_handler(None, lambda request, error: Response(text="all"))
    app.add_error_handler(OSError, lambda request, error: Response(text="too late"))
    for error, expected in ((KeyError(), b"lookup"), (IndexError(), b"lookup"), (OSError(), b"all"),
                            (RouteNotFoundException(), b"all"), (asyncio.CancelledError(), b"all")):
        assert failed(app, error).body == expected


def test_a_handler_for_several_types(app: Application) -> None:
    app.add_error_handler((KeyError, OSError), lambda request, error: Response(text="x"))  # type: ignore[arg-type]
    assert failed(app, OSError()).body == failed(app, KeyError()).body == b"x"


@pytest.mark.parametrize("typ", ["KeyError", KeyError(), 404, 0])
def test_what_is_no_type_of_errors(app: Application, typ: Any) -> None:
    with pytest.raises(TypeError, match=r"for a class of exceptions, such as RouteNotFoundException"):
        app.add_error_handler(typ, default_error_handler)
    assert failed(app, RouteNotFoundException()).code == 404


def test_a_method_not_allowed_is_a_route_not_found_as_in_2017(app: Application) -> None:
    app.get("/x")(says("x"))
    app.add_error_handler(RouteNotFoundException, lambda request, error: Response(text=type(error).__name__))
    assert text(app, "POST", "/x") == "MethodNotAllowed"
    assert text(app, "POST", "/y") == "RouteNotFoundException"


def test_an_error_handler_may_be_async(app: Application) -> None:
    @functools.partial(app.add_error_handler, KeyError)
    async def handler(request: Request, error: KeyError) -> Response:
        await asyncio.sleep(0)
        return Response(text=f"async {error}")

    assert failed(app, KeyError("x")).body == b"async 'x'"


def test_an_error_handler_may_be_added_while_serving(app: Application) -> None:
    app.get("/")(fails_with(BadRequest()))
    assert answer(app).code == 400
    app.add_error_handler(BadRequest, lambda request, error: Response(text="handled"))
    assert text(app) == "handled"


@pytest.mark.parametrize("handler", [
    pytest.param(lambda request, error: 1 / 0, id="fails"),
    pytest.param(lambda request, error: None, id="returns-none"),
    pytest.param(lambda request, error: "text", id="returns-text"),
])
def test_an_error_handler_that_fails(app: Application, errors: list[logging.LogRecord],
                                     handler: Callable[..., Any]) -> None:
    app.add_error_handler(KeyError, handler)
    app.add_error_handler(None, lambda request, error: Response(text="not asked"))
    error = KeyError("lost")
    response = failed(app, error)
    assert (response.code, response.body) == (500, b"Internal Server Error")
    record, = errors
    assert record.getMessage() == "GET / from 192.0.2.7: an error handler failed"
    assert record.exc_info is not None
    assert record.exc_info[1] is not None
    assert record.exc_info[1].__context__ is error


def test_an_async_error_handler_that_fails(app: Application, errors: list[logging.LogRecord]) -> None:
    async def fails(request: Request, error: Exception) -> Response:
        await asyncio.sleep(0)
        raise OSError

    async def forgets(request: Request, error: Exception) -> None:
        await asyncio.sleep(0)

    app.add_error_handler(KeyError, fails)
    app.add_error_handler(IndexError, forgets)
    for error in (KeyError(), IndexError()):
        response = failed(app, error)
        assert (response.code, response.body) == (500, b"Internal Server Error")
    assert [record.getMessage() for record in errors] == ["GET / from 192.0.2.7: an error handler failed"] * 2
    assert errors[1].exc_info is not None
    assert str(errors[1].exc_info[1]) == (
        f"the error handler {__name__}.{forgets.__qualname__} must return a Response, not None")


def test_an_async_error_handler_that_is_cancelled(app: Application, errors: list[logging.LogRecord]) -> None:
    async def waits(request: Request, error: Exception) -> Response:
        await asyncio.sleep(3600)
        return Response()

    async def cancel() -> None:
        task = asyncio.ensure_future(settled(app.failed(request_of(app), KeyError())))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    app.add_error_handler(KeyError, waits)
    asyncio.run(cancel())
    assert errors == []


def raises_again(request: Request, error: BaseException) -> Response:
    raise error


@pytest.mark.parametrize("error", [KeyError("x"), asyncio.CancelledError()], ids=["exception", "cancelled"])
def test_an_error_handler_that_raises_what_it_was_given(app: Application, errors: list[logging.LogRecord],
                                                        error: BaseException) -> None:
    app.add_error_handler(None, raises_again)
    assert failed(app, error).code == 500
    assert len(errors) == 1


def test_an_error_handler_ends_the_process_only_when_that_is_interrupted(
        app: Application, errors: list[logging.LogRecord]) -> None:
    app.add_error_handler(KeyError, fails_with_two(SystemExit(3)))
    app.add_error_handler(None, fails_with_two(KeyboardInterrupt()))
    assert failed(app, KeyError()).code == 500
    assert len(errors) == 1
    with pytest.raises(KeyboardInterrupt):
        app.failed(request_of(app), OSError())


def fails_with_two(error: BaseException) -> Callable[[Any, Any], Response]:
    def handler(request: Request, failure: BaseException) -> Response:
        raise error

    return handler


@pytest.mark.parametrize(("error", "code", "shown"), [
    (RouteNotFoundException(), 404, "Not Found"),
    (MethodNotImplemented(), 501, "Not Implemented"),
    (BadRequest(), 400, "Bad Request"),
    (BadRequest("not like this"), 400, "not like this"),
    (MalformedContent("bad \u20ac"), 400, "bad \u20ac"),
    (MalformedJSON("Expecting value", "{", 1), 400, "Expecting value: line 1 column 2 (char 1)"),
    (ContentTooLarge(), 413, "Content Too Large"),
    (HTTPError(), 500, "Internal Server Error"),
    (HTTPError("deliberate"), 500, "deliberate"),
    (DisconnectError("gone"), 400, "The client is gone"),
    (asyncio.CancelledError(), 503, "Service unavailable"),
])
def test_what_is_answered_without_error_handlers(app: Application, errors: list[logging.LogRecord],
                                                 error: BaseException, code: int, shown: str) -> None:
    response = failed(app, error)
    assert (response.code, response.body.decode(), response.content_type) == (
        code, shown, b"text/plain; charset=utf-8")
    assert errors == []


def test_text_that_is_none_is_answered_with_400(app: Application) -> None:
    error = MalformedText("utf-8", b"\xff", 0, 1, "invalid start byte")
    response = failed(app, error)
    assert response.code == 400
    assert b"invalid start byte" in response.body


def test_errors_of_an_applications_own(app: Application) -> None:
    class Teapot(HTTPError):
        status = 418

    class Unavailable(HTTPError):
        status = 503

    assert failed(app, Teapot("short and stout")).body == b"short and stout"
    assert (failed(app, Unavailable()).code, failed(app, Unavailable()).body) == (503, b"Service Unavailable")


def test_an_error_with_a_status_of_its_own(app: Application) -> None:
    for error in (HTTPError("short and stout", 418), HTTPError("short and stout", status=418),
                  HTTPError("short and stout", HTTPStatus.IM_A_TEAPOT), BadRequest("short and stout", 418)):
        response = failed(app, error)
        assert (response.code, response.body) == (418, b"short and stout")
    assert failed(app, HTTPError(status=503)).body == b"Service Unavailable"
    assert (failed(app, HTTPError("oh")).code, failed(app, BadRequest()).code) == (500, 400)


@pytest.mark.parametrize("status", [0, 200, 399, 600, True, "404"])
def test_what_is_no_status_of_an_error(status: Any) -> None:
    assert HTTPError(status=400).status == 400
    assert HTTPError(status=599).status == 599
    with pytest.raises(ValueError, match=f"^the status of an error .* from 400 to 599, not {status!r}$"):
        HTTPError("", status)


def test_an_error_with_a_status_that_cannot_be_sent(app: Application,
                                                    errors: list[logging.LogRecord]) -> None:
    class Nonsense(HTTPError):
        status = 42

    for error in (Nonsense(), BadRequest("\ud800")):
        assert failed(app, error).code == 500
    assert len(errors) == 2


def test_405_carries_allow(app: Application) -> None:
    response = failed(app, MethodNotAllowed({"PUT", "GET"}))
    assert (response.code, response.headers["Allow"]) == (405, "GET, PUT")


@pytest.mark.parametrize("error", [ValueError("secret"), ResponseError("secret"), StartError("secret"),
                                   SystemExit(3), BaseException("secret")])
def test_an_unexpected_error(app: Application, errors: list[logging.LogRecord], error: Exception) -> None:
    app.get("/x")(fails_with(error))
    response = answer(app, "GET", "/x?y")
    assert (response.code, response.body) == (500, b"Internal Server Error")
    record, = errors
    assert (record.name, record.levelno) == ("japronto.error", logging.ERROR)
    assert record.getMessage() == "GET /x from 192.0.2.7 failed"
    assert record.exc_info is not None
    assert record.exc_info[1] is error


def test_debug_shows_the_traceback(errors: list[logging.LogRecord]) -> None:
    app = Application(debug=True)
    app.get("/")(fails_with(ValueError("told \ud800")))
    response = answer(app)
    assert response.code == 500
    assert response.content_type == b"text/plain; charset=utf-8"
    shown = response.body.decode()
    assert shown.startswith("Traceback (most recent call last):\n")
    assert "test_app.py" in shown
    assert shown.endswith("ValueError: told \\ud800\n")
    assert len(errors) == 1


def test_debug_shows_nothing_of_errors_that_are_answers() -> None:
    app = Application(debug=True)
    assert answer(app, "GET", "/nowhere").body == b"Not Found"


def test_the_default_error_handler_can_be_called(app: Application) -> None:
    app.add_error_handler(None, default_error_handler)
    assert answer(app, "GET", "/nowhere").code == 404
    assert app.default_error_handler(request_of(app), BadRequest()).code == 400


def test_the_default_error_handler_can_be_replaced_by_a_subclass() -> None:
    class Mine(Application):
        def default_error_handler(self, request: Request, exception: BaseException) -> Response:
            return Response(code=404, text="mine")

    assert answer(Mine(), "GET", "/nowhere").body == b"mine"


@pytest.mark.parametrize("handler", [None, raises_again], ids=["default", "raises-again"])
def test_failures_leave_no_garbage(app: Application, handler: Callable[..., Any] | None) -> None:
    app.get("/fails")(lambda request: 1 / 0)
    logger = logging.getLogger("japronto.error")
    logger.addFilter(refuse_all)
    try:
        if handler is not None:
            app.add_error_handler(ZeroDivisionError, handler)

        def fail(method: str, path: str) -> None:
            request = request_of(app, method, path)
            try:
                request.destination.handler(request)
            except Exception as error:
                app.failed(request, error)

        fail("GET", "/fails")
        gc.collect()
        gc.disable()
        for _ in range(10):
            fail("GET", "/fails")
            fail("GET", "/nowhere")
            fail("PUT", "/fails")
            fail("BREW", "/fails")
        assert gc.collect() == 0
    finally:
        gc.enable()
        logger.removeFilter(refuse_all)


def refuse_all(record: logging.LogRecord) -> bool:
    return False


# Extensions of the request

def test_an_extension_by_method(app: Application) -> None:
    def greet(request: Request, name: str, *, mark: str = "!") -> str:
        return f"{request.method} {name}{mark}"

    app.extend_request(greet)
    request: Any = request_of(app)
    assert request.greet("you") == "GET you!"
    assert request.greet("you", mark="?") == "GET you?"


def test_an_extension_by_property(app: Application) -> None:
    def reversed_agent(request: Request) -> str:
        return request.headers["User-Agent"][::-1]

    app.extend_request(reversed_agent, property=True)
    app.extend_request(reversed_agent, name="other", property=True)
    request: Any = request_of(app, section=b"\nUser-Agent: abc\r\n")
    assert request.reversed_agent == request.other == "cba"


def test_extensions_use_one_another_and_what_a_request_has(app: Application) -> None:
    app.extend_request(lambda request: request.extra.setdefault("user", "me"), name="user", property=True)
    app.extend_request(lambda request, prefix: prefix + request.user, name="greeting")
    request: Any = request_of(app)
    assert request.greeting("hello ") == "hello me"
    assert request.extra == {"user": "me"}


def test_an_async_extension(app: Application) -> None:
    async def load(request: Request) -> str:
        await asyncio.sleep(0)
        return "loaded"

    app.extend_request(load)

    @app.get("/")
    async def handler(request: Any) -> Response:
        return Response(text=await request.load())

    assert text(app) == "loaded"


class Adder:
    def __call__(self, request: Request, number: int) -> tuple[str, int]:
        return request.method, number + 1


@pytest.mark.parametrize("function", [Adder(), Adder().__call__, functools.partial(Adder.__call__, Adder())],
                         ids=["object", "method", "partial"])
def test_whatever_can_be_called_is_given_the_request(app: Application, function: Callable[..., Any]) -> None:
    app.extend_request(function, name="add")
    request: Any = request_of(app)
    assert request.add(1) == ("GET", 2)


def test_a_function_without_a_name(app: Application) -> None:
    with pytest.raises(ValueError, match="give name="):
        app.extend_request(Adder())
    with pytest.raises(ValueError, match="give name="):
        app.extend_request(lambda request: None)


@pytest.mark.parametrize("name", ["a b", "a-b", "1", "class", "a.b", 3])
def test_a_name_that_nobody_could_write(app: Application, name: Any) -> None:
    with pytest.raises(ValueError, match=f"name that can follow a dot, not {name!r}$"):
        app.extend_request(lambda request: None, name=name)


def test_a_name_that_a_request_has_is_refused(app: Application) -> None:
    request = request_of(app)
    names = {*dir(Request), *vars(request)}
    assert names >= {"method", "path", "json", "body", "Response", "stream", "__init__", "head",
                     "stage"}
    for name in names:
        for property_ in (False, True):
            with pytest.raises(ValueError, match=f"called {name} already"):
                app.extend_request(lambda request: None, name=name, property=property_)


def test_the_last_extension_of_a_name_counts(app: Application) -> None:
    app.extend_request(lambda request: 1, name="number", property=True)
    app.extend_request(lambda request: 2, name="number", property=True)
    request: Any = request_of(app)
    assert request.number == 2


def test_extensions_may_be_made_while_serving(app: Application) -> None:
    request: Any = request_of(app)
    app.extend_request(lambda request: "new", name="late", property=True)
    assert request.late == "new"
    assert cast(Any, request_of(app)).late == "new"


def test_applications_do_not_share_extensions(app: Application) -> None:
    app.extend_request(lambda request: 1, name="mine", property=True)
    other = Application()
    assert not hasattr(request_of(other), "mine")
    assert not hasattr(Request, "mine")
    other.extend_request(lambda request: 2, name="mine", property=True)
    assert cast(Any, request_of(app)).mine == 1


def test_requests_are_requests(app: Application) -> None:
    request = request_of(app)
    assert isinstance(request, Request)
    assert type(request).__name__ == "Request"
    assert request.app is app


# Forms

FORM = (b"\nHost: a\r\nContent-Type: multipart/form-data; boundary=limit\r\n")
CONTENT = (b'--limit\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
           b'--limit\r\nContent-Disposition: form-data; name="f"; filename="x"\r\n\r\n\xff\r\n--limit--\r\n')


def test_multipart_forms_are_read(app: Application) -> None:
    request = request_of(app, "POST", "/", CONTENT, FORM)
    assert request.form == {"a": "1"}
    assert request.files is not None
    assert (request.files["f"].name, request.files["f"].body) == ("x", b"\xff")
    assert request.files is request.files


def test_a_malformed_form_is_answered_with_400(app: Application, errors: list[logging.LogRecord]) -> None:
    app.post("/")(lambda request: Response(text=str(request.form)))
    assert answer(app, "POST", "/", CONTENT, FORM).body == b"{'a': '1'}"
    assert answer(app, "POST", "/", CONTENT[:-9], FORM).code == 400
    assert errors == []


def test_the_count_of_fields_is_a_limit(app: Application) -> None:
    app.post("/")(lambda request: Response(text=str(request.form)))
    app.limits = Limits(form_fields=2)
    assert answer(app, "POST", "/", CONTENT, FORM).code == 200
    app.limits = Limits(form_fields=1)
    assert answer(app, "POST", "/", CONTENT, FORM).code == 400


# Hooks

def test_hooks_run_in_order_and_shutdown_in_reverse(app: Application) -> None:
    ran: list[tuple[str, Application]] = []

    @app.on_startup
    def first(app: Application) -> None:
        ran.append(("first", app))

    @app.on_startup
    async def second(app: Application) -> None:
        await asyncio.sleep(0)
        ran.append(("second", app))

    @app.on_shutdown
    async def third(app: Application) -> None:
        await asyncio.sleep(0)
        ran.append(("third", app))

    def fourth(app: Application) -> None:
        ran.append(("fourth", app))

    assert app.on_shutdown(fourth) is fourth
    assert callable(first)
    asyncio.run(app.startup())
    assert ran == [("first", app), ("second", app)]
    ran.clear()
    asyncio.run(app.shutdown())
    assert ran == [("fourth", app), ("third", app)]


def test_a_startup_hook_that_fails_ends_the_start(app: Application) -> None:
    ran: list[str] = []
    app.on_startup(lambda app: ran.append("first"))
    app.on_startup(lambda app: 1 / 0)
    app.on_startup(lambda app: ran.append("last"))
    with pytest.raises(ZeroDivisionError):
        asyncio.run(app.startup())
    assert ran == ["first"]


def test_a_shutdown_hook_that_fails_does_not_keep_the_others_from_running(
        app: Application, errors: list[logging.LogRecord]) -> None:
    ran: list[str] = []
    app.on_shutdown(lambda app: ran.append("registered first"))
    app.on_shutdown(lambda app: 1 / 0)
    app.on_shutdown(lambda app: ran.append("registered last"))
    asyncio.run(app.shutdown())
    assert ran == ["registered last", "registered first"]
    assert [record.getMessage() for record in errors] == ["A shutdown hook failed"]


# Mounting

def test_a_router_is_mounted(app: Application) -> None:
    router = Router()
    router.get("/items/{id:int}")(lambda request: Response(text=f"item {request.match_dict['id']}"))
    app.mount("/api", router)
    assert text(app, "GET", "/api/items/7") == "item 7"
    assert answer(app, "GET", "/items/7").code == 404
    assert answer(app, "POST", "/api/items/7").headers["Allow"] == "GET, HEAD, OPTIONS"
    router.get("/late")(says("late"))
    assert text(app, "GET", "/api/late") == "late"
    request = request_of(app, "GET", "/api/items/7")
    assert request.route.pattern == "/api/items/{id:int}"


def test_a_mounted_application_brings_its_middleware(app: Application) -> None:
    trace: list[str] = []
    deep, inner = Application(), Application()
    deep.get("/x")(says("deep"))
    inner.get("/x")(says("inner"))
    app.get("/x")(says("outer"))
    app.mount("/inner", inner)
    inner.mount("/deep", deep)
    inner.middleware(traced(trace, "inner", True))
    app.middleware(traced(trace, "outer", False))
    deep.middleware(traced(trace, "deep", False))
    for path, answered_by, layers in (
            ("/x", "outer", ["outer in"]),
            ("/inner/x", "inner", ["outer in", "inner in", "inner out"]),
            ("/inner/deep/x", "deep", ["outer in", "inner in", "deep in", "inner out"])):
        trace.clear()
        assert text(app, "GET", path) == answered_by
        assert trace == layers
    trace.clear()
    assert text(inner, "GET", "/x") == "inner"
    assert trace == ["inner in", "inner out"]


def test_middleware_of_a_mounted_application_may_be_added_while_serving(app: Application) -> None:
    inner = Application()
    inner.get("/x")(says("x"))
    app.mount("/in", inner)
    assert text(app, "GET", "/in/x") == "x"
    inner.middleware(lambda request, handler: Response(text="surrounded"))
    assert text(app, "GET", "/in/x") == "surrounded"


def test_an_unknown_path_below_a_prefix_is_the_outer_applications(app: Application) -> None:
    inner = Application()
    inner.middleware(lambda request, handler: Response(text="not reached"))
    inner.get("/x")(says("x"))
    app.mount("/in", inner)
    assert answer(app, "GET", "/in/nowhere").code == 404
    assert answer(app, "PUT", "/in/x").code == 405


def test_errors_and_requests_are_the_outer_applications(app: Application) -> None:
    inner = Application(limits=Limits(content_bytes=1))
    seen: list[Application] = []

    @inner.get("/x")
    def handler(request: Request) -> Response:
        seen.append(request.app)
        raise KeyError

    inner.add_error_handler(KeyError, lambda request, error: Response(text="inner"))
    app.add_error_handler(KeyError, lambda request, error: Response(text="outer"))
    app.mount("/in", inner)
    assert text(app, "GET", "/in/x") == "outer"
    assert seen == [app]
    assert app.target(head_of("GET", "/in/x")).content_bytes == app.limits.content_bytes


def test_hooks_of_mounted_applications_run_at_their_place_and_once(app: Application) -> None:
    ran: list[tuple[str, Application]] = []
    deep, inner = Application(), Application()

    def hooks(application: Application, name: str) -> None:
        application.on_startup(lambda app: ran.append((f"{name} up", app)))
        application.on_shutdown(lambda app: ran.append((f"{name} down", app)))

    hooks(app, "first")
    app.mount("/in", inner)
    app.mount("/again", inner)
    hooks(app, "last")
    inner.mount("/deep", deep)
    hooks(inner, "inner")
    hooks(deep, "deep")
    asyncio.run(app.startup())
    assert ran == [("first up", app), ("deep up", app), ("inner up", app), ("last up", app)]
    ran.clear()
    asyncio.run(app.shutdown())
    assert ran == [("last down", app), ("inner down", app), ("deep down", app), ("first down", app)]


def test_mistakes_in_mounting(app: Application) -> None:
    inner = Application()
    inner.on_startup(lambda app: None)
    with pytest.raises(ValueError, match="prefix"):
        app.mount("/{x}", inner)
    with pytest.raises(ValueError, match="below itself"):
        app.mount("/in", app)
    inner.mount("/deep", app)
    with pytest.raises(ValueError, match="below itself"):
        app.mount("/in", inner)
    for nothing in (says("x"), "inner", None):
        with pytest.raises(TypeError, match=r"^mount takes a Router or an Application, not .*app\.route"):
            app.mount("/in", cast(Any, nothing))
    with pytest.raises(TypeError, match=r"^a router mounts another Router, not .*; app\.mount takes an App"):
        app.router.mount("/in", cast(Any, Application()))
    assert app._startup == []


# Serving

class Server(types.ModuleType):
    """Stands for ``japronto.server``, and remembers what it was called with."""

    def __init__(self, outcome: int | Exception = 0) -> None:
        super().__init__("japronto.server")
        self.outcome = outcome
        self.served: list[tuple[Application, dict[str, Any]]] = []
        self.loops: list[asyncio.AbstractEventLoop] = []

    def serve(self, app: Application, config: dict[str, Any], bounds: MasterConfig) -> int:
        assert bounds == MasterConfig()
        self.served.append((app, config))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    async def start_server(self, app: Application, config: dict[str, Any]) -> str:
        self.served.append((app, config))
        return "the server"

    def new_loop(self, choice: str) -> asyncio.AbstractEventLoop:
        assert choice == "auto"
        self.loops.append(asyncio.new_event_loop())
        return self.loops[-1]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server()
    monkeypatch.setitem(sys.modules, "japronto.server", server)
    monkeypatch.setattr("japronto.app.ServerConfig", dict)
    yield server
    for loop in server.loops:
        loop.close()


def test_run_serves_with_the_defaults_of_2017(app: Application, server: Server) -> None:
    app.run()
    assert server.served == [(app, {"host": "0.0.0.0", "port": 8080, "activation": True,
                                    "debug": False})]


def test_run_hands_on_what_it_is_given(app: Application, server: Server) -> None:
    app.run("127.0.0.1", 81, worker_num=1, reload=False, debug=True)
    assert server.served == [(app, {"host": "127.0.0.1", "port": 81, "activation": True,
                                    "debug": True})]
    assert app.debug
    app.run(port=82)
    assert server.served[-1][1] == {"host": "0.0.0.0", "port": 82, "activation": True, "debug": True}


def test_run_hands_on_what_a_server_and_a_master_can_be_told(
        app: Application, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    supervised: list[Any] = []
    monkeypatch.setattr("japronto.supervisor.supervise", lambda *given: supervised.append(given) or 0)
    app.run(bind=["unix:/x"], activation=False, backlog=7)
    assert server.served[-1][1] == {"host": "0.0.0.0", "port": 8080, "activation": False, "debug": False,
                                    "bind": ["unix:/x"], "backlog": 7}
    app.run(worker_num=2, max_requests=5, backlog=8)
    app.run(max_rss=1 << 30)
    app.run(reload=True)
    app.run(reload=True, worker_timeout=7)
    assert [bounds for _, bounds in supervised] == [
        MasterConfig(workers=2, max_requests=5), MasterConfig(max_rss=1 << 30),
        MasterConfig(reload=True, worker_timeout=None), MasterConfig(reload=True, worker_timeout=7)]
    assert supervised[0][0]["backlog"] == 8
    assert len(server.served) == 1


@pytest.mark.parametrize(("options", "sentence"), [
    ({"max_requests": 0}, "max_requests must be a number above zero; it is 0"),
    ({"max_rss": "1g"}, "max_rss must be a number above zero; it is '1g'"),
    ({"max_requests_jitter": -1}, "max_requests_jitter must be a whole number from 0"),
    ({"reload_include": "*.py"}, "reload_include takes a list; write ['*.py']")])
def test_what_a_master_cannot_be_told(app: Application, server: Server, capsys: pytest.CaptureFixture[str],
                                      options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        app.run(**options)
    assert capsys.readouterr().err.startswith(f"japronto: {sentence}")


@pytest.mark.parametrize("worker_num", [None, 0, 1])
def test_one_worker(app: Application, server: Server, worker_num: int | None) -> None:
    app.run(worker_num=worker_num)
    assert len(server.served) == 1


@pytest.mark.parametrize(("options", "message"), [
    ({"worker_num": 1025}, "from 1 to 1024; it is 1025"), ({"worker_num": -1}, "from 1 to 1024; it is -1"),
    ({"worker_num": "two"}, "from 1 to 1024; it is 'two'"), ({"worker_num": 2.0}, "1024; it is 2.0"),
    ({"reload": True, "worker_num": 2}, "leave worker_num out")])
def test_workers_that_cannot_be(app: Application, server: Server, capsys: pytest.CaptureFixture[str],
                                options: dict[str, Any], message: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        app.run(**options)
    assert capsys.readouterr().err.endswith(f"{message}\n")
    assert server.served == []


@pytest.mark.parametrize(("name", "hint"), [
    ("max_request", "; did you mean max_requests?"), ("nonsense", ""), ("workers", "; use worker_num"),
    ("connections", "; it is one of Application(limits=Limits(connections=...))"),
    ("drain_seconds", "; it is one of Application(timeouts=Timeouts(drain_seconds=...))"),
    ("tls_certificate", "; give tls=TLSConfig(...)")])
def test_what_run_does_not_take(app: Application, server: Server, name: str, hint: str) -> None:
    with pytest.raises(TypeError) as raised:
        app.run(**{name: 1})
    assert str(raised.value) == f"app.run() got an unexpected keyword argument {name!r}{hint}"
    assert server.served == []


def test_variables_that_run_does_not_read(app: Application, server: Server, monkeypatch: pytest.MonkeyPatch,
                                          caplog: pytest.LogCaptureFixture) -> None:
    for name in ("PORT", "TLS_CERTIFICATE", "BACKEND", "OF_SOMEBODY_ELSE"):
        monkeypatch.setenv(f"JAPRONTO_{name}", "auto")
    app.run()
    (message,) = caplog.messages
    assert message.startswith("app.run() does not read JAPRONTO_PORT and JAPRONTO_TLS_CERTIFICATE: give it ")


def test_a_program_may_read_the_password_of_its_key(app: Application, server: Server,
                                                    monkeypatch: pytest.MonkeyPatch,
                                                    caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("japronto.app.ServerConfig", ServerConfig)
    monkeypatch.setenv("JAPRONTO_TLS_KEY_PASSWORD", "secret")
    app.run()
    (message,) = caplog.messages
    assert message.startswith("app.run() does not read JAPRONTO_TLS_KEY_PASSWORD: ")
    app.run(tls=TLSConfig(certificate="certificate.pem"))
    assert len(caplog.messages) == 1


@pytest.mark.parametrize(("outcome", "code", "said"), [
    (StartError("the port is taken"), 3, "japronto: the port is taken\n"),
    (UsageError("no such loop"), 2, "japronto: no such loop\n"),
    (1, 1, ""),
])
def test_run_exits_when_it_cannot_serve(app: Application, server: Server, capsys: pytest.CaptureFixture[str],
                                        outcome: int | Exception, code: int, said: str) -> None:
    server.outcome = outcome
    with pytest.raises(SystemExit) as raised:
        app.run()
    assert raised.value.code == code
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", said)


def test_start_server_hands_on_what_it_is_given(app: Application, server: Server) -> None:
    started: list[Any] = [asyncio.run(app.start_server(port=0)),
                          asyncio.run(app.start_server("::1", 1, uds="/x", backlog=7))]
    assert started == ["the server", "the server"]
    assert server.served == [(app, {"host": "127.0.0.1", "port": 0, "uds": None}),
                             (app, {"host": "::1", "port": 1, "uds": "/x", "backlog": 7})]


def test_the_loop_of_set_up_code_is_the_one_to_serve_on(app: Application, server: Server) -> None:
    loop = app.loop
    assert app.loop is loop
    assert app.loop_or(asyncio.new_event_loop) is loop
    assert server.loops == [loop]


def test_without_set_up_code_the_server_makes_the_loop(app: Application, server: Server) -> None:
    made = asyncio.new_event_loop()
    try:
        assert app.loop_or(lambda: made) is made
        assert app.loop is made
    finally:
        made.close()
    app.loop = None
    assert app.loop is not made
    assert server.loops == [app.loop]


def test_mounted_applications_have_the_loop_that_serves(app: Application, server: Server) -> None:
    deep, inner = Application(), Application()
    app.mount("/in", inner)
    inner.mount("/deep", deep)
    loop = app.loop
    assert inner.loop is deep.loop is loop
    assert server.loops == [loop]
