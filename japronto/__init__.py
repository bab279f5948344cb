"""Japronto: an HTTP/1.1 server and micro-framework.  These are the names that programs use.

A name is imported when it is first asked for, since the master of several workers serves nobody and
should hold nothing of the server.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from japronto import backend as backend
    from japronto.app import Application, default_error_handler, default_request_logger
    from japronto.config import TLSConfig
    from japronto.errors import (
        BadRequest,
        ContentTooLarge,
        DisconnectError,
        HTTPError,
        MalformedContent,
        MalformedJSON,
        MalformedText,
        MethodNotAllowed,
        ResponseError,
        RouteNotFoundException,
    )
    from japronto.forms import File
    from japronto.limits import Limits, Timeouts
    from japronto.pure.request import Request
    from japronto.pure.response import Response
    from japronto.routing import Router

__version__ = "2.0.0a1"

__all__ = [
    "Application",
    "BadRequest",
    "ContentTooLarge",
    "DisconnectError",
    "File",
    "HTTPError",
    "Limits",
    "MalformedContent",
    "MalformedJSON",
    "MalformedText",
    "MethodNotAllowed",
    "Request",
    "Response",
    "ResponseError",
    "RouteNotFoundException",
    "Router",
    "TLSConfig",
    "Timeouts",
    "__version__",
    "default_error_handler",
    "default_request_logger",
]

_MODULES: Final = {
    "Application": "app", "default_error_handler": "app", "default_request_logger": "app",
    "File": "forms", "Limits": "limits", "Timeouts": "limits", "Request": "pure.request", "Router": "routing",
    "TLSConfig": "config",
}
"""Where the names are; those that are not here are errors."""


def __getattr__(name: str) -> Any:
    """A name of this package, on its first use.

    ``Response`` is that of the backend, which may be chosen after this module was imported.
    """
    if name == "backend":
        return import_module("japronto.backend")
    if name == "Response":
        return import_module("japronto.backend").active().response
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"japronto.{_MODULES.get(name, 'errors')}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "backend"})
