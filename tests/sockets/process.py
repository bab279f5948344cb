"""A real server process: how it is started, watched and stopped."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from .tls import TLSSocket, certificate, trusting
from .wire import WAIT_SECONDS, Client, get

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
LISTENING = re.compile(
    r"Japronto is listening on (?P<addresses>"
    r"(?:(?P<scheme>https?)://(?P<host>\[[0-9a-f:]+\]|[0-9.]+):(?P<port>[0-9]+)|unix:(?P<uds>[^\s,]+))"
    r"(?:, [^\s,]+)*)"
    r" \(backend [^,]+, loop (?P<loop>[a-z]+)\); Ctrl-C stops it\.\n")


BACKEND = ("JAPRONTO_BACKEND", "JAPRONTO_SIMD")
"""The variables that choose what is tested; no other is for the server that these tests start."""
FINISHING = re.compile(
    r"Finishing [0-9]+ (?:request|connection)s?, at most [0-9.]+ s; another signal stops at once\.\n")
"""What a server says that takes its time to stop, as it must on a busy machine."""

PROGRAMS = ("curl", "wrk", "h2load", "nginx", "haproxy", "systemd-socket-activate")
"""Programs that some tests run; Debian has packages of these names, h2load is in nghttp2-client, and
systemd-socket-activate in systemd."""


def found(program: str) -> str | None:
    """The path of a program, where it is installed; servers may be outside of a user's PATH."""
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin")


def has_ipv6() -> bool:
    """Whether this machine has it, which is not sure in a container."""
    with socket.socket(socket.AF_INET6) if socket.has_ipv6 else socket.socket() as sock:
        try:
            sock.bind(("::1", 0))
        except OSError:
            return False
    return True


ADDRESSES = ("127.0.0.1", "::1") if has_ipv6() else ("127.0.0.1",)


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until ``condition`` holds; fail when it does not come to hold."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited {WAIT_SECONDS} s in vain: {what}"
        time.sleep(0.01)


