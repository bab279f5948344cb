"""The part of ``_scan``, which cffi generates, that is used here."""

from typing import Any

class _FFI:
    def new(self, kind: str, initial: object = None) -> Any: ...
    def buffer(self, array: Any) -> Any: ...
    def sizeof(self, kind: str) -> int: ...
    def string(self, text: Any) -> bytes: ...

class _Lib:
    """What ``csrc/scan.h`` declares."""

    JP_SCALAR: int
    JP_SSE42: int
    JP_AVX2: int
    jp_sources: Any

    def jp_has(self, level: int) -> int: ...
    def jp_best(self) -> int: ...
    def jp_scan(self, level: int, buffer: bytes, length: int, start: int, bounds: Any, heads: Any,
                heads_max: int) -> int: ...

ffi: _FFI
lib: _Lib
