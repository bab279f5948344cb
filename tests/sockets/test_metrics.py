"""What those learn who watch a server: metrics, as the parser of Prometheus reads them, and health."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from .conftest import Start
from .process import ROOT, Server, until
from .tls import certificate
from .wire import Answer, Client, get, post

BRIEF = ("--check-seconds", "0.05")
WATCHED = ("--metrics-address", "0", *BRIEF)
ADDRESS = re.compile(r"Metrics and health are at http://127\.0\.0\.1:([0-9]+)\.\n")


def port_of(server: Server) -> int:
    until(lambda: ADDRESS.search(server.complaints()) is not None, "the metrics address is told")
    matched = ADDRESS.search(server.complaints())
    assert matched is not None
    server.until_complained(matched[0])
    return int(matched[1])


def ask(port: int, path: str, *fields: str) -> Answer:
    with Client(socket.create_connection(("127.0.0.1", port))) as client:
        return client.ask(get(path, *fields))


def values(port: int) -> dict[str, float]:
    """All samples, by name and labels in the order of the text."""
    answer = ask(port, "/metrics")
    assert answer.status == 200
    found = {}
    for family in text_string_to_metric_families(answer.text):
        assert family.documentation
        for sample in family.samples:
            labels = ",".join(sample.labels.values())
            found[f"{sample.name.removeprefix('japronto_')} {labels}".strip()] = sample.value
    return found


def test_what_is_counted(start: Start) -> None:
    server = start(*WATCHED)
    port = port_of(server)
    assert ask(port, "/metrics", "Accept: application/openmetrics-text; version=new").status == 200
    with server.connect() as client:
        sent = [get("/hello/1") * 24, get("/late/1"), get("/nothing"), post("/echo", b"x" * 100),
                get("/hello/1", method="HEAD"), get("/download/3")]
        received = 0
        for octets, count in zip(sent, (24, 1, 1, 1, 1, 1), strict=True):
            client.send(octets)
            for _ in range(count):
                answer = client.answer("HEAD" if octets.startswith(b"HEAD") else "GET")
                received += len(answer.content)
        with server.connect() as malformed:
            malformed.send(b"GET / HTTP/1.1\r\n\r\n")
            assert malformed.answer().status == 400
            malformed.ends()
        found = values(port)
        assert {name: value for name, value in found.items() if name.startswith("requests_total")} == {
            "requests_total GET,200": 26, "requests_total GET,404": 1, "requests_total POST,200": 1,
            "requests_total HEAD,200": 1, "requests_total GET,400": 1}
        assert found["violations_total 400"] == 1
        assert found["fast_lane_requests_total"] == 25
        assert found["request_duration_seconds_count"] == found["request_duration_seconds_bucket +Inf"] == 30
        assert found["request_duration_seconds_bucket 0.0005"] > 0
        assert 0 < found["request_duration_seconds_sum"] < 60
        assert found["received_bytes_total"] == sum(map(len, sent)) + 18
        assert found["sent_bytes_total"] > received
        assert found["connections_accepted_total"] == 2
        assert found["connections"] == found["workers"] == found["workers_ready"] == 1
        assert found["resident_memory_bytes"] > 1 << 20
        assert found["open_files"] > 5
    until(lambda: values(port)["connections"] == 0, "the connection is gone")


def test_connections_that_never_come_to_a_request(start: Start, tmp_path: Path) -> None:
    server = start("--tls-certificate", certificate(tmp_path / "own.pem"), "--proxy-protocol",
                   "--handshake-seconds", "0.1", "--head-seconds", "0.1", *WATCHED)
    port = port_of(server)
    for octets in (b"", b"garbage", b"PROXY UNKNOWN\r\n"):
        with server.connect_below() as sock, contextlib.suppress(ConnectionResetError):
            sock.sendall(octets)
            assert sock.recv(1) == b""
    server.until_complained("did not come in time\n")
    found = values(port)
    assert found["timeouts_total proxy_header"] == found["timeouts_total handshake"] == 1
    assert found["connections_refused_total"] == 1
    assert found["connections_accepted_total"] == 3


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no 127.0.0.2")
def test_one_client_cannot_have_all_connections_of_those_who_watch(start: Start) -> None:
    server = start(*WATCHED)
    port = port_of(server)

    def connect() -> Client:
        return Client(socket.create_connection(("127.0.0.1", port), 60, ("127.0.0.2", 0)))

    with contextlib.ExitStack() as stack:
        for client in [stack.enter_context(connect()) for _ in range(20)]:
            assert client.ask(get("/live")).status == 200
        with connect() as further, contextlib.suppress(ConnectionResetError):
            assert further.sock.recv(1) == b""
        assert ask(port, "/live").status == 200
    server.until_complained("127.0.0.2 has 20 connections and gets no more (--connections-per-client)\n")


@pytest.mark.parametrize("backend", ["accel", "pure"])
def test_octets_are_counted_to_the_last(start: Start, backend: str) -> None:
    """Whichever way they go: as many as the client has sent and received."""
    server = start("--backend", backend, *WATCHED)
    port = port_of(server)
    sent = received = 0
    with server.connect() as client:
        for octets in (get("/hello/1"), get("/hello/1") * 3 + get("/late/2") + get("/hello/3"),
                       get("/big/100000"), post("/echo", b"x" * 70_000),
                       get("/download/2", "Connection: close")):
            client.send(octets)
            sent += len(octets)
        while octets := client.receive(65536):
            received += len(octets)
    found = values(port)
    assert (found["received_bytes_total"], found["sent_bytes_total"]) == (sent, received)


def test_requests_of_the_lane_and_those_it_hands_over_are_counted_once(start: Start) -> None:
    server = start("--backend", "accel", *WATCHED)
    port = port_of(server)
    with server.connect() as client:
        client.send(get("/hello/1") * 3 + get("/late/1") + get("/hello/2") + get("/raise/1")
                    + get("/ready/1"))
        statuses = [client.answer().status for _ in range(7)]
    assert statuses == [200] * 5 + [500, 200]
    found = values(port)
    assert (found["requests_total GET,200"], found["requests_total GET,500"]) == (6, 1)
    assert found["fast_lane_requests_total"] >= 3
    assert found["request_duration_seconds_count"] == 7


def test_slow_clients_and_those_that_leave(start: Start) -> None:
    server = start("--idle-seconds", "0.1", "--head-seconds", "0.1", *WATCHED)
    port = port_of(server)
    with server.connect() as idle, server.connect() as slow:
        slow.send(b"GET / HT")
        assert slow.answer().status == 408
        idle.ends()
    with server.connect() as leaves:
        leaves.send(get("/when/a"))
        server.until_recorded("a started")
        assert values(port)["requests_in_flight"] == 1
        leaves.reset()
        server.until_recorded("a cleaned up")
    found = values(port)
    assert (found["timeouts_total idle"], found["timeouts_total head"]) == (1, 1)
    assert (found["violations_total 408"], found["requests_total other,408"]) == (1, 1)
    assert found["requests_total GET,499"] == 1


def test_too_much_to_do_is_counted_and_health_is_told_all_the_same(start: Start) -> None:
    server = start("--requests-in-flight", "1", "--health-path", "/healthz", *WATCHED)
    port = port_of(server)
    with server.connect() as busy, server.connect() as other:
        busy.send(get("/when/a"))
        server.until_recorded("a started")
        assert other.ask(get("/hello/1")).status == 503
        assert other.ask(get("/healthz")).text == "ready\n"
        server.allow("a")
        assert busy.answer().status == 200
    assert values(port)["requests_refused_busy_total"] == 1


def test_the_format_is_the_one_that_is_asked_for(start: Start) -> None:
    port = port_of(start(*WATCHED))
    plain = ask(port, "/metrics")
    assert (plain.field("Content-Type") or "").startswith("text/plain; version=0.0.4")
    openmetrics = ask(port, "/metrics", "Accept: application/openmetrics-text; version=1.0.0")
    assert (openmetrics.field("Content-Type") or "").startswith("application/openmetrics-text")
    assert openmetrics.text.endswith("# EOF\n")
    assert ask(port, "/").status == 404


# -- Health ----------------------------------------------------------------------------------

def test_it_lives_before_it_is_ready(start: Start) -> None:
    """While start-up hooks run; nobody is told the address yet, so it must be known."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = start("--metrics-address", str(port), *BRIEF, hold=True)
    server.until_recorded("start-up began")
    assert ask(port, "/live").status == 200
    assert ask(port, "/ready").status == 503
    server.allow("start")
    until(lambda: ask(port, "/ready").status == 200, "the server is ready")
    server.until_complained(f"Metrics and health are at http://127.0.0.1:{port}.\n")


