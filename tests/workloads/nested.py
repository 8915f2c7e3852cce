"""A tree with namespaces below its own: a command line that ends in inner.py, run by this process.

nested.py DIRECTORY [contained] [owned] -- COMMAND...
"contained": in a container of its own making, when run in a new mount namespace; "owned": when in a user namespace.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

from lib import DIRECTORY, workload
from portrait import Portrait

ROOT = DIRECTORY / "root"
OPTIONS, COMMAND = sys.argv[2 : sys.argv.index("--")], sys.argv[sys.argv.index("--") + 1 :]
UNLIKE = ("time namespace", "time_for_children namespace")
"""of a tree that has a user namespace of its own: there is a new time namespace for it"""


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def go_into_container() -> None:
    """A root directory with the host's /usr, and a proc, a tmpfs and devices of its own."""
    places = [str(DIRECTORY), os.path.dirname(os.path.abspath(__file__))]
    for name in ("proc", "dev", "usr", "etc", "tmp", "run", "old", *(place.lstrip("/") for place in places)):
        (ROOT / name).mkdir(parents=True, exist_ok=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (ROOT / name).symlink_to(f"usr/{name}")
    mount("--bind", str(ROOT), str(ROOT))
    for place in ("/usr", *places):
        mount("--bind", place, f"{ROOT}{place}")
    os.chdir(ROOT)
    mount("-t", "proc", "-o", "nosuid,nodev,noexec", "proc", "proc")
    mount("-t", "tmpfs", "-o", "mode=755", "dev", "dev")
    for name, number in (("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9), ("tty", 0)):
        os.mknod(f"dev/{name}", 0o20666, os.makedev(5 if name == "tty" else 1, number))
        os.chmod(f"dev/{name}", 0o666)
    os.mkdir("dev/pts")
    mount("-t", "devpts", "-o", "newinstance,ptmxmode=666,mode=620", "devpts", "dev/pts")
    os.symlink("pts/ptmx", "dev/ptmx")
    mount("-t", "tmpfs", "run", "run")
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.pivot_root(b".", b"old") == 0, os.strerror(ctypes.get_errno())
    os.chdir("/")
    subprocess.run(["umount", "-l", "/old"], check=True)
    null = os.open("/dev/null", os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    os.close(null)


with workload() as check:
    if "contained" in OPTIONS:
        os.environ["WORKLOAD_PID"] = os.readlink("/proc/self")
        go_into_container()
    errors = open(DIRECTORY / "errors", "w+b")  # noqa: SIM115 (held over the dump)
    inner = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True)
    assert inner.stdin is not None and inner.stdout is not None
    answer = inner.stdout.readline()
    check.equal(answer, "ready\n", f"what the innermost says ({(DIRECTORY / 'errors').read_text()})")
    before = Portrait()
    (DIRECTORY / "portrait").write_text(repr(before.told))
    check.wait()
    check.failures += Portrait().faults(before, UNLIKE if "owned" in OPTIONS else ())
    print("?", file=inner.stdin, flush=True)
    check.equal(inner.stdout.readline(), "well\n", "what the innermost says")
    inner.stdin.close()
    check.equal(inner.wait(10), 0, "the status of the innermost")
