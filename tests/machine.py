"""What tests could leave behind on the machine: a look before, a look afterwards, and what has come in between.

Others may work on the same machine: what counts is what stays.  Where any name would do, only those count
that we give.  Over a whole run, which is long, that is not enough: then only what nobody outside of the tests' own
namespaces can touch counts, or everything where nobody else is there (--alone).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

PATIENCE = 60.0
"""seconds in which what others have made may go again"""
_OURS = re.compile(r"woodfrog|wft-|crtools|link_remap")
_PLACES = ("/", "/tmp", "/run", "/var/tmp", "/dev/shm", "/dev/mqueue")

OWN = ("processes", "mounts")
"""kinds that belong to the tests alone, by the namespaces that test.sh gives them"""

Look = dict[str, frozenset[str]]


def look(kinds: Iterable[str] = ()) -> Look:
    """What there is of these kinds, or of all that we look after."""
    return {kind: frozenset(_KINDS[kind]()) for kind in kinds or _KINDS}


def left_behind(before: Look, patience: float = PATIENCE) -> dict[str, list[str]]:
    """What is there now and was not before, and does not go: by kind, those that have something."""
    deadline = time.monotonic() + patience
    left = _new(before)
    while left and time.monotonic() < deadline:
        time.sleep(0.1)
        now = _new(before)
        left = {kind: found for kind in left if (found := left[kind] & now.get(kind, frozenset()))}
    return {kind: sorted(found) for kind, found in left.items()}


def in_own_pid_namespace() -> bool:
    """Whether all processes that there are belong to the tests: see tests/init.py."""
    return "init.py" in Path("/proc/1/cmdline").read_text()


@pytest.fixture(scope="session", autouse=True)
def leaves_nothing(request: pytest.FixtureRequest) -> Iterator[None]:
    """A whole run leaves nothing behind."""
    if os.geteuid() != 0 or not in_own_pid_namespace():
        yield
        return
    before = look(() if request.config.getoption("--alone", default=False) else OWN)
    yield
    left = left_behind(before)
    assert not left, f"the tests have left behind: {left}"


def _new(before: Look) -> Look:
    return {kind: new for kind, found in look(before).items() if (new := found - before[kind])}


def _processes() -> Iterator[str]:
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            command = Path(f"/proc/{name}/cmdline").read_text().replace("\0", " ")
            yield f"{name} {command or Path(f'/proc/{name}/comm').read_text().strip()}"
        except (FileNotFoundError, ProcessLookupError):
            continue


def _mounts() -> Iterator[str]:
    """Without that of network namespaces, which ip(8) and podman make at the first one, for good."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        root, place = line.split()[3:5]
        if place != "/run/netns":
            yield f"{root} {place}"


def _cgroups() -> Iterator[str]:
    for path, directories, _ in os.walk("/sys/fs/cgroup"):
        yield from (os.path.join(path, name) for name in directories if _OURS.search(name))


def _links() -> list[str]:
    return os.listdir("/sys/class/net")


def _network_namespaces() -> list[str]:
    return os.listdir("/run/netns") if os.path.isdir("/run/netns") else []


def _lines(*command: str) -> list[str]:
    """What a program lists, if there is such a program."""
    if shutil.which(command[0]) is None:
        return []
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    return [line for line in done.stdout.splitlines() if not line.startswith(("#", ":"))]


def _rules() -> Iterator[str]:
    yield from _lines("nft", "list", "tables")
    for command in ("iptables-save", "ip6tables-save"):
        yield from (f"{command}: {line}" for line in _lines(command))


def _files() -> Iterator[str]:
    for place in filter(os.path.isdir, _PLACES):
        yield from (os.path.join(place, name) for name in os.listdir(place) if _OURS.search(name))


def _ipc() -> Iterator[str]:
    for kind in ("shm", "sem", "msg"):
        for line in Path("/proc/sysvipc", kind).read_text().splitlines()[1:]:
            yield f"{kind} {line.split()[1]}"


def _huge_pages() -> Iterator[str]:
    for path in Path("/sys/kernel/mm/hugepages").glob("*/nr_hugepages"):
        yield f"{path.parent.name} {path.read_text().strip()}"


def _uprobes() -> Iterable[str]:
    for place in ("/sys/kernel/tracing/uprobe_events", "/sys/kernel/debug/tracing/uprobe_events"):
        if os.path.exists(place):
            return Path(place).read_text().splitlines()
    return []


_KINDS: dict[str, Callable[[], Iterable[str]]] = {
    "processes": _processes,
    "mounts": _mounts,
    "cgroups": _cgroups,
    "links": _links,
    "network namespaces": _network_namespaces,
    "rules": _rules,
    "files": _files,
    "System V objects": _ipc,
    "huge pages": _huge_pages,
    "uprobes": _uprobes,
}
