"""The files of docs/deployment.md at work: what they start serves, is loaded anew, and ends in order.

In the parts of systemd, of the kernel of a container and of Kubernetes are the tests; the proxies are real.
"""

from __future__ import annotations

import http.client
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from command import COMMAND, WAIT_SECONDS
from deployment import commands, container, image_environment, replaced, unit
from sockets.process import found, until
from sockets.proxy import reserved, running
from sockets.test_activation import listening, manager

from .conftest import Master

PROGRAM = """
import asyncio, os, subprocess
from japronto import Application
app = Application()
@app.get("/")
def client(request):
    return request.Response(text=request.remote_addr)
@app.get("/wait")
async def wait(request):
    open("waiting", "w").close()
    while not os.path.exists("go"):
        await asyncio.sleep(0.01)
    return request.Response(text="gone")
@app.get("/orphan")
def orphan(request):
    subprocess.run(["sh", "-c", "(while [ ! -e go ]; do sleep 0.01; done) &"], check=True)
    return request.Response(text="left behind")
"""

Deploy = Callable[..., Master]


@pytest.fixture
def deploy(tmp_path: Path) -> Iterator[Deploy]:
    """Starts the command of a file, with some of its words replaced, and more of them."""
    with ExitStack() as stack:
        def deployed(name: str, words: dict[str, str], *options: str, before: Sequence[str] = (),
                     passed: Sequence[int] = (), **environment: str) -> Master:
            directory = tmp_path / f"server-{len(list(tmp_path.iterdir()))}"
            directory.mkdir()
            (directory / "hello.py").write_text(PROGRAM)
            words = {"/srv/hello": str(directory), **words}
            assert all(word in commands()[name] for word in words if word != "/srv/hello"), words
            arguments = [words.get(word, word) for word in commands()[name][1:]]
            master = Master(directory, (*before, *COMMAND, *options, *arguments), environment, passed)
            stack.callback(master.end)
            return master

        yield deployed


def ask(port: int, path: str = "/", host: str = "127.0.0.1", source: str = "127.0.0.1") -> tuple[int, str]:
    """The status and the text that a new connection is answered with."""
    client = http.client.HTTPConnection(host, port, timeout=WAIT_SECONDS, source_address=(source, 0))
    try:
        client.request("GET", path)
        answer = client.getresponse()
        return answer.status, answer.read().decode()
    finally:
        client.close()


# -- systemd ---------------------------------------------------------------------------------------

class Manager:
    """What systemd hears at NOTIFY_SOCKET, and from whom; and what it looks at."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def hears(self, master: Master) -> list[str]:
        """The next that the main process says, other than that it lives."""
        while (said := self._said(master)) == ["WATCHDOG=1"]:
            pass
        return said

    def hears_that_it_lives(self, master: Master) -> None:
        assert self._said(master) == ["WATCHDOG=1"]

    def _said(self, master: Master) -> list[str]:
        """A datagram; no other process may send one."""
        said, ancillary, _, _ = self._sock.recvmsg(4096, socket.CMSG_SPACE(12))
        assert struct.unpack("3i", ancillary[0][2])[0] == master.process.pid
        return said.decode().splitlines()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Manager]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(WAIT_SECONDS)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        sock.bind(str(tmp_path / "notify"))
        yield Manager(sock)


def test_the_service(deploy: Deploy, systemd: Manager, tmp_path: Path) -> None:
    """Started with its socket, loaded anew by ExecReload=, and stopped by the signal to its master."""
    service = unit("japronto.service")["Service"]
    host, _, _ = unit("japronto.socket")["Socket"]["ListenStream"].partition(":")
    assert (host, service["ExecReload"]) == ("127.0.0.1", "/bin/kill -HUP $MAINPID")
    assert service["KillMode"] == "mixed"
    with listening(0) as sockets:
        port = sockets[0].getsockname()[1]
        server = deploy("japronto.service", {}, before=manager(*sockets, names="japronto.socket"),
                        passed=[sockets[0].fileno()], NOTIFY_SOCKET=str(tmp_path / "notify"),
                        WATCHDOG_USEC=str(int(service["WatchdogSec"]) * 1_000_000))
        assert systemd.hears(server) == ["READY=1", f"STATUS=Listening on http://127.0.0.1:{port}"]
        before = server.workers()
        assert len(before) == 2
        assert ask(port) == (200, "127.0.0.1")
        subprocess.run(service["ExecReload"].replace("$MAINPID", str(server.process.pid)).split(), check=True)
        assert [line.partition("=")[0] for line in systemd.hears(server)] == ["RELOADING", "MONOTONIC_USEC"]
        while True:  # Clients that are idle keep an old worker; here there are none.
            assert ask(port) == (200, "127.0.0.1")
            if not set(before) & set(server.workers()):
                break
        assert systemd.hears(server) == ["READY=1"]
        systemd.hears_that_it_lives(server)
        server.signal(signal.SIGTERM)
        assert systemd.hears(server) == ["STOPPING=1"]
        server.exits()


# -- Containers ------------------------------------------------------------------------------------

def process_1() -> list[str]:
    """What makes a command process 1, as it is in a container; skips where that is not allowed."""
    unshare = found("unshare")
    refusal = "there is no unshare"
    for more in ([], ["--user", "--map-root-user"]) if unshare else ():
        command = [str(unshare), *more, "--pid", "--fork", "--kill-child", "--mount-proc"]
        done = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return command
        refusal = done.stderr.strip()
    pytest.skip(refusal)


def children(pid: int) -> dict[int, str]:
    """The processes that have this one for their parent, each with its state."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return {int(child): Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]
            for child in path.read_text().split()}


