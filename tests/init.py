"""The first process of the tests' own pid namespace: runs a command, reaps orphans, passes signals on.

    unshare --pid --fork --mount-proc --kill-child python tests/init.py COMMAND ...

In a namespace of its own, no other process of the machine can take a pid between a dump and a restore, and when
the tests end, the kernel ends whatever they may have left.
Nor do the tests depend on the machine otherwise: they see no configuration of its users, and have terminals and a
/dev/shm of their own, which goes into the images of containers.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

CONFIGURATION = ("/etc/criu", "/etc/woodfrog", "~/.criu", "~/.woodfrog")


def hide_the_machine() -> None:
    """In the mount namespace that --mount-proc has made, which nobody else sees."""
    for path in (*map(os.path.expanduser, CONFIGURATION), "/dev/shm"):
        if os.path.isdir(path):
            subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=1777", "tests", path], check=True)
    options = "newinstance,gid=5,mode=620,ptmxmode=666"  # the numbers of terminals, as pids: nobody else takes one
    subprocess.run(["mount", "-t", "devpts", "-o", options, "tests", "/dev/pts"], check=True)


def place_for_files() -> str:
    """Where tests put their files: on a disk, since a tmpfs that containers see goes into their images."""
    kind = subprocess.run(["stat", "--file-system", "--format=%T", "/tmp"], check=True, capture_output=True, text=True)
    return "/var/tmp" if kind.stdout.strip() == "tmpfs" else "/tmp"


def main() -> int:
    hide_the_machine()
    os.environ.setdefault("TMPDIR", place_for_files())
    child = os.fork()
    if child == 0:
        for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGQUIT):  # as a shell starts it in the foreground:
            signal.signal(number, signal.SIG_DFL)  # interpreters ignore the first, shells the others in the background
        os.execvp(sys.argv[1], sys.argv[1:])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda signo, _: os.kill(child, signo))
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == child:
            return os.waitstatus_to_exitcode(status) & 0xFF


if __name__ == "__main__":
    sys.exit(main())
