"""What a handler may set of a response, when it is made and later: the same of every backend."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.cookies import SimpleCookie
from typing import Any

import pytest

from japronto import Response, ResponseError
from japronto.backend import Backend


@pytest.fixture
def make(backend: Backend) -> Callable[..., Response]:
    return backend.response


Make = Callable[..., Response]


def test_what_is_set_later_is_what_counts(make: Make) -> None:
    response = make(text="text")
    response.code, response.body, response.content_type = 404, bytearray(b"body"), b"text/html; charset=utf-8"
    assert (response.code, response.body, response.content_type) == (
        404, b"body", b"text/html; charset=utf-8")
    assert type(response.body) is bytes
    response.body, response.content_type = memoryview(b"view"), None
    assert (response.body, response.content_type) == (b"view", None)
    assert repr(response) == "<Response 404 4 octets>"
    again = copy.copy(response)
    assert (again.code, again.body, again.content_type) == (404, b"view", None)


@pytest.mark.parametrize("code", [0, 99, 100, 101, 199, 600, "200", 204.0, True, None, b"200"])
def test_a_code_that_there_is_not(make: Make, code: Any) -> None:
    response = make(text="text")
    with pytest.raises(ResponseError):
        response.code = code
    with pytest.raises(ResponseError):
        make(code, text="text")
    assert response.code == 200


@pytest.mark.parametrize("code", [HTTPStatus.OK, HTTPStatus.NOT_FOUND, 200.0])
def test_a_code_is_a_plain_number(make: Make, code: Any) -> None:
    """Whatever equals it: it is written into the status line as it is."""
    assert (make(code, text="text").code, type(make(code, text="text").code)) == (code, int)


@pytest.mark.parametrize("body", ["text", None, 5, [b"piece"], iter((b"piece",))])
def test_a_body_that_is_no_octets(make: Make, body: Any) -> None:
    response = make(text="text")
    with pytest.raises(ResponseError):
        response.body = body
    assert response.body == b"text"


def test_a_stream_stays_one(make: Make) -> None:
    """Somebody must close it: it cannot just be forgotten."""
    pieces = iter((b"piece",))
    response = make(body=pieces)
    with pytest.raises(ResponseError):
        response.body = b"octets"
    for name in ("stream", "upgrade"):
        with pytest.raises(AttributeError):
            setattr(response, name, None)
    assert (response.stream, response.body, repr(response)) == (pieces, b"", "<Response 200 streamed>")


@pytest.mark.parametrize("content_type", ["text/plain", b"", b"text", b"text/plain\r\nX: y", b"text/\xff",
                                          bytearray(b"text/plain"), 5])
def test_a_content_type_that_is_none(make: Make, content_type: Any) -> None:
    response = make(text="text")
    with pytest.raises(ResponseError):
        response.content_type = content_type
    assert response.content_type == b"text/plain; charset=utf-8"


JAR: SimpleCookie = SimpleCookie({"a": "b c"})


@pytest.mark.parametrize(("cookies", "sent"), [
    (None, []), ({}, []), (JAR, ['a="b c"']), ({"a": "1", "b": "2;3"}, ["a=1", 'b="2\\0733"'])])
def test_cookies(make: Make, cookies: Mapping[str, str] | None, sent: list[str]) -> None:
    response = make(text="text")
    response.cookies = cookies  # type: ignore[assignment]
    for made in (response, make(text="text", cookies=cookies)):
        jar = made.cookies
        assert [morsel.OutputString() for morsel in (jar or {}).values()] == sent
        assert jar is JAR or cookies is not JAR


@pytest.mark.parametrize("cookies", ["a=b", [("a", "b")], 5, {"a": 5}, {5: "a"}, {"a b": "c"}, {"": "a"}])
def test_what_are_no_cookies(make: Make, cookies: Any) -> None:
    response = make(text="text")
    with pytest.raises(ResponseError):
        response.cookies = cookies
    with pytest.raises(ResponseError):
        make(text="text", cookies=cookies)
    assert response.cookies is None
