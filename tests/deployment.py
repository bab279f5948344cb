"""The files in docs/deployment/ as values: what systemd, Docker and Kubernetes read in them."""

from __future__ import annotations

import configparser
import json
import re
import shlex
from typing import Any, NamedTuple

import yaml
from command import ROOT

from japronto import cli, supervisor
from japronto.limits import Timeouts

DIRECTORY = ROOT / "docs" / "deployment"
PAGE = ROOT / "docs" / "deployment.md"


def text(name: str) -> str:
    return (DIRECTORY / name).read_text(encoding="utf-8")


def replaced(name: str, words: dict[str, str]) -> str:
    """The text with others in the place of some words, each of which must be there."""
    config = text(name)
    for word, other in words.items():
        assert word in config, word
        config = config.replace(word, other)
    return config


def unit(name: str) -> configparser.ConfigParser:
    """A unit file of systemd, in which nothing stands twice."""
    parser = configparser.ConfigParser(interpolation=None, delimiters="=", comment_prefixes="#")
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(text(name), name)
    return parser


class Instruction(NamedTuple):
    word: str
    rest: str


def stages() -> list[list[Instruction]]:
    """The stages of the Dockerfile; each begins with its FROM."""
    found: list[list[Instruction]] = []
    for line in text("Dockerfile").splitlines():
        if line and not line.startswith("#"):
            instruction = Instruction(*line.split(" ", 1))
            if instruction.word == "FROM":
                found.append([])
            found[-1].append(instruction)
    return found


def said(word: str) -> list[str]:
    """What an instruction says in the last stage of the Dockerfile."""
    return [instruction.rest for instruction in stages()[-1] if instruction.word == word]


def image_environment() -> dict[str, str]:
    return dict(line.split("=", 1) for line in said("ENV"))


def manifests() -> dict[str, dict[str, Any]]:
    """The objects of kubernetes.yaml by their kinds."""
    return {found["kind"]: found for found in yaml.safe_load_all(text("kubernetes.yaml"))}


def pod() -> dict[str, Any]:
    spec: dict[str, Any] = manifests()["Deployment"]["spec"]["template"]["spec"]
    return spec


def container() -> dict[str, Any]:
    found: dict[str, Any]
    found, = pod()["containers"]
    return found


def commands() -> dict[str, list[str]]:
    """The command that each file starts the server with."""
    entrypoint, = said("ENTRYPOINT")
    command, = said("CMD")
    return {
        "japronto.service": shlex.split(unit("japronto.service")["Service"]["ExecStart"]),
        "Dockerfile": [*json.loads(entrypoint), *json.loads(command)],
        "kubernetes.yaml": [*json.loads(entrypoint), *container()["args"]],
        "haproxy.cfg": shlex.split(re.findall(r"^# +(japronto .*)", text("haproxy.cfg"), re.MULTILINE)[0]),
    }


def settings(name: str) -> cli.Settings:
    """What such a command asks the server for."""
    environment = image_environment() if name in ("Dockerfile", "kubernetes.yaml") else {}
    return cli.parse(commands()[name][1:], environment)


def seconds_to_stop(name: str) -> float:
    """How long the server may take from TERM until it has ended, by itself or by its master's hand."""
    values = settings(name).values
    drain = values.get("drain_seconds", Timeouts().drain_seconds)
    return float(values.get("drain_delay_seconds", 0) + drain + supervisor.MARGIN_SECONDS)
