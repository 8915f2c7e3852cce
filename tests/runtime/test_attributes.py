"""Scheduling and placement of a container's processes, id-mapped mounts, seccomp agents, pidfd sockets."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.attributes import Attributes, parse_list
from runtime.errors import ContainerError
from tests.runtime.bundle import Bundle, wait_for

root = pytest.mark.root


def attributes(process: dict[str, Any] | None = None, linux: dict[str, Any] | None = None) -> Attributes:
    own: Any = process or {}
    config: Any = {"linux": linux or {}}
    return Attributes(own, config)


@pytest.mark.parametrize(("text", "numbers"), [("", set()), ("0", {0}), ("0-2,5", {0, 1, 2, 5}), (" 1 , 3-3 ", {1, 3})])
def test_lists_of_processors(text: str, numbers: set[int]) -> None:
    assert parse_list(text, "x") == numbers


@pytest.mark.parametrize("text", ["a", "3-1", "1-", "-1", "0-70000", "1;2"])
def test_bad_lists_of_processors(text: str) -> None:
    with pytest.raises(ContainerError, match="invalid where"):
        parse_list(text, "where")


@pytest.mark.parametrize(
    ("process", "linux", "words"),
    [
        ({"scheduler": {"policy": "SCHED_WILD"}}, {}, "scheduler.policy 'SCHED_WILD'"),
        ({"scheduler": {"policy": "SCHED_OTHER", "priority": 3}}, {}, "only be specified for SCHED_FIFO"),
        ({"scheduler": {"policy": "SCHED_FIFO", "runtime": 3}}, {}, "only be specified for SCHED_DEADLINE"),
        ({"scheduler": {"policy": "SCHED_FIFO", "flags": ["X"]}}, {}, "scheduler flag 'X'"),
        ({"scheduler": {"policy": "SCHED_DEADLINE"}}, {"resources": {"cpu": {"cpus": "0"}}}, "AllowedCPUs"),
        ({"ioPriority": {"class": "IOPRIO_CLASS_NONE"}}, {}, "ioPriority.class"),
        ({"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 8}}, {}, "between 0 and 7"),
        ({}, {"personality": {"domain": "LINUX32", "flags": ["X"]}}, "personality.flags"),
        ({}, {"memoryPolicy": {}}, "invalid memory policy mode"),
        ({}, {"memoryPolicy": {"mode": "MPOL_BIND"}}, "at least one node"),
        ({}, {"memoryPolicy": {"mode": "MPOL_DEFAULT", "nodes": "0-7"}}, "requires 0 nodes but got 8"),
        ({}, {"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0-98765"}}, "invalid memory policy nodes"),
        ({}, {"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0", "flags": ["X"]}}, "memory policy flag"),
    ],
)
def test_what_cannot_be_set_is_refused_first(process: dict[str, Any], linux: dict[str, Any], words: str) -> None:
    with pytest.raises(ContainerError, match=words):
        attributes(process, linux)


@root
def test_scheduler_priority_domain_and_memory(bundle: Bundle) -> None:
    bundle.config["process"]["scheduler"] = {"policy": "SCHED_BATCH", "nice": 7}
    bundle.config["process"]["ioPriority"] = {"class": "IOPRIO_CLASS_BE", "priority": 5}
    bundle.config["linux"]["personality"] = {"domain": "LINUX32"}
    bundle.config["linux"]["memoryPolicy"] = {"mode": "MPOL_INTERLEAVE", "nodes": "0"}
    script = "chrt -p $$; ionice; uname -m; nice; sed -n 's/^[^ ]* \\([^ ]*\\).*/\\1/p;q' /proc/self/numa_maps"
    bundle.shell(f"{script}; exec sleep 1000")
    bundle.detached("run", "-d", bundle.id)
    said = bundle.ok("exec", bundle.id, "/bin/sh", "-c", script)
    assert "SCHED_BATCH" in said
    assert "best-effort: prio 5" in said
    assert "\ni686\n7\n" in said
    assert said.endswith("interleave:0\n")


@root
def test_affinity_of_exec(bundle: Bundle) -> None:
    here = sorted(os.sched_getaffinity(0))
    bundle.shell("exec sleep 1000")
    bundle.config["process"]["execCPUAffinity"] = {"initial": str(here[0]), "final": str(here[-1])}
    bundle.detached("run", "-d", bundle.id)
    said = bundle.ok("exec", bundle.id, "grep", "Cpus_allowed_list:", "/proc/self/status")
    assert said.split()[1] == str(here[-1])


@root
def test_affinity_of_the_caller_is_not_handed_down(bundle: Bundle) -> None:
    every = os.sched_getaffinity(0)
    bundle.shell("grep Cpus_allowed_list: /proc/self/status")
    os.sched_setaffinity(0, {min(every)})
    try:
        said = bundle.ok("run", bundle.id)
    finally:
        os.sched_setaffinity(0, every)
    assert parse_list(said.split()[1], "x") >= every


@root
@pytest.mark.parametrize("user_namespace", [False, True])
def test_idmapped_mount(bundle: Bundle, tmp_path: Path, user_namespace: bool) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").touch()
    os.chown(source / "file", 3, 4)
    mappings = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    mount = {"destination": "/tmp/m", "source": str(source), "options": ["bind"]}
    if user_namespace:
        bundle.config["linux"]["namespaces"].append({"type": "user"})
        bundle.config["linux"].update(uidMappings=mappings, gidMappings=mappings)
        mount["options"] = ["bind", "idmap"]
        for path in (tmp_path, *tmp_path.parents[:2], bundle.path, *bundle.rootfs.iterdir(), bundle.rootfs):
            if not path.is_symlink():
                path.chmod(0o777)
    else:
        mount.update(uidMappings=mappings, gidMappings=mappings)
    bundle.config["mounts"].append(mount)
    bundle.shell("stat -c %u:%g /tmp/m/file")
    assert bundle.ok("run", bundle.id) == ("3:4\n" if user_namespace else "100003:100004\n")


@root
def test_idmap_without_mappings_is_refused(bundle: Bundle) -> None:
    bundle.config["mounts"].append({"destination": "/tmp", "source": "/tmp", "options": ["bind", "idmap"]})
    bundle.shell("true")
    assert "neither has it mappings" in bundle.fails("run", bundle.id)


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as stream:
        stream.bind(str(tmp_path / "s"))
        stream.listen()
        stream.settimeout(20)
        yield stream


def received(listener: socket.socket) -> tuple[bytes, int]:
    """What one caller sends: its text and its only descriptor."""
    with listener.accept()[0] as stream:
        text, fds, _, _ = socket.recv_fds(stream, 65536, 1)
    return text, fds[0]


@root
def test_pidfd_socket(bundle: Bundle, listener: socket.socket, tmp_path: Path) -> None:
    bundle.shell("exec sleep 1000")
    bundle.detached("run", "-d", "--pidfd-socket", str(tmp_path / "s"), bundle.id)
    pidfd = received(listener)[1]
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    os.close(pidfd)
    wait_for(lambda: json.loads(bundle.ok("state", bundle.id))["status"] == "stopped", "the end")


class _Data(ctypes.Structure):
    _fields_ = [("nr", ctypes.c_int), ("arch", ctypes.c_uint32), ("ip", ctypes.c_uint64), ("args", ctypes.c_uint64 * 6)]


class _Notification(ctypes.Structure):
    _fields_ = [("id", ctypes.c_uint64), ("pid", ctypes.c_uint32), ("flags", ctypes.c_uint32), ("data", _Data)]


class _Answer(ctypes.Structure):
    _fields_ = [("id", ctypes.c_uint64), ("val", ctypes.c_int64), ("error", ctypes.c_int32), ("flags", ctypes.c_uint32)]


def answer(fd: int, error: int) -> None:
    """One round of a seccomp agent: receive, and refuse with this errno (seccomp_unotify(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ioctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p]
    asked = _Notification()
    assert libc.ioctl(fd, 0xC0502100, ctypes.byref(asked)) == 0
    assert libc.ioctl(fd, 0xC0182101, ctypes.byref(_Answer(asked.id, 0, -error, 0))) == 0


@root
@pytest.mark.parametrize("no_new_privileges", [False, True])
def test_seccomp_agent(bundle: Bundle, listener: socket.socket, tmp_path: Path, no_new_privileges: bool) -> None:
    bundle.config["process"]["noNewPrivileges"] = no_new_privileges
    bundle.config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": str(tmp_path / "s"),
        "listenerMetadata": "told",
        "flags": ["SECCOMP_FILTER_FLAG_TSYNC"],
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}],
    }
    bundle.config["root"]["readonly"] = False
    bundle.shell("mkdir /tmp/x 2>/tmp/said; exec sleep 1000")
    bundle.detached("run", "-d", bundle.id)
    text, fd = received(listener)
    state = json.loads(text)
    assert (state["fds"], state["metadata"], state["state"]["id"]) == (["seccompFd"], "told", bundle.id)
    answer(fd, 123)
    os.close(fd)
    wait_for(lambda: "No medium found" in (bundle.rootfs / "tmp/said").read_text(), "the refusal")


@root
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "failed to connect with seccomp agent"),
        ({"listenerPath": ""}, "listenerPath is not set"),
        ({"defaultAction": "SCMP_ACT_NOTIFY"}, "cannot be used as default action"),
        ({"syscalls": [{"names": ["write"], "action": "SCMP_ACT_NOTIFY"}]}, "for the write syscall"),
    ],
)
def test_seccomp_agent_that_cannot_be(bundle: Bundle, change: dict[str, Any], words: str) -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": "/nowhere/s",
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}],
    }
    bundle.config["linux"]["seccomp"] = {**profile, **change}
    bundle.shell("true")
    assert words in bundle.fails("run", bundle.id)


@root
def test_descriptors_of_the_caller_are_closed_at_once(bundle: Bundle, tmp_path: Path) -> None:
    bundle.shell("true")
    with (tmp_path / "held").open("w") as stream:
        bundle.detached("create", bundle.id, pass_fds=[stream.fileno()])
    pid = json.loads(bundle.ok("state", bundle.id))["pid"]
    links = [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()]
    assert str(tmp_path / "held") not in links
