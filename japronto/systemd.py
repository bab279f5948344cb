"""What passes between the server and systemd: sockets on the way in, its state on the way out.

Both are plain protocols, ``sd_listen_fds(3)`` and ``sd_notify(3)``, that other managers speak as well.
Without their environment variables nothing happens, and nothing here keeps the server from serving.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping
from typing import Final

FIRST_DESCRIPTOR: Final = 3
"""SD_LISTEN_FDS_START: the sockets have the numbers from here on."""
LISTEN_VARIABLES: Final = ("LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES")
SEND_SECONDS: Final = 0.5
"""How long the server waits for a manager that does not read."""

log = logging.getLogger("japronto.error")


# -- Sockets on the way in -------------------------------------------------------------------

def passed() -> dict[int, str]:
    """The descriptors that were passed to this very process, each with its name; empty when none were."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return {}
    count = _number(os.environ, "LISTEN_FDS")
    names = os.environ.get("LISTEN_FDNAMES", "").split(":") + [""] * count
    return {FIRST_DESCRIPTOR + place: names[place] or "unknown" for place in range(count)}


def passed_to_the_parent() -> bool:
    """Whether the sockets were meant for the process that has started this one, and has kept them."""
    return os.environ.get("LISTEN_PID") == str(os.getppid()) and _number(os.environ, "LISTEN_FDS") > 0


def take() -> None:
    """Remove the variables, since the sockets are taken, so that no child looks for them."""
    for name in LISTEN_VARIABLES:
        os.environ.pop(name, None)


def _number(environ: Mapping[str, str], name: str) -> int:
    text = environ.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


# -- The state on the way out ----------------------------------------------------------------

def notify(*assignments: str, wait: float = SEND_SECONDS) -> bool:
    """Send assignments such as ``READY=1`` to the manager; whether they were sent.

    It waits at most ``wait`` seconds.  What goes wrong is logged and raises nothing.
    """
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.settimeout(wait)
            sock.connect("\0" + path[1:] if path.startswith("@") else path)
            sock.sendall("\n".join(assignments).encode())
    except (OSError, ValueError) as error:
        log.warning("The manager at NOTIFY_SOCKET could not be told %s: %s", assignments[0], error)
        return False
    return True


def ready(status: str = "") -> bool:
    """The server listens, or has finished to reload."""
    return notify("READY=1", *([f"STATUS={status}"] if status else []))


def reloading() -> bool:
    """It begins to reload; :func:`ready` ends that."""
    return notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def stopping() -> bool:
    """It drains."""
    return notify("STOPPING=1")


def watchdog_seconds() -> float | None:
    """How long systemd waits for an :func:`alive` before it takes this process for hung; None: for ever."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return _number(os.environ, "WATCHDOG_USEC") / 1_000_000 or None


def alive() -> bool:
    """It does not hang; nor may it while it says so, hence without waiting."""
    return notify("WATCHDOG=1", wait=0)
