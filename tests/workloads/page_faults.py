"""Handles its own page faults with several userfaultfds: missing pages, protected ones, minor faults, marks."""

from __future__ import annotations

import ctypes
import os
import select
import threading

from lib import Check, workload
from uffd import (
    MINOR,
    MINOR_SHMEM,
    MISSING,
    PAGE,
    POISON,
    PROTECT,
    USER_MODE_ONLY,
    WP_ASYNC,
    WP_SHMEM,
    WP_UNPOPULATED,
    Context,
    Touch,
    libc,
    memory,
    modes,
    states,
    unreadable,
)

PAGES = 16


def written(check: Check, both: Context, some: int) -> None:
    """A protected page, one that was marked without a page, and a missing one are written to."""
    for page, finish in (
        (some + 2 * PAGE, lambda page: both.protect(page, on=False)),
        (some + 3 * PAGE, lambda page: both.copy(page, b"3")),
        (some + 9 * PAGE, lambda page: both.copy(page, b"9")),
    ):
        writer = Touch(page, b"w")
        check.equal(both.wait_for(1), [page], "a fault of a write")
        finish(page)
        writer.result()
        check.equal(ctypes.string_at(page, 1), b"w", "what was written")


def touched_by_the_kernel(check: Check, both: Context, page: int) -> None:
    failed: list[bool] = []
    inside = threading.Thread(target=lambda: failed.append(unreadable(page)), daemon=True)
    inside.start()
    check.equal(both.wait_for(1), [page], "a fault of the kernel's own")
    both.copy(page, b"k")
    inside.join(10)
    check.equal(failed, [False], "whether a system call failed, without UFFD_USER_MODE_ONLY")


def minor_fault(check: Check, minor: Context, page: int) -> None:
    reader = Touch(page)
    check.equal(minor.wait_for(1), [page], "a minor fault")
    minor.map_again(page)
    check.equal(reader.result(), ord("C"), "what is in the cache")


def main() -> None:
    with workload() as check:
        both = Context(WP_UNPOPULATED | POISON | 1)
        user = Context(flags=os.O_CLOEXEC | os.O_NONBLOCK | USER_MODE_ONLY)
        minor, tracker = Context(MINOR_SHMEM | WP_SHMEM | 1), Context(WP_ASYNC)
        some, other, tracked, locked = memory(PAGES), memory(PAGES), memory(PAGES), memory(PAGES)
        file = os.memfd_create("shared")
        os.ftruncate(file, PAGES * PAGE)
        os.pwrite(file, b"CACHED", 0)
        os.pwrite(file, b"CACHED", PAGE)
        shared = memory(PAGES, file)

        both.register(some, PAGES, MISSING | PROTECT)
        both.copy(some, b"A")
        both.zero(some + PAGE)
        both.copy(some + 2 * PAGE, b"B", protect=True)
        both.protect(some + 3 * PAGE)
        both.poison(some + 4 * PAGE)
        user.register(other, PAGES, MISSING)
        user.copy(other + 3 * PAGE, b"C")
        minor.register(shared, PAGES, MINOR | PROTECT)
        minor.map_again(shared)
        minor.protect(shared + 5 * PAGE)
        check.equal(libc.mlock(ctypes.c_void_p(locked), PAGES * PAGE), 0, "mlock")
        user.register(locked, PAGES, MISSING)
        check.equal(libc.madvise(ctypes.c_void_p(locked), PAGES * PAGE, 24), 0, "MADV_DONTNEED_LOCKED")
        user.copy(locked + 2 * PAGE, b"L")
        tracker.register(tracked, PAGES, PROTECT)
        ctypes.memset(tracked, 1, 3 * PAGE)
        tracker.protect(tracked + PAGE)
        tracker.protect(tracked + 7 * PAGE)

        epoll = select.epoll()
        for context in (both, user, minor):
            epoll.register(context.fd, select.EPOLLIN)
        check.equal(epoll.poll(0), [], "events before anything is touched")
        waits_for_6 = Touch(some + 6 * PAGE)
        check.equal(both.wait_for(1), [some + 6 * PAGE], "the fault that is read, and not resolved")
        waits_for_7 = Touch(other + 7 * PAGE)
        epoll.poll(10)

        areas = (some, other, shared, tracked, locked)
        before = [(modes(area), states(area, PAGES)) for area in areas]
        features = [context.features() for context in (both, user, minor, tracker)]
        check.wait()
        check.equal([context.features() for context in (both, user, minor, tracker)], features, "features")
        for area, (mode, state) in zip(areas, before, strict=True):
            check.equal(modes(area), mode, "registration")
            check.equal(states(area, PAGES), state, f"pages of {mode}")
        check.equal(unreadable(some + 4 * PAGE), True, "the poisoned page cannot be read")
        check.equal(unreadable(other + 9 * PAGE), True, "a missing page of UFFD_USER_MODE_ONLY")

        check.equal(both.wait_for(1), [some + 6 * PAGE], "the fault comes again")
        check.equal({fd for fd, _ in epoll.poll(10)}, {user.fd}, "what epoll says")
        check.equal(user.wait_for(1), [other + 7 * PAGE], "the fault that nobody had read")
        both.copy(some + 6 * PAGE, b"6")
        user.copy(other + 7 * PAGE, b"7")
        check.equal((waits_for_6.result(), waits_for_7.result()), (ord("6"), ord("7")), "what the threads read")

        content = ctypes.string_at(some, 1) + ctypes.string_at(some + 2 * PAGE, 1) + ctypes.string_at(tracked, 1)
        check.equal(content + ctypes.string_at(other + 3 * PAGE, 1), b"AB\1C", "what is there")
        check.equal(ctypes.string_at(some + PAGE, PAGE), bytes(PAGE), "zeros")
        written(check, both, some)
        touched_by_the_kernel(check, both, some + 10 * PAGE)
        check.equal(ctypes.string_at(shared, 6), b"CACHED", "a page that is mapped")
        minor_fault(check, minor, shared + PAGE)
        check.equal(both.events() + user.events() + minor.events(), [], "more events")
        ctypes.memset(tracked + PAGE, 2, 1)
        check.equal(states(tracked, 2), ["p", "p"], "written pages are noted")


main()
