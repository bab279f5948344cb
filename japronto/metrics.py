"""What the server tells those who watch it: metrics for Prometheus, whether it lives, whether it is ready.

``Meter`` counts for one worker, into its row of the board; the fast lane counts by itself what goes through
it.  ``metered`` makes the protocol whose connections are counted: a class of its own, so that nothing of this
costs those anything who do not ask for it.

``Watch.application`` is what answers at the metrics address.  Whichever worker is asked, the answer
is the sum over all rows of the board.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from japronto import __version__
from japronto.access import answered
from japronto.app import Application
from japronto.board import BUCKETS, CELLS, METHODS, STATUS_CELLS, STATUSES, TIMEOUTS, Board, Place, Row
from japronto.limits import Limits, Timeouts
from japronto.pure.request import Request
from japronto.pure.response import Response
from japronto.worker import resident

if TYPE_CHECKING:
    from japronto.config import ServerConfig
    from japronto.protocol import HTTPProtocol
    from japronto.server import Server, Worker

PROCESS_SECONDS: Final = 5
"""Between two looks at what the process uses; to count open files is to walk a directory."""
PREFIX: Final = "japronto_"


# -- Counting ----------------------------------------------------------------------------------

class Meter:
    """What one worker counts."""

    def __init__(self, row: Row) -> None:
        self.row = row
        self.cells = row.cells
        self._methods = {method: CELLS[f"request {method} {STATUSES[0]}"] for method in METHODS}
        self._other = self._methods["other"]
        self._cpu = 0.0
        self._looked = -math.inf

    def add(self, request: Request, seconds: float) -> None:
        """A request is over; what went through the lane is counted there."""
        cells, refusal = self.cells, request.refusal
        status, _ = answered(request)
        number = STATUS_CELLS[status] if 0 <= status < len(STATUS_CELLS) else STATUS_CELLS[0]
        method = request.method if refusal is None or refusal.method is not None else "other"
        cells[self._methods.get(method, self._other) + number] += 1
        if refusal is not None:
            cells[_VIOLATIONS + number] += 1
        bucket = next((n for n, bound in enumerate(BUCKETS) if seconds <= bound), len(BUCKETS))
        cells[_DURATIONS + bucket] += 1
        cells[_SECONDS] += seconds

    def lane_cells(self) -> tuple[Any, ...]:
        """Where the lane counts what goes through it."""
        return (self.cells, STATUS_CELLS, CELLS[f"request {METHODS[0]} {STATUSES[0]}"], len(STATUSES),
                CELLS["received_bytes"], CELLS["sent_bytes"], CELLS["lane_requests"], _SECONDS, _DURATIONS,
                BUCKETS)

    def look(self, worker: Worker, *, now: bool = False) -> None:
        """Note what is no counter; the worker's timer has it done, and who asks it for the metrics."""
        row, admission = self.row, worker.admission
        row.set("connections", admission.count)
        row.set("in_flight", len(worker.runner.tasks))
        for name, count in (("refused", admission.refused), ("evicted", admission.evicted)):
            row.add(name, count)
        admission.refused = admission.evicted = 0
        if now or time.monotonic() - self._looked >= PROCESS_SECONDS:
            self._looked = time.monotonic()
            self._look_at_process()

    def _look_at_process(self) -> None:
        cpu = time.process_time()
        self.row.add("cpu_seconds", cpu - self._cpu)
        self._cpu = cpu
        self.row.set("resident_bytes", resident())
        self.row.set("open_files", _open_files())


_VIOLATIONS: Final = CELLS[f"violation {STATUSES[0]}"]
_DURATIONS: Final = CELLS["duration 0"]
_SECONDS: Final = CELLS["duration_seconds"]
_RECEIVED: Final = CELLS["received_bytes"]
_SENT: Final = CELLS["sent_bytes"]


