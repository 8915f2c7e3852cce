"""In a mount namespace of its own: a filesystem that only --enable-fs restores, and one that is to be left out.

With an argument, that block device is mounted where the first one is otherwise.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from lib import workload
from own_root import enter, lay_out, mount


def types() -> dict[str, str]:
    """Mountpoint -> type of what is mounted there."""
    lines = [line.split(" - ") for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return {left.split()[4]: right.split()[0] for left, right in lines}


device = sys.argv[2] if len(sys.argv) > 2 else ""
with workload() as check:
    os.environ["WORKLOAD_PID"] = os.readlink("/proc/self")
    lay_out("odd", "aside")
    if device:
        mount("-t", "ext2", device, "odd")
        Path("odd/file").write_text("on the device")
    else:
        mount("-t", "ramfs", "odd", "odd")
    mount("-t", "tmpfs", "aside", "aside")
    os.mkdir("aside/below")
    mount("-t", "tmpfs", "aside", "aside/below")
    enter()
    held = open("/odd/file") if device else None  # noqa: SIM115 (held over the dump)
    before = types()["/odd"]
    check.wait()
    found = types()
    check.equal(found.get("/odd"), before, "what is mounted on /odd")
    check.that(held is None or held.read() == "on the device", "the file on the device")
    check.equal([point for point in found if point.startswith("/aside")], [], "what --skip-mnt leaves out")
