"""POSIX message queues of an ipc namespace, with their messages."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from cr.kernel import mqueue
from cr.kernel.namespaces import inside_of
from cr.model import Refused
from cr.resources.namespaces import posix_queue_content as content
from tests.cr.harness import Workload, alive, wait_for
from tests.cr.test_namespaces import other_namespace, unshare, unshare_fork

pytestmark = pytest.mark.root
MESSAGES = [(9, b"top"), (5, b"a"), (5, b""), (5, b"b"), (0, b"last")]


@pytest.mark.parametrize(
    "prefix", [unshare("ipc"), unshare_fork("ipc", "pid", "mount"), unshare("user", "map-root-user", "ipc")]
)
def test_queues_messages_and_descriptors(prefix: list[str], tmp_path: Path) -> None:
    with Workload("queues", tmp_path, prefix=prefix) as workload:
        for _ in range(2):
            workload.dump()
            workload.restore()
        workload.check()


def test_a_dump_that_goes_on_leaves_all_messages_in_their_order(tmp_path: Path) -> None:
    with Workload("queues", tmp_path, prefix=unshare("ipc")) as workload:
        for _ in range(2):
            workload.dump(leave_running=True)
        workload.check()


def test_a_notification_is_refused(tmp_path: Path) -> None:
    with Workload("queues", tmp_path, ["notify"], prefix=unshare("ipc")) as workload:
        with pytest.raises(Refused, match=r"with a notification \(mq_notify\(3\)\)"):
            workload.dump()
        assert alive(workload.pid)
        workload.check()


def test_queues_of_the_host_are_refused(tmp_path: Path) -> None:
    with other_namespace("ipc") as holder, inside_of(holder, "ipc"), Workload("queues", tmp_path) as workload:
        with pytest.raises(Refused, match="message queue of the host's own ipc namespace"):
            workload.dump()
        workload.check()


@pytest.fixture
def queue() -> Iterator[tuple[int, int]]:
    """A queue named "one" that has MESSAGES, and a process in its ipc namespace, where we are too."""
    with other_namespace("ipc") as holder, inside_of(holder, "ipc"):
        fd = mqueue.make("one", 0o600, 8, 100)
        for priority, text in reversed(MESSAGES[:1] + MESSAGES[4:]):
            mqueue.send(fd, text, priority)
        for priority, text in MESSAGES[1:4]:
            mqueue.send(fd, text, priority)
        yield fd, holder
        os.close(fd)


class Killed(Exception):
    pass


class Mortal:
    """Calls a function; at its turn number `last` dies, before it or right after it."""

    def __init__(self, call: object, last: int, *, after: bool) -> None:
        self.call, self.left, self.after = call, last, after

    def __call__(self, *arguments: object) -> object:
        self.left -= 1
        if self.left < 0 and not self.after:
            raise Killed
        result = self.call(*arguments)  # type: ignore[operator]
        if self.left < 0:
            raise Killed
        return result


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("last", range(5))
@pytest.mark.parametrize("call", ["receive", "send"])
def test_nothing_is_lost_wherever_it_stops(
    call: str, last: int, after: bool, queue: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    fd, _ = queue
    journal = content.Journal(fd, len(MESSAGES))
    with monkeypatch.context() as patched:
        patched.setattr(mqueue, call, Mortal(getattr(mqueue, call), last, after=after))
        with pytest.raises(Killed):
            journal.take(fd)
            journal.give(fd)
    journal.recover(fd)
    assert content._drain(fd) == MESSAGES


def test_a_janitor_puts_back_what_a_killed_engine_had_taken(queue: tuple[int, int]) -> None:
    fd, holder = queue
    if (child := os.fork()) == 0:
        calls = [0]

        def receive_once(*arguments: int) -> int:
            calls[0] += 1
            if calls[0] > 3:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments)

        original, mqueue.receive = mqueue.receive, receive_once
        content.copy(fd, content.Place(holder, "one", -1))
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    wait_for(lambda: mqueue.attributes(fd).count == len(MESSAGES), "the janitor to put all back")
    assert content.copy(fd, content.Place(holder, "one", -1)) == MESSAGES
    assert content._drain(fd) == MESSAGES
