"""events: statistics at intervals, and a line for each OOM kill, until the container ends."""

from __future__ import annotations

import json
import time

from runtime.container import Container
from runtime.errors import ContainerError
from runtime.events import duration, oom_event, stats_event
from runtime.options import Option, Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cgroups import Manager
    from cgroups.oom import OomWatch
    from runtime.context import Context

VERB = Verb(
    "events",
    "display container events such as OOM notifications, cpu, memory, and IO usage statistics",
    "<container-id>",
    options=(
        Option("interval", "set the stats collection interval", default="5s"),
        Option("stats", "display the container's stats then exit", "flag"),
    ),
)


def run(context: Context, values: dict[str, Any], arguments: list[str]) -> int:
    """Print them, one JSON object a line."""
    from cgroups import CgroupError

    interval = duration(values["interval"])
    container = Container.load(context, arguments[0])
    if container.status() == "stopped":
        raise ContainerError(f"container with id {container.id} is not running")
    manager = container.manager()
    try:
        if values["stats"]:
            _print(stats_event(container.id, manager.stats()))
        else:
            _follow(container, manager, interval)
    except CgroupError as err:
        raise ContainerError(str(err)) from err
    return 0


def _follow(container: Container, manager: Manager, interval: float) -> None:
    """Until init ends: its pidfd wakes us, and so does the OOM watch."""
    import select

    from runtime.procfs import pidfd_of

    watch = manager.oom_watch()
    poll = select.poll()
    pidfd = pidfd_of(container.pid, container.record["start_time"])
    poll.register(pidfd, select.POLLIN)
    poll.register(watch.fd, watch.events)
    kills = watch.kills()
    due = time.monotonic()
    while True:
        if time.monotonic() >= due:
            _print(stats_event(container.id, manager.stats()))
            due += interval
        ready = {fd for fd, _ in poll.poll(max(0.0, due - time.monotonic()) * 1000)}
        if watch.fd in ready:
            kills = _report_kills(container, watch, kills)
        if pidfd in ready:
            return


def _report_kills(container: Container, watch: OomWatch, before: int) -> int:
    now = watch.kills()
    if now > before:
        _print(oom_event(container.id))
    return now


def _print(event: dict[str, Any]) -> None:
    print(json.dumps(event, separators=(",", ":")), flush=True)
