"""Look at the tree from outside before anything is frozen: what stands against a dump is said at once.

Nothing is held here, so what is seen may change; the dump itself checks again.  A side effect is welcome:
what the dump needs is loaded and warm when time counts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from cr.contract.cgroup_dump import warm_up
from cr.contract.dumping import DumpContext, DumpTask
from cr.contract.resource import namespace_resources
from cr.dump import drafts, files, foresight, memory, open_files, preflight, rights, tracking, user_faults
from cr.kernel import proc
from cr.model import Refused
from cr.remote import gadgets
from cr.resources.files import file_locks, plugin_file, stub
from cr.resources.tasks import timed_waits

_ATTEMPTS = 10
_ONE_OBJECT = ("socket:[", "pipe:[")
"""how the links of descriptors begin that name a whole kernel object by its number"""


def scout(context: DumpContext) -> None:
    """Refuse with every reason that can be seen from outside."""
    preflight.check_root(context.options.tree)
    reasons: list[str] = []
    tree = list(tasks(context.options.tree))
    if not tree:
        raise preflight.NoSuchProcess(f"process {context.options.tree} has ended")
    track = tracking.begin(context)
    for task in tree:
        try:
            foresight.begin(context).note(task)
            track.recognise(task)
            reasons += preflight.obstacles(task, tree, context.options)
            reasons += _obstacles(task, context)
        except (ProcessLookupError, FileNotFoundError):
            continue  # it ended, or a descriptor was closed, while we looked
    reasons += user_faults.objections(tree)
    warm_up(tree, context.options)
    if reasons:
        raise Refused(list(dict.fromkeys(reasons)))
    track.report(tree)
    context.scouted = tree


def tasks(root: int) -> Iterator[DumpTask]:
    """The processes of a tree as they are now, parents first, zombies left out."""
    level = len(proc.ns_ids(proc.status(root), "NSpid")) - 1
    waiting: list[tuple[int, DumpTask | None]] = [(root, None)]
    for pid, parent in waiting:
        task, children = _seen(pid, parent, level)
        if task is not None:
            waiting += [(child, task) for child in children]
            yield task


def _seen(pid: int, parent: DumpTask | None, level: int) -> tuple[DumpTask | None, list[int]]:
    """A process and its children; no task where it has ended.  Where only a thread of it ended meanwhile: again."""
    for _ in range(_ATTEMPTS):
        try:
            task = _task(pid, parent, level)
            return (None, []) if task.is_zombie else (task, proc.children(pid))
        except (ProcessLookupError, FileNotFoundError):
            continue
    return None, []


def _task(pid: int, parent: DumpTask | None, level: int) -> DumpTask:
    vpid = proc.ns_ids(proc.status(pid), "NSpid")[level]
    vppid = parent.vpid if parent else 0
    if (other := proc.living_thread(pid)) != pid:
        return DumpTask(other, vpid, vppid, 0, 0, proc.stat(other), parent, exited_main=pid)
    return DumpTask(pid, vpid, vppid, 0, 0, proc.stat(pid), parent)


def _obstacles(task: DumpTask, context: DumpContext) -> Iterator[str]:
    for fd in _unseen(task, context.once("objects seen", set)):
        yield from _file_obstacles(task, fd, context)
    for name in ("exe", "cwd", "root"):
        drafts.begin(context).note_path(task, name, os.O_RDONLY)
    gadgets.find(task.pid, task.mappings)  # searched now, remembered for when the task stands still
    for mapping in task.mappings:
        yield from memory.look(mapping, task, context)
    timed_waits.look(task, context)
    for resource in namespace_resources():
        yield from resource.obstacles(task, context)
    yield from rights.obstacles(task, context)


def _unseen(task: DumpTask, seen: set[str]) -> Iterator[int]:
    """Descriptors of a task; those of a socket or pipe only where no task before has it too."""
    for fd in open_files.descriptors(task.pid):
        try:
            link = os.readlink(f"/proc/{task.pid}/fd/{fd}")
        except FileNotFoundError:
            continue  # closed meanwhile
        if link in seen:
            continue
        if link.startswith(_ONE_OBJECT):
            seen.add(link)
        yield fd


def _file_obstacles(task: DumpTask, fd: int, context: DumpContext) -> Iterator[str]:
    try:
        file = open_files.open_file(task, fd)
        kind = open_files.claim(file)
        if plugin_file.wanted(file, kind, context) or stub.wanted(file, kind, context):
            pass
        elif kind is None:
            yield files.unsupported(file)
        else:
            yield from kind.obstacles(file, context)
        yield from file_locks.objections(file, context)
        drafts.begin(context).note(file)
        file.close()
    except FileNotFoundError:
        return  # closed meanwhile
