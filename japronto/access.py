"""The access log: what its lines say, and how what a client sent is kept from forging them.

The logger ``japronto.access`` of the standard library gets a record for each request that is over, whose
message is an ``Entry``.

A format is a name (``common``, ``combined``, ``timed``, ``json``) or a text with the atoms of gunicorn, which
are Apache's in another spelling: ``%(s)s`` is the status.  It is taken apart once, when the server is set up;
a fault in it is found then.

Whatever a client chose is escaped as Apache does it: ``\\"`` and ``\\\\``, and ``\\xhh`` for every octet
that is not printable ASCII.  So one request is one line, and what stands in quotes ends where they end.

Credentials do not get in: the fields that hold them cannot be asked for.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from japronto.config import ACCESS_FORMATS
from japronto.errors import UsageError
from japronto.logs import Output, log, opened, rfc3339
from japronto.pure.assembler import has_content
from japronto.pure.connection import REFUSED
from japronto.pure.request import Request

access_log = logging.getLogger("japronto.access")

SECRET_FIELDS: Final = frozenset(("authorization", "cookie", "proxy-authorization", "set-cookie"))
"""Fields that hold credentials; no log has their values."""

ENDED: Final = 499
"""In place of a status where no answer has left, since the connection ended before: nginx's number."""


class Entry:
    """One request that is over; ``str()`` of it is its line.

    ``request``  the request; nothing in it is to be changed
    ``status``   the status code of the answer, or ``ENDED``
    ``octets``   of content that were sent, a transfer coding not counted
    ``seconds``  from the first octet of the request to the last of the answer
    ``time``     when the first octet came, in seconds since the epoch
    ``line``     what makes the line
    """

    __slots__ = ("line", "octets", "request", "seconds", "status", "time")

    def __init__(self, request: Request, seconds: float, line: Line) -> None:
        self.request = request
        self.seconds = seconds
        self.time = time.time() - seconds
        self.status, self.octets = answered(request)
        self.line = line

    def __str__(self) -> str:
        return self.line(self)

    @property
    def method(self) -> str | None:
        """``None`` where the request line was not understood, as with ``target`` and ``version``."""
        request = self.request
        return request.method if request.destination is not REFUSED else _refusal(request).method

    @property
    def target(self) -> str | None:
        """The request-target as received, in ASCII."""
        request = self.request
        if request.destination is not REFUSED:
            return request.target
        target = _refusal(request).target
        return None if target is None else target.decode("ascii")

    @property
    def version(self) -> str | None:
        """``1.1`` or ``1.0``."""
        request = self.request
        if request.destination is not REFUSED:
            return request.version
        refusal = _refusal(request)
        return None if refusal.target is None else f"1.{refusal.minor}"

    def field(self, name: str) -> str | None:
        """The value of a field of the request."""
        return self.request.headers.get(name)

    def answer_field(self, name: str) -> str | None:
        """The value of a field of the answer that the handler has set, or its content implies."""
        response = self.request.response
        if response is None or self.status == ENDED:
            return None
        if name in response.headers:
            return response.headers[name]
        if name == "content-type":
            return None if response.content_type is None else response.content_type.decode("latin-1")
        return str(self.octets) if name == "content-length" and not self.request.streams else None


Line: TypeAlias = Callable[[Entry], str]


def _refusal(request: Request) -> Any:
    assert request.refusal is not None
    return request.refusal


def answered(request: Request) -> tuple[int, int]:
    """The status of what has left, and how many octets of content."""
    response, connection = request.response, request.connection
    if response is None or (request.is_disconnected and connection.streaming is not request):
        return ENDED, 0
    if request.streams:
        return response.code, connection.sent
    return response.code, len(response.body) if has_content(request, response) else 0


# -- Escaping --------------------------------------------------------------------------------

_UNSAFE = re.compile(r'[^ !#-\[\]-~]')


