"""Namespaces below those of the root task: pid, user and time namespaces, and what else belongs to nested users."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import cr
from cr.model import CheckpointError, Refused
from tests.cr.harness import PYTHON, WORKLOADS, Workload
from tests.cr.test_namespaces import unshare_fork

pytestmark = pytest.mark.root
INNER = [PYTHON, str(WORKLOADS / "inner.py")]
SHAPES = {
    "pid": ["unshare", "--pid", "--fork"],
    "pid, three levels": ["unshare", "--pid", "--fork"] * 3,
    "pid, a session between": ["unshare", "--pid", "--fork", "sh", "-c", 'setsid --fork --wait "$@"; exit', "sh"],
    "user": ["unshare", "--user"],
    "user, map-root": ["unshare", "--user", "--map-root-user"],
    "user, two levels": ["unshare", "--user", "--map-root-user", "unshare", "--user", "--map-user=1000"],
    "the common mix": ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--net", "--ipc", "--uts"],
    "mix of two levels": [
        *["unshare", "--user", "--map-root-user", "--pid", "--fork", "--net", "--ipc"],
        *["unshare", "--user", "--map-user=1000", "--pid", "--fork", "--uts"],
    ],
    "a visitor": [PYTHON, str(WORKLOADS / "visitor.py")],
    "time": ["unshare", "--time", "--monotonic", "86400", "--boottime", "172800", "--fork"],
    "time and pid": ["unshare", "--time", "--monotonic", "86400", "--pid", "--fork"],
}

MOUNTED = {
    "mount-proc": ["unshare", "--pid", "--fork", "--mount-proc"],
    "mount-proc, two levels": [*["unshare", "--pid", "--fork", "--mount-proc"]] * 2,
    "the common mix with mounts": [
        "unshare",
        "--user",
        "--map-root-user",
        "--pid",
        "--fork",
        "--mount-proc",
        "--net",
        "--ipc",
        "--uts",
    ],
    "mounts of two levels": [
        *["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"],
        *["unshare", "--user", "--map-user=1000", "--pid", "--fork", "--mount-proc"],
    ],
}

SOMEBODY = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"]
MOUNTED["the common mix by somebody"] = [*SOMEBODY, *MOUNTED["the common mix with mounts"]]
needs_bubblewrap = pytest.mark.skipif(shutil.which("bwrap") is None, reason="this machine lacks bubblewrap")
BUBBLEWRAP = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/run"]
SANDBOXED = {
    "bubblewrap": BUBBLEWRAP,
    "bubblewrap, another user": [*BUBBLEWRAP, "--uid", "1000", "--gid", "1000"],
    "bubblewrap by somebody": [*SOMEBODY, *BUBBLEWRAP],
    "bubblewrap, as first process": [*BUBBLEWRAP, "--as-pid-1", "--new-session"],
    "bubblewrap in bubblewrap": [*BUBBLEWRAP, *["bwrap", "--unshare-all", "--dev-bind", "/", "/"]],
    "bubblewrap within a mix": [*MOUNTED["the common mix with mounts"], *BUBBLEWRAP],
}
ALL = SHAPES | MOUNTED | SANDBOXED


@pytest.mark.parametrize("shape", SHAPES)
def test_below_the_host_s_namespaces(shape: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with Workload("nested", tmp_path, ["--", *SHAPES[shape], *INNER]) as workload:
        workload.cycle()


@pytest.mark.parametrize(
    "shape", [*SHAPES, *MOUNTED, *(pytest.param(name, marks=needs_bubblewrap) for name in SANDBOXED)]
)
def test_below_a_container_s_namespaces(shape: str, tmp_path: Path) -> None:
    prefix = unshare_fork("pid", "mount", "net", "ipc", "uts", "cgroup")
    arguments = ["contained", "--", *ALL[shape], *INNER]
    with Workload("nested", tmp_path, arguments, prefix=prefix) as workload:
        workload.dump(external=["mnt[]"])
        workload.restore(root=str(tmp_path / "root"), external=["mnt[]"])
        workload.check()


@pytest.mark.parametrize("shape", ["pid, three levels", "user", "user, map-root", "the common mix", "time and pid"])
def test_below_a_user_namespace(shape: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    prefix = unshare_fork("user", "map-root-user", "pid", "net", "ipc", "uts")
    with Workload("nested", tmp_path, ["owned", "--", *SHAPES[shape], *INNER], prefix=prefix) as workload:
        workload.cycle()


@pytest.mark.parametrize("says", ["deny", "allow"])
def test_groups_that_a_user_namespace_does_not_know(says: str, tmp_path: Path) -> None:
    """As it is in those that ordinary users make; there setgroups is denied."""
    only_root = [PYTHON, str(WORKLOADS / "only_root.py")]
    prefix = only_root if says == "allow" else unshare_fork("user", "map-root-user", "pid", "net")
    prefix = ["setpriv", "--groups=27,1000", *prefix]
    with Workload("nested", tmp_path, ["owned", "--", *INNER], prefix=prefix) as workload:
        before = groups(workload.pid)
        assert before == (["27", "1000"], says)
        workload.dump()
        assert groups(workload.restore()) == before
        workload.check()


def groups(pid: int) -> tuple[list[str], str]:
    """As the host counts, and what /proc/PID/setgroups says."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("Groups:"))
    return line.split()[1:], Path(f"/proc/{pid}/setgroups").read_text().strip()


