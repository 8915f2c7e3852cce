"""Seccomp profiles of config.json, compiled to BPF by libseccomp before the container's process is made."""

from __future__ import annotations

import errno
import os
import struct

from cr.kernel import prctl
from runtime.errors import ContainerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from oci.types import Seccomp, Syscall

FLAGS: dict[str, int] = {
    "SECCOMP_FILTER_FLAG_TSYNC": 0,  # the process has one thread; with a listener the kernel refuses it (EINVAL)
    "SECCOMP_FILTER_FLAG_LOG": prctl.SECCOMP_FILTER_FLAG_LOG,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": prctl.SECCOMP_FILTER_FLAG_SPEC_ALLOW,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": prctl.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
}
# linux/bpf_common.h, linux/seccomp.h
_LOAD = 0x20
_JUMP_IF_EQUAL = 0x15
_JUMP_IF_ABOVE = 0x25
_RETURN = 0x06
_RETURN_ERRNO = 0x00050000
NOTIFY = "SCMP_ACT_NOTIFY"
OPERATORS = ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")
ACTIONS: dict[str, str] = {
    "SCMP_ACT_KILL": "KILL",
    "SCMP_ACT_KILL_THREAD": "KILL",
    "SCMP_ACT_KILL_PROCESS": "KILL_PROCESS",
    "SCMP_ACT_TRAP": "TRAP",
    "SCMP_ACT_ALLOW": "ALLOW",
    "SCMP_ACT_LOG": "LOG",
    NOTIFY: "NOTIFY",
}
ARCHITECTURES: dict[str, str] = {
    f"SCMP_ARCH_{name}": name
    for name in (
        "X86", "X86_64", "X32", "ARM", "AARCH64", "MIPS", "MIPS64", "MIPS64N32", "MIPSEL", "MIPSEL64",
        "MIPSEL64N32", "PPC", "PPC64", "PPC64LE", "S390", "S390X", "RISCV64",
    )
}  # fmt: skip


def compile_profile(profile: Seccomp) -> tuple[bytes, int]:
    """The BPF program and the flags of seccomp(2).  Raises ContainerError."""
    library = _library()
    flags = _flags(profile) | _listener_flags(profile)
    default = _action(library, profile["defaultAction"], profile.get("defaultErrnoRet"))
    program = library.SyscallFilter(default)
    for name in profile.get("architectures") or []:
        _add_architecture(library, program, name)
    for rule in profile.get("syscalls") or []:
        _add_rule(library, program, rule, default)
    return _unknown_calls(library, profile) + _export(program), flags


def _unknown_calls(library: Any, profile: Seccomp) -> bytes:
    """A prologue: a call newer than all that the profile names gives ENOSYS, so that programs fall back.

    Only where the default refuses: libc takes EPERM for a verdict, not for an old kernel.  For the native
    architecture; jumps in BPF are relative, so what follows is not disturbed.
    """
    names = [name for rule in profile.get("syscalls") or [] for name in rule["names"]]
    numbers = [number for name in names if (number := _number(library, name)) is not None and number >= 0]
    if profile["defaultAction"] != "SCMP_ACT_ERRNO" or not numbers:
        return b""
    rows = (
        (_LOAD, 0, 0, 4),  # seccomp_data.arch
        (_JUMP_IF_EQUAL, 0, 3, library.system_arch()),
        (_LOAD, 0, 0, 0),  # seccomp_data.nr
        (_JUMP_IF_ABOVE, 0, 1, max(numbers)),
        (_RETURN, 0, 0, _RETURN_ERRNO | errno.ENOSYS),
    )
    return b"".join(struct.pack("HBBI", *row) for row in rows)


def _library() -> Any:
    try:
        import pyseccomp
    except (ImportError, RuntimeError) as err:
        raise ContainerError(f"linux.seccomp needs libseccomp, which cannot be loaded: {err}") from err
    return pyseccomp


