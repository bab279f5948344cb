"""One request with much content, sent as fast as the server takes it."""

from __future__ import annotations

import socket
import time
from contextlib import closing
from typing import Final

from bench import Missing
from bench.checking import check_answer, incoming
from bench.workloads import UPLOAD_OCTETS, Workload

PIECE: Final = memoryview(bytes(2**20))
PATIENCE_SECONDS: Final = 120


def upload(port: int, workload: Workload, octets: int = UPLOAD_OCTETS) -> float:
    """Send a content of so many octets, in MiB; the seconds from the first octet to the end of the answer."""
    head = f"POST {workload.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {octets}\r\n\r\n".encode()
    sent = 0
    try:
        with closing(socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)) as connection:
            begun = time.monotonic()
            connection.sendall(head)
            while sent < octets:
                connection.sendall(PIECE)
                sent += len(PIECE)
                if time.monotonic() - begun > PATIENCE_SECONDS:
                    raise TimeoutError
            check_answer(incoming(connection), workload._replace(answer=str(octets).encode()))
            return time.monotonic() - begun
    except TimeoutError:
        raise Missing(f"it does not take {octets:,} octets within {PATIENCE_SECONDS} s") from None
    except OSError as error:
        raise Missing(f"the upload broke after {sent:,} octets ({error})") from None
