"""Where lines go, and that writing them harms nothing; how the error log is set up."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from japronto import logs
from japronto.errors import StartError, UsageError
from japronto.logs import ErrorLog, Output


@pytest.fixture(autouse=True)
def untouched() -> Iterator[None]:
    """Loggers are put back as they were."""
    names = ("japronto.error", "japronto.access", "asyncio", "tests.logs")
    before = {name: logging.getLogger(name) for name in names}
    state = {name: (logger.level, logger.propagate, list(logger.handlers)) for name, logger in before.items()}
    yield
    for name, logger in before.items():
        level, logger.propagate, handlers = state[name]
        logger.setLevel(level)
        for handler in set(logger.handlers) - set(handlers):
            logger.removeHandler(handler)
            handler.close()


def record(text: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("tests.logs", logging.ERROR, __file__, 1, text, arguments, None)


@contextmanager
def output(path: Path | str, said: list[str] | None = None) -> Iterator[Output]:
    made = Output(str(path), None, (said if said is not None else []).append)
    try:
        yield made
    finally:
        made.close()


def test_lines_are_appended(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("before\n")
    with output(tmp_path / "log") as first, output(tmp_path / "log") as second:
        for number, made in enumerate((first, second, first)):
            made.handle(record("%d \udc80", number))
    assert (tmp_path / "log").read_text() == "before\n0 \\udc80\n1 \\udc80\n2 \\udc80\n"


def test_a_record_that_cannot_be_formatted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with output(tmp_path / "log") as made:
        made.handle(record("%d", "no number"))
        made.handle(record("next"))
    assert (tmp_path / "log").read_text() == "next\n"
    assert "--- Logging error ---" in capsys.readouterr().err


def test_reopening(tmp_path: Path) -> None:
    log, old = tmp_path / "log", tmp_path / "old"
    with output(log) as made:
        made.handle(record("one"))
        log.rename(old)
        made.handle(record("two"))
        logs.reopen()
        made.handle(record("three"))
    assert (old.read_text(), log.read_text()) == ("one\ntwo\n", "three\n")


def test_handlers_of_the_standard_library_are_reopened(tmp_path: Path) -> None:
    log, old, short = tmp_path / "log", tmp_path / "old", tmp_path / "short"
    logger = logging.getLogger("tests.logs")
    for handler in (logging.FileHandler(log), logging.FileHandler(short, mode="w")):
        logger.addHandler(handler)
    logger.error("one")
    log.rename(old)
    logs.reopen()
    logger.error("two")
    assert (old.read_text(), log.read_text(), short.read_text()) == ("one\n", "two\n", "one\ntwo\n")


def test_what_cannot_be_reopened_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory = tmp_path / "directory"
    directory.mkdir()
    with output(directory / "log") as made:
        directory.rename(tmp_path / "moved")
        logs.reopen()
        made.handle(record("one"))
    assert (tmp_path / "moved" / "log").read_text() == "one\n"
    message, = caplog.messages
    assert message.startswith("A log cannot be opened anew, and goes on in its old file: [Errno 2]")


def test_a_full_disk_is_said_once() -> None:
    said: list[str] = []
    with output("/dev/full", said) as made:
        for _ in range(3):
            made.handle(record("lost"))
        assert said == ["The log /dev/full cannot be written, lines are lost: No space left on device"]
        made._file.close()
        made._file = io.FileIO(os.devnull, "wb")
        made.handle(record("written"))
        made.handle(record("written"))
    assert said[1:] == ["The log /dev/full is written again; 3 lines were lost"]


def test_a_log_that_fails_now_and_then_does_not_fill_another() -> None:
    said: list[str] = []
    with output("/dev/full", said) as made, made._file as full, io.FileIO(os.devnull, "wb") as taking:
        for _ in range(10):
            made._file = full
            made.handle(record("lost"))
            made._file = taking
            made.handle(record("written"))
        assert len(said) == 2
        made._silent_until = 0  # as if a minute had gone
        made.handle(record("written"))
    assert said[2:] == ["The log /dev/full is written again; 9 lines were lost"]


def test_a_file_that_has_become_a_pipe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(logs, "PATIENCE_SECONDS", 0.05)
    with output(tmp_path / "log") as made:
        (tmp_path / "log").rename(tmp_path / "old")
        os.mkfifo(tmp_path / "log")
        reader = os.open(tmp_path / "log", os.O_RDONLY | os.O_NONBLOCK)
        logs.reopen()
        for _ in range(100):
            made.handle(record("x" * 5000))  # It would never end.
        os.close(reader)


def test_a_pipe_that_nobody_reads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It holds nobody up for long; when it is read again, the next line is one of its own."""
    monkeypatch.setattr(logs, "PATIENCE_SECONDS", 0.05)
    said: list[str] = []
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with output(tmp_path / "pipe", said) as made, os.fdopen(reader, "rb") as stream:
        written = threading.Event()

        def write() -> None:
            for _ in range(300):
                made.handle(record("x" * 5000))
            written.set()

        thread = threading.Thread(target=write, daemon=True)
        thread.start()
        assert written.wait(60), "it waits for a reader"
        thread.join()
        full = stream.read()
        made.handle(record("read again"))
        end = stream.read()
    assert said[0] == f"The log {tmp_path / 'pipe'} cannot be written, lines are lost: nobody reads it"
    lost = 300 - len(re.findall(rb"^x{5000}$", full, re.MULTILINE))
    assert said[1:] == [f"The log {tmp_path / 'pipe'} is written again; {lost} lines were lost"]
    assert (full + end).endswith(b"\nread again\n")


