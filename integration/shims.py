"""Programs that other systems are given: `woodfrog` as one path, and a program named criu (`woodfrog criu-shim`)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from integration.containers import ENVIRONMENT, PROJECT, WOODFROG, run


def binary(variable: str, what: str) -> str:
    """The path in an environment variable; the test is skipped where it is not set."""
    path = os.environ.get(variable)
    if not path:
        pytest.skip(f"needs {variable}: the path of {what}")
    assert os.access(path, os.X_OK), f"{variable}: {path} is no program"
    return path


def containerd_measures() -> bool:
    """Whether containerd 1.6 tells what containers use: not where a named v1 hierarchy is mounted nowhere."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    named = {line.split(":")[1] for line in lines if line.split(":")[1].startswith("name=")}
    mounted = {
        word for line in Path("/proc/self/mounts").read_text().splitlines() for word in line.split()[3].split(",")
    }
    return named <= mounted


def environment(place: Path) -> dict[str, str]:
    """An environment in which `criu` is this engine; the shim is written below `place`."""
    run(*WOODFROG, "criu-shim", str(place))
    return {**ENVIRONMENT, "PATH": f"{place}{os.pathsep}{os.environ['PATH']}"}


def woodfrog(place: Path) -> str:
    """A program that is `woodfrog`, written below `place`: engines want one path."""
    program = place / "woodfrog"
    lines = [f"#!{sys.executable} -I", "import sys", f"sys.path.insert(0, {str(PROJECT)!r})"]
    program.write_text("\n".join([*lines, "from runtime.main import main", "sys.exit(main())", ""]))
    program.chmod(0o755)
    return str(program)
