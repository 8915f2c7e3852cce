"""The main job, for everyone to see: a running container is frozen into a directory and thawed from it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

PATIENCE = 20.0
WOODFROG = [str(Path(sys.executable).parent / "woodfrog")]
NAME = f"woodfrog-demo-{os.getpid()}"
INSIDE = "/var/lib/woodfrog-demo"  # where the program and its file are in the container


class Failed(Exception):
    """The demonstration did not show what it should; the sentence says what."""


def say(text: str) -> None:
    print(f"    {text}", flush=True)


def step(text: str) -> None:
    print(f"\n* {text}", flush=True)


def run(*command: str) -> str:
    """Output of a command; Failed with its last words where it fails."""
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise Failed(f"{' '.join(command)} failed: {result.stderr.strip() or result.stdout.strip()}")
    return result.stdout


def wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"waited {PATIENCE:g} seconds in vain for {what}")
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether there is such a process, and not only its zombie, which waits for the machine's init."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Demo:
    """A container, its bundles and its images, in a directory of their own."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.images = place / "images"
        self.output = place / "output"
        self.bundles: list[Path] = []

    def woodfrog(self, *arguments: str) -> str:
        """Run a verb; what the container itself prints goes into the file `output`."""
        command = [*WOODFROG, "--root", str(self.place / "state"), *arguments]
        with self.output.open("ab") as output, (self.place / "errors").open("wb") as errors:
            status = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, check=False)
        if status.returncode:
            raise Failed(f"woodfrog {' '.join(arguments)}: {(self.place / 'errors').read_text().strip()}")
        return self.output.read_text()

    def bundle(self, changes_of: Path | None = None) -> Path:
        """A bundle whose root is an overlay over the host's own root, with what an older one wrote in it."""
        bundle = self.place / f"bundle{len(self.bundles)}"
        for name in ("rootfs", "work"):
            (bundle / name).mkdir(parents=True)
        if changes_of is not None:
            run("cp", "-a", str(changes_of / "upper"), str(bundle / "upper"))
        else:
            program = bundle / "upper" / INSIDE.lstrip("/")
            program.mkdir(parents=True)
            shutil.copy(Path(__file__).with_name("workload.py"), program)
        layers = f"lowerdir=/,upperdir={bundle}/upper,workdir={bundle}/work"
        run("mount", "-t", "overlay", NAME, "-o", layers, str(bundle / "rootfs"))
        self.bundles.append(bundle)
        (bundle / "config.json").write_text(json.dumps(configuration()))
        return bundle

    def count(self) -> int:
        """The last line of the file that the container writes, seen from the host."""
        path = self.bundles[-1] / "rootfs" / INSIDE.lstrip("/") / "count"
        lines = path.read_text().split() if path.exists() else []
        return int(lines[-1]) if lines else 0

    def pids(self) -> list[int]:
        words = json.loads(run(*WOODFROG, "--root", str(self.place / "state"), "ps", "--format", "json", NAME))
        return [int(word) for word in words]

    def clean_up(self) -> None:
        state = self.place / "state"
        if (state / NAME).exists():
            subprocess.run([*WOODFROG, "--root", str(state), "delete", "--force", NAME], check=False)
        for bundle in self.bundles:
            subprocess.run(["umount", str(bundle / "rootfs")], check=False)


def configuration() -> dict[str, object]:
    """config.json: the program of the demonstration in new namespaces."""
    from oci.spec import default_config

    config = default_config()
    config["process"]["terminal"] = False
    config["process"]["args"] = ["/usr/bin/python3", f"{INSIDE}/workload.py", INSIDE]
    config["root"]["readonly"] = False
    return dict(config)


def show(demo: Demo) -> None:
    """The whole story; Failed where it does not hold."""
    step("A container starts: two threads, a child, a growing file, a pipe, a unix socket, a timer")
    demo.woodfrog("run", "--detach", "--bundle", str(demo.bundle()), NAME)
    wait_for(lambda: demo.count() >= 20, "the container to count to 20")
    processes = demo.pids()
    say(f"its {len(processes)} processes: {', '.join(map(str, processes))}; it has counted to {demo.count()}")

    step("Checkpoint: it is frozen into a directory of images, and ended")
    demo.woodfrog("checkpoint", "--image-path", str(demo.images), "--work-path", str(demo.images), NAME)
    frozen = report(demo.images)
    before = demo.count()
    wait_for(lambda: not any(map(alive, processes)), "its processes to be gone")
    say(f"every process is gone; the last number it wrote is {before}")
    say(f"it stood still for {frozen['frozen_time'] / 1000:.1f} ms, {frozen['pages_written']} pages were written")
    size = sum(path.stat().st_size for path in demo.images.iterdir() if path.is_file())
    say(f"the images take {size / 1048576:.1f} MiB in {len(list(demo.images.iterdir()))} files")

    step("Restore: into a fresh root file system, from the images alone")
    subprocess.run([*WOODFROG, "--root", str(demo.place / "state"), "delete", "--force", NAME], check=False)
    fresh = demo.bundle(changes_of=demo.bundles[-1])
    arguments = ("--image-path", str(demo.images), "--work-path", str(demo.images), "--bundle", str(fresh))
    demo.woodfrog("restore", "--detach", *arguments, NAME)
    wait_for(lambda: demo.count() >= before + 20, "the count to go on")
    say(f"it counts on: {demo.count()}")

    step("The program checks itself: threads, child, pipe, socket, timer, and a file without a gap")
    demo.woodfrog("kill", NAME, "TERM")
    wait_for(lambda: "checked itself" in demo.output.read_text() or not demo.pids(), "the program's own verdict")
    verdict = demo.output.read_text().strip().splitlines()
    if not verdict or "nothing is missing" not in verdict[-1]:
        raise Failed("the program found: " + "; ".join(verdict[-5:]))
    say(verdict[-1])
    demo.woodfrog("delete", "--force", NAME)


def report(images: Path) -> dict[str, int]:
    """The numbers of stats-dump."""
    from images.directory import ImageDirectory

    with ImageDirectory.open(images) as directory:
        entry = directory.read_one("stats-dump").dump
    return {"frozen_time": entry.frozen_time, "pages_written": entry.pages_written + entry.shpages_written}


def main() -> int:
    if os.geteuid() != 0:
        print("woodfrog: the demonstration makes a container: run it as root", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # on the way out everything is cleaned up
    print("Woodfrog freezes a running container into a directory of images, and thaws it from them.")
    with tempfile.TemporaryDirectory(prefix="woodfrog-demo-", dir="/var/tmp") as place:
        demo = Demo(Path(place))
        run("mount", "-t", "tmpfs", NAME, place)  # an overlay cannot have its own lower layer's file system as upper
        try:
            show(demo)
        except Failed as error:
            print(f"woodfrog: {error}", file=sys.stderr)
            return 1
        finally:
            demo.clean_up()
            subprocess.run(["umount", place], check=False)
    print("\nThe container was frozen, was gone, and went on as if nothing had happened.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
