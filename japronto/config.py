"""What can be asked for: where and how to serve, what addresses mean, and what there is to choose from.

It imports no event loop and nothing that serves, so that the command line can read its options, and a
master can keep workers, in a process that holds hardly more than the interpreter.
"""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Final, NamedTuple

from japronto import systemd
from japronto.errors import UsageError, near
from japronto.limits import Limits, Timeouts

if TYPE_CHECKING:
    from ssl import SSLContext

PREFIX: Final = "JAPRONTO_"
"""How the names of the environment variables begin that stand behind options."""
BACKENDS: Final = ("auto", "accel", "pure", "httptools")
BACKEND_VARIABLE: Final = "JAPRONTO_BACKEND"
SIMD_VARIABLE: Final = "JAPRONTO_SIMD"
SIMD_LEVELS: Final = ("auto", "scalar", "sse4.2", "avx2")
"""Those that there are; whether this processor has them, the backend says."""
ENCODERS: Final = ("auto", "orjson", "msgspec", "stdlib")
ENCODER_VARIABLE: Final = "JAPRONTO_JSON"
PROXIES: Final = {"proxy_headers": "off", "forwarded_allow_ips": "127.0.0.1,::1"}
"""What is believed of proxies, and of which, unless something else is said."""
WORKERS_MAX: Final = 1024
"""More workers are surely a mistake."""
ACCESS_FORMATS: Final = ("common", "combined", "timed", "json")
"""The formats of the access log that have a name."""
ACCESS_FORMAT: Final = "timed"
LOG_LEVELS: Final = ("debug", "info", "warning", "error", "critical")
LOG_FORMATS: Final = ("plain", "text", "json")
"""The formats of the error log."""


class TCPAddress(NamedTuple):
    """An empty ``host`` is every address of the machine; ``port`` 0 is a free one."""

    host: str
    port: int


class UnixAddress(NamedTuple):
    """The path of a Unix socket."""

    path: str


class Descriptor(NamedTuple):
    """A listening socket that this process was started with: its number, or systemd's name for it."""

    name: int | str


Address = TCPAddress | UnixAddress | Descriptor

TCP: Final = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+(?:%\w+)?)\]|(?P<host>[^\s:/\[\]]*))"
                        r":(?P<port>\d{1,5})", re.ASCII)
PASSED: Final = re.compile(r"fd://(?:(?P<number>\d{1,9})|(?P<name>[A-Za-z_][^\s:/,]{0,254}))", re.ASCII)

MODE_MAX: Final = 0o777
DESCRIPTOR_MAX: Final = 10**9 - 1
KEEPALIVE_MAX: Final = 32767
"""The most that Linux takes for TCP_KEEPIDLE, in seconds."""


def parse_address(text: str) -> Address:
    """What ``host:port``, ``[IPv6 address]:port``, ``:port``, ``unix:path`` or ``fd://3`` means.

    Raises ValueError, which says what the text must be.
    """
    if text.startswith("unix:") and (path := text.removeprefix("unix:").removeprefix("//")):
        return UnixAddress(path)
    if match := PASSED.fullmatch(text):
        return Descriptor(int(match["number"]) if match["number"] else match["name"])
    match = TCP.fullmatch(text)
    if match and int(match["port"]) <= 65535:
        return TCPAddress(match["six"] or match["host"], int(match["port"]))
    raise ValueError("must be host:port, [IPv6 address]:port, :port for every address of this machine, "
                     "unix:path, or fd://number for a socket that is open already")


FIELDS_WITH_MEANING: Final = frozenset((
    "connection", "content-encoding", "content-length", "content-type", "date", "expect", "host",
    "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"))