def test_a_task_that_fell_to_one_with_fewer_rights_is_refused(tmp_path: Path) -> None:
    command = [PYTHON, str(WORKLOADS / "visitor.py"), "user", *INNER]
    with Workload("nested", tmp_path, ["--", *command]) as workload:
        with pytest.raises(Refused, match=r"user namespace that is not below its parent's.*let it end before the dump"):
            workload.dump()
        workload.check()


@pytest.mark.parametrize("shape", ["pid", "the common mix", "a visitor"])
def test_again_and_while_it_runs_on(shape: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with Workload("nested", tmp_path, ["--", *SHAPES[shape], *INNER]) as workload:
        workload.dump(leave_running=True, snapshot="always")
        workload.dump()
        workload.restore()
        workload.dump()
        workload.restore()
        workload.check()


def test_a_pid_that_is_taken_at_an_outer_level(tmp_path: Path) -> None:
    """The restore fails and leaves nothing behind; those who have the pids are not touched."""
    tmp_path.chmod(0o755)
    with Workload("nested", tmp_path, ["--", *SHAPES["the common mix"], *INNER]) as workload:
        workload.dump(leave_running=True)
        before = set(os.listdir("/proc"))
        with pytest.raises(CheckpointError, match="is taken by another process"):
            cr.restore(str(workload.images))
        assert {name for name in os.listdir("/proc") if name.isdigit()} <= before
        workload.check()


@pytest.mark.parametrize("kinds", [(), ("pid", "net"), ("user", "map-root-user", "pid")])
def test_a_pid_namespace_for_children_in_which_nobody_has_been(kinds: tuple[str, ...], tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with Workload("future_children", tmp_path, prefix=unshare_fork(*kinds) if kinds else []) as workload:
        workload.dump(leave_running=True, snapshot="always")
        for _ in range(2):
            workload.dump()
            workload.restore()
        workload.check()


def test_a_pid_namespace_for_children_in_which_nobody_is_any_more(tmp_path: Path) -> None:
    with Workload("future_children", tmp_path, ["gone"]) as workload:
        with pytest.raises(Refused, match=r"another pid namespace for its children, in which no process of the tree"):
            workload.dump()
        workload.check()


def test_an_inner_mqueue_and_an_inner_sysfs(tmp_path: Path) -> None:
    """Each shows the ipc or network namespace of who has mounted it."""
    with Workload("inner_views", tmp_path, prefix=unshare_fork("pid", "mount", "net", "ipc")) as workload:
        for _ in range(2):
            workload.dump(external=["mnt[]"])
            workload.restore(root="/", external=["mnt[]"])
        workload.check()


def test_an_inner_proc_that_is_shared_is_refused(tmp_path: Path) -> None:
    arguments = [
        "contained",
        "--",
        *MOUNTED["mount-proc"],
        "sh",
        "-c",
        f"mount --make-shared /proc; exec {' '.join(INNER)}",
    ]
    prefix = unshare_fork("pid", "mount", "net", "ipc", "uts", "cgroup")
    with Workload("nested", tmp_path, arguments, prefix=prefix) as workload:
        with pytest.raises(Refused, match="shows an inner pid namespace and is shared"):
            workload.dump(external=["mnt[]"])
        workload.check()


def test_a_session_that_is_outside_of_our_own_pid_namespace(tmp_path: Path) -> None:
    """As of a job of a shell that came along: the session has no number here (proc(5): 0)."""
    engine = f"{sys.executable} -m cr.cli"
    script = f"""
        sleep 1000 < /dev/null > /dev/null 2>&1 &
        child=$!
        {engine} dump -t $child -D images --shell-job || exit 1
        wait $child
        {engine} restore -d -D images --shell-job --pidfile pid || exit 2
        grep -q '^State:.S' /proc/$child/status && [ "$(cat images/pid)" = $child ] || exit 3
        kill -9 $child
    """
    (tmp_path / "images").mkdir()
    done = subprocess.run(
        ["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(cr.__file__).parent.parent)},
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
