"""For workloads in a mount namespace of their own: a small root, laid out, mounted into, and then entered."""

from __future__ import annotations

import os
import subprocess

from lib import DIRECTORY

ROOT = DIRECTORY / "root"


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def lay_out(*names: str) -> None:
    """What every program needs, and empty directories of these names; the current directory is the root afterwards."""
    for name in ("proc", "usr", "old", "dev", *names, str(DIRECTORY).lstrip("/")):
        (ROOT / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64"):
        (ROOT / name).symlink_to(f"usr/{name}")
    mount("--bind", str(ROOT), str(ROOT))
    os.chdir(ROOT)
    mount("--bind", "/usr", "usr")
    mount("--bind", str(DIRECTORY), str(DIRECTORY).lstrip("/"))
    mount("-t", "proc", "proc", "proc")
    mount("-t", "tmpfs", "-o", "size=1m", "dev", "dev")
    os.mknod("dev/null", 0o20666, os.makedev(1, 3))


def enter() -> None:
    """Nothing of the old root stays: no mount, and no descriptor of the first three."""
    subprocess.run(["pivot_root", ".", "old"], check=True)
    os.chdir("/")
    subprocess.run(["umount", "-l", "/old"], check=True)
    null = os.open("/dev/null", os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    os.close(null)