"""Those of HTTP that an id would change the meaning of a message in."""
TLS_PASSWORD_VARIABLE: Final = "JAPRONTO_TLS_KEY_PASSWORD"  # noqa: S105 - its name alone
"""Behind no option, since all users of a machine can read what stands on a command line."""
TLS_VERIFY: Final = ("none", "optional", "required")
TLS_VERSIONS: Final = ("1.2", "1.3")


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSConfig:
    """What TLS needs; all files are PEM, and are read anew when the certificate is reloaded.

    ``certificate``        the path of the certificate; behind it those of the authorities up to a root
    ``key``                the path of its private key; None when that is in the same file
    ``key_password``       the password that the key is encrypted with
    ``key_password_file``  the path of a file in whose first line the password stands
    ``client_ca``          the path of the certificates of the authorities that vouch for clients
    ``client_verify``      whether clients show a certificate: ``none``, ``optional`` or ``required``; None is
                           ``required`` with a client_ca, and ``none`` without one
    ``min_version``        the oldest version of TLS: ``1.2`` or ``1.3``
    ``ciphers``            the cipher suites of TLS 1.2, as OpenSSL lists them; None takes those of Python

    Raises UsageError for a value that there cannot be.
    """

    certificate: str
    key: str | None = None
    key_password: str | None = field(default=None, repr=False)
    key_password_file: str | None = None
    client_ca: str | None = None
    client_verify: str | None = None
    min_version: str = "1.2"
    ciphers: str | None = None

    def __post_init__(self) -> None:
        if self.client_verify not in (None, *TLS_VERIFY):
            raise UsageError("client_verify must be none, optional or required; "
                             f"it is {self.client_verify!r}")
        if self.min_version not in TLS_VERSIONS:
            raise UsageError(f"min_version must be 1.2 or 1.3; it is {self.min_version!r}")
        if self.client_ca is None and self.client_verify in ("optional", "required"):
            raise UsageError("certificates of clients cannot be verified without their authorities; "
                             "give client_ca (--tls-client-ca) too")
        if self.key_password is not None and self.key_password_file is not None:
            raise UsageError("there are two passwords for the key; leave out key_password "
                             f"({TLS_PASSWORD_VARIABLE}) or key_password_file (--tls-key-password-file)")


def metrics_bind(text: str) -> str:
    """The address of metrics as ``bind`` takes it; a number is a port of this machine alone.

    Raises ValueError, which says what the text must be.
    """
    bind = f"127.0.0.1:{text}" if re.fullmatch(r"\d{1,5}", text, re.ASCII) else text
    with suppress(ValueError):
        if not isinstance(parse_address(bind), Descriptor):
            return bind
    raise ValueError("must be a port, host:port, [IPv6 address]:port, :port for every address of this "
                     "machine, or unix:path")


