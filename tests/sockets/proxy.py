"""nginx and HAProxy as processes: how they are configured, started, waited for and stopped."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .process import found, until

NGINX = """\
daemon off;
master_process off;
pid {directory}/pid;
error_log {directory}/errors warn;
events {{ }}
http {{
access_log off;
{paths}
{text}
}}
"""
HAPROXY = """\
defaults
    timeout connect 60s
    timeout client 60s
    timeout server 60s
{text}
"""
KINDS_OF_STORE = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@contextmanager
def running(program: str, text: str, directory: Path, listens: Callable[[], bool]) -> Iterator[None]:
    """A proxy that has what it serves from ``text``, and the rest of its configuration from here.

    What nginx has to complain of stands in the file ``errors`` of the directory.
    """
    path = found(program)
    assert path is not None
    paths = "\n".join(f"{kind}_temp_path {directory}/{kind};" for kind in KINDS_OF_STORE)
    whole = NGINX if program == "nginx" else HAPROXY
    config, said = directory / "config", directory / "said"
    config.write_text(whole.format(directory=directory, paths=paths, text=text))
    options = (("-p", str(directory), "-e", str(directory / "errors"), "-c", str(config))
               if program == "nginx" else ("-db", "-f", str(config)))
    with said.open("wb") as stream:
        proxy = subprocess.Popen((path, *options), stdin=subprocess.DEVNULL, stdout=stream, stderr=stream)
    try:
        until(lambda: listens() or proxy.poll() is not None, "the proxy listens")
        assert proxy.poll() is None, said.read_text()
        yield
    finally:
        proxy.terminate()
        proxy.wait()


def free_port() -> int:
    """One that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])