def escaped(text: str) -> str:
    """Text from a client, as it may stand in a line, also in quotes."""
    return _UNSAFE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    if character in '"\\':
        return "\\" + character
    octets = character.encode("latin-1" if character < "\u0100" else "utf-8")
    return "".join(f"\\x{octet:02x}" for octet in octets)


def _or_dash(text: str | None) -> str:
    return escaped(text) if text else "-"


# -- Times -----------------------------------------------------------------------------------

_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@functools.lru_cache(maxsize=16)
def _local_time(second: int) -> str:
    """As in Apache's logs, in local time, whatever the locale."""
    moment = time.localtime(second)
    sign, minutes = "-" if moment.tm_gmtoff < 0 else "+", abs(moment.tm_gmtoff) // 60
    return (f"[{moment.tm_mday:02}/{_MONTHS[moment.tm_mon - 1]}/{moment.tm_year:04}:{moment.tm_hour:02}:"
            f"{moment.tm_min:02}:{moment.tm_sec:02} {sign}{minutes // 60:02}{minutes % 60:02}]")


# -- Atoms -----------------------------------------------------------------------------------

def _path(target: str | None) -> str | None:
    return None if target is None else target.partition("?")[0]


def _request_line(entry: Entry, query: bool) -> str:
    """What is known of it."""
    target = entry.target if query else _path(entry.target)
    words = (entry.method, target, None if entry.version is None else f"HTTP/{entry.version}")
    return _or_dash(" ".join(word for word in words if word is not None))


def _query(entry: Entry) -> str:
    return escaped((entry.target or "").partition("?")[2])


ATOMS: Final[dict[str, Line]] = {
    "h": lambda entry: _or_dash(entry.request.remote_addr),
    "l": lambda entry: "-",
    "u": lambda entry: "-",
    "t": lambda entry: _local_time(int(entry.time)),
    "r": lambda entry: _request_line(entry, True),
    "m": lambda entry: _or_dash(entry.method),
    "U": lambda entry: _or_dash(_path(entry.target)),
    "q": _query,
    "H": lambda entry: "-" if entry.version is None else f"HTTP/{entry.version}",
    "s": lambda entry: str(entry.status),
    "B": lambda entry: str(entry.octets),
    "b": lambda entry: str(entry.octets or "-"),
    "f": lambda entry: _or_dash(entry.field("referer")),
    "a": lambda entry: _or_dash(entry.field("user-agent")),
    "T": lambda entry: str(int(entry.seconds)),
    "M": lambda entry: str(int(entry.seconds * 1e3)),
    "D": lambda entry: str(int(entry.seconds * 1e6)),
    "L": lambda entry: f"{entry.seconds:.6f}",
    "p": lambda entry: f"<{os.getpid()}>",
    "id": lambda entry: escaped(entry.request.id),
    "fault": lambda entry: "-" if entry.request.refusal is None else entry.request.refusal.reason,
}
"""What each atom stands for.  ``l`` and ``u`` are who the client says to be, which nobody has verified."""

WITHOUT_QUERY: Final[dict[str, Line]] = {
    "r": lambda entry: _request_line(entry, False),
    "q": lambda entry: "",
    "f": lambda entry: _or_dash(_path(entry.field("referer"))),
}
"""In place of those, where queries are left out."""


def _json(entry: Entry, query: bool) -> str:
    request = entry.request
    target, referer = entry.target, entry.field("referer")
    values = {
        "time": rfc3339(entry.time), "remote": request.remote_addr, "method": entry.method,
        "target": target if query else _path(target), "version": entry.version, "status": entry.status,
        "bytes": entry.octets, "duration": round(entry.seconds, 6), "request_id": request.id,
        "user_agent": entry.field("user-agent"), "referer": referer if query else _path(referer)}
    if request.refusal is not None:
        values["fault"] = request.refusal.reason
    return json.dumps(values)


