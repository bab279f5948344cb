"""The files of docs/deployment.md say what their readers understand, and their figures fit the server's.

That they work is tried in tests/faults/test_deployment.py.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from deployment import (
    DIRECTORY,
    PAGE,
    commands,
    container,
    image_environment,
    manifests,
    pod,
    said,
    seconds_to_stop,
    settings,
    stages,
    text,
    unit,
)
from sockets.process import found

from japronto import cli, supervisor
from japronto.admission import SPARE_FILES
from japronto.config import MasterConfig
from japronto.limits import MIB, Limits, Timeouts

TEXT = PAGE.read_text(encoding="utf-8")
SERVICE = unit("japronto.service")["Service"]


def figure(pattern: str, name: str) -> float:
    """The number behind some words of a file."""
    number, = re.findall(rf"^\s*[^#\n]*{pattern} (\d+)", text(name), re.MULTILINE)
    return float(number)


# -- All of them -----------------------------------------------------------------------------------

@pytest.mark.parametrize("name", commands())
def test_the_server_takes_the_command(name: str) -> None:
    given = settings(name)
    assert given.target == "hello:app"
    assert cli.server_config(given, debug=False)
    assert cli.stray_variables(image_environment()) == []
    workers = cli.master_config(given)
    assert workers is not None  # HUP and process 1 need a master.
    assert workers.workers == (1 if name in ("Dockerfile", "kubernetes.yaml") else 2)


@pytest.mark.parametrize(("name", "granted"), [
    ("japronto.service", float(SERVICE["TimeoutStopSec"])),
    ("kubernetes.yaml", pod()["terminationGracePeriodSeconds"]),
    ("Dockerfile", float(re.findall(r"docker stop --time (\d+)", TEXT)[0])),
    ("Dockerfile", float(re.findall(r"stop_grace_period: (\d+)s", TEXT)[0])),
])
def test_nobody_is_killed_who_drains(name: str, granted: float) -> None:
    assert seconds_to_stop(name) < granted


def test_the_page_has_them_all() -> None:
    links = set(re.findall(r"\]\(([^)#]+)\)", TEXT))
    assert {f"deployment/{path.name}" for path in DIRECTORY.iterdir()} <= links
    for link in links:
        assert "://" in link or (PAGE.parent / link).exists(), link


def test_the_options_that_are_named() -> None:
    known = {option.flag for option in cli.OPTIONS}
    options = set(re.findall(r"`(--[a-z][a-z-]+)(?: [^`]*)?`", TEXT))
    assert "--idle-seconds" in options
    assert options <= known
    for name in ("japronto.service", "kubernetes.yaml", "nginx.conf", "haproxy.cfg", "Dockerfile"):
        remarks = re.findall(r"^ *# .*", text(name), re.MULTILINE)
        assert set(re.findall(r"--[a-z][a-z-]+", "\n".join(remarks))) <= known, name


def test_the_figures_that_are_named() -> None:
    for name, default in re.findall(r"`--([a-z-]+)` \((\d+) s\)", TEXT):
        defaults = {**vars_of(Timeouts()), **vars_of(MasterConfig())}
        assert defaults[name.replace("-", "_")] == float(default), name


def vars_of(given: object) -> dict[str, object]:
    return {name: getattr(given, name) for name in type(given).__dataclass_fields__}  # type: ignore[attr-defined]


# -- systemd ---------------------------------------------------------------------------------------

@pytest.mark.skipif(found("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    """It says what it does not know, and which program is not there."""
    program = tmp_path / "japronto"
    program.touch(mode=0o755)
    names = ("japronto.service", "japronto.socket")
    for name in names:
        (tmp_path / name).write_text(text(name).replace(commands()["japronto.service"][0], str(program)))
    environment = {**os.environ, "SYSTEMD_LOG_LEVEL": "warning"}
    done = subprocess.run(["systemd-analyze", "verify", *names], cwd=tmp_path, env=environment,
                          capture_output=True, text=True, check=False)
    ours = [line for line in done.stderr.splitlines() if "japronto" in line]
    assert (done.returncode, ours) == (0, []), done.stderr


@pytest.mark.skipif(found("systemd-analyze") is None, reason="systemd is not installed")
def test_the_service_may_do_next_to_nothing() -> None:
    """What systemd thinks of its exposure: 2 of 10 at most."""
    done = subprocess.run(["systemd-analyze", "security", "--offline=yes", "--threshold=20",
                           str(DIRECTORY / "japronto.service")], capture_output=True, text=True, check=False)
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd cannot look at a file")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_service_waits_longer_than_the_master() -> None:
    assert SERVICE["Type"] == "notify"
    bounds = cli.master_config(settings("japronto.service"))
    assert bounds is not None
    assert bounds.worker_start_timeout < float(SERVICE["TimeoutStartSec"])
    assert float(SERVICE["WatchdogSec"]) > 2 * supervisor.TURN_SECONDS
    assert Limits().connections + SPARE_FILES < int(SERVICE["LimitNOFILE"])
    assert unit("japronto.service")["Unit"]["Requires"] == "japronto.socket"


# -- Docker ----------------------------------------------------------------------------------------

def test_the_image() -> None:
    build, last = stages()
    assert {instruction.word for instruction in last} <= {
        "FROM", "COPY", "WORKDIR", "USER", "ENV", "EXPOSE", "STOPSIGNAL", "ENTRYPOINT", "CMD"}  # no RUN
    assert build[0].rest == f"{last[0].rest} AS build"  # The same Python at the same place.
    made = next(instruction.rest for instruction in build if "-m venv" in instruction.rest).split()[-1]
    assert said("COPY")[0] == f"--from=build {made} {made}"
    assert image_environment()["PATH"].split(":")[0] == f"{made}/bin"
    user, = said("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert said("STOPSIGNAL") == ["SIGTERM"]
    assert said("EXPOSE") == [str(cli.server_config(settings("Dockerfile"), debug=False).port)]
    assert settings("Dockerfile").values["host"] == "0.0.0.0"


# -- Kubernetes ------------------------------------------------------------------------------------

def test_the_service_finds_the_pods() -> None:
    deployment, service = (manifests()[kind]["spec"] for kind in ("Deployment", "Service"))
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == service["selector"] == labels
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    config = cli.server_config(settings("kubernetes.yaml"), debug=False)
    assert (config.host, config.metrics_address) == ("0.0.0.0", f"0.0.0.0:{ports['metrics']}")
    assert ports["http"] == config.port
    assert [port["targetPort"] for port in service["ports"]] == ["http"]
    assert pod()["securityContext"]["runAsNonRoot"] is True


def test_the_probes() -> None:
    bounds = cli.master_config(settings("kubernetes.yaml"))
    assert bounds is not None
    start, live, ready = (container()[f"{name}Probe"] for name in ("startup", "liveness", "readiness"))
    assert {probe["httpGet"]["port"] for probe in (start, live, ready)} == {"metrics"}
    assert [probe["httpGet"]["path"] for probe in (start, live, ready)] == ["/ready", "/live", "/ready"]
    assert bounds.worker_start_timeout < start["periodSeconds"] * start["failureThreshold"]
    noticed = ready["failureThreshold"] * ready["periodSeconds"] + ready["timeoutSeconds"]
    assert noticed < settings("kubernetes.yaml").values["drain_delay_seconds"]


# -- Proxies ---------------------------------------------------------------------------------------

def test_the_proxies_close_first() -> None:
    assert figure("keepalive_timeout", "nginx.conf") < Timeouts().idle_seconds
    assert figure("pool-purge-delay", "haproxy.cfg") < Timeouts().idle_seconds


def test_the_proxies_take_what_the_server_takes() -> None:
    assert figure("client_max_body_size", "nginx.conf") * MIB == Limits().content_bytes


def test_haproxy_notices_within_the_delay() -> None:
    noticed = (figure("fall", "haproxy.cfg") + 1) * figure("inter", "haproxy.cfg")
    assert noticed < settings("haproxy.cfg").values["drain_delay_seconds"]