def test_a_server_that_drains_lives_and_is_not_ready(start: Start) -> None:
    server = start("--health-path", "/healthz", "--drain-seconds", "600", *WATCHED)
    port = port_of(server)
    with server.connect() as client:
        assert client.ask(get("/healthz")).text == "ready\n"
        assert ask(port, "/ready").status == 200
        client.send(get("/when/a"))
        server.until_recorded("a started")
        server.signal(signal.SIGTERM)
        until(server.refuses, "the server listens no longer")
        assert ask(port, "/ready").status == 503
        assert ask(port, "/live").status == 200
        server.allow("a")
        assert client.answer().closes
        client.ends()
    server.exits()


def test_the_delay_of_the_drain(start: Start) -> None:
    """It serves on, also those who come now, with Connection: close, and says that it is not ready."""
    server = start("--health-path", "/healthz", "--drain-delay-seconds", "1", "--drain-seconds", "600",
                   "--linger-seconds", "0.1", *WATCHED)
    port = port_of(server)
    with server.connect() as idle:
        assert not idle.ask(get("/hello/1")).closes
        server.signal(signal.SIGTERM)
        until(lambda: ask(port, "/ready").status == 503, "the server is not ready")
        answer = idle.ask(get("/healthz"))
        assert (answer.status, answer.closes) == (503, True)
        idle.ends()
        with server.connect() as newcomer:
            answer = newcomer.ask(get("/hello/2"))
            assert (answer.text, answer.closes) == ("hello 2", True)
            newcomer.ends()
    server.exits()


