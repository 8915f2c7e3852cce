"""The end of the way: rlimits are set, now become the user's process.  Shared by create, run and exec."""

from __future__ import annotations

import os
import signal
import stat

from cr.kernel import keys, prctl
from runtime.errors import ContainerError, reason
from runtime.init.identity import (
    CapabilitySets,
    change_directory,
    change_directory_early,
    find_program,
    home_of,
    set_user,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from oci.types import Process
    from runtime.attributes import Attributes
    from runtime.init.channel import Channel

DEFAULT_UMASK = 0o022
_KEY_SEARCH = 0x00080000


class ProcessPlan:
    """What a process becomes; all of it is prepared before the fork."""

    def __init__(self, process: Process, sets: CapabilitySets, preserve_fds: int, attributes: Attributes) -> None:
        self.process = process
        self.attributes = attributes
        self.sets = sets
        self.preserve_fds = preserve_fds
        self.seccomp: tuple[bytes, int] | None = None
        self.relayed = False  # its terminal is copied by our own command
        self.listens = False  # the filter asks an agent (SCMP_ACT_NOTIFY)
        self.groups_allowed = True
        self.environment = dict(entry.partition("=")[::2] for entry in process.get("env") or [])


def new_keyring(container: str) -> None:
    """A session keyring of our own; a kernel or a sandbox without keyrings does without."""
    try:
        key = keys.join_session_keyring(f"_ses.{container}")
        keys.set_key_permissions(key, 0x3F3F0000 | _KEY_SEARCH)
    except OSError as err:
        if err.errno not in (1, 13, 38):  # EPERM, EACCES, ENOSYS
            raise ContainerError(f"cannot make a session keyring ({reason(err)}); use --no-new-keyring") from err


def reset_signals() -> None:
    """Handlers of the parent go, and so do SIGPIPE and SIGXFSZ, which the interpreter ignores."""
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)


def own_dev_null() -> None:
    """Where stdio is the host's /dev/null, use the container's, so that no host file stays open."""
    null = os.makedev(1, 3)
    for fd in (0, 1, 2):
        try:
            info = os.fstat(fd)
        except OSError:
            continue  # the caller gave us no such descriptor
        if stat.S_ISCHR(info.st_mode) and info.st_rdev == null:
            _replace_null(fd)


def _replace_null(fd: int) -> None:
    try:
        own = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return  # a container without /dev/null keeps the host's
    if os.fstat(own).st_rdev == os.makedev(1, 3):
        os.dup2(own, fd)
    os.close(own)


def own_stdio(uid: int) -> None:
    """Give pipes and sockets of stdio to the process's user, so that it can open /dev/stdout again."""
    for fd in (0, 1, 2):
        try:
            info = os.fstat(fd)
            if info.st_uid != uid and not (stat.S_ISCHR(info.st_mode) or stat.S_ISREG(info.st_mode)):
                os.fchown(fd, uid, -1)
        except OSError:
            continue  # not ours to give, or read-only


def become(plan: ProcessPlan, channel: Channel) -> str:
    """Take on the identity of the process; the path of its program.

    Descriptors beyond stdio and the preserved ones become close-on-exec.  A filter without no_new_privs
    must be loaded while we still have CAP_SYS_ADMIN; with it, as late as possible (`last_step`).
    """
    process = plan.process
    user = process.get("user") or {"uid": 0, "gid": 0}
    prctl.close_range_on_exec(3 + plan.preserve_fds)
    own_stdio(user["uid"])
    plan.attributes.set_own()
    there = change_directory_early(process.get("cwd", "/"))
    if process.get("noNewPrivileges"):
        prctl.set_no_new_privs()
    else:
        load_filter(plan, channel)
    set_user(user, plan.sets, plan.groups_allowed)
    os.umask(user.get("umask", DEFAULT_UMASK))
    if not there:
        change_directory(process.get("cwd", "/"))
    if not plan.environment.get("HOME"):
        plan.environment["HOME"] = home_of(user["uid"])
    args = process.get("args") or []
    program = find_program(args[0], plan.environment)
    if plan.listens:
        seal(plan, channel)  # the parent hands the listener over; after the start there is none
    if plan.attributes.scheduled:
        channel.ask("schedule")
    return program


def seal(plan: ProcessPlan, channel: Channel) -> None:
    """Load the filter of a process with no_new_privs; without it `become` has done so."""
    if plan.process.get("noNewPrivileges"):
        load_filter(plan, channel)


def load_filter(plan: ProcessPlan, channel: Channel) -> None:
    """Load the seccomp filter, once; the parent takes its listener, if it has one, from us (pidfd_getfd(2))."""
    if plan.seccomp is None:
        return
    program, flags = plan.seccomp
    plan.seccomp = None
    listener = prctl.load_seccomp_filter(program, flags)
    if plan.listens:
        channel.ask("listener", fd=listener)


def last_step(plan: ProcessPlan, program: str) -> None:
    """exec.  Raises ContainerError if it fails."""
    args = plan.process.get("args") or []
    try:
        os.execve(program, args, plan.environment)
    except OSError as err:
        raise ContainerError(f"exec {program}: {os.strerror(err.errno or 0).lower()}") from err
