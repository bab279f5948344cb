"""The command line: ``japronto module:app``, with an option for every bound of the server.

It decides how a setting is said: as an option, or as an environment variable behind it, or not
at all, and then the default stands.  Both are read by the same function, so that both take the
same values.  A mistake ends in one sentence that names it and what to do: exit code 2 when the
command is wrong, 3 when the server could not start.

What serves is imported when it is needed.  A process that only reads the command, as a master of workers
does, holds no event loop and no application.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

from japronto import __version__, logs, signals
from japronto.config import (
    ACCESS_FORMAT,
    ACCESS_FORMATS,
    BACKEND_VARIABLE,
    BACKENDS,
    DESCRIPTOR_MAX,
    ENCODER_VARIABLE,
    ENCODERS,
    KEEPALIVE_MAX,
    LOG_FORMATS,
    LOG_LEVELS,
    PREFIX,
    SIMD_LEVELS,
    SIMD_VARIABLE,
    TLS_PASSWORD_VARIABLE,
    TLS_VERIFY,
    TLS_VERSIONS,
    WORKERS_MAX,
    MasterConfig,
    ServerConfig,
    TLSConfig,
    check_of_id_field,
    check_of_proxies,
    metrics_bind,
    parse_address,
    plain_path,
)
from japronto.errors import StartError, UsageError, near
from japronto.errors import either as _or
from japronto.limits import KIB, MIB, Limits, Timeouts
from japronto.pidfile import pid_file
from japronto.worker import MASTER

if TYPE_CHECKING:
    from japronto.app import Application

USAGE = "japronto [options] module:app\n       japronto [options] demo"
DESCRIPTION = "Serve an application, or the demonstration that is built in."
EPILOG = """\
A size may end in k, m or g for KiB, MiB or GiB. Behind every option stands an environment
variable, JAPRONTO_IDLE_SECONDS behind --idle-seconds; the command line wins.
Exit codes: 0 stopped when told to, 1 stopped by a second signal before it was done, 2 a wrong
command, 3 the server could not start."""

ELSEWHERE: Final = {word: hint for hint, words in {
    "use --workers": "--worker-num --processes -w",
    "each worker has one thread and one event loop; use --workers": "--worker-class --threads -k",
    "use --reload": "--auto-reload",
    "use --reload-dir": "--reload-paths --reload-extra-file",
    "use --worker-lifetime": "--workers-lifetime",
    "use --max-requests": "--limit-max-requests",
    "use --max-rss": "--workers-max-rss",
    "use --worker-timeout": "--timeout --timeout-worker-healthcheck",
    "use --pid-file": "--pid --pidfile",
    "use --tls-certificate": "--ssl-certfile --ssl-certificate --certfile --cert --tls-cert",
    "use --tls-key": "--ssl-keyfile --keyfile",
    "name a file that holds it: use --tls-key-password-file": "--ssl-keyfile-password --tls-key-password",
    "use --tls-client-ca": "--ssl-ca-certs --ca-certs --ssl-ca",
    "use --tls-client-verify": "--ssl-cert-reqs --cert-reqs --verify-mode",
    "use --tls-min-version": "--ssl-version --ssl-protocol-min",
    "use --tls-ciphers": "--ssl-ciphers --ciphers",
    "HTTP/2 is for a proxy in front": "--http",
    "use --bind": "--listen --address -b -l",
    "use --port": "-p",
    "use --uds": "--socket --unix-socket",
    "use --uds-mode": "--umask --uds-permissions --unix-socket-perms",
    "use --app-dir": "--chdir --working-dir",
    "use --access-log-file": "--access-logfile",
    "use --access-log-format": "--access-logformat --log-format-access --access-log-fmt",
    "use --error-log": "--error-logfile --log-file",
    "use --log-config": "--logger-class --log-config-json --log-config-dict",
    "use --idle-seconds": "--keep-alive --timeout-keep-alive",
    "use --metrics-address": "--metrics --metrics-port --prometheus-port --statsd-host",
    "use --drain-seconds": "--graceful-timeout --timeout-graceful-shutdown",
    "use --request-line-bytes": "--limit-request-line",
    "use --fields": "--limit-request-fields",
    "use --connections": "--worker-connections --max-connections",
    "use --requests-in-flight": "--limit-concurrency --backpressure",
    "use --field-line-bytes": "--limit-request-field-size",
    "start the file with python": "--script",
    "use --forwarded-allow-ips": "--proxy-allow-from --trusted-proxy --trusted-proxies",
    "nothing is believed unless --proxy-headers says so": "--no-proxy-headers",
    "use --check": "--check-config --test -t",
    "each worker loads the program by itself; leave it out": "--preload --preload-app",
    "let the proxy cut the prefix off, or mount the application there": "--root-path",
    "options can stand in the environment, with the names that --help tells": "--config -c",
    "let who starts it read the file, as EnvironmentFile= of systemd does": "--env-file",
    "let middleware add fields to answers": "--header --server-header --no-server-header",
    "there are none; leave it out": "--use-colors --no-use-colors",
    "let systemd, or a container, keep it in the background": "--daemon --daemonize -D",
    "let it be started so, as User= and Group= of systemd do": "--user --group --uid --gid -u -g",
    "processes have the name of their command; leave it out": "--name --proc-name --process-name -n",
    "use --version": "-V -v version",
    "use --help": "help",
    "name the application alone, such as japronto hello:app": "run serve start",
}.items() for word in words.split()}
"""What other servers, or the Japronto of 2017, have: a hint for those who come from there."""

NEEDS: Final[tuple[tuple[tuple[str, ...], Callable[[Mapping[str, Any]], object], str], ...]] = (
    (("forwarded_allow_ips",),
     lambda values: values.get("proxy_protocol") or values.get("proxy_headers", "off") != "off",
     "say what is believed of proxies, with --proxy-headers or --proxy-protocol"),
    (("proxy_header_bytes",), lambda values: values.get("proxy_protocol"), "add --proxy-protocol"),
    (("uds_mode",), lambda values: "uds" in values or any(
        text.startswith("unix:") for text in (*values.get("bind", ()), values.get("metrics_address", ""))),
     "add --uds or --bind unix:PATH"),
    (("handshake_seconds",), lambda values: "tls_certificate" in values, "add --tls-certificate"),
    (("max_requests_jitter",), lambda values: "max_requests" in values, "add --max-requests"),
    (("reload_dir", "reload_include", "reload_exclude"), lambda values: values.get("reload"), "add --reload"),
)
"""Options that do nothing by themselves, whether there is what they need, and what to do."""

WAYS: Final = (("uds",), ("fd",), ("bind",), ("host", "port"))
"""The ways to say where to listen."""

COUNT_MAX: Final = 2**31 - 1
"""What fits the C int of ``listen(2)``; no count makes sense beyond it."""
SIZE_MAX: Final = 2**63 - 1
SECONDS_MAX: Final = 366 * 24 * 3600
"""A year; event loops cannot represent times without end."""


class Option(NamedTuple):
    """One setting; ``read`` turns its text into a value, or raises ValueError with what it must be."""

    name: str
    read: Callable[[str], Any]
    metavar: str
    help: str
    group: str
    many: bool = False
    """It may be given several times; the texts in its variable are separated by commas."""
    also: str = ""
    """One more variable behind it, which other servers have."""

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return PREFIX + self.name.upper()

    @property
    def switch(self) -> bool:
        return self.read is _switch


class Settings(NamedTuple):
    """What the user asked for; ``values`` holds only what was given, by option name."""

    target: str | None
    version: bool
    values: dict[str, Any]
    check: bool = False

    def of(self, kind: type[ServerConfig | MasterConfig | Limits | Timeouts]) -> dict[str, Any]:
        names = {field.name for field in dataclasses.fields(kind)}
        return {name: value for name, value in self.values.items() if name in names}


def _whole(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch(r"\d{1,20}", text, re.ASCII) or not least <= int(text) <= most:
            raise ValueError(f"must be a whole number from {least} to {most}")
        return int(text)
    return read


def _size(text: str) -> int:
    match = re.fullmatch(r"(\d{1,20})(?:([kmg])(?:i?b)?)?", text.lower(), re.ASCII)
    size = int(match[1]) * {None: 1, "k": KIB, "m": MIB, "g": 1024 * MIB}[match[2]] if match else 0
    if not 0 < size <= SIZE_MAX:
        raise ValueError("must be a number of bytes above zero, such as 512, 64k or 16m")
    return size


def _seconds(text: str) -> float:
    if not re.fullmatch(r"\d{1,20}(\.\d{1,20})?", text, re.ASCII) or not 0 < float(text) <= SECONDS_MAX:
        raise ValueError(f"must be a number of seconds above zero and up to {SECONDS_MAX}, such as 30 or 0.5")
    return float(text)


def _seconds_or_none(text: str) -> float:
    return 0.0 if re.fullmatch(r"0(\.0{1,20})?", text, re.ASCII) else _seconds(text)


def _checked(check: Callable[[str], object]) -> Callable[[str], str]:
    """The text itself, once it is known that ``check`` takes it."""
    def read(text: str) -> str:
        check(text)
        return text
    return read


def _switch(text: str) -> bool:
    try:
        return {"1": True, "true": True, "yes": True, "on": True,
                "0": False, "false": False, "no": False, "off": False}[text.lower()]
    except KeyError:
        raise ValueError("must be 1 or 0 (or true, yes, on, false, no, off)") from None


def _of_proxies(name: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        check_of_proxies(name, text)
        return text
    return read


def _one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"must be {_or(words)}")
        return text
    return read


def _host(text: str) -> str:
    if port := re.fullmatch(r"(?:\w+://)?(?:[^:/]*|\[.*\]):(\d+)/?", text):
        raise ValueError(f"must be an address alone; add --port {port[1]} for the port")
    if "/" in text or not text.strip():
        raise ValueError("must be an address or a name, such as 127.0.0.1, ::1 or 0.0.0.0")
    return text[1:-1] if text.startswith("[") and text.endswith("]") else text


def _bind(text: str) -> str:
    parse_address(text)
    return text


def _mode(text: str) -> int:
    if match := re.fullmatch(r"0?o?([0-7]{3})", text):
        return int(match[1], 8)
    raise ValueError("must be three octal digits, such as 660 or 600")


def _pattern(text: str) -> str:
    if not text or "/" in text:
        raise ValueError("must be a pattern of names, such as *.html, without a directory")
    return text


def _path(text: str) -> str:
    if not text or text.startswith("unix:"):
        raise ValueError("must be a path")
    return text


def _access_format(text: str) -> str:
    from japronto.access import line_of  # noqa: PLC0415 - see the module

    line_of(text)
    return text


def _field(text: str) -> str:
    if not re.fullmatch(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", text):
        raise ValueError("must be the name of a field, such as X-Request-ID")
    check_of_id_field(text)
    return text


def _default(kind: type[ServerConfig | Limits | Timeouts], name: str) -> str:
    default: Any = next(field.default for field in dataclasses.fields(kind) if field.name == name)
    if "_bytes" in name:
        for unit, letter in ((MIB, "m"), (KIB, "k")):
            if default % unit == 0:
                return f"{default // unit}{letter}"
    return str(default)


def _proxy_options() -> list[Option]:
    """The options that say what is believed of whom."""
    return [
        Option("proxy_headers", _of_proxies("proxy_headers"), "FIELDS",
               "fields of proxies that are believed: x-forwarded, forwarded, or names such as "
               "x-forwarded-for,x-forwarded-host (default off)", "proxies"),
        Option("forwarded_allow_ips", _of_proxies("forwarded_allow_ips"), "LIST",
               "proxies that are believed: addresses and networks, unix, or * for all, with commas "
               f"(default {_default(ServerConfig, 'forwarded_allow_ips')})", "proxies"),
        Option("proxy_protocol", _switch, "", "take connections from those proxies alone, each of which must "
               "begin with a header of the PROXY protocol", "proxies"),
    ]


def _listening_options() -> list[Option]:
    """The options that say where to serve."""
    def option(name: str, read: Callable[[str], Any], metavar: str, text: str) -> Option:
        return Option(name, read, metavar, f"{text} (default {_default(ServerConfig, name)})", "listening")

    return [
        option("host", _host, "ADDRESS",
               "address or name to listen on; 0.0.0.0 is every IPv4 address, :: every IPv6 address"),
        option("port", _whole(0, 65535), "NUMBER", "TCP port; 0 takes a free one"),
        Option("bind", _bind, "ADDRESS",
               "host:port, [IPv6 address]:port, :port, unix:path or fd://number to listen on, in place of "
               "host and port; may be given several times", "listening", many=True),
        Option("uds", _path, "PATH", "Unix socket to listen on, in place of host and port", "listening"),
        Option("uds_mode", _mode, "MODE",
               "permissions of a Unix socket (default 660: its owner and group may connect)", "listening"),
        Option("fd", _whole(0, DESCRIPTOR_MAX), "NUMBER",
               "listening socket that the process was started with, in place of host and port; those of "
               "systemd are taken without it", "listening"),
        option("backlog", _whole(1, COUNT_MAX), "COUNT", "most connections that wait to be accepted"),
        Option("reuse_port", _switch, "", "let other processes listen on the port, too: SO_REUSEPORT",
               "listening"),
        option("tcp_keepalive", _whole(0, KEEPALIVE_MAX), "SECONDS",
               "silence after which TCP asks whether the client is there; 0 never asks"),
    ]


def _server_options() -> list[Option]:
    """The options that say what to serve, and how."""
    return [
        Option("loop", _one_of("auto", "uvloop", "asyncio"), "NAME",
               "event loop: auto, uvloop or asyncio (default auto)", "serving"),
        Option("backend", _one_of(*BACKENDS), "NAME",
               f"implementation: {_or(BACKENDS)} (default auto)", "serving"),
        Option("simd", _one_of(*SIMD_LEVELS), "NAME",
               f"instructions that accel uses: {_or(SIMD_LEVELS)} (default auto)", "serving"),
        Option("json", _one_of(*ENCODERS), "NAME",
               f"encoder of JSON: {_or(ENCODERS)} (default auto)", "serving"),
        Option("debug", _switch, "", "show tracebacks, also to clients: not for strangers", "serving"),
        Option("app_dir", _path, "DIRECTORY", "where modules are looked for first (default .)", "serving"),
        Option("factory", _switch, "", "module:app is a function; serve what it returns", "serving"),
        Option("pid_file", _path, "PATH", "file for the number of the process, while it runs", "serving"),
    ]


def _watch_options() -> list[Option]:
    """The options that say what is told to those who watch the server."""
    return [
        Option("metrics_address", _checked(metrics_bind), "ADDRESS",
               "port, host:port or unix:path where /metrics, /live and /ready are; a port alone is one of "
               "127.0.0.1", "watching"),
        Option("metrics_path", _checked(plain_path), "PATH",
               "path of metrics among those of the application: not for strangers", "watching"),
        Option("health_path", _checked(plain_path), "PATH",
               "path among those of the application that says whether it is ready: 200 or 503", "watching"),
        Option("drain_delay_seconds", _seconds_or_none, "SECONDS",
               "from the signal to stop until the stop begins; meanwhile it serves, but is not ready, so "
               "that balancers notice (default 0)", "watching"),
    ]


def _log_options() -> list[Option]:
    """The options that say what is logged, and where to."""
    def option(name: str, read: Callable[[str], Any], metavar: str, text: str) -> Option:
        return Option(name, read, metavar, text, "logs")

    return [
        option("access_log", _switch, "", "write a line for each request; so do the next two options"),
        option("access_log_file", _path, "PATH", "where to; - is standard output (default -)"),
        option("access_log_format", _access_format, "FORMAT",
               f"{', '.join(ACCESS_FORMATS)}, or a text with atoms such as %(h)s (default {ACCESS_FORMAT})"),
        option("access_log_query", _switch, "", "whether lines have queries (default: they do)"),
        option("error_log", _path, "PATH", "where errors go; - is standard error (default -)"),
        option("log_level", _one_of(*LOG_LEVELS), "NAME",
               f"least that is worth a line there: {_or(LOG_LEVELS)} (default warning)"),
        option("log_format", _one_of(*LOG_FORMATS), "NAME",
               f"of errors: {_or(LOG_FORMATS)} (default plain on standard error, text in a file)"),
        option("log_config", _path, "PATH",
               "JSON, TOML or INI file for logging.config, in place of the other options of the error log"),
        option("request_id_header", _field, "NAME", "field that the id of a request is taken from, such as "
               "X-Request-ID, and answered in"),
    ]


def _tls_options() -> list[Option]:
    """The options of ``TLSConfig``, each with the name of its field behind ``tls_``."""
    def option(name: str, read: Callable[[str], Any], metavar: str, text: str) -> Option:
        return Option(f"tls_{name}", read, metavar, text, "TLS")

    return [
        option("certificate", _path, "FILE", "speak HTTPS; PEM file of the certificate and its chain"),
        option("key", _path, "FILE", "PEM file of its private key (default that of the certificate)"),
        option("key_password_file", _path, "FILE", "file with the password of the key; "
               f"or put it in the environment variable {TLS_PASSWORD_VARIABLE}"),
        option("client_ca", _path, "FILE", "PEM file with the authorities that vouch for clients"),
        option("client_verify", _one_of(*TLS_VERIFY), "WORD", f"certificates of clients: {_or(TLS_VERIFY)} "
               "(default required with --tls-client-ca, else none)"),
        option("min_version", _one_of(*TLS_VERSIONS), "VERSION", "oldest version of TLS: 1.2 or 1.3 "
               "(default 1.2)"),
        option("ciphers", str, "LIST", "cipher suites of TLS 1.2, as OpenSSL takes them (default Python's)"),
    ]


def _bound_options(kind: type[Limits | Timeouts], group: str) -> list[Option]:
    """An option for each field, with the reason that stands beside it as its help."""
    options = []
    for field in dataclasses.fields(kind):
        read: Callable[[str], float]
        if "_bytes" in field.name:
            read, metavar = _size, "SIZE"
        elif field.name.endswith("_seconds"):
            read, metavar = _seconds, "SECONDS"
        else:
            read, metavar = _whole(1, COUNT_MAX), "COUNT"
        text = f"{field.metadata['reason']} (default {_default(kind, field.name)})"
        options.append(Option(field.name, read, metavar, text, group))
    return options


def _worker_options() -> list[Option]:
    """The options of a master; with any of them there is one."""
    def option(name: str, read: Callable[[str], Any], metavar: str, text: str) -> Option:
        return Option(name, read, metavar, text, "workers")

    return [
        Option("workers", _whole(1, WORKERS_MAX), "COUNT",
               "how many processes serve side by side (default 1)", "workers", also="WEB_CONCURRENCY"),
        option("max_requests", _whole(1, SIZE_MAX), "COUNT", "replace a worker after about so many requests"),
        option("max_requests_jitter", _whole(0, COUNT_MAX), "COUNT",
               "and up to so many more, so that not all are replaced at once (default a tenth)"),
        option("max_rss", _size, "SIZE", "replace a worker that holds so much memory"),
        option("worker_lifetime", _seconds, "SECONDS",
               "replace a worker after so long, and up to a tenth more"),
        option("worker_timeout", _seconds, "SECONDS",
               "kill a worker that gives no sign of life for so long (default 30)"),
        option("worker_start_timeout", _seconds, "SECONDS",
               "kill a worker that is not ready after so long (default 120)"),
        option("reload", _switch, "", "while developing: replace the worker when the program changes"),
        Option("reload_dir", _path, "DIRECTORY",
               "a directory to watch; may be repeated (default that of the modules)", "workers", many=True),
        Option("reload_include", _pattern, "PATTERN",
               "names of files that count; may be repeated (default *.py)", "workers", many=True),
        Option("reload_exclude", _pattern, "PATTERN",
               "names of files and directories that do not; may be repeated", "workers", many=True),
    ]


OPTIONS: Final = (*_server_options(), *_listening_options(), *_proxy_options(), *_tls_options(),
                  *_worker_options(), *_log_options(), *_watch_options(),
                  *_bound_options(Limits, "limits"), *_bound_options(Timeouts, "timeouts"))


class _ArgumentParser(argparse.ArgumentParser):
    """One that raises a sentence instead of printing its usage."""

    def error(self, message: str) -> NoReturn:
        if match := re.match(r"argument (--[\w-]+).*: expected one argument", message):
            raise UsageError(f"{match[1]} needs a value; japronto --help tells which")
        if match := re.match(r"argument (--[\w-]+).*: ignored explicit argument", message):
            raise UsageError(f"{match[1]} takes no value; leave out what follows the =")
        raise UsageError(message)


def argument_parser() -> argparse.ArgumentParser:
    """Takes the options as text; :func:`parse` reads them."""
    parser = _ArgumentParser(prog="japronto", usage=USAGE, description=DESCRIPTION, epilog=EPILOG,
                             allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", nargs="?", metavar="module:app",
                        help="the application: a module and a name in it; module.app does as well")
    parser.add_argument("--version", action="store_true", help="tell the versions, the backend and the loop")
    parser.add_argument("--check", action="store_true", help="load the application, read the certificate and "
                        "the configuration of logs, and say whether that was possible; serve nothing")
    groups = {"serving": parser,
              "listening": parser.add_argument_group("listening, where clients connect"),
              "proxies": parser.add_argument_group("proxies, who is believed on where clients are"),
              "workers": parser.add_argument_group("workers, kept by a master if any of these is given"),
              "logs": parser.add_argument_group("logs"),
              "TLS": parser.add_argument_group("TLS, for HTTPS"),
              "watching": parser.add_argument_group("metrics and health"),
              "limits": parser.add_argument_group("limits, how much a client may ask for"),
              "timeouts": parser.add_argument_group("timeouts, how long a client may take")}
    for option in OPTIONS:
        text = option.help.replace("%", "%%")
        if option.switch:
            groups[option.group].add_argument(option.flag, dest=option.name, help=text,
                                              action=argparse.BooleanOptionalAction)
        else:
            groups[option.group].add_argument(option.flag, dest=option.name, help=text,
                                              action="append" if option.many else "store",
                                              metavar=option.metavar)
    return parser


def parse(arguments: Sequence[str], environ: Mapping[str, str]) -> Settings:
    """Read the command line and the environment behind it."""
    given, rest = argument_parser().parse_known_args(arguments)
    _refuse(given.target, rest)
    values: dict[str, Any] = {}
    said_by: dict[str, str] = {}
    for option in OPTIONS:
        text, source = getattr(given, option.name), option.flag
        if text is None and environ.get(option.variable):
            text, source = environ[option.variable], f"the environment variable {option.variable}"
        elif text is None and environ.get(option.also):
            text, source = environ[option.also], f"the environment variable {option.also}"
        if text is None:
            continue
        said_by[option.name] = source
        values[option.name] = _read(option, text, source)
    _choose_socket(values, said_by)
    _refuse_idle(values, said_by)
    _choose_one_worker(values, said_by)
    _choose_logs(values, said_by)
    return Settings(given.target, given.version, values, given.check)


def _choose_one_worker(values: dict[str, Any], said_by: dict[str, str]) -> None:
    """Reloading is for one worker."""
    if not values.get("reload") or values.get("workers", 1) == 1:
        return
    if said_by["workers"] != "the environment variable WEB_CONCURRENCY":  # which hosts set for all programs
        raise UsageError(f"{said_by['reload']} and {said_by['workers']} exclude each other: reloading is for "
                         "one worker, on the machine of whoever writes the program")
    del values["workers"]


def _read(option: Option, given: Any, source: str) -> Any:
    """The value of an option: of text, a list of texts, or of the switch that argparse has read."""
    if option.many:
        texts = given.split(",") if isinstance(given, str) else given
        return [_read(option._replace(many=False), text, source) for text in texts]
    try:
        return option.read(given) if isinstance(given, str) else given
    except ValueError as error:
        raise UsageError(f"{source} {error}; it is {given!r}") from None


def _refuse(target: str | None, rest: Sequence[str]) -> None:
    """What was given and means nothing."""
    if target in ELSEWHERE:
        raise UsageError(f"there is no command {target}; {ELSEWHERE[target]}")
    for word in rest:
        if word.startswith("-"):
            flag = word.partition("=")[0] if word.startswith("--") else word[:2]
            flags = ["--help", "--version", "--check", *(option.flag for option in OPTIONS)]
            raise UsageError(f"there is no option {flag}{_elsewhere(flag) or near(flag, flags)}")
        if port := re.fullmatch(r":?(\d+)", word):
            raise UsageError(f"{word} is one too many; add --port {port[1]} for the port")
        raise UsageError(f"{word} is one too many; japronto serves one application")


def _elsewhere(flag: str) -> str | None:
    """The end of a sentence about an option that other servers have."""
    hint = ELSEWHERE.get(flag.replace("_", "-"))
    return hint and f"; {hint}"


def _choose_socket(values: dict[str, Any], said_by: dict[str, str]) -> None:
    """Where to listen is said in one way; the command line wins over the environment."""
    ways = [given for way in WAYS if (given := [name for name in way if name in values])]
    chosen = [given for given in ways if any(said_by[name].startswith("--") for name in given)] or ways
    if len(chosen) > 1:
        one, other = (max(given, key=lambda name: said_by[name].startswith("--")) for given in chosen[:2])
        raise UsageError(f"{said_by[one]} and {said_by[other]} exclude each other; "
                         "to listen on several addresses, give each by a --bind of its own")
    for name in (name for given in ways if given not in chosen for name in given):
        del values[name]


def _refuse_idle(values: Mapping[str, Any], said_by: Mapping[str, str]) -> None:
    """Who gives an option on the command line wants it to do something.

    In the environment it may be there for all programs of a machine.
    """
    for names, needed, remedy in NEEDS:
        for flag in (said_by[name] for name in names if name in said_by):
            if flag.startswith("--") and not needed(values):
                raise UsageError(f"{flag} does nothing by itself; {remedy}")


def _choose_logs(values: dict[str, Any], said_by: dict[str, str]) -> None:
    """Who says how the access log is to be wants one; a configuration of logging says all of errors."""
    if "access_log_file" in values or "access_log_format" in values:
        values.setdefault("access_log", True)
    rivals = [name for name in ("error_log", "log_level", "log_format") if name in values]
    if "log_config" in values and rivals:
        raise UsageError(f"{said_by['log_config']} and {said_by[rivals[0]]} exclude each other: "
                         "say it in the file")


def stray_variables(environ: Mapping[str, str]) -> list[str]:
    """A sentence for each variable that looks like a mistyped one, or like one of a later version."""
    known = {TLS_PASSWORD_VARIABLE, *(option.variable for option in OPTIONS)}
    sentences = []
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in known:
            word = name.removeprefix(PREFIX)
            meant = near(word, (other.removeprefix(PREFIX) for other in known))
            hint = _elsewhere(f"--{word.lower()}") or meant.replace("mean ", f"mean {PREFIX}")
            if hint:
                sentences.append(f"{name} in the environment means nothing{hint}")
    return sentences


def variables_of_the_command(environ: Mapping[str, str]) -> list[str]:
    """Those variables behind options that a program does not read which serves by itself."""
    both = (BACKEND_VARIABLE, SIMD_VARIABLE, ENCODER_VARIABLE)
    known = {TLS_PASSWORD_VARIABLE, *(option.variable for option in OPTIONS)}.difference(both)
    return sorted(name for name in known if environ.get(name))


def version(loop: str) -> str:
    """The line of ``--version``."""
    import platform  # noqa: PLC0415 - see the module

    from japronto import backend, encoders  # noqa: PLC0415
    from japronto.server import loop_name  # noqa: PLC0415

    return (f"Japronto {__version__}, Python {platform.python_version()} "
            f"({platform.python_implementation()}), backend {backend.described()}, "
            f"JSON by {encoders.active()}, loop {loop_name(loop)}")


def _choose_parts(settings: Settings) -> None:
    """Ask for what serves where it is looked for, ahead of the program, which may look there too."""
    from japronto import backend, encoders  # noqa: PLC0415

    said = {}
    for name, variable in (("backend", BACKEND_VARIABLE), ("simd", SIMD_VARIABLE),
                           ("json", ENCODER_VARIABLE)):
        if os.environ.get(variable) != settings.values.get(name, os.environ.get(variable)):
            os.environ[variable] = settings.values[name]
            said[variable] = f"--{name}"
    backend.active(said)
    encoders.use(said)


def application(settings: Settings) -> Application:
    """The application that the command names, with the bounds that were given put in place."""
    from japronto.loading import load  # noqa: PLC0415

    if not settings.target:
        raise UsageError("name the application to serve, such as japronto hello:app, or try japronto demo")
    if settings.target == "demo":
        from japronto import demo  # noqa: PLC0415 - no other program needs it

        app = demo.application()
    else:
        try:
            app = load(settings.target, app_dir=settings.values.get("app_dir", "."),
                       factory=settings.values.get("factory", False))
        except StartError as error:
            if settings.values.get("debug") or (MASTER is not None and MASTER.replaces):
                raise
            raise StartError(f"{error}; --debug shows the traceback") from error.__cause__
    app.limits = dataclasses.replace(app.limits, **settings.of(Limits))
    app.timeouts = dataclasses.replace(app.timeouts, **settings.of(Timeouts))
    app.debug = settings.values.get("debug", app.debug)
    if not settings.values.get("access_log", True):
        app.log_request = None
    return app


def server_config(settings: Settings, *, debug: bool) -> ServerConfig:
    """Where and how to serve; where no address is asked for, systemd's sockets go before the default."""
    activation = not any(name in settings.values for way in WAYS for name in way)
    return ServerConfig(**{"activation": activation, **settings.of(ServerConfig), "debug": debug,
                           "tls": tls_config(settings, os.environ)})


