"""What all tests share: the backend under test."""

from __future__ import annotations

from dataclasses import dataclass
from collections.abc import Callable
import pytest

from japronto.interfaces import Parser
from japronto.limits import Limits


@dataclass
class Backend:
    parser: Callable[[Limits], Parser]

@pytest.fixture(params=["pure"])
def backend(request):
    from japronto.pure.parser import Parser
    return Backend(Parser)
