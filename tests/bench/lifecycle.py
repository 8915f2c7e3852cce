"""A container's life: create, start and delete of a busybox container, by woodfrog and others that are installed.

Others are runc and crun from PATH, or WOODFROG_TEST_RUNC.  All run in a mount namespace without the cgroup2 mount of
a hybrid layout, which crun refuses.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from oci.spec import default_config

NAME = "lifecycle"
STEPS = ("create", "start", "delete")
HEAD = ("a container's life", "runtime", *STEPS, "sum")
_VIEW = 'umount -l /sys/fs/cgroup/unified 2>/dev/null; exec "$@"'


def runtimes() -> dict[str, list[str]]:
    """{name: command}; ours first."""
    found = {"woodfrog": [str(Path(sys.executable).parent / "woodfrog")]}
    others = {"runc": os.environ.get("WOODFROG_TEST_RUNC") or shutil.which("runc"), "crun": shutil.which("crun")}
    return found | {name: [path] for name, path in others.items() if path}


def make_bundle(place: Path) -> None:
    """A root with busybox alone."""
    busybox = shutil.which("busybox")
    if busybox is None:
        raise RuntimeError("the lifecycle case needs busybox (package busybox-static)")
    (place / "rootfs/bin").mkdir(parents=True)
    shutil.copy(busybox, place / "rootfs/bin/busybox")
    config = default_config()
    config["process"].update(args=["/bin/busybox", "sleep", "1000"], terminal=False, rlimits=[])
    (place / "config.json").write_text(json.dumps(config))


def once(command: list[str], place: Path, name: str) -> list[float]:
    """Seconds of each step."""
    words = [*command, "--root", str(place / "state")]
    took = []
    for step in (["create", name], ["start", name], ["delete", "--force", name]):
        began = time.perf_counter()
        done = subprocess.run(
            [*words, *step],
            cwd=place,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        took.append(time.perf_counter() - began)
        if done.returncode:
            raise RuntimeError(f"{command[0]} {step[0]} failed with status {done.returncode}")
    return took


def measure(runs: int) -> dict[str, list[float]]:
    """{runtime: median seconds of each step}; they take turns, one round before to warm up."""
    samples: dict[str, list[list[float]]] = {name: [] for name in runtimes()}
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        make_bundle(place)
        for number in range(runs + 1):
            for name, command in runtimes().items():
                took = once(command, place, f"bench-{os.getpid()}")
                if number:
                    samples[name].append(took)
    return {name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in samples.items()}


def rows(results: dict[str, list[float]]) -> list[list[str]]:
    """One row a runtime."""
    table = []
    for name, seconds in results.items():
        cells = [f"{value * 1e3:,.1f} ms" for value in (*seconds, sum(seconds))]
        table.append(["" if table else "busybox", name, *cells])
    return table


def measured_apart(runs: int) -> list[list[str]]:
    """The same in a mount namespace of its own, as the rows of a table."""
    command = ["unshare", "--mount", "sh", "-c", _VIEW, "sh", sys.executable, "-m", "tests.bench.lifecycle", str(runs)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return rows(json.loads(done.stdout))


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]))))
