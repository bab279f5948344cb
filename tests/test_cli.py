"""The command line: what it takes, and what it says of each mistake."""

from __future__ import annotations

import dataclasses
import http.client
import os
import platform
import re
import signal
import socket
import sys
from pathlib import Path

import pytest
from command import COMMAND, WAIT_SECONDS, Done, japronto, serving, start, until

import japronto as package
from japronto import cli
from japronto.errors import UsageError
from japronto.limits import Limits, Timeouts
from japronto.loading import load

HELLO = """
from japronto import Application, Limits

def hello(request):
    return request.Response(text="Hello " + str(request.body))

app = Application(limits=Limits(content_bytes=20, fields=50))
app.router.add_route("/", hello)
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with the program ``hello.py``."""
    (tmp_path / "hello.py").write_text(HELLO)
    return tmp_path


def values(*arguments: str, **environment: str) -> dict[str, object]:
    return cli.parse(arguments, environment).values


def mistake(*arguments: str, **environment: str) -> str:
    with pytest.raises(UsageError) as raised:
        cli.parse(arguments, environment)
    return str(raised.value)


def refused(done: Done, code: int) -> str:
    """The one sentence of a run that failed."""
    assert done.code == code, done
    assert done.out == ""
    assert re.fullmatch(r"japronto: [^\n]+\n", done.error), done.error
    return done.error.removeprefix("japronto: ").rstrip()


# What is taken

def test_nothing_given_is_nothing_set() -> None:
    assert cli.parse(["hello:app"], {}) == cli.Settings("hello:app", False, {})


@pytest.mark.parametrize(("arguments", "expected"), [
    (["--host", "0.0.0.0"], {"host": "0.0.0.0"}),
    (["--host", "::1"], {"host": "::1"}),
    (["--host", "[fe80::1%eth0]"], {"host": "fe80::1%eth0"}),
    (["--host=localhost", "--port=0"], {"host": "localhost", "port": 0}),
    (["--port", "65535"], {"port": 65535}),
    (["--uds", "/tmp/a socket"], {"uds": "/tmp/a socket"}),
    (["--backlog", "1"], {"backlog": 1}),
    (["--uds", "s", "--uds-mode", "600"], {"uds": "s", "uds_mode": 0o600}),
    (["--bind", "unix:s", "--uds-mode", "0777"], {"bind": ["unix:s"], "uds_mode": 0o777}),
    (["--metrics-address", "unix:s", "--uds-mode", "0o666"],
     {"metrics_address": "unix:s", "uds_mode": 0o666}),
    (["--fd", "0"], {"fd": 0}),
    (["--reuse-port", "--tcp-keepalive", "0"], {"reuse_port": True, "tcp_keepalive": 0}),
    (["--loop", "asyncio"], {"loop": "asyncio"}),
    (["--backend", "pure", "--simd", "auto"], {"backend": "pure", "simd": "auto"}),
    (["--debug", "--access-log", "--factory"], {"debug": True, "access_log": True, "factory": True}),
    (["--no-debug"], {"debug": False}),
    (["--port", "1", "--port", "2"], {"port": 2}),
    (["--idle-seconds", "0.5"], {"idle_seconds": 0.5}),
    (["--fields", "7"], {"fields": 7}),
    (["--proxy-headers", "X-Forwarded, x-forwarded-host"],
     {"proxy_headers": "X-Forwarded, x-forwarded-host"}),
    (["--proxy-protocol", "--forwarded-allow-ips", "10.0.0.0/8,unix"],
     {"proxy_protocol": True, "forwarded_allow_ips": "10.0.0.0/8,unix"}),
    (["--content-bytes-per-second", "2k"], {"content_bytes_per_second": 2048}),
])
def test_options(arguments: list[str], expected: dict[str, object]) -> None:
    assert values(*arguments) == expected


@pytest.mark.parametrize(("text", "size"), [
    ("1", 1), ("512", 512), ("64k", 65536), ("64K", 65536), ("64kb", 65536), ("64KiB", 65536),
    ("16m", 16 << 20), ("2G", 2 << 30), (str(2**63 - 1), 2**63 - 1),
])
def test_sizes(text: str, size: int) -> None:
    assert values("--content-bytes", text) == {"content_bytes": size}


@pytest.mark.parametrize("text", ["", "0", "0k", "-1", "1.5m", "k", "1t", "1 k", "1_000", "0x10", "1e3",
                                  "\u0663", str(2**63), "9" * 5000])
def test_what_is_no_size(text: str) -> None:
    sentence = mistake(f"--content-bytes={text}")
    assert sentence == ("--content-bytes must be a number of bytes above zero, such as 512, 64k or 16m; "
                        f"it is {text!r}")


@pytest.mark.parametrize("bound", [*dataclasses.fields(Limits), *dataclasses.fields(Timeouts)],
                         ids=lambda bound: bound.name)
def test_every_bound_is_an_option_and_a_variable(bound: dataclasses.Field[float]) -> None:
    name = bound.name
    flag, variable = "--" + name.replace("_", "-"), "JAPRONTO_" + name.upper()
    needed = {"handshake_seconds": ["--tls-certificate", "file"], "proxy_header_bytes": ["--proxy-protocol"]}
    assert values(flag, "9", *needed.get(name, []))[name] == 9
    assert values(**{variable: "9"}) == {name: 9}
    help_text = " ".join(cli.argument_parser().format_help().split())
    assert flag in help_text
    assert bound.metadata["reason"] in help_text


