"""podman with storage, network and state of its own, a runtime of our choice, and this engine in the place of criu."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from integration import shims
from integration.containers import PATIENCE, PROJECT, wait_for
from integration.counting.container import COUNTER

PROGRAMS = ("/bin/bash", "/bin/mv", "/bin/cat", "/bin/mkfifo", "/bin/ls", "/bin/stty")
PLACES = ("bin", "lib", "lib64", "etc", "dev", "proc", "sys", "tmp", "data", "run", "var", "usr")
CGROUPS = Path("/sys/fs/cgroup")
IMAGE = "localhost/woodfrog/counter"
CONFIGURATION = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[network]
network_backend = "cni"
cni_plugin_dirs = ["/usr/lib/cni", "/opt/cni/bin"]
network_config_dir = "{place}/cni"
default_network = "{network}"
"""


class Podman:
    """One installation below `place`, whose path must be short.  As a context it leaves nothing behind."""

    def __init__(self, place: Path, runtime: str, *options: str) -> None:
        self.place = place
        self.network = f"frog{os.getpid()}"
        (place / "cni").mkdir()
        (place / "cni" / "frog.conflist").write_text(json.dumps(self._network()))
        (place / "conf").write_text(CONFIGURATION.format(place=place, network=self.network))
        self.environment = {
            **shims.environment(PROJECT / ".pytest_cache" / "shim"),
            "CONTAINERS_CONF": str(place / "conf"),
        }
        self.command = [shims.binary("WOODFROG_TEST_PODMAN", "podman 4"), "--runtime", runtime, *options]
        for option, value in (("root", "storage"), ("runroot", "run"), ("tmpdir", "tmp")):
            self.command += [f"--{option}", str(place / value)]
        self.command += ["--cgroup-manager", "cgroupfs", "--storage-driver", "overlay"]

    def _network(self) -> Any:
        """A bridge of its own, the numbers of which nobody else uses."""
        ranges = [[{"subnet": f"{self.address(0)}/24", "gateway": self.address(1)}]]
        ipam = {"type": "host-local", "dataDir": str(self.place / "addresses"), "ranges": ranges}
        bridge = {"type": "bridge", "bridge": self.network, "isGateway": True, "ipMasq": False, "ipam": ipam}
        return {"cniVersion": "0.4.0", "name": self.network, "plugins": [bridge]}

    @staticmethod
    def address(number: int) -> str:
        """An address of the bridge's network."""
        return f"10.217.{os.getpid() % 250}.{number}"

    def __enter__(self) -> Self:
        tar = self.place / "image.tar"
        write_image(tar)
        self("import", str(tar), IMAGE)
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self.clean()
            wait_for(lambda: not self._processes(), "conmon and podman to end")
        finally:
            self._forget_cgroups()
            subprocess.run(["ip", "link", "delete", self.network], capture_output=True, check=False)
            for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
                if (mount := line.split()[4]).startswith(str(self.place)):
                    subprocess.run(["umount", "--lazy", mount], check=True)

    def _forget_cgroups(self) -> None:
        """podman leaves its cgroups; and directories, with files in them, where the host mounts no hierarchy."""
        for path in CGROUPS.iterdir():
            if not path.is_mount():
                shutil.rmtree(path / "libpod_parent", ignore_errors=True)
            for place in (path / "libpod_parent/conmon", path / "libpod_parent", path):
                with contextlib.suppress(OSError):  # there is none, or others are in it
                    place.rmdir()

    def clean(self) -> None:
        """All containers go, and their volumes."""
        self("rm", "--force", "--all", "--volumes", "--time", "0")

    def _processes(self) -> list[str]:
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                found += [str(path)] if str(self.place).encode() in path.read_bytes() else []
        return found

    def attempt(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """A command, which may fail."""
        options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "timeout": PATIENCE, **more}
        command = [*self.command, *words]
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False, cwd=self.place, **options
        )

    def __call__(self, *words: str, **more: Any) -> str:
        """The output of a command, which must succeed."""
        done = self.attempt(*words, **more)
        assert done.returncode == 0, f"{' '.join(done.args)}: {done.stderr}{done.stdout}{self.logs()}"
        return str(done.stdout).strip()

    def root_of(self, name: str) -> Path:
        """A container's root, seen from the host."""
        return Path(self("inspect", "--format", "{{.GraphDriver.Data.MergedDir}}", name))

    def logs(self) -> str:
        """What the engine's logs say of errors."""
        texts = [path.read_text(errors="replace") for path in self.place.glob("**/userdata/*.log")]
        return "\n".join(line for text in texts for line in text.splitlines() if "Error" in line or "Warn" in line)


class Counter:
    """A container of podman's that counts, in its own memory and in a file of its root."""

    def __init__(self, podman: Podman, name: str, *options: str, network: str = "none") -> None:
        self.podman, self.name = podman, name
        podman("run", "--detach", "--name", name, "--network", network, *options, IMAGE, "/bin/bash", "-c", COUNTER)
        self.goes_on(beyond=2)

    def root(self, name: str = "") -> Path:
        """The container's root, seen from the host."""
        return self.podman.root_of(name or self.name)

    def count(self, name: str = "") -> int:
        return self._number(self.root(name))

    def _number(self, root: Path) -> int:
        try:
            return int((root / "data" / "count").read_text())
        except FileNotFoundError:
            return 0

    def goes_on(self, beyond: int, name: str = "") -> None:
        """It counts beyond a number, and has never started anew."""
        root = self.root(name)
        wait_for(lambda: self._number(root) > beyond, f"the container to count beyond {beyond}")
        assert (root / "data" / "starts").read_text().split() == ["start"]

    def running(self) -> bool:
        return self.podman("inspect", "--format", "{{.State.Running}}", self.name) == "true"


def write_image(path: Path) -> None:
    """A tar of a root file system with bash and a few programs of the host."""
    with tarfile.open(path, "w", dereference=True) as tar:
        for place in PLACES:
            directory = tarfile.TarInfo(place)
            directory.type, directory.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(directory)
        for file in sorted({*PROGRAMS, *libraries(PROGRAMS)}):
            tar.add(file, file.lstrip("/"))


def libraries(programs: Sequence[str]) -> list[str]:
    """Paths of the shared libraries of programs."""
    listed = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=True).stdout
    return re.findall(r"\s(/\S+) \(", listed)
