"""Certificates for the tests, and a client's end of TLS that can do what ``ssl.SSLSocket`` cannot.

That is to close its side and read on, to peek, to read in one thread while another writes, and to tell the
end that the server has announced (close_notify) from one that anybody between could have made.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trustme
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

RECORD = 16384
"""The most octets that one record carries."""
NAMES = ("server.example", "localhost", "127.0.0.1", "::1")


@functools.cache
def authority() -> trustme.CA:
    """Whom the clients of these tests trust."""
    return trustme.CA()


def certificate(path: Path, **options: Any) -> str:
    """Write a new certificate of the server, with its key, and give its path."""
    authority().issue_cert(*NAMES, **options).private_key_and_cert_chain_pem.write_to_path(str(path))
    return str(path)


def trusting(own: trustme.LeafCert | None = None) -> ssl.SSLContext:
    """What a client needs that trusts the authority, and shows its ``own`` certificate if it is asked."""
    context = ssl.create_default_context()
    authority().configure_trust(context)
    if own is not None:
        own.configure_cert(context)
    return context


class TLSSocket:
    """The client's end of a connection: of a ``socket.socket``, what the tests call."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, name: str = "server.example") -> None:
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.ssl = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self._lock = threading.Lock()
        self._unsent, self._peeked = bytearray(), b""
        self.family = sock.family
        self.settimeout, self.setsockopt, self.close = sock.settimeout, sock.setsockopt, sock.close
        self.getsockname, self.fileno = sock.getsockname, sock.fileno
        while not self._shaken():
            self._flush()
            self._receive()
        self._flush()

    def _shaken(self) -> bool:
        try:
            self.ssl.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError:
            self._flush()
            raise
        return True

    def _flush(self) -> None:
        with self._lock:
            self._sock.sendall(self._outgoing.read())

    def _receive(self) -> None:
        octets = self._sock.recv(65536)
        if not octets:
            raise ConnectionResetError("the connection has ended without a close_notify")
        with self._lock:
            self._incoming.write(octets)

    def sendall(self, octets: bytes) -> None:
        for start in range(0, len(octets), RECORD):
            self.send(octets[start:start + RECORD])
        self._push()

    def send(self, octets: bytes) -> int:
        """Encrypt some, once all records before have left; so that a timeout leaves none half sent."""
        self._push()
        with self._lock:
            count = self.ssl.write(octets[:RECORD])
            self._unsent += self._outgoing.read()
        with contextlib.suppress(TimeoutError):
            self._push()
        return count

    def _push(self) -> None:
        while self._unsent:
            del self._unsent[:self._sock.send(self._unsent)]

    def recv(self, size: int, flags: int = 0) -> bytes:
        data, self._peeked = self._peeked or self._read(size), b""
        if flags & socket.MSG_PEEK:
            self._peeked = data
        return data

    def _read(self, size: int) -> bytes:
        while True:
            try:
                with self._lock:
                    return self.ssl.read(size)
            except ssl.SSLWantReadError:
                self._receive()
            except ssl.SSLZeroReturnError:
                return b""

    def shutdown(self, how: int) -> None:
        """Close this side: say so within TLS, and no more."""
        assert how == socket.SHUT_WR
        with self._lock, contextlib.suppress(ssl.SSLWantReadError):  # The server's side is open.
            self.ssl.unwrap()
        self._flush()

    def records(self, keylog: Path) -> Callable[[int, bytes], bytes]:
        """What makes the records of TLS 1.3 in place of the library: for a type and what it carries.

        ``keylog`` is where the context has written its secrets.  Nothing must have been sent before.
        """
        size, algorithm = (32, SHA384()) if "AES_256" in str(self.ssl.cipher()) else (16, SHA256())
        secret = bytes.fromhex(next(line.split()[2] for line in keylog.read_text().splitlines()
                                    if line.startswith("CLIENT_TRAFFIC_SECRET_0")))

        def derived(label: bytes, length: int) -> bytes:
            info = struct.pack(">HB", length, len(label) + 6) + b"tls13 " + label + b"\0"  # RFC 8446 s.7.1
            return HKDFExpand(algorithm, length, info).derive(secret)

        key, base = AESGCM(derived(b"key", size)), int.from_bytes(derived(b"iv", 12), "big")
        numbers = itertools.count()

        def protected(kind: int, octets: bytes) -> bytes:
            head = struct.pack(">BHH", 23, 0x0303, len(octets) + 1 + 16)  # s.5.2
            nonce = (base ^ next(numbers)).to_bytes(12, "big")  # s.5.3
            return head + key.encrypt(nonce, octets + bytes([kind]), head)

        return protected
