"""The bounds of limits.py over the wire, on both sides of each border (B6, D8, F4, G5, H)."""

from __future__ import annotations

import pytest

from .conftest import Start
from .process import Server
from .wire import Client, chunk, get, post, post_head


def assert_refused(client: Client, status: int) -> None:
    answer = client.answer()
    assert (answer.status, answer.closes) == (status, True)
    client.ends()


def target(line: int) -> str:
    """A target that makes a request line of so many octets, CRLF not counted."""
    return "/hello/1?" + "x" * (line - len("GET /hello/1? HTTP/1.1"))


def test_a_request_line_of_8000_octets_is_accepted(server: Server) -> None:
    with server.connect() as client:
        assert client.ask(get(target(8000))).text == "hello 1"


def test_a_longer_one_is_414(server: Server) -> None:
    with server.connect() as client:
        client.send(get("/hello/0") + get(target(9000)) + get("/hello/2"))
        assert client.answer().text == "hello 0"
        assert_refused(client, 414)


def test_a_target_without_end_is_414_before_its_end(server: Server) -> None:
    with server.connect() as client:
        client.send(b"GET /" + b"x" * 20_000)
        assert_refused(client, 414)


def test_a_method_without_end_is_400(server: Server) -> None:
    with server.connect() as client:
        client.send(b"G" * 20_000)
        assert_refused(client, 400)


@pytest.mark.parametrize("fields", [["X-Long: " + "x" * 8192], [f"X-{n}: n" for n in range(99)]],
                         ids=["value", "fields"])
def test_a_value_of_8_kib_and_100_fields_are_accepted(server: Server, fields: list[str]) -> None:
    with server.connect() as client:
        assert client.ask(get("/hello/1", *fields)).text == "hello 1"


@pytest.mark.parametrize("fields", [
    ["X-Long: " + "x" * 17_000],
    [f"X-{n}: n" for n in range(100)],
    [f"X-{n}: " + "x" * 10_000 for n in range(8)]], ids=["a long line", "many lines", "a long section"])
def test_more_is_431(server: Server, fields: list[str]) -> None:
    with server.connect() as client:
        client.send(get("/hello/1", *fields))
        assert_refused(client, 431)


def test_the_bounds_are_options(start: Start) -> None:
    server = start("--request-line-bytes", "100", "--field-line-bytes", "100", "--fields", "3",
                   "--content-bytes", "10")
    for octets, status in [
            (get("/hello/1", "A: b", "C: d"), 200), (get("/hello/1", "A: b", "C: d", "E: f"), 431),
            (get(target(90)), 200), (get(target(110)), 414),
            (get("/hello/1", "A: " + "x" * 80), 200), (get("/hello/1", "A: " + "x" * 110), 431),
            (post("/echo", b"x" * 10), 200), (post("/echo", b"x" * 11), 413)]:
        with server.connect() as client:
            assert client.ask(octets).status == status


# Content above its bound: 413.

def test_a_length_above_the_bound_is_413_at_once(start: Start) -> None:
    server = start("--content-bytes", "4096")
    with server.connect() as client:
        assert client.ask(post("/echo", b"x" * 4096)).content == b"x" * 4096
        client.send(post_head("/echo", "Content-Length: 4097"))
        assert_refused(client, 413)


@pytest.mark.parametrize("path", ["/echo", "/upload-small/a"])
def test_chunks_above_the_bound_are_413_as_soon_as_it_is_passed(start: Start, path: str) -> None:
    server = start("--content-bytes", "4096")
    with server.connect() as client:
        head = post_head(path, "Transfer-Encoding: chunked")
        assert client.ask(head + chunk(b"x" * 2048) * 2 + b"0\r\n\r\n").status == 200
        client.send(head + chunk(b"x" * 2048) * 2 + b"1\r\n")
        assert_refused(client, 413)
    server.lives()
    assert server.record().count("upload of a: whole") == (1 if path == "/upload-small/a" else 0)


def test_the_bound_of_a_route_goes_before_that_of_the_server(start: Start) -> None:
    server = start("--content-bytes", "100000")
    with server.connect() as client:
        assert client.ask(post("/upload/a", b"x" * 200_000)).json["bytes"] == 200_000
        client.send(post_head("/upload-small/a", "Content-Length: 5000"))
        assert_refused(client, 413)


def test_413_with_expect_and_no_100(start: Start) -> None:
    server = start("--content-bytes", "4096")
    with server.connect() as client:
        client.send(post_head("/echo", "Content-Length: 4097", "Expect: 100-continue"))
        assert_refused(client, 413)


def test_414_431_and_413_leave_the_server_in_good_health(start: Start) -> None:
    """As often as it takes for a leak to show."""
    server = start(dev=False)
    server.lives()
    idle = server.resident()
    for _ in range(200):
        for octets, status in [(b"GET /" + b"x" * 60_000, 414),
                               (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 9000, 431),
                               (post_head("/echo", "Content-Length: 100000000") + b"x" * 60_000, 413)]:
            with server.connect() as client:
                client.send(octets)
                assert_refused(client, status)
    assert server.resident() - idle < 10 << 20
