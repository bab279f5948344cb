"""Clients of a server under test: many at once, honest ones at full load, and a count of what did not go
as HTTP says.
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from typing import NamedTuple, Self

WAIT_SECONDS = 30


class Clients:
    """Threads that each do ``serve``, one client after the other, until the body of the ``with`` is over."""

    def __init__(self, port: int, threads: int) -> None:
        self.connections = 0
        """How many clients have been there."""
        self.port = port
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(threads)]

    def one(self, number: int) -> None:
        """What one client of the thread with this number does, from its connection to its end."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        while not self._over.is_set():
            self.one(number)
            with self._lock:
                self.connections += 1


class Failure(NamedTuple):
    """A request that was not answered, though HTTP says that it must be, and who last answered there."""

    server: str
    what: str


class Load(Clients):
    """Clients that ask ``GET /`` without a pause, each ``pipelined`` requests at a time.

    A client whose connection was closed connects anew, and asks again what was not answered there: a
    server may close behind any answer that says so (RFC 9112 s.9.6).  Every other end is a failure.
    """

    def __init__(self, port: int, clients: int = 8, pipelined: int = 1) -> None:
        super().__init__(port, clients)
        self.answered = 0
        self.failures: list[Failure] = []
        self.servers: set[str] = set()
        """What the answers said, which is who gave them."""
        self._pipelined = pipelined

    def go_on(self, requests: int) -> None:
        """Wait until so many more are answered."""
        goal, deadline = self.answered + requests, time.monotonic() + WAIT_SECONDS
        while self.answered < goal:
            assert time.monotonic() < deadline, (self.answered, goal, self.failures[:3])
            time.sleep(0.005)

    def one(self, number: int) -> None:
        client: Client | None = None
        try:
            with Client(self.port) as client:
                while not self._over.is_set() and not client.closes:
                    self._ask(client)
        except OSError as error:
            with self._lock:
                self.failures.append(Failure("" if client is None else client.server, repr(error)))

    def _ask(self, client: Client) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # What was answered says whether it may.
            client.send("/", self._pipelined)
        for _ in range(self._pipelined):
            server = client.answer()
            with self._lock:
                self.answered += 1
                self.servers.add(server)
            if client.closes:
                return


class Client:
    """A connection that requests are sent over; a context manager.  All it raises is OSError."""

    def __init__(self, port: int) -> None:
        self.server = ""
        """What the last answer said."""
        self.closes = False
        """Whether the last answer said that none will follow."""
        self._rest = b""
        self._sock = connected(port)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def send(self, path: str, count: int = 1) -> None:
        """Ask for something, or for the same several times at once."""
        self._sock.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode() * count)

    def answer(self) -> str:
        """The text of the next answer, which must be a good one."""
        head = self._until(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            raise OSError(f"answered with {head!r}")
        _, _, fields = head.lower().partition(b"content-length:")
        length = int(fields.partition(b"\r\n")[0])
        while len(self._rest) < length:
            self._receive()
        content, self._rest = self._rest[:length], self._rest[length:]
        self.closes = b"connection: close" in head.lower()
        self.server = content.decode()
        return self.server

    def _until(self, end: bytes) -> bytes:
        while end not in self._rest:
            self._receive()
        found, _, self._rest = self._rest.partition(end)
        return found

    def _receive(self) -> None:
        data = self._sock.recv(65536)
        if not data:
            raise ConnectionError("closed without an answer")
        self._rest += data


def connected(port: int) -> socket.socket:
    """A connection to a server of this machine, over which nothing has been said."""
    return socket.create_connection(("127.0.0.1", port), WAIT_SECONDS)
