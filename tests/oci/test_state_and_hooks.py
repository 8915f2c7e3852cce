"""The state object, and hooks run with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pytest import MonkeyPatch

from oci.features import features
from oci.hooks import KINDS, HookFailed, run_hook, run_hooks
from oci.state import state


def test_state_leaves_out_what_is_not_there() -> None:
    assert state("c", "creating", "/b") == {
        "ociVersion": "1.0.2-dev",
        "id": "c",
        "status": "creating",
        "bundle": "/b",
    }
    full = state("c", "running", "/b", 7, {"k": "v"})
    assert (full["pid"], full["annotations"]) == (7, {"k": "v"})


def test_a_hook_gets_the_state_its_arguments_and_only_its_environment(tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = f'echo "$0 $1 $A $HOME" > {out}; cat >> {out}'
    hook = {"path": "/bin/sh", "args": ["sh", "-c", script, "name", "arg"], "env": ["A=1"]}
    given = state("c", "created", "/b", 7)
    run_hooks({"poststart": [hook]}, "poststart", given)  # type: ignore[list-item]
    first, second = out.read_text().split("\n", 1)
    assert first.split() == ["name", "arg", "1"]
    assert json.loads(second) == given


@pytest.mark.parametrize(
    ("env", "environment", "expected"),
    [(None, None, "ours "), (None, {"B": "given"}, " given"), ([], {"B": "given"}, " "), (["A=own"], None, "own ")],
)
def test_the_environment_of_a_hook(
    env: list[str] | None, environment: dict[str, str] | None, expected: str, tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    """One without `env` has that of whoever runs it: scripts need a PATH."""
    monkeypatch.setenv("A", "ours")
    hook: Any = {"path": "/bin/sh", "args": ["sh", "-c", f'echo "$A $B" > {tmp_path}/out']}
    run_hook(hook if env is None else {**hook, "env": env}, b"{}", environment)
    assert (tmp_path / "out").read_text() == f"{expected}\n"


def test_hooks_run_in_order_and_stop_at_a_failure(tmp_path: Path) -> None:
    out = tmp_path / "out"
    shell = [{"path": "/bin/sh", "args": ["sh", "-c", f"echo {n} >> {out}; exit {n // 2}"]} for n in (0, 1, 2, 3)]
    with pytest.raises(HookFailed, match=r"poststop hook #2: /bin/sh: exit status 1"):
        run_hooks({"poststop": shell}, "poststop", state("c", "stopped", "/b"))  # type: ignore[typeddict-item]
    assert out.read_text().split() == ["0", "1", "2"]


def test_what_a_failed_hook_said_is_told() -> None:
    script = "echo out; echo err >&2; exit 3"
    with pytest.raises(HookFailed, match="exit status 3, stdout: out, stderr: err"):
        run_hook({"path": "/bin/sh", "args": ["sh", "-c", script]}, b"{}")
    with pytest.raises(HookFailed, match="signal: killed"):
        run_hook({"path": "/bin/sh", "args": ["sh", "-c", "kill -9 $$"]}, b"{}")


def test_timeout_and_missing_program() -> None:
    with pytest.raises(HookFailed, match="longer than its timeout of 1 s"):
        run_hook({"path": "/bin/sleep", "args": ["sleep", "60"], "timeout": 1}, b"{}")
    with pytest.raises(HookFailed, match="cannot run /no/such: no such file or directory"):
        run_hook({"path": "/no/such"}, b"{}")


def test_other_kinds_are_not_run() -> None:
    run_hooks({"prestart": [{"path": "/no/such"}]}, "poststop", state("c", "stopped", "/b"))


def test_features_names_all_hooks() -> None:
    document = features(["ro"], ["pid"], ["CAP_KILL"], {"enabled": True}, {})
    assert document["hooks"] == list(KINDS)
    assert document["linux"]["cgroup"]["systemd"] is False