class Server:
    """``python -m japronto tests_app:app`` with some options, from start to exit.

    All that the process may write to stderr is the one line that says where it listens: warnings
    are errors there, and Python complains on stderr of tasks and sockets that were forgotten.
    One that is not to get ``ready``, and one whose start-up hook is on ``hold``, are not waited for.
    With ``tls`` behind the name of the loop, everything is said over TLS.
    A command that stands ``before`` it starts it; descriptors that are ``passed`` stay open.
    """

    def __init__(self, directory: Path, loop: str, *options: str, dev: bool = True,
                 ready: bool = True, hold: bool = False, before: Sequence[str] = (),
                 passed: Sequence[int] | None = None, environment: Mapping[str, str] | None = None) -> None:
        self._errors = directory / "stderr"
        self._record = directory / "record"
        self._record.touch()
        self._ended = False
        self._started = 0
        loop, _, tls = loop.partition(" ")
        if tls:
            options = ("--tls-certificate", certificate(directory / "certificate.pem"), *options)
        self._tls = trusting() if "--tls-certificate" in options else None
        elsewhere = passed is not None or {"--uds", "--bind"} & set(options)
        listen = () if elsewhere or "--host" in options else ("--host", "127.0.0.1")
        port = () if elsewhere or "--port" in options else ("--port", "0")
        environment = {name: value for name, value in os.environ.items()
                       if name in BACKEND or not name.startswith(("JAPRONTO_", "PYTHON", "COVERAGE_"))
                       } | dict(environment or {})
        environment["TESTS_APP_RECORD"] = str(self._record)
        environment["TESTS_APP_HOLD"] = "1" if hold else ""
        python = (sys.executable, *(("-X", "dev") if dev else ()), "-W", "error")
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                (*before, *python, "-m", "japronto", "--app-dir", str(HERE), "--loop", loop, *listen, *port,
                 *options, "tests_app:app"),
                cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors,
                pass_fds=passed or ())
        if hold or not ready:
            return
        try:
            self._listening(loop)
        except BaseException:
            self.kill()
            raise

    def _listening(self, loop: str) -> None:
        until(lambda: "\n" in self.said() or self.process.poll() is not None, "the server listens")
        matched = LISTENING.match(self.said())
        assert matched is not None, f"the server did not start: {self.said()}"
        assert matched["loop"] == loop
        self._started = matched.end()
        self.addresses = matched["addresses"].split(", ")
        self.host, self.port, self.uds = matched["host"], int(matched["port"] or 0), matched["uds"]
        self.url = f"{matched['scheme']}://{self.host}:{self.port}"

    def said(self) -> str:
        """All that the process wrote."""
        return self._errors.read_text()

    def complaints(self) -> str:
        """What the process wrote beyond the lines that say where it listens and that it stops."""
        return FINISHING.sub("", self.said()[self._started:])

    def finishing(self) -> str:
        """What the process said on why it does not stop at once."""
        return "".join(FINISHING.findall(self.said()))

    def until_complained(self, end: str) -> None:
        """The process must complain, ending with this; after that the matter is settled."""
        until(lambda: self.complaints().endswith(end), f"{end!r} in {self.complaints()!r}")
        self._started = len(self.said())

    def record(self) -> list[str]:
        """What the handlers of ``tests_app`` noted."""
        return self._record.read_text().splitlines()

    def until_recorded(self, note: str) -> None:
        until(lambda: note in self.record(), f"{note!r} in {self.record()}")

    def allow(self, name: str) -> None:
        """Let the handlers go on that wait for ``name``."""
        self._record.with_name(name).touch()

    def connect(self, buffers: int | None = None, tls: ssl.SSLContext | None = None) -> Client:
        """A connection; with small ``buffers`` the server feels soon what its client does not do.

        Over TLS if the server speaks it, with what the client needs for that if it has something of its own.
        """
        sock = self.connect_below(buffers)
        context = tls or self._tls
        if context is None:
            return Client(sock)
        try:
            return Client(TLSSocket(sock, context))
        except BaseException:
            sock.close()
            raise

    def connect_below(self, buffers: int | None = None) -> socket.socket:
        """A connection over which nothing has been said."""
        family = socket.AF_UNIX if self.uds else socket.AF_INET6 if ":" in self.host else socket.AF_INET
        sock = socket.socket(family)
        try:
            sock.settimeout(WAIT_SECONDS)
            if buffers is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffers)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffers)
            sock.connect(self.uds or (self.host.strip("[]"), self.port))
        except BaseException:
            sock.close()
            raise
        return sock

    def refuses(self) -> bool:
        """Whether a new connection is refused."""
        try:
            self.connect_below().close()
        except (ConnectionRefusedError, FileNotFoundError):
            return True
        return False

    def lives(self) -> None:
        """A new client is served."""
        with self.connect() as client:
            assert client.ask(get("/hello/alive")).text == "hello alive"

    def resident(self) -> int:
        """Octets of memory that the process holds."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        matched = re.search(r"^VmRSS:\s+([0-9]+) kB$", status, re.MULTILINE)
        assert matched is not None
        return int(matched[1]) * 1024

    def descriptors(self) -> int:
        """How many descriptors the process has open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def seconds(self) -> float:
        """Time that the process has had of a processor, its own and the system's on its behalf."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def sockets(self) -> int:
        """How many sockets the process holds open."""
        descriptors = Path(f"/proc/{self.process.pid}/fd")
        links = []
        for descriptor in descriptors.iterdir():
            try:
                links.append(str(descriptor.readlink()))
            except FileNotFoundError:
                continue  # Closed since the directory was read.
        return sum(link.startswith("socket:") for link in links)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def exits(self, code: int = 0, complaint: str = "") -> None:
        """The process ends, with this code, having complained of this and of nothing else."""
        self._ended = True
        assert self.process.wait(WAIT_SECONDS) == code, self.said()
        assert self.complaints() == complaint, self.said()

    def running(self) -> bool:
        return self.process.poll() is None

    def stop(self) -> None:
        """What ends each test that did not end the server itself."""
        if self._ended:
            self.kill()
            return
        try:
            self.signal(signal.SIGTERM)
            self.exits()
        finally:
            self.kill()

    def kill(self) -> None:
        self._ended = True
        self.process.kill()
        self.process.wait()
