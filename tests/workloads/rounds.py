"""Memory that changes in rounds (SIGUSR1), in every way that a tracker of written pages must notice."""

import ctypes
import mmap
import os
import random
import signal
import sys
import threading

from lib import DIRECTORY, workload

PAGE = mmap.PAGESIZE
PAGES = 600
PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = libc.mremap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
libc.mremap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p]
libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


class Area:
    """Pages by address, and what each should begin with."""

    def __init__(self, pages, flags=PRIVATE, fd=-1):
        self.address = libc.mmap(None, pages * PAGE, mmap.PROT_READ | mmap.PROT_WRITE, flags, fd, 0)
        assert self.address != ctypes.c_void_p(-1).value
        self.expected = [b"\0" * 8 if fd < 0 else b"filefile"] * pages

    def write(self, index, text):
        ctypes.memmove(self.address + index * PAGE, text, 8)
        self.expected[index] = text

    def forget(self, first, count, empty=b"\0" * 8):
        assert libc.madvise(self.address + first * PAGE, count * PAGE, mmap.MADV_DONTNEED) == 0
        self.expected[first : first + count] = [empty] * count

    def wrong(self):
        found = [ctypes.string_at(self.address + i * PAGE, 8) for i in range(len(self.expected))]
        return [i for i, text in enumerate(found) if text != self.expected[i]]


with workload() as check:
    chance = random.Random(7)
    with open(DIRECTORY / "mapped", "w+b") as file:
        file.write(b"filefile" * (64 * PAGE // 8))
        file.flush()
        areas = {
            "plain": Area(PAGES),
            "huge": Area(3 * 512),
            "mapped": Area(64, mmap.MAP_PRIVATE, file.fileno()),
            "moving": Area(40),
            "replaced": Area(20),
            "hidden": Area(8),
        }
    libc.madvise(areas["huge"].address, 3 * 512 * PAGE, 14)  # MADV_HUGEPAGE
    done = 0
    threads = []

    def scatter(name, count):
        area = areas[name]
        for index in chance.sample(range(len(area.expected)), count):
            area.write(index, b"%s%07d" % (name[:1].encode(), done * 10000 + index))

    def move():
        area = areas["moving"]
        target = libc.mmap(None, 40 * PAGE, 0, PRIVATE, -1, 0)
        assert libc.mremap(area.address, 40 * PAGE, 40 * PAGE, 3, target) == target
        area.address = target

    def replace():
        """Another mapping at the same place: written nowhere, changed everywhere."""
        area = areas["replaced"]
        fixed = PRIVATE | 0x10
        assert libc.mmap(area.address, 20 * PAGE, 3, fixed, -1, 0) == area.address
        area.expected = [b"\0" * 8] * 20
        area.write(done % 20, b"replaced")

    def hide():
        area = areas["hidden"]
        assert libc.mprotect(area.address, 8 * PAGE, 3) == 0
        area.write(done % 8, b"hidden%02d" % done)
        assert libc.mprotect(area.address, 8 * PAGE, 0) == 0

    def change():
        global done
        scatter("plain", 50)
        scatter("huge", 5)
        scatter("mapped", 9)
        scatter("moving", 4)
        areas["plain"].forget(done * 7 % PAGES, 5)
        areas["mapped"].forget(done * 3 % 60, 2, b"filefile")
        move()
        if done % 2:
            replace()
        hide()
        if "threads" in sys.argv and len(threads) < 3:
            threads.append(threading.Thread(target=threading.Event().wait, daemon=True))
            threads[-1].start()
        done += 1
        (DIRECTORY / "round.new").write_text(str(done))
        os.rename(DIRECTORY / "round.new", DIRECTORY / "round")

    for name in areas:
        scatter(name, len(areas[name].expected) * 3 // 4)
    children = []
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    for _ in range(2 if "children" in sys.argv else 0):
        if (child := os.fork()) == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
            signal.sigwait([signal.SIGUSR2])
            os._exit(7 if any(area.wrong() for area in areas.values()) else 0)
        children.append(child)

    def serve():
        while True:
            signal.sigwait([signal.SIGUSR1])
            change()

    if "aio" in sys.argv:
        assert libc.syscall(206, 4, ctypes.byref(ctypes.c_ulong(0))) == 0  # io_setup(2)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    change()
    threading.Thread(target=serve, daemon=True).start()
    check.wait()
    libc.mprotect(areas["hidden"].address, 8 * PAGE, 3)
    for name, area in areas.items():
        check.equal(area.wrong(), [], f"pages of {name} that are wrong")
    for child in children:
        os.kill(child, signal.SIGUSR2)
        check.equal(os.waitpid(child, 0)[1], 0, "status of a child")