# -- Formats ---------------------------------------------------------------------------------

COMMON: Final = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s'
COMBINED: Final = COMMON + ' "%(f)s" "%(a)s"'
FORMATS: Final = {"common": COMMON, "combined": COMBINED, "timed": COMBINED + " %(L)s"}
"""Those that have a name, besides ``json``."""

_ATOM = re.compile(r"%%|%\((?:(\w+)|\{([^{}]+)\}(\w))\)s|%(\(.*?\)\w?|.?)")


def line_of(text: str, query: bool = True) -> Line:
    """What makes the lines of a format; ``query`` is whether they may have the query of a target.

    Raises ValueError, with what a format must be, for a text that is none.
    """
    if text == "json":
        return lambda entry: _json(entry, query)
    text = FORMATS.get(text, text)
    atoms = ATOMS if query else ATOMS | WITHOUT_QUERY
    makers = [_maker(match, atoms) for match in _ATOM.finditer(text) if match[0] != "%%"]
    if not makers:
        raise ValueError(f"must be {', '.join(ACCESS_FORMATS)} or a text with atoms, such as %(h)s")
    template = _ATOM.sub(lambda match: "%%" if match[0] == "%%" else "%s", text)
    return lambda entry: template % tuple([make(entry) for make in makers])


def _maker(match: re.Match[str], atoms: dict[str, Line]) -> Line:
    name, field, kind, fault = match.groups()
    if name in atoms:
        return atoms[name]
    if fault is not None:
        hint = f"{match[0]} is %({fault})s here" if fault in atoms else "a per cent sign is %%"
        raise ValueError(f"must have atoms like %(h)s, and {hint}")
    if name is not None or kind not in ("i", "o"):
        raise ValueError(f"has {match[0]}, which is no atom; they are %({')s %('.join(ATOMS)})s, "
                         "%({field}i)s and %({field}o)s")
    field = field.lower()
    if field in SECRET_FIELDS:
        raise ValueError(f"has {match[0]}, but {field} holds credentials, which belong in no log; "
                         "leave it out")
    if kind == "i":
        return lambda entry: _or_dash(entry.field(field))
    return lambda entry: _or_dash(entry.answer_field(field))


# -- The access log --------------------------------------------------------------------------

class AccessLog:
    """Gives ``japronto.access`` a record for each request that is over.

    ``format``  see ``access.line_of``
    ``path``    a file, or ``-`` for standard output; None for that, unless the logger has handlers of the
                program's own
    ``query``   whether lines may have the query of a target

    Raises UsageError or StartError where these will not do.
    """

    def __init__(self, format: str, path: str | None = None, query: bool = True) -> None:  # noqa: A002
        try:
            self._line: Line = line_of(format, query)
        except ValueError as error:
            raise UsageError(f"the format of the access log {error}") from None
        self._output: Output | None = None
        if path is not None or all(isinstance(handler, Output) for handler in access_log.handlers):
            self._output = opened("access log", path or "-", sys.__stdout__, log.error)
            self._output.addFilter(self._is_ours)
            access_log.addHandler(self._output)
            access_log.propagate = False  # The lines are where they belong.
        if access_log.level == logging.NOTSET:
            access_log.setLevel(logging.INFO)

    def _is_ours(self, record: logging.LogRecord) -> bool:
        """Whether a record is not of another server in this process, which has a log of its own."""
        return not isinstance(record.msg, Entry) or record.msg.line is self._line

    def add(self, request: Request, seconds: float) -> None:
        """A request is over, ``seconds`` after its first octet came; raises nothing."""
        try:
            access_log.info(Entry(request, seconds, self._line))
        except Exception:  # of a filter, or a handler of the program's own
            log.exception("A line of the access log failed")

    def close(self) -> None:
        """Can be called again."""
        if self._output is not None:
            access_log.removeHandler(self._output)
            access_log.propagate = not access_log.handlers
            self._output.close()
