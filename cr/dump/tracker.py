"""The process that keeps the tracking of written pages alive between two commands.

It is 160 bytes of machine code in a memory of some pages.  It holds, for each tracked task, a pidfd and the
userfaultfd of its memory, and ends when the last of the tasks has: no page fault ever waits for it, and when
it is killed the kernel takes the tracking off the tasks by itself.  Its command line says since which snapshot it
tracks and what it holds, its name leads to it: `woodfrog-track RUN_ID PID:START_TIME:FD ...`.
"""

from __future__ import annotations

import fcntl
import os
import resource
import select
import signal
import struct
from collections.abc import Iterable, Iterator

from cr.kernel import proc
from cr.kernel.pidfd import pidfd_getfd, pidfd_of_thread, pidfd_open, pidfd_send_signal
from cr.model import CheckpointError
from cr.remote.puppet import elf
from cr.values import dataclass

NAME = "woodfrog-track"
_MEMORY = f"/memfd:{NAME}"
_PATIENCE = 10_000  # milliseconds

_CODE = (
    "4883ec10",  # room for a struct pollfd
    "488d3579000000bf0f000000b89d0000000f05",  # prctl(PR_SET_NAME, name)
    "bf{token_behind}beffffffff31d2b8b40100000f05",  # close_range(token + 1, ~0, 0)
    "bf{token}4889e6ba0100000031c00f05",  # read(token, stack, 1)
    "83f801753b",  # not 1: whoever started us gave up; end
    "bf{token}b8030000000f05",  # close(token)
    "31db",  # for fd = 0 up to the number of tasks
    "891c24c74424040100000048 89e7be01000000baffffffffb8070000000f05",  # poll(fd, POLLIN, no timeout)
    "85c07edd",  # interrupted: again
    "ffc381fb{tasks}72d3",
    "31ffb8e70000000f05",  # exit_group(0)
)

Identity = tuple[int, int]
"""pid and start time, which together name a process for good"""


def code(tasks: int, token: int) -> bytes:
    """The program: descriptors 0 to `tasks` are pidfds, `token` is the pipe that says "go", nothing lies behind it."""
    numbers = {"token": token, "token_behind": token + 1, "tasks": tasks}
    text = "".join(_CODE).format(**{name: struct.pack("<I", number).hex() for name, number in numbers.items()})
    return bytes.fromhex(text) + NAME.encode() + b"\0"


@dataclass(frozen=True)
class Tracked:
    """One task and our descriptor of the userfaultfd of its memory (-1: it is tracked by soft-dirty bits)."""

    pid: int
    start_time: int
    fd: int


@dataclass(frozen=True)
class Tracker:
    """A running tracker."""

    pid: int
    pidfd: int
    run_id: str
    """of the snapshot since which it tracks: dump_criu_run_id of its inventory"""
    rows: dict[Identity, int]
    """the number that the userfaultfd of a task has there, -1 for soft-dirty bits"""

    def take(self, task: Identity) -> int:
        """A descriptor of ours of that task's userfaultfd."""
        number = self.rows[task]
        return number if number < 0 else pidfd_getfd(self.pidfd, number)

    def end(self) -> None:
        """Kill it; when this returns it holds nothing any more."""
        try:
            pidfd_send_signal(self.pidfd, signal.SIGKILL)
        except ProcessLookupError:
            return
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        if not poll.poll(_PATIENCE):
            raise CheckpointError(f"the tracker of written pages, process {self.pid}, does not end")


def running() -> Iterator[Tracker]:
    """All trackers that processes like us have started."""
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                tracker = _look(int(name))
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
            if tracker is not None:
                yield tracker


def _look(pid: int) -> Tracker | None:
    """The process as a tracker: by its name, the program that it runs, whose it is, and in which pid namespace."""
    if proc.read_text(pid, "comm") != f"{NAME}\n":
        return None
    if not os.readlink(f"/proc/{pid}/exe").startswith(_MEMORY):
        return None
    fields = proc.status(pid)
    if fields["Uid"].split()[1] != str(os.geteuid()) or len(proc.ns_ids(fields, "NSpid")) != _depth():
        return None
    pidfd = pidfd_open(pid)
    words = proc.read_text(pid, "cmdline").split("\0")
    rows = dict(_row(word) for word in words[2:] if word)
    return Tracker(pid, pidfd, words[1], rows)


def _depth() -> int:
    return len(proc.ns_ids(proc.status("self"), "NSpid"))


def _row(word: str) -> tuple[Identity, int]:
    pid, start_time, fd = map(int, word.split(":"))
    return (pid, start_time), fd


class Starting:
    """A tracker that has been started and ends with us, until it is told to `go`."""

    def __init__(self, run_id: str, tasks: list[Tracked]) -> None:
        token, self._go = os.pipe2(os.O_CLOEXEC)
        pidfds: list[int] = []
        try:
            living = [task for task in tasks if _hold(task, pidfds)]
            _start(run_id, living, pidfds, token)
        except BaseException:
            os.close(self._go)
            raise
        finally:
            for fd in (token, *pidfds):
                os.close(fd)

    def go(self) -> None:
        """From now on it lives as long as its tasks, and is found by its name."""
        os.write(self._go, b"\0")
        taken = select.poll()
        taken.register(self._go, 0)  # an error: nobody can read any more, it has closed its end
        taken.poll(_PATIENCE)
        os.close(self._go)

    def give_up(self) -> None:
        os.close(self._go)


def _hold(task: Tracked, pidfds: list[int]) -> bool:
    """Add a pidfd of the task; False where it has ended: tasks run on while a pre-dump writes their memory."""
    try:
        pidfds.append(pidfd_of_thread(task.pid))
    except ProcessLookupError:
        return False
    return True


def _start(run_id: str, tasks: list[Tracked], pidfds: list[int], token: int) -> None:
    memories = list(dict.fromkeys(task.fd for task in tasks if task.fd >= 0))
    numbers = {fd: len(tasks) + index for index, fd in enumerate(memories)} | {-1: -1}
    words = [f"{task.pid}:{task.start_time}:{numbers[task.fd]}" for task in tasks]
    held = [*pidfds, *memories, token]
    _make_room(2 * len(held) + 64)
    program = os.memfd_create(NAME, os.MFD_CLOEXEC)
    copies: list[int] = []
    try:
        os.write(program, elf(code(len(tasks), len(held) - 1)))
        copies += (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, max(3, len(held))) for fd in held)
        os.posix_spawn(
            f"/proc/self/fd/{program}",
            [NAME, run_id, *words],
            {},
            file_actions=list(_places(copies)),
            setsid=True,
            setsigmask=signal.valid_signals(),
        )
    finally:
        for fd in (program, *copies):
            os.close(fd)


def _places(copies: list[int]) -> Iterable[tuple[int, ...]]:
    for number, copy in enumerate(copies):
        yield os.POSIX_SPAWN_DUP2, copy, number
    for number in range(len(copies), 3):
        yield os.POSIX_SPAWN_CLOSE, number


def _make_room(count: int) -> None:
    """Descriptors for all tasks: as many as we may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count + 256:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
