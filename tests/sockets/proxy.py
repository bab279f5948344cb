"""nginx and HAProxy as processes: how they are configured, started, waited for and stopped."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
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
    """A proxy that has what it serves from ``text``, and the rest of its configuration from here."""
    paths = "\n".join(f"{kind}_temp_path {directory}/{kind};" for kind in KINDS_OF_STORE)
    whole = NGINX if program == "nginx" else HAPROXY
    with started(program, whole.format(directory=directory, paths=paths, text=text), directory, listens):
        yield


@contextmanager
def started(program: str, config: str, directory: Path, listens: Callable[[], bool]) -> Iterator[None]:
    """A proxy with this configuration, in which it finds nothing wrong.

    What nginx has to complain of, once it runs, stands in the file ``errors`` of the directory.
    """
    path = directory / "config"
    path.write_text(config)
    command = [str(found(program)), *(
        ("-p", str(directory), "-e", str(directory / "errors"), "-c", str(path)) if program == "nginx" else
        ("-f", str(path)))]
    checked = subprocess.run([*command, "-t" if program == "nginx" else "-c"], capture_output=True, text=True,
                             check=False)
    said = checked.stdout + checked.stderr
    assert checked.returncode == 0, said
    assert "[warn" not in said.lower()
    proxy = subprocess.Popen([*command, *(["-db"] if program == "haproxy" else [])],
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: listens() or proxy.poll() is not None, "the proxy listens")
        assert proxy.poll() is None, said
        yield
    finally:
        proxy.terminate()
        proxy.wait()


@contextmanager
def reserved(*hosts: str) -> Iterator[int]:
    """A port that nobody else is given at any of these addresses, for whoever says that it may be taken.

    A socket that is bound and does not listen keeps it from all others; servers set SO_REUSEADDR.
    """
    with ExitStack() as stack:
        port = 0
        for host in hosts:
            sock = stack.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, port))
            port = sock.getsockname()[1]
        yield port
