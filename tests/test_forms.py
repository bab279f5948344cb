"""Forms that carry files: what is taken, and what is refused."""

from __future__ import annotations

import encodings
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from japronto.errors import MalformedContent
from japronto.forms import File, parse_multipart
from japronto.pure.request import MultiDict

TYPE = "multipart/form-data; boundary=limit"


def part(disposition: str, content: bytes = b"", *fields: str) -> bytes:
    """One part, with the boundary ahead of it."""
    lines = [f"Content-Disposition: form-data; {disposition}", *fields]
    return b"--limit\r\n" + "\r\n".join(lines).encode() + b"\r\n\r\n" + content + b"\r\n"


def parsed(*parts: bytes, content_type: str = TYPE,
           parts_max: int = 100) -> tuple[MultiDict[str], MultiDict[File]]:
    return parse_multipart(b"".join(parts) + b"--limit--\r\n", content_type, parts_max)


def refused(content: bytes, content_type: str = TYPE, parts_max: int = 100) -> str:
    with pytest.raises(MalformedContent) as raised:
        parse_multipart(content, content_type, parts_max)
    assert raised.value.status == 400
    return str(raised.value)


# What is taken

def test_fields_and_files() -> None:
    form, files = parsed(part('name="a"', b"1"),
                         part('name="f"; filename="x.png"', b"\x89\r\n\x00", "Content-Type: image/PNG"),
                         part('name="b"', "\u00e9 \u20ac".encode()))
    assert form == {"a": "1", "b": "\u00e9 \u20ac"}
    assert files == {"f": File("image/png", b"\x89\r\n\x00", "x.png")}
    assert isinstance(form, MultiDict)
    assert isinstance(files, MultiDict)


def test_what_a_file_shows() -> None:
    _, files = parsed(part('name="f"; filename="a.txt"', b"hello"))
    file = files["f"]
    assert (file.name, file.type, file.body) == ("a.txt", "application/octet-stream", b"hello")


def test_repeated_names_keep_their_order() -> None:
    form, files = parsed(*(part('name="a"', value) for value in (b"1", b"2")),
                         *(part(f'name="a"; filename="{name}"') for name in "xyz"))
    assert form.getall("a") == ["1", "2"]
    assert form["a"] == "2"
    assert [file.name for file in files.getall("a")] == ["x", "y", "z"]
    assert files["a"].name == "z"


def test_an_empty_form() -> None:
    assert parsed() == ({}, {})


def test_a_file_input_that_was_left_empty_is_a_file_without_a_name() -> None:
    form, files = parsed(part('name="f"; filename=""', b"", "Content-Type: application/octet-stream"))
    assert (form, files) == ({}, {"f": File("application/octet-stream", b"", "")})


@pytest.mark.parametrize(("disposition", "name", "filename"), [
    ('name="f"; filename="\u00e9\u20ac.txt"', "f", "\u00e9\u20ac.txt"),
    ('name="f"; filename="a%22b%0D%0A.txt"', "f", 'a"b\r\n.txt'),
    ('name="f"; filename="../../etc/passwd"', "f", "../../etc/passwd"),
    ("name=f; filename=x", "f", "x"),
    ('filename="x;y"; name="a;b"', "a;b", "x;y"),
    ('name=""; filename="x"', "", "x"),
])
def test_names(disposition: str, name: str, filename: str) -> None:
    _, files = parsed(part(disposition, b"."))
    assert files == {name: File("application/octet-stream", b".", filename)}


@pytest.mark.parametrize(("charset", "content", "text"), [
    ("utf-8", b"\xc3\xa9", "\u00e9"),
    ("UTF8", b"\xc3\xa9", "\u00e9"),
    ('"utf-8"', b"\xc3\xa9", "\u00e9"),
    ("iso-8859-1", b"\xe9", "\u00e9"),
    ("ISO_8859-15", b"\xa4", "\u20ac"),
    ("windows-1252", b"\x80", "\u20ac"),
    ("us-ascii", b"e", "e"),
    ("Shift_JIS", b"\x82\xa0", "\u3042"),
    ("koi8-r", b"\xc1", "\u0430"),
    ("utf-16le", b"e\0", "e"),
])
def test_the_charset_of_a_field(charset: str, content: bytes, text: str) -> None:
    form, _ = parsed(part('name="a"', content, f"Content-Type: text/plain; charset={charset}"))
    assert form == {"a": text}


