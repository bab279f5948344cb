"""What the documentation of handlers shows is what happens: its code is run, its transcripts are played."""

from __future__ import annotations

import builtins
import inspect
import io
import re
import types
from contextlib import redirect_stdout
from typing import Any, NamedTuple

import pytest
from command import ROOT

import japronto
from japronto import Application, Limits, Request, Timeouts
from japronto.backend import Backend
from japronto.config import ServerConfig
from japronto.testing import Client, TestResponse

PATH = ROOT / "docs" / "handlers.md"
TEXT = PATH.read_text(encoding="utf-8")


class Block(NamedTuple):
    """A fenced block: what it is, its text, and where it begins."""

    language: str
    text: str
    line: int


class Exchange(NamedTuple):
    """A request of a transcript, and its answer: the lines without their marks."""

    sent: list[str]
    received: list[str]
    line: int


def blocks() -> list[Block]:
    return [Block(match[1], match[2], TEXT.count("\n", 0, match.start(2)) + 1)
            for match in re.finditer(r"^```(\w*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)]


def exchanges() -> list[Exchange]:
    found: list[Exchange] = []
    for block in blocks():
        if block.language != "http":
            continue
        last = "<"
        for number, line in enumerate(block.text.splitlines(), block.line):
            mark, text = line[0], line[2:]
            assert mark in "<>"
            if (last, mark) == ("<", ">"):
                found.append(Exchange([], [], number))
            (found[-1].sent if mark == ">" else found[-1].received).append(text)
            last = mark
    return found


def parts(lines: list[str]) -> tuple[str, dict[str, str], str | None]:
    """The first line, the fields, and the content."""
    end = lines.index("") if "" in lines else len(lines)
    fields = dict(line.split(": ", 1) for line in lines[1:end])
    return lines[0], fields, "\n".join(lines[end + 1:]) if end < len(lines) else None


@pytest.fixture(scope="module")
def program() -> dict[str, Any]:
    """The names that the code of the page leaves, and what it prints as ``printed``."""
    names: dict[str, Any] = {"__name__": "handlers"}
    with redirect_stdout(io.StringIO()) as printed:
        for language, text, line in blocks():
            if language == "python":
                # The empty lines make a traceback point into the page.
                exec(compile("\n" * (line - 1) + text, PATH, "exec"), names)
    return {**names, "printed": printed.getvalue()}


def test_all_blocks_are_run() -> None:
    assert {block.language for block in blocks()} == {"python", "http"}
    assert TEXT.count("```") == 2 * len(blocks())
    assert exchanges()


def ask(app: Application, sent: list[str]) -> TestResponse:
    line, headers, content = parts(sent)
    method, target = line.split(" ")
    with Client(app) as client:
        return client.request(method, target, headers=headers,
                              body=None if content is None else content.encode())


@pytest.mark.parametrize("exchange", exchanges(), ids=lambda exchange: f"line {exchange.line}")
def test_transcript(program: dict[str, Any], exchange: Exchange) -> None:
    response = ask(program["app"], exchange.sent)
    status, headers, content = parts(exchange.received)
    assert status in (f"{response.status}", f"{response.status} {response.reason}")
    assert headers == {name: response.headers.get(name) for name in headers}
    if content is not None:
        assert response.text == content


@pytest.mark.parametrize("name", re.findall(r"^def (test_\w+)", TEXT, re.MULTILINE))
def test_test(program: dict[str, Any], name: str) -> None:
    program[name]()


def test_it_has_served_on_a_running_loop(program: dict[str, Any]) -> None:
    assert re.fullmatch(r"Listening on http://127\.0\.0\.1:(\d+), port \1\n", program["printed"])


def test_the_hooks_are_a_pair(program: dict[str, Any]) -> None:
    with Client(program["app"]) as client:
        assert client.app.users == {7: "Ida"}  # type: ignore[attr-defined]
    assert not hasattr(program["app"], "users")


def test_json_by_another_encoder(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """The assignment of the page counts on every backend."""
    assignment, = re.findall(r"`(Response\.encode_json = [^`]*)`", TEXT)
    before = backend.response.encode_json
    monkeypatch.setattr(backend.response, "encode_json", staticmethod(before))  # So that it is put back.
    exec(assignment, {"Response": japronto.Response, "orjson": types.SimpleNamespace(dumps="<{}>".format)})
    app = Application()
    app.get("/")(lambda request: request.Response(json=[1]))
    app.get("/own")(lambda request: japronto.Response(json=[2]))
    assert [Client(app).get(path).text for path in ("/", "/own")] == ["<[1]>", "<[2]>"]


# The names that the text gives

def test_the_addresses_that_are_named() -> None:
    host = inspect.signature(Application.run).parameters["host"].default
    assert f"`app.run()` on {host}" in TEXT
    assert f"the command on {ServerConfig().host}" in TEXT


INTERNAL = {"awaits_content", "boundary", "common", "connection", "content", "destination", "head",
            "parse_multipart", "persistent", "refusal", "response", "stage", "streams", "wants_continue"}
"""What requests have for the connection that they belong to."""


def test_the_attributes_of_requests() -> None:
    names = {name for name in dir(Request) if not name.startswith("_")}
    assert names > INTERNAL
    for name in names - INTERNAL:
        assert re.search(rf"`(request\.|await request\.)?{name}\b", TEXT), f"{name} is not in the page"


def test_what_is_named_exists() -> None:
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", TEXT, re.MULTILINE)
    attributes = re.findall(r"`(\w+)`", " ".join(rows))
    assert {"method", "files"} <= set(attributes) <= set(dir(Request))
    classes = set(re.findall(r"`([A-Z][a-z]+[A-Z]\w+)`", TEXT))
    assert {"ContentTooLarge"} < classes <= set(japronto.__all__) | set(dir(builtins))


def test_the_bounds_that_are_named() -> None:
    names = set(re.findall(r"\b[a-z_]+_(?:bytes|seconds)\b", TEXT))
    assert names
    assert names <= Limits.__dataclass_fields__.keys() | Timeouts.__dataclass_fields__.keys()


def test_links_lead_somewhere() -> None:
    paths = re.findall(r"\]\(([^)]+)\)", TEXT)
    assert paths
    for path in paths:
        assert (PATH.parent / path).exists(), path
