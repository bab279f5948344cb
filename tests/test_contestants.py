"""The descriptions of what is compared are well formed, and Japronto serves what all must serve."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from command import ROOT, WAIT_SECONDS

sys.path.append(str(ROOT))  # Not everything that runs tests does so from there.
from bench.contestants import ROUTES, Contestant, DescriptionError, all_contestants, read

pytestmark = pytest.mark.slow
CONTESTANTS = all_contestants()

GOOD = '''"""What it is."""
NAME = "It"
COMMAND = ("it", "{port}")
VERSION = ("it", "--version")
'''


@pytest.mark.parametrize("contestant", CONTESTANTS.values(), ids=CONTESTANTS)
def test_a_contestant(contestant: Contestant) -> None:
    """It is described in full; all files that its commands name are there."""
    assert contestant.needs or not contestant.build
    for command in (contestant.build, contestant.command, contestant.version):
        for part in contestant.filled(command, python="python", port=1):
            if part.startswith(str(contestant.path.parent)):
                assert Path(part).exists()


def test_none_has_the_name_of_another() -> None:
    assert len({contestant.name for contestant in CONTESTANTS.values()}) == len(CONTESTANTS)


def test_a_description(tmp_path: Path) -> None:
    path = tmp_path / "it_app.py"
    path.write_text(GOOD + 'REQUIREMENTS = ("it[fast]==1.0",)\nimport it\n')
    assert read(path) == Contestant("it", path, "What it is.", "It", requirements=("it[fast]==1.0",),
                                    command=("it", "{port}"), version=("it", "--version"))


@pytest.mark.parametrize(("line", "complaint"), [
    ('REQUIREMENTS = ("it>=1.0",)', "it>=1.0 must be pinned, as in package==1.0"),
    ('REQUIREMENTS = ["it==1.0"]', "REQUIREMENTS must be a tuple; it is ['it==1.0']"),
    ('REQUIREMENTS = ("it==" + version,)', "REQUIREMENTS must be a literal"),
    ('BUILD = ("make", "{place}")', "BUILD has {place}, which nothing stands for"),
    ('COMMAND = ("it",)', "COMMAND does not say where {port} goes"),
    ("NEEDS = {'it': 1}", "NEEDS must hold strings, none of them empty; it is {'it': 1}"),
    ("NAME = ''", "NAME must hold strings, none of them empty; it is ''"),
    ("MISSING_WORKLOADS = {'download': 'x'}", "there is no workload 'download'; there are hello, json, "),
])
def test_a_wrong_description(tmp_path: Path, line: str, complaint: str) -> None:
    path = tmp_path / "it.py"
    path.write_text(f"{GOOD}{line}\n")
    with pytest.raises(DescriptionError) as raised:
        read(path)
    assert str(raised.value).startswith("it.py")
    assert complaint in str(raised.value)


@pytest.mark.parametrize("name", ["NAME", "COMMAND", "VERSION"])
def test_a_description_that_lacks_something(tmp_path: Path, name: str) -> None:
    path = tmp_path / "it.py"
    path.write_text("".join(line for line in GOOD.splitlines(True) if not line.startswith(name)))
    with pytest.raises(DescriptionError, match=f"^it.py does not assign {name}$"):
        read(path)


def test_what_is_made_changes_with_what_it_is_made_of(tmp_path: Path) -> None:
    path, source = tmp_path / "it.py", tmp_path / "it.c"
    path.write_text(GOOD + 'BUILD = ("cc", "{here}/it.c", "-o", "{made}/it")\n')
    source.write_text("int main(void) { return 0; }")
    first = read(path)
    assert first.filled(first.build)[1:] == [str(source), "-o", str(first.made / "it")]
    before = first.made
    assert before == read(path).made
    source.write_text("int main(void) { return 1; }")
    assert first.made != before
    assert first._replace(python="3.6").made != first.made
    assert first._replace(requirements=("it==1.0",)).made != first.made


@contextmanager
def serving(contestant: Contestant, directory: Path) -> Iterator[int]:
    """Run it while the body runs; the port that it serves on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    errors = directory / "stderr"
    with errors.open("w") as stream, subprocess.Popen(
            contestant.filled(contestant.command, python=sys.executable, port=port), cwd=ROOT,
            stdin=subprocess.DEVNULL, stdout=stream, stderr=stream) as process:
        try:
            deadline = time.monotonic() + WAIT_SECONDS
            while True:
                with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                assert process.poll() is None, errors.read_text()
                assert time.monotonic() < deadline, errors.read_text()
                time.sleep(0.01)
            yield port
        finally:
            process.kill()


@pytest.mark.parametrize("key", ["japronto_accel", "japronto_httptools", "japronto_pure"])
def test_japronto_serves_every_route(tmp_path: Path, key: str) -> None:
    content = os.urandom(1024)
    expected = {
        "hello": ("text/plain", b"Hello world!"), "later": ("text/plain", b"Hello world!"),
        "users": ("text/plain", b"Hello somebody"), "echo": ("application/octet-stream", content),
        "10k": ("text/plain", b"x" * 10_240), "1m": ("text/plain", b"x" * 1_048_576),
        "upload": ("text/plain", b"1024"), "json": ("application/json", {"message": "Hello world!"})}
    answers = {}
    with serving(CONTESTANTS[key], tmp_path) as port, closing(
            http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_SECONDS)) as connection:
        for workload, (method, path) in ROUTES.items():
            connection.request(method, path.replace("{name}", "somebody"),
                               content if method == "POST" else None)
            with connection.getresponse() as response:
                body = response.read()
                assert response.status == 200
                media_type = response.headers.get_content_type()
                answers[workload] = media_type, json.loads(body) if workload == "json" else body
    assert answers == expected
