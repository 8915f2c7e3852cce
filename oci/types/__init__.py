"""The shapes of config.json as TypedDicts, one file a part; they hold for what the schemas accepted.

A configuration stays the dictionary that JSON gave, so unknown fields survive, as the specification asks.
Import these names under ``TYPE_CHECKING`` only: at run time they are worth nothing and cost 15 ms.
"""

from __future__ import annotations

from oci.types.config import Config, Mount, Root
from oci.types.hooks import Hook, Hooks
from oci.types.linux import Device, IdMapping, Linux, Namespace
from oci.types.process import Capabilities, Process, Rlimit, User
from oci.types.seccomp import Seccomp, Syscall, SyscallArg
from oci.types.state import State

__all__ = [
    "Capabilities",
    "Config",
    "Device",
    "Hook",
    "Hooks",
    "IdMapping",
    "Linux",
    "Mount",
    "Namespace",
    "Process",
    "Rlimit",
    "Root",
    "Seccomp",
    "State",
    "Syscall",
    "SyscallArg",
    "User",
]
