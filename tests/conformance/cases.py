"""The format of the case files, and how they are read.

A ``.case`` file is a document to read from top to bottom.  ``# `` heads the file, ``## A2. `` a rule
of the checklist, ``### `` a case.  Lines that start with a letter are prose.  In a case, the first
character of a line says what the rest of it is:

``> ``  octets that the client sends, one line of text for a line on the wire
``= ``  an event that a parser of these octets must report
``< ``  octets that the server must send: all of them, each as it stands (see below for Date)
``~ ``  an answer that the server must send, described instead of written out
``? ``  a value for ``\\?``: the case stands for as many cases as it has values
``@ ``  how the case is run

Octets.  A line adds exactly what is written, and no line end of its own.  A backslash starts an
escape; all others are printable ASCII, and no line ends in a space, so that nothing is invisible:

``\\r`` ``\\n`` ``\\t`` ``\\\\``  CR, LF, HTAB, a backslash
``\\xHH``         the octet HH; a space at the end of a line is ``\\x20``
``\\{text*N}``    ``text`` N times
``\\!``           nothing is sent here; by now the violation must have been reported (in ``> `` only)
``\\*``           any octets but CR and LF (in ``< `` only)

A Date field in ``< `` shows the instant of RFC 9110 s.5.6.7, Sun, 06 Nov 1994 08:49:37 GMT; any
other in the same form is as good.

Events, with what is not written having the value in brackets:

``head METHOD TARGET [path="..."] [minor=0] [length=N|chunked] [close] [expect-continue] [upgrade]``
    A request line and header section.  (HTTP/1.1, no content, persistent.)  ``path`` is the decoded
    path, ``\\/`` in it an encoded slash; needed where the target is not the path as it stands.
``field Name: value``    A field of the head above; where one is written, all must be.
``body "octets"``        Content.  How it is cut into pieces means nothing.
``end``                  The end of a message that has content.
``trailer Name: value``  A trailer field of the message that ended.
``violation STATUS``     The octets are not HTTP from here on, and are to be answered so.  ``400|505``
                         leaves a choice.
``rest "octets"``        With ``@ detach``: octets that belong to the next protocol.
``expects NAME``         What the next octet would belong to: one of ``japronto.messages.Expects``.

Answers: ``~ STATUS [close] [until-close] [bare] [Name="value"] [Name=absent] [content="..."]``.
``close``: it says ``Connection: close``, and the server ends the connection behind it; where it is
not written, the answer does not say so.  ``until-close``: the end of the connection ends its
content.  ``bare``: it answers HEAD, and nothing follows its header section.

How it is run: ``@ also A1 B2`` (rules that it shows besides the one it stands under),
``@ limits name=N ...`` (fields of ``japronto.limits.Limits``), ``@ eof`` (the client half-closes
behind the last octet), ``@ detach`` (a handler takes the Upgrade; else it is left alone),
``@ uncut`` (what leaves depends on how the octets were cut, as it may with 100-continue).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from japronto.limits import Limits
from japronto.messages import CHUNKED, ENCODED_SLASH, Expects

HERE = Path(__file__).parent
Fields: TypeAlias = "tuple[tuple[bytes, bytes], ...]"


class Head(NamedTuple):
    method: str
    target: bytes
    path: str
    query: str | None
    minor: int = 1
    length: int | None = None
    persistent: bool = True
    expect_continue: bool = False
    upgrade: bool = False
    fields: Fields | None = None
    """Names and values without the white space around them; ``None`` when a case does not say."""


class Content(NamedTuple):
    octets: bytes


class End(NamedTuple):
    trailers: Fields = ()


class Refused(NamedTuple):
    statuses: frozenset[int]


class Rest(NamedTuple):
    octets: bytes


Event: TypeAlias = Head | Content | End | Refused | Rest


class Octets(NamedTuple):
    """What leaves as it stands; anything but CR and LF may stand between two parts."""

    parts: tuple[bytes, ...]


class Answer(NamedTuple):
    """An answer that is described; ``content`` is ``None`` when the case does not say."""

    status: int
    close: bool
    until_close: bool
    bare: bool
    fields: tuple[tuple[str, bytes | None], ...]
    content: bytes | None


class Sent(NamedTuple):
    """Octets of the client."""

    octets: bytes


Step: TypeAlias = Sent | Octets | Answer


@dataclass(frozen=True, slots=True)
class Case:
    """One case, read and expanded."""

    where: str
    name: str
    rules: tuple[str, ...]
    steps: tuple[Step, ...]
    events: tuple[Event, ...]
    expects: Expects | None
    mark: int | None
    limits: Limits
    options: frozenset[str] = field(default_factory=frozenset)

    def __str__(self) -> str:
        return f"{self.rules[0]} {self.name}"

    @property
    def octets(self) -> bytes:
        """All that the client sends."""
        return b"".join(step.octets for step in self.steps if isinstance(step, Sent))

    @property
    def eof(self) -> bool:
        return "eof" in self.options

    @property
    def detaches(self) -> bool:
        """Whether a handler takes the Upgrade."""
        return "detach" in self.options

    @property
    def on_wire(self) -> bool:
        """Whether the case says what must leave."""
        return not all(isinstance(step, Sent) for step in self.steps)


class FormatError(Exception):
    """A case file that is not in the format above."""


ESCAPE = re.compile(r'\\(?:([rnt\\"])|x([0-9a-f]{2})|\{((?:[^}\\]|\\.)+)\*([0-9]+)\})|([^ -~]|\\)')
PLAIN = {"r": b"\r", "n": b"\n", "t": b"\t", "\\": b"\\", '"': b'"'}


def octets(text: str) -> bytes:
    """The octets that ``text`` stands for."""
    parts, position = [], 0
    for matched in ESCAPE.finditer(text):
        letter, hexadecimal, repeated, count, wrong = matched.groups()
        if wrong:
            raise FormatError(f"neither printable ASCII nor an escape: {text!r}")
        parts.append(text[position:matched.start()].encode())
        if letter:
            parts.append(PLAIN[letter])
        elif hexadecimal:
            parts.append(bytes.fromhex(hexadecimal))
        else:
            parts.append(octets(repeated) * int(count))
        position = matched.end()
    return b"".join((*parts, text[position:].encode()))


def decoded(text: str) -> str:
    """The decoded path that ``text`` stands for: text as it reads, and ``\\/`` for an encoded slash."""
    escaped = re.sub(r"[^ -~]+", lambda matched: "".join(f"\\x{octet:02x}" for octet in matched[0].encode()), text)
    return ENCODED_SLASH.join(octets(part).decode() for part in escaped.split("\\/"))


def quoted(text: str) -> bytes:
    """``"octets"``."""
    if len(text) < 2 or not text.startswith('"') or not text.endswith('"'):
        raise FormatError(f"not in quotes: {text!r}")
    return octets(text[1:-1])


def pair(text: str) -> tuple[bytes, bytes]:
    """``Name: value`` of a field or trailer."""
    name, colon, value = text.partition(":")
    if not colon or (value and not value.startswith(" ")):
        raise FormatError(f"not 'Name: value': {text!r}")
    return octets(name), octets(value[1:])


WORD = re.compile(r' (?:([A-Za-z-]+)=)?"((?:[^"\\]|\\.)*)"(?= |$)| (\S+)')


def words(text: str) -> Iterator[tuple[str, str | None]]:
    """The words of a line, each behind a space: ``name=value``, ``name="value"`` or ``name``."""
    position = 0
    while position < len(text):
        matched = WORD.match(text, position)
        if matched is None:
            raise FormatError(f"words stand apart by one space: {text!r}")
        position = matched.end()
        if matched[3] is None:
            yield matched[1] or "", matched[2]
        else:
            name, equals, value = matched[3].partition("=")
            yield name, value if equals else None


HEAD_WORDS: dict[tuple[str, str | None], tuple[str, int | bool]] = {
    ("minor", "0"): ("minor", 0),
    ("length", "chunked"): ("length", CHUNKED),
    ("close", None): ("persistent", False),
    ("expect-continue", None): ("expect_continue", True),
    ("upgrade", None): ("upgrade", True),
}


def head(text: str) -> Head:
    """What follows ``head``."""
    method, space, rest = text.partition(" ")
    target_text, space, rest = rest.partition(" ")
    target = octets(target_text)
    before, question, after = target.partition(b"?")
    told: dict[str, Any] = {"query": after.decode() if question else None}
    if before.startswith(b"/") and b"%" not in before:
        told["path"] = before.decode()
    for word in words(space + rest):
        name, value = word
        if name == "path" and value is not None:
            told[name] = decoded(value)
        elif name == "length" and value is not None and value.isdecimal():
            told[name] = int(value)
        elif word in HEAD_WORDS:
            attribute, told_value = HEAD_WORDS[word]
            told[attribute] = told_value
        else:
            raise FormatError(f"unknown word {name!r}")
    if "path" not in told:
        raise FormatError("the decoded path must be told")
    return Head(method, target, **told)


def answer(text: str) -> Answer:
    """What follows ``~``."""
    status, space, rest = text.partition(" ")
    flags: set[str] = set()
    fields: list[tuple[str, bytes | None]] = []
    content = None
    for name, value in words(space + rest):
        if value is None and name in ("close", "until-close", "bare"):
            flags.add(name)
        elif value is not None and name == "content":
            content = octets(value)
        elif value is not None and name[:1].isupper():
            fields.append((name, None if value == "absent" else octets(value)))
        else:
            raise FormatError(f"unknown word {name!r}")
    return Answer(int(status), "close" in flags, "until-close" in flags, "bare" in flags, tuple(fields), content)


class Draft:
    """A case, as its lines are read one by one."""

    def __init__(self, rule: str) -> None:
        self.rules = [rule]
        self.steps: list[Step] = []
        self.events: list[Event] = []
        self.expects: Expects | None = None
        self.limits: dict[str, int] = {}
        self.options: set[str] = set()
        self.sent = 0
        self.mark: int | None = None

    def add(self, sigil: str, text: str) -> None:
        match sigil:
            case ">":
                self._sends(text)
            case "<":
                self._leaves(tuple(octets(part) for part in text.split("\\*")))
            case "~":
                self.steps.append(answer(text))
            case "=":
                self._event(*text.partition(" ")[::2])
            case "@":
                self._way(text.split(" "))

    def _sends(self, text: str) -> None:
        before, mark, after = text.partition("\\!")
        if mark:
            self.mark = self.sent + len(octets(before))
        self.steps.append(Sent(octets(before) + octets(after)))
        self.sent += len(self.steps[-1].octets)

    def _event(self, word: str, rest: str) -> None:
        match word, self.events[-1:]:
            case "head", _:
                self.events.append(head(rest))
            case "body", _:
                self.events.append(Content(quoted(rest)))
            case "end", _:
                self.events.append(End())
            case "violation", _:
                self.events.append(Refused(frozenset(map(int, rest.split("|")))))
            case "rest", _:
                self.events.append(Rest(quoted(rest)))
            case "expects", _:
                self.expects = Expects[rest]
            case "field", [Head() as above]:
                self.events[-1] = above._replace(fields=(*(above.fields or ()), pair(rest)))
            case "trailer", [End() as above]:
                self.events[-1] = End((*above.trailers, pair(rest)))
            case _:
                raise FormatError(f"no such event here: {word!r}")

    def _way(self, words: list[str]) -> None:
        match words:
            case ["also", *rules] if rules:
                self.rules += rules
            case ["limits", *bounds] if bounds:
                for bound in bounds:
                    name, _, value = bound.partition("=")
                    self.limits[name] = int(value)
            case ["eof" | "detach" | "uncut" as option]:
                self.options.add(option)
            case _:
                raise FormatError(f"no such way to run a case: {words}")

    def finished(self, where: str, name: str) -> Case:
        case = Case(where, name, tuple(self.rules), tuple(self.steps), tuple(self.events), self.expects,
                    self.mark, Limits(**self.limits), frozenset(self.options))
        if not case.octets:
            raise FormatError("nothing is sent")
        if not (case.events or case.expects or case.on_wire):
            raise FormatError("nothing is expected")
        if case.mark is not None and not (case.events and isinstance(case.events[-1], Refused)):
            raise FormatError("a mark says when a violation is due, and there is none")
        return case


class Lines(NamedTuple):
    """A case as it is written."""

    where: str
    rule: str
    name: str
    lines: list[tuple[str, str]]

    def cases(self) -> Iterator[Case]:
        """One case, or one for each ``? `` line."""
        values = [text for sigil, text in self.lines if sigil == "?"]
        if not values:
            yield self._case("", self.name)
        elif not any("\\?" in text for _, text in self.lines):
            raise FormatError(f"{self.where}: values, and no place for them")
        for value in values:
            yield self._case(value, f"{self.name}: {value}")

    def _case(self, value: str, name: str) -> Case:
        draft = Draft(self.rule)
        try:
            for sigil, text in self.lines:
                draft.add(sigil, text.replace("\\?", value) if name != self.name else text)
            return draft.finished(self.where, name)
        except (FormatError, ValueError, TypeError, KeyError) as error:
            raise FormatError(f"{self.where} ({name}): {error}") from error


RULE = re.compile(r"## ([A-N][0-9]*)\. \S")


def written(document: str, source: str) -> Iterator[Lines]:
    """The cases of a document, not yet read."""
    rule, case = "", None
    for number, line in enumerate(document.split("\n"), 1):
        where = f"{source}:{number}"
        sigil, space, text = line.partition(" ")
        if line != line.rstrip():
            raise FormatError(f"{where}: white space at the end of a line")
        if sigil in ("##", "###") and case is not None:
            yield case
            case = None
        if sigil == "###" and rule:
            case = Lines(where, rule, text, [])
        elif sigil == "##" and (matched := RULE.match(line)):
            rule = matched[1]
        elif case is not None and sigil in tuple(">=<~?@"):
            case.lines.append((sigil, text))
        elif line and not line[0].isalpha() and not (sigil == "#" and number == 1):
            raise FormatError(f"{where}: what is this line?")
    if case is not None:
        yield case


def read(document: str, source: str) -> list[Case]:
    """All cases of a document."""
    return [case for lines in written(document, source) for case in lines.cases()]


def all_cases() -> list[Case]:
    """All cases of all files."""
    return [case for path in sorted(HERE.glob("*.case"))
            for case in read(path.read_text(encoding="utf-8"), path.name)]
