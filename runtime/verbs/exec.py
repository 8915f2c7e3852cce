"""exec: one more process in a running container."""

from __future__ import annotations

import os

from cr.kernel import prctl
from runtime.check import check_preserved, check_terminal
from runtime.container import Container
from runtime.create import process_plan, write_pid_file
from runtime.errors import ContainerError
from runtime.exec_process import process_of
from runtime.execute import ExecPlan, execute
from runtime.foreground import Foreground
from runtime.options import Option, Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cgroups import Manager
    from runtime.context import Context

VERB = Verb(
    "exec",
    "execute new process inside the container",
    "<container-id> <command> [command options]  || -p process.json <container-id>",
    maximum=None,
    options=(
        Option("console-socket", "path to an AF_UNIX socket which receives the master of the terminal"),
        Option("cwd", "current working directory in the container"),
        Option("env", "set environment variables", "list", short="e"),
        Option("tty", "allocate a pseudo-TTY", "flag", short="t"),
        Option("user", "UID (format: <uid>[:<gid>])", short="u"),
        Option("additional-gids", "additional gids", "list", short="g"),
        Option("process", "path to the process.json", short="p"),
        Option("detach", "detach from the container's process", "flag", short="d"),
        Option("pid-file", "the file to write the process id to"),
        Option("pidfd-socket", "path to an AF_UNIX socket which receives a pidfd of the new process"),
        Option("process-label", "refused: there is no SELinux support"),
        Option("apparmor", "refused: there is no AppArmor support"),
        Option("no-new-privs", "set the no new privileges value for the process", "flag"),
        Option("cap", "add a capability to the sets of the process", "list", short="c"),
        Option("preserve-fds", "pass N more descriptors (stdio + $LISTEN_FDS + N in total)", "int"),
        Option("cgroup", "run the process in an (existing) sub-cgroup: [<controller>:]<cgroup>", "list"),
        Option("ignore-paused", "allow exec in a paused container", "flag"),
    ),
)


def run(context: Context, values: dict[str, Any], arguments: list[str]) -> int:
    """Run it; its exit code, 0 if detached, 255 if it could not be started."""
    container = Container.load(context, arguments[0])
    _check_status(container, values["ignore_paused"])
    process = process_of(container.config, values, arguments[1:])
    preserve = values["preserve_fds"] + int(os.environ.get("LISTEN_FDS") or 0)
    check_preserved(preserve)
    terminal, detach = process.get("terminal", False), values["detach"]
    check_terminal(terminal, values["console_socket"], detach)
    plan = process_plan(context, container.config, process, preserve)
    if not detach:
        prctl.set_child_subreaper(True)
    with Foreground() as foreground:
        theirs, ours = _console(values["console_socket"], terminal)
        plan.relayed = ours >= 0
        managers = _managers(container, values["cgroup"])
        pid, channel = execute(ExecPlan(container, plan, theirs), managers)
        channel.close()
        context.reporter.debug(f"container {container.id}: process {pid} has been started in it")
        if ours >= 0:
            from runtime.init.console import receive_master

            os.close(theirs)
            foreground.master = receive_master(ours)
        if values["pid_file"]:
            write_pid_file(values["pid_file"], pid)
        if values["pidfd_socket"]:
            from runtime.sockets import send_pidfd

            send_pidfd(values["pidfd_socket"], pid)
        return 0 if detach else foreground.wait(pid)


def _check_status(container: Container, ignore_paused: bool) -> None:
    status = container.status()
    if status == "stopped":
        raise ContainerError("cannot exec in a stopped container")
    if status == "creating":
        raise ContainerError("cannot exec in a container that is being created")
    if status == "paused" and not ignore_paused:
        raise ContainerError("cannot exec in a paused container (use --ignore-paused to override)")


def _console(path: str, terminal: bool) -> tuple[int, int]:
    """Where the process sends its master, and our own end if we relay it; -1 for what is not there."""
    if not terminal:
        return -1, -1
    from runtime.init import console

    if path:
        return console.connect(path), -1
    ours, theirs = console.pair()
    return theirs, ours


def _managers(container: Container, places: list[str]) -> list[Manager]:
    """The container's cgroup, then the sub-cgroups that --cgroup names, each in all or in some hierarchies."""
    from runtime.cgroup import sub_manager

    manager = container.manager()
    return [manager, *(sub_manager(manager, place) for place in places)]
