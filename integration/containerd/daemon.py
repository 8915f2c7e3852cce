"""A containerd of its own, whose runc shim has woodfrog as its program (BinaryName), and its client ctr."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

from integration import shims
from integration.containerd.image import IMAGE, write_image
from integration.containers import ENVIRONMENT, PATIENCE, wait_for
from integration.counting.container import COUNTER

CONFIGURATION = """\
version = 2
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt", "io.containerd.internal.v1.tracing"]
"""
SOCKETS = Path("/run/containerd/s")


class Containerd:
    """One daemon below `place`, whose path must be short.  As a context it leaves nothing behind."""

    def __init__(self, place: Path, runtime: str) -> None:
        self.place, self.runtime = place, runtime
        self.daemon = shims.binary("WOODFROG_TEST_CONTAINERD", "containerd 1.6")
        self.client = shutil.which("ctr") or shims.binary("WOODFROG_TEST_CTR", "containerd's client ctr")
        self.state = place / "state" / "runc"
        self.namespace = f"frog{os.getpid()}"  # it names the parent of the containers' cgroups, too
        self.sockets = set(SOCKETS.glob("*"))

    def __enter__(self) -> Containerd:
        (self.place / "config.toml").write_text(CONFIGURATION)
        places = [f"--{name}={self.place}/{name}" for name in ("root", "state", "address")]
        command = [self.daemon, f"--config={self.place}/config.toml", *places]
        with (self.place / "log").open("wb") as log:
            self.process = subprocess.Popen(command, env=ENVIRONMENT, stdout=log, stderr=log)
        wait_for(self._answers, "the daemon")
        write_image(self.place / "image.tar")
        self("images", "import", str(self.place / "image.tar"))
        return self

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log()
        command = [self.client, "--address", f"{self.place}/address", "version"]
        return subprocess.run(command, capture_output=True, check=False, timeout=PATIENCE).returncode == 0

    def __exit__(self, *error: object) -> None:
        try:
            self.clean()
        finally:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(PATIENCE)
            for parent in Path("/sys/fs/cgroup").glob(f"*/{self.namespace}"):
                parent.rmdir()
            for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
                if (mount := line.split()[4]).startswith(str(self.place)):
                    subprocess.run(["umount", "--lazy", mount], check=True)

    def clean(self) -> None:
        """All containers go; then nothing is left of them: no shim, no socket, no state of ours, no mount."""
        for name in self("containers", "list", "--quiet").split():
            if name in self("tasks", "list", "--quiet").split():
                self("tasks", "delete", "--force", name)
            self("containers", "delete", name)
        wait_for(lambda: not self.shims(), "the shims to end")
        wait_for(lambda: set(SOCKETS.glob("*")) <= self.sockets, "the shims' sockets to go")
        assert not list(self.state.glob("*/*")), "state is left"
        mounts = Path("/proc/self/mountinfo").read_text()
        assert f"{self.place}/state" not in mounts, "mounts are left"

    def shims(self) -> list[int]:
        """The pids of the shims that run."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes()
            except OSError:
                continue
            if b"containerd-shim" in words and str(self.place).encode() in words:
                found.append(int(path.parent.name))
        return found

    def kill_shims(self) -> None:
        """They end without removing their sockets."""
        for pid in self.shims():
            os.kill(pid, signal.SIGKILL)
        for socket in set(SOCKETS.glob("*")) - self.sockets:
            socket.unlink()

    def log(self) -> str:
        """The end of what the daemon has said."""
        return (self.place / "log").read_text(errors="replace")[-3000:]

    def command(self) -> list[str]:
        """How ctr is called."""
        return [self.client, "--address", f"{self.place}/address", "--namespace", self.namespace]

    def attempt(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """A command of ctr, which may fail."""
        options: dict[str, Any] = {"input": "", "timeout": PATIENCE, **more}
        command = [*self.command(), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.place, **options)

    def __call__(self, *words: str, **more: Any) -> str:
        """The output of a command, which must succeed."""
        done = self.attempt(*words, **more)
        assert done.returncode == 0, f"ctr {' '.join(words)}: {done.stderr}{done.stdout}{os.linesep}{self.log()}"
        return done.stdout.strip()

    def run(self, *words: str, **more: Any) -> str:
        """ctr run, with our runtime."""
        return self("run", "--runc-binary", self.runtime, *words, **more)

    def count(self, name: str, *options: str) -> None:
        """Start a container that counts."""
        self.run("--detach", "--null-io", *options, IMAGE, name, "/bin/bash", "-c", COUNTER)
        wait_for(lambda: self.counted(name) > 2, "the container to count")

    def counted(self, name: str) -> int:
        """How far it has counted."""
        try:
            return int((self.root(name) / "data" / "count").read_text())
        except FileNotFoundError:
            return 0

    def goes_on(self, name: str, beyond: int) -> None:
        """It counts beyond a number, and has never started anew."""
        wait_for(lambda: self.counted(name) > beyond, f"{name} to count beyond {beyond}")
        assert (self.root(name) / "data" / "starts").read_text().split() == ["start"]

    def root(self, name: str) -> Path:
        """Where the shim has mounted the container's root."""
        return self.place / "state" / "io.containerd.runtime.v2.task" / self.namespace / name / "rootfs"

    def status(self, name: str) -> str:
        """RUNNING, PAUSED, STOPPED; "" where there is no task."""
        for line in self("tasks", "list").splitlines()[1:]:
            words = line.split()
            if words[0] == name:
                return words[2]
        return ""