def test_the_charset_of_a_file_is_left_to_the_handler() -> None:
    _, files = parsed(part('name="a"; filename="x"', b"\xff", "Content-Type: text/plain; charset=nonsense"))
    assert files == {"a": File("text/plain", b"\xff", "x")}


@pytest.mark.parametrize("boundary", [
    "limit", '"limit"', "limit ; charset=utf-8", "limit; charset=utf-8"])
def test_boundaries(boundary: str) -> None:
    form, _ = parsed(part('name="a"', b"1"), content_type=f"Multipart/Form-Data; boundary={boundary}")
    assert form == {"a": "1"}


@pytest.mark.parametrize("boundary", ["-" * 70, "'()+_,-./:=?", "a b", "----WebKitFormBoundary7MA4YWxk"])
def test_all_that_may_stand_in_a_boundary(boundary: str) -> None:
    content = (f"--{boundary}\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n"
               f"--{boundary}--\r\n").encode()
    assert parse_multipart(content, f'multipart/form-data; boundary="{boundary}"', 1) == ({"a": "1"}, {})


def test_what_looks_like_a_boundary_and_is_content() -> None:
    content = b"--limit\r\n-limit--\r\n\r\n--limi\r\n\n--limit"
    form, _ = parsed(part('name="a"', content))
    assert form == {"a": content.decode()}


def test_a_preamble_and_an_epilogue_are_skipped() -> None:
    content = b"preamble\r\n" + part('name="a"', b"1") + b"--limit--\r\nepilogue\r\n--limit\r\n"
    assert parse_multipart(content, TYPE, 1) == ({"a": "1"}, {})


NAMES = st.text("ab\u00e9 ;='", max_size=3)


@given(st.lists(st.tuples(NAMES, st.none() | NAMES, st.binary(max_size=200)), max_size=5))
def test_any_fields_and_files(written: list[tuple[str, str | None, bytes]]) -> None:
    form, files = parsed(*(
        part(f'name="{name}"' + ("" if filename is None else f'; filename="{filename}"'), content,
             "Content-Type: text/plain; charset=latin-1")
        for name, filename, content in written))
    for name in {name for name, _, _ in written}:
        assert form.getall(name) == [content.decode("latin-1") for other, filename, content in written
                                     if other == name and filename is None]
        assert files.getall(name) == [
            File("text/plain", content, filename) for other, filename, content in written
            if other == name and filename is not None]


# What is refused

@pytest.mark.parametrize("content_type", [
    "multipart/form-data",
    "multipart/form-data; boundary=",
    'multipart/form-data; boundary=""',
    'multipart/form-data; boundary="limit "',
    f"multipart/form-data; boundary={'x' * 71}",
    'multipart/form-data; boundary="a\x01b"',
    'multipart/form-data; boundary="\u00e9"',
    'multipart/form-data; boundary="a{b"',
])
def test_no_boundary_or_a_malformed_one(content_type: str) -> None:
    assert "boundary" in refused(b"--limit--\r\n", content_type)


WHOLE = part('name="a"', b"1") + b"--limit--\r\n"


