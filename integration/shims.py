"""The program named criu that other runtimes find first: `woodfrog criu-shim`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from integration.containers import ENVIRONMENT, WOODFROG, run


def binary(variable: str, what: str) -> str:
    """The path in an environment variable; the test is skipped where it is not set."""
    path = os.environ.get(variable)
    if not path:
        pytest.skip(f"needs {variable}: the path of {what}")
    assert os.access(path, os.X_OK), f"{variable}: {path} is no program"
    return path


def environment(place: Path) -> dict[str, str]:
    """An environment in which `criu` is this engine; the shim is written below `place`."""
    run(*WOODFROG, "criu-shim", str(place))
    return {**ENVIRONMENT, "PATH": f"{place}{os.pathsep}{os.environ['PATH']}"}