def test_defaults_in_the_help_are_values_that_the_options_take() -> None:
    for option in cli.OPTIONS:
        if option.group in {"limits", "timeouts"}:
            matched = re.search(r"\(default (\w+)\)$", option.help)
            assert matched, option.help
            bounds: Limits | Timeouts = Limits() if option.group == "limits" else Timeouts()
            assert option.read(matched[1]) == getattr(bounds, option.name)


# The environment behind the command line

def test_the_command_line_wins() -> None:
    assert values("--port", "1", JAPRONTO_PORT="2", JAPRONTO_HOST="h") == {"port": 1, "host": "h"}
    assert values("--no-debug", JAPRONTO_DEBUG="1") == {"debug": False}
    assert values("--port", "1", JAPRONTO_PORT="nonsense") == {"port": 1}


@pytest.mark.parametrize(("text", "value"), [
    ("1", True), ("true", True), ("YES", True), ("on", True),
    ("0", False), ("False", False), ("no", False), ("off", False),
])
def test_switches_in_the_environment(text: str, value: bool) -> None:
    assert values(JAPRONTO_ACCESS_LOG=text) == {"access_log": value}


def test_an_empty_variable_is_none() -> None:
    assert values(JAPRONTO_PORT="", JAPRONTO_DEBUG="") == {}


def test_a_bad_variable_is_named() -> None:
    assert mistake(JAPRONTO_PORT="http") == ("the environment variable JAPRONTO_PORT must be a whole number "
                                             "from 0 to 65535; it is 'http'")
    assert mistake(JAPRONTO_DEBUG="perhaps").startswith(
        "the environment variable JAPRONTO_DEBUG must be 1 or 0")


def test_stray_variables() -> None:
    names = ("JAPRONTO_PROT", "JAPRONTO_PORT", "JAPRONTO_BACKEND", "JAPRONTO_DATABASE", "PROT")
    sentence = "JAPRONTO_PROT in the environment means nothing; did you mean JAPRONTO_PORT?"
    assert cli.stray_variables(dict.fromkeys(names, "1")) == [sentence]
    assert cli.stray_variables({"JAPRONTO_WORKER_NUM": "4"}) == [
        "JAPRONTO_WORKER_NUM in the environment means nothing; use --workers"]


def test_ways_to_say_where_exclude_each_other() -> None:
    rule = "exclude each other; to listen on several addresses, give each by a --bind of its own"
    assert mistake("--uds", "s", "--port", "1") == f"--uds and --port {rule}"
    assert mistake("--uds", "s", "--host", "h", JAPRONTO_PORT="1") == f"--uds and --host {rule}"
    assert mistake("--bind", ":1", "--host", "h", JAPRONTO_UDS="s") == f"--bind and --host {rule}"
    assert mistake("--fd", "3", "--bind", ":1") == f"--fd and --bind {rule}"
    assert mistake(JAPRONTO_UDS="s", JAPRONTO_HOST="h") == (
        f"the environment variable JAPRONTO_UDS and the environment variable JAPRONTO_HOST {rule}")
    assert values("--uds", "s", JAPRONTO_PORT="1", JAPRONTO_HOST="h") == {"uds": "s"}
    assert values("--port", "1", JAPRONTO_UDS="s", JAPRONTO_FD="3") == {"port": 1}
    assert values("--port", "1", JAPRONTO_HOST="h", JAPRONTO_BIND=":1") == {"host": "h", "port": 1}


def test_several_addresses() -> None:
    given = ["127.0.0.1:80", "unix:/run/a socket"]
    assert values("--bind", given[0], "--bind", given[1]) == {"bind": given}
    assert values(JAPRONTO_BIND=",".join(given)) == {"bind": given}
    assert values("--bind", given[0], JAPRONTO_BIND=given[1]) == {"bind": given[:1]}
    assert mistake(JAPRONTO_BIND=":80,nonsense").startswith(
        "the environment variable JAPRONTO_BIND must be host:port, ")
    assert mistake("--bind", ":80", "--bind", "nonsense").endswith("; it is 'nonsense'")


@pytest.mark.parametrize(("arguments", "activation"), [
    ([], True), (["--backlog", "5"], True), (["--tcp-keepalive", "6"], True),
    (["--host", "h"], False), (["--port", "1"], False), (["--uds", "s"], False), (["--fd", "3"], False),
    (["--bind", ":1"], False),
])
def test_sockets_of_systemd_are_for_those_who_ask_for_no_address(arguments: list[str],
                                                                 activation: bool) -> None:
    assert cli.server_config(cli.parse(arguments, {}), debug=False).activation is activation


# Mistakes on the command line

