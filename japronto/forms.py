"""Forms that carry files: multipart/form-data (RFC 7578), read by the library ``multipart``.

What is decided here is how strictly: the boundary must be one of RFC 2046, every part must have a
name, lines end in CRLF, the last boundary must be there, and whatever is wrong is a
:class:`~japronto.errors.MalformedContent`.  A part with a filename, be it empty, is a file; all
others are fields, whose text is UTF-8 unless the part names another charset (RFC 7578 s.4.4).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from multipart import (  # type: ignore[import-untyped]
    MultipartError,
    MultipartSegment,
    PushMultipartParser,
    parse_options_header,
)

from japronto.errors import MalformedContent
from japronto.pure.request import MultiDict, decode_text

# boundary = 0*69<bchars> bcharsnospace                                    (RFC 2046 s.5.1.1)
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]").fullmatch


class File(NamedTuple):
    """A file of a form."""

    type: str
    """The media type, as the client says."""
    body: bytes
    name: str
    """The filename, as the client says: not fit to be opened as it is."""


def parse_multipart(content: bytes, content_type: str,
                    parts_max: int) -> tuple[MultiDict[str], MultiDict[File]]:
    """The fields and the files of a form, in the order in which they stand."""
    boundary = parse_options_header(content_type)[1].get("boundary", "")
    if not _BOUNDARY(boundary):
        raise MalformedContent("The Content-Type of the form has no boundary, or a malformed one.")
    form: list[tuple[str, str]] = []
    files: list[tuple[str, File]] = []
    try:
        for part, body in _parts(content, boundary, parts_max):
            if part.filename is None:
                form.append((part.name, decode_text(body, part.charset or "utf-8")))
            else:
                kind = part.content_type or "application/octet-stream"
                files.append((part.name, File(kind, body, part.filename)))
    except MultipartError as error:
        raise MalformedContent(f"The form is malformed: {error.args[0]}.") from None
    return MultiDict(form), MultiDict(files)


def _parts(content: bytes, boundary: str, parts_max: int) -> Iterator[tuple[MultipartSegment, bytes]]:
    """The parts with their content; raises MultipartError where they are malformed or too many."""
    with PushMultipartParser(boundary, max_segment_count=parts_max, strict=True) as parser:
        part = None
        pieces: list[bytes] = []
        for event in parser.parse(content):
            if isinstance(event, MultipartSegment):
                part, pieces = event, []
            elif event is not None:
                pieces.append(event)
            else:
                yield part, b"".join(pieces)
