"""What bounds there can be."""

from __future__ import annotations

import math
from typing import Any

import pytest

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
