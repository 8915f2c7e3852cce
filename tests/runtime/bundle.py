"""Bundles that need no download: a root made of the host's own files, and the command to run them.

`Bundle` binds the host's /usr (and the links into it) read-only into an empty root, so a test leaves no mount
behind.  `overlay_root` lays a fresh overlay over the host's own root, as the demo does.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from oci.spec import default_config

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 20.0
_SHARED = ("usr", "bin", "sbin", "lib", "lib64", "lib32", "libx32")


def wait_for(condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """Poll until it is true; its value."""
    deadline = time.monotonic() + patience
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.005)
    return value


class Bundle:
    """A bundle below `path`, its state directory, and the verbs.  As a context it deletes every container."""

    def __init__(self, path: Path, name: str = "c1") -> None:
        self.path = path / "bundle"
        self.root = path / "state"
        self.id = f"wft-{os.urandom(3).hex()}-{name}"  # pids repeat: tests run in pid namespaces of their own
        self.rootfs = self.path / "rootfs"
        self.config: Any = default_config()
        self.program = [sys.executable, "-m", "runtime.main"]
        self._fill()

    def _fill(self) -> None:
        for name in ("etc", "proc", "sys", "dev", "tmp", "root"):
            (self.rootfs / name).mkdir(parents=True, exist_ok=True)
        (self.rootfs / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        self.config["process"].update(terminal=False, rlimits=[])
        for name in _SHARED:
            host = Path("/") / name
            if host.is_symlink():
                (self.rootfs / name).symlink_to(host.readlink())
            elif host.is_dir():
                mount = {"destination": f"/{name}", "source": str(host), "options": ["rbind", "ro"]}
                self.config["mounts"].append(mount)
        self.config["linux"]["cgroupsPath"] = self.id

    def shell(self, script: str) -> None:
        """The container's process is this shell script."""
        self.config["process"]["args"] = ["/bin/sh", "-c", script]

    def namespaces(self, *kinds: str) -> None:
        """Exactly these new namespaces."""
        self.config["linux"]["namespaces"] = [{"type": kind} for kind in kinds]

    def environment(self) -> dict[str, str]:
        return environment()

    def save(self) -> None:
        (self.path / "config.json").write_text(json.dumps(self.config))

    def command(self, *words: str) -> list[str]:
        return [*self.program, "--root", str(self.root), *words]

    def verb(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run the command in the bundle; standard input is empty."""
        self.save()
        keep: dict[str, Any] = {"stdin": subprocess.DEVNULL, "timeout": 60, **more}
        return subprocess.run(
            self.command(*words),
            cwd=self.path,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
            **keep,
        )

    def ok(self, *words: str, **more: Any) -> str:
        """The same, which must succeed; its output."""
        done = self.verb(*words, **more)
        assert done.returncode == 0, done.stderr or done.stdout
        return done.stdout

    def fails(self, *words: str, code: int = 1, **more: Any) -> str:
        """The same, which must fail; what it says on standard error."""
        done = self.verb(*words, **more)
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done.stderr

    def detached(self, *words: str, **more: Any) -> None:
        """A verb whose container outlives it: it must not keep our pipes open."""
        out = self.path / "out"
        self.save()
        with open(out, "a") as stream:
            done = subprocess.run(
                self.command(*words),
                cwd=self.path,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                timeout=60,
                check=False,
                **more,
            )
        assert done.returncode == 0, out.read_text()

    def output(self) -> str:
        """What detached containers wrote."""
        return (self.path / "out").read_text()

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ok("state", self.id))
        return found

    def __enter__(self) -> Bundle:
        return self

    def __exit__(self, *error: object) -> None:
        for directory in self.root.iterdir() if self.root.is_dir() else ():
            self.verb("delete", "--force", directory.name)
        assert not self.root.is_dir() or not any(self.root.iterdir())
        assert not self.cgroups()

    def cgroups(self) -> list[Path]:
        """What is left of our cgroups."""
        patterns = (self.id, f"*/{self.id}", f"*/*/*/{self.id}")
        # not Path.glob: it fails when other cgroups go meanwhile
        return [Path(path) for pattern in patterns for path in glob.glob(f"/sys/fs/cgroup/{pattern}")]  # noqa: PTH207


def environment() -> dict[str, str]:
    """Ours, with the project's packages to be found from any directory."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


@contextlib.contextmanager
def overlay_root(place: Path) -> Iterator[Path]:
    """A writable root over the host's own: a tmpfs at `place` holds the upper layer; both end with us."""
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], check=True)
    try:
        for name in ("upper", "work", "rootfs"):
            (place / name).mkdir()
        layers = f"lowerdir=/,upperdir={place}/upper,workdir={place}/work"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, place / "rootfs"], check=True)
        try:
            yield place / "rootfs"
        finally:
            subprocess.run(["umount", place / "rootfs"], check=True)
    finally:
        subprocess.run(["umount", place], check=True)


def inside(bundle: Bundle, script: str) -> str:
    """What a shell script says that is the container's process."""
    bundle.shell(script)
    return bundle.ok("run", bundle.id)
