"""What the property tests share: how hard Hypothesis looks, and the backend that it looks at.

The default profile gives the same few examples every time, and on each of five backends, so that a failure
is there again, and belongs to the change that was just made.  To hunt for what nobody has thought of, with
examples that are new every time and far more of them, set a variable::

    HYPOTHESIS_PROFILE=thorough pytest tests/property

What that finds is kept in the directory for temporary files, and tried first the next time.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir
from hypothesis.database import DirectoryBasedExampleDatabase

from japronto.backend import Backend, every

KEPT = Path(tempfile.gettempdir()) / "japronto-hypothesis"

set_hypothesis_home_dir(KEPT)  # else Hypothesis keeps its tables of Unicode in the tree
settings.register_profile("deterministic", database=None, deadline=None, derandomize=True, max_examples=40)
settings.register_profile("thorough", database=DirectoryBasedExampleDatabase(KEPT / "examples"),
                          deadline=None, max_examples=20_000, stateful_step_count=80)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "deterministic"))

BACKENDS = {str(backend): backend for backend in every()}


@pytest.fixture(params=list(BACKENDS), scope="session")
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each implementation that this build has, once."""
    return BACKENDS[request.param]
