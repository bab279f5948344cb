"""The application: what is set up once, and asked for each request.

Set up: routes, middleware, error handlers, extensions of the request, hooks.  All of it may change
at any time, also while requests are served, and counts from the next request on.

Asked, through :class:`japronto.interfaces.Service`: for whom a head is (``target``), and what to
answer when handling it failed (``failed``).  The way of a request through an application::

    error handlers ( middleware ( middleware of a mounted application ( handler )))

So middleware sees exceptions, those of routing included: for an unknown path, ``handler(request)``
raises RouteNotFoundException.  Error handlers are outside of all middleware.

Of an application that is mounted, its routes and its middleware are used, and its hooks run with those
of the application that is served.  Nothing else is: the error handlers, the extensions of the
request and the limits are those of the application that is served, ``request.app`` is that one, and
hooks are called with it.  An unknown path below a prefix concerns that one's middleware alone.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import os
import re
import sys
import traceback
import uuid
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from keyword import iskeyword
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Final, TypeVar, Unpack, overload

from japronto import backend, encoders
from japronto.config import (
    PREFIX,
    TLS_PASSWORD_VARIABLE,
    WORKERS_MAX,
    MasterConfig,
    ServerConfig,
    check_of_id_field,
    refuse_unknown,
)
from japronto.errors import (
    DisconnectError,
    HTTPError,
    MethodNotAllowed,
    MethodNotImplemented,
    RouteNotFoundException,
    StartError,
    UsageError,
)
from japronto.forms import File, parse_multipart
from japronto.interfaces import Target
from japronto.limits import Limits, Timeouts
from japronto.logs import complain, log
from japronto.messages import RequestHead
from japronto.pure.assembler import reason_phrase
from japronto.pure.request import MultiDict, Request
from japronto.pure.response import Response, ResponseHeaders
from japronto.routing import (
    Matcher,
    Placed,
    ReservedRoute,
    Route,
    RouteDecorators,
    RouteOptions,
    Router,
    checked,
    choose,
    describe,
    text,
)
from japronto.tasks import CancelledError
from japronto.worker import MASTER

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from japronto.server import Server

Function = TypeVar("Function", bound=Callable[..., Any])
Bounds = TypeVar("Bounds", Limits, Timeouts)

REAPER_SETTINGS: Final = {"check_interval": "check_seconds", "idle_timeout": "idle_seconds"}
"""The names of 2017 for two of the timeouts."""

_property = property

_REQUEST_ID = re.compile(r"[A-Za-z0-9._~+/=:@-]{1,128}").fullmatch
"""What is believed of a request id that was sent: nothing that could break out of a log or a field."""

_LATER: Final[Any] = object()
"""In place of the function, where a decorator is written with empty parentheses."""


# -- What stands in where nothing else is set ----------------------------------------------------

def default_request_logger(request: Request) -> None:
    """Print a line: who, what, where.  The path stays encoded, so that it is one line."""
    path = request.target.partition("?")[0]
    print(request.remote_addr, request.method, path)  # noqa: T201 - that is what it is for


def default_error_handler(request: Request, exception: BaseException) -> Response:
    """What is answered to an exception that no error handler takes."""
    if isinstance(exception, HTTPError):
        text = str(exception) or reason_phrase(exception.status)
        response = request.Response(exception.status, text=text)
        if isinstance(exception, MethodNotAllowed):
            response.headers["Allow"] = ", ".join(exception.allow)
        return response
    if isinstance(exception, DisconnectError):
        return request.Response(400, text="The client is gone")  # Nobody will see it.
    if isinstance(exception, (CancelledError, GeneratorExit)):  # The handler was ended from outside.
        return request.Response(503, text="Service unavailable")
    complain("%s failed", request, exception)
    if request.app.debug:
        lines = "".join(traceback.format_exception(exception))
        return request.Response(500, text=lines.encode("utf-8", "backslashreplace").decode())
    return request.Response(500, text="Internal Server Error")


# -- Middleware ------------------------------------------------------------------------------

def compose(handler: Callable[..., Any],
            middleware: Iterable[Callable[..., Any]]) -> Callable[[Request], Any]:
    """``handler`` with ``middleware`` around it, the first of which is outermost.

    A middleware that is a coroutine function is given something that it can await, whatever it
    surrounds.  Any other is given what it surrounds as it is.
    """
    surrounded, asynchronous = handler, _is_coroutine_function(handler)
    for layer in reversed(list(middleware)):
        wants_awaitable = _is_coroutine_function(layer)
        if wants_awaitable and not asynchronous:
            surrounded = _awaitable(surrounded)
        surrounded = _layer(layer, surrounded)
        asynchronous = wants_awaitable
    return surrounded


def _layer(layer: Callable[..., Any], inner: Callable[..., Any]) -> Callable[[Request], Any]:
    return lambda request: layer(request, inner)


def _awaitable(handler: Callable[..., Any]) -> Callable[[Request], Awaitable[Any]]:
    async def awaited(request: Request) -> Any:
        answer = handler(request)
        return await answer if isinstance(answer, Awaitable) else answer

    return awaited


def _is_coroutine_function(function: Callable[..., Any]) -> bool:
    """Also for an object whose ``__call__`` is one."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None))  # noqa: B004 - not whether it can be called, but what is


