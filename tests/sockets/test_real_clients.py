"""Clients that others wrote: http.client of the standard library, and programs where they are installed."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import subprocess
import threading
from pathlib import Path

import pytest

from .conftest import Start
from .process import Server, found
from .wire import WAIT_SECONDS

CURL = pytest.mark.program("curl")
pytestmark = pytest.mark.plain


def curl(*arguments: str) -> tuple[str, str]:
    """What curl printed, and what it told of the conversation."""
    done = subprocess.run(("curl", "--silent", "--show-error", "--verbose", "--noproxy", "*",
                           "--max-time", str(WAIT_SECONDS), *arguments), capture_output=True,
                          timeout=2 * WAIT_SECONDS, check=True)
    return done.stdout.decode("latin-1"), done.stderr.decode("latin-1")


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(bytes(range(251)) * 10_000)
    return path


@CURL
def test_curl_asks_thrice_on_one_connection(server: Server) -> None:
    urls = [f"{server.url}/{path}" for path in ("hello/1", "late/2", "big/70000")]
    said, _ = curl("--write-out", "<%{num_connects}>", *urls)
    assert said == f"hello 1<1>late 2<0>{'x' * 70_000}<0>"


@CURL
def test_curl_asks_for_the_head(server: Server) -> None:
    said, _ = curl("--head", f"{server.url}/big/70000")
    assert said.startswith("HTTP/1.1 200 OK\r\n")
    assert "content-length: 70000\r\n" in said.lower()


@CURL
def test_curl_speaks_http_1_0(server: Server) -> None:
    said, told = curl("--http1.0", f"{server.url}/hello/1")
    assert said == "hello 1"
    assert "connection: close" in told.lower()
    said, _ = curl("--http1.0", f"{server.url}/download/20", "--output", "/dev/null",
                   "--write-out", "%{size_download}")
    assert said == str(20 * 65536)


@CURL
def test_curl_downloads(server: Server, tmp_path: Path) -> None:
    curl(f"{server.url}/download-async/100/a", "--output", str(tmp_path / "got"))
    assert (tmp_path / "got").read_bytes() == bytes(range(256)) * 256 * 100


@CURL
@pytest.mark.parametrize("fields", [[], ["Transfer-Encoding: chunked"]])
def test_curl_uploads(server: Server, large: Path, fields: list[str]) -> None:
    said, _ = curl("-T", str(large), *(f"-H{field}" for field in fields), f"{server.url}/upload/a")
    content = large.read_bytes()
    assert json.loads(said) == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


@CURL
def test_curl_waits_for_100_continue(server: Server, large: Path) -> None:
    """It would wait for ever, and sends the content because it was told to."""
    said, told = curl("-T", str(large), "-HExpect: 100-continue", "--expect100-timeout", str(WAIT_SECONDS),
                      f"{server.url}/upload/a")
    assert json.loads(said)["bytes"] == large.stat().st_size
    assert "< HTTP/1.1 100 Continue" in told


@CURL
def test_curl_is_refused_before_it_sends_what_is_too_large(start: Start, large: Path) -> None:
    server = start("--content-bytes", "1000")
    said, told = curl("--data-binary", f"@{large}", "-HExpect: 100-continue",
                      "--expect100-timeout", str(WAIT_SECONDS), f"{server.url}/echo",
                      "--write-out", "<%{http_code} %{size_upload}>")
    assert said.endswith("<413 0>")
    assert "100 Continue" not in told


@CURL
def test_curl_over_a_unix_socket(start: Start, tmp_path: Path) -> None:
    server = start("--uds", str(tmp_path / "socket"))
    said, _ = curl("--unix-socket", server.uds, "http://server.example/hello/1")
    assert said == "hello 1"


def test_http_client_asks_on_one_connection(server: Server) -> None:
    connection = http.client.HTTPConnection(server.host, server.port, timeout=WAIT_SECONDS)
    for method, path, content, status, expected in [
            ("GET", "/hello/1", None, 200, b"hello 1"), ("GET", "/missing", None, 404, b"Not Found"),
            ("POST", "/echo", b"some", 200, b"some"), ("HEAD", "/hello/1", None, 200, b""),
            ("GET", "/download/2", None, 200, bytes(range(256)) * 512)]:
        connection.request(method, path, content)
        response = connection.getresponse()
        assert (response.status, response.read()) == (status, expected)
    connection.request("PUT", "/upload/a", iter([b"piece ", b"by ", b"piece"]), encode_chunked=True,
                       headers={"Transfer-Encoding": "chunked"})
    assert json.loads(connection.getresponse().read())["bytes"] == 14
    connection.close()


# Load: nobody gets a wrong answer, and no connection is lost.

def ask_often(server: Server, count: int) -> int:
    """How many answers were right."""
    connection = http.client.HTTPConnection(server.host, server.port, timeout=WAIT_SECONDS)
    right = 0
    for number in range(count):
        connection.request("GET", f"/late/{number}" if number % 10 == 0 else f"/hello/{number}")
        response = connection.getresponse()
        right += response.status == 200 and response.read().endswith(b" %d" % number)
    connection.close()
    return right


def test_many_of_http_client(server: Server) -> None:
    counts: list[int] = []
    threads = [threading.Thread(target=lambda: counts.append(ask_often(server, 100))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [100] * 20


def run(program: str, *arguments: str) -> str:
    done = subprocess.run((found(program) or program, *arguments), capture_output=True,
                          timeout=2 * WAIT_SECONDS, check=True, text=True)
    return done.stdout


PIPELINE = """\
init = function(args)
    local requests = {}
    for number = 1, 16 do
        requests[number] = wrk.format("GET", "/hello/" .. number)
    end
    pipeline = table.concat(requests)
end
request = function() return pipeline end
"""


@pytest.mark.program("wrk")
@pytest.mark.parametrize("script", ["", PIPELINE], ids=["one by one", "pipelined"])
def test_wrk(server: Server, tmp_path: Path, script: str) -> None:
    """It says so when an answer is none of 2xx, is malformed, or does not come."""
    (tmp_path / "script.lua").write_text(script)
    said = run("wrk", "--threads", "1", "--connections", "20", "--duration", "1s",
               "--script", str(tmp_path / "script.lua"), f"{server.url}/hello/1")
    requests = re.search(r"([0-9]+) requests in", said)
    assert requests is not None, said
    assert int(requests[1]) > 0
    assert "Socket errors" not in said
    assert "Non-2xx" not in said
    server.lives()


@pytest.mark.program("h2load")
@pytest.mark.parametrize("depth", [1, 16])
@pytest.mark.parametrize("path", ["/hello/1", "/late/1", "/download/2"])
def test_h2load(server: Server, depth: int, path: str) -> None:
    said = run("h2load", "--h1", "--requests", "1000", "--clients", "10", "--max-concurrent-streams",
               str(depth), f"{server.url}{path}")
    assert "1000 total, 1000 started, 1000 done, 1000 succeeded, 0 failed, 0 errored, 0 timeout" in said
    assert "1000 2xx, 0 3xx, 0 4xx, 0 5xx" in said