def master_config(settings: Settings) -> MasterConfig | None:
    """How to keep workers, if there is to be a master at all."""
    given = settings.of(MasterConfig)
    if not given or given == {"reload": False}:
        return None
    if given.get("reload"):
        given.setdefault("reload_dir", [settings.values.get("app_dir", ".")])
        given.setdefault("worker_timeout", None)  # A debugger may hold it for as long as it likes.
    return MasterConfig(**given)


def tls_config(settings: Settings, environ: Mapping[str, str]) -> TLSConfig | None:
    """What was said of TLS; None when the server is not to speak it."""
    given = {name.removeprefix("tls_"): value for name, value in settings.values.items()
             if name.startswith("tls_")}
    if not given:
        return None
    if "certificate" not in given:
        flag = f"--tls-{next(iter(given))}".replace("_", "-")
        raise UsageError(f"{flag} means nothing without --tls-certificate; give that too")
    return TLSConfig(**given, key_password=environ.get(TLS_PASSWORD_VARIABLE))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    _take_signals()
    _open_standard_streams()
    debug = False
    try:
        settings = parse(sys.argv[1:] if arguments is None else arguments, os.environ)
        debug = settings.values.get("debug", False)
        if MASTER is None:
            for sentence in stray_variables(os.environ):
                _say(sentence)
        return _run(settings)
    except (UsageError, StartError) as error:
        code = 2 if isinstance(error, UsageError) else 3
        if debug and error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        if MASTER is None:
            _say(str(error))
        else:
            MASTER.failed(code, error)
        return code
    except KeyboardInterrupt:  # A signal ahead of serving; a server that runs takes them itself.
        signals.calm(signals.STOP)
        return 0
    finally:
        if MASTER is None:  # Nobody else ends this process; a worker has its master for that.
            signals.end_at_once()