# -- Routing ---------------------------------------------------------------------------------

class RoutingTable:
    """The routes of one moment, with all the middleware around their handlers.

    ``exact`` has the Target of each method of each path that a route without placeholders takes.
    Its keys come from patterns, so that no client can make it grow.
    """

    def __init__(self, placed: Iterable[Placed], middleware: Iterable[Callable[..., Any]],
                 content_bytes: int, outermost: Callable[..., Any] | None = None,
                 reserved: Iterable[ReservedRoute] = ()) -> None:
        placed, middleware = [*(Placed(route, ()) for route in reserved), *placed], list(middleware)
        wants_content = bool(middleware)
        if outermost is not None:
            middleware.insert(0, outermost)
        self._matcher = Matcher(route for route, _ in placed)
        self._targets = [
            Target(route.handler if isinstance(route, ReservedRoute)
                   else compose(route.handler, [*middleware, *inner]), None, route, route.stream,
                   content_bytes if route.content_bytes is None else route.content_bytes)
            for route, inner in placed]
        # Answered at the head, since nobody wants the content; unless middleware might.
        self._unrouted = Target(compose(self._answer_unrouted, middleware), None, None, not wants_content,
                                content_bytes)
        self.exact = {path: self._exact(path) for path in self._matcher.exact}

    def _exact(self, path: str) -> dict[str, Target]:
        candidates = self._matcher.find(path)
        chosen = {method: choose(candidates, method) for method in self._matcher.known}
        return {method: self._targets[candidate.order] for method, candidate in chosen.items()
                if candidate is not None and not candidate.values}

    def find(self, head: RequestHead) -> Target:
        """The Target of any head."""
        candidate = choose(self._matcher.find(head.path), head.method)
        if candidate is None:
            return self._unrouted
        target = self._targets[candidate.order]
        return Target(target.handler, candidate.match(head.path), target.route, target.stream,
                      target.content_bytes)

    def laid_out(self) -> list[tuple[frozenset[str], list[tuple[str, str]], list[tuple[Any, ...]], Target]]:
        """All routes in their order: the methods, the segments, the placeholders and the Target.

        A segment is a kind, ``literal`` or one of ``routing.KINDS``, and its text.  A placeholder is
        what ``routing.Value`` holds; what converts it is None where the text is the value.
        """
        return [(candidate.methods,
                 [("literal" if segment.name is None else segment.kind, segment.literal)
                  for segment in candidate.route.segments],
                 [(*value[:-1], None if value.convert is text else value.convert)
                  for value in candidate.values],
                 self._targets[candidate.order])
                for candidate in self._matcher.candidates]

    def _answer_unrouted(self, request: Request) -> Response:
        """What is answered where no route takes the path, or none of them the method."""
        method, path = request.head.method, request.head.path
        allowed = self._matcher.allowed(path)
        if method not in self._matcher.known or (method == "CONNECT" and not allowed):
            raise MethodNotImplemented
        if not allowed:
            raise RouteNotFoundException
        if method == "OPTIONS":
            return request.Response(204, headers={"Allow": ", ".join(sorted(allowed))})
        raise MethodNotAllowed(allowed)


# -- The application -------------------------------------------------------------------------

