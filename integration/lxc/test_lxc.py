"""lxc-checkpoint, with this engine in the place of criu."""

from __future__ import annotations

import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration import shims
from integration.containers import PATIENCE, PROJECT, wait_for
from integration.counting.container import COUNTER
from integration.podman.engine import write_image

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300)]

CONFIGURATION = """\
lxc.uts.name = {name}
lxc.rootfs.path = dir:{place}/root
lxc.net.0.type = empty
lxc.tty.max = 0
lxc.pty.max = 1024
lxc.console.path = none
lxc.autodev = 1
lxc.mount.auto = proc:mixed sys:ro
lxc.init.cmd = /bin/bash /counter.sh
lxc.apparmor.profile = unconfined
"""


class Lxc:
    """A container that counts.  As a context it leaves nothing behind."""

    def __init__(self, place: Path) -> None:
        self.place, self.name = place, f"frog{os.getpid()}"
        self.programs = Path(shims.binary("WOODFROG_TEST_LXC", "lxc-checkpoint of LXC 5")).parent
        self.environment = shims.environment(PROJECT / ".pytest_cache" / "shim")
        (place / "root").mkdir()
        write_image(place / "image.tar")
        with tarfile.open(place / "image.tar") as tar:
            tar.extractall(place / "root")
        (place / "root" / "counter.sh").write_text(COUNTER)
        (place / self.name).mkdir()
        (place / self.name / "config").write_text(CONFIGURATION.format(name=self.name, place=place))

    def __call__(self, program: str, *words: str) -> str:
        """The output of one of LXC's programs, which must succeed."""
        command = [str(self.programs / program), "-P", str(self.place), "-n", self.name, *words]
        with (self.place / "output").open("w+") as output:  # a monitor that stays would keep a pipe open
            done = subprocess.run(
                command, env=self.environment, stdin=-3, stdout=output, stderr=output, check=False, timeout=PATIENCE
            )
            output.seek(0)
            said = output.read()
        logs = [path.read_text(errors="replace") for path in self.place.glob("images/*.log")]
        errors = [line for text in logs for line in text.splitlines() if "Error" in line]
        assert done.returncode == 0, "\n".join([*command, said, *errors])
        return said

    def __enter__(self) -> Lxc:
        self("lxc-start", "-d")
        self.goes_on(beyond=2)
        return self

    def __exit__(self, *error: object) -> None:
        if self.state() == "RUNNING":
            self("lxc-stop", "-k")
        wait_for(lambda: self.state() == "STOPPED", "the container to end")

    def state(self) -> str:
        return self("lxc-info", "-s", "-H").strip()

    def count(self) -> int:
        try:
            return int((self.place / "root" / "data" / "count").read_text())
        except FileNotFoundError:
            return 0

    def goes_on(self, beyond: int) -> None:
        """It counts beyond a number, and has never started anew."""
        wait_for(lambda: self.count() > beyond, f"the container to count beyond {beyond}")
        assert (self.place / "root" / "data" / "starts").read_text().split() == ["start"]


@pytest.fixture
def lxc(tmp_path: Path) -> Iterator[Lxc]:
    with Lxc(tmp_path) as container:
        yield container


def test_stopped_and_restored_twice(lxc: Lxc) -> None:
    for number in (1, 2):
        images = str(lxc.place / "images" / str(number))
        (lxc.place / "images").mkdir(exist_ok=True)
        lxc("lxc-checkpoint", "-D", images, "-s")
        wait_for(lambda: lxc.state() == "STOPPED", "the container to be gone")
        before = lxc.count()
        lxc("lxc-checkpoint", "-D", images, "-r", "-d")
        lxc.goes_on(before)
        assert lxc.state() == "RUNNING"


def test_a_snapshot_of_a_container_that_runs_on(lxc: Lxc) -> None:
    lxc("lxc-checkpoint", "-D", str(lxc.place / "images"))
    lxc.goes_on(lxc.count())
    assert lxc.state() == "RUNNING"
