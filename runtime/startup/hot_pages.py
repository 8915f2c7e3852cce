"""Which pages of a program with a snapshot a dump touches while tasks are frozen: tried once, noted at its end.

The list is behind the last segment of the file: (address, number of pages) of each run, their number, a magic word.
"""

from __future__ import annotations

import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

from cr.kernel import proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_RUN, _TAIL = struct.Struct("<QQ"), struct.Struct("<Q8s")
_MAGIC = b"HotPages"
_PAGE = 4096
_PRESENT, _OF_FILE, _OURS_ALONE = 1 << 63, 1 << 61, 1 << 56
"""bits of /proc/PID/pagemap (Documentation/admin-guide/mm/pagemap.rst)"""
_PATIENCE = 20.0
_TARGET = "import signal, sys; print(flush=True); signal.pause()"
# Stops the dump right before the freeze, and when all is done but the tasks have not been let go.
_SCRIPT = """#!/bin/sh
case $CRTOOLS_SCRIPT_ACTION in pre-dump|post-dump) ;; *) exit 0 ;; esac
: > "$0.$CRTOOLS_SCRIPT_ACTION"
while [ -e "$0.$CRTOOLS_SCRIPT_ACTION" ]; do sleep 0.01; done
"""


def known() -> list[tuple[int, int]]:
    """Those of the program that is running."""
    fd = os.open("/proc/self/exe", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return read(fd)
    finally:
        os.close(fd)


def read(fd: int) -> list[tuple[int, int]]:
    """(address, number of pages) of each run that a program notes; none where it notes nothing."""
    end = max(0, os.fstat(fd).st_size - _TAIL.size)
    tail = os.pread(fd, _TAIL.size, end)
    if not tail.endswith(_MAGIC) or len(tail) < _TAIL.size:
        return []
    count, _ = _TAIL.unpack(tail)
    return list(_RUN.iter_unpack(os.pread(fd, count * _RUN.size, end - count * _RUN.size)))


def note(path: str, pages: list[int]) -> None:
    """Write the list of these addresses to the end of a program."""
    runs = list(_runs(pages))
    with open(path, "ab") as file:
        file.write(b"".join(_RUN.pack(*run) for run in runs) + _TAIL.pack(len(runs), _MAGIC))


def _runs(pages: list[int]) -> Iterator[tuple[int, int]]:
    start, count = 0, 0
    for page in pages:
        if count and page == start + count * _PAGE:
            count += 1
            continue
        if count:
            yield start, count
        start, count = page, 1
    if count:
        yield start, count


def find(program: str) -> list[int]:
    """Addresses of the pages, in order; none where nobody may dump here."""
    if os.geteuid():
        return []
    directory = tempfile.mkdtemp(prefix="woodfrog-startup-")
    target = subprocess.Popen(
        [sys.executable, "-c", _TARGET], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        assert target.stdout is not None
        target.stdout.readline()
        return _watch(program, target.pid, directory)
    finally:
        target.kill()
        target.communicate()
        shutil.rmtree(directory)


def _watch(program: str, target: int, directory: str) -> list[int]:
    script = os.path.join(directory, "script")
    with open(script, "w") as file:
        file.write(_SCRIPT)
    os.chmod(script, 0o700)
    words = ["woodfrog-criu", "dump", "-t", str(target), "-D", directory, "-o", "log", "--action-script", script]
    null = subprocess.DEVNULL  # where nobody may dump there is no such list, and nothing to say
    dump = subprocess.Popen([*words, "--no-default-config"], executable=program, stdin=null, stderr=null, env={})
    try:
        before = _alone_at(f"{script}.pre-dump", dump)
        after = _alone_at(f"{script}.post-dump", dump)
        dump.wait(_PATIENCE)
        return sorted(after - before)
    finally:
        if dump.poll() is None:
            dump.send_signal(signal.SIGTERM)
            dump.wait(_PATIENCE)


def _alone_at(mark: str, dump: subprocess.Popen[bytes]) -> set[int]:
    """Pages that only the process that dumps has, when the script makes that mark; nothing if it never does."""
    deadline = time.monotonic() + _PATIENCE
    while not os.path.exists(mark):
        if dump.poll() is not None or time.monotonic() > deadline:
            return set()
        time.sleep(0.01)
    program = os.stat(f"/proc/{dump.pid}/exe")
    found: set[int] = set()
    for child in proc.children(dump.pid):
        if os.path.samestat(os.stat(f"/proc/{child}/exe"), program):
            found |= _alone(child)
    os.unlink(mark)
    return found


def _alone(pid: int) -> set[int]:
    found = set()
    own = os.readlink(f"/proc/{pid}/exe")
    with open(f"/proc/{pid}/pagemap", "rb", buffering=0) as pagemap:
        for mapping in proc.plain_mappings(pid):
            if mapping.path != own or "w" not in mapping.perms:
                continue
            content = os.pread(pagemap.fileno(), (mapping.end - mapping.start) // _PAGE * 8, mapping.start // _PAGE * 8)
            for index, (entry,) in enumerate(struct.iter_unpack("<Q", content)):
                if entry & _PRESENT and entry & _OURS_ALONE and not entry & _OF_FILE:
                    found.add(mapping.start + index * _PAGE)
    return found