def plain_path(text: str) -> str:
    """A path that is compared with those of requests; raises ValueError, which says what it must be."""
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", text, re.ASCII):
        raise ValueError("must be a path such as /healthz, without a query or placeholders")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """Where and how to serve; how much and how long is up to the application's limits and timeouts.

    ``host``           an address or a name; an empty one listens on all addresses
    ``port``           0 takes a free one
    ``uds``            the path of a Unix socket, in place of host and port
    ``fd``             the number of a listening socket that this process was started with, in place of them
    ``bind``           one or more addresses in place of all of these, as :func:`parse_address` takes them
    ``activation``     listen on the sockets that systemd passes, if it does, in place of all of these
    ``uds_mode``       who may connect to a Unix socket: its permissions, such as 0o660
    ``backlog``        most connections that wait to be accepted
    ``reuse_port``     set SO_REUSEPORT, so that several processes may listen at one port
    ``tcp_keepalive``  after so many seconds of silence ask whether the client is there; 0 never asks
    ``loop``           ``uvloop``, ``asyncio``, or ``auto``: uvloop where it is there
    ``access_log``     write a line for each request
    ``access_log_file``, ``access_log_format``, ``access_log_query``
                       where to, in which format, and whether with queries; see ``access.AccessLog``
    ``request_id_header``
                       the field that ``request.id`` is taken from, and answered in
    ``debug``          show tracebacks to clients
    ``tls``            speak TLS, and so HTTPS; an SSLContext that is ready is taken as it is
    ``metrics_address``  where metrics and health are told; a port alone is one of 127.0.0.1
    ``metrics_path``, ``health_path``
                       paths of the application's own addresses that tell them, too
    ``drain_delay_seconds``
                       how long to go on serving, not ready, before a stop begins

    Behind a proxy (see docs/proxies.md):

    ``proxy_headers``        the fields that are believed: ``x-forwarded``, ``forwarded``, names, ``off``
    ``forwarded_allow_ips``  who is believed: addresses, networks, ``unix``, ``*``; with commas between them
    ``proxy_protocol``       whether all connections must open with a header of the PROXY protocol

    Raises UsageError for a value that there cannot be.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    uds: str | None = None
    fd: int | None = None
    bind: Sequence[str] = ()
    activation: bool = False
    uds_mode: int = 0o660
    backlog: int = 1024
    reuse_port: bool = False
    tcp_keepalive: int = 60
    loop: str = "auto"
    access_log: bool = False
    access_log_file: str | None = None
    access_log_format: str = ACCESS_FORMAT
    access_log_query: bool = True
    request_id_header: str | None = None
    debug: bool = False
    metrics_address: str | None = None
    metrics_path: str | None = None
    health_path: str | None = None
    drain_delay_seconds: float = 0
    proxy_headers: str = PROXIES["proxy_headers"]
    forwarded_allow_ips: str = PROXIES["forwarded_allow_ips"]
    proxy_protocol: bool = False
    tls: TLSConfig | SSLContext | None = None

    def __post_init__(self) -> None:
        _whole("the port", self.port, 65535)  # uvloop would take the remainder
        _whole("uds_mode", self.uds_mode, MODE_MAX)
        _whole("tcp_keepalive", self.tcp_keepalive, KEEPALIVE_MAX)
        if self.fd is not None:
            _whole("fd", self.fd, DESCRIPTOR_MAX)
        if isinstance(self.bind, str):
            raise UsageError(f"bind takes a list of addresses; write [{self.bind!r}]")
        given = [name for name in ("uds", "fd", "bind") if getattr(self, name) not in (None, (), [])]
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)} exclude each other; bind takes several addresses")
        addresses = self.addresses()
        fixed = [address for address in addresses if getattr(address, "port", None) != 0]
        if len(set(fixed)) < len(fixed):
            raise UsageError(f"an address is asked for twice; leave one out of {', '.join(self.bind)}")
        if any(isinstance(address, UnixAddress) and "\0" in address.path for address in addresses):
            raise UsageError("the path of a Unix socket must not contain NUL; choose another")
        if self.reuse_port and not any(isinstance(address, TCPAddress) for address in addresses):
            raise UsageError("--reuse-port is for TCP ports, and none is asked for; leave it out")
        self._check_watched()
        if self.request_id_header is not None:
            try:
                check_of_id_field(self.request_id_header)
            except ValueError as error:
                raise UsageError(f"request_id_header {error}; it is {self.request_id_header!r}") from None
        for name in PROXIES:
            try:
                check_of_proxies(name, getattr(self, name))
            except ValueError as error:
                raise UsageError(f"{name} {error}; it is {getattr(self, name)!r}") from None
        if ((self.proxy_protocol or self.proxy_headers != "off")
                and all(isinstance(address, UnixAddress) for address in addresses)
                and not _believes_unix(self.forwarded_allow_ips)):
            raise UsageError("proxies are to be believed, and none is that connects to a Unix socket; "
                             "add unix to forwarded_allow_ips: --forwarded-allow-ips unix")

    @property
    def scheme(self) -> str:
        """Of the URLs of what is served."""
        return "http" if self.tls is None else "https"

    @property
    def watched(self) -> bool:
        """Whether anything is counted."""
        return any((self.metrics_address, self.metrics_path, self.health_path))

    def metrics_config(self) -> ServerConfig | None:
        """Where and how metrics are told, if they are."""
        if self.metrics_address is None:
            return None
        bind = metrics_bind(self.metrics_address)
        return ServerConfig(bind=(bind,), uds_mode=self.uds_mode, backlog=100, loop=self.loop)

    def _check_watched(self) -> None:
        for name in ("metrics_address", "metrics_path", "health_path"):
            value = getattr(self, name)
            if value is not None:
                try:
                    (metrics_bind if name == "metrics_address" else plain_path)(value)
                except ValueError as error:
                    raise UsageError(f"{name} {error}; it is {value!r}") from None
        if self.metrics_address is not None and not (self.activation and systemd.passed()):
            where = parse_address(metrics_bind(self.metrics_address))
            if any(_same_place(where, address) for address in self.addresses()):
                raise UsageError("metrics_address is where the application listens; "
                                 "choose another port (--metrics-address)")
        if self.metrics_path is not None and self.metrics_path == self.health_path:
            raise UsageError("metrics_path and health_path are the same; choose two paths")
        if (self.metrics_address or self.metrics_path) and importlib.util.find_spec(
                "prometheus_client") is None:
            raise UsageError("metrics need prometheus-client, which is not installed; "
                             "pip install 'japronto[metrics]'")
        if isinstance(self.drain_delay_seconds, bool) or not 0 <= self.drain_delay_seconds < math.inf:
            raise UsageError("drain_delay_seconds must be a number of seconds from 0 on; "
                             f"it is {self.drain_delay_seconds!r}")

    def addresses(self) -> list[Address]:
        """Where to listen, unless systemd says so; at least one address."""
        if self.bind:
            try:
                return [parse_address(text) for text in self.bind]
            except ValueError as error:
                raise UsageError(f"an address in bind {error}; they are {list(self.bind)!r}") from None
        if self.fd is not None:
            return [Descriptor(self.fd)]
        if self.uds is not None:
            return [UnixAddress(self.uds)]
        return [TCPAddress(self.host, self.port)]


def _whole(what: str, value: object, most: int) -> None:
    if type(value) is not int or not 0 <= value <= most:
        raise UsageError(f"{what} must be a whole number from 0 to {most}; it is {value!r}")


def check_of_id_field(name: str) -> None:
    """Raise ValueError, with the end of a sentence, for a field in which no id can stand."""
    from japronto.access import SECRET_FIELDS  # noqa: PLC0415 - see the module

    if name.lower() in SECRET_FIELDS | FIELDS_WITH_MEANING:
        raise ValueError("must be a field without a meaning of its own, such as X-Request-ID")


def _same_place(one: Address, other: Address) -> bool:
    """Whether both cannot be listened on."""
    if not isinstance(one, TCPAddress) or not isinstance(other, TCPAddress):
        return one == other
    hosts = {one.host, other.host}
    every = "" in hosts or ("0.0.0.0" in hosts and not any(":" in host for host in hosts))  # noqa: S104
    return one.port == other.port != 0 and (len(hosts) == 1 or every)


def _believes_unix(allowed: str) -> bool:
    from japronto.pure.forwarded import AllowList  # noqa: PLC0415 - see the module

    return AllowList(allowed).takes("")


def check_of_proxies(name: str, text: object) -> None:
    """Raise ValueError, with the end of a sentence, for what ``pure/forwarded.py`` cannot read."""
    if text == PROXIES[name]:
        return
    if not isinstance(text, str):
        raise ValueError("must be text, with commas between several")
    from japronto.pure.forwarded import AllowList, fields_of  # noqa: PLC0415 - see the module

    (fields_of if name == "proxy_headers" else AllowList)(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class MasterConfig:
    """How many workers a master keeps, and for how long.

    ``workers``               how many serve side by side
    ``max_requests``          after so many requests a worker is replaced
    ``max_requests_jitter``   and up to so many more, so that not all are replaced at once; a tenth if None
    ``max_rss``               a worker that holds so many octets of memory is replaced
    ``worker_lifetime``       after so many seconds, and up to a tenth more, a worker is replaced
    ``worker_timeout``        a worker that gives no sign of life for so many seconds hangs, and is killed
    ``worker_start_timeout``  one that has not got ready in so many seconds is killed
    ``reload``                whether to replace the worker whenever the program changes
    ``reload_dir``            directories to watch, the present one if none is given
    ``reload_include``        patterns of the names of files that count
    ``reload_exclude``        patterns of the names of files and directories that do not

    Raises UsageError for a value that there cannot be.
    """

    workers: int = 1
    max_requests: int | None = None
    max_requests_jitter: int | None = None
    max_rss: int | None = None
    worker_lifetime: float | None = None
    worker_timeout: float | None = 30
    worker_start_timeout: float = 120
    reload: bool = False
    reload_dir: Sequence[str] = ()
    reload_include: Sequence[str] = ("*.py",)
    reload_exclude: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("max_requests", "max_rss", "worker_lifetime", "worker_timeout", "worker_start_timeout"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)
                                      or not 0 < value < math.inf):
                raise UsageError(f"{name} must be a number above zero; it is {value!r}")
        for name in ("reload_dir", "reload_include", "reload_exclude"):
            if isinstance(getattr(self, name), str):
                raise UsageError(f"{name} takes a list; write [{getattr(self, name)!r}]")
        if self.max_requests_jitter is not None:
            _whole("max_requests_jitter", self.max_requests_jitter, 10**9)

    def jitter(self) -> int:
        """The most requests that a worker serves beyond ``max_requests``."""
        if self.max_requests_jitter is not None:
            return self.max_requests_jitter
        return (self.max_requests or 0) // 10


def refuse_unknown(names: Iterable[str]) -> None:
    """Raise TypeError, which says where it belongs, for a keyword of which nothing here knows."""
    known, limits, timeouts = ({field.name for kind in kinds for field in fields(kind)} for kinds in (
        (ServerConfig, MasterConfig), (Limits,), (Timeouts,)))
    known = known - {"workers"} | {"worker_num"}
    for name in names:
        if name not in known:
            hint = near(name, known)
            if name in limits:
                hint = f"; it is one of Application(limits=Limits({name}=...))"
            elif name in timeouts:
                hint = f"; it is one of Application(timeouts=Timeouts({name}=...))"
            elif name.startswith("tls_"):
                hint = "; give tls=TLSConfig(...)"
            elif name == "workers":
                hint = "; use worker_num"
            raise TypeError(f"app.run() got an unexpected keyword argument {name!r}{hint}")
