"""The first process of the tests' own pid namespace: runs a command, reaps orphans, passes signals on.

    unshare --pid --fork --mount-proc --kill-child python tests/init.py COMMAND ...

In a namespace of its own, no other process of the machine can take a pid between a dump and a restore, and when
the tests end, the kernel ends whatever they may have left.
"""

from __future__ import annotations

import os
import signal
import sys


def main() -> int:
    child = os.fork()
    if child == 0:
        os.execvp(sys.argv[1], sys.argv[1:])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda signo, _: os.kill(child, signo))
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == child:
            return os.waitstatus_to_exitcode(status) & 0xFF


if __name__ == "__main__":
    sys.exit(main())
