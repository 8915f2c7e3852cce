"""Pods and containers as a kubelet asks CRI-O for them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from integration.containers import wait_for
from integration.counting.container import COUNTER
from integration.crio.image import IMAGE

if TYPE_CHECKING:
    from integration.crio.daemon import Crio

# NamespaceMode CONTAINER.  With that of the pod CRI-O runs a container for it with oomScoreAdj -998, which takes
# CAP_SYS_RESOURCE under any runtime.
OWN_PIDS = {"security_context": {"namespace_options": {"pid": 1}}}


class Pod:
    """A sandbox and the files that describe it."""

    def __init__(self, crio: Crio, name: str, file: Path, sandbox: str) -> None:
        self.crio, self.name, self.file, self.id = crio, name, file, sandbox

    def create(self, name: str, *program: str, **more: Any) -> str:
        """The id of a container that waits for its start; `volume`: a directory that is its /data."""
        done = self.attempt(name, *program, **more)
        assert done.returncode == 0, f"{done.stderr}{self.crio.log()}"
        return done.stdout.strip()

    def attempt(
        self, name: str, *program: str, image: str = IMAGE, volume: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """The same, which may fail."""
        config = {
            "metadata": {"name": name},
            "image": {"image": image},
            "command": list(program),
            "log_path": f"{name}.log",
            "mounts": [{"container_path": "/data", "host_path": str(volume)}] if volume else [],
            "linux": OWN_PIDS,
        }
        file = self.crio.place / f"{self.name}-{name}.json"
        file.write_text(json.dumps(config))
        return self.crio.attempt("create", self.id, str(file), str(self.file))

    def count(self, name: str) -> Counted:
        """One that runs, and counts."""
        made = Counted(self.crio, self.create(name, "/bin/bash", "-c", COUNTER))
        self.crio("start", made.id)
        wait_for(lambda: made.number() > 2, "the container to count")
        return made


class Counted:
    """A container by its id."""

    def __init__(self, crio: Crio, name: str) -> None:
        self.crio, self.id = crio, name

    def inspect(self) -> Any:
        return json.loads(self.crio("inspect", self.id))

    def state(self) -> str:
        """CONTAINER_CREATED, CONTAINER_RUNNING, CONTAINER_EXITED."""
        return str(self.inspect()["status"]["state"])

    def root(self) -> Path:
        """Its root, as its process sees it: CRI-O unmounts its own view when it has made a checkpoint."""
        return Path(f"/proc/{self.inspect()['info']['pid']}/root")

    def number(self) -> int:
        """How far it has counted."""
        try:
            return int((self.root() / "data" / "count").read_text())
        except FileNotFoundError:
            return 0

    def goes_on(self, beyond: int) -> None:
        """It counts beyond a number, and has never started anew."""
        wait_for(lambda: self.number() > beyond, f"the container to count beyond {beyond}")
        assert (self.root() / "data" / "starts").read_text().split() == ["start"]

    def exec(self, *words: str) -> str:
        """What a program says that is run in it (ExecSync)."""
        return self.crio("exec", "--sync", self.id, *words)
