"""A CRI-O of its own over woodfrog, with our hooks, and its client crictl: what a kubelet asks for."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

from integration import shims
from integration.containers import PATIENCE, PROJECT, wait_for
from integration.crio.image import IMAGE, PAUSE, write_images
from integration.crio.pod import OWN_PIDS, Pod

CGROUPS = Path("/sys/fs/cgroup")
CONFIGURATION = """\
[crio]
root = "{place}/storage"
runroot = "{place}/run"
storage_driver = "overlay"
log_dir = "{place}/logs"
version_file = "{place}/version"
clean_shutdown_file = "{place}/clean"
[crio.api]
listen = "{place}/socket"
[crio.runtime]
conmon = "{conmon}"
conmon_cgroup = "pod"
pinns_path = "{pinns}"
cgroup_manager = "cgroupfs"
seccomp_profile = ""
apparmor_profile = "unconfined"
irqbalance_config_file = "disable"
decryption_keys_path = "{place}/keys"
cdi_spec_dirs = []
hooks_dir = ["{place}/hooks"]
container_exits_dir = "{place}/exits"
container_attach_socket_dir = "{place}/attach"
namespaces_dir = "{place}/spaces"
enable_criu_support = true
default_runtime = "woodfrog"
[crio.runtime.runtimes.woodfrog]
runtime_path = "{runtime}"
runtime_root = "{place}/state"
monitor_path = "{conmon}"
monitor_cgroup = "pod"
{others}
[crio.image]
default_transport = "{transport}"
pause_image = "{pause}"
signature_policy = "{place}/policy.json"
[crio.network]
network_dir = "{place}/cni"
plugin_dirs = ["/usr/lib/cni", "/opt/cni/bin"]
"""


class Crio:
    """One daemon below `place`, whose path must be short.  As a context it leaves nothing behind."""

    def __init__(self, place: Path, woodfrog: str) -> None:
        self.place, self.woodfrog = place, woodfrog
        self.daemon = shims.binary("WOODFROG_TEST_CRIO", "CRI-O 1.26 (pinns beside it)")
        self.client = shims.binary("WOODFROG_TEST_CRICTL", "crictl 1.26")
        self.below = place / "below"  # checkpoints that annotations may name
        self.cgroup = f"frog{os.getpid()}"
        self.network = f"frogcni{os.getpid() % 10**6}"
        self.environment = shims.environment(PROJECT / ".pytest_cache" / "shim")

    def __enter__(self) -> Crio:
        for name in ("below", "hooks", "cni", "logs"):
            (self.place / name).mkdir()
        (self.place / "cni" / "frog.conflist").write_text(json.dumps(self._network()))
        (self.place / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        files = [self.woodfrog, "--checkpoints", str(self.below), "hook", "files", str(self.place / "hooks")]
        subprocess.run(files, check=True, capture_output=True)
        (self.place / "crictl.yaml").touch()
        (self.place / "crio.conf").write_text(self._configuration())
        self.start()
        self("pull", IMAGE)
        return self

    def _configuration(self) -> str:
        runc = os.environ.get("WOODFROG_TEST_RUNC")
        wrapper = self.place / "woodfrog"  # engines give no options of ours
        wrapper.write_text(f'#!/bin/sh\nexec {self.woodfrog} --checkpoints {self.below} "$@"\n')
        wrapper.chmod(0o755)
        return CONFIGURATION.format(
            place=self.place,
            conmon=shutil.which("conmon") or shims.binary("WOODFROG_TEST_CONMON", "conmon 2.1"),
            pinns=Path(self.daemon).with_name("pinns"),
            runtime=wrapper,
            transport=write_images(self.place / "images"),
            pause=PAUSE,
            others=f'[crio.runtime.runtimes.runc]\nruntime_path = "{runc}"\nmonitor_cgroup = "pod"' if runc else "",
        )

    def _network(self) -> Any:
        """A bridge of its own, the numbers of which nobody else uses."""
        subnet = f"10.218.{os.getpid() % 250}.0/24"
        ipam = {"type": "host-local", "dataDir": f"{self.place}/addresses", "ranges": [[{"subnet": subnet}]]}
        bridge = {"type": "bridge", "bridge": self.network, "isGateway": True, "ipMasq": False, "ipam": ipam}
        return {"cniVersion": "0.4.0", "name": self.network, "plugins": [bridge]}

    def start(self) -> None:
        """Start the daemon, and wait until it answers."""
        command = [self.daemon, f"--config={self.place}/crio.conf", "--config-dir="]
        with (self.place / "log").open("ab") as log:
            self.process = subprocess.Popen(command, env=self.environment, cwd=self.place, stdout=log, stderr=log)
        wait_for(self._answers, "the daemon")

    def stop(self) -> None:
        """End the daemon; containers run on."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE)

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log()
        return self.attempt("version").returncode == 0

    def __exit__(self, *error: object) -> None:
        try:
            self.clean()
        finally:
            self.stop()
            subprocess.run(["ip", "link", "delete", self.network], capture_output=True, check=False)
            for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
                if (mount := line.split()[4]).startswith(str(self.place)):
                    subprocess.run(["umount", "--lazy", mount], check=True)
            wait_for(self._forget_cgroups, "conmon and its cgroups to go")

    def _forget_cgroups(self) -> bool:
        """CRI-O leaves those of conmon, and the parent that the pods name."""
        for parent in CGROUPS.glob(f"*/{self.cgroup}"):
            if parent.stat().st_dev == CGROUPS.stat().st_dev:  # plain directories, where no hierarchy is mounted
                shutil.rmtree(parent)
                continue
            for place in (*parent.glob("crio-conmon-*"), parent):
                with contextlib.suppress(OSError):  # one is in it yet
                    place.rmdir()
        return not list(CGROUPS.glob(f"*/{self.cgroup}"))

    def clean(self) -> None:
        """All pods go, with their containers."""
        for pod in self("pods", "--quiet").split():
            self("stopp", pod)
            self("rmp", pod)
        assert not list((self.place / "state").glob("*")), "state is left"

    def log(self) -> str:
        """What the daemon has said of errors."""
        lines = (self.place / "log").read_text(errors="replace").splitlines()
        return "\n".join([line for line in lines if "level=info" not in line and "level=warning" not in line][-20:])

    def attempt(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """A command of crictl, which may fail."""
        options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "timeout": PATIENCE, **more}
        socket = f"unix://{self.place}/socket"
        command = [self.client, "--config", f"{self.place}/crictl.yaml", "-r", socket, "-i", socket, "-t", "60s"]
        command += words
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.place, **options)

    def __call__(self, *words: str, **more: Any) -> str:
        """The output of a command, which must succeed."""
        done = self.attempt(*words, **more)
        assert done.returncode == 0, f"crictl {' '.join(words)}: {done.stderr}{done.stdout}{os.linesep}{self.log()}"
        return done.stdout.strip()

    # -- what a kubelet would ask for --

    def pod(self, name: str, runtime: str = "", **annotations: str) -> Pod:
        """A pod that runs, with annotations of ours by their last word."""
        config = {
            "metadata": {"name": name, "namespace": "frogs", "attempt": 1, "uid": f"{name}-uid"},
            "log_directory": str(self.place / "logs" / name),
            "annotations": {f"io.github.woodfrog.{key}": value for key, value in annotations.items()},
            "linux": {"cgroup_parent": f"/{self.cgroup}", **OWN_PIDS},
        }
        file = self.place / f"{name}-pod.json"
        file.write_text(json.dumps(config))
        return Pod(self, name, file, self("runp", "--runtime", runtime, str(file)))
