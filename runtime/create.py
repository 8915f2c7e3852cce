"""Making a container: record, cgroup, init process, hooks.  A failure leaves nothing behind."""

from __future__ import annotations

import os

from cr.kernel import capabilities, prctl
from oci.config import load_config, without_nulls
from runtime import cgroup, check, checkpoints, launch, limits, members
from runtime.attributes import Attributes
from runtime.container import FIFO, Container, new_record
from runtime.errors import ContainerError
from runtime.frozen import stdio
from runtime.init.container import InitPlan
from runtime.init.container import main as init_main
from runtime.init.identity import CapabilitySets
from runtime.init.process import ProcessPlan
from runtime.namespaces import Namespaces
from runtime.namespaces import check as check_namespaces
from runtime.ownership import acting_for
from runtime.serve import serve
from runtime.sources import Sources
from runtime.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cgroups import Manager
    from oci.types import Config, Process
    from runtime.context import Context
    from runtime.init.channel import Channel
    from runtime.report import Reporter


class Request:
    """What the command line of create and run says."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.bundle: str = values["bundle"] or "."
        self.console_socket: str = absolute(values["console_socket"])
        self.pid_file: str = absolute(values["pid_file"])
        self.pidfd_socket: str = absolute(values["pidfd_socket"])
        self.pivot: bool = not values["no_pivot"]
        self.keyring: bool = not values["no_new_keyring"]
        self.preserve_fds: int = values["preserve_fds"] + int(os.environ.get("LISTEN_FDS") or 0)
        self.console = -1  # where the master of the terminal goes
        self.relayed = False  # we copy what is said on it


def absolute(path: str) -> str:
    """A path counts from where the command was given, not from the bundle, into which we go."""
    return os.path.abspath(path) if path else ""


class Created:
    """A container whose init waits for its start; `channel` tells of its exec."""

    def __init__(self, container: Container, pid: int, channel: Channel) -> None:
        self.container = container
        self.pid = pid
        self.channel = channel


def read_bundle(request: Request) -> tuple[str, Config]:
    """The absolute bundle and its validated configuration."""
    try:
        os.chdir(request.bundle)
    except OSError as err:
        raise ContainerError(f"chdir {request.bundle}: {os.strerror(err.errno or 0).lower()}") from err
    bundle = os.getcwd()
    try:
        config: Any = without_nulls(load_config(bundle))
    except FileNotFoundError as err:
        raise ContainerError(f"JSON specification file config.json not found in {bundle}") from err
    check.process_of(config)
    check.check_preserved(request.preserve_fds)
    return bundle, config


def create(context: Context, name: str, request: Request, bundle: str, config: Config) -> Created:
    """Make the container up to the state "created"."""
    if images := checkpoints.to_thaw(config.get("annotations") or {}, context.checkpoints):
        from runtime.frozen.annotated import create_thawed

        return create_thawed(context, name, request, bundle, config, images)
    rootfs = check.rootfs_of(config, bundle)
    spaces = Namespaces(config.get("linux") or {})
    check_namespaces(config, spaces)
    manager = cgroup.new_manager(config, name, context.systemd_cgroup, context.rootless)
    store = Store(context.root, name)
    plan = InitPlan(name, config, rootfs, spaces)
    plan.process = process_plan(context, config, config["process"], request.preserve_fds)
    plan.process.relayed = request.relayed
    store.check_free()
    check_cgroup(manager)
    store.make()
    container = Container(store, new_record(bundle, rootfs, config, cgroup.record(manager)))
    container.record["keyring"] = request.keyring
    try:
        container.save()
        return _make(container, manager, plan, request, context.reporter)
    except BaseException as err:
        undo(container, err)
        raise


def process_plan(context: Context, config: Config, process: Process, preserve_fds: int) -> ProcessPlan:
    """Capabilities and seccomp of one process of a container, ready to be used behind the fork."""
    sets = CapabilitySets(process.get("capabilities") or {}, available_capabilities(config))
    if sets.unavailable:
        context.reporter.warn(f"ignoring unknown or unavailable capabilities: [{' '.join(sets.unavailable)}]")
    for name in sets.not_ambient:
        context.reporter.warn(f"can't raise ambient capability {name}: it must be permitted and inheritable too")
    plan = ProcessPlan(process, sets, preserve_fds, Attributes(process, config))
    profile = (config.get("linux") or {}).get("seccomp")
    if profile:
        from runtime.seccomp import compile_profile

        plan.seccomp = compile_profile(profile)
        plan.listens = bool(plan.seccomp[1] & prctl.SECCOMP_FILTER_FLAG_NEW_LISTENER)
        context.reporter.debug(f"seccomp filter flags: {plan.seccomp[1]}")
    plan.groups_allowed = os.geteuid() == 0 or "user" not in _namespace_kinds(config)
    _pass_listen_fds(plan)
    return plan


def available_capabilities(config: Config) -> int:
    """What the process can have: in a new user namespace all, else what our bounding set leaves."""
    if "user" in _namespace_kinds(config):
        return (1 << len(capabilities.NAMES)) - 1
    return capabilities.bounding() & capabilities.capget()[1]


def _namespace_kinds(config: Config) -> list[str]:
    return [entry["type"] for entry in (config.get("linux") or {}).get("namespaces") or []]


def _pass_listen_fds(plan: ProcessPlan) -> None:
    """Socket activation (sd_listen_fds(3)): the container's init is the one who is meant."""
    count = os.environ.get("LISTEN_FDS")
    if count:
        plan.environment.update(LISTEN_FDS=count, LISTEN_PID="1")


