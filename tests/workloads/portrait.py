"""A whole tree of processes as it can be seen from its root, so that it can be compared with what it was before.

Inodes of namespaces and ids of mounts are counted in the order of their appearance.
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
from pathlib import Path

KINDS = ("user", "pid", "pid_for_children", "net", "ipc", "uts", "mnt", "cgroup", "time", "time_for_children")
LINES = (
    "Name", "Uid", "Gid", "Groups", "Threads", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs",
    "Seccomp",
)  # fmt: skip
IDS = ("NSpid", "NStgid", "NSpgid", "NSsid")
NS_GET_USERNS, NS_GET_PARENT, NS_GET_OWNER_UID = 0xB701, 0xB702, 0xB704


def ids(place: str, name: str) -> list[str]:
    """NSpid or the like of a process or thread."""
    for line in Path(f"/proc/{place}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return line.split()[1:]
    raise LookupError(name)


class Portrait:
    """Everything that is to be the same again, by pid."""

    def __init__(self, root: int | str = "self") -> None:
        self._numbers: dict[int, str] = {}
        self.told: dict[str, dict[str, object]] = {}
        waiting = [os.readlink("/proc/self") if root == "self" else str(root)]
        self._level = len(ids(waiting[0], "NSpid")) - 1  # /proc may be that of an outer pid namespace
        for pid in waiting:
            self.told[ids(pid, "NSpid")[self._level]] = self._process(pid)
            for task in sorted(os.listdir(f"/proc/{pid}/task"), key=int):
                waiting += Path(f"/proc/{pid}/task/{task}/children").read_text().split()

    def _process(self, pid: str) -> dict[str, object]:
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        found: dict[str, object] = {name: fields[name].split() for name in LINES if name in fields}
        found |= {name: fields[name].split()[self._level :] for name in IDS}
        if fields["State"].split()[0] == "Z":
            return {"zombie": (found["NSpid"], fields["Name"].strip())}
        found["parent"] = ids(fields["PPid"].strip(), "NSpid")[self._level :] if fields["PPid"].strip() != "0" else []
        tasks = sorted(os.listdir(f"/proc/{pid}/task"), key=int)
        found["threads"] = sorted(ids(f"{pid}/task/{tid}", "NSpid")[self._level :] for tid in tasks)
        for kind in KINDS:
            found[f"{kind} namespace"] = self._namespace(f"/proc/{pid}/ns/{kind}")
        for name in ("uid_map", "gid_map", "setgroups"):
            found[name] = Path(f"/proc/{pid}/{name}").read_text().split()
        found["mounts"] = mounts(pid)
        return found

    def _namespace(self, path: str) -> object:
        """(number, those of the user namespaces that it belongs to, the innermost first, each with its owner's uid)"""
        fd = os.open(path, os.O_RDONLY)
        try:
            return self._number(fd), self._owners(fd, "user" in path)
        finally:
            os.close(fd)

    def _owners(self, fd: int, is_user: bool) -> list[object]:
        found: list[object] = []
        here = os.dup(fd)
        while True:
            if is_user:
                found.append((self._number(here), struct.unpack("I", fcntl.ioctl(here, NS_GET_OWNER_UID, bytes(4)))[0]))
            try:
                above = fcntl.ioctl(here, NS_GET_PARENT if is_user else NS_GET_USERNS)
            except PermissionError:
                break
            os.close(here)
            here, is_user = above, True
        os.close(here)
        return found

    def _number(self, fd: int) -> str:
        return self._numbers.setdefault(os.fstat(fd).st_ino, f"#{len(self._numbers)}")

    def faults(self, before: Portrait, unlike: tuple[str, ...] = ()) -> list[str]:
        """What is different now, but for what is `unlike`."""
        found = [f"{pid} is new" for pid in self.told.keys() - before.told.keys()]
        for pid, old in before.told.items():
            new = self.told.get(pid)
            if new is None:
                found.append(f"{pid} is gone")
                continue
            found += [
                f"{pid}: {name} is {new.get(name)!r} instead of {old.get(name)!r}"
                for name in old | new
                if new.get(name) != old.get(name) and name not in unlike
            ]
        return found


def mounts(pid: str) -> list[tuple[object, ...]]:
    """The mounts that a process sees, without anything that is counted anew."""
    lines = [line.split(" - ") for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]
    points = {left.split()[0]: left.split()[4] for left, _ in lines}
    groups: dict[str, str] = {}
    found: list[tuple[object, ...]] = []
    for left, right in sorted(lines, key=lambda line: (line[0].split()[4], line[0].split()[3], line[1])):
        _, parent, _, root, point, options, *tags = left.split()
        named = [(kind, groups.setdefault(number, point)) for kind, _, number in (tag.partition(":") for tag in tags)]
        found.append((point, root, points.get(parent), options, re.sub(r"pipe_ino=\d+", "", right), sorted(named)))
    return found