def _take_signals() -> None:
    """Till it serves, those that stop interrupt the program, and others do no harm."""
    if MASTER is None:
        signals.calm_at_exit()
        signals.calm([number for number in signals.HARMLESS
                      if signal.getsignal(number) is signal.SIG_DFL and not signals.of_terminal(number)])
    for number in signals.STOP if MASTER is None else (signal.SIGTERM,):
        # Process 1, or a job of a script, may ignore them.
        signal.signal(number, signal.default_int_handler)


def _run(settings: Settings) -> int:
    if not settings.version:
        values = settings.values
        error_log = logs.ErrorLog(level=values.get("log_level"), format=values.get("log_format"),
                                  path=values.get("error_log"), config=values.get("log_config"))
        # A file that a check of root made could not be written by the server.
        (error_log.tried() if settings.check else error_log).set_up()
    bounds = master_config(settings)
    if settings.check and not settings.version:
        return _check(settings)
    if settings.target and not settings.version and bounds is not None and MASTER is None:
        from japronto.supervisor import supervise  # noqa: PLC0415

        with pid_file(settings.values.get("pid_file")), signals.calm_behind():
            return supervise(server_config(settings, debug=settings.values.get("debug", False)), bounds)
    _choose_parts(settings)
    if settings.version:
        print(version(settings.values.get("loop", "auto")))  # noqa: T201 - what was asked for
        return 0
    app = application(settings)
    if isinstance(sys.stdout, io.TextIOWrapper):  # Lines of the access log are for reading now.
        sys.stdout.reconfigure(line_buffering=True)
    from japronto.server import serve  # noqa: PLC0415

    with pid_file(settings.values.get("pid_file") if MASTER is None else None), signals.calm_behind():
        return serve(app, server_config(settings, debug=app.debug), bounds)


def _check(settings: Settings) -> int:
    """Do all that comes ahead of serving, and does not change anything."""
    _choose_parts(settings)
    app = application(settings)
    from japronto import tls  # noqa: PLC0415 - see the module
    from japronto.server import loop_name  # noqa: PLC0415

    config = server_config(settings, debug=app.debug)
    loop_name(config.loop)
    if config.tls is not None:
        tls.context(config.tls)
    print(f"{settings.target} can be served")  # noqa: T201 - what was asked for
    return 0


def _open_standard_streams() -> None:
    """Open those that the caller has closed, since the first sockets would get their numbers.

    Then whatever wrote to standard error would write to a client, and uvloop refuses to close them.
    """
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(descriptor, True)
            setattr(sys, name, open(descriptor, "w", closefd=False))  # noqa: SIM115 - as long as the process


def _say(sentence: str) -> None:
    print(f"japronto: {sentence}", file=sys.stderr)  # noqa: T201 - standard error is where it goes
