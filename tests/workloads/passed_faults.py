"""Handles the page faults of its children, by userfaultfds that they have sent it, or that it got when they were born.

All have memory at the same addresses.  Arguments: "gone" (one is for a process that has ended), "outside" (for one that
is no descendant), "handed" (for memory of our own, only such a one has it), "unset" (not set up), "kernel" (a child
waits in a system call for a second, or "slow", for four), "fork" (one comes with an event).
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import threading

from lib import workload
from uffd import FORK, MISSING, PAGE, Context, memory, states, unreadable

PAGES = 4


def serve(ours: socket.socket, area: int) -> None:
    """A child: sends its userfaultfd, then reads page after page when it is told to."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    context = Context()
    context.register(area, PAGES, MISSING)
    context.copy(area, b"first")
    socket.send_fds(ours, [b"."], [context.fd])
    os.close(context.fd)
    while command := ours.recv(1):
        page = area + command[0] * PAGE
        ours.send(bytes([int(unreadable(page))]) if command[0] == 3 else ctypes.string_at(page, 1))
    os._exit(0)


def born(area: int) -> tuple[socket.socket, int]:
    here, there = socket.socketpair()
    if (pid := os.fork()) == 0:
        here.close()
        serve(there, area)
    there.close()
    return here, pid


def taken(channel: socket.socket) -> Context:
    return Context(fd=socket.recv_fds(channel, 1, 1)[1][0])


def heir(area: int) -> tuple[Context, socket.socket]:
    """A child that is born with registered memory; its userfaultfd comes as an event."""
    own = Context(FORK)
    here, there = socket.socketpair()
    told, telling = socket.socketpair()
    if (listener := os.fork()) == 0:  # a fork waits until somebody has read of it
        while not (events := own.events()):
            pass
        socket.send_fds(telling, [b"."], [events[0][1]])
        os._exit(0)
    own.register(area, PAGES, MISSING)
    if os.fork() == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        here.close()
        while command := there.recv(1):
            there.send(ctypes.string_at(area + command[0] * PAGE, 1))
        os._exit(0)
    os.waitpid(listener, 0)
    there.close()
    return taken(told), here


def stranger() -> tuple[Context, socket.socket]:
    """A userfaultfd of a process that is no descendant of ours any more, and what ends it when it is closed."""
    here, there = socket.socketpair()
    if (between := os.fork()) == 0:
        if (pid := os.fork()) == 0:
            context = Context()
            socket.send_fds(there, [b"."], [context.fd])
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            here.close()
            there.recv(1)
        os._exit(pid < 0)
    os.waitpid(between, 0)
    there.close()
    return taken(here), here


def main() -> None:
    with workload() as check:
        area = memory(PAGES)
        (one, first), (two, _) = born(area), born(area)
        contexts = [taken(one), taken(two)]
        channels = [one, two]
        if "fork" in sys.argv:
            context, channel = heir(memory(PAGES))
            contexts.append(context)
            channels.append(channel)
        own = Context() if "unset" not in sys.argv else None
        if "unset" in sys.argv:
            check.that(ctypes.CDLL(None).syscall(323, os.O_CLOEXEC | 1) >= 0, "a userfaultfd")
        if own is not None and "handed" in sys.argv:
            own.register(memory(PAGES), PAGES, MISSING)
        gone, _end = stranger() if {"outside", "handed"} & set(sys.argv) else (None, None)
        if own is not None and "handed" in sys.argv:
            os.close(own.fd)
            own = gone = None
        if "gone" in sys.argv:
            (third, pid) = born(area)
            gone = taken(third)
            third.close()
            os.waitpid(pid, 0)
        for channel in channels:
            channel.send(b"\1")
        check.equal(contexts[0].wait_for(1), [area + PAGE], "the first child waits")
        if "kernel" in sys.argv:
            contexts[0].copy(area + PAGE, b"b")
            check.equal(one.recv(1), b"b", "what the first child reads")
            one.send(b"\3")
            check.equal(contexts[0].wait_for(1), [area + 3 * PAGE], "the first child waits in write(2)")
            threading.Timer(4 if "slow" in sys.argv else 1, lambda: contexts[0].copy(area + 3 * PAGE, b"c")).start()
        check.wait()
        if own is not None:
            check.equal(own.events(), [], "events of our own")
        if gone is not None:
            check.equal(gone.events(), [], "events of who is gone")
        if "kernel" in sys.argv:
            check.equal(one.recv(1), b"\0", "the first child has written")
            contexts, channels = contexts[1:], channels[1:]
        for number, (context, channel) in enumerate(zip(contexts, channels, strict=True)):
            page = context.wait_for(1)[0] if number else area + PAGE  # which was read before, and comes again or not
            context.copy(page, bytes([ord("a") + number]))
            check.equal(channel.recv(1), bytes([ord("a") + number]), f"what child {number} reads")
            if number < 2:
                channel.send(b"\0")
                check.equal(channel.recv(1), b"f", "what was there")
        check.equal(states(area, PAGES), [""] * PAGES, "our own pages")
        os.kill(first, signal.SIGTERM)


main()