def _flags(profile: Seccomp) -> int:
    """Of a profile that says nothing of them, SPEC_ALLOW: the filter does not turn speculation off, as under runc."""
    if profile.get("flags") is None:
        return prctl.SECCOMP_FILTER_FLAG_SPEC_ALLOW
    flags = 0
    for name in profile.get("flags") or []:
        if name not in FLAGS:
            raise ContainerError(f"seccomp flag {name} is not supported")
        flags |= FLAGS[name]
    return flags


def _listener_flags(profile: Seccomp) -> int:
    """For a profile that asks an agent.  Its write(2) must not wait: we tell the agent's socket through it."""
    asking = [rule for rule in profile.get("syscalls") or [] if rule["action"] == NOTIFY]
    if profile["defaultAction"] == NOTIFY:
        raise ContainerError(f"{NOTIFY} cannot be used as default action")
    if not asking:
        return 0
    if any("write" in rule["names"] for rule in asking):
        raise ContainerError(f"{NOTIFY} cannot be used for the write syscall")
    if not profile.get("listenerPath"):
        raise ContainerError(f"linux.seccomp uses {NOTIFY}, but listenerPath is not set")
    return prctl.SECCOMP_FILTER_FLAG_NEW_LISTENER


def _action(library: Any, name: str, code: int | None) -> Any:
    if name == "SCMP_ACT_ERRNO":
        return library.ERRNO(errno.EPERM if code is None else code)
    if name == "SCMP_ACT_TRACE":
        return library.TRACE(errno.EPERM if code is None else code)
    if name not in ACTIONS:
        raise ContainerError(f"string {name} is not a valid action for seccomp")
    return getattr(library, ACTIONS[name])


def _add_architecture(library: Any, program: Any, name: str) -> None:
    if name not in ARCHITECTURES or not hasattr(library.Arch, ARCHITECTURES[name]):
        raise ContainerError(f"string {name} is not a valid arch for seccomp")
    architecture = getattr(library.Arch, ARCHITECTURES[name])
    if not program.exist_arch(architecture):
        program.add_arch(architecture)


def _add_rule(library: Any, program: Any, rule: Syscall, default: Any) -> None:
    action = _action(library, rule["action"], rule.get("errnoRet"))
    if action == default:
        return  # libseccomp refuses a rule that changes nothing
    for name in rule["names"]:
        number = _number(library, name)
        if number is None:
            continue
        for conditions in _conditions(library, rule):
            program.add_rule(action, number, *conditions)


def _number(library: Any, name: str) -> int | None:
    """None for a call that this libseccomp does not know: the profile is for many versions."""
    try:
        number: int = library.resolve_syscall(library.Arch.NATIVE, name)
    except ValueError:
        return None
    return None if number == -1 else number


def _conditions(library: Any, rule: Syscall) -> list[list[Any]]:
    """Conditions of one rule; several on the same argument are alternatives, as engines mean them."""
    listed = rule.get("args") or []
    made = [_condition(library, arg) for arg in listed]
    indexes = [arg["index"] for arg in listed]
    if len(set(indexes)) == len(indexes):
        return [made]
    return [[condition] for condition in made]


def _condition(library: Any, arg: Any) -> Any:
    operator = arg["op"].removeprefix("SCMP_CMP_")
    if operator not in OPERATORS:
        raise ContainerError(f"string {arg['op']} is not a valid operator for seccomp")
    if operator == "MASKED_EQ":
        return library.Arg(arg["index"], library.MASKED_EQ, arg["value"], arg.get("valueTwo", 0))
    return library.Arg(arg["index"], getattr(library, operator), arg["value"])


def _export(program: Any) -> bytes:
    fd = os.memfd_create("woodfrog-seccomp", os.MFD_CLOEXEC)
    with os.fdopen(fd, "w+b") as stream:
        program.export_bpf(stream)
        stream.seek(0)
        return stream.read()
