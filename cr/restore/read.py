"""Read the images of a tree and check that they fit together, before any process is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cr import cpuinfo
from cr.contract.identity import check_hostname, take_over
from cr.contract.nesting import pids_of
from cr.contract.restoring import RestoreContext, RestoreTask, RestoreThread
from cr.model import TASK_DEAD, BadImages, CheckpointError, RestoreReport
from cr.options import Options
from cr.restore import foreign_vdso, memory_check
from images.directory import ImageDirectory

if TYPE_CHECKING:
    from images import messages as m

IMAGE_VERSIONS = (1, 2)


def read(options: Options) -> RestoreContext:
    """Everything that the images say, as values."""
    images = ImageDirectory.open(options.images_dir)
    context = RestoreContext(options, images, RestoreReport())
    if not images.exists("inventory"):
        raise BadImages(f"{images.path} has no inventory.img: no dump was completed there")
    context.inventory = images.read_one("inventory")
    if context.inventory.allow_uprobes and not context.options.allow_uprobes:
        raise CheckpointError("the tasks were probed (uprobes): see that the probes are there, and use --allow-uprobes")
    if context.inventory.img_version not in IMAGE_VERSIONS:
        raise BadImages(f"{images.path} has images of version {context.inventory.img_version}, we read 1 and 2")
    if context.inventory.HasField("pre_dump_mode") and not images.exists("pstree"):
        raise BadImages(f"{images.path} is a pre-dump, memory only: restore the dump that was made after it")
    cpuinfo.check(images, options)
    if images.exists("files"):
        context.file_entries = _read_files(context)
        take_over(context)
    context.tasks = _read_tree(context)
    for task in context.tasks:
        if task.core.tc.task_state != TASK_DEAD:
            _read_task(task, context)
    foreign_vdso.settle(context)
    memory_check.check(context)
    check_hostname(context)
    return context


def _read_files(context: RestoreContext) -> dict[int, m.file_entry]:
    """Files by id; where several records have one id, the last says what it is and has the fields of all."""
    found: dict[int, m.file_entry] = {}
    for entry in context.images.read("files"):
        if entry.id in found:
            found[entry.id].MergeFrom(entry)
        else:
            found[entry.id] = entry
    return found


def _read_tree(context: RestoreContext) -> list[RestoreTask]:
    tasks: dict[int, RestoreTask] = {}
    for entry in context.images.read("pstree"):
        if entry.pid in tasks:
            raise BadImages(f"pstree.img lists process {entry.pid} twice")
        parent = tasks.get(entry.ppid)
        if parent is None and tasks:
            raise BadImages(f"pstree.img: the parent {entry.ppid} of process {entry.pid} is not in the tree")
        task = RestoreTask(entry, parent, [], None)
        leader = _thread(entry.pid, task, context)
        task.threads = [leader]
        if not task.is_zombie:  # criu puts anything into the list of a zombie
            others = [tid for tid in entry.threads if tid != entry.pid]
            task.threads += [_thread(tid, task, context) for tid in others]
        task.threads.sort(key=lambda thread: thread.vtid != entry.pid)
        if parent is not None:
            parent.children.append(task)
        tasks[entry.pid] = task
    if not tasks:
        raise BadImages("pstree.img lists no process")
    return list(tasks.values())


def _thread(tid: int, task: RestoreTask, context: RestoreContext) -> RestoreThread:
    return RestoreThread(tid, _read_core(context, tid), task, inner=pids_of(tid, context)[1:])


def _read_core(context: RestoreContext, tid: int) -> m.core_entry:
    from images import messages as m

    core: m.core_entry = context.images.read_one("core", tid)
    if core.mtype != m.core_entry.march.X86_64:
        machine = m.core_entry.march.Name(core.mtype)
        raise BadImages(f"core-{tid}.img is of a {machine} machine, this one is X86_64: restore it on its own kind")
    return core


def _read_task(task: RestoreTask, context: RestoreContext) -> None:
    images = context.images
    task.ids = images.read_one("ids", task.vpid) if images.exists("ids", task.vpid) else task.core.ids
    task.mm = images.read_one("mm", task.vpid)
    files_id = task.ids.files_id if task.ids.files_id else task.vpid
    task.fds = images.read("fdinfo", files_id) if images.exists("fdinfo", files_id) else []