def metered(base: type[HTTPProtocol]) -> type[HTTPProtocol]:
    """The protocol whose connections are counted."""
    class Metered(base):  # type: ignore[valid-type,misc]
        __slots__ = ()

        def connection_made(self, transport: Any) -> None:
            if self.worker.preambles is None:  # Else it was counted when it began.
                self.worker.meter.row.add("accepted")
            super().connection_made(transport)

        def _carry_on(self, data: bytes, served: Any) -> None:
            if self._lane is None:
                self.worker.meter.cells[_RECEIVED] += len(data)
            elif served is not None and served[2] is not None:
                self._stopwatch.adopt(served[2], self._lane.elapsed())
            super()._carry_on(data, served)

        def _write(self, buffers: list[bytes]) -> None:
            self.worker.meter.cells[_SENT] += sum(map(len, buffers))
            super()._write(buffers)

        def _time_out(self, what: str) -> None:
            self.worker.meter.row.add(f"timeout {what}")
            super()._time_out(what)

        def _turn_away(self, request: Request) -> None:
            self.worker.meter.row.add("busy")
            super()._turn_away(request)

    return Metered


def _open_files() -> int:
    for directory in ("/proc/self/fd", "/dev/fd"):
        with contextlib.suppress(OSError):
            return sum(1 for _ in Path(directory).iterdir()) - 1  # without the one that reads it
    return 0


# -- Telling -----------------------------------------------------------------------------------

