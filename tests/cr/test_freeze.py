"""Freezing: trees that do not stand still, tasks that cannot be frozen, and an engine that is killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from cr.contract.dumping import DumpTask
from cr.dump import preflight
from cr.dump.freeze import FrozenTree
from cr.model import CheckpointError
from cr.remote.tracee import Tracee
from tests.cr.harness import PYTHON, Workload, alive, wait_for

pytestmark = pytest.mark.root
ROOT = Path(__file__).parents[2]

THREADS_THAT_PASS_ON = """
import threading, sys
def go(depth):
    threading.Thread(target=go, args=(depth + 1,)).start()
for _ in range(3):
    threading.Thread(target=go, args=(0,)).start()
print("ready", flush=True)
threading.Event().wait()
"""
FORKS = """
import os
print("ready", flush=True)
while True:
    child = os.fork()
    if child == 0:
        if os.fork() == 0:
            os._exit(0)
        os.wait()
        os._exit(0)
    os.waitpid(child, 0)
"""
VFORK = """
import ctypes
code = ctypes.CDLL(None)
print("ready", flush=True)
if code.vfork() == 0:
    code.pause()
"""

SPAWNS = """
import os, sys
fifo = sys.argv[1]
print("ready", flush=True)
opens = (os.POSIX_SPAWN_OPEN, 0, fifo, os.O_RDONLY, 0)
child = os.posix_spawn("/bin/sleep", ["sleep", "100"], {}, file_actions=[opens])
os.waitpid(child, 0)
"""
SIGNALS_ARE_FOR_MAIN = """
import ctypes, os, signal, threading
code = ctypes.CDLL(None)
def other():
    code.pause()  # comes back only when a handler ran in this very thread
    os._exit(3)
for _ in range(8):
    threading.Thread(target=other, daemon=True).start()
signal.signal(signal.SIGUSR1, lambda *_: print("main", flush=True))
print("ready", flush=True)
while True:
    signal.pause()
"""

LEADERLESS = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(100,)).start()
print("ready", flush=True)
ctypes.CDLL(None).syscall(60, 0)
"""


@contextmanager
def running(code: str, *arguments: str) -> Iterator[int]:
    """A program in a session of its own that has said "ready"; ended with all that it has made."""
    with talking(code, *arguments) as process:
        yield process.pid