@pytest.mark.parametrize("content", [
    b"",
    b"--limit",
    b"--limit\r\n",
    b"no boundary at all",
    WHOLE[:-len(b"--\r\n")],
    part('name="a"', b"1"),
    b"x" + WHOLE,
    WHOLE.replace(b"\r\n", b"\n"),
    WHOLE.replace(b"--limit\r\n", b"--limit\n"),
    WHOLE.replace(b"--limit\r\n", b"--limitx\r\n"),
    WHOLE.replace(b"Content-Disposition", b"Content-Location"),
    WHOLE.replace(b"Content-Disposition: ", b"Content-Disposition "),
    WHOLE.replace(b"Content-Disposition", b"Content Disposition"),
    WHOLE.replace(b"form-data", b"attachment"),
    WHOLE.replace(b'; name="a"', b""),
    WHOLE.replace(b'"a"', b'"\xff"'),
    WHOLE.replace(b'; name="a"', b';\r\n name="a"'),
    WHOLE.replace(b"\r\n\r\n", b"\r\nContent-Length: 2\r\n\r\n"),
    WHOLE.replace(b"\r\n\r\n", b"\r\nContent-Length: -1\r\n\r\n"),
    WHOLE.replace(b'"a"', b'"' + b"a" * 5000 + b'"'),
    WHOLE.replace(b"\r\n\r\n", b"\r\nX: y" * 20 + b"\r\n\r\n"),
])
def test_malformed_content(content: bytes) -> None:
    assert content != WHOLE
    assert refused(content).startswith("The form is malformed: ")


def test_every_cut_of_a_form_is_refused() -> None:
    assert parse_multipart(WHOLE, TYPE, 1) == ({"a": "1"}, {})
    end = WHOLE.index(b"--limit--") + len(b"--limit--")
    for length in range(end):
        refused(WHOLE[:length])


def test_the_count_of_parts_is_bounded() -> None:
    parts = [part(f'name="a{number}"') for number in range(11)]
    assert len(parsed(*parts[:10], parts_max=10)[0]) == 10
    assert "count" in refused(b"".join(parts) + b"--limit--\r\n", parts_max=10)


@pytest.mark.parametrize("charset", ["nonsense", "punycode", "idna", "unicode_escape", "os", "..utf8",
                                     '" "', "x" * 4000])
def test_an_unknown_charset(charset: str) -> None:
    content = part('name="a"', b"e", f"Content-Type: text/plain; charset={charset}") + b"--limit--\r\n"
    assert refused(content) == "The charset of the content is not known here."


@pytest.mark.parametrize(("charset", "content"), [
    ("utf-8", b"\xff"), ("utf-8", b"\xed\xa0\x80"), ("us-ascii", b"\x80"), ("utf-16", b"\0"),
    ("base64", b"eA=="), ("hex", b"65"), ("rot13", b"e")])
def test_a_field_that_is_not_text_in_its_charset(charset: str, content: bytes) -> None:
    body = part('name="a"', content, f"Content-Type: text/plain; charset={charset}") + b"--limit--\r\n"
    assert re.match("The content is not text in its charset.|'[a-z0-9-]+' codec can't decode ", refused(body))


def test_a_field_without_a_charset_is_in_utf_8() -> None:
    assert "'utf-8' codec" in refused(part('name="a"', b"\xe9") + b"--limit--\r\n")


def test_python_remembers_no_charset_that_a_client_made_up() -> None:
    before = len(encodings._cache)
    for number in range(10):
        field = f"Content-Type: text/plain; charset=made-up-{number}"
        refused(part('name="a"', b"e", field) + b"--limit--\r\n")
    assert len(encodings._cache) == before


def test_a_message_repeats_nothing_of_the_content() -> None:
    for content in (WHOLE.replace(b"form-data", b"<script>"),
                    WHOLE.replace(b"Content-Disposition", b"<script>"),
                    WHOLE.replace(b"\r\n\r\n", b"\r\nContent-Length: <script>\r\n\r\n")):
        assert "script" not in refused(content)


PIECES = [b"--limit", b"\r\n", b"--", b"Content-Disposition: form-data; name=a", b"\r\n\r\n", b"x"]


@given(st.binary(max_size=300) | st.lists(st.sampled_from(PIECES)).map(b"".join))
def test_any_content_is_a_form_or_malformed(content: bytes) -> None:
    try:
        form, files = parse_multipart(content, TYPE, 10)
    except MalformedContent:
        return
    assert len(form) + len(files) <= content.count(b"--limit")
