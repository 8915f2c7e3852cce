"""Freezing and thawing the tasks of a cgroup, by v1's freezer.state or v2's cgroup.freeze.

Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst, cgroup-v2.rst "cgroup.freeze".
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable

from cgroups.errors import CgroupError
from cgroups.node import Node, read_ids, subtree

DEADLINE = 10.0
"""Seconds to wait for the kernel unless the caller says otherwise."""


def freezer_node(path: str) -> Node:
    """The directory as a v1 freezer or a v2 cgroup.  Raises CgroupError where it is neither."""
    if Node(path, 1).exists("freezer.state"):
        return Node(path, 1)
    if Node(path, 2).exists("cgroup.freeze"):
        return Node(path, 2)
    raise CgroupError(
        f"{path} cannot be frozen: it has neither freezer.state nor cgroup.freeze; "
        "give a directory of the freezer hierarchy, or of cgroup v2, below its root"
    )


def wanted_frozen(path: str) -> bool:
    """Whether this cgroup itself was told to be frozen (a frozen parent does not count)."""
    node = freezer_node(path)
    if node.version == 2:
        return node.read("cgroup.freeze") == "1"
    if node.exists("freezer.self_freezing"):
        return node.read("freezer.self_freezing") == "1"
    return node.read("freezer.state") != "THAWED"


def frozen(path: str) -> bool:
    """Whether all tasks at and below this cgroup are frozen now (by itself or by a parent)."""
    node = freezer_node(path)
    if node.version == 1:
        return node.read("freezer.state") == "FROZEN"
    return node.pairs("cgroup.events").get("frozen") == 1


def held(path: str) -> bool:
    """Whether a task that enters this cgroup is stopped at once: it is frozen, or about to be, or below one that is."""
    node = Node(path, 1)
    if node.exists("freezer.state"):
        return node.read("freezer.state") != "THAWED"
    node = Node(path, 2)
    return node.exists("cgroup.freeze") and (node.read("cgroup.freeze") == "1" or frozen(path))


def is_empty(path: str) -> bool:
    """Whether no process is in this cgroup, nor below it."""
    return not _pids(path, freezer_node(path))


def freeze(path: str, deadline: float = DEADLINE) -> bool:
    """Freeze, and wait until every task is.  Answers whether the cgroup was told to be frozen before.

    On a timeout the former state is put back and CgroupError names the tasks that would not freeze.
    """
    node, before = freezer_node(path), wanted_frozen(path)
    if os.getpid() in _pids(path, node):
        raise CgroupError(f"cgroup {path} holds this very process (pid {os.getpid()}); run it from another cgroup")
    try:
        if node.version == 1:
            _wait_v1(node, lambda: node.write("freezer.state", "FROZEN"), "FROZEN", deadline)
        else:
            node.write("cgroup.freeze", 1)
            _wait_v2(node, 1, deadline)
    except CgroupError:
        if not before:
            _write(node, False)
        raise
    return before


def thaw(path: str, deadline: float = DEADLINE) -> None:
    """Thaw; waits until the tasks run, unless a parent is frozen."""
    node = freezer_node(path)
    _write(node, False)
    if node.version == 1:
        if node.exists("freezer.parent_freezing") and node.read("freezer.parent_freezing") == "1":
            return
        _wait_v1(node, lambda: None, "THAWED", deadline)
    elif not _frozen_parent(path):
        _wait_v2(node, 0, deadline)


def put_back(path: str, was_frozen: bool) -> None:
    """Undo `freeze`: thaw, unless the cgroup was frozen before."""
    if not was_frozen:
        thaw(path)


def _write(node: Node, freeze_it: bool) -> None:
    if node.version == 1:
        node.write("freezer.state", "FROZEN" if freeze_it else "THAWED")
    else:
        node.write("cgroup.freeze", int(freeze_it))


def _frozen_parent(path: str) -> bool:
    parent = Node(path.rsplit("/", 1)[0], 2)
    return parent.pairs("cgroup.events").get("frozen") == 1


def _pids(path: str, node: Node) -> list[int]:
    return [pid for directory in subtree(path) for pid in read_ids(directory, "cgroup.procs")]


def _wait_v1(node: Node, again: Callable[[], None], state: str, deadline: float) -> None:
    """Poll freezer.state, asking anew each time: a task that was forking meanwhile can miss the first call.

    v1 has no notification; the pauses grow from 0.1 to 5 ms.
    """
    end, pause = time.monotonic() + deadline, 0.0001
    again()
    while (seen := node.read("freezer.state")) != state:
        if time.monotonic() > end:
            raise _stuck(node, state, seen, deadline)
        time.sleep(pause)
        pause = min(pause * 2, 0.005)
        again()


def _wait_v2(node: Node, state: int, deadline: float) -> None:
    """Wait for "frozen <state>" in cgroup.events, which kernfs signals by POLLPRI."""
    end = time.monotonic() + deadline
    with open(node.file("cgroup.events")) as events:
        poller = select.poll()
        poller.register(events, select.POLLPRI)
        while True:
            events.seek(0)
            if f"frozen {state}" in events.read():
                return
            left = end - time.monotonic()
            if left <= 0:
                raise _stuck(node, f"frozen {state}", f"frozen {1 - state}", deadline)
            poller.poll(left * 1000)


def _stuck(node: Node, wanted: str, seen: str, deadline: float) -> CgroupError:
    pids = " ".join(map(str, _pids(node.path, node))) or "none"
    return CgroupError(
        f"cgroup {node.path} is still {seen} and not {wanted} after {deadline:g} s (tasks: {pids}); "
        "look for one that is stuck in the kernel (state D)"
    )
