"""What the README promises: its programs run, and its commands are those that are checked."""

from __future__ import annotations

import http.client
import inspect
import json
import re
from pathlib import Path

import pytest
from command import ROOT, serving

from japronto import Application
from japronto.config import ServerConfig

README = (ROOT / "README.md").read_text(encoding="utf-8")
INSTALL = "python3.11 -m venv .venv && .venv/bin/pip install -q "


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_the_two_commands_start_from_nothing() -> None:
    complete = [block.rstrip("\n") for block in blocks("sh") if block.startswith(INSTALL)]
    assert complete == [INSTALL + ". && .venv/bin/japronto demo",
                        INSTALL + "-e '.[test]' && .venv/bin/python -m pytest -n auto --cov"]


def test_ci_runs_the_command_that_the_readme_gives() -> None:
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    command = next(block.rstrip("\n") for block in blocks("sh") if "pytest" in block)
    assert lines[-1] == command


def test_every_command_is_one_that_the_first_has_installed() -> None:
    others = [block for block in blocks("sh") if not block.startswith(INSTALL)]
    assert others == [".venv/bin/japronto hello:app\n", ".venv/bin/japronto --help\n"]


def test_the_addresses_that_are_named() -> None:
    host = inspect.signature(Application.run).parameters["host"].default
    assert f"It listens on {ServerConfig().host}" in README
    assert f"with `--host {host}`, on all addresses. `app.run()` in a\nprogram does so" in README


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([\w./-]+)\)", README))))
def test_links_lead_somewhere(path: str) -> None:
    assert (ROOT / path).exists()


def ask(port: int, method: str, path: str, content: bytes | None = None) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, content)
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.read()
    finally:
        connection.close()


def program(name: str, directory: Path) -> None:
    source = next(block for block in blocks("python") if block.startswith(f"# {name}.py\n"))
    (directory / f"{name}.py").write_text(source, encoding="utf-8")


def test_the_first_program(tmp_path: Path) -> None:
    program("hello", tmp_path)
    with serving(tmp_path, "hello:app", "--port", "0") as server:
        assert ask(server.port, "GET", "/") == b"Hello world!"
        assert json.loads(ask(server.port, "GET", "/planets/mars")) == {"planet": "mars"}


def test_the_streaming_program(tmp_path: Path) -> None:
    program("stream", tmp_path)
    with serving(tmp_path, "stream:app", "--port", "0") as server:
        assert ask(server.port, "GET", "/numbers") == b"".join(b"%d\n" % number for number in range(1000))
        assert json.loads(ask(server.port, "POST", "/upload", b"x" * 100_000)) == {"bytes": 100_000}
