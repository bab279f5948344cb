"""A server without sockets: what is measured depends on no kernel and no client.

``Server`` is a real worker with a real connection.  Only what stands below is a stand-in: octets are handed
to the connection as the event loop hands them over, and what is written is thrown away as after a send.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final

from japronto import backend
from japronto.app import Application
from japronto.config import BACKEND_VARIABLE, SIMD_VARIABLE
from japronto.server import Worker

TURNS_MAX: Final = 1000
"""Of the event loop, until all handlers have answered and their answers have left."""


class Transport:
    """Takes what is written, and says of itself what a transport of the event loop says.

    ``write`` is a function of C, so that the stand-in costs next to nothing itself; of what is written only
    the last buffer is kept, as after a send.
    """

    write: Callable[[bytes], object]
    writelines: Callable[[list[bytes]], object]

    def __init__(self) -> None:
        self.write_to(deque(maxlen=1))

    def write_to(self, written: deque[bytes]) -> None:
        """Put what is written from now on there."""
        self.write, self.writelines = written.append, written.extend

    def set_write_buffer_limits(self, high: int | None = None) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: object = None) -> object:
        return ("127.0.0.1", 50000) if name == "peername" else default

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def abort(self) -> None: ...

    close = abort


class Server:
    """One worker and one connection of an application; to be used in a ``with`` statement."""

    def __init__(self, app: Application) -> None:
        self.loop = asyncio.new_event_loop()
        self.worker = Worker(app, self.loop)
        self.transport = Transport()
        protocol: Any = self.worker.protocol()
        protocol.connection_made(self.transport)
        self._protocol = protocol
        self.receive: Callable[[bytes], None] = protocol.data_received
        """What the event loop calls with what it has read."""

    def __enter__(self) -> Server:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self._protocol.connection_lost(None)
        self.worker.runner.close()
        self.turn()
        self.loop.close()

    def turn(self) -> None:
        """Let the event loop do what is due now."""
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()

    def serve(self, octets: bytes) -> None:
        """Receive octets, and wait until all that they ask is answered."""
        self.receive(octets)
        queue = self._protocol.connection.queue
        for _ in range(TURNS_MAX):
            if not queue:
                return
            self.turn()
        raise AssertionError(f"{len(queue)} requests are not answered")

    def answers(self, octets: bytes) -> bytes:
        """What is written when these octets have come."""
        written: deque[bytes] = deque()
        self.transport.write_to(written)
        self.serve(octets)
        self.transport.write_to(deque(maxlen=1))
        return b"".join(written)


@contextmanager
def chosen(name: str, simd: str = "auto") -> Iterator[backend.Backend]:
    """The backend of this name, as a user chooses it."""
    names = BACKEND_VARIABLE, SIMD_VARIABLE
    before = {variable: os.environ.get(variable) for variable in names}
    os.environ.update(zip(names, (name, simd), strict=True))
    try:
        yield backend.active()
    finally:
        for variable, value in before.items():
            if value is None:
                del os.environ[variable]
            else:
                os.environ[variable] = value


def application() -> Application:
    """What is asked for most; made for the backend that is active."""
    app = Application()

    @app.get("/")
    def hello(request: Any) -> Any:
        return request.Response(text="Hello world!")

    @app.get("/articles/{year}/{name}")
    def article(request: Any) -> Any:
        return request.Response(text="Hello world!")

    @app.get("/users/{name}")
    def user(request: Any) -> Any:
        return request.Response(text="Hello " + request.match_dict["name"])

    @app.get("/json")
    def json(request: Any) -> Any:
        return request.Response(json={"message": "Hello world!"})

    @app.post("/echo")
    def echo(request: Any) -> Any:
        return request.Response(body=request.body)

    @app.get("/async")
    async def at_once(request: Any) -> Any:
        return request.Response(text="Hello world!")

    @app.get("/later")
    async def later(request: Any) -> Any:
        await asyncio.sleep(0)
        return request.Response(text="Hello world!")

    return app