def _make(container: Container, manager: Manager, plan: InitPlan, request: Request, reporter: Reporter) -> Created:
    config = container.config
    make_cgroup(container, manager)
    plan.cgroups = cgroup.for_mounts(manager)
    plan.fifo, plan.bell = _make_fifo(container)
    plan.console, plan.pivot, plan.keyring = request.console, request.pivot, request.keyring
    plan.sources = Sources(config, plan.rootfs)
    plan.run_hooks = lambda kind: container.run_hooks(
        kind,
        "created" if kind == "startContainer" else "creating",
        os.getpid(),
        plan.process.environment,  # these run among the container's own programs
    )

    if config.get("hooks"):
        _load_for_hooks()

    def body(channel: Channel) -> None:
        container.store.forget_lock()
        init_main(plan, channel)

    pid, channel = launch.start(config, plan.spaces, body)
    reporter.debug(f"container {container.id}: first process {pid} in its namespaces")
    try:
        os.close(plan.fifo)
        os.close(plan.bell)
        plan.sources.serve(pid)
        _talk(container, manager, pid, channel, plan.process)
        reporter.debug(f"container {container.id}: process {pid} waits for its start")
        if request.pid_file:
            write_pid_file(request.pid_file, pid)
        if request.pidfd_socket:
            from runtime.sockets import send_pidfd

            send_pidfd(request.pidfd_socket, pid)
    except BaseException:
        _kill(pid)
        raise
    finally:
        plan.sources.close()
    return Created(container, pid, channel)


def check_cgroup(manager: Manager) -> None:
    """One that is there already is used, but not if others are in it: they would share its limits, be paused with the
    container, and be killed with it.
    """
    if count := others_in_cgroup(manager):
        raise ContainerError(f"container's cgroup is not empty: {count} process(es) found; name another cgroupsPath")


def others_in_cgroup(manager: Manager) -> int:
    """How many processes are in the cgroup.  ContainerError if it is frozen: our process would be frozen too."""
    from cgroups import CgroupError

    if not manager.exists():
        return 0
    try:
        if cgroup.is_frozen(cgroup.record(manager)):
            raise ContainerError("container's cgroup unexpectedly frozen")
        return len(manager.pids())
    except CgroupError as err:
        raise ContainerError(str(err)) from err


def make_cgroup(container: Container, manager: Manager) -> None:
    """Make the cgroup with its limits."""
    from cgroups import CgroupError

    try:
        with acting_for(container.store.owner):
            manager.create()
        manager.apply(cgroup.resources_of(container.config))
    except CgroupError as err:
        raise ContainerError(str(err)) from err


def _load_for_hooks() -> None:
    """The child cannot import (launch.child), but runs hooks."""
    import json
    import subprocess

    import oci.hooks
    import oci.state

    assert json and subprocess and oci.hooks and oci.state


def _make_fifo(container: Container) -> tuple[int, int]:
    """The FIFO on which init waits.  Opened for both ends: no end of file while it waits; and to write (Wait)."""
    path = container.store.path(FIFO)
    with acting_for(container.store.owner):
        os.mkfifo(path, 0o600)
    return os.open(path, os.O_RDWR | os.O_CLOEXEC), os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)


def _talk(container: Container, manager: Manager, pid: int, channel: Channel, plan: ProcessPlan) -> None:
    """Lead the child from its birth to the point where it waits for the start."""
    process = container.config["process"]
    container.set_init(pid)
    container.save()
    channel.go()
    # while the child builds its root: moving a task is slow on v1 (an RCU grace period for each hierarchy)
    _attach(manager, pid)
    plan.attributes.place_finally(pid)
    limits.set_oom_score(pid, process)
    try:
        message = channel.receive()
        if message is not None and message["kind"] == "hooks":
            container.run_hooks("prestart", "created")
            container.run_hooks("createRuntime", "creating")
            channel.go()
            message = channel.receive()
        if message is None or message["kind"] != "ready":
            raise ContainerError("the container's first process ended unexpectedly")
        limits.set_rlimits(pid, process.get("rlimits") or [])
        container.record["stdio"] = stdio.look(pid)
        container.record["ready"] = True
        container.save()
        channel.go()
        serve(channel, pid, container, plan)
    except ContainerError as err:
        raise ContainerError(f"unable to start container process: {err}") from err


def _attach(manager: Manager, pid: int) -> None:
    from cgroups import CgroupError

    try:
        manager.attach(pid)
    except CgroupError as err:
        raise ContainerError(str(err)) from err


def write_pid_file(path: str, pid: int) -> None:
    """The pid alone, in a file that appears at once and whole."""
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f".{name}.{os.getpid()}")
    with open(temporary, "w") as stream:
        stream.write(str(pid))
    os.rename(temporary, path)


def _kill(pid: int) -> None:
    """End a child of ours and reap it."""
    try:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        return


def undo(container: Container, cause: BaseException) -> None:
    """Take away what a failed create or restore has made; what cannot be taken away is told beside the cause."""
    from cgroups import CgroupError

    try:
        strangers = members.remove_cgroup(container)
        if strangers:
            raise CgroupError(f"processes of others are in the cgroup of container {container.id}: {strangers}")
    except CgroupError as err:
        raise ContainerError(f"{cause}; besides, {err}") from cause
    finally:
        container.store.remove()
