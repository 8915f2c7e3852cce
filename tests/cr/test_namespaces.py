"""Trees in namespaces of their own: the namespaces come back with what was in them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import cr
from cr import log
from cr.kernel import proc
from cr.kernel.proc import namespace_inode
from cr.model import CheckpointError, Refused
from images import messages as m
from images.directory import ImageDirectory
from tests.cr.harness import Workload, end_tree, wait_for

pytestmark = pytest.mark.root
UNSHARE = "/usr/bin/unshare"


def unshare(*kinds: str) -> list[str]:
    return [UNSHARE, *(f"--{kind}" for kind in kinds)]


def unshare_fork(*kinds: str, options: tuple[str, ...] = ()) -> list[str]:
    """For namespaces that only a child enters.  unshare(1) complains when that is killed: nobody is to hear it."""
    return ["/bin/sh", "-c", 'exec "$@" 2>/dev/null', "sh", *unshare(*kinds), "--fork", *options, "setsid"]


@contextmanager
def other_namespace(kind: str, **extra: str) -> Iterator[int]:
    """A process in another namespace of that kind, which holds it; its pid."""
    read, write = os.pipe()
    command = [UNSHARE, f"--{kind}", "sh", "-c", "echo ready; exec sleep 60"]
    with subprocess.Popen(command, stdout=write) as holder:
        try:
            os.read(read, 1)
            yield holder.pid
        finally:
            holder.kill()
            os.close(read)
            os.close(write)


def test_host_name(tmp_path: Path) -> None:
    with Workload("hostname", tmp_path, prefix=unshare("uts")) as workload:
        workload.cycle()


def test_a_task_deeper_in_the_tree_may_have_a_namespace_of_its_own(tmp_path: Path) -> None:
    with Workload("hostname", tmp_path, ["child"], prefix=unshare("uts")) as workload:
        workload.cycle()


def test_system_v_objects_keep_their_ids_contents_and_attachments(tmp_path: Path) -> None:
    with Workload("sysv_objects", tmp_path, prefix=unshare("ipc")) as workload:
        workload.cycle()


def test_system_v_objects_of_a_user_namespace(tmp_path: Path) -> None:
    with Workload("sysv_objects", tmp_path, prefix=unshare("user", "map-root-user", "ipc")) as workload:
        workload.cycle()


def test_children_in_a_user_namespace_without_a_pid_namespace(tmp_path: Path) -> None:
    """Over the pids outside of it the tasks have no rights: they are foretold."""
    with Workload("hostname", tmp_path, ["child"], prefix=unshare("user", "map-root-user", "uts")) as workload:
        workload.cycle()


def test_threads_in_a_user_namespace_without_a_pid_namespace(tmp_path: Path) -> None:
    with Workload("threads", tmp_path, prefix=unshare("user", "map-root-user")) as workload:
        workload.cycle()


def test_a_segment_of_the_host_is_refused(tmp_path: Path) -> None:
    script = "import ctypes, os, signal; l = ctypes.CDLL(None); i = l.shmget(0, 4096, 0o1600); l.shmat.restype = ctypes.c_void_p; l.shmat(i, None, 0); l.shmctl(i, 0, None); os.write(1, b'x'); signal.pause()"  # noqa: E501
    with subprocess.Popen(["/usr/bin/python3", "-c", script], stdout=subprocess.PIPE, start_new_session=True) as task:
        try:
            assert task.stdout is not None
            task.stdout.read(1)
            import cr

            with pytest.raises(Refused, match=r"segment .* of the host's own ipc namespace"):
                cr.dump(task.pid, str(tmp_path / "images"))
            assert task.poll() is None
        finally:
            task.kill()


def test_clocks_go_on(tmp_path: Path) -> None:
    prefix = unshare_fork("time", options=("--monotonic", "86400", "--boottime", "172800"))
    with Workload("clocks", tmp_path, prefix=prefix) as workload:
        workload.cycle()


def test_clocks_of_a_tree_in_the_host_s_time_namespace_go_on(tmp_path: Path) -> None:
    with Workload("clocks", tmp_path, ["123456"]) as workload:
        workload.dump()
        with ImageDirectory.open(workload.images) as images:
            when = m.timespec(tv_sec=123456, tv_nsec=0)
            assert images.exists("timens", 0)
            images.write("timens", 0, entries=[m.timens_entry(monotonic=when, boottime=when)])
        workload.restore()
        workload.check()


def test_a_container_with_a_user_namespace(tmp_path: Path) -> None:
    prefix = unshare_fork("user", "map-root-user", "pid", "net", "ipc", "uts", "cgroup", "time")
    with Workload("contained", tmp_path, prefix=prefix) as workload:
        workload.cycle()


@pytest.mark.skipif(shutil.which("ip") is None, reason="this machine lacks iproute2")
def test_network(tmp_path: Path) -> None:
    with Workload("network", tmp_path, prefix=unshare("net")) as workload:
        workload.cycle()


def test_a_pair_of_links_between_two_networks_of_the_tree(tmp_path: Path) -> None:
    with Workload("two_networks", tmp_path, prefix=unshare("net")) as workload:
        workload.cycle()


def test_a_socket_of_a_network_outside_is_told(tmp_path: Path) -> None:
    log.open_log(str(tmp_path / "log"), -100, log.WARNING)
    with Workload("moved_socket", tmp_path) as workload:
        workload.dump()
        told = (tmp_path / "log").read_text()
        log.close_log()
        assert "lives in a network namespace that no task of the tree is in" in told
        assert "--inherit-fd fd[N]:socket:[" in told
        workload.restore()
        workload.check()


@pytest.fixture
def bridge() -> Iterator[str]:
    """A bridge of the host's network."""
    name = f"wfbr{os.getpid() % 10000}"
    ip("link", "add", name, "type", "bridge")
    yield name
    ip("link", "del", name)