def test_a_pipe_whose_reader_is_gone(tmp_path: Path) -> None:
    said: list[str] = []
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with output(tmp_path / "pipe", said) as made:
        os.close(reader)
        made.handle(record("lost"))
    assert said == [f"The log {tmp_path / 'pipe'} cannot be written, lines are lost: Broken pipe"]


def test_a_pipe_without_a_reader_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StartError, match=r"^cannot write the error log to .*: No such device or address"):
        logs.opened("error log", str(tmp_path / "pipe"), None)


# The error log

def fail() -> None:
    try:
        raise LookupError("lost")
    except LookupError:
        logging.getLogger("japronto.error").exception("%s failed", "this", extra={"request": {
            "method": "GET", "path": "/", "remote": None, "request_id": "7"}})


def test_by_default_nothing_is_set_up() -> None:
    ErrorLog().set_up()
    logger = logging.getLogger("japronto.error")
    assert (logger.handlers, logger.propagate, logger.level) == ([], True, logging.NOTSET)


def test_text_in_a_file(tmp_path: Path) -> None:
    ErrorLog(path=str(tmp_path / "log"), level="info").set_up()
    fail()
    logging.getLogger("asyncio").info("of the loop")
    logging.getLogger("japronto.error").debug("not worth a line")
    first, *traceback, last = (tmp_path / "log").read_text().splitlines()
    prefix = rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{6}}Z \[{os.getpid()}\]"
    assert re.fullmatch(rf"{prefix} ERROR this failed", first)
    assert traceback[0] == "Traceback (most recent call last):"
    assert traceback[-1] == "LookupError: lost"
    assert re.fullmatch(rf"{prefix} INFO of the loop", last)


def test_json_in_a_file(tmp_path: Path) -> None:
    ErrorLog(path=str(tmp_path / "log"), format="json").set_up()
    fail()
    logging.getLogger("japronto.error").info("not worth a line")
    values = json.loads((tmp_path / "log").read_text())
    assert values.pop("traceback").endswith("LookupError: lost")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", values.pop("time"))
    assert values == {"level": "error", "logger": "japronto.error", "pid": os.getpid(), "method": "GET",
                      "message": "this failed", "path": "/", "remote": None, "request_id": "7"}


def test_plain_on_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    ErrorLog(level="error").set_up()
    logging.getLogger("japronto.error").error("this failed")
    logging.getLogger("japronto.error").warning("not worth a line")
    assert capfd.readouterr() == ("", "this failed\n")


CONFIGURATIONS = {
    "log.json": '{"handlers": {"file": {"class": "logging.FileHandler", "filename": "PLACE/out"}},'
                ' "loggers": {"japronto.error": {"handlers": ["file"]}}}',
    "log.toml": '[handlers.file]\nclass = "logging.FileHandler"\nfilename = "PLACE/out"\n'
                '[loggers."japronto.error"]\nhandlers = ["file"]\n',
    "log.ini": "[loggers]\nkeys=root,error\n[handlers]\nkeys=file\n[formatters]\nkeys=\n"
               "[logger_root]\nhandlers=\n[logger_error]\nqualname=japronto.error\nhandlers=file\n"
               "[handler_file]\nclass=FileHandler\nargs=('PLACE/out',)\n",
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_configuration(tmp_path: Path, name: str) -> None:
    root, other = logging.root.handlers[:], logging.getLogger("tests.logs")
    (tmp_path / name).write_text(CONFIGURATIONS[name].replace("PLACE", str(tmp_path)))
    try:
        ErrorLog(config=str(tmp_path / name)).set_up()
        logging.getLogger("japronto.error").error("this failed")
    finally:
        logging.root.handlers[:] = root
    assert (tmp_path / "out").read_text() == "this failed\n"
    assert not other.disabled


@pytest.mark.parametrize(("name", "text", "reason"), [
    ("log.json", None, "No such file or directory"),
    ("log.json", "{", r"Expecting property name enclosed in double quotes: line 1 column 2 \(char 1\)"),
    ("log.json", "[]", ".*"),
    ("log.toml", "a = ", r"Invalid value \(at end of document\)"),
    ("log.toml", '[handlers.a]\nclass = "nowhere.Handler"', "Unable to configure handler 'a': .*nowhere.*"),
    ("log.ini", "[formatters]", ".*"),
    ("log.ini", "\0", ".*"),
])
def test_a_configuration_that_will_not_do(tmp_path: Path, name: str, text: str | None, reason: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(UsageError) as raised:
        ErrorLog(config=str(tmp_path / name)).set_up()
    assert re.fullmatch(rf"the logging configuration {tmp_path / name} cannot be used: {reason}; "
                        r"mend it, or choose another file", str(raised.value))
