"""Many requests in flight on one connection (shared/http-rules.md, section J)."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from .conftest import Start
from .process import Server, until
from .wire import WAIT_SECONDS, Answer, Client, get, post

ERROR = "Internal Server Error"
KINDS: dict[str, Callable[[int], tuple[int, str]]] = {
    "hello": lambda number: (200, f"hello {number}"),
    "ready": lambda number: (200, f"ready {number}"),
    "late": lambda number: (200, f"late {number}"),
    "handled": lambda number: (409, f"handled {number}"),
    "raise": lambda number: (500, ERROR),
    "raise-late": lambda number: (500, ERROR),
    "missing": lambda number: (404, "Not Found"),
}
MALFORMED = b"GET / HTTP/1.1\r\nHost: server.example\r\nno colon\r\n\r\n"


def mixture(count: int) -> tuple[bytes, list[tuple[int, str]]]:
    """Requests of all kinds, mixed, and what must be answered to them."""
    chosen = random.Random(count).choices(list(KINDS), k=count)
    requests = b"".join(get(f"/{kind}/{number}") for number, kind in enumerate(chosen))
    return requests, [KINDS[kind](number) for number, kind in enumerate(chosen)]


def answers(client: Client, count: int) -> list[Answer]:
    return [client.answer() for _ in range(count)]


def told(answers: list[Answer]) -> list[tuple[int, str]]:
    return [(answer.status, answer.text) for answer in answers]


def test_a_thousand_in_one_write_are_answered_in_order(server: Server) -> None:
    requests, expected = mixture(1000)
    with server.connect() as client:
        client.send(requests)
        assert told(answers(client, 1000)) == expected
        assert client.ask(get("/hello/more")).text == "hello more"


def test_a_malformed_one_at_the_end_gets_its_400_after_them(server: Server) -> None:
    requests, expected = mixture(1000)
    with server.connect() as client:
        client.send(requests + MALFORMED + get("/hello/smuggled"))
        good = answers(client, 1000)
        assert told(good) == expected
        assert not any(answer.closes for answer in good)
        error = client.answer()
        assert (error.status, error.closes) == (400, True)
        assert error.field("Content-Type") == "text/plain; charset=utf-8"
        client.ends()


def test_a_thousand_then_half_closed_are_all_answered(server: Server) -> None:
    requests, expected = mixture(1000)
    with server.connect() as client:
        client.send(requests)
        client.half_close()
        assert told(answers(client, 1000)) == expected
        client.ends()


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_every_cut_gives_the_same_answers(server: Server, size: int) -> None:
    requests, expected = mixture(40)
    requests += post("/echo", b"some content") + get("/hello/end", "Connection: close")
    with server.connect() as client:
        for start in range(0, len(requests), size):
            client.send(requests[start:start + size])
        assert told(answers(client, 40)) == expected
        assert client.answer().text == "some content"
        last = client.answer()
        assert (last.text, last.closes) == ("hello end", True)
        client.ends()


def test_the_ready_ones_ahead_of_a_slow_one_do_not_wait_for_it(start: Start) -> None:
    server = start()
    with server.connect() as client:
        client.send(get("/hello/1") + get("/raise/2") + get("/when/a") + get("/hello/4"))
        assert told(answers(client, 2)) == [(200, "hello 1"), (500, ERROR)]
        assert client.quiet(0.2)
        server.allow("a")
        assert told(answers(client, 2)) == [(200, "when a"), (200, "hello 4")]


def test_safe_requests_run_side_by_side(start: Start) -> None:
    server = start()
    names = [f"n{number}" for number in range(20)]
    with server.connect() as client:
        client.send(b"".join(get(f"/when/{name}") for name in names))
        for name in names:
            server.until_recorded(f"{name} started")
        for name in reversed(names):
            assert client.quiet(0.01)
            server.allow(name)
        assert told(answers(client, 20)) == [(200, f"when {name}") for name in names]


def test_a_get_behind_a_post_sees_what_the_post_did(start: Start) -> None:
    server = start()
    with server.connect() as client:
        client.send(get("/counter") + 3 * (post("/counter", b"") + get("/counter")))
        assert [answer.text for answer in answers(client, 7)] == ["0", "1", "1", "2", "2", "3", "3"]


def test_a_post_starts_only_when_all_ahead_have_finished(start: Start) -> None:
    server = start()
    with server.connect() as client:
        client.send(get("/when/a") + get("/when/b") + post("/when/c", b"x") + get("/when/d"))
        server.until_recorded("b started")
        server.allow("a")
        assert client.answer().text == "when a"
        server.lives()
        assert "c started" not in server.record()
        server.allow("b")
        server.until_recorded("c started")
        server.lives()
        assert "d started" not in server.record()
        server.allow("c")
        server.allow("d")
        assert [answer.text for answer in answers(client, 3)] == ["when b", "when c", "when d"]


def test_nothing_after_a_request_that_says_close_is_processed(start: Start) -> None:
    server = start()
    with server.connect() as client:
        client.send(get("/hello/1") + get("/hello/2", "Connection: close") + post("/counter", b""))
        assert told(answers(client, 2)) == [(200, "hello 1"), (200, "hello 2")]
        client.ends()
    with server.connect() as client:
        assert client.ask(get("/counter")).text == "0"


def test_the_depth_is_bounded_and_nothing_is_lost(start: Start) -> None:
    """The same for every depth; of the rest, some start at the latest when those ahead are answered."""
    server = start("--pipelined-requests", "3")
    with server.connect() as client:
        client.send(b"".join(get(f"/when/n{number}") for number in range(8)))
        server.until_recorded("n2 started")
        for answered in range(8):
            server.until_recorded(f"n{answered} started")
            server.lives()
            assert f"n{answered + 3} started" not in server.record()
            server.allow(f"n{answered}")
            assert client.answer().text == f"when n{answered}"


def fill(client: Client, octets: bytes) -> int:
    """Send until nothing more is taken for a while; how many octets were."""
    sent = 0
    client.sock.settimeout(1)
    try:
        while sent < len(octets):
            sent += client.sock.send(octets[sent:sent + 65536])
    except TimeoutError:
        client.sock.settimeout(WAIT_SECONDS)
        return sent
    raise AssertionError("the server took everything; it should have paused reading")


def test_a_huge_pipeline_to_a_slow_handler_is_not_read(start: Start) -> None:
    """20,000 requests of 1,250 octets: memory stays, and in the end each is answered."""
    server = start(dev=False)
    server.lives()
    idle = server.resident()
    requests = get("/after/a?" + "x" * 1200) * 20_000
    with server.connect(buffers=65536) as client:
        sent = fill(client, requests)
        assert server.resident() - idle < 10 << 20
        server.allow("a")
        thread = client.send_beside(requests[sent:])
        for _ in range(20_000):
            assert client.answer().text == "after"
        thread.join()
        assert server.resident() - idle < 20 << 20


def test_unread_answers_are_bounded(start: Start) -> None:
    """500 MB of answers are asked for, and none of them is read for a while."""
    server = start(dev=False)
    server.lives()
    idle = server.resident()
    requests = get("/big/50000?" + "x" * 2000) * 10_000
    with server.connect(buffers=65536) as client:
        sent = fill(client, requests)
        assert server.resident() - idle < 20 << 20
        thread = client.send_beside(requests[sent:])
        for _ in range(10_000):
            assert len(client.answer().content) == 50_000
        thread.join()
        assert server.resident() - idle < 20 << 20


def test_many_connections_at_once(server: Server) -> None:
    requests, expected = mixture(50)
    sockets = server.sockets()
    clients = [server.connect() for _ in range(100)]
    for client in clients:
        client.send(requests)
    for client in clients:
        assert told(answers(client, 50)) == expected
    for client in clients:
        client.sock.close()
    until(lambda: server.sockets() <= sockets, "the server closes what its clients closed")
