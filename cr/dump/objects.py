"""Which tasks share which kernel objects, by kcmp(2)."""

from __future__ import annotations

from cr.contract.dumping import DumpTask
from cr.kernel import proc
from cr.kernel.pidfd import KCMP_FILES, KCMP_FS, KCMP_SIGHAND, KCMP_VM, kcmp
from cr.values import dataclass, field


@dataclass
class ObjectTable:
    """Numbers the distinct objects of one kind; kcmp's order makes the search binary."""

    kind: int
    next_id: int = 1
    _sorted: list[tuple[int, int, int]] = field(default_factory=list)  # pid, index, id

    def number(self, pid: int, index: int = 0) -> tuple[int, bool]:
        """(id, new): the id of this task's object, and whether it was not known before."""
        low, high = 0, len(self._sorted)
        while low < high:
            middle = (low + high) // 2
            other_pid, other_index, known = self._sorted[middle]
            order = kcmp(pid, other_pid, self.kind, index, other_index)
            if order == 0:
                return known, False
            low, high = (low, middle) if order == 1 else (middle + 1, high)
        self._sorted.insert(low, (pid, index, self.next_id))
        self.next_id += 1
        return self.next_id - 1, True


SHARED_KINDS = {"vm": KCMP_VM, "files": KCMP_FILES, "fs": KCMP_FS, "sighand": KCMP_SIGHAND}
NAMESPACES = {
    "pid": "pid_ns_id",
    "net": "net_ns_id",
    "ipc": "ipc_ns_id",
    "uts": "uts_ns_id",
    "mnt": "mnt_ns_id",
    "user": "user_ns_id",
    "cgroup": "cgroup_ns_id",
    "time": "time_ns_id",
}


@dataclass
class KernelObjects:
    """Ids of everything that tasks can share, ours included, so that the host's own namespaces are known."""

    tables: dict[str, ObjectTable] = field(
        default_factory=lambda: {name: ObjectTable(kind) for name, kind in SHARED_KINDS.items()}
    )
    namespaces: dict[tuple[str, int], int] = field(default_factory=dict)

    def namespace_ids(self, pid: int | str) -> dict[str, int]:
        """Field of task_kobj_ids_entry -> id; ids are unique over all kinds."""
        found = {}
        for name, id_field in NAMESPACES.items():
            key = (name, proc.namespace_inode(pid, name))
            found[id_field] = self.namespaces.setdefault(key, len(self.namespaces) + 1)
        return found

    def describe(self, task: DumpTask) -> dict[str, int]:
        """All ids of a task."""
        ids = {f"{name}_id": table.number(task.pid)[0] for name, table in self.tables.items()}
        return ids | self.namespace_ids(task.pid)
