"""Watches a userfaultfd, which nobody can dump, with epoll."""

from __future__ import annotations

import ctypes
import os
import select

from lib import workload

with workload() as check:
    kernel = ctypes.CDLL(None, use_errno=True)
    fd = kernel.syscall(323, os.O_CLOEXEC | os.O_NONBLOCK | 1)
    check.that(fd >= 0, "no userfaultfd")
    epoll = select.epoll()
    epoll.register(fd, select.EPOLLIN)
    check.wait()
    check.equal(os.readlink(f"/proc/self/fd/{fd}"), "anon_inode:[eventfd]", "what stands for the userfaultfd")
    check.equal(epoll.poll(0), [], "events")
    try:
        os.read(fd, 32)
    except BlockingIOError:
        pass
    else:
        check.that(False, "the stub gave something to read")
