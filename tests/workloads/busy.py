"""Writes to its memory all the time; what stands where at any moment follows from how far it is.

Memory that a fork would not copy is written to as well.  Arguments: MiB, and what else is wanted.
"""

import mmap
import os
import signal
import struct
import sys
import time

from lib import DIRECTORY, workload

PAGE = mmap.PAGESIZE
PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
SIZE = int(sys.argv[2]) << 20
WORD = struct.Struct("<Q")


def area(size, advice=None):
    memory = mmap.mmap(-1, size, flags=PRIVATE)
    if advice is not None:
        memory.madvise(advice)
    for start in range(0, size, PAGE):
        WORD.pack_into(memory, start, 0)
    return memory


def fork_count():
    with open(f"/proc/self/task/{os.readlink('/proc/self')}/children") as file:
        return len(file.read().split())


with workload() as check:
    pages = SIZE // PAGE
    memory = area(SIZE, mmap.MADV_HUGEPAGE if "huge" in sys.argv else None)
    apart = [area(16 * PAGE, mmap.MADV_DONTFORK), area(16 * PAGE, 18)]  # MADV_WIPEONFORK
    children = []
    if "children" in sys.argv:
        for _ in range(2):
            if (child := os.fork()) == 0:
                while True:
                    signal.pause()
            children.append(child)
    shared = mmap.mmap(-1, 4 * PAGE)
    died = []
    signal.signal(signal.SIGCHLD, lambda *_: died.append(1))
    asked = []
    signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    (DIRECTORY / "pid").write_text(os.environ.get("WORKLOAD_PID", os.readlink("/proc/self")))
    (DIRECTORY / "ready").touch()
    count, gap, last = 0, 0.0, time.perf_counter()
    while not asked:
        count += 1
        WORD.pack_into(memory, count % pages * PAGE, count)
        for each in apart:
            WORD.pack_into(each, count % 16 * PAGE, count)
        WORD.pack_into(shared, count % 4 * PAGE, count)
        now = time.perf_counter()
        gap, last = max(gap, now - last), now

    def wrong(where, number):
        """Pages that do not hold what was written to them last."""
        for page in range(number):
            expected = count - (count - page) % number
            if WORD.unpack_from(where, page * PAGE)[0] != (expected if expected > 0 else 0):
                yield page

    check.equal(list(wrong(memory, pages))[:5], [], "pages of memory that are wrong")
    for each in apart:
        check.equal(list(wrong(each, 16)), [], "pages that a fork has not, which are wrong")
    check.equal(list(wrong(shared, 4)), [], "shared pages that are wrong")
    check.equal(len(died), 0, "children that are said to have died")
    check.equal(fork_count(), len(children), "children")
    try:
        check.equal(os.waitpid(-1, os.WNOHANG), (0, 0) if children else "nobody", "who is waited for")
    except ChildProcessError:
        check.that(not children, "no child to wait for")
    try:
        check.equal(os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | 0x40000000), None, "who is waited for (__WALL)")
    except ChildProcessError:
        check.that(not children, "no child to wait for (__WALL)")
    (DIRECTORY / "gap").write_text(str(gap))
    for child in children:
        os.kill(child, signal.SIGKILL)