def test_a_second_signal_does_not_wait_for_the_delay(start: Start) -> None:
    server = start("--drain-delay-seconds", "600")
    with server.connect() as client:
        client.send(get("/when/never"))
        server.until_recorded("never started")
        server.signal(signal.SIGTERM)
        until(server.finishing, "it says why it does not stop at once")
        server.signal(signal.SIGTERM)
        server.exits(1)


def test_paths_of_the_server_go_before_routes(start: Start) -> None:
    server = start("--health-path", "/hello/health", "--metrics-path", "/metrics", *BRIEF)
    with server.connect() as client:
        client.send(get("/hello/health") + get("/hello/1") + get("/metrics"))
        assert [client.answer().text for _ in range(2)] == ["ready\n", "hello 1"]
        assert 'japronto_requests_total{method="GET",status="200"} 2.0' in client.answer().text


# -- Mistakes --------------------------------------------------------------------------------

TAKEN = ("japronto: cannot listen on 192.0.2.1 port 80: Cannot assign requested address; "
         "choose another port or host for --metrics-address\n")


@pytest.mark.parametrize(("options", "code", "said"), [
    (("--metrics-address", "nonsense"), 2, "japronto: --metrics-address must be a port, host:port, "),
    (("--metrics-address", "fd://3"), 2, "japronto: --metrics-address must be a port, host:port, "),
    (("--health-path", "healthz"), 2, "japronto: --health-path must be a path such as /healthz"),
    (("--health-path", "/a", "--metrics-path", "/a"), 2, "japronto: metrics_path and health_path are"),
    (("--drain-delay-seconds", "-1"), 2, "japronto: --drain-delay-seconds"),
    (("--metrics-address", "192.0.2.1:80"), 3, TAKEN),
    (("--metrics-address", "192.0.2.1:80", "--workers", "1"), 3, TAKEN)])
def test_mistakes(options: tuple[str, ...], code: int, said: str) -> None:
    done = subprocess.run([sys.executable, "-m", "japronto", "--port", "0", *options, "demo"], cwd=ROOT,
                          capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
    assert done.stderr.startswith(said)


def test_without_the_extra_it_is_told() -> None:
    hidden = ("import sys, importlib.util as u; find = u.find_spec; "
              "u.find_spec = lambda name, *more: None if name == 'prometheus_client' else find(name, *more); "
              "from japronto.cli import main; sys.exit(main(['--metrics-address', '0', 'demo']))")
    done = subprocess.run([sys.executable, "-c", hidden], cwd=ROOT, capture_output=True, text=True,
                          check=False, timeout=60)
    assert done.returncode == 2
    assert done.stderr == ("japronto: metrics need prometheus-client, which is not installed; "
                           "pip install 'japronto[metrics]'\n")


def test_what_does_not_arrive_is_no_answer(start: Start) -> None:
    """A client that goes while a download is under way has not got a 200 to the end, and is counted once."""
    server = start(*WATCHED)
    port = port_of(server)
    with server.connect(buffers=65536) as client:
        client.send(get("/download-async/1000/b"))
        client.head()
        server.until_recorded("b started")
        client.reset()
        until(lambda: any(note.startswith("b cleaned up") for note in server.record()), "it is cut")
    until(lambda: values(port)["request_duration_seconds_count"] == 1, "it is counted")
