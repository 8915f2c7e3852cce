"""What runs innermost in tests of nested namespaces: it has a family, and knows its members by their pids.

Says "ready" when all is prepared; answers every line that it reads with "well", or with what is wrong.
"""

from __future__ import annotations

import array
import ctypes
import fcntl
import os
import select
import signal
import socket
import struct
import sys
import termios
import threading
import time

F_SETOWN_EX, F_GETOWN_EX = 15, 16
CLONE_NEWPID = 0x20000000
TIOCGSID = 0x5429
SIGNAL = signal.SIGRTMIN + 3


def child(do: object = None) -> int:
    """A forked process; it does something, then sleeps."""
    told, telling = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(told)
        if callable(do):
            do()
        os.write(telling, b"x")
        os.close(telling)
        os.close(0)
        os.close(1)
        while True:
            signal.pause()
    os.close(telling)
    os.read(told, 1)
    os.close(told)
    return pid


def orphan() -> int:
    """A grandchild whose parent has ended; in a session that the parent led."""
    told, telling = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.write(telling, struct.pack("i", child()))
        os._exit(0)
    os.waitpid(pid, 0)
    return int(struct.unpack("i", os.read(told, 4))[0])


def zombie() -> int:
    pid = os.fork()
    if pid == 0:
        os._exit(7)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid


def first_zombie() -> int:
    """A zombie that was the first process of a pid namespace, which ended with it; 0 without the rights for that."""
    libc = ctypes.CDLL(None, use_errno=True)
    own = os.open("/proc/thread-self/ns/pid", os.O_RDONLY)
    try:
        if libc.setns(own, CLONE_NEWPID) or libc.unshare(CLONE_NEWPID):
            return 0
        pid = zombie()
        assert libc.setns(own, CLONE_NEWPID) == 0, os.strerror(ctypes.get_errno())
        return pid
    finally:
        os.close(own)


def whose(pid: int) -> tuple[int, int, int]:
    """(group, session, parent) of a process."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return os.getpgid(pid), os.getsid(pid), int(fields[1])


def timer_for(tid: int) -> int:
    """A POSIX timer, far from its end, that notifies one thread (SIGEV_THREAD_ID)."""
    libc = ctypes.CDLL(None, use_errno=True)
    event = ctypes.create_string_buffer(struct.pack("<Qiii", 0, SIGNAL, 4, tid), 64)
    number = ctypes.c_int()
    assert libc.syscall(222, time.CLOCK_MONOTONIC, event, ctypes.byref(number)) == 0, os.strerror(ctypes.get_errno())
    libc.syscall(223, number, 0, struct.pack("<4q", 0, 0, 10000, 0), 0)
    return number.value


class Terminal:
    """A terminal that a child has as its controlling one; a grandchild's group is in the foreground."""

    def __init__(self) -> None:
        self.master, self.slave = os.openpty()
        self.leader = child(self._lead)

    def _lead(self) -> None:
        os.setsid()
        fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        front = child(lambda: os.setpgid(0, 0))
        os.tcsetpgrp(self.slave, front)

    def view(self) -> tuple[int, ...]:
        """(session, foreground group)"""
        found = [fcntl.ioctl(self.master, call, bytes(4)) for call in (TIOCGSID, termios.TIOCGPGRP)]
        return tuple(struct.unpack("i", raw)[0] for raw in found)


def clocks() -> tuple[float, float]:
    return time.clock_gettime(time.CLOCK_MONOTONIC), time.clock_gettime(time.CLOCK_BOOTTIME)


