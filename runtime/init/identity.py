"""Who the process is: ids, groups, capabilities, umask, working directory."""

from __future__ import annotations

import os
import stat

from cr.kernel import capabilities as caps
from cr.kernel import prctl
from runtime.errors import ContainerError, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from oci.types import Capabilities, User

SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")


class CapabilitySets:
    """The five sets as masks, cut to what this process may have; `unavailable` names what was cut."""

    def __init__(self, configured: Capabilities, available: int) -> None:
        wanted: dict[str, list[str]] = {name: configured.get(name) or [] for name in SETS}  # type: ignore[misc]
        names = {name for listed in wanted.values() for name in listed}
        known = {n for n in names if n in caps.NUMBERS and available >> caps.NUMBERS[n] & 1}
        self.unavailable = sorted(names - known)
        masks = {kind: caps.as_set([n for n in listed if n in known]) for kind, listed in wanted.items()}
        self.bounding = masks["bounding"]
        self.permitted = masks["permitted"]
        self.effective = masks["effective"] & self.permitted
        self.inheritable = masks["inheritable"]
        # the kernel takes into the ambient set only what is permitted and inheritable
        self.ambient = masks["ambient"] & self.permitted & self.inheritable
        self.not_ambient = sorted(
            n for n in wanted["ambient"] if n in known and not self.ambient >> caps.NUMBERS[n] & 1
        )


def become_root(groups_allowed: bool) -> None:
    """In another user namespace: be its uid and gid 0, and leave our old groups where that is allowed."""
    try:
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    except OSError as err:
        raise ContainerError(
            "the mappings of the user namespace have no id 0 in the container; map it to set the container up"
        ) from err
    if groups_allowed:
        os.setgroups([])


def setgroups_allowed(pid: int | str) -> bool:
    """Whether setgroups(2) is allowed in the user namespace of a process (user_namespaces(7))."""
    with open(f"/proc/{pid}/setgroups") as stream:
        return stream.read().strip() == "allow"


def set_groups(user: User, allowed: bool) -> None:
    """The supplementary groups; with setgroups denied (a mapping without privileges) there can be none."""
    extra = user.get("additionalGids") or []
    if allowed:
        os.setgroups(extra)
    elif extra:
        raise ContainerError("cannot set any additional groups in a rootless container")


def set_user(user: User, sets: CapabilitySets, groups_allowed: bool) -> None:
    """Drop the bounding set, change the ids, then set the other capability sets (capabilities(7))."""
    _drop_bounding(sets.bounding)
    prctl.set_keep_capabilities(True)
    set_groups(user, groups_allowed)
    uid, gid = user.get("uid", 0), user.get("gid", 0)
    try:
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    except OSError as err:
        raise ContainerError(f"cannot become uid {uid}, gid {gid}: they must be mapped in the user namespace") from err
    prctl.set_keep_capabilities(False)
    caps.capset(sets.effective, sets.permitted, sets.inheritable)
    caps.set_ambient(sets.ambient)


def _drop_bounding(keep: int) -> None:
    try:
        caps.drop_bounding(keep)
    except PermissionError as err:
        raise ContainerError("cannot drop capabilities from the bounding set without CAP_SETPCAP") from err


def change_directory(path: str) -> None:
    """chdir, and be sure that the result lies below our root: a leaked descriptor may lead elsewhere."""
    try:
        os.chdir(path or "/")
    except OSError as err:
        raise ContainerError(f'chdir to cwd ("{path}") set in config.json failed: {reason(err)}') from err
    try:
        os.getcwd()
    except FileNotFoundError as err:
        raise ContainerError(f'cwd "{path}" is outside of the container\'s root') from err


def change_directory_early(path: str) -> bool:
    """Before the capabilities go: the process may stand where its user could not go by itself.

    Where root itself may not (a mount that squashes it), the user tries again.
    """
    try:
        change_directory(path)
    except ContainerError as err:
        if isinstance(err.__cause__, PermissionError):
            return False
        raise
    return True


def home_of(uid: int) -> str:
    """The home directory that the container's /etc/passwd gives a uid, or "/"."""
    try:
        fd = os.open("/etc/passwd", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return "/"
    with os.fdopen(fd, "rb") as stream:
        # a hostile file may be a FIFO, or endless
        text = stream.read(1 << 20) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    for line in text.splitlines():
        fields = line.split(b":")
        if len(fields) >= 6 and fields[2] == str(uid).encode() and fields[5]:
            return os.fsdecode(fields[5])
    return "/"


def find_program(name: str, environment: dict[str, str]) -> str:
    """The program's path, by PATH of the process's own environment.

    Raises ContainerError in the words that engines above us look for.
    """
    if "/" in name:
        _check_program(name, name)
        return name
    for directory in environment.get("PATH", "").split(":"):
        path = os.path.join(directory or ".", name)
        if _is_program(path):
            return path
    raise ContainerError(f'exec: "{name}": executable file not found in $PATH')


def _is_program(path: str) -> bool:
    try:
        info = os.stat(path)
    except OSError:
        return False
    if stat.S_ISDIR(info.st_mode):
        return False
    # the first asks by faccessat2(2), which counts our capabilities, but which many seccomp filters do not know
    return os.access(path, os.X_OK, effective_ids=True) or os.access(path, os.X_OK)


def _check_program(path: str, name: str) -> None:
    try:
        os.stat(path)
    except OSError as err:
        raise ContainerError(f'exec: "{name}": stat {reason(err)}') from err
    if not _is_program(path):
        raise ContainerError(f'exec: "{name}": permission denied')