class Application(RouteDecorators):
    """Routes and all that goes with them; see the module.

    ``reaper_settings``   the times of 2017: ``{"check_interval": 10, "idle_timeout": 60}``
    ``log_request``       True, or a function called with each request that was answered
    ``protocol_factory``  called with the application; makes the asyncio protocol of a connection
    ``debug``             show tracebacks to clients
    ``limits``            how much a client may ask for
    ``timeouts``          how long a client may take
    ``request_id_header`` the field that ``request.id`` is taken from, and answered in
    """

    def __init__(self, *, reaper_settings: Mapping[str, float] | None = None,
                 log_request: bool | Callable[[Request], object] | None = None,
                 protocol_factory: Callable[..., Any] | None = None, debug: bool = False,
                 limits: Limits | None = None, timeouts: Timeouts | None = None,
                 request_id_header: str | None = None) -> None:
        self.debug = debug
        self.timeouts = _with_reaper_settings(_bounds(timeouts, Timeouts), reaper_settings or {})
        self.protocol_factory = protocol_factory and checked(protocol_factory, "protocol_factory", "app")
        if log_request is True:
            log_request = self.default_request_logger
        self.log_request: Callable[[Request], object] | None = (
            checked(log_request, "log_request", "request") if log_request else None)
        encoders.use()
        self.request_type: type[Request] = type("Request", (backend.active().request,), {
            "__module__": __name__, "parse_multipart": self._parse_multipart})
        self._limits = _bounds(limits, Limits)
        self._request_id_header = _field_name(request_id_header)
        self._router = Router()
        self._router.watch(self._forget)
        self._reserved: list[ReservedRoute] = []
        self._middleware: list[Callable[..., Any]] = []
        self._error_handlers: list[tuple[type[BaseException] | None, Callable[..., Any]]] = []
        self._startup: list[Callable[..., Any] | Application] = []
        self._shutdown: list[Callable[..., Any] | Application] = []
        self._loop: AbstractEventLoop | None = None
        self._watchers: list[Callable[[], object]] = []
        self._forget()

    _table: RoutingTable | None
    _exact: dict[str, dict[str, Target]]

    default_request_logger = staticmethod(default_request_logger)
    default_error_handler = staticmethod(default_error_handler)

    # -- setting up ---------------------------------------------------------------------------

    @property
    def router(self) -> Router:
        return self._router

    def add_route(self, pattern: str, handler: Callable[..., Any], method: str | None = None,
                  methods: Collection[str] | None = None, **options: Unpack[RouteOptions]) -> Route:
        return self._router.add_route(pattern, handler, method, methods, **options)

    def mount(self, prefix: str, inner: Router | Application) -> None:
        """Put the routes of a router or an application under a prefix, such as ``/api``."""
        if isinstance(inner, Router):
            self._router.mount(prefix, inner)
            return
        if not isinstance(inner, Application):
            raise TypeError(f"mount takes a Router or an Application, not {inner!r}; "
                            "app.route registers a handler")
        self._router.mount(prefix, inner.router, inner._middleware)
        self._startup.append(inner)
        self._shutdown.append(inner)

    @overload
    def middleware(self, function: Function) -> Function: ...

    @overload
    def middleware(self) -> Callable[[Function], Function]: ...

    def middleware(self, function: Any = _LATER) -> Any:
        """Register ``function(request, handler)`` to surround every request; also a decorator.

        It answers with what ``handler(request)`` returns, or with something else.  The one
        registered first is outermost.  An async function awaits ``handler(request)``; any other
        gets a Response, or an awaitable of one, and returns it.
        """
        if function is _LATER:
            return self.middleware
        self._middleware.append(checked(function, "middleware", "request", "handler"))
        self._router.changed()
        return function

    def add_error_handler(self, typ: type[BaseException] | None, handler: Callable[..., Any]) -> None:
        """Answer exceptions of a type (None: all) with ``handler(request, exception)``.

        The first that was registered for a matching type is taken.  It may be async.
        """
        try:
            issubclass(Exception, Exception if typ is None else typ)
        except TypeError:
            raise TypeError(f"an error handler is for a class of exceptions, such as RouteNotFoundException, "
                            f"or HTTPError for all that have a status; not for {typ!r}") from None
        self._error_handlers.append((typ, checked(handler, "an error handler", "request", "exception")))

    def extend_request(self, function: Callable[..., Any], *, name: str | None = None,
                       property: bool = False) -> None:  # noqa: A002 - the name of 2017
        """Give requests one more method, or a property, that calls ``function(request, ...)``."""
        name = name or getattr(function, "__name__", None)
        if name is None or name == "<lambda>":
            raise ValueError(f"{function!r} has no name of its own; give name=...")
        if not isinstance(name, str) or not name.isidentifier() or iskeyword(name):
            raise ValueError(f"an extension must have a name that can follow a dot, not {name!r}")
        if hasattr(Request, name):
            raise ValueError(f"a request has something called {name} already")
        extension: Any = function
        if not callable(function):
            raise TypeError(f"an extension must be a function, not {function!r}")
        if property:
            extension = _property(function)
        elif not isinstance(function, FunctionType):
            # Only functions become methods by themselves.
            extension = _property(lambda request: MethodType(function, request))
        setattr(self.request_type, name, extension)

    @overload
    def on_startup(self, function: Function) -> Function: ...

    @overload
    def on_startup(self) -> Callable[[Function], Function]: ...

    def on_startup(self, function: Any = _LATER) -> Any:
        """Call ``function(app)``, sync or async, on the loop of each worker before it serves."""
        if function is _LATER:
            return self.on_startup
        self._startup.append(checked(function, "a start-up hook", "app"))
        return function

    @overload
    def on_shutdown(self, function: Function) -> Function: ...

    @overload
    def on_shutdown(self) -> Callable[[Function], Function]: ...

    def on_shutdown(self, function: Any = _LATER) -> Any:
        """Call ``function(app)``, sync or async, after the last request; in reverse order."""
        if function is _LATER:
            return self.on_shutdown
        self._shutdown.append(checked(function, "a shutdown hook", "app"))
        return function

    @property
    def limits(self) -> Limits:
        return self._limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._limits = _bounds(limits, Limits)
        self._forget()

    @property
    def request_id_header(self) -> str | None:
        return self._request_id_header

    @request_id_header.setter
    def request_id_header(self, name: str | None) -> None:
        self._request_id_header = _field_name(name)
        self._forget()

    # -- serving ------------------------------------------------------------------------------

    @property
    def loop(self) -> AbstractEventLoop:
        """The loop of the worker; before there is one, a new loop that the worker will take."""
        from japronto.server import new_loop  # noqa: PLC0415 - needed by those alone that serve

        return self.loop_or(lambda: new_loop("auto"))

    @loop.setter
    def loop(self, loop: AbstractEventLoop | None) -> None:
        self._loop = loop
        for hook in self._startup:
            if isinstance(hook, Application):
                hook.loop = loop

    def loop_or(self, make: Callable[[], AbstractEventLoop]) -> AbstractEventLoop:
        """The loop to serve on: the one that set-up code has used already, or a new one."""
        if self._loop is None:
            self.loop = make()
        assert self._loop is not None
        return self._loop

    def run(self, host: str = "0.0.0.0", port: int = 8080, *,  # noqa: S104 - the default of 2017
            worker_num: int | None = None, reload: bool = False, debug: bool = False, **options: Any) -> None:
        """Serve until a signal says to stop, on host and port unless systemd passes sockets.

        ``options`` are those of ``ServerConfig`` and ``MasterConfig``: ``tls``, ``proxy_headers``, ``bind``,
        ``metrics_address``, ``max_requests``...  A wrong value ends the program with exit code 2, and an
        option that there is not raises TypeError.
        The variables JAPRONTO_BACKEND, JAPRONTO_SIMD and JAPRONTO_JSON count here, too; those behind other
        options of the command do not, since a program says by itself what it wants.

        With several workers, and with ``reload``, this process serves nobody.  It starts the program
        anew for each worker, which serves when it comes to this call, and ends behind it.
        """
        refuse_unknown(options)
        self.debug = self.debug or debug
        if self.debug and self.log_request is None:  # as in 2017
            self.log_request = self.default_request_logger
        # A debugger may hold a program that is being written for as long as it likes.
        bounds: dict[str, Any] = {"worker_timeout": None} if reload else {}
        bounds |= {name: options.pop(name) for name in MasterConfig.__slots__ if name in options}
        options = {"host": host, "port": port, "activation": True, "debug": self.debug, **options}
        try:
            workers = _workers(worker_num, reload)
            code = self._run(ServerConfig(**options), MasterConfig(workers=workers, reload=reload, **bounds))
        except (StartError, UsageError) as error:
            code = 2 if isinstance(error, UsageError) else 3
            if self.debug and error.__cause__ is not None:
                traceback.print_exception(error.__cause__)
            if MASTER is None:
                print(f"japronto: {error}", file=sys.stderr)  # noqa: T201 - for the one who called
            else:
                MASTER.failed(code, error)
        if code or MASTER is not None:
            raise SystemExit(code)

    def _run(self, config: ServerConfig, bounds: MasterConfig) -> int:
        if MASTER is None:
            _warn_of_variables(config)
        if MASTER is None and bounds != MasterConfig():
            from japronto.supervisor import supervise  # noqa: PLC0415

            return supervise(config, bounds)
        from japronto.server import serve  # noqa: PLC0415

        return serve(self, config, bounds)

    async def start_server(self, host: str = "127.0.0.1", port: int = 8080, *, uds: str | None = None,
                           **options: Any) -> Server:
        """Serve on the loop that runs already; ``options`` are those of ``ServerConfig``."""
        from japronto.server import start_server  # noqa: PLC0415

        return await start_server(self, ServerConfig(host=host, port=port, uds=uds, **options))

    async def startup(self) -> None:
        """Run the start-up hooks in order; the first that fails is the last to run."""
        for hook in _hooks(self, "_startup"):
            await _run(hook, self)

    async def shutdown(self) -> None:
        """Run the shutdown hooks in reverse order; one that fails is logged, and the next runs."""
        for hook in reversed(_hooks(self, "_shutdown")):
            try:
                await _run(hook, self)
            except Exception:
                log.exception("A shutdown hook failed")

    def target(self, head: RequestHead) -> Target:
        """Whom a request is for; see ``interfaces.Service``."""
        methods = self._exact.get(head.path)
        if methods is not None:
            target = methods.get(head.method)
            if target is not None:
                return target
        if self._table is None:
            self._made_table()
            return self.target(head)
        return self._table.find(head)

    def _forget(self) -> None:
        """Something changed that routing remembers."""
        self._table = None
        self._exact = {}
        for watcher in self._watchers:
            watcher()

    def reserve(self, handlers: Mapping[str, Callable[[Request], Response]]) -> None:
        """Let the server answer GET at these paths itself, ahead of all routes and outside of middleware."""
        self._reserved = [ReservedRoute(path, handler, ["GET"]) for path, handler in handlers.items()]
        self._forget()

    def watch(self, watcher: Callable[[], object]) -> Callable[[], None]:
        """Call ``watcher`` whenever something changes that routing goes by; what is returned ends that."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)

    def laid_out(self) -> list[tuple[frozenset[str], list[tuple[str, str]], list[tuple[Any, ...]], Target]]:
        """All routes in their order, for the fast lane; see ``RoutingTable.laid_out``."""
        return self._made_table().laid_out()

    def _made_table(self) -> RoutingTable:
        if self._table is None:
            outermost = None if self._request_id_header is None else self._answer_with_id
            self._table = RoutingTable(self._router.placed(), self._middleware, self._limits.content_bytes,
                                       outermost, self._reserved)
            self._exact = self._table.exact
        return self._table

    def failed(self, request: Request, error: BaseException) -> Response | Awaitable[Response]:
        """What to answer where handling a request raised ``error``; see ``interfaces.Service``."""
        if self._request_id_header is None:
            return self._failed(request, error)
        answer: Response | Awaitable[Response] = self._answer_with_id(
            request, lambda request: self._failed(request, error))
        return answer

    def _failed(self, request: Request, error: BaseException) -> Response | Awaitable[Response]:
        handler = next((handler for typ, handler in self._error_handlers
                        if typ is None or isinstance(error, typ)), self.default_error_handler)
        try:
            answer = handler(request, error)
        except KeyboardInterrupt:
            raise
        except BaseException as failure:
            return _error_handler_failed(request, error, failure)
        if isinstance(answer, Awaitable):
            return self._awaited(request, error, handler, answer)
        return _response(request, error, handler, answer)

    async def _awaited(self, request: Request, error: BaseException, handler: Callable[..., Any],
                       answer: Awaitable[Any]) -> Response:
        """The answer of an error handler that is async."""
        try:
            return _response(request, error, handler, await answer)
        except Exception as failure:
            return _error_handler_failed(request, error, failure)

    def request_id(self, request: Request) -> str:
        """The id that came with a request, where such are believed, or a new one."""
        if self._request_id_header is not None:
            given = request.headers.get(self._request_id_header)
            if given is not None and _REQUEST_ID(given):
                return given
        return uuid.uuid4().hex

    def _answer_with_id(self, request: Request, handler: Callable[[Request], Any]) -> Any:
        """Middleware that adds the id of the request to its answer."""
        answer = handler(request)
        if isinstance(answer, Awaitable):
            return self._awaited_with_id(request, answer)
        return self._with_id(request, answer)

    async def _awaited_with_id(self, request: Request, answer: Awaitable[Any]) -> Any:
        return self._with_id(request, await answer)

    def _with_id(self, request: Request, answer: Any) -> Any:
        """A copy of a response, since a handler may give one object to several requests."""
        if not isinstance(answer, Response) or self._request_id_header is None:
            return answer
        answer = copy.copy(answer)
        answer._headers = ResponseHeaders(answer.fields)
        answer.headers[self._request_id_header] = request.id
        return answer

    def _parse_multipart(self, content: bytes,
                         content_type: str) -> tuple[MultiDict[str], MultiDict[File]]:
        return parse_multipart(content, content_type, self._limits.form_fields)


def _response(request: Request, error: BaseException, handler: Callable[..., Any], answer: Any) -> Response:
    """What an error handler returned, if it is a response."""
    if isinstance(answer, Response):
        return answer
    failure = TypeError(f"the error handler {describe(handler)} must return a Response, not {answer!r}")
    return _error_handler_failed(request, error, failure)


def _error_handler_failed(request: Request, error: BaseException, failure: BaseException) -> Response:
    if failure is not error and failure.__context__ is None:
        failure.__context__ = error
    complain("%s: an error handler failed", request, failure)
    # An error handler that raised what it was given is in the traceback of its own argument, which
    # would be garbage only a collector can find.
    failure.__traceback__ = None
    return request.Response(500, text="Internal Server Error")


def _field_name(name: str | None) -> str | None:
    """The name of a field in which an id can stand; raises ResponseError, or ValueError for another."""
    if name is not None:
        ResponseHeaders([(name, "")])
        try:
            check_of_id_field(name)
        except ValueError as error:
            raise ValueError(f"request_id_header {error}; it is {name!r}") from None
    return name


def _with_reaper_settings(timeouts: Timeouts, settings: Mapping[str, float]) -> Timeouts:
    unknown = settings.keys() - REAPER_SETTINGS.keys()
    if unknown:
        raise ValueError(f"reaper_settings takes {' and '.join(REAPER_SETTINGS)}, "
                         f"not {', '.join(sorted(unknown))}")
    return dataclasses.replace(timeouts, **{REAPER_SETTINGS[name]: settings[name] for name in settings})


def _bounds(given: Bounds | None, kind: type[Bounds]) -> Bounds:
    """The bounds that were given, or the defaults."""
    if given is None:
        return kind()
    if not isinstance(given, kind):
        name = kind.__name__
        raise TypeError(f"{name.lower()} must be {name}(...) with the bounds by name, not {given!r}")
    return given


def _workers(worker_num: object, reload: bool) -> int:
    """How many, as ``run`` was told."""
    workers = worker_num or 1
    if type(workers) is not int or not 1 <= workers <= WORKERS_MAX:
        raise UsageError(f"worker_num must be a number from 1 to {WORKERS_MAX}; it is {worker_num!r}")
    if reload and workers > 1:
        raise UsageError("reload=True is for one worker; leave worker_num out")
    return workers


def _warn_of_variables(config: ServerConfig) -> None:
    """Say so where variables of the command were set for a program, which does not read them.

    One that gives ``tls`` may have read the password by itself.
    """
    if any(name.startswith(PREFIX) for name in os.environ):
        from japronto.cli import variables_of_the_command  # noqa: PLC0415 - no other program needs it

        names = variables_of_the_command(os.environ)
        if TLS_PASSWORD_VARIABLE in names and config.tls is not None:
            names.remove(TLS_PASSWORD_VARIABLE)
        if names:
            log.warning("app.run() does not read %s: give it keywords, or start the program by the command "
                        "japronto", " and ".join(names))


def _hooks(app: Application, kind: str) -> list[Callable[..., Any]]:
    """The hooks in order, each mounted application's at its place, and once."""
    seen: set[Application] = set()

    def walk(app: Application) -> Iterator[Callable[..., Any]]:
        for hook in getattr(app, kind):
            if not isinstance(hook, Application):
                yield hook
            elif hook not in seen:
                seen.add(hook)
                yield from walk(hook)

    return list(walk(app))


async def _run(hook: Callable[..., Any], app: Application) -> None:
    result = hook(app)
    if isinstance(result, Awaitable):
        await result
