"""How fast heads are found: the reference against the scanner in C at each level.

    python -m pytest bench/test_scanner.py --benchmark-group-by=param:heads

Calls are timed: divide by 24 for the pipelined heads.  What is measured is what Python sees, objects of heads
included; heads.c measures the C alone.
"""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from japronto.accel import scanner
from japronto.interfaces import Scan
from japronto.limits import Limits
from japronto.pure import grammar

SMALL = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n"
BROWSER = (
    b"GET /articles/2024/how-a-server-reads?page=2&sort=new HTTP/1.1\r\n"
    b"Host: www.example.com\r\n"
    b"Connection: keep-alive\r\n"
    b"Cache-Control: max-age=0\r\n"
    b"Upgrade-Insecure-Requests: 1\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    b"Chrome/124.0.0.0 Safari/537.36\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n"
    b"Sec-Fetch-Site: same-origin\r\n"
    b"Sec-Fetch-Mode: navigate\r\n"
    b"Referer: https://www.example.com/articles/\r\n"
    b"Accept-Encoding: gzip, deflate, br\r\n"
    b"Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n"
    b"Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; _ga=GA1.2.1234567890.1712345678; x="
    + b"y" * 96 + b"\r\n\r\n")
HEADS = {"40 octets": SMALL, "751 octets": BROWSER,
         "40 octets x 24": SMALL * 24, "751 octets x 24": BROWSER * 24}


@pytest.fixture(params=["pure", *scanner.levels()])
def scan(request: pytest.FixtureRequest) -> Scan:
    """The scanner that is measured."""
    return grammar.scan if request.param == "pure" else scanner.make_scan(grammar.scan, request.param)


@pytest.mark.parametrize("heads", HEADS)
def test_scan(heads: str, scan: Scan, benchmark: BenchmarkFixture) -> None:
    octets = HEADS[heads]
    scanned = benchmark(scan, octets, 0, 1 << 30, Limits())
    assert scanned.stop == len(octets)
