"""Japronto: an HTTP/1.1 server and micro-framework.  These are the names that programs use."""

from typing import TYPE_CHECKING, Any

from japronto import backend
from japronto.app import Application, default_error_handler, default_request_logger
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
from japronto.routing import Router

if TYPE_CHECKING:
    from japronto.pure.response import Response

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
    "Timeouts",
    "__version__",
    "default_error_handler",
    "default_request_logger",
]


def __getattr__(name: str) -> Any:
    """``Response`` is that of the backend, which may be chosen after this module was imported."""
    if name == "Response":
        return backend.active().response
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
