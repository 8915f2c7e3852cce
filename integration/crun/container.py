"""Containers of crun, whose libcriu starts this engine where it looks for criu."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from integration import shims
from integration.containers import PROJECT
from integration.counting.container import CountingContainer

_UNIFIED = "/sys/fs/cgroup/unified"
_ALONE = ["unshare", "--mount", "sh", "-c", f'umount {_UNIFIED} && exec "$@"', "sh"]
"""crun refuses a hybrid layout of cgroups; without the part that is v2 it is one that it knows"""


class CrunContainer(CountingContainer):
    """A container of crun's.  `WOODFROG_TEST_CRUN` is one that was built with CRIU support and finds libcriu.so.2."""

    def __init__(self, place: Path, name: str, args: Sequence[str] = ()) -> None:
        super().__init__(place, name, args)
        crun = shims.binary("WOODFROG_TEST_CRUN", "crun 1.8 or newer, with CRIU support (LD_LIBRARY_PATH: libcriu)")
        self.runtime = [*(_ALONE if os.path.ismount(_UNIFIED) else []), crun]
        self.environment = shims.environment(PROJECT / ".pytest_cache" / "shim")

    def pids(self) -> list[int]:
        """By crun; the verb knows no other form than its own."""
        command = [*self.runtime, "--root", str(self.place / "state"), "ps", "--format", "json", self.name]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True, timeout=60)
        return [int(word) for word in json.loads(done.stdout)]