def ip(*words: str, inside: int = 0) -> str:
    enter = ["nsenter", f"--net=/proc/{inside}/ns/net"] if inside else []
    return subprocess.run([*enter, "ip", *words], check=True, capture_output=True, text=True).stdout


def test_a_link_to_a_bridge_outside(bridge: str, tmp_path: Path) -> None:
    outer, address = f"wf{os.getpid() % 10000}", "02:00:00:00:00:31"
    with Workload("plain", tmp_path, prefix=unshare("net")) as workload:
        ip("link", "add", outer, "type", "veth", "peer", "name", "eth7", "netns", str(workload.pid))
        ip("link", "set", "eth7", "address", address, "mtu", "1300", "up", inside=workload.pid)
        ip("addr", "add", "10.6.6.6/24", "dev", "eth7", inside=workload.pid)
        workload.dump()
        pid = workload.restore(external=[f"veth[eth7]:{outer}@{bridge}"])
        assert f"master {bridge}" in ip("link", "show", outer)
        shown = ip("addr", "show", "eth7", inside=pid)
        assert all(word in shown for word in (address, "mtu 1300", "10.6.6.6/24"))
        workload.check()


def test_tun_and_tap(tmp_path: Path) -> None:
    with Workload("tuns", tmp_path, prefix=unshare("net")) as workload:
        workload.cycle()


def test_an_empty_network_namespace_has_lo_up(tmp_path: Path) -> None:
    with Workload("plain", tmp_path, prefix=unshare("net")) as workload:
        workload.dump(empty_ns=["net"])
        assert not list(workload.images.glob("netdev-*"))
        pid = workload.restore(empty_ns=["net"])
        shown = subprocess.run(
            ["nsenter", "-t", str(pid), "-n", "cat", "/proc/net/dev"], capture_output=True, text=True
        )
        assert "lo:" in shown.stdout
        assert _flags(pid, "lo") & 1
        workload.check()