@contextmanager
def talking(code: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """The same, to hear more of it."""
    process = subprocess.Popen([PYTHON, "-c", code, *arguments], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"ready\n"
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
        process.stdout.close()


def state(tid: int) -> str:
    return Path(f"/proc/{tid}/stat").read_text().rpartition(")")[2].split()[0]


def threads(pid: int) -> list[int]:
    return sorted(map(int, os.listdir(f"/proc/{pid}/task")))


@pytest.mark.parametrize("code", [THREADS_THAT_PASS_ON, FORKS], ids=["threads", "processes"])
def test_a_tree_that_never_stands_still(code: str) -> None:
    with running(code) as pid:
        for _ in range(30):
            tree = FrozenTree(pid, time.monotonic() + 10)
            tree.freeze()
            held = {thread.tid for task in tree.tasks.values() for thread in task.threads}
            there = {tid for task in tree.tasks.values() if not task.is_zombie for tid in threads(task.pid)}
            assert there <= held
            assert all(state(tid) == "t" for tid in there)
            tree.release()


def test_a_vfork_parent_is_refused_and_goes_on() -> None:
    with running(VFORK) as pid:
        wait_for(lambda: state(pid) == "D", "the vfork")
        tree = FrozenTree(pid, time.monotonic() + 0.5)
        with pytest.raises(CheckpointError, match=r"vfork\(2\)"):
            tree.freeze()


def hears(process: subprocess.Popen[bytes]) -> bytes:
    """The next line, or nothing where the program has ended."""
    assert process.stdout is not None
    return process.stdout.readline()


def test_the_main_thread_takes_what_comes_while_all_stand_still() -> None:
    with talking(SIGNALS_ARE_FOR_MAIN) as process:
        for number in range(30):
            tree = FrozenTree(process.pid, time.monotonic() + 5)
            tree.freeze()
            os.kill(process.pid, signal.SIGUSR1)
            tree.release()
            assert hears(process) == b"main\n", f"round {number}"


def test_the_main_thread_takes_what_comes_while_threads_are_told_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    with talking(SIGNALS_ARE_FOR_MAIN) as process:
        told = []

        def interrupt(self: Tracee) -> None:
            real(self)
            if not told:
                os.kill(process.pid, signal.SIGUSR1)
            told.append(self.tid)

        real = Tracee.interrupt
        monkeypatch.setattr(Tracee, "interrupt", interrupt)
        tree = FrozenTree(process.pid, time.monotonic() + 5)
        tree.freeze()
        tree.release()
        assert len(told) == 9
        assert hears(process) == b"main\n"


def test_threads_that_are_killed_while_they_stand_still() -> None:
    """Nobody waits for them any more once they are let go: their process ends."""
    with talking(SIGNALS_ARE_FOR_MAIN) as process:
        tree = FrozenTree(process.pid, time.monotonic() + 5)
        tree.freeze()
        tids = threads(process.pid)
        os.kill(process.pid, signal.SIGKILL)
        tree.release()
        assert process.wait(10) == -signal.SIGKILL
        assert not any(Path(f"/proc/{tid}").exists() for tid in tids)


@pytest.mark.parametrize("below", [False, True], ids=["root", "child"])
def test_another_thread_answers_for_a_main_thread_that_has_exited(below: bool) -> None:
    code = LEADERLESS if not below else f"import os\nif os.fork():\n    os.wait()\n{LEADERLESS}"
    with running(code) as pid:
        leader = pid
        if below:
            leader = int(Path(f"/proc/{pid}/task/{pid}/children").read_text())
        wait_for(lambda: state(leader) == "Z", "the main thread to exit")
        tree = FrozenTree(pid, time.monotonic() + 5)
        preflight.check_root(pid)
        tree.freeze()
        (task,) = [task for task in tree.tasks.values() if task.exited_main]
        assert (task.tgid, task.vpid) == (leader, leader)
        assert task.pid == task.leader.tid != leader
        tree.release()
        assert not any(traced(each) for each in {pid, leader})
        assert len(threads(leader)) == 2


def test_what_a_child_that_vanishes_leaves_behind_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its children belong to somebody else then; here it is the child itself that is found by a second look."""
    seize, refused = FrozenTree._seize_threads, []

    def vanish_once(tree: FrozenTree, task: DumpTask, settle: bool) -> None:
        if task.parent is not None and not refused:
            refused.append(task.pid)
            raise ProcessLookupError
        seize(tree, task, settle)

    monkeypatch.setattr(FrozenTree, "_seize_threads", vanish_once)
    with running("import os, signal\nif os.fork():\n    print('ready', flush=True)\nsignal.pause()") as pid:
        tree = FrozenTree(pid, time.monotonic() + 10)
        tree.freeze()
        assert refused and set(tree.tasks) == {pid, *refused}
        tree.release()


DISPATCHES = """
import ctypes, mmap
selector = mmap.mmap(-1, 4096)
address = ctypes.addressof(ctypes.c_char.from_buffer(selector))
with open("/proc/self/maps") as maps:
    span = next(line for line in maps if "libc.so.6" in line and "r-xp" in line).split()[0].split("-")
start, end = (int(word, 16) for word in span)
assert ctypes.CDLL(None).prctl(59, 1, ctypes.c_ulong(start), ctypes.c_ulong(end - start), ctypes.c_ulong(address)) == 0
print("ready", flush=True)
ctypes.CDLL(None).pause()
"""


def test_system_calls_that_come_as_signals_are_refused() -> None:
    with running(DISPATCHES) as pid:
        tree = FrozenTree(pid, time.monotonic() + 5)
        with pytest.raises(CheckpointError, match="PR_SET_SYSCALL_USER_DISPATCH"):
            tree.freeze()
        wait_for(lambda: state(pid) == "S", "it to go on")


def traced(pid: int) -> bool:
    text = "".join(Path(f"/proc/{pid}/task/{tid}/status").read_text() for tid in threads(pid))
    return text.count("TracerPid:\t0\n") != text.count("TracerPid:")


def mappings(pid: int) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


def kill_in_the_middle(work: Workload, delay: float) -> None:
    """Start a dump, and kill what the user sees of the engine so many seconds after the freeze began."""
    command = [sys.executable, "-m", "cr.cli", "dump", "-t", str(work.pid), "-D", str(work.images), "-R"]
    engine = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    wait_for(lambda: traced(work.pid) or engine.poll() is not None, "the freeze")
    time.sleep(delay)
    engine.kill()
    engine.wait(10)


@pytest.mark.parametrize("name", ["signals", "filters"])
def test_an_engine_killed_at_any_moment_leaves_no_trace(name: str, tmp_path: Path) -> None:
    chance = random.Random(1)
    with Workload(name, tmp_path) as work:
        before = mappings(work.pid)
        work.images.mkdir()
        for attempt in range(25):
            kill_in_the_middle(work, chance.random() * 0.06)
            wait_for(lambda: not traced(work.pid), f"the tasks to be let go in attempt {attempt}")
            assert alive(work.pid)
            assert mappings(work.pid) == before, f"attempt {attempt}"
        work.check()
