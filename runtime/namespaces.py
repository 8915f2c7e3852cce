"""Which namespaces a container gets: new ones, or others' by path; pure, from the configuration."""

from __future__ import annotations

from cr.kernel import namespaces as ns
from runtime.errors import ContainerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from oci.types import Config, Linux

# the names of config.json and those of /proc/<pid>/ns
KERNEL_NAMES: dict[str, str] = {
    "user": "user",
    "cgroup": "cgroup",
    "ipc": "ipc",
    "uts": "uts",
    "network": "net",
    "pid": "pid",
    "time": "time",
    "mount": "mnt",
}
_NET_SYSCTL = "net."
_IPC_SYSCTLS = (
    "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax",
    "kernel.shmmni", "kernel.shm_rmid_forced", "kernel.msg_next_id", "kernel.sem_next_id",
    "kernel.shm_next_id",
)  # fmt: skip


class Namespaces:
    """`new`: kinds to make; `joined`: {kind: path}; both by the names of config.json."""

    def __init__(self, linux: Linux) -> None:
        self.new: set[str] = set()
        self.joined: dict[str, str] = {}
        for entry in linux.get("namespaces") or []:
            kind, path = entry["type"], entry.get("path") or ""
            if kind in self.new or kind in self.joined:
                raise ContainerError(f"duplicated ns {kind!r} in linux.namespaces")
            if path:
                self.joined[kind] = path
            else:
                self.new.add(kind)

    def __contains__(self, kind: str) -> bool:
        return kind in self.new or kind in self.joined

    @property
    def staged(self) -> bool:
        """Whether a process must stand between: to join others' namespaces, or to set clock offsets."""
        return bool(self.joined) or "time" in self.new

    def clone_flags(self) -> int:
        """For clone(2): all new ones but cgroup (after the task is in its cgroup), time (no clone flag)."""
        return self._flags(self.new - {"cgroup", "time"})

    def clone_flags_after_stage(self) -> int:
        """For the second process of a staged start: the user namespace is there already."""
        return self._flags(self.new - {"cgroup", "time", "user"})

    def joins(self) -> list[tuple[int, str]]:
        """(clone flag, path) in the order in which they must be joined."""
        by_kernel_name = {KERNEL_NAMES[kind]: path for kind, path in self.joined.items()}
        return [(flag, by_kernel_name[name]) for name, flag in ns.FLAGS.items() if name in by_kernel_name]

    def _flags(self, kinds: set[str]) -> int:
        flags = 0
        for kind in kinds:
            flags |= ns.FLAGS[KERNEL_NAMES[kind]]
        return flags


def check(config: Config, spaces: Namespaces) -> None:
    """What the configuration asks for must touch nothing of the host.  Raises ContainerError."""
    linux = config.get("linux") or {}
    if "mount" not in spaces:
        raise ContainerError("a container needs a mount namespace: add one to linux.namespaces")
    for field in ("hostname", "domainname"):
        if config.get(field) and "uts" not in spaces:
            raise ContainerError(f"unable to set {field} without a private UTS namespace")
    if "user" in spaces.new and not (linux.get("uidMappings") and linux.get("gidMappings")):
        raise ContainerError("user namespace is enabled, but no mapping is configured")
    if "user" not in spaces and (linux.get("uidMappings") or linux.get("gidMappings")):
        raise ContainerError("user namespace mappings specified, but user namespace isn't enabled in the config")
    for member in ("netDevices", "intelRdt"):
        if linux.get(member):
            raise ContainerError(f"linux.{member} is not supported; remove it")
    if linux.get("timeOffsets") and "time" not in spaces.new:
        raise ContainerError("time namespace offsets specified, but no new time namespace in the config")
    for name in linux.get("sysctl") or {}:
        _check_sysctl(name.replace("/", "."), spaces)


def _check_sysctl(name: str, spaces: Namespaces) -> None:
    if name in _IPC_SYSCTLS or name.startswith("fs.mqueue."):
        if "ipc" in spaces:
            return
        raise ContainerError(f'sysctl "{name}" is not allowed in the hosts ipc namespace')
    if name.startswith(_NET_SYSCTL):
        if "network" in spaces:
            return
        raise ContainerError(f'sysctl "{name}" is not allowed in the hosts network namespace')
    if name == "kernel.domainname" and "uts" in spaces:
        return
    if name == "kernel.hostname":
        raise ContainerError('sysctl "kernel.hostname" conflicts with the field hostname; use that')
    raise ContainerError(f'sysctl "{name}" is not in a separate kernel namespace')