class Family:
    def __init__(self) -> None:
        self.led = child(os.setsid)
        self.grouped = child(lambda: os.setpgid(0, 0))
        self.plain = child()
        self.lost = orphan()
        self.dead = [pid for pid in (zombie(), first_zombie()) if pid]
        self.terminal = Terminal() if os.path.exists("/dev/ptmx") else None
        self.members = [self.led, self.grouped, self.plain, self.lost]
        self.has_proc = os.path.exists(f"/proc/{self.plain}") and os.readlink("/proc/self") == str(os.getpid())
        self.pidfd = os.pidfd_open(self.grouped)
        self.owned, self._other = socket.socketpair()
        fcntl.fcntl(self.owned, F_SETOWN_EX, struct.pack("ii", 1, self.plain))
        self.asked, asking = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.asked.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        asking.send(b"who")
        self.tid, self.called, self._go_on = 0, [], threading.Event()
        thread = threading.Thread(target=self._listen, daemon=True)
        signal.pthread_sigmask(signal.SIG_BLOCK, [SIGNAL])
        thread.start()
        while not self.tid:
            time.sleep(0.001)
        timer_for(self.tid)
        self.held = open(f"/proc/{self.plain}/status") if self.has_proc else None  # noqa: SIM115
        self.clocks = clocks()
        self.before = self.view()

    def _listen(self) -> None:
        self.tid = threading.get_native_id()
        while True:
            info = signal.sigwaitinfo([SIGNAL])
            self.called.append((info.si_pid, threading.get_native_id()))

    def end(self) -> None:
        """Nobody is to be left behind; a terminal's session ends with its leader (SIGHUP)."""
        leaders = [self.terminal.leader] if self.terminal is not None else []
        for pid in {self.lost, *leaders} - {os.getpid()}:
            os.kill(pid, signal.SIGKILL)

    def view(self) -> object:
        own = os.getpid(), os.getppid(), os.getpgid(0), os.getsid(0), self.tid
        ids = os.getresuid(), os.getresgid(), sorted(os.getgroups())
        others = [whose(pid) if self.has_proc else (os.getpgid(pid), os.getsid(pid)) for pid in self.members]
        owner = fcntl.fcntl(self.owned, F_GETOWN_EX, bytes(8))
        listed = [pid for pid in (1, *self.members) if self.has_proc and str(pid) in os.listdir("/proc")]
        peer = struct.unpack("3i", self.owned.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        terminal = self.terminal.view() if self.terminal is not None else ()
        timers = open("/proc/self/timers").read() if self.has_proc else ""  # noqa: SIM115
        return own, ids, others, owner, listed, os.uname().nodename, peer, terminal, timers

    def faults(self) -> list[str]:
        found = [] if self.view() == self.before else [f"{self.before} is now {self.view()}"]
        if not all(0 < now - then < 600 for now, then in zip(clocks(), self.clocks, strict=True)):
            found.append(f"the clocks {self.clocks} are now {clocks()}")
        os.kill(os.getpid(), SIGNAL)
        if self.held is not None and f"\nPid:\t{self.plain}\n" not in self.held.read():
            found.append(f"the open /proc/{self.plain}/status is of another process")
        data, control, _, _ = self.asked.recvmsg(10, 100)
        sender = array.array("i", control[0][2]) if control else None
        if data != b"who" or sender is None or sender[0] != os.getpid():
            found.append(f"the message of {os.getpid()} is from {sender}")
        for pid in self.dead:
            status = os.waitid(os.P_PID, pid, os.WEXITED)
            if status is None or status.si_status != 7:
                found.append(f"the zombie {pid} told {status}")
        signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        if not select.select([self.pidfd], [], [], 5)[0] or os.waitpid(self.grouped, 0)[0] != self.grouped:
            found.append("the pidfd is of another process")
        for pid in (self.led, self.plain):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        new = os.fork()
        if new == 0:
            os._exit(0)
        os.waitpid(new, 0)
        deadline = time.monotonic() + 5
        while not self.called and time.monotonic() < deadline:
            time.sleep(0.01)
        if self.called != [(os.getpid(), self.tid)]:
            found.append(f"the thread {self.tid} was called by {self.called}")
        return found


if __name__ == "__main__":
    family = Family()
    print("ready", flush=True)
    for _ in sys.stdin:
        print(" and ".join(family.faults()) or "well", flush=True)
    family.end()
