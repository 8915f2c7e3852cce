"""A container that exists: its record on disk and its status, found anew at each look."""

from __future__ import annotations

import os

from runtime import cgroup
from runtime.checkpoints import RESTORED
from runtime.errors import ContainerError
from runtime.procfs import alive, pidfd_of, stat_of
from runtime.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cgroups import Manager
    from oci.types import Config, State
    from runtime.context import Context

FIFO = "exec.fifo"
RECORD_VERSION = 1


class Container:
    """The record of state.json: id, bundle, rootfs, created, pid, start_time, cgroup, config, stdio."""

    def __init__(self, store: Store, record: dict[str, Any]) -> None:
        self.store = store
        self.record = record

    @classmethod
    def load(cls, context: Context, container: str, lock: bool = False) -> Container:
        """The container of this id; with `lock` nobody else changes it while we live.

        Raises ContainerError "container does not exist".
        """
        store = Store(context.root, container)
        if lock:
            store.lock()
        try:
            return cls(store, store.load())
        except ContainerError:
            store.forget_lock()
            raise

    @property
    def id(self) -> str:
        """Its name."""
        return self.store.id

    @property
    def pid(self) -> int:
        """The host pid of its init process, 0 before there is one."""
        pid: int = self.record["pid"]
        return pid

    @property
    def config(self) -> Config:
        """The configuration that it was created from."""
        config: Config = self.record["config"]
        return config

    def manager(self) -> Manager:
        """Its cgroups."""
        return cgroup.manager_of(self.record["cgroup"])

    def set_init(self, pid: int) -> None:
        """Take this process as init, and remember when it began, so that its pid alone never counts."""
        found = stat_of(pid)
        if found is None:
            raise ContainerError(f"the container's process {pid} has ended")
        self.record["pid"], self.record["start_time"] = pid, found[1]

    def running(self) -> bool:
        """Whether init lives."""
        return alive(self.pid, self.record["start_time"])

    def signal(self, number: int) -> None:
        """Send a signal to init, by a pidfd.  Raises ContainerError if it does not run."""
        import signal

        try:
            fd = pidfd_of(self.pid, self.record["start_time"])
        except OSError as err:
            raise ContainerError("container not running") from err
        try:
            signal.pidfd_send_signal(fd, number)
        finally:
            os.close(fd)

    def ended(self) -> bool:
        """Whether nothing of it runs, and nobody is making it."""
        return not self.running() and (self.record["ready"] or not self._being_created())

    def status(self) -> str:
        """creating, created, running, paused or stopped."""
        if not self.running():
            return "stopped" if self.ended() else "creating"
        if self.record.get("waits"):
            return "created"  # from a checkpoint: the freezer holds it
        if cgroup.is_frozen(self.record["cgroup"]):
            return "paused"
        if not self.record["ready"]:
            return "creating"
        return "created" if os.path.exists(self.store.path(FIFO)) else "running"

    def _being_created(self) -> bool:
        creator: list[int] = self.record["creator"]
        return alive(creator[0], creator[1])

    def annotations(self) -> dict[str, str]:
        """Those of the configuration, and the checkpoint that the container was made from."""
        images = self.record.get("thawed_from")
        return {**(self.config.get("annotations") or {}), **({RESTORED: images} if images else {})}

    def state(self, status: str | None = None) -> State:
        """The state of the specification, as hooks get it."""
        from oci.state import state

        status = status or self.status()
        pid = 0 if status == "stopped" else self.pid
        return state(self.id, status, self.record["bundle"], pid, self.annotations())

    def save(self) -> None:
        """Write the record."""
        self.store.save(self.record)

    def run_hooks(
        self, kind: str, status: str | None = None, pid: int = 0, environment: dict[str, str] | None = None
    ) -> None:
        """Run all hooks of a kind.  Raises ContainerError."""
        hooks = self.config.get("hooks")
        if not hooks or not hooks.get(kind):
            return
        from oci.hooks import HookFailed, run_hooks

        state = self.state(status)
        if pid:
            state["pid"] = pid
        try:
            run_hooks(hooks, kind, state, environment)
        except HookFailed as err:
            raise ContainerError(str(err)) from err


def new_record(bundle: str, rootfs: str, config: Config, cgroups: dict[str, Any]) -> dict[str, Any]:
    """The first record of a container, before there is a process."""
    import time

    seconds, rest = divmod(time.time_ns(), 10**9)
    created = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09}Z"
    own = stat_of(os.getpid())
    return {
        "version": RECORD_VERSION,
        "bundle": bundle,
        "rootfs": rootfs,
        "created": created,
        "pid": 0,
        "start_time": 0,
        "ready": False,
        "keyring": True,
        "stdio": None,  # runtime.frozen.stdio
        "creator": [os.getpid(), own[1] if own else 0],
        "cgroup": cgroups,
        "config": config,
    }
