"""A parent of 64 MiB with three children that share it, each having written, dropped or added a little."""

from __future__ import annotations

import mmap
import os
import signal
import sys
from pathlib import Path

from lib import DIRECTORY, workload

PAGE = 4096
SIZE = 64 << 20
CHILDREN = 3
ANONYMOUS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS


def stamp(page: int, who: int = 0) -> bytes:
    return b"%d of %d" % (page, who)


memory = mmap.mmap(-1, SIZE, flags=ANONYMOUS)
for page in range(SIZE // PAGE):
    memory[page * PAGE : page * PAGE + 16] = stamp(page).ljust(16)


def wrong(who: int) -> str:
    """What is not as this child left it."""
    for page in range(SIZE // PAGE):
        found = memory[page * PAGE : page * PAGE + 16].rstrip()
        expected = stamp(page)
        if who and page % 512 == who:
            expected = stamp(page, who)
        if who and page in range(2048 * who, 2048 * who + 100):
            expected = bytes(16)
        if found != expected.rstrip():
            return f"page {page} of {who}: {found!r} instead of {expected!r}"
    return ""


def child(who: int) -> None:
    for page in range(who, SIZE // PAGE, 512):
        memory[page * PAGE : page * PAGE + 16] = stamp(page, who).ljust(16)
    memory.madvise(mmap.MADV_DONTNEED, 2048 * who * PAGE, 100 * PAGE)
    own = mmap.mmap(-1, 16 * PAGE, flags=ANONYMOUS)
    own[:5] = b"mine%d" % who
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    (DIRECTORY / f"child-{who}").write_text(str(os.getpid()))
    signal.sigwait([signal.SIGUSR1])
    problem = wrong(who) or ("" if own[:5] == b"mine%d" % who and own[5:] == bytes(16 * PAGE - 5) else "own memory")
    (DIRECTORY / f"found-{who}").write_text(problem)
    os._exit(bool(problem))


with workload() as check:
    pids = []
    for who in range(1, CHILDREN + 1):
        pid = os.fork()
        if pid == 0:
            child(who)
        pids.append(pid)
    while len(list(Path(sys.argv[1]).glob("child-*"))) < CHILDREN:
        pass
    check.wait()
    check.equal(wrong(0), "", "the parent")
    for who, pid in enumerate(pids, 1):
        os.kill(pid, signal.SIGUSR1)
        status = os.waitpid(pid, 0)[1]
        check.equal(status, 0, f"child {who}: {(DIRECTORY / f'found-{who}').read_text()}")
