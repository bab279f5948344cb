"""What bounds there can be."""

from __future__ import annotations

import math
import re
import resource
from dataclasses import fields
from typing import Any

import pytest
from command import ROOT

from japronto.admission import client_of, connections_for
from japronto.cli import OPTIONS
from japronto.limits import Limits, Timeouts


@pytest.mark.parametrize("value", [0, -1, 1.5, 2.0, math.inf, math.nan, True, "5", None])
def test_what_is_counted_is_a_positive_whole_number(value: Any) -> None:
    """Half a field would be compared, and sliced, and fail in the middle of a request."""
    with pytest.raises(ValueError, match=r"^fields must be a positive whole number, not "):
        Limits(fields=value)
    assert Limits(fields=1).fields == 1


@pytest.mark.parametrize("value", [0, -0.5, math.nan, True, "5", None])
def test_time_is_a_positive_number(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^idle_seconds must be a positive number, not "):
        Timeouts(idle_seconds=value)
    assert Timeouts(idle_seconds=0.5, send_seconds=math.inf).idle_seconds == 0.5


@pytest.mark.parametrize(("heading", "kind"), [("How much", Limits), ("How long", Timeouts)])
def test_the_documentation_has_every_bound(heading: str, kind: type[Limits | Timeouts]) -> None:
    """In the order of the fields, and with the default as ``--help`` says it."""
    text = (ROOT / "docs" / "limits.md").read_text(encoding="utf-8")
    section = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| [^|]+ \| [^|]+ \|$", section, re.MULTILINE)
    said = {option.name: option.help.rpartition("(default ")[2].removesuffix(")") for option in OPTIONS}
    assert rows == [(field.name, said[field.name]) for field in fields(kind)]


@pytest.mark.parametrize(("peername", "client"), [
    (("192.0.2.1", 1), "192.0.2.1"), (("127.0.0.2", 1), "127.0.0.2"),
    (("2001:db8:1:2:3:4:5:6", 1, 0, 0), "2001:db8:1:2::/64"), (("fe80::1%eth0", 1, 0, 2), "fe80::/64"),
    (("::ffff:192.0.2.1", 1, 0, 0), "192.0.2.1"),
    (("127.0.0.1", 1), None), (("::1", 1, 0, 0), None), (("::ffff:127.0.0.1", 1, 0, 0), None),
    ("", None), (b"", None), (None, None)])
def test_what_the_connections_of_a_client_are_counted_by(peername: object, client: str | None) -> None:
    assert client_of(peername) == client


@pytest.mark.parametrize(("soft", "asked", "most"), [
    (1024, 10_000, 896), (20_000, 10_000, 10_000), (100, 10_000, 50), (-1, 7, 7), (1024, 7, 7)])
def test_how_many_connections_the_descriptors_allow(monkeypatch: pytest.MonkeyPatch, soft: int, asked: int,
                                                    most: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, 1 << 20))
    assert connections_for(Limits(connections=asked)) == most
