"""More descriptors than one program of system calls can place."""

from __future__ import annotations

import os
import resource

from lib import workload

MANY = 9000

with workload() as check:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    files = [os.open("/dev/null", os.O_RDWR), os.open("/dev/zero", os.O_RDWR)]
    for number in range(min(MANY, hard - 20)):
        os.set_inheritable(os.dup(files[number % 2]), number % 3 == 0)

    def table() -> dict[int, tuple[str, bool]]:
        return {
            fd: (os.readlink(f"/proc/self/fd/{fd}"), os.get_inheritable(fd))
            for fd in map(int, os.listdir("/proc/self/fd"))
            if os.path.lexists(f"/proc/self/fd/{fd}")
        }

    before = table()
    check.wait()
    check.equal(table() == before, True, "all descriptors are as they were")
