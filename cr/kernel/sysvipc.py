"""System V shared memory, semaphores and message queues (sysvipc(7)), and their lists in /proc/sysvipc.

Everything here concerns the ipc namespace of the calling thread.  Structures are those of x86-64
(asm/shmbuf.h, asm/sembuf.h, asm/msgbuf.h).
"""

from __future__ import annotations

import ctypes
import struct

from cr.kernel import proc
from cr.kernel.libc import syscall
from cr.values import dataclass

IPC_CREAT, IPC_EXCL, IPC_NOWAIT = 0o1000, 0o2000, 0o4000
IPC_RMID, IPC_SET = 0, 1
SHM_RDONLY, SHM_EXEC = 0o10000, 0o100000  # of shmat
SHM_HUGETLB, HUGE_SHIFT = 0o4000, 26  # of shmget: with the logarithm of the page size from bit 26 on
SHM_LOCK = 11
GETALL, SETALL = 13, 17
MSG_NOERROR, MSG_COPY = 0o10000, 0o40000
MODE_BITS = 0o777
SHM_DEST, SHM_LOCKED = 0o1000, 0o2000
"""Bits of a segment's mode: removed, but still attached; held in memory (shmctl(2))."""

_PERM = struct.Struct("<iIIIIIHH4x16x")  # struct ipc64_perm
_PERM_SIZE = 48
_SHMID_SIZE, _MSGID_SIZE, _SEMID_SIZE = 112, 120, 104
_QBYTES = 88  # offset of msg_qbytes


@dataclass(frozen=True)
class Row:
    """A line of /proc/sysvipc/KIND: columns by name, modes as numbers."""

    columns: dict[str, int]

    def __getitem__(self, name: str) -> int:
        return self.columns[name]


def rows(kind: str) -> list[Row]:
    """All objects of a kind: shm, sem or msg; ids of owners as our user namespace sees them."""
    head, *lines = proc.read_file(f"/proc/sysvipc/{kind}").splitlines()
    names = head.split()
    return [Row(_columns(names, line.split())) for line in lines]


def _columns(names: list[str], words: list[str]) -> dict[str, int]:
    return {name: int(word, 8 if name == "perms" else 10) for name, word in zip(names, words, strict=False)}


@dataclass(frozen=True)
class Owner:
    """What IPC_SET changes: owner and mode."""

    uid: int
    gid: int
    mode: int

    def packed(self, size: int) -> ctypes.Array[ctypes.c_char]:
        record = _PERM.pack(0, self.uid, self.gid, 0, 0, self.mode & MODE_BITS, 0, 0)
        return ctypes.create_string_buffer(record.ljust(size, b"\0"), size)


def shmget(key: int, size: int, flags: int) -> int:
    return syscall("shmget", 29, _key(key), size, flags)


def shmat(shmid: int, flags: int) -> int:
    return syscall("shmat", 30, shmid, None, flags)


def shmdt(address: int) -> None:
    syscall("shmdt", 67, address)


def shm_own(shmid: int, owner: Owner) -> None:
    syscall("shmctl", 31, shmid, IPC_SET, owner.packed(_SHMID_SIZE))


def shm_lock(shmid: int) -> None:
    syscall("shmctl", 31, shmid, SHM_LOCK, None)


def shm_remove(shmid: int) -> None:
    """The segment goes with its last attachment."""
    syscall("shmctl", 31, shmid, IPC_RMID, None)


def semget(key: int, count: int, flags: int) -> int:
    return syscall("semget", 64, _key(key), count, flags)


def sem_values(semid: int, count: int) -> bytes:
    """The values, 16 bits each."""
    buffer = ctypes.create_string_buffer(2 * count)
    syscall("semctl", 66, semid, 0, GETALL, buffer)
    return buffer.raw


def set_sem_values(semid: int, values: bytes) -> None:
    syscall("semctl", 66, semid, 0, SETALL, ctypes.create_string_buffer(values, len(values)))


def sem_own(semid: int, owner: Owner) -> None:
    syscall("semctl", 66, semid, 0, IPC_SET, owner.packed(_SEMID_SIZE))


def msgget(key: int, flags: int) -> int:
    return syscall("msgget", 68, _key(key), flags)


def msg_limit(msqid: int) -> int:
    """msg_qbytes: how many bytes the queue may hold."""
    buffer = ctypes.create_string_buffer(_MSGID_SIZE)
    syscall("msgctl", 71, msqid, 2, buffer)
    value: int = struct.unpack_from("<Q", buffer.raw, _QBYTES)[0]
    return value


def msg_own(msqid: int, owner: Owner, limit: int) -> None:
    """Owner, mode and msg_qbytes; a limit above kernel.msgmnb takes CAP_SYS_RESOURCE."""
    record = owner.packed(_MSGID_SIZE)
    struct.pack_into("<Q", record, _QBYTES, limit)
    syscall("msgctl", 71, msqid, IPC_SET, record)


def peek_message(msqid: int, index: int, room: int) -> tuple[int, bytes]:
    """(type, text) of the message at a place of the queue, which stays there (MSG_COPY)."""
    buffer = ctypes.create_string_buffer(8 + room)
    size = syscall("msgrcv", 70, msqid, buffer, room, index, IPC_NOWAIT | MSG_COPY | MSG_NOERROR)
    return struct.unpack_from("<q", buffer.raw)[0], buffer.raw[8 : 8 + size]


def send_message(msqid: int, kind: int, text: bytes) -> None:
    record = struct.pack("<q", kind) + text
    syscall("msgsnd", 69, msqid, ctypes.create_string_buffer(record, len(record)), len(text), IPC_NOWAIT)


def _key(key: int) -> int:
    """key_t is signed; the images and /proc have it without a sign, or with."""
    return key - (1 << 32) if key >= 1 << 31 else key
