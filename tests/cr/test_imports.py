"""What a dump imports: its start is most of the time that a small one takes."""

from __future__ import annotations

import subprocess
import sys

HEAVY = [
    "inspect",
    "ipaddress",
    "json",
    "pathlib",
    "datetime",
    "uuid",
    "pyroute2",
    "jsonschema",
    "yaml",
    "rich",
    "tarfile",
    "cgroups",
    "netns.state",
]


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    script = (
        "import sys, images; images.lean = True  # as a command does\n"
        "from cr.dump.preload import preload; preload(); import cr.restore.flow\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
