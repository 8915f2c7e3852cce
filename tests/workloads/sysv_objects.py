"""Shared memory (attached in pieces, attached and removed, not attached), semaphores and messages of System V."""

from __future__ import annotations

import ctypes
from pathlib import Path

from lib import workload

PAGE = 4096
IPC_CREAT, IPC_RMID, SHM_RDONLY = 0o1000, 0, 0o10000
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
libc.shmat.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
libc.shmdt.argtypes = [ctypes.c_void_p]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


class Message(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_long), ("text", ctypes.c_char * 64))


def table(kind: str) -> list[list[str]]:
    """The stable columns of /proc/sysvipc/KIND."""
    columns = {
        "shm": (0, 1, 2, 3, 6, 7, 8, 9, 10),
        "sem": (0, 1, 2, 3, 4, 5, 6, 7),
        "msg": (0, 1, 2, 3, 4, 7, 8, 9, 10),
    }
    lines = [line.split() for line in Path(f"/proc/sysvipc/{kind}").read_text().splitlines()[1:]]
    return [[line[column] for column in columns[kind]] for line in lines]


def setting(name: str, value: str | None = None) -> str:
    path = Path("/proc/sys/kernel", name)
    if value is not None:
        path.write_text(value)
    return path.read_text()


with workload() as check:
    gone = libc.shmget(1, 10, IPC_CREAT | 0o600)  # ids do not begin at 0
    libc.shmctl(gone, IPC_RMID, None)
    segment = libc.shmget(0x1234, 5 * PAGE - 100, IPC_CREAT | 0o640)
    whole = libc.shmat(segment, None, 0)
    ctypes.memmove(whole, b"frozen", 6)
    ctypes.memmove(whole + 3 * PAGE, b"solid", 5)
    libc.mprotect(whole + PAGE, PAGE, 1)
    libc.munmap(whole + 2 * PAGE, PAGE)
    readable = libc.shmat(segment, None, SHM_RDONLY)
    removed = libc.shmget(0, PAGE, IPC_CREAT | 0o600)
    private = libc.shmat(removed, None, 0)
    ctypes.memmove(private, b"private", 7)
    libc.shmctl(removed, IPC_RMID, None)
    lonely = libc.shmget(0x77, PAGE, IPC_CREAT | 0o600)
    address = libc.shmat(lonely, None, 0)
    ctypes.memmove(address, b"alone", 5)
    libc.shmdt(address)
    semaphores = libc.semget(-5, 3, IPC_CREAT | 0o666)
    libc.semctl(semaphores, 2, 16, 11)
    queue = libc.msgget(0x99, IPC_CREAT | 0o600)
    libc.msgsnd(queue, ctypes.byref(Message(5, b"first")), 5, 0)
    libc.msgsnd(queue, ctypes.byref(Message(9, b"second one")), 10, 0)
    setting("sem", "31000 900000 400 31000")
    setting("msgmax", "6")  # less than what is in the queue
    before = {kind: table(kind) for kind in ("shm", "sem", "msg")}
    check.wait()
    check.equal({kind: table(kind) for kind in ("shm", "sem", "msg")}, before, "objects")
    check.equal(ctypes.string_at(readable, 6), b"frozen", "start of the segment")
    check.equal(ctypes.string_at(whole + 3 * PAGE, 5), b"solid", "fourth page of the segment")
    ctypes.memmove(whole + 4 * PAGE, b"shared", 6)
    check.equal(ctypes.string_at(readable + 4 * PAGE, 6), b"shared", "what another attachment shows")
    check.equal(libc.shmdt(whole), 0, "result of detaching all pieces")
    check.equal([row[4] for row in table("shm") if row[1] == str(segment)], ["1"], "attachments left")
    check.equal(ctypes.string_at(private, 7), b"private", "removed segment")
    address = libc.shmat(lonely, None, 0)
    check.equal(ctypes.string_at(address, 5), b"alone", "segment that nobody had attached")
    check.equal([libc.semctl(semaphores, i, 12) for i in range(3)], [0, 0, 11], "semaphores")
    message = Message()
    check.equal(libc.msgrcv(queue, ctypes.byref(message), 64, 9, 0), 10, "length of the second message")
    check.equal(message.text, b"second one", "second message")
    check.equal(setting("sem").split(), ["31000", "900000", "400", "31000"], "kernel.sem")
    check.equal(setting("msgmax"), "6\n", "kernel.msgmax")
