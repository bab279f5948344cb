r"""The format of the case files, and how they are read.

A ``.case`` file is a document to read from top to bottom.  ``# `` heads the file, ``## A2. `` a rule
of RFC 9110 or RFC 9112, ``### `` a case, and lines that begin with a letter are prose.  In a case,
the sign at the start of a line says what the rest of it is:

``> ``  octets that the client sends; one line of text for a line on the wire
``! ``  what else happens at this place
``= ``  an event that a parser of the octets must report
``< ``  octets that must have left at this place; ``<`` alone: nothing must have left
``~ ``  an answer that must have left at this place, described instead of written out
``* ``  what a handler must have noted down in the end
``? ``  a value for ``\?``: the case stands for as many cases as it has values
``@ ``  how the case is run

**Octets.**  A line is exactly the octets that it shows, without an end of line of its own.  No line
ends in a space, and all characters are printable, so that nothing is invisible:

``\r`` ``\n`` ``\t`` ``\\`` ``\"``  CR, LF, HTAB, a backslash, a quote
``\xHH``       the octet HH; a space at the end of a line is ``\x20``
``\{text*N}``  ``text``, N times
``\/``         an encoded slash, in a decoded path
``\!``         no octet; by now the violation must have been reported (in ``> `` only)

**Events** are written as ``parsing.py`` tells them, with what is not written having the value in
brackets.  ``field`` and ``expects`` may be left out; a case that has one ``field`` has all of them.

``head METHOD TARGET [path="..."] [minor=0] [length=N|chunked] [close] [expect-continue] [upgrade]``
    A request line and header section.  (The target up to "?", HTTP/1.1, no content, persistent.)
``field Name: value``    A field of the head above.
``body "octets"``        Content.  How it is cut into pieces means nothing.
``end``                  The end of a message that has content.
``trailer Name: value``  A trailer field of the message that ended.
``violation STATUS``     What comes now is not HTTP, and is to be answered so.
``rest "octets"``        A handler takes the Upgrade, and these belong to the next protocol.  (None does.)
``expects NAME``         What the next octet would belong to: one of ``japronto.messages.Expects``.

**Answers**: ``~ STATUS [close] [until-close] [cut] [bare] [Name="value"] [Name=absent] [content="..."]``.
``close``: it says so, and the connection ends behind it.  ``until-close``: that end is the end of
its content, too.  ``cut``: the connection ends before its content does.  ``bare``: it answers HEAD.
These four are as they are written; of fields and content, those that are not written may be anything.
``~ open|paused|lingering|switched|closed`` is the state of the connection, for where the answers do
not tell: ``paused`` when nothing is read, ``lingering`` when nothing is answered any more.

**What else happens**: ``! eof`` (the client half-closes), ``! reset`` (it is gone), ``! go NAME`` (the
handlers that wait for NAME may go on), ``! deaf`` and ``! hears`` (the client stops taking what it
is sent, and takes it again), ``! drain`` (the server is told to stop), ``! retire`` (it is to be
replaced), ``! time-out`` (nothing has come for too long, which counts when it is the client who has to
send something).

**How it is run**: ``@ also A1 B2`` (further rules that it shows), ``@ limits name=N ...`` (fields of
``japronto.limits.Limits``), ``@ uncut`` (what leaves hangs on how the octets were cut, as it may
where an answer does not wait for content; each run of ``> `` lines is one read).  All other cases
are run whole, cut in two at every place, and octet by octet.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeAlias

from japronto.limits import Limits
from japronto.messages import ENCODED_SLASH

HERE = Path(__file__).parent


class FormatError(Exception):
    """A case file that is not in the format above."""


# -- Octets ------------------------------------------------------------------------------------

_REPEATED = re.compile(r"(?<!\\)\\\{((?:[^{}\\]|\\[^{])+)\*([0-9]+)\}")
_ESCAPE = re.compile(rb"\\(?:x([0-9a-f]{2})|(.?))")
_ESCAPED = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"\\": b"\\", b'"': b'"',
            b"/": ENCODED_SLASH.encode("utf-8", "surrogatepass")}


def octets(text: str) -> bytes:
    """The octets that ``text`` shows."""
    if not text.isprintable():
        raise FormatError(f"a character that is not printable: {text!r}")
    while _REPEATED.search(text):
        text = _REPEATED.sub(lambda found: found[1] * int(found[2]), text)
    return _ESCAPE.sub(_unescaped, text.encode())


def _unescaped(escape: re.Match[bytes]) -> bytes:
    if escape[1]:
        return bytes.fromhex(escape[1].decode())
    if escape[2] not in _ESCAPED:
        raise FormatError(f"no such escape: {escape[0]!r}")
    return _ESCAPED[escape[2]]


# -- Cases -------------------------------------------------------------------------------------

Words: TypeAlias = dict[str, bytes | None]
"""A described answer: flags have an empty value, ``absent`` is None; "" is the status or a state."""

_WORD = re.compile(r' (?:([a-z-]+)|([A-Za-z-]+)=(?:(absent)|"((?:[^"\\]|\\.)*)"))(?= |$)')


def words(text: str) -> Words:
    """What stands behind ``~ ``."""
    first, space, rest = text.partition(" ")
    found: Words = {"": first.encode()}
    at, rest = 0, space + rest
    while at < len(rest):
        word = _WORD.match(rest, at)
        if word is None:
            raise FormatError(f"not a word that describes an answer: {rest[at:]}")
        flag, name, absent, value = word.groups()
        found[flag or name] = b"" if flag else None if absent else octets(value)
        at = word.end()
    return found


class Act(NamedTuple):
    """Some things happen, and then this must have left."""

    happens: list[tuple[str, bytes]]
    """The signs and octets of ``> `` and ``! `` lines; adjacent ``> `` lines are one."""
    leaves: list[bytes | Words]


class Case(NamedTuple):
    """One case, its place-holder filled in."""

    where: str
    name: str
    rules: list[str]
    acts: list[Act]
    events: list[bytes]
    notes: list[bytes]
    limits: Limits
    uncut: bool
    mark: int | None
    """How many octets show the violation."""

    @property
    def sent(self) -> bytes:
        """All that the client sends."""
        return b"".join(text for act in self.acts for sign, text in act.happens if sign == ">")

    @property
    def eof(self) -> bool:
        return any(("!", b"eof") in act.happens for act in self.acts)

    @property
    def on_wire(self) -> bool:
        """Whether the case says what must leave."""
        return any(act.leaves for act in self.acts)

    @property
    def id(self) -> str:
        """For the report of pytest, which gives some characters a meaning."""
        return re.sub(r"[^ -~]|[\[\]]|::+", "_", f"{self.where} {self.rules[0]} {self.name}")[:120]


Lines: TypeAlias = "list[tuple[str, str]]"


def _case(where: str, rule: str, name: str, lines: Lines) -> Case:
    case = Case(where, name, [rule], [Act([], [])], [], [], Limits(), "@ uncut" in map(" ".join, lines), None)
    for sign, text in lines:
        if sign in ">!":
            if case.acts[-1].leaves:
                case.acts.append(Act([], []))
            happens = case.acts[-1].happens
            before, mark, after = text.partition(r"\!")
            if mark:
                case = case._replace(mark=len(case.sent + octets(before)))
            ahead = happens.pop()[1] if sign == ">" and happens and happens[-1][0] == ">" else b""
            happens.append((sign, ahead + octets(before) + octets(after)))
        elif sign in "<~":
            case.acts[-1].leaves.append(octets(text) if sign == "<" else words(text))
        elif sign in "=*":
            (case.events if sign == "=" else case.notes).append(octets(text))
        elif text.startswith("also "):
            case.rules.extend(text.split()[1:])
        elif text.startswith("limits "):
            bounds = (bound.split("=") for bound in text.split()[1:])
            case = case._replace(limits=Limits(**{bound: int(value) for bound, value in bounds}))
        elif text != "uncut":
            raise FormatError(f"no such way to run a case: {text}")
    if not case.sent or not (case.events or case.on_wire):
        raise FormatError("nothing is sent, or nothing is expected")
    if case.mark is not None and not any(event.startswith(b"violation ") for event in case.events):
        raise FormatError("a mark says when a violation is due, and there is none")
    return case


def _cases(where: str, rule: str, name: str, lines: Lines) -> Iterator[Case]:
    """One case, or one for each value of its place-holder."""
    values = [text for sign, text in lines if sign == "?"]
    template = [(sign, text) for sign, text in lines if sign != "?"]
    try:
        if any(r"\?" in text for _, text in template) is not bool(values):
            raise FormatError("values without a place-holder, or a place-holder without values")
        if not values:
            yield _case(where, rule, name, template)
        for value in values:
            filled = [(sign, text.replace(r"\?", value)) for sign, text in template]
            yield _case(where, rule, f"{name}: {value}", filled)
    except (FormatError, ValueError, TypeError) as error:
        raise FormatError(f"{where} ({name}): {error}") from error


# -- Documents -----------------------------------------------------------------------------------

_LINE = re.compile(r"(#{1,3}|[>!=<~*?@])(?: (.*))?|(?:[A-Za-z].*)?")
_RULE = re.compile(r"([A-N][0-9]+)\. \S")


def read(document: str, source: str) -> Iterator[Case]:
    """All cases of a document."""
    rule = where = name = ""
    lines: Lines = []
    for number, line in enumerate([*document.split("\n"), "#"], 1):
        found = _LINE.fullmatch(line)
        if found is None or line != line.rstrip():
            raise FormatError(f"{source}:{number}: what is this line?")
        sign, text = found[1] or "", found[2] or ""
        if sign.startswith("#"):
            if name:
                yield from _cases(where, rule, name, lines)
            where, name, lines = f"{source}:{number}", text if sign == "###" else "", []
        if sign == "##":
            heads_rule = _RULE.match(text)
            if heads_rule is None:
                raise FormatError(f"{where}: a rule has a letter, a number and a sentence")
            rule = heads_rule[1]
        elif sign and not sign.startswith("#"):
            if not (rule and name):
                raise FormatError(f"{source}:{number}: a line of no case")
            lines.append((sign, text))


@cache
def all_cases() -> list[Case]:
    """All cases of all files."""
    return [case for path in sorted(HERE.glob("*.case"))
            for case in read(path.read_text(encoding="utf-8"), path.name)]


# -- How octets are cut ----------------------------------------------------------------------------

Places: TypeAlias = Sequence[int]


def ways_to_cut(count: int) -> Iterator[Places]:
    """Where ``count`` octets are cut: in two at every place (of many octets, at up to 1000 of them),
    then at all places at once."""
    yield from ([place] for place in range(1, count, 1 + count // 1000))
    yield range(1, count)


def cut(sent: bytes, places: Places) -> list[bytes]:
    """``sent`` cut at ``places``."""
    return [sent[begin:end] for begin, end in zip([0, *places], [*places, len(sent)], strict=True)]