@contextmanager
def asking(port: int, path: str, answers: list[tuple[int, str]]) -> Iterator[None]:
    """Ask while the body runs, and then wait for the answer."""
    thread = threading.Thread(target=lambda: answers.append(ask(port, path)))
    thread.start()
    try:
        yield
    finally:
        thread.join()


def test_process_1_of_a_pod(deploy: Deploy) -> None:
    """It takes in orphans; at TERM it is not ready, finishes what has begun, and ends."""
    probes = {name: container()[f"{name}Probe"]["httpGet"]["path"] for name in ("liveness", "readiness")}
    server = deploy("kubernetes.yaml", {
        "0.0.0.0:9090": "0.0.0.0:0", "10": "0.3"}, "--port", "0",
        before=process_1(), **{name: value for name, value in image_environment().items() if name != "PATH"})
    server.until_said("Metrics and health are at")
    server.listening()
    metrics = int(server.said().rpartition(":")[2].strip(".\n"))
    (first,) = children(server.process.pid)
    (worker,) = children(first)
    assert [ask(metrics, path)[0] for path in probes.values()] == [200, 200]

    assert ask(server.port, "/orphan") == (200, "left behind")
    (orphan,) = children(first).keys() - {worker}
    answers: list[tuple[int, str]] = []
    with asking(server.port, "/wait", answers):
        until((server.directory / "waiting").exists, "the request has come")
        subprocess.run(["kill", "-TERM", str(first)], check=True)
        until(lambda: ask(metrics, probes["readiness"])[0] == 503, "it is not ready any more")
        assert ask(metrics, probes["liveness"])[0] == 200
        assert ask(server.port) == (200, "127.0.0.1")
        (server.directory / "go").touch()
        until(lambda: not Path(f"/proc/{orphan}").exists(), "process 1 has taken the orphan in")
        assert Path(f"/proc/{first}").exists()
    assert answers == [(200, "gone")]
    server.exits()


# -- Proxies ---------------------------------------------------------------------------------------

FRONT, CLIENT = "127.0.0.13", "127.0.0.2"
"""Where the proxy listens, and whom the handler is to see."""


def through(port: int) -> tuple[int, str]:
    return ask(port, host=FRONT, source=CLIENT)


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex((FRONT, port)) == 0


@pytest.mark.program("nginx")
def test_nginx(deploy: Deploy, tmp_path: Path) -> None:
    with listening(0) as sockets, reserved(FRONT) as port:
        server = deploy("japronto.service", {}, before=manager(*sockets), passed=[sockets[0].fileno()])
        server.listening()
        config = replaced("nginx.conf", {"127.0.0.1:8080": f"127.0.0.1:{server.port}",
                                         "listen 80;": f"listen {FRONT}:{port};"})
        with running("nginx", config, tmp_path, lambda: _listens(port)):
            assert through(port) == (200, CLIENT)
        server.signal(signal.SIGTERM)
        server.exits()