@pytest.mark.parametrize(("arguments", "sentence"), [
    (["--port", "http"], "--port must be a whole number from 0 to 65535; it is 'http'"),
    (["--port", "65536"], "--port must be a whole number from 0 to 65535; it is '65536'"),
    (["--port", "-1"], "--port must be a whole number from 0 to 65535; it is '-1'"),
    (["--port", ""], "--port must be a whole number from 0 to 65535; it is ''"),
    (["--port"], "--port needs a value; japronto --help tells which"),
    (["--port", "--debug"], "--port needs a value; japronto --help tells which"),
    (["--backlog", "0"], "--backlog must be a whole number from 1 to 2147483647; it is '0'"),
    (["--fields", "1.5"], "--fields must be a whole number from 1 to 2147483647; it is '1.5'"),
    (["--loop", "trio"], "--loop must be auto, uvloop or asyncio; it is 'trio'"),
    (["--host", "localhost:9000"],
     "--host must be an address alone; add --port 9000 for the port; it is 'localhost:9000'"),
    (["--host", "[::1]:9000"],
     "--host must be an address alone; add --port 9000 for the port; it is '[::1]:9000'"),
    (["--host", "http://x:80/"],
     "--host must be an address alone; add --port 80 for the port; it is 'http://x:80/'"),
    (["--host", "http://x"],
     "--host must be an address or a name, such as 127.0.0.1, ::1 or 0.0.0.0; it is 'http://x'"),
    (["--host", ""], "--host must be an address or a name, such as 127.0.0.1, ::1 or 0.0.0.0; it is ''"),
    (["--uds", ""], "--uds must be a path; it is ''"),
    (["--uds", "unix:/run/s"], "--uds must be a path; it is 'unix:/run/s'"),
    (["--uds-mode", "888"], "--uds-mode must be three octal digits, such as 660 or 600; it is '888'"),
    (["--uds-mode", "1777"], "--uds-mode must be three octal digits, such as 660 or 600; it is '1777'"),
    (["--fd", "stdin"], "--fd must be a whole number from 0 to 999999999; it is 'stdin'"),
    (["--tcp-keepalive", "99999"], "--tcp-keepalive must be a whole number from 0 to 32767; it is '99999'"),
    (["--umask", "0"], "there is no option --umask; use --uds-mode"),
    (["--debug=1"], "--debug takes no value; leave out what follows the ="),
    (["--prot", "80"], "there is no option --prot; did you mean --port?"),
    (["--idle_seconds=5"], "there is no option --idle_seconds; did you mean --idle-seconds?"),
    (["--zzz"], "there is no option --zzz"),
    (["-x", "80"], "there is no option -x"),
    (["--", "a:b", "-"], "there is no option -"),
    (["--por", "80"], "there is no option --por; did you mean --port?"),
    (["--no-acces-log"], "there is no option --no-acces-log; did you mean --access-log?"),
    (["a:b", "c:d"], "c:d is one too many; japronto serves one application"),
    (["a:b", "8000"], "8000 is one too many; add --port 8000 for the port"),
    (["a:b", ":8000"], ":8000 is one too many; add --port 8000 for the port"),
    # What other servers have, and the Japronto of 2017.
    (["-w4", "a:b"], "there is no option -w; use --workers"),
    (["--worker_num=4"], "there is no option --worker_num; use --workers"),
    (["--threads", "4"],
     "there is no option --threads; each worker has one thread and one event loop; use --workers"),
    (["--auto-reload", "a:b"], "there is no option --auto-reload; use --reload"),
    (["-b", "0.0.0.0:80", "a:b"], "there is no option -b; use --bind"),
    (["-p", "80"], "there is no option -p; use --port"),
    (["--timeout-keep-alive", "5"], "there is no option --timeout-keep-alive; use --idle-seconds"),
    (["-V"], "there is no option -V; use --version"),
    (["-t", "a:b"], "there is no option -t; use --check"),
    (["--preload"], "there is no option --preload; each worker loads the program by itself; leave it out"),
    (["--env-file=x"],
     "there is no option --env-file; let who starts it read the file, as EnvironmentFile= of systemd does"),
    (["-D"], "there is no option -D; let systemd, or a container, keep it in the background"),
    (["help"], "there is no command help; use --help"),
    (["run", "a:b"], "there is no command run; name the application alone, such as japronto hello:app"),
])
def test_mistakes(arguments: list[str], sentence: str) -> None:
    assert mistake(*arguments) == sentence


def test_hints_lead_to_what_there_is() -> None:
    help_text = cli.argument_parser().format_help()
    named = {flag for hint in cli.ELSEWHERE.values() for flag in re.findall(r"--[\w-]+", hint)}
    assert {"--idle-seconds", "--port", "--version"} <= named
    assert named <= set(re.findall(r"--[\w-]+", help_text))
    assert cli.ELSEWHERE.keys().isdisjoint(option.flag for option in cli.OPTIONS)


@pytest.mark.parametrize("text", ["0", "0.0", "-1", "nan", "inf", "1e3", "75s", "31622401", "9" * 5000])
def test_what_is_no_time(text: str) -> None:
    assert mistake("--drain-seconds", text) == ("--drain-seconds must be a number of seconds above zero and "
                                                f"up to 31622400, such as 30 or 0.5; it is {text!r}")


# The command as a whole

def test_version() -> None:
    python = f"Python {platform.python_version()} ({platform.python_implementation()})"
    for encoder in ("orjson", "stdlib"):
        line = f"Japronto {package.__version__}, {python}, backend pure, JSON by {encoder}, loop uvloop\n"
        done = japronto(Path("/"), "--version", JAPRONTO_BACKEND="pure", JAPRONTO_JSON=encoder)
        assert done == (0, line, "")


def test_version_with_a_chosen_loop() -> None:
    assert japronto(Path("/"), "--version", "--loop", "asyncio").out.endswith("loop asyncio\n")


def test_help() -> None:
    done = japronto(Path("/"), "--help")
    assert (done.code, done.error) == (0, "")
    assert done.out.startswith("usage: japronto [options] module:app\n")


def test_the_backend_is_chosen() -> None:
    """The command line wins, as for every other option."""
    for arguments, environment, name in [
            (["--backend", "pure"], {}, "pure"),
            (["--backend", "accel", "--simd", "scalar"], {}, "accel with scalar"),
            ([], {"SIMD": "scalar"}, "accel with scalar"),
            (["--backend=pure"], {"BACKEND": "accel"}, "pure"),
            (["--backend=auto"], {"BACKEND": "pure", "SIMD": "scalar"}, "accel with scalar")]:
        variables = {f"JAPRONTO_{name}": text for name, text in environment.items()}
        done = japronto(Path("/"), "--version", *arguments, **variables)
        assert (done.code, done.error) == (0, "")
        assert f", backend {name}, " in done.out


