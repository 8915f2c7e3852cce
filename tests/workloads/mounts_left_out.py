"""In a mount namespace of its own: a filesystem that only --enable-fs restores, and one that is to be left out."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from lib import DIRECTORY, workload

ROOT = DIRECTORY / "root"


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def types() -> dict[str, str]:
    """Mountpoint -> type of what is mounted there."""
    lines = [line.split(" - ") for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return {left.split()[4]: right.split()[0] for left, right in lines}


with workload() as check:
    os.environ["WORKLOAD_PID"] = os.readlink("/proc/self")
    for name in ("proc", "usr", "odd", "aside", "old", "dev", str(DIRECTORY).lstrip("/")):
        (ROOT / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64"):
        (ROOT / name).symlink_to(f"usr/{name}")
    mount("--bind", str(ROOT), str(ROOT))
    os.chdir(ROOT)
    mount("--bind", "/usr", "usr")
    mount("--bind", str(DIRECTORY), str(DIRECTORY).lstrip("/"))
    mount("-t", "proc", "proc", "proc")
    mount("-t", "ramfs", "odd", "odd")
    mount("-t", "tmpfs", "aside", "aside")
    mount("-t", "tmpfs", "-o", "size=1m", "dev", "dev")
    os.mkdir("aside/below")
    mount("-t", "tmpfs", "aside", "aside/below")
    os.mknod("dev/null", 0o20666, os.makedev(1, 3))
    subprocess.run(["pivot_root", ".", "old"], check=True)
    os.chdir("/")
    subprocess.run(["umount", "-l", "/old"], check=True)
    null = os.open("/dev/null", os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    os.close(null)
    check.wait()
    found = types()
    check.equal(found.get("/odd"), "ramfs", "what --enable-fs mounts")
    check.equal([point for point in found if point.startswith("/aside")], [], "what --skip-mnt leaves out")
