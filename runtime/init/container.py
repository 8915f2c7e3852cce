"""The first process of a container, from its birth in new namespaces to its exec.

It runs in the forked child of `create` or `run`.  Talk with the parent, in order: it waits for go (ids are
mapped, the record is written); asks for hooks, if there are any; says ready (the parent has moved it into its
cgroup by then, and sets rlimits); says final.  Then it waits for `start` on the FIFO.
"""

from __future__ import annotations

import os
import signal

from cr.kernel import prctl
from cr.kernel.namespaces import CLONE_NEWCGROUP, unshare
from cr.kernel.netdevice import set_link_up
from runtime import paths
from runtime.init import devices, rootfs, settings
from runtime.init.mounting import Mounter
from runtime.init.process import become, last_step, new_keyring, own_dev_null, reset_signals, seal
from runtime.init.waiting import Wait
from runtime.mount_options import is_bind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from oci.types import Config
    from runtime.init.channel import Channel
    from runtime.init.process import ProcessPlan
    from runtime.namespaces import Namespaces
    from runtime.sources import Sources


class InitPlan:
    """All that the child needs, ready before the fork."""

    def __init__(self, container: str, config: Config, rootfs: str, spaces: Namespaces) -> None:
        self.container = container
        self.config = config
        self.rootfs = rootfs
        self.spaces = spaces
        self.process: ProcessPlan
        self.sources: Sources
        self.cgroups: Sequence[tuple[str, str]] = ()
        self.console = -1
        self.fifo = self.bell = -1  # see Wait
        self.pivot = True
        self.keyring = True
        self.run_hooks: Callable[[str], None]


def birth() -> None:
    """First steps: die with the parent, be out of sight, lead a session."""
    prctl.set_parent_death_signal(signal.SIGKILL)
    prctl.set_dumpable(False)
    prctl.set_name("woodfrog:init")
    reset_signals()
    os.setsid()


def main(plan: InitPlan, channel: Channel) -> None:
    """Everything up to the exec; returns only by an exception."""
    channel.expect("go")
    birth()
    if plan.keyring:
        new_keyring(plan.container)
    if "network" in plan.spaces.new:
        set_link_up("lo")
    settings.apply(plan.config)
    _build_root(plan, channel)
    own_dev_null()
    channel.ask("ready")
    if "cgroup" in plan.spaces.new:
        unshare(CLONE_NEWCGROUP)  # its root is our cgroup now
    program = become(plan.process, channel)
    prctl.set_parent_death_signal(0)
    wait = Wait(plan.fifo, plan.bell)
    channel.send(kind="final")
    wait.until_start()
    seal(plan.process, channel)
    plan.run_hooks("startContainer")
    last_step(plan.process, program)


def _build_root(plan: InitPlan, channel: Channel) -> None:
    """Mounts, devices, terminal, masks, hooks, and the step into the new root."""
    linux = plan.config.get("linux") or {}
    propagation = linux.get("rootfsPropagation", "")
    root_fd = rootfs.isolate(plan.rootfs, propagation)
    shared = propagation in ("shared", "rshared")
    mounter = Mounter(root_fd, plan.rootfs, plan.sources, plan.cgroups, shared, "user" in plan.spaces)
    mounter.mount_all(plan.config.get("mounts") or [])
    plan.sources.done()
    _fill_dev(plan, root_fd)
    slave = -1
    process = plan.process.process
    if plan.console >= 0:
        from runtime.init import console  # the parent has imported it

        slave = console.set_up(root_fd, plan.console, process, True, plan.process.relayed)
    os.close(paths.ensure(root_fd, process["cwd"], True))
    if plan.config.get("hooks"):
        channel.ask("hooks")
        os.fchdir(root_fd)
        plan.run_hooks("createContainer")
    mounter.finish()
    devices.make_paths_readonly(root_fd, linux.get("readonlyPaths") or [])
    devices.mask(root_fd, linux.get("maskedPaths") or [])
    if plan.config["root"].get("readonly"):
        rootfs.make_readonly(root_fd)
    if slave >= 0:
        from runtime.init import console

        console.take_over(slave)
    rootfs.enter(root_fd, plan.pivot, propagation)


def _fill_dev(plan: InitPlan, root_fd: int) -> None:
    """Device nodes and links, unless /dev is a bind mount: then it is someone else's."""
    mounts = plan.config.get("mounts") or []
    if any(os.path.normpath(m["destination"]) == "/dev" and is_bind(m) for m in mounts):
        return
    linux = plan.config.get("linux") or {}
    listed = devices.all_devices(linux.get("devices") or [])
    devices.make_devices(root_fd, listed, bind="user" in plan.spaces)
    devices.make_links(root_fd)
