"""The encoder of JSON: which one is taken, and that whatever the standard library encodes is encoded."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from japronto import Application, encoders
from japronto.errors import UsageError
from japronto.pure.response import Response

FAST = ("orjson", "msgspec")

TEXTS = st.text(st.characters(codec="utf-8"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=20)


@pytest.fixture(autouse=True)
def nothing_set() -> Iterator[None]:
    before = Response.encode_json
    yield
    Response.encode_json = staticmethod(before)  # type: ignore[assignment]
    encoders._taken = before


def encoded(value: Any) -> Any:
    octets = Response(json=value).body
    return json.loads(octets)


@pytest.mark.parametrize("name", encoders.NAMES)
def test_any_of_them_by_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(encoders.VARIABLE, name)
    Application()
    assert encoded({"message": "Hello", "numbers": [1, 2.5, None]}) == {"message": "Hello",
                                                                       "numbers": [1, 2.5, None]}
    compact = Response(json=[1, 2]).body == b"[1,2]"
    assert compact is (name != "stdlib")


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize("value", [2**70, -(2**64), {1: "a", None: 2}, "\ud800", [{"a": 2**65}], (1, 2)])
def test_what_it_refuses_is_encoded_after_all(name: str, value: Any) -> None:
    assert json.loads(encoders.choose(name)(value)) == json.loads(json.dumps(value))


@pytest.mark.parametrize("name", FAST)
def test_what_none_of_them_encodes(name: str) -> None:
    with pytest.raises(TypeError, match="Object of type object is not JSON serializable"):
        encoders.choose(name)(object())
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(RecursionError):
        encoders.choose(name)(deep)


@pytest.mark.parametrize("name", encoders.NAMES)
def test_what_is_no_number(name: str) -> None:
    """RFC 8259 s.6 has no NaN and no infinity."""
    value = [math.nan, {"a": (math.inf, -math.inf, 0.5)}, {1: math.nan}, "NaN"]
    assert json.loads(encoders.choose(name)(value)) == [None, {"a": [None, None, 0.5]}, {"1": None}, "NaN"]


def test_what_contains_itself() -> None:
    value: list[Any] = [math.nan]
    value.append(value)
    with pytest.raises(ValueError, match="Circular"):
        Response(json=value)


@pytest.mark.parametrize("name", FAST)
@given(value=VALUES)
def test_the_same_value_comes_out(name: str, value: Any) -> None:
    assert json.loads(encoders.choose(name)(value)) == json.loads(json.dumps(value))


def test_without_them_the_standard_library(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FAST:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "msgspec.json", None)
    assert encoders.choose("auto") is encoders.STDLIB
    for name in FAST:
        with pytest.raises(UsageError, match=f"JAPRONTO_JSON is {name}, which is not installed; pip install"):
            encoders.choose(name)


def test_auto_takes_msgspec_where_orjson_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "orjson", None)
    assert encoders.choose("auto")([1, 2]) == b"[1,2]"


def test_an_unknown_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(encoders.VARIABLE, "simplejson")
    with pytest.raises(UsageError, match="must be auto, orjson, msgspec or stdlib; it is 'simplejson'"):
        Application()


def test_what_a_program_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    Response.encode_json = staticmethod(lambda value: "mine")  # type: ignore[method-assign]
    Application()
    assert Response(json=[1]).body == b"mine"
