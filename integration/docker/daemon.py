"""A Docker daemon of its own: over runc, with this engine where it looks for criu, or over woodfrog (--add-runtime)."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

from integration import shims
from integration.containers import PATIENCE, PROJECT, wait_for
from integration.counting.container import COUNTER
from integration.podman.engine import write_image

IMAGE = "woodfrog/counter"


class Docker:
    """One daemon below `place`, whose path must be short.  As a context it leaves nothing behind."""

    def __init__(self, place: Path, woodfrog: str = "") -> None:
        self.place = place
        self.more = [f"--add-runtime=woodfrog={woodfrog}", "--default-runtime=woodfrog"] if woodfrog else []
        self.daemon = shims.binary("WOODFROG_TEST_DOCKERD", "dockerd 20.10")
        self.client = shutil.which("docker") or shims.binary("WOODFROG_TEST_DOCKER", "Docker's client")
        self.environment = shims.environment(PROJECT / ".pytest_cache" / "shim")
        self.socket = f"unix://{place}/socket"

    def __enter__(self) -> Docker:
        places = [f"--{name}={self.place}/{name}" for name in ("data-root", "exec-root", "pidfile")]
        network = ["--bridge=none", "--iptables=false", "--ip-forward=false", "--ip-masq=false"]
        command = [
            self.daemon,
            *places,
            *network,
            "--experimental",
            "--storage-driver=overlay2",
            "-H",
            self.socket,
            *self.more,
        ]
        with (self.place / "log").open("wb") as log:
            self.process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)
        wait_for(self._answers, "the daemon")
        write_image(self.place / "image.tar")
        self("import", str(self.place / "image.tar"), IMAGE)
        return self

    def _answers(self) -> bool:
        assert self.process.poll() is None, (self.place / "log").read_text()[-2000:]
        command = [self.client, "-H", self.socket, "info"]
        return subprocess.run(command, capture_output=True, check=False, timeout=PATIENCE).returncode == 0

    def __exit__(self, *error: object) -> None:
        try:
            self.clean()
        finally:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(PATIENCE)
            for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
                if (mount := line.split()[4]).startswith(str(self.place)):
                    subprocess.run(["umount", "--lazy", mount], check=True)

    def clean(self) -> None:
        """All containers go, and their volumes."""
        if names := self("ps", "--all", "--quiet").split():
            self("rm", "--force", "--volumes", *names)

    def attempt(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """A command, which may fail."""
        command = [self.client, "-H", self.socket, *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE, **more)

    def __call__(self, *words: str, **more: Any) -> str:
        """The output of a command, which must succeed."""
        done = self.attempt(*words, **more)
        log = (self.place / "log").read_text(errors="replace")
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}{os.linesep}{log[-2000:]}"
        return done.stdout.strip()

    def run(self, name: str, *options: str) -> None:
        """Start a container that counts."""
        loose = ["--security-opt", "seccomp=unconfined", "--network", "none"]
        self("run", "--detach", "--name", name, *loose, *options, IMAGE, "/bin/bash", "-c", COUNTER)

    def thaw(self, name: str, checkpoint: str) -> None:
        """start --checkpoint.

        Docker 20.10 fails as long as containerd keeps what it stored when the checkpoint was made (moby issue 42900).
        """
        command = [self.client, "-H", self.socket, "start", "--checkpoint", checkpoint, name]

        def started() -> bool:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
            assert done.returncode == 0 or "already exists" in done.stderr, done.stderr
            return done.returncode == 0

        wait_for(started, "Docker to start from the checkpoint")

    def file(self, name: str, path: str) -> Path:
        """A file of a container's root, seen from the host."""
        return Path(self("inspect", "--format", "{{.GraphDriver.Data.MergedDir}}", name), path)

    def count(self, name: str) -> int:
        """How far it has counted."""
        try:
            return int(self.file(name, "data/count").read_text())
        except FileNotFoundError:
            return 0

    def counts_beyond(self, number: int, name: str) -> None:
        """Wait until it has counted so far."""
        wait_for(lambda: self.count(name) > number, f"{name} to count beyond {number}")
