"""Honest clients at full load, and a count of what did not go as HTTP says."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from typing import NamedTuple

WAIT_SECONDS = 30


class Failure(NamedTuple):
    """A request that was not answered, though HTTP says that it must be, and who last answered there."""

    server: str
    what: str


class Load:
    """Clients that ask ``GET /`` without a pause, each ``pipelined`` requests at a time; a context manager.

    A client whose connection was closed connects anew, and asks again what was not answered there: a
    server may close behind any answer that says so (RFC 9112 s.9.6).  Every other end is a failure.
    """

    def __init__(self, port: int, clients: int = 8, pipelined: int = 1) -> None:
        self.answered = 0
        self.connections = 0
        self.failures: list[Failure] = []
        self.servers: set[str] = set()
        """What the answers said, which is who gave them."""
        self._port = port
        self._asked = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        self._pipelined = pipelined
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def go_on(self, requests: int) -> None:
        """Wait until so many more are answered."""
        goal, deadline = self.answered + requests, time.monotonic() + WAIT_SECONDS
        while self.answered < goal:
            assert time.monotonic() < deadline, (self.answered, goal, self.failures[:3])
            time.sleep(0.005)

    def _run(self) -> None:
        while not self._over.is_set():
            client = _Client(self._port)
            try:
                client.connect()
                while not self._over.is_set() and not client.closes:
                    self._ask(client)
            except OSError as error:
                with self._lock:
                    self.failures.append(Failure(client.server, repr(error)))
            finally:
                client.close()
                with self._lock:
                    self.connections += 1

    def _ask(self, client: _Client) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # What was answered says whether it may.
            client.send(self._asked * self._pipelined)
        for _ in range(self._pipelined):
            server = client.answer()
            with self._lock:
                self.answered += 1
                self.servers.add(server)
            if client.closes:
                return


class _Client:
    def __init__(self, port: int) -> None:
        self._sock = socket.socket()
        self._sock.settimeout(WAIT_SECONDS)
        self._port = port
        self._rest = b""
        self.server = ""
        self.closes = False

    def connect(self) -> None:
        self._sock.connect(("127.0.0.1", self._port))

    def send(self, octets: bytes) -> None:
        self._sock.sendall(octets)

    def answer(self) -> str:
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

    def close(self) -> None:
        self._sock.close()
