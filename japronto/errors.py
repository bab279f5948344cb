"""The error tree: what can go wrong, and the status each error maps to.

Three kinds.  :class:`HTTPError` is raised while a request is handled and becomes an answer.
:class:`DisconnectError` tells a handler that the client is gone.  :class:`UsageError` and
:class:`StartError` tell the person at the command line what to mend.

What is wrong with the *octets* on the wire is not raised at all: it is a
:class:`japronto.messages.Violation`, the last event of a parser.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence


class JaprontoError(Exception):
    """The root of all errors that Japronto raises on purpose."""


class HTTPError(JaprontoError):
    """A request that is answered with an error status; ``str()`` is the text that is shown.

    The status is that of the class, unless one is given: ``HTTPError("I am a teapot", 418)``.
    """

    status = 500

    def __init__(self, text: str = "", status: int | None = None) -> None:
        super().__init__(text)
        if status is not None:
            if status not in range(400, 600):
                raise ValueError(f"the status of an error is a number from 400 to 599, not {status!r}")
            self.status = status


class BadRequest(HTTPError):
    """400: the request is well-formed HTTP, and still makes no sense (RFC 9110 s.15.5.1)."""

    status = 400


class MalformedContent(BadRequest):
    """400: the content is not what its Content-Type says."""


class MalformedJSON(MalformedContent, json.JSONDecodeError):
    """400: ``request.json`` was asked for, and the content is not JSON (RFC 8259)."""

    def __init__(self, message: str, document: str, position: int) -> None:
        json.JSONDecodeError.__init__(self, message, document, position)


class MalformedText(MalformedContent, UnicodeDecodeError):
    """400: ``request.text`` was asked for, and the content is not text in its charset."""

    def __init__(self, encoding: str, data: bytes, start: int, end: int, reason: str) -> None:
        UnicodeDecodeError.__init__(self, encoding, data, start, end, reason)


class RouteNotFoundException(HTTPError):
    """404: no route matches the path (RFC 9110 s.15.5.5).  The name is that of 2017."""

    status = 404


class MethodNotAllowed(RouteNotFoundException):
    """405: routes match the path, but none the method (RFC 9110 s.15.5.6).

    A RouteNotFoundException too, because in 2017 that was raised for both.
    ``allow`` is the value of the Allow field, sorted.
    """

    status = 405

    def __init__(self, allow: Iterable[str]) -> None:
        super().__init__()
        self.allow = tuple(sorted(allow))


class MethodNotImplemented(HTTPError):
    """501: no resource of this server knows the method (RFC 9110 s.15.6.2)."""

    status = 501


class ContentTooLarge(HTTPError):
    """413: the content is larger than the handler wants to take (RFC 9110 s.15.5.14)."""

    status = 413


class ResponseError(JaprontoError, ValueError):
    """A response that cannot be sent as it is: a programming error, raised where it is made."""


class DisconnectError(JaprontoError):
    """The client went away, or its content ended early: nothing of it is complete."""


class UsageError(JaprontoError):
    """A mistake in how Japronto was called; exit code 2."""


class StartError(JaprontoError):
    """The server could not start, for instance since the port is taken; exit code 3."""


class ProgramError(StartError):
    """The program's own code failed while it was loaded; the cause is its exception."""


def either(words: Sequence[str]) -> str:
    """What there is to choose from, in a sentence: ``a, b or c``."""
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def near(word: str, words: Iterable[str]) -> str:
    """The end of a sentence about a ``word`` that does not exist: what was meant, perhaps."""
    import difflib  # noqa: PLC0415 - where nothing is wrong, nobody needs it

    # Without the dashes of an option, which would make any two of them look alike.
    known = {other.lstrip("-").lower(): other for other in words}
    matches = difflib.get_close_matches(word.lstrip("-").lower(), known, n=1)
    return f"; did you mean {known[matches[0]]}?" if matches else ""