def _flags(pid: int, link: str) -> int:
    command = ["nsenter", "-t", str(pid), "-n", "ip", "-j", "link", "show", link]
    return int('"UP"' in subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_an_external_network_namespace_is_handed_over(tmp_path: Path) -> None:
    with Workload("plain", tmp_path, prefix=unshare("net")) as workload:
        workload.dump(external=[f"net[{namespace_inode(workload.pid, 'net')}]:outer"])
        with pytest.raises(CheckpointError, match=r"--inherit-fd fd\[N\]:outer"):
            workload.restore()
        with other_namespace("net") as holder:
            fd = os.open(f"/proc/{holder}/ns/net", os.O_RDONLY)
            pid = workload.restore(inherit_fd=[f"fd[{fd}]:outer"])
            os.close(fd)
            assert namespace_inode(pid, "net") == namespace_inode(holder, "net")
            workload.check()


def test_external_network_namespaces_at_two_levels(tmp_path: Path) -> None:
    """The child of the root is in another one than the root, and both are left outside."""
    images, script = str(tmp_path / "images"), "unshare --net sleep 1000 & exec sleep 1000"
    root = subprocess.Popen(["unshare", "--net", "sh", "-c", script], stdin=subprocess.DEVNULL, start_new_session=True)
    child = wait_for(lambda: [pid for pid in proc.children(root.pid) if proc.stat(pid).comm == "sleep"], "the child")[0]
    wait_for(lambda: proc.stat(root.pid).comm == "sleep", "the root")
    names = {pid: f"net[{namespace_inode(pid, 'net')}]" for pid in (root.pid, child)}
    cr.dump(root.pid, images, external=[f"{names[root.pid]}:first", f"{names[child]}:second"])
    root.wait()
    with other_namespace("net") as first, other_namespace("net") as second:
        fds = [os.open(f"/proc/{holder}/ns/net", os.O_RDONLY) for holder in (first, second)]
        with pytest.raises(CheckpointError, match=r"--inherit-fd fd\[N\]:second"):
            cr.restore(images, inherit_fd=[f"fd[{fds[0]}]:first"])
        pid = cr.restore(images, inherit_fd=[f"fd[{fds[0]}]:first", f"fd[{fds[1]}]:second"]).pid
        try:
            assert namespace_inode(pid, "net") == namespace_inode(first, "net")
            assert namespace_inode(child, "net") == namespace_inode(second, "net")
        finally:
            end_tree(pid)
            for fd in fds:
                os.close(fd)


@contextmanager
def pid_namespace() -> Iterator[str]:
    """A pid namespace that its first process holds; its path."""
    command = [*unshare("pid", "kill-child"), "--fork", "sh", "-c", "echo ready; exec sleep 60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        try:
            yield f"/proc/{holder.pid}/ns/pid_for_children"
        finally:
            holder.kill()


def test_an_external_pid_namespace_is_handed_over(tmp_path: Path) -> None:
    with pid_namespace() as path:
        prefix = ["/bin/sh", "-c", 'exec "$@" 2>/dev/null', "sh", "/usr/bin/nsenter", f"--pid={path}", "setsid"]
        with Workload("plain", tmp_path, prefix=prefix) as workload:
            before = proc.ns_ids(proc.status(workload.pid), "NSpid")[-1]
            workload.dump(external=[f"pid[{namespace_inode(workload.pid, 'pid')}]:outer"])
            fd = os.open(path, os.O_RDONLY)
            pid = workload.restore(inherit_fd=[f"fd[{fd}]:outer"])
            assert os.readlink(f"/proc/{pid}/ns/pid") == os.readlink(path)
            assert proc.ns_ids(proc.status(pid), "NSpid")[-1] == before > 1
            os.close(fd)
            workload.check()


def test_a_namespace_can_be_joined(tmp_path: Path) -> None:
    with Workload("plain", tmp_path, prefix=unshare("uts")) as workload:
        workload.dump()
        with other_namespace("uts") as holder:
            pid = workload.restore(join_ns=[f"uts:{holder}"])
            assert namespace_inode(pid, "uts") == namespace_inode(holder, "uts")
            workload.check()


def test_open_namespace_files(tmp_path: Path) -> None:
    with Workload("namespace_files", tmp_path, prefix=unshare("uts")) as workload:
        workload.cycle()


def test_notifications_tell_when_namespaces_exist_and_when_they_are_filled(tmp_path: Path) -> None:
    events: list[tuple[str, str]] = []

    def notify(event: str, pid: int, fd: int | None) -> None:
        if "namespaces" in event:
            name = subprocess.run(
                ["nsenter", "-t", str(pid or seen[0]), "-u", "hostname"], capture_output=True, text=True
            )
            seen.append(pid)
            events.append((event, name.stdout.strip()))

    seen: list[int] = []
    with Workload("hostname", tmp_path, prefix=unshare("uts")) as workload:
        workload.dump()
        workload.restore(notify=notify)
        workload.check()
    assert events == [("setup-namespaces", os.uname().nodename), ("post-setup-namespaces", "frog-1")]


@contextmanager
def holder_of(kind: str) -> Iterator[int]:
    """A process in another namespace of that kind."""
    flags = {"mnt": ["--mount"], "user": ["--user", "--map-root-user"]}.get(kind, [f"--{kind}"])
    command = [UNSHARE, *flags, "--fork", "--kill-child", "sh", "-c", "echo $$; exec sleep 60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


@pytest.mark.parametrize("kind", ["net", "uts", "ipc", "time", "cgroup", "mnt", "user"])
def test_every_kind_can_be_joined(kind: str, tmp_path: Path) -> None:
    with Workload("plain", tmp_path) as workload:
        workload.dump()
        with holder_of(kind) as holder:
            pid = workload.restore(join_ns=[f"{kind}:/proc/{holder}/ns/{kind}"])
            assert namespace_inode(pid, kind) == namespace_inode(holder, kind)
            if kind == "mnt":
                _is_at_home(pid, holder, tmp_path)
            workload.check()


def test_ids_in_a_user_namespace_that_is_joined(tmp_path: Path) -> None:
    with Workload("plain", tmp_path) as workload:
        workload.dump()
        with holder_of("user") as holder:
            pid = workload.restore(join_ns=[f"user:{holder},0,0", f"uts:{holder}"])
            assert namespace_inode(pid, "user") == namespace_inode(holder, "user")
            workload.check()


def test_threads_in_a_user_namespace_that_is_joined(tmp_path: Path) -> None:
    with Workload("threads", tmp_path) as workload:
        workload.dump()
        with holder_of("user") as holder:
            with pytest.raises(CheckpointError, match=r"--join-ns user: .* has threads"):
                workload.restore(join_ns=[f"user:{holder}"])
            workload.restore()
            workload.check()


def _is_at_home(pid: int, holder: int, directory: Path) -> None:
    """Whether root, directory and files of a task are on mounts of the namespace that the holder is in."""
    assert os.readlink(f"/proc/{pid}/cwd") == str(directory)
    known = {line.split()[0] for line in Path(f"/proc/{holder}/mountinfo").read_text().splitlines()}
    for name in ("root", "cwd", "exe", "fd/1"):
        fd = os.open(f"/proc/{pid}/{name}", os.O_PATH)
        info = Path(f"/proc/self/fdinfo/{fd}").read_text().split()
        os.close(fd)
        assert info[info.index("mnt_id:") + 1] in known, name
