"""Whether a contestant answers right: status, length and content of every answer, byte for byte.

Asked is what wrk will ask, pipelined as deep, so that nothing wrong or missing is counted as fast.
"""

from __future__ import annotations

import http.client
import io
import socket
from contextlib import closing, suppress
from typing import Any, Final

from bench import Missing
from bench.workloads import Workload

PATIENCE_SECONDS: Final = 10
CLOSE_SECONDS: Final = 3


class Incoming(io.BufferedReader):
    """One stream for all answers of a connection: http.client takes it for a socket, and may not close it."""

    def makefile(self, _mode: str) -> Incoming:
        return self

    def close(self) -> None:
        pass


def check(port: int, workload: Workload) -> None:
    """Raise Missing unless all is answered as it must be."""
    try:
        with closing(socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)) as connection:
            answers = incoming(connection)
            for _ in range(1 if workload.closes else 2):
                connection.sendall(workload.request * workload.depth)
                for _ in range(workload.depth):
                    check_answer(answers, workload)
            _check_the_end(connection, answers, workload)
    except TimeoutError:
        raise Missing(f"it does not answer {workload.path} within {PATIENCE_SECONDS} s") from None
    except OSError as error:
        raise Missing(f"the connection broke ahead of the answer to {workload.path} ({error})") from None


def incoming(connection: socket.socket) -> Incoming:
    """What arrives on a connection, for ``check_answer``."""
    return Incoming(socket.SocketIO(connection, "r"))


def check_answer(answers: Any, workload: Workload) -> None:
    """Read one answer; raise Missing if it is wrong."""
    path = workload.path
    response = http.client.HTTPResponse(answers, method="GET")
    try:
        response.begin()
        if response.length is None and not response.chunked:
            raise Missing(f"the answer to {path} has neither a Content-Length nor chunks")
        content = response.read()
    except http.client.HTTPException as error:
        raise Missing(f"{path} is answered with what is no HTTP: {error!r}") from None
    if response.status != 200:
        raise Missing(f"{path} is answered with status {response.status}: {shown(content)}")
    media_type = response.headers["Content-Type"]
    if media_type is None or response.headers.get_content_type() != workload.media_type:
        raise Missing(f"the answer to {path} has the Content-Type {media_type}, not {workload.media_type}")
    if not workload.same(content):
        raise Missing(f"the answer to {path} is {shown(content)}, not {shown(workload.answer)}")


def shown(content: bytes) -> str:
    """What fits a line."""
    if len(content) <= 80:
        return repr(content)[1:]
    return f"{len(content):,} octets: {repr(content[:60])[1:]}..."


def _check_the_end(connection: socket.socket, answers: Incoming, workload: Workload) -> None:
    """Nothing follows the answers, and the connection stays open, or not, as it was asked to."""
    if workload.closes:
        connection.settimeout(CLOSE_SECONDS)
        try:
            rest = answers.read1(80)
        except TimeoutError:
            raise Missing("it keeps a connection open that it was asked to close") from None
    else:
        connection.setblocking(False)  # Whoever sends too much does so at once.
        rest = answers.peek()
        with suppress(BlockingIOError):
            if not rest and not connection.recv(1, socket.MSG_PEEK):
                raise Missing("it closes a connection that should stay")
    if rest:
        raise Missing(f"more follows the answer to {workload.path}: {shown(rest)}")
