"""A container engine inside of a container: frozen and thawed as a whole, from outside."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path

import pytest

from cr.kernel.capabilities import NAMES
from tests.runtime.bundle import ROOT, Bundle, wait_for
from tests.runtime.freezing import checkpoint, restore

pytestmark = pytest.mark.root

COUNTING = """
import os, time
os.fork()
number = 0
while True:
    number += 1
    with open(f"/tmp/next{os.getpid()}", "w") as file:
        file.write(str(number))
    os.rename(f"/tmp/next{os.getpid()}", f"/tmp/count{os.getpid()}")
    time.sleep(0.03)
"""
INNER = "inner"


class Privileged(Bundle):
    """It may do what the host may, in namespaces of its own, and has another container in it, made by `engine`."""

    def __init__(self, path: Path, engine: str) -> None:
        super().__init__(path)
        self.inner = self.rootfs / "inner"
        capabilities = [name for name in NAMES if name != "CAP_SYS_RESOURCE"]
        self.config["process"]["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), capabilities)
        self.config["root"]["readonly"] = False
        linux = self.config["linux"]
        linux["maskedPaths"] = linux["readonlyPaths"] = []
        linux["resources"] = {"devices": [{"allow": True, "access": "rwm"}]}
        for mount in self.config["mounts"]:
            if mount["destination"].startswith("/sys"):
                mount["options"].remove("ro")
        self.config["mounts"].append({"destination": str(ROOT), "source": str(ROOT), "options": ["rbind", "ro"]})
        self._lay_inner()
        self.shell(
            f"cd /inner && {engine} run -d {INNER} </dev/null >out 2>&1; echo up; while :; do sleep 1000 & wait; done"
        )

    def _lay_inner(self) -> None:
        inside = Bundle(self.path / "prepared")
        inside.config["process"]["args"] = ["/usr/bin/python3", "-c", COUNTING]
        inside.config["root"]["readonly"] = False
        inside.config["linux"]["cgroupsPath"] = f"/{INNER}"
        inside.save()
        inside.path.rename(self.inner)

    def counts(self) -> dict[str, int]:
        """How far each process of the inner container has come."""
        return {path.name: int(path.read_text()) for path in (self.inner / "rootfs/tmp").glob("count*")}

    def goes_on(self) -> dict[str, int]:
        before = self.counts()
        wait_for(lambda: all(self.counts()[name] > before[name] for name in before), "all of them to count")
        return before


def program(engine: str) -> str:
    """Our own, or the runc that is named, as a shell takes it."""
    if engine == "woodfrog":
        return shlex.join(["env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "runtime.main"])
    path = os.environ.get("WOODFROG_TEST_RUNC")
    if not path:
        pytest.skip("needs WOODFROG_TEST_RUNC: the path of runc 1.1 or newer")
    return path


@pytest.mark.parametrize("engine", ["woodfrog", "runc"])
def test_an_engine_with_its_container(engine: str, tmp_path: Path) -> None:
    with Privileged(tmp_path, program(engine)) as outer:
        outer.detached("run", "-d", outer.id)
        wait_for(lambda: "up" in outer.output(), "the inner container")
        assert not (outer.inner / "out").read_text()
        wait_for(lambda: len(outer.counts()) == 2, "both of its processes")
        for _ in range(2):
            checkpoint(outer)
            stood = outer.counts()
            restore(outer)
            after = outer.goes_on()
            assert after.keys() == stood.keys()
            assert all(after[name] >= stood[name] for name in stood)
        assert json.loads(outer.ok("ps", "--format", "json", outer.id))
