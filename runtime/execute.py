"""Running one more process in a container: exec.

A process between joins the namespaces of init by one setns(2) on a pidfd, so they are those of one live
process, whatever its /proc shows; then it clones the real one into the pid namespace, as our child.
"""

from __future__ import annotations

import os

from cr.kernel import prctl
from cr.kernel.namespaces import CLONE_PARENT, FLAGS, fork_into, setns
from runtime import limits
from runtime.errors import ContainerError, reason
from runtime.init.channel import Channel
from runtime.init.identity import become_root, setgroups_allowed
from runtime.init.process import become, last_step, new_keyring, own_dev_null, reset_signals, seal
from runtime.launch import child
from runtime.procfs import pidfd_of
from runtime.serve import serve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cgroups import Manager
    from runtime.container import Container
    from runtime.init.process import ProcessPlan


class ExecPlan:
    """What the new process becomes; `console` is where the master of its terminal goes, or -1."""

    def __init__(self, container: Container, process: ProcessPlan, console_fd: int) -> None:
        self.container = container
        self.process = process
        self.console = console_fd


def execute(plan: ExecPlan, managers: list[Manager]) -> tuple[int, Channel]:
    """Make the process; its pid, and the channel whose end says that it has exec'd.

    Raises ContainerError if the container ends meanwhile, or the process cannot be made.
    """
    container = plan.container
    try:
        pidfd = pidfd_of(container.pid, container.record["start_time"])
    except OSError as err:
        raise ContainerError("cannot exec in a stopped container") from err
    flags = different_namespaces(container.pid)
    plan.process.groups_allowed = setgroups_allowed(container.pid)
    stage_talk, talk = Channel(), Channel()
    stage = os.fork()
    if stage == 0:
        child(stage_talk, lambda channel: _stage(channel, talk, pidfd, flags, plan), False)
    os.close(pidfd)
    stage_talk.become_parent()
    talk.become_parent()
    try:
        pid: int = stage_talk.expect("pid")["pid"]
    finally:
        stage_talk.close()
        os.waitpid(stage, 0)
    _lead(plan, managers, pid, talk)
    return pid, talk


def different_namespaces(pid: int) -> int:
    """The clone flags of those namespaces in which the process is not ours already."""
    flags = 0
    for name, flag in FLAGS.items():
        try:
            theirs, ours = os.stat(f"/proc/{pid}/ns/{name}"), os.stat(f"/proc/self/ns/{name}")
        except FileNotFoundError:
            continue  # a kernel without this kind, or a process that ended: setns will say so
        if theirs.st_ino != ours.st_ino:
            flags |= flag
    return flags


def _stage(stage_talk: Channel, talk: Channel, pidfd: int, flags: int, plan: ExecPlan) -> None:
    """Between: out of sight of the container's processes before they could look at us."""
    prctl.set_dumpable(False)
    try:
        if flags:
            setns(pidfd, flags)
    except OSError as err:
        raise ContainerError(f"cannot join the namespaces of the container: {reason(err)}") from err
    if flags & FLAGS["user"]:
        become_root(plan.process.groups_allowed)
    pid = fork_into(CLONE_PARENT)
    if pid == 0:
        stage_talk.close()
        child(talk, lambda channel: _main(channel, plan), False)
    stage_talk.send(kind="pid", pid=pid)
    os._exit(0)


def _main(channel: Channel, plan: ExecPlan) -> None:
    """The process itself, up to its exec."""
    channel.expect("go")
    prctl.set_parent_death_signal(9)
    reset_signals()
    os.setsid()
    if plan.container.record["keyring"]:
        new_keyring(plan.container.id)
    if plan.console >= 0:
        from runtime.init import console  # the parent has imported it

        root_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        console.take_over(console.set_up(root_fd, plan.console, plan.process.process, False, plan.process.relayed))
    own_dev_null()
    channel.ask("ready")
    program = become(plan.process, channel)
    prctl.set_parent_death_signal(0)
    seal(plan.process, channel)
    last_step(plan.process, program)


def _lead(plan: ExecPlan, managers: list[Manager], pid: int, talk: Channel) -> None:
    """Put the process into the cgroup, set its limits, and see it exec."""
    from cgroups import CgroupError

    process = plan.process.process
    try:
        attributes = plan.process.attributes
        attributes.place_initially(pid)
        for manager in managers:
            manager.attach(pid)
        attributes.place_finally(pid)
        limits.set_oom_score(pid, process)
        talk.go()
        talk.expect("ready")
        limits.set_rlimits(pid, process.get("rlimits") or [])
        talk.go()
        serve(talk, pid, plan.container, plan.process)
    except (ContainerError, CgroupError) as err:
        _end(pid)
        raise ContainerError(f"unable to start container process: {err}") from err
    except BaseException:
        _end(pid)
        raise


def _end(pid: int) -> None:
    try:
        os.kill(pid, 9)
    except ProcessLookupError:
        return
    os.waitpid(pid, 0)
