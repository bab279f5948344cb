"""What ``csrc/lane*.c`` offers."""

from collections.abc import Callable, Sequence
from typing import Any

sources: str

def setup(parts: dict[str, Any]) -> tuple[type[Any], type[Any], type[Any], Callable[..., Any]]: ...
def assemble(answered: Sequence[Any], date: bytes) -> list[bytes]: ...
