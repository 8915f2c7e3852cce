"""The parent's side of the last steps of a process: what it cannot do by itself is done for it, until it is done."""

from __future__ import annotations

import json
import os

from runtime.errors import ContainerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.container import Container
    from runtime.init.channel import Channel
    from runtime.init.process import ProcessPlan


def serve(channel: Channel, pid: int, container: Container, plan: ProcessPlan) -> None:
    """Answer the process until it says "final" or has exec'd.  Raises ContainerError with its words if it failed."""
    while (message := channel.receive()) is not None and message["kind"] != "final":
        if message["kind"] == "listener":
            hand_listener_over(pid, message["fd"], container)
        elif message["kind"] == "schedule":
            plan.attributes.set_scheduling(pid)
        else:
            raise ContainerError(f"got {message['kind']!r} while the end of the start was awaited")
        channel.go()


def hand_listener_over(pid: int, fd: int, container: Container) -> None:
    """Send the seccomp listener with the state of the container to the agent (config-linux.md, seccomp)."""
    from cr.kernel.pidfd import pidfd_getfd, pidfd_open
    from runtime.sockets import send_descriptor

    profile = (container.config.get("linux") or {})["seccomp"]
    pidfd = pidfd_open(pid)
    listener = pidfd_getfd(pidfd, fd)
    state = {
        "ociVersion": container.state("creating")["ociVersion"],
        "fds": ["seccompFd"],
        "pid": pid,
        "metadata": profile.get("listenerMetadata", ""),
        "state": {**container.state("creating"), "pid": container.pid},
    }
    try:
        send_descriptor(profile["listenerPath"], "seccomp agent", json.dumps(state).encode(), listener)
    finally:
        os.close(listener)
        os.close(pidfd)
