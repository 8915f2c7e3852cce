"""Nothing of ours stays on the machine: after a dump and a restore, and after such as fail half-way."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cr.model import CheckpointError
from tests.cr.harness import Workload
from tests.cr.test_mount_namespace import NEW_NAMESPACE, inside, outside
from tests.cr.test_namespaces import unshare, unshare_fork
from tests.machine import in_own_pid_namespace, left_behind, look

pytestmark = pytest.mark.root

KINDS = ("net", "ipc", "uts")
PREFIXES = {
    "host": [],
    "namespaces": unshare_fork("pid", *KINDS),
    "user namespace": unshare_fork("user", "map-root-user", "pid", *KINDS),
}
NAMES = ("files", "pipes", "locks", "unix_sockets", "inet_sockets", "terminals", "memory_files", "mixed")
PIDS_IN_NAMES = {"files": {"namespaces": unshare(*KINDS), "user namespace": unshare("user", "map-root-user", *KINDS)}}
ON_HOST = ("inet_sockets", "mixed")
"""they need a link that is up"""
CASES = {
    f"{flavour}-{name}": (name, PIDS_IN_NAMES.get(name, PREFIXES).get(flavour, []))
    for flavour in PREFIXES
    for name in NAMES
    if flavour == "host" or name not in ON_HOST
}
OPTIONS = {"link_remap": True, "file_locks": True, "tcp_established": True}


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    assert in_own_pid_namespace(), "run it by ./test.sh: processes of others cannot be told from ours"
    before = look()
    yield
    left = left_behind(before)
    assert not left, f"left behind: {left}"


def refuse_at(point: str) -> Callable[..., None]:
    def notify(event: str, _pid: int = 0, _fd: int | None = None) -> None:
        if event == point:
            raise CheckpointError(f"told to fail at {event}")

    return notify


def names(workload: Workload) -> set[str]:
    """Of the files beside the workload, but for our images and what it writes at its end."""
    return set(os.listdir(workload.directory)) - {"images", "verdict"}


@pytest.mark.parametrize(("name", "prefix"), CASES.values(), ids=CASES)
def test_on_every_way(name: str, prefix: list[str], tmp_path: Path) -> None:
    go_every_way(name, prefix, tmp_path, {}, {})


def go_every_way(
    name: str, prefix: list[str], tmp_path: Path, out: dict[str, list[str]], back: dict[str, list[str]]
) -> None:
    """A dump that fails, one that succeeds, a restore that fails, one that succeeds; `out` and `back` are options."""
    with Workload(name, tmp_path, ["twice"], prefix=prefix) as workload:
        before = names(workload)
        with pytest.raises(CheckpointError, match="told to fail"):
            workload.dump(notify=refuse_at("post-dump"), **OPTIONS, **out)
        assert names(workload) == before
        workload.dump(**OPTIONS, **out)
        with pytest.raises(CheckpointError, match="told to fail"):
            workload.restore(notify=refuse_at("post-restore"), file_locks=True, tcp_established=True, **back)
        workload.restore(file_locks=True, tcp_established=True, **back)
        assert names(workload) <= before
        workload.check()


@pytest.mark.parametrize(("name", "kind"), [("network", "net"), ("tuns", "net"), ("sysv_objects", "ipc")])
def test_namespaces_with_content(name: str, kind: str, tmp_path: Path) -> None:
    go_every_way(name, unshare(kind), tmp_path, {}, {})


def test_mounts(tmp_path: Path) -> None:
    go_every_way("container", NEW_NAMESPACE, tmp_path, outside(tmp_path), inside(tmp_path))


def test_a_pre_dump_and_a_dump_that_leaves_running(tmp_path: Path) -> None:
    """The tracker of written pages ends with the tasks."""
    with Workload("rounds", tmp_path) as workload:
        workload.dump(leave_running=True, track_mem=True, **OPTIONS)
