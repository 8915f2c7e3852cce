"""Numbers of prctl(2), arch_prctl(2), membarrier(2) for calls that are made inside of tasks (linux/prctl.h)."""

from __future__ import annotations

from functools import cache

from cr.kernel.libc import syscall

PR_SET_PDEATHSIG, PR_GET_PDEATHSIG = 1, 2
PR_SET_DUMPABLE = 4
PR_SET_NAME = 15
PR_SET_SECCOMP = 22
PR_CAPBSET_DROP = 24
PR_GET_SECUREBITS, PR_SET_SECUREBITS = 27, 28
PR_SET_CHILD_SUBREAPER, PR_GET_CHILD_SUBREAPER = 36, 37
PR_SET_NO_NEW_PRIVS = 38
PR_GET_TID_ADDRESS = 40
PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, PR_CAP_AMBIENT_CLEAR_ALL = 47, 2, 4
PR_SET_TIMERSLACK, PR_GET_TIMERSLACK = 29, 30
PR_TIMER_CREATE_RESTORE_IDS = 77
TIMER_RESTORE_IDS_OFF, TIMER_RESTORE_IDS_ON, TIMER_RESTORE_IDS_GET = 0, 1, 2

ARCH_GET_CPUID, ARCH_SET_CPUID = 0x1011, 0x1012

MEMBARRIER_CMD_GET_REGISTRATIONS = 1 << 9

SECBIT_NO_SETUID_FIXUP = 1 << 2
LINUX_CAPABILITY_VERSION_3 = 0x20080522

SECCOMP_MODE_STRICT, SECCOMP_MODE_FILTER = 1, 2
SECCOMP_SET_MODE_FILTER = 1
SECCOMP_FILTER_FLAG_TSYNC = 1


@cache
def timer_ids_can_be_chosen() -> bool:
    """Whether timer_create(2) takes the id from its caller when asked to (PR_TIMER_CREATE_RESTORE_IDS, Linux 6.16)."""
    try:
        syscall("prctl", 157, PR_TIMER_CREATE_RESTORE_IDS, TIMER_RESTORE_IDS_GET, 0, 0, 0)
    except OSError:
        return False
    return True