class Collector:
    """The sums of a board as families of metrics; what ``prometheus_client`` calls a custom collector."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import (  # noqa: PLC0415 - an extra
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
        )

        totals = self._board.totals()
        for name, help_text, label, cells in _COUNTERS:
            counter = CounterMetricFamily(PREFIX + name, help_text, labels=label)
            for values, cell in cells:
                # Of hundreds of codes, those are told that have been answered.
                if totals[cell] or len(cells) <= len(TIMEOUTS):
                    counter.add_metric(values, totals[cell])
            yield counter
        total, buckets = 0.0, []
        for number, bound in enumerate([*map(str, BUCKETS), "+Inf"]):
            total += totals[f"duration {number}"]
            buckets.append((bound, total))
        yield HistogramMetricFamily(
            PREFIX + "request_duration_seconds",
            "From the first octet of a request to the last of its answer, handed to the kernel.",
            buckets=buckets, sum_value=totals["duration_seconds"])
        for name, help_text, cell in _GAUGES:
            yield GaugeMetricFamily(PREFIX + name, help_text, value=totals[cell])
        started = min((row.get("started") for row in self._board.used() if row.get("alive")), default=0.0)
        yield GaugeMetricFamily(PREFIX + "start_time_seconds",
                                "When the oldest of the workers has started, in seconds since the epoch.",
                                value=started)
        build = GaugeMetricFamily(PREFIX + "build_info", "The version of Japronto.", labels=["version"])
        build.add_metric([__version__], 1)
        yield build


_Cells = list[tuple[list[str], str]]


def _plain(cell: str) -> _Cells:
    return [([], cell)]


_COUNTERS: Final[list[tuple[str, str, list[str], _Cells]]] = [
    ("requests", "Requests that were answered, or cut by the client (499).", ["method", "status"],
     [([method, status], f"request {method} {status}") for method in METHODS for status in STATUSES]),
    ("fast_lane_requests", "Those of them that the fast lane has served.", [], _plain("lane_requests")),
    ("violations", "Requests that were refused for what was on the wire, by the status of the answer.",
     ["status"], [([status], f"violation {status}") for status in STATUSES]),
    ("timeouts", "Clients that took too long, by what they were waited for.", ["kind"],
     [([what.replace("-", "_")], f"timeout {what}") for what in TIMEOUTS]),
    ("requests_refused_busy", "Requests that were answered with 503, since too many were in flight.", [],
     _plain("busy")),
    ("received_bytes", "Octets that clients have sent.", [], _plain("received_bytes")),
    ("sent_bytes", "Octets that were handed to the kernel for clients.", [], _plain("sent_bytes")),
    ("connections_accepted", "Connections that clients have opened.", [], _plain("accepted")),
    ("connections_refused", "Connections that were closed at once, for their client or their header.", [],
     _plain("refused")),
    ("connections_evicted", "Idle connections that were closed, since the worker had all it may have.", [],
     _plain("evicted")),
    ("worker_restarts", "Workers that were started in the place of others that had ended.", [],
     _plain("restarts")),
    ("cpu_seconds", "Time that workers had of processors, up to their last look at the clock.", [],
     _plain("cpu_seconds")),
]
_GAUGES: Final = [
    ("workers", "Workers that live.", "alive"),
    ("workers_ready", "Workers that take requests.", "ready"),
    ("connections", "Connections that are open.", "connections"),
    ("requests_in_flight", "Requests whose handlers or streams wait for something.", "in_flight"),
    ("resident_memory_bytes", "Memory that the workers hold.", "resident_bytes"),
    ("open_files", "File descriptors that the workers have open.", "open_files"),
]


class Watch:
    """How one server is watched; what it answers to those who do."""

    def __init__(self, place: Place, worker: Worker, config: ServerConfig) -> None:
        self._board = place.board
        self._row = place.board.row(place.slot)
        self._row.vacate()
        self._row.set("alive", 1)
        self._row.set("started", time.time())
        self._worker = worker
        self.server: Server | None = None
        """What listens at the metrics address."""
        if config.metrics_address is not None or config.metrics_path is not None:
            meter = Meter(self._row)
            worker.count(meter, metered(worker.backend.protocol))
            meter.look(worker)
        paths = {config.metrics_path: self.metrics, config.health_path: self.ready}
        worker.app.reserve({path: handler for path, handler in paths.items() if path is not None})

    def set_ready(self, ready: bool) -> None:
        """Whether this worker takes requests."""
        self._row.set("ready", ready)

    async def close(self) -> None:
        """Stop telling; what was counted stays."""
        self._row.vacate()
        self._worker.app.reserve({})
        if self.server is not None:
            await self.server.close()
        self._board.close()

    def metrics(self, request: Request) -> Response:
        """The text format, or OpenMetrics where that is asked for."""
        from prometheus_client import CollectorRegistry  # noqa: PLC0415 - an extra
        from prometheus_client.exposition import choose_encoder  # noqa: PLC0415

        if self._worker.meter is not None:
            self._worker.meter.look(self._worker, now=True)
        registry = CollectorRegistry(auto_describe=False)
        registry.register(Collector(self._board))
        try:
            encode, media_type = choose_encoder(request.headers.get("Accept", ""))
        except (TypeError, ValueError, LookupError):  # It trusts that versions are numbers.
            encode, media_type = choose_encoder("")
        return request.Response(body=encode(registry), mime_type=media_type)

    def live(self, request: Request) -> Response:
        """That there is an answer is the answer."""
        return _told(request, 200, "live")

    def ready(self, request: Request) -> Response:
        """Whether any worker takes requests."""
        ready = any(row.get("alive") and row.get("ready") for row in self._board.used())
        return _told(request, *((200, "ready") if ready else (503, "not ready")))

    def application(self) -> Application:
        """What is served at the metrics address: few may connect, and nobody for long.

        One client has few of those, so that the others are answered whatever it does: a probe that fails
        has the whole server killed.  Those on this machine are not told apart, so they have no such share.
        """
        app = Application(limits=Limits(connections=100, connections_per_client=20, requests_in_flight=100,
                                        content_bytes=1),
                          timeouts=Timeouts(idle_seconds=300, head_seconds=2, drain_seconds=1))
        app.add_route("/metrics", self.metrics, "GET")
        app.add_route("/live", self.live, "GET")
        app.add_route("/ready", self.ready, "GET")
        return app


def _told(request: Request, status: int, text: str) -> Response:
    return request.Response(status, text=f"{text}\n", headers={"Cache-Control": "no-store"})
