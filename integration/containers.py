"""Containers of real programs for the end-to-end tests: made, frozen and thawed by the `woodfrog` command.

A container's root is an overlay over the host's own root, so a program of a Debian package is in it with all that
it needs.  The upper layer is in a tmpfs of the container's own; /data in the container is for its test.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from oci.spec import default_config

PATIENCE = 60.0
PROJECT = Path(__file__).resolve().parent.parent
# the programs as users start them: test.sh has replaced those of pip by such with a startup snapshot
WOODFROG = [str(Path(sys.executable).parent / "woodfrog")]
ENGINE = [str(Path(sys.executable).parent / "woodfrog-criu")]
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
WORK = "/data"
CAPABILITIES = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SETGID",
    "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
)  # fmt: skip


def wait_for(condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """Poll until it is true; its value."""
    deadline = time.monotonic() + patience
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {patience:g} s in vain for {what}"
        time.sleep(0.01)
    return value


def program(name: str, package: str, *places: str) -> str:
    """Where the program is.  One that is missing is a failure: test.sh installs the package."""
    path = shutil.which(name, path=os.pathsep.join([*places, "/usr/sbin", "/usr/bin"]))
    assert path, f"{name} is missing: ./test.sh installs the package {package}"
    return path


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run(*command: str, **more: Any) -> str:
    """The output of a command that must succeed."""
    options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "timeout": PATIENCE, **more}
    done = subprocess.run(command, cwd=PROJECT, env=ENVIRONMENT, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr or done.stdout}"
    return str(done.stdout)


def alive(pid: int) -> bool:
    """Whether there is such a process, and not only its zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Container:
    """A container, its bundles and its images below `place`.  As a context it leaves nothing behind.

    `args` is its process.  `uid` and `gid` are for those programs that refuse to be root.  `runtime` is the command
    with the verbs, and `environment` what it gets.
    """

    standard: tuple[int, int, int] | None = None
    """Standard descriptors of verbs, and so of the container, instead of files."""
    runtime = WOODFROG
    environment = ENVIRONMENT

    def __init__(self, place: Path, name: str, args: Sequence[str], uid: int = 0, gid: int = 0) -> None:
        self.place = place
        self.name = f"woodfrog-{name}-{os.getpid()}"
        config: Any = default_config()
        self.config = config
        self.config["root"]["readonly"] = False
        self.config["process"].update(
            terminal=False, args=list(args), cwd=WORK, user={"uid": uid, "gid": gid}, noNewPrivileges=False, rlimits=[]
        )
        kept = () if uid else CAPABILITIES
        self.config["process"]["capabilities"] = {
            kind: list(kept) for kind in ("bounding", "effective", "permitted", "inheritable")
        }
        self.config["linux"]["cgroupsPath"] = f"/{self.name}"
        self.owner = (uid, gid)
        self.bundles: list[Path] = []
        self.rounds = 0

    # -- life --

    def __enter__(self) -> Self:
        self.place.mkdir(parents=True, exist_ok=True)
        run("mount", "-t", "tmpfs", "-o", "mode=755", "woodfrog-test", str(self.place))
        self._bundle()
        return self

    def __exit__(self, *error: object) -> None:
        """The container, its cgroup and its mounts go; what cannot go is a failure."""
        try:
            if self._state().exists():
                self.verb("delete", "--force", self.name)
        finally:
            for bundle in self.bundles:
                run("umount", str(bundle / "rootfs"))
            run("umount", str(self.place))
        left = [path for pattern in ("", "*/") for path in Path("/sys/fs/cgroup").glob(pattern + self.name)]
        assert not left, f"cgroups are left behind: {left}"

    def _state(self) -> Path:
        return self.place / "state" / self.name

    def _bundle(self, old: Path | None = None) -> Path:
        """A fresh bundle, with what the processes wrote into an older one."""
        bundle = self.place / f"bundle{len(self.bundles)}"
        for name in ("rootfs", "overlay"):
            (bundle / name).mkdir(parents=True)
        if old is not None:
            run("cp", "-a", str(old / "upper"), str(bundle / "upper"))
        else:
            work = bundle / "upper" / WORK.lstrip("/")
            work.mkdir(parents=True)
            os.chown(work, *self.owner)
        layers = f"lowerdir=/,upperdir={bundle}/upper,workdir={bundle}/overlay"
        run("mount", "-t", "overlay", "woodfrog-test", "-o", layers, str(bundle / "rootfs"))
        self.bundles.append(bundle)
        return bundle

    @property
    def work(self) -> Path:
        """/data of the container, seen from the host."""
        return self.bundles[-1] / "rootfs" / WORK.lstrip("/")

    @property
    def images(self) -> Path:
        return self.place / f"images{self.rounds}"

    # -- verbs --

    def verb(self, *words: str, console: str = "") -> None:
        """Run a verb, which must succeed; the container's own output goes to the file `output`."""
        more = ["--console-socket", console] if console else []
        command = [*self.runtime, "--root", str(self.place / "state"), words[0], *more, *words[1:]]
        with (self.place / "output").open("ab") as output, (self.place / "errors").open("wb") as errors:
            streams = self.standard or (subprocess.DEVNULL, output, errors)
            done = subprocess.run(
                command,
                cwd=PROJECT,
                env=self.environment,
                stdin=streams[0],
                stdout=streams[1],
                stderr=streams[2],
                timeout=PATIENCE,
                check=False,
            )
        assert done.returncode == 0, f"{' '.join(command)}: {self.explanation()}"

    def explanation(self) -> str:
        """What there is to read after a failure."""
        return (self.place / "errors").read_text() + self.output()

    def start(self, console: str = "") -> None:
        (self.bundles[-1] / "config.json").write_text(json.dumps(self.config))
        self.verb("run", "--detach", "--bundle", str(self.bundles[-1]), self.name, console=console)

    def exec(self, *command: str, **more: Any) -> str:
        """Run a real client in the container; its output."""
        return run(*self.runtime, "--root", str(self.place / "state"), "exec", self.name, *command, **more)

    def pids(self) -> list[int]:
        words = run(*self.runtime, "--root", str(self.place / "state"), "ps", "--format", "json", self.name)
        return [int(word) for word in json.loads(words)]

    def output(self) -> str:
        return (self.place / "output").read_text(errors="replace")[-3000:]

    # -- freeze and thaw --

    def checkpoint(self, *options: str) -> None:
        """Freeze it; every process of it is gone afterwards."""
        before = self.pids()
        assert before
        self.rounds += 1
        self.verb("checkpoint", "--image-path", str(self.images), "--work-path", str(self.images), *options, self.name)
        wait_for(lambda: not any(alive(pid) for pid in before), "the processes of the container to be gone")
        assert not self._state().exists()

    def restore(self, *options: str, fresh: bool = False, console: str = "") -> None:
        """Thaw it from the last images, into its old root or into a fresh one."""
        if fresh:
            self._bundle(self.bundles[-1])
            (self.bundles[-1] / "config.json").write_text(json.dumps(self.config))
        paths = ("--image-path", str(self.images), "--work-path", str(self.images), "--bundle", str(self.bundles[-1]))
        self.verb("restore", "--detach", *paths, *options, self.name, console=console)

    def twice(self, check: Callable[[int], None], *options: str) -> None:
        """Freeze and thaw two times in a row, first into the same root, then into a fresh one; check each time."""
        for number in (1, 2):
            self.checkpoint(*options)
            self.restore(*options, fresh=number == 2)
            check(number)
