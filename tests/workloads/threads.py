"""Two threads and a child that count; nobody misses a beat."""

from __future__ import annotations

import mmap
import os
import threading
import time

from lib import workload

counters = mmap.mmap(-1, 4096)


def count(slot: int) -> None:
    while True:
        counters[slot] = (counters[slot] + 1) % 256
        time.sleep(0.005)


with workload() as check:
    child = os.fork()
    if child == 0:
        count(0)
    threads = [threading.Thread(target=count, args=(slot,), daemon=True) for slot in (1, 2)]
    for thread in threads:
        thread.start()
    tids = [thread.native_id for thread in threads]
    check.wait()
    before = bytes(counters[:3])
    time.sleep(0.3)
    for slot in range(3):
        check.that(counters[slot] != before[slot], f"counter {slot} stands still")
    check.equal({int(name) for name in os.listdir("/proc/self/task")} - {os.getpid()}, set(tids), "threads")
    os.kill(child, 9)
    check.equal(os.waitpid(child, 0)[0], child, "the child")
