"""IPC namespaces (ipc_namespaces(7)): settings, System V objects and POSIX message queues with their contents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cr.contract.nesting import nesting
from cr.contract.resource import NamespaceResource
from cr.contract.sysctls import read_numbers, write_numbers
from cr.kernel.ids import acting_as
from cr.kernel.namespaces import CLONE_NEWIPC, inside_of
from cr.resources.namespaces import posix_queues, sysv_messages, sysv_semaphores, sysv_shm

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpTask
    from cr.contract.restoring import RestoreContext
    from images import messages as m

SETTINGS = {
    "sem_ctls": "kernel/sem",
    "msg_ctlmax": "kernel/msgmax",
    "msg_ctlmnb": "kernel/msgmnb",
    "msg_ctlmni": "kernel/msgmni",
    "auto_msgmni": "kernel/auto_msgmni",
    "shm_ctlmax": "kernel/shmmax",
    "shm_ctlall": "kernel/shmall",
    "shm_ctlmni": "kernel/shmmni",
    "shm_rmid_forced": "kernel/shm_rmid_forced",
    "mq_queues_max": "fs/mqueue/queues_max",
    "mq_msg_max": "fs/mqueue/msg_max",
    "mq_msgsize_max": "fs/mqueue/msgsize_max",
    "mq_msg_default": "fs/mqueue/msg_default",
    "mq_msgsize_default": "fs/mqueue/msgsize_default",
}
"""Field of ipc_var_entry -> file below /proc/sys."""

NEXT_IDS = {
    "msg_next_id": "kernel/msg_next_id",
    "sem_next_id": "kernel/sem_next_id",
    "shm_next_id": "kernel/shm_next_id",
}
SWITCHES = frozenset({"auto_msgmni", "shm_rmid_forced"})


class IpcNamespace(NamespaceResource):
    """Everything that sysvipc(7) lists, under its old ids, POSIX message queues, and the limits."""

    name = "ipc"
    clone_flag = CLONE_NEWIPC
    ids_field = "ipc_ns_id"

    @classmethod
    def dump(cls, task: DumpTask, ns_id: int, context: DumpContext) -> None:
        with inside_of(task.pid, cls.name):
            context.images.write("ipcns-var", ns_id, entries=[_settings()])
            sysv_shm.dump(ns_id, context)
            sysv_messages.dump(ns_id, task.pid, context)
            sysv_semaphores.dump(ns_id, context)
            posix_queues.dump(ns_id, task.pid, context)

    @classmethod
    def restore(cls, ns_id: int, context: RestoreContext) -> None:
        """Objects are made under limits that are wide enough, which then get their old values."""
        wanted = _wanted(context.images.read_one("ipcns-var", ns_id))
        needs = sysv_messages.needs(ns_id, context) | posix_queues.needs(ns_id, context)
        task = context.first_in(cls.ids_field, ns_id)
        known, owner = nesting(context), nesting(context).owner(ns_id)
        root = known.on_host(0, owner, "uid_map"), known.on_host(0, owner, "gid_map")
        weak = context.options.weak_sysctls
        with inside_of(task.puppet.tid, cls.name):
            with acting_as(*root):
                write_numbers(SETTINGS, _wide(wanted, needs), weak=weak)
            sysv_shm.restore(ns_id, context)
            sysv_messages.restore(ns_id, context)
            sysv_semaphores.restore(ns_id, context)
            posix_queues.restore(ns_id, context)
            with acting_as(*root):
                write_numbers(SETTINGS, {name: wanted[name] for name in SETTINGS if name in wanted}, weak=weak)
            write_numbers(NEXT_IDS, {name: wanted[name] for name in NEXT_IDS if name in wanted}, weak=weak)


def _settings() -> m.ipc_var_entry:
    from images import messages as m

    entry = m.ipc_var_entry()
    for name, numbers in read_numbers(SETTINGS).items():
        if name == "sem_ctls":
            entry.sem_ctls.extend(numbers)
        else:
            setattr(entry, name, numbers[0])
    for name, numbers in read_numbers(NEXT_IDS).items():
        if numbers[0] >= 0:
            setattr(entry, name, numbers[0])
    return entry


def _wanted(entry: m.ipc_var_entry) -> dict[str, list[int]]:
    singles = [name for name in (*SETTINGS, *NEXT_IDS) if name != "sem_ctls" and entry.HasField(name)]
    return {"sem_ctls": list(entry.sem_ctls)} | {name: [int(getattr(entry, name))] for name in singles}


def _wide(wanted: dict[str, list[int]], needs: dict[str, int]) -> dict[str, list[int]]:
    """The larger of the new namespace's limit, the wanted one and what an object needs."""
    found = {}
    for name, now in read_numbers({k: v for k, v in SETTINGS.items() if k not in SWITCHES}).items():
        goal = wanted.get(name, now)
        found[name] = [max(a, b, needs.get(name, 0)) for a, b in zip(now, goal, strict=True)]
    return found
