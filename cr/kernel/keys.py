"""Keyrings: keyctl(2), as far as a container needs it.  Numbers of linux/keyctl.h."""

from __future__ import annotations

import os

from cr.kernel.libc import syscall

_KEYCTL_JOIN_SESSION_KEYRING = 1
_KEYCTL_SETPERM = 5


def join_session_keyring(name: str) -> int:
    """KEYCTL_JOIN_SESSION_KEYRING: leave our session keyring for the named one; returns its id.

    EDQUOT means that the user has too many keys, ENOSYS a kernel without keyrings.
    """
    return syscall("keyctl", 250, _KEYCTL_JOIN_SESSION_KEYRING, os.fsencode(name), 0, 0, 0)


def set_key_permissions(key: int, mask: int) -> None:
    """KEYCTL_SETPERM: who may do what with a key (keyctl_setperm(3))."""
    syscall("keyctl", 250, _KEYCTL_SETPERM, key, mask, 0, 0)