def test_the_program_finds_the_backend_that_was_chosen(directory: Path) -> None:
    """An application, and what it takes from Japronto, are made by the backend when it is imported."""
    (directory / "telling.py").write_text("from japronto import Response, backend\nraise OSError("
                                          "backend.active().name, Response is backend.PURE.response)")
    done = japronto(directory, "telling:app", "--backend", "pure", JAPRONTO_BACKEND="accel")
    assert "OSError: [Errno pure] True" in done.error


def test_a_backend_that_does_not_exist(directory: Path) -> None:
    sentence = "must be auto, accel, pure or httptools; it is 'fast'"
    for arguments in (["--version"], ["hello:app", "--port", "0"]):
        assert refused(japronto(directory, *arguments, "--backend", "fast"), 2) == f"--backend {sentence}"
        assert refused(japronto(directory, *arguments, JAPRONTO_BACKEND="fast"), 2) == (
            f"the environment variable JAPRONTO_BACKEND {sentence}")
        assert refused(japronto(directory, *arguments, "--simd", "neon"), 2) == (
            "--simd must be auto, scalar, sse4.2 or avx2; it is 'neon'")


def test_a_backend_that_cannot_be_had(directory: Path) -> None:
    for arguments in (["--version"], ["hello:app", "--port", "0"]):
        done = japronto(directory, *arguments, "--backend", "pure", "--simd", "scalar")
        assert refused(done, 2) == ("--simd is scalar, which is for the fast parts, and --backend is pure; "
                                    "leave one of them out")


WITHOUT_UVLOOP = """
import sys
sys.modules["uvloop"] = None
from japronto.cli import main
sys.exit(main())
"""


def test_without_uvloop(directory: Path) -> None:
    python = (sys.executable, "-W", "error", "-c", WITHOUT_UVLOOP)
    assert japronto(directory, "--version", python=python).out.endswith(", loop asyncio\n")
    for arguments in (["--version"], ["hello:app", "--port", "0"]):
        assert refused(japronto(directory, *arguments, "--loop", "uvloop", python=python), 2) == (
            "uvloop is not installed; pip install uvloop, or choose the loop asyncio")


def test_no_application_named(directory: Path) -> None:
    for arguments in ([], [""]):
        assert refused(japronto(directory, *arguments), 2) == (
            "name the application to serve, such as japronto hello:app, or try japronto demo")


def test_a_stray_variable_is_a_warning(directory: Path) -> None:
    done = japronto(directory, "--version", JAPRONTO_PROT="80")
    assert done.code == 0
    assert done.error == ("japronto: JAPRONTO_PROT in the environment means nothing; "
                          "did you mean JAPRONTO_PORT?\n")


PROGRAMS = {
    "functions.py": """
from japronto import Application, Router
def make():
    return Application()
def make_with(config):
    return Application()
def make_nothing():
    return None
async def make_later():
    return Application()
def fail():
    raise LookupError("no such database")
def leave():
    raise SystemExit("enough")
number = 5
router = Router()
Site = type("Site", (Application,), {})
application = Application()
""",
    "peers.py": """
async def asgi(scope, receive, send): ...
def wsgi(environ, start_response): ...
class Site:
    async def __call__(self, scope, receive, send): ...
site = Site()
""",
    "importing.py": "import no_such_library\n",
    "deep.py": "import json\n\ndef f():\n    json.loads('{')\n\nf()\n",
    "failing.py": "x = 1\n\ndef f():\n    return 1 / 0\n\nf()\n",
    "using.py": "import sys\nsys.path.append('site-packages')\nimport broken_library\n",
    "site-packages/broken_library.py": "raise OSError('no licence')\n",
    "wrong.py": "def f(:\n    pass\n",
    "leaving.py": "import sys\nsys.exit(3)\n",
    "lines.py": "raise ValueError('one\\ntwo')\n",
    "lazy.py": "def __getattr__(name):\n    raise RuntimeError('not today')\n",
    "running.py": "from japronto import Application\napp = Application()\napp.run(port=0)\n",
    "package/__init__.py": "class holder:\n    name = 'x'\n",
    "package/inner.py": "from japronto import Application\napp = Application()\n",
    "plain/inner.py": "from japronto import Application\napp = Application()\n",
    "hooks.py": """
import sys
from japronto import Application
failing, leaving = Application(), Application()
@failing.on_startup
async def fail(app):
    raise LookupError("no such database")
@leaving.on_startup
def leave(app):
    sys.exit("enough")
""",
    "loops.py": "from japronto import Application\napp = Application()\napp.loop\n",
}


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("programs")
    for name, source in PROGRAMS.items():
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text(source)
    return place


