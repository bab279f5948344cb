"""What clients send: the requests that parts are measured with, and that instructions are counted of."""

from __future__ import annotations

from typing import Final

DEPTHS: Final = (1, 24, 128)
"""How many requests come at once."""

HOST: Final = b"Host: 127.0.0.1:8080\r\n"
SMALL: Final = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
BROWSER: Final = (
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
HEADS: Final = {"40 octets": SMALL, "751 octets": BROWSER}


def get(target: bytes) -> bytes:
    """A small request."""
    return b"GET %b HTTP/1.1\r\n%b\r\n" % (target, HOST)


def post(target: bytes, content: bytes, *fields: bytes) -> bytes:
    """A request with content."""
    lines = b"".join(field + b"\r\n" for field in fields)
    return b"POST %b HTTP/1.1\r\n%b%bContent-Length: %d\r\n\r\n%b" % (
        target, HOST, lines, len(content), content)


def chunked(target: bytes, content: bytes, size: int) -> bytes:
    """A request with content in chunks of so many octets."""
    pieces = (content[at:at + size] for at in range(0, len(content), size))
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return b"POST %b HTTP/1.1\r\n%bTransfer-Encoding: chunked\r\n\r\n%b0\r\n\r\n" % (target, HOST, chunks)
