"""Whole servers beside each other, ``python -m bench``; the parts alone, ``python -m pytest bench``."""

from typing import Final

NEEDS: Final = "this needs Linux, two processors, and the programs wrk, taskset (of util-linux) and cc"


class Missing(Exception):
    """Why something is not measured, in one sentence."""


class StartMissing(Missing):
    """Why a contestant cannot be measured at all, whatever the workload."""
