"""Watches a userfaultfd that is not set up with epoll, or has the device open that is its argument."""

from __future__ import annotations

import ctypes
import os
import select
import sys

from lib import workload

with workload() as check:
    kernel = ctypes.CDLL(None, use_errno=True)
    device = sys.argv[2] if len(sys.argv) > 2 else ""
    fd = os.open(device, os.O_RDWR | os.O_NONBLOCK) if device else kernel.syscall(323, os.O_CLOEXEC | os.O_NONBLOCK | 1)
    check.that(fd >= 0, "no userfaultfd")
    epoll = select.epoll()
    if not device:
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
