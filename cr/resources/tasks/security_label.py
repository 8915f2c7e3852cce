"""The label that a security module gave to a thread: an AppArmor profile, an SELinux context (/proc/PID/attr).

--lsm-profile TYPE:NAME puts another one in its place at restore.  A label is taken with the last rights that a task
still has: it may forbid what the steps before it do.
"""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

from cr.contract.resource import Stage, ThreadResource
from cr.model import CheckpointError
from cr.values import dataclass

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpThread
    from cr.contract.restoring import RestoreContext, RestoreThread
    from cr.remote.program import Program
    from images import messages as m

_AT_FDCWD = -100


@dataclass(frozen=True)
class Module:
    """A security module: its name, where it shows, the files of labels below /proc/PID, and how to set one."""

    name: str
    title: str
    present: str
    label: str
    sockets: str
    change: str


MODULES = (
    Module("apparmor", "AppArmor", "/sys/kernel/security/apparmor", "attr/apparmor/current", "", "changeprofile "),
    Module("selinux", "SELinux", "/sys/fs/selinux/enforce", "attr/current", "attr/sockcreate", ""),
)
_UNCONFINED = ("unconfined", "unconfined_t")


@cache
def active() -> Module | None:
    """The module that this kernel enforces, of those whose labels can be kept."""
    return next((module for module in MODULES if os.path.exists(module.present)), None)


def plain(module: Module, text: str) -> str:
    """The name of a profile or context in what /proc/PID/attr says; empty for an unconfined task."""
    text = text.rstrip("\0\n ")
    if module.name == "apparmor":
        text = text.rpartition(" (")[0] if text.endswith(")") else text
    role = text.split(":")[2] if text.count(":") >= 2 else text
    return "" if role in _UNCONFINED else text


def parse(text: str) -> tuple[Module, str]:
    """--lsm-profile TYPE:NAME."""
    kind, colon, name = text.partition(":")
    module = next((module for module in MODULES if module.name == kind), None)
    if module is None or not colon or not name:
        raise CheckpointError(f"--lsm-profile {text}: write it as apparmor:PROFILE or selinux:CONTEXT")
    return module, name


class SecurityLabel(ThreadResource):
    """One label a thread, and for SELinux the one that its new sockets get."""

    stage = Stage.IDENTITY
    order = 50

    def record(self, thread: DumpThread, core: m.core_entry, context: DumpContext) -> None:
        module = active()
        if module is None:
            return
        creds = core.thread_core.creds
        if label := plain(module, _read(thread.tid, module.label)):
            creds.lsm_profile = label
        if module.sockets and (label := _read(thread.tid, module.sockets).rstrip("\0\n")):
            creds.lsm_sockcreate = label
        context.once("security module", lambda: _tell(module, context))

    @classmethod
    def rebuild(cls, program: Program, thread: RestoreThread, context: RestoreContext) -> None:
        creds = thread.core.thread_core.creds
        wanted, label = _wanted(creds, thread, context)
        if wanted is None:
            return
        _write(program, wanted.label, wanted.change + label)
        if creds.lsm_sockcreate and wanted.sockets:
            _write(program, wanted.sockets, creds.lsm_sockcreate)


def _read(tid: int, name: str) -> str:
    try:
        with open(f"/proc/{tid}/{name}", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""  # the module keeps none for this task


def _tell(module: Module, context: DumpContext) -> bool:
    from images import messages as m

    def note(inventory: m.inventory_entry) -> None:
        inventory.lsmtype = getattr(m.lsmtype, module.name.upper())

    changes: list[object] = context.once("inventory", list)
    changes.append(note)
    return True


def _wanted(creds: m.creds_entry, thread: RestoreThread, context: RestoreContext) -> tuple[Module | None, str]:
    """The module and the label to take; CheckpointError where this kernel has no such module."""
    if context.options.lsm_profile:
        module, label = parse(context.options.lsm_profile)
        why = f"--lsm-profile {context.options.lsm_profile}"
    elif creds.lsm_profile:
        module, label = _of_images(context), creds.lsm_profile
        why = f"{thread.task} was confined by {module.title} as {label}"
    else:
        return None, ""
    if active() is not module:
        if label in _UNCONFINED:
            return None, ""  # LXC says so on every kernel
        raise CheckpointError(f"{why}: this kernel does not run {module.title}; restore where it does")
    return module, label


def _of_images(context: RestoreContext) -> Module:
    from images import messages as m

    kind = context.inventory.lsmtype if context.inventory is not None else 0
    return MODULES[1] if kind == m.lsmtype.SELINUX else MODULES[0]


def _write(program: Program, name: str, text: str) -> None:
    """A task can only change its own label; its container's /proc says who it is."""
    path = program.cstr(f"/proc/thread-self/{name}")
    fd = program.call("openat", _AT_FDCWD, path, os.O_WRONLY | os.O_CLOEXEC, 0, note=f"label of {name}")
    program.call("write", fd, program.data(text.encode(errors="surrogateescape")), len(text.encode()), note=text)
    program.call("close", fd)