MISTAKES = """
$ japronto functons:app
2: there is no module functons in PLACE nor where Python looks for others; did you mean functions?
$ japronto xyzzy.app
2: there is no module xyzzy in PLACE nor where Python looks for others
$ japronto package.iner:app
2: there is no module package.iner in PLACE nor where Python looks for others; did you mean package.inner?
$ japronto functions.inner:app
2: there is no module functions.inner in PLACE nor where Python looks for others
$ japronto functions:appication
2: there is no appication in the module functions (PLACE/functions.py); did you mean application?
$ japronto functions:zzz
2: there is no zzz in the module functions (PLACE/functions.py); there is functions:application
$ japronto peers.wsgy
2: there is no wsgy in the module peers (PLACE/peers.py); did you mean wsgi?
$ japronto PEERS:wsgi
2: there is no module PEERS in PLACE nor where Python looks for others; did you mean peers?
$ japronto plain:app
2: there is no app in the module plain (a directory without __init__.py)
$ japronto sys:app
2: there is no app in the module sys (a built-in one)
$ japronto package:holder.nam
2: there is no nam in package:holder; did you mean name?
$ japronto functions:application.x.y
2: there is no x in functions:application
$ japronto package.inner
2: package.inner is a module; name the application in it too, such as package.inner:app
$ japronto functions
2: functions names a module alone; name the application in it too, such as functions:app
$ japronto functions.py
2: functions.py is a path; name the module and the application in it, such as japronto functions:app
$ japronto some/where/hello.py:site
2: some/where/hello.py is a path; name the module and the application in it, such as japronto --app-dir
   some/where hello:site
$ japronto package/inner:app
2: package/inner is a path; name the module and the application in it, such as japronto --app-dir
   package inner:app
$ japronto ./package
2: ./package is a directory; name a module in it, and the application in that, such as japronto --app-dir
   ./package hello:app
$ japronto .
2: . is a directory; name a module in it, and the application in that, such as japronto --app-dir . hello:app
$ japronto functions:
2: functions: does not name an application; that takes a module and a name in it, such as hello:app
$ japronto .functions:app
2: .functions:app does not name an application; that takes a module and a name in it, such as hello:app
$ japronto functions:application:app
2: functions:application:app does not name an application; that takes a module and a name in it, such as
   hello:app
$ japronto functions:make()
2: functions:make() is a call; name the function alone, and add --factory: japronto --factory functions:make
$ japronto functions:number
2: functions:number is no japronto.Application; it is of type int
$ japronto functions:make
2: functions:make is a function; if it makes the application, add --factory
$ japronto functions:make_with
2: functions:make_with is no japronto.Application; it is of type function
$ japronto functions:router
2: functions:router is a router; mount it on an Application, and name that
$ japronto functions:Site
2: functions:Site is the class Site; name an instance of it, such as app = Site()
$ japronto peers:asgi
2: peers:asgi is an application for ASGI, which Japronto does not speak; it serves instances of
   japronto.Application
$ japronto peers:site
2: peers:site is an application for ASGI, which Japronto does not speak; it serves instances of
   japronto.Application
$ japronto peers:wsgi
2: peers:wsgi is an application for WSGI, which Japronto does not speak; it serves instances of
   japronto.Application
$ japronto --factory functions:application
2: functions:application is an application already; leave --factory out
$ japronto --factory functions:number
2: functions:number cannot be called, so it is no factory; it is of type int
$ japronto --factory functions:make_with
2: functions:make_with cannot be a factory, which is called without arguments: missing a required
   argument: 'config'
$ japronto --factory functions:make_nothing
2: functions:make_nothing returned no japronto.Application; it is of type NoneType
$ japronto --factory functions:make_later
2: functions:make_later is a coroutine function; a factory must be a plain function
$ japronto running:app
2: running:app is in a module that calls app.run() when it is imported; put that call under if __name__ ==
   "__main__": or start the file with python instead
$ japronto --loop asyncio loops:app
2: the application has made a loop of uvloop already; do not ask for asyncio, or do not use app.loop so early
$ japronto --app-dir nowhere functions:application
2: there is no directory nowhere to look for applications in
$ japronto --factory functions:fail
3: the factory functions:fail failed: LookupError: no such database in PLACE/functions.py, line 12
$ japronto --factory functions:leave
3: the factory functions:leave failed: SystemExit: enough in PLACE/functions.py, line 14
$ japronto importing:app
3: importing cannot be imported: ModuleNotFoundError: No module named 'no_such_library' in
   PLACE/importing.py, line 1
$ japronto failing:app
3: failing cannot be imported: ZeroDivisionError: division by zero in PLACE/failing.py, line 4
$ japronto deep:app
3: deep cannot be imported: JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column
   2 (char 1) in PLACE/deep.py, line 4
$ japronto using:app
3: using cannot be imported: OSError: no licence in PLACE/using.py, line 3
$ japronto wrong:app
3: wrong cannot be imported: SyntaxError: invalid syntax in PLACE/wrong.py, line 1
$ japronto leaving:app
3: leaving cannot be imported: SystemExit: 3 in PLACE/leaving.py, line 2
$ japronto lines:app
3: lines cannot be imported: ValueError: one in PLACE/lines.py, line 1
$ japronto lazy:app
3: lazy:app cannot be had: RuntimeError: not today in PLACE/lazy.py, line 2
$ japronto --port 0 hooks:failing
3: a start-up hook failed: LookupError: no such database in PLACE/hooks.py, line 7
"""
"""Commands in the directory of the programs; the exit code, and the sentence on standard error."""


def cases() -> list[tuple[str, int, str]]:
    found = []
    for case in MISTAKES.split("$ japronto ")[1:]:
        arguments, _, said = case.partition("\n")
        code, _, sentence = " ".join(said.split()).partition(": ")
        found.append((arguments, int(code), sentence))
    return found


@pytest.mark.parametrize(("arguments", "code", "sentence"), cases())
def test_what_cannot_be_served(programs: Path, arguments: str, code: int, sentence: str) -> None:
    if code == 3 and not sentence.startswith("a start-up hook"):  # The program's own code was at fault.
        sentence += "; --debug shows the traceback"
    assert refused(japronto(programs, *arguments.split()), code) == sentence.replace("PLACE", str(programs))


