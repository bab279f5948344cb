"""What is asked of every contestant, and what it has to answer."""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

HELLO: Final = b"Hello world!"
ACTIVE: Final = 100
"""Connections that wrk keeps busy."""
UPLOAD_OCTETS: Final = 2**30
BROWSER: Final = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
                  "Chrome/120.0.0.0 Safari/537.36",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,"
              "*/*;q=0.8",
    "Accept-Encoding": "gzip, deflate, br", "Accept-Language": "en-US,en;q=0.9,de;q=0.8",
    "Cache-Control": "max-age=0", "Connection": "keep-alive", "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "none", "Sec-Fetch-User": "?1",
    "Upgrade-Insecure-Requests": "1", "Referer": "https://www.example.com/articles/2024/how-a-server-reads",
    "Cookie": "session=0123456789abcdef0123456789abcdef; theme=dark; _ga=GA1.2.1234567890.1712345678"}


class Workload(NamedTuple):
    """Requests that are all alike, and the answer to each."""

    key: str
    """Its name on the command line and in files."""
    about: str
    route: str = "hello"
    """What it is called where a contestant says what it cannot serve."""
    path: str = "/"
    answer: bytes = HELLO
    media_type: str = "text/plain"
    depth: int = 1
    """Requests in a write."""
    fields: tuple[tuple[str, str], ...] = ()
    content: bytes = b""
    """Sent by POST, if any."""
    active: int = ACTIVE
    idle: int = 0
    """Connections that have had one answer, and wait."""
    closes: bool = False
    upload: bool = False
    """One request, whose content is streamed, rather than many by wrk."""

    @property
    def request(self) -> bytes:
        """One request."""
        fields = [("Host", "127.0.0.1"), *self.fields]
        if self.content:
            fields.append(("Content-Length", str(len(self.content))))
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
        method = "POST" if self.content else "GET"
        return f"{method} {self.path} HTTP/1.1\r\n{lines}\r\n".encode() + self.content

    def same(self, content: bytes) -> bool:
        """Whether that is the right content of an answer.  Spaces in JSON do not count."""
        if self.media_type != "application/json":
            return content == self.answer
        try:
            value: Any = json.loads(content)
        except ValueError:
            return False
        return bool(value == json.loads(self.answer))


WORKLOADS: Final = {workload.key: workload for workload in (
    Workload("hello", "Hello world, 24 pipelined", depth=24),
    Workload("hello-unpipelined", "Hello world, one by one"),
    Workload("json", "JSON, 24 pipelined", "json", "/json", b'{"message": "Hello world!"}',
             "application/json", depth=24),
    Workload("browser", "A browser's head, 24 pipelined", depth=24, fields=tuple(BROWSER.items())),
    Workload("users", "A placeholder route, 24 pipelined", "users", "/users/somebody", b"Hello somebody",
             depth=24),
    Workload("echo", "POST of 1 KB echoed, 24 pipelined", "echo", "/echo", b"a" * 1024,
             "application/octet-stream", depth=24, content=b"a" * 1024),
    Workload("later", "An async handler that yields once, 24 pipelined", "later", "/later", depth=24),
    Workload("10k", "10 KB, one by one", "10k", "/10k", b"x" * 10_240),
    Workload("1m", "1 MB, one by one", "1m", "/1m", b"x" * 1_048_576),
    Workload("upload", "1 GB uploaded", "upload", "/upload", str(UPLOAD_OCTETS).encode(), upload=True),
    Workload("close", "Hello world, a connection for each", fields=(("Connection", "close"),), closes=True),
    Workload("depth-4", "Hello world, 4 pipelined", depth=4),
    Workload("depth-128", "Hello world, 128 pipelined", depth=128),
    Workload("connections-1", "Hello world, one connection", active=1),
    Workload("connections-1000", "Hello world, 1,000 connections, 900 of them idle", idle=900),
    Workload("connections-10000", "Hello world, 10,000 connections, 9,900 of them idle", idle=9_900),
)}

DEPTHS: Final = {1: "hello-unpipelined", 4: "depth-4", 24: "hello", 128: "depth-128"}
CONNECTIONS: Final = {1: "connections-1", 100: "hello-unpipelined", 1_000: "connections-1000",
                      10_000: "connections-10000"}
QUICK: Final = ("hello", "hello-unpipelined", "json")
