"""The tests' own reader: what it must refuse, or no other test here could fail for it."""

from __future__ import annotations

import pytest

from .wire import Malformed, Reader, Truncated

DATE = "Date: Tue, 15 Nov 1994 08:12:31 GMT\r\n"
OK = "HTTP/1.1 200 OK\r\n" + DATE


def reader(text: str, size: int = 65536) -> Reader:
    octets = memoryview(text.encode())
    taken = 0

    def receive(most: int) -> bytes:
        nonlocal taken
        piece = octets[taken:taken + min(size, most)]
        taken += len(piece)
        return bytes(piece)

    return Reader(receive)


@pytest.mark.parametrize("size", [1, 2, 65536])
def test_the_three_ways_to_end_content(size: int) -> None:
    reads = reader(f"{OK}Content-Length: 5\r\n\r\nhello"
                   f"{OK}Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
                   f"{OK}Connection: close\r\n\r\nhello", size)
    assert [reads.answer().text for _ in range(3)] == ["hello"] * 3
    reads.end()


@pytest.mark.parametrize(("status", "method"), [("204 No Content", "GET"), ("304 Not Modified", "GET"),
                                            ("100 Continue", "POST"), ("200 OK", "HEAD")])
def test_answers_without_content(status: str, method: str) -> None:
    reads = reader(f"HTTP/1.1 {status}\r\n{DATE}\r\n{OK}Content-Length: 2\r\n\r\nok")
    assert reads.answer(method).content == b""
    assert reads.answer().text == "ok"


@pytest.mark.parametrize("text", [
    f"HTTP/1.0 200 OK\r\n{DATE}Content-Length: 0\r\n\r\n",
    f"HTTP/1.1 200 OK\n{DATE}Content-Length: 0\r\n\r\n",
    f"HTTP/1.1  200 OK\r\n{DATE}Content-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    f"{OK}Content-Length: +0\r\n\r\n",
    f"{OK}Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
    f"{OK}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    f"{OK}Transfer-Encoding: gzip\r\n\r\n0\r\n\r\n",
    f"{OK}Content Length: 0\r\n\r\n",
    f"{OK}Content-Length : 0\r\n\r\n",
    f"{OK}\r\nhello",
    f"{OK}Transfer-Encoding: chunked\r\n\r\n0x3\r\nhel\r\n0\r\n\r\n",
    f"{OK}Transfer-Encoding: chunked\r\n\r\n2\r\nhel\r\n0\r\n\r\n",
    f"HTTP/1.1 204 No Content\r\n{DATE}Content-Length: 0\r\n\r\n",
])
def test_what_is_not_http(text: str) -> None:
    with pytest.raises(Malformed):
        reader(text).answer()


@pytest.mark.parametrize("text", [
    "", "HTTP/1.1 200 OK\r\n", f"{OK}Content-Length: 6\r\n\r\nhello",
    f"{OK}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"])
def test_what_ends_early(text: str) -> None:
    with pytest.raises(Truncated):
        reader(text).answer()


def test_what_comes_after_the_last_answer() -> None:
    reads = reader(f"{OK}Content-Length: 2\r\n\r\nokay")
    assert reads.answer().text == "ok"
    with pytest.raises(Malformed):
        reads.end()
