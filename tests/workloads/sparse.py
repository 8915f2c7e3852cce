"""One page in use of each page table's 512: nothing between them may come to be, by tracking or by a restore."""

import mmap

from lib import workload

PAGE = mmap.PAGESIZE
TABLE = 512 * PAGE
TABLES = 32


def in_use():
    """Pages of our own."""
    with open("/proc/self/smaps_rollup") as rollup:
        return next(int(line.split()[1]) * 1024 // PAGE for line in rollup if line.startswith("Anonymous:"))


with workload() as check:
    memory = mmap.mmap(-1, (TABLES + 1) * TABLE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    for number in range(TABLES):
        memory[number * TABLE + 8] = number + 1
    before = in_use()
    check.wait()
    after = in_use()
    check.that(after < before + 512, f"{before} pages were in use, now {after} are")
    for number in range(TABLES):
        check.equal(memory[number * TABLE + 8], number + 1, f"page table {number}")
