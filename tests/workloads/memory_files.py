"""memfds: content, holes, seals, modes, several descriptions, mappings, shared with a child, executed."""

from __future__ import annotations

import fcntl
import mmap
import os
import signal

from lib import somebody, workload

with workload() as check:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    plain = os.memfd_create("plain", 0)
    os.write(plain, b"content")
    os.fchmod(plain, 0o640)
    os.fchown(plain, *somebody(12, 34))
    reader = os.open(f"/proc/self/fd/{plain}", os.O_RDONLY)
    os.read(reader, 3)
    large = os.memfd_create("large", os.MFD_CLOEXEC)
    os.ftruncate(large, 1 << 30)
    os.pwrite(large, b"far", (1 << 30) - 3)
    sealed = os.memfd_create("sealed", os.MFD_ALLOW_SEALING)
    os.write(sealed, b"for ever")
    fcntl.fcntl(
        sealed, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    )
    readonly = mmap.mmap(sealed, 8, mmap.MAP_SHARED, mmap.PROT_READ)
    future = os.memfd_create("future", os.MFD_ALLOW_SEALING)
    os.write(future, bytes(4096))
    writable = mmap.mmap(future, 4096)
    writable[:6] = b"before"
    fcntl.fcntl(future, fcntl.F_ADD_SEALS, 0x10)  # F_SEAL_FUTURE_WRITE
    names = {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in (plain, reader, large, sealed, future)}
    seals = {fd: fcntl.fcntl(fd, fcntl.F_GET_SEALS) for fd in names}
    cloexec = {fd: os.get_inheritable(fd) for fd in names}
    stats = {fd: (os.fstat(fd).st_mode, os.fstat(fd).st_uid, os.fstat(fd).st_gid, os.fstat(fd).st_size) for fd in names}
    child = os.fork()
    if child == 0:
        while signal.sigwait([signal.SIGUSR1, signal.SIGTERM]) != signal.SIGUSR1:
            pass
        writable[:6] = b"child!"
        os._exit(0)
    check.wait()
    check.equal({fd: os.readlink(f"/proc/self/fd/{fd}") for fd in names}, names, "names")
    check.equal({fd: fcntl.fcntl(fd, fcntl.F_GET_SEALS) for fd in names}, seals, "seals")
    check.equal({fd: os.get_inheritable(fd) for fd in names}, cloexec, "close-on-exec")
    now = {fd: (os.fstat(fd).st_mode, os.fstat(fd).st_uid, os.fstat(fd).st_gid, os.fstat(fd).st_size) for fd in names}
    check.equal(now, stats, "modes, owners, sizes")
    check.equal(os.read(reader, 10), b"tent", "position of another description")
    os.write(plain, b"+more")
    check.equal(os.read(reader, 10), b"+more", "the same memory")
    check.equal(os.pread(large, 3, (1 << 30) - 3), b"far", "large memfd")
    check.that(os.fstat(large).st_blocks < 100, "holes are filled")
    check.equal(readonly[:], b"for ever", "sealed mapping")
    check.equal(writable[:6], b"before", "writable mapping")
    os.kill(child, signal.SIGUSR1)
    os.waitpid(child, 0)
    check.equal(os.pread(future, 6, 0), b"child!", "memory shared with the child")