def test_a_directory_that_cannot_be_read(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may be permitted everything."""
    monkeypatch.setattr(os, "access", lambda _path, mode: mode == os.F_OK)
    with pytest.raises(UsageError, match=f"^the directory {directory} cannot be read; give "):
        load("hello:app", app_dir=str(directory))


def test_a_module_whose_name_is_taken(directory: Path) -> None:
    """What the command ``japronto`` has imported already, from where Python looks first."""
    (directory / "signal.py").write_text(HELLO)
    command = (sys.executable, "-P", "-m", "japronto")
    assert refused(japronto(directory, "signal:app", "--port", "0", python=command), 2) == (
        f"there is no app in the module signal ({signal.__file__}); "
        f"{directory}/signal.py has a name that is taken, so rename it")


def test_debug_shows_the_users_part_of_the_traceback(programs: Path) -> None:
    done = japronto(programs, "--debug", "failing:app")
    assert done.code == 3
    assert done.error.startswith("Traceback (most recent call last):\n"
                                 f'  File "{programs}/failing.py", line 6, in <module>\n')
    assert "ZeroDivisionError: division by zero\njapronto: failing cannot be imported" in done.error
    assert "--debug" not in done.error


def test_debug_shows_the_traceback_of_a_start_up_hook(programs: Path) -> None:
    done = japronto(programs, "--debug", "--port", "0", "hooks:failing")
    assert done.code == 3
    assert done.error.startswith("Traceback (most recent call last):\n"
                                 f'  File "{programs}/hooks.py", line 7, in fail\n')


def test_a_start_up_hook_that_exits(programs: Path) -> None:
    assert japronto(programs, "--port", "0", "hooks:leaving") == (1, "", "enough\n")


# Serving

def ask(port: int, method: str = "GET", content: bytes | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, "/", content)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("target", ["hello:app", "hello.app"])
def test_serving(directory: Path, target: str) -> None:
    with serving(directory, target, "--port", "0", "--loop", "asyncio") as server:
        assert re.fullmatch(r"Japronto is listening on http://127\.0\.0\.1:\d+ "
                            r"\(backend \w+(?: with \S+)?, loop asyncio\); Ctrl-C stops it\.\n", server.line)
        assert ask(server.port) == (200, b"Hello None")


def test_bounds_of_the_program_stay_unless_they_are_given(directory: Path) -> None:
    with serving(directory, "hello:app", "--port", "0", "--trailer-fields", "5") as server:
        assert ask(server.port, "POST", b"x" * 20)[0] == 200
        assert ask(server.port, "POST", b"x" * 21)[0] == 413
    with serving(directory, "hello:app", "--content-bytes", "10", JAPRONTO_PORT="0") as server:
        assert ask(server.port, "POST", b"x" * 10)[0] == 200
        assert ask(server.port, "POST", b"x" * 11)[0] == 413
    with serving(directory, "hello:app", JAPRONTO_CONTENT_BYTES="30", JAPRONTO_PORT="0") as server:
        assert ask(server.port, "POST", b"x" * 30)[0] == 200


@pytest.mark.parametrize(("arguments", "code", "said"), [
    (["hello:app"], 0, "hello:app can be served\n"),
    (["--workers", "2", "hello:app"], 0, "hello:app can be served\n"),
    (["hello:missing"], 2, "japronto: there is no missing in the module hello "),
    (["--tls-certificate", "hello.py", "hello:app"], 3, "japronto: the certificate hello.py is not in PEM"),
    (["--log-config", "missing.json", "hello:app"], 2, "japronto: "),
    (["--error-log", "new.log", "hello:app"], 0, "hello:app can be served\n"),
    (["--error-log", "old.log", "hello:app"], 0, "hello:app can be served\n"),
    (["--error-log", "no/new.log", "hello:app"], 3, "japronto: cannot write the error log to no/new.log: "),
    (["--error-log", ".", "hello:app"], 3, "japronto: cannot write the error log to .: Is a directory; "),
    ([], 2, "japronto: name the application to serve")])
def test_checking(directory: Path, arguments: list[str], code: int, said: str) -> None:
    (directory / "old.log").touch()
    done = japronto(directory, "--check", "--port", "1", *arguments)
    assert (done.code, (done.out + done.error)[:len(said)]) == (code, said), done
    assert (done.out + done.error).count("\n") == 1
    assert not (directory / "new.log").exists()


def test_a_factory_in_another_directory(directory: Path) -> None:
    (directory / "inner").mkdir()
    (directory / "inner" / "maker.py").write_text(HELLO + "def make():\n    return app\n")
    with serving(directory, "maker:make", "--factory", "--app-dir", "inner", "--port", "0") as server:
        assert ask(server.port) == (200, b"Hello None")


def test_a_module_that_runs_only_as_the_program(directory: Path) -> None:
    (directory / "guarded.py").write_text(HELLO + "if __name__ == '__main__':\n    app.run()\n")
    with serving(directory, "guarded:app", "--port", "0") as server:
        assert ask(server.port) == (200, b"Hello None")


@pytest.mark.parametrize(("given", "shown"), [([], False), (["--debug"], True)])
def test_debug_shows_tracebacks_to_clients(directory: Path, given: list[str], shown: bool) -> None:
    (directory / "broken.py").write_text("from japronto import Application\napp = Application()\n"
                                         "@app.get('/')\ndef fail(request):\n    return 1 / 0\n")
    with serving(directory, "broken:app", "--port", "0", *given) as server:
        status, text = ask(server.port)
    assert status == 500
    assert (b"ZeroDivisionError" in text) is shown


def test_the_access_log_is_written_line_by_line(directory: Path) -> None:
    with serving(directory, "hello:app", "--port", "0", "--access-log") as server:
        ask(server.port)
        line = (directory / "stderr").read_text().removeprefix(server.line)
    assert re.fullmatch(r'127\.0\.0\.1 - - \[.*\] "GET / HTTP/1\.1" 200 10 "-" "-" \d+\.\d{6}\n', line)


def test_no_access_log(directory: Path) -> None:
    (directory / "logging_app.py").write_text(HELLO.replace("Application(", "Application(log_request=True, "))
    with serving(directory, "logging_app:app", "--port", "0", "--no-access-log") as server:
        ask(server.port)
    assert (directory / "stderr").read_text() == server.line


# What keeps a server from starting

def test_a_port_that_is_taken(directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert refused(japronto(directory, "hello:app", "--port", str(port)), 3) == (
            f"cannot listen on 127.0.0.1 port {port}: Address already in use; "
            "choose another port or host")


@pytest.mark.parametrize(("host", "reason"), [
    ("192.0.2.1", "Cannot assign requested address; choose another port or host"),
    ("a.b.invalid", "no such host; choose another"),
    ("a..b", "no such host; choose another"),
    ("999.1.1.1", "no such host; choose another"),
])
def test_a_host_that_cannot_be(directory: Path, host: str, reason: str) -> None:
    assert refused(japronto(directory, "hello:app", "--host", host, "--port", "0"), 3) == (
        f"cannot listen on {host} port 0: {reason}")


@pytest.mark.parametrize("options", [["--reuse-port", "--uds", "socket"], ["--bind", ":1", "--bind", ":1"]])
def test_what_makes_no_sense_together(directory: Path, options: list[str]) -> None:
    assert refused(japronto(directory, "hello:app", *options), 2).endswith((
        "--reuse-port is for TCP ports, and none is asked for; leave it out",
        "an address is asked for twice; leave one out of :1, :1"))


def test_a_unix_socket_in_use(directory: Path) -> None:
    with serving(directory, "hello:app", "--uds", "in-use") as server:
        assert "unix:in-use " in server.line
        assert refused(japronto(directory, "hello:app", "--uds", "in-use"), 3) == (
            "cannot listen on unix:in-use: Address already in use; choose another path")


@pytest.mark.parametrize(("path", "reason"), [
    ("nowhere/socket", "No such file or directory"),
    ("x" * 200, "AF_UNIX path too long"),
    ("x" * 300, "File name too long"),
    ("hello.py", "something that is not a socket has that path"),
    (".", "something that is not a socket has that path"),
    ("hello.py/socket", "Not a directory"),
])
def test_a_unix_socket_that_cannot_be(directory: Path, path: str, reason: str) -> None:
    assert refused(japronto(directory, "hello:app", "--uds", path), 3) == (
        f"cannot listen on unix:{path}: {reason}; choose another path")
    assert (directory / "hello.py").read_text() == HELLO


# Standard streams that are closed, or that nobody reads

@pytest.mark.parametrize("streams", ["<&- >&- 2>&-", "2>&-", "2>/dev/full"])
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_serving_without_standard_streams(directory: Path, loop: str, streams: str) -> None:
    """Neither is a client sent what was meant for a closed stream, nor does the server end for it."""
    shell = ("sh", "-c", f'exec "$0" "$@" {streams}', *COMMAND)
    with start(directory, "hello:app", "--uds", "socket", "--access-log", "--loop", loop,
               "--linger-seconds", "0.2", "--check-seconds", "0.1",
               python=shell) as process, socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(WAIT_SECONDS)
        until(lambda: sock.connect_ex(str(directory / "socket")) == 0, process)
        sock.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.0\r\n\r\n")
        received = b"".join(iter(lambda: sock.recv(4096), b""))
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_SECONDS) == 0
    assert re.sub(rb"Date: .*?\r\n", b"", received) == (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 10\r\n\r\nHello None"
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 10\r\n"
        b"Connection: close\r\n\r\nHello None")


# Signals ahead of serving

WAITING = """
import asyncio, pathlib, time
from japronto import Application
asynchronous, blocking = Application(), Application()
@asynchronous.on_startup
async def wait(app):
    try:
        pathlib.Path("waiting").touch()
        await asyncio.sleep(3600)
    finally:
        pathlib.Path("cleaned-up").touch()
@blocking.on_startup
def block(app):
    try:
        pathlib.Path("waiting").touch()
        time.sleep(3600)
    finally:
        pathlib.Path("cleaned-up").touch()
"""


BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@BOTH
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("hook", ["asynchronous", "blocking"])
def test_interrupting_a_start_up_hook(directory: Path, hook: str, loop: str, number: signal.Signals) -> None:
    (directory / "waiting_app.py").write_text(WAITING)
    with start(directory, f"waiting_app:{hook}", "--port", "0", "--loop", loop) as process:
        until((directory / "waiting").exists, process)
        process.send_signal(number)
        assert process.wait(WAIT_SECONDS) == 0
    assert (directory / "cleaned-up").exists()
    assert (directory / "stderr").read_text() == ""


@BOTH
def test_interrupting_an_import(directory: Path, number: signal.Signals) -> None:
    (directory / "slow.py").write_text(
        "import pathlib, time\npathlib.Path('waiting').touch()\ntime.sleep(3600)\n")
    with start(directory, "slow:app") as process:
        until((directory / "waiting").exists, process)
        process.send_signal(number)
        assert process.wait(WAIT_SECONDS) == 0
    assert (directory / "stderr").read_text() == ""


# Behind a proxy

def test_what_is_believed_of_proxies_is_said_in_full() -> None:
    assert mistake("--proxy-headers", "hello:app") == (
        "--proxy-headers must be x-forwarded, forwarded, off, or names of fields such as "
        "x-forwarded-for,x-forwarded-proto,x-forwarded-host; it is 'hello:app'")
    assert mistake("--proxy-headers").startswith("--proxy-headers needs a value")
    assert mistake("--proxy-headers", "forwarded,x-forwarded").startswith("--proxy-headers must not mix")
    assert mistake(JAPRONTO_FORWARDED_ALLOW_IPS="10.0.0.1/8") == (
        "the environment variable JAPRONTO_FORWARDED_ALLOW_IPS must name networks by their first address; "
        "write 10.0.0.0/8 for 10.0.0.1/8; it is '10.0.0.1/8'")


@pytest.mark.parametrize(("options", "sentence"), [
    (["--uds-mode", "600"], "--uds-mode does nothing by itself; add --uds or --bind unix:PATH"),
    (["--uds-mode", "600", "--bind", ":80"], "--uds-mode does nothing by itself; "),
    (["--handshake-seconds", "5"], "--handshake-seconds does nothing by itself; add --tls-certificate"),
    (["--proxy-header-bytes", "500"], "--proxy-header-bytes does nothing by itself; add --proxy-protocol"),
    (["--max-requests-jitter", "5"], "--max-requests-jitter does nothing by itself; add --max-requests"),
    (["--reload-dir", "x"], "--reload-dir does nothing by itself; add --reload"),
    (["--reload-include", "*.html", "--no-reload"], "--reload-include does nothing by itself; add --reload"),
    (["--reload-exclude", "x"], "--reload-exclude does nothing by itself; add --reload")])
def test_options_that_would_do_nothing(options: list[str], sentence: str) -> None:
    assert mistake(*options).startswith(sentence)


def test_options_of_all_programs_may_do_nothing() -> None:
    assert values(JAPRONTO_UDS_MODE="600", JAPRONTO_HANDSHAKE_SECONDS="5", JAPRONTO_RELOAD_DIR="x")


def test_reloading_has_no_worker_timeout_but_one_that_is_given() -> None:
    for more, seconds in ([], None), (["--worker-timeout", "7"], 7):
        bounds = cli.master_config(cli.parse(["--reload", *more], {}))
        assert bounds is not None
        assert bounds.worker_timeout == seconds


def test_a_list_of_proxies_is_for_something() -> None:
    """It would look as if something were believed."""
    assert mistake("--forwarded-allow-ips", "*", "--proxy-headers", "off").startswith(
        "--forwarded-allow-ips does nothing by itself; say what is believed of proxies")
    assert values("--forwarded-allow-ips", "*", "--proxy-headers", "forwarded")
    assert values("--forwarded-allow-ips", "*", JAPRONTO_PROXY_PROTOCOL="1")
    assert values(JAPRONTO_FORWARDED_ALLOW_IPS="*")  # It may be there for all programs of a machine.


# Logs

FAILING = HELLO + """
def fail(request):
    request.headers["authorization"]
    raise LookupError("lost")

app.router.add_route("/fails", fail)
"""


def test_the_error_log(directory: Path) -> None:
    """A failure names the request and its client, and no query."""
    (directory / "failing.py").write_text(FAILING)
    with serving(directory, "failing:app", "--port", "0", "--error-log", "errors") as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.request("GET", "/fails?token=hunter2", headers={"Authorization": "hunter2"})
        assert connection.getresponse().status == 500
        connection.close()
    first, *traceback = (directory / "errors").read_text().splitlines()
    assert re.fullmatch(r"\S+Z \[\d+\] ERROR GET /fails from 127\.0\.0\.1 failed", first)
    assert traceback[-1] == "LookupError: lost"
    assert "hunter2" not in (directory / "errors").read_text()
    assert (directory / "stderr").read_text() == server.line


@pytest.mark.parametrize(("given", "sentence"), [
    (["--access-log-format", "%(x)s"], "--access-log-format has %(x)s, which is no atom; they are %(h)s "),
    (["--access-log-format", "%({cookie}i)s"],
     "--access-log-format has %({cookie}i)s, but cookie holds credentials, which belong in no log; "),
    (["--log-level", "loud"], "--log-level must be debug, info, warning, error or critical; it is 'loud'"),
    (["--log-format", "xml"], "--log-format must be plain, text or json; it is 'xml'"),
    (["--request-id-header", "X Y"],
     "--request-id-header must be the name of a field, such as X-Request-ID; it is 'X Y'"),
    (["--request-id-header", "Date"],
     "--request-id-header must be a field without a meaning of its own, such as X-Request-ID; it is 'Date'"),
    (["--log-config", "a", "--log-level", "info"],
     "--log-config and --log-level exclude each other: say it in the file"),
    (["--access-logfile", "a"], "there is no option --access-logfile; use --access-log-file"),
])
def test_mistakes_about_logs(given: list[str], sentence: str) -> None:
    assert mistake("hello:app", *given).startswith(sentence)


@pytest.mark.parametrize(("given", "code", "sentence"), [
    (["--log-config", "nowhere.toml"], 2,
     ("the logging configuration nowhere.toml cannot be used: No such file or directory; "
      "mend it, or choose another file")),
    (["--error-log", "nowhere/log"], 3,
     "cannot write the error log to nowhere/log: No such file or directory; choose another path"),
    (["--access-log-file", "nowhere/log"], 3,
     "cannot write the access log to nowhere/log: No such file or directory; choose another path"),
])
def test_logs_that_cannot_be(directory: Path, given: list[str], code: int, sentence: str) -> None:
    assert refused(japronto(directory, "hello:app", "--port", "0", *given), code) == sentence


@pytest.mark.parametrize(("given", "on"), [
    ([], None), (["--access-log"], True), (["--access-log-file", "a"], True),
    (["--access-log-format", "json"], True), (["--no-access-log-query"], None),
    (["--no-access-log", "--access-log-file", "a"], False),
])
def test_what_turns_the_access_log_on(given: list[str], on: bool | None) -> None:
    assert values("hello:app", *given).get("access_log") is on
