"""Two instances behind HAProxy, as docs/deployment/haproxy.cfg has it, restarted in turn under load.

Whether they load the program anew or stop and start, no client notices.
"""

from __future__ import annotations

import http.client
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from deployment import commands, replaced
from sockets.process import until
from sockets.proxy import reserved, started

from .conftest import PROGRAM, Master, Start
from .load import Load

CLIENT = """
@app.get("/client")
def client(request):
    return request.Response(text=request.remote_addr)
"""
HOSTS = ("127.0.0.11", "127.0.0.12")
IN_FILE = ("192.0.2.11", "192.0.2.12")


class Pair:
    """Two instances, each of two workers, and the ports that both have.

    The times of the file are a twentieth of what they are there, or not much more.
    """

    def __init__(self, start: Start, port: int, metrics: int) -> None:
        self._start, self._port, self._metrics = start, port, metrics
        self.instances = [self.started(host) for host in HOSTS]

    def started(self, host: str) -> Master:
        words = {"0.0.0.0": host, "0.0.0.0:9090": f"{host}:{self._metrics}", "10": "0.8",
                 "192.0.2.1": "127.0.0.1"}
        options = commands()["haproxy.cfg"][1:-1]
        assert words.keys() <= set(options)
        return self._start("--port", str(self._port), "--retire-seconds", "1",
                           *(words.get(option, option) for option in options), program=PROGRAM + CLIENT)

    def configuration(self, front: int) -> str:
        return replaced("haproxy.cfg", {
            **{f"{there}:8080": f"{here}:{self._port}" for there, here in zip(IN_FILE, HOSTS, strict=True)},
            "port 9090 inter 2s": f"port {self._metrics} inter 100ms",
            "bind :80": f"bind 127.0.0.1:{front}"})

    def loaded_anew(self, load: Load) -> None:
        """Each in turn, by SIGHUP."""
        for instance in self.instances:
            before = set(instance.workers())
            instance.signal(signal.SIGHUP)
            until(lambda instance=instance, before=before: before.isdisjoint(instance.workers()),
                  "all workers are replaced")
            self.serves(load, instance)

    def stopped_and_started(self, load: Load) -> None:
        for number, host in enumerate(HOSTS):
            self.instances[number].signal(signal.SIGTERM)
            self.instances[number].exits()
            self.instances[number] = self.started(host)
            self.serves(load, self.instances[number])

    def quit(self) -> None:
        """End both, without the delay."""
        for instance in self.instances:
            instance.signal(signal.SIGQUIT)
        for instance in self.instances:
            instance.exits(1)

    @staticmethod
    def serves(load: Load, instance: Master) -> None:
        """The balancer sends requests there."""
        until(lambda: not load.servers.isdisjoint(map(str, instance.workers())), "it has its share")


def seen_through(port: int, source: str) -> str:
    """Whom a handler takes for the client that asks from ``source``."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=30, source_address=(source, 0))
    try:
        client.request("GET", "/client")
        return client.getresponse().read().decode()
    finally:
        client.close()


@contextmanager
def balanced(start: Start, directory: Path) -> Iterator[tuple[Pair, Load]]:
    """Load on a pair, of which no request may fail."""
    with reserved(*HOSTS) as port, reserved(*HOSTS) as metrics, reserved("127.0.0.1") as front:
        pair = Pair(start, port, metrics)

        def serves() -> bool:
            with suppress(OSError):
                return bool(seen_through(front, "127.0.0.1"))
            return False

        with started("haproxy", pair.configuration(front), directory, serves), Load(front) as load:
            for instance in pair.instances:
                pair.serves(load, instance)
            yield pair, load
        pair.quit()
    print(f"{load.answered:,} requests, {len(load.failures)} failed, {len(load.servers)} workers")
    assert load.failures == []


@pytest.mark.program("haproxy")
def test_instances_that_are_restarted_in_turn(start: Start, tmp_path: Path) -> None:
    with balanced(start, tmp_path) as (pair, load):
        pair.loaded_anew(load)
        pair.stopped_and_started(load)
        assert seen_through(load.port, "127.0.0.2") == "127.0.0.2"
    assert load.answered > 2_000


@pytest.mark.long
@pytest.mark.program("haproxy")
def test_instances_that_are_restarted_again_and_again(start: Start, tmp_path: Path) -> None:
    rounds = 0
    with balanced(start, tmp_path) as (pair, load):
        while rounds < 10 or load.answered < 500_000:
            pair.loaded_anew(load)
            pair.stopped_and_started(load)
            rounds += 1
    print(f"{rounds} rounds")
