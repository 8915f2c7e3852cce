"""Containers with a mount namespace of their own come back with every mount at its place."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import cr
from cr.model import CheckpointError, Refused
from tests.cr.harness import Workload, alive

pytestmark = pytest.mark.root

NEW_NAMESPACE = ["unshare", "--mount", "--propagation", "private"]


@contextlib.contextmanager
def container(directory: Path) -> Iterator[Workload]:
    with Workload("container", directory, prefix=NEW_NAMESPACE) as workload:
        yield workload


def outside(directory: Path) -> dict[str, list[str]]:
    return {"external": ["mnt[/usr]:USR", f"mnt[{directory}]:WORK"]}


def inside(directory: Path) -> dict[str, object]:
    return {"root": str(directory / "root"), "external": ["mnt[USR]:/usr", f"mnt[WORK]:{directory}"]}


def host_mounts(directory: Path) -> list[str]:
    """What is mounted on our root directory or has to do with the test."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if line.split()[4] == "/" or str(directory) in line]


def test_every_kind_of_mount_comes_back_more_than_once(tmp_path: Path) -> None:
    before = host_mounts(tmp_path)
    with container(tmp_path) as workload:
        for _ in range(2):
            workload.dump(**outside(tmp_path))
            workload.restore(**inside(tmp_path))
        workload.check()
    assert host_mounts(tmp_path) == before


ON_OUR_ROOT = """
for place in $(awk '{ print $5 }' /proc/self/mountinfo | sort -r); do
    case $place in / | /proc | /dev) ;; *) umount -l "$place" ;; esac
done
exec "$@"
"""


def test_a_mount_namespace_on_our_own_root_needs_no_root(tmp_path: Path) -> None:
    with Workload("plain", tmp_path, prefix=[*NEW_NAMESPACE, "sh", "-c", ON_OUR_ROOT, "sh"]) as workload:
        mounts = [line.split()[3:5] for line in Path(f"/proc/{workload.pid}/mountinfo").read_text().splitlines()]
        workload.dump()
        workload.restore()
        lines = Path(f"/proc/{workload.restored}/mountinfo").read_text().splitlines()
        assert sorted(line.split()[3:5] for line in lines) == sorted(mounts)
        workload.check()


def test_images_inside_of_what_goes_into_them(tmp_path: Path) -> None:
    """A tmpfs would be archived into itself, until it is full."""
    shared = tmp_path / "shared"
    shared.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=10m", "tmpfs", shared], check=True)
    try:
        with Workload("plain", tmp_path, prefix=NEW_NAMESPACE) as workload:
            with pytest.raises(Refused, match=rf"images directory {shared} lies in mount .*: choose one outside"):
                cr.dump(workload.pid, str(shared), root="/")
            workload.check()
        assert not list(shared.glob("*.img"))
    finally:
        subprocess.run(["umount", shared], check=True)


def test_the_same_images_can_be_restored_twice(tmp_path: Path) -> None:
    with container(tmp_path) as workload:
        workload.dump(**outside(tmp_path))
        workload.restore(**inside(tmp_path))
        workload.check()
        workload._reap()
        workload.verdict_file.unlink()
        workload.restore(**inside(tmp_path))
        workload.check()


def test_what_comes_from_outside_is_named_and_the_container_runs_on(tmp_path: Path) -> None:
    with container(tmp_path) as workload:
        with pytest.raises(Refused) as caught:
            workload.dump(external=["mnt[/usr]:USR"])
        assert f"--external mnt[{tmp_path}]:NAME" in str(caught.value)
        assert alive(workload.pid)
        workload.check()


def test_external_mounts_can_be_detected(tmp_path: Path) -> None:
    with container(tmp_path) as workload:
        workload.dump(external=["mnt[]"])
        workload.restore(root=str(tmp_path / "root"), external=["mnt[]"])
        workload.check()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"root": ""}, "--root"),
        ({"external": ["mnt[USR]:/usr"]}, "was left outside as WORK"),
        ({"external": ["mnt[USR]:/usr", "mnt[WORK]:/does/not/exist"]}, "cannot mount /does/not/exist"),
        ({"root": "/usr/share"}, "mount "),
    ],
)
def test_a_failed_restore_says_why_and_leaves_nothing(
    tmp_path: Path, changes: dict[str, object], sentence: str
) -> None:
    before = host_mounts(tmp_path)
    with container(tmp_path) as workload:
        workload.dump(**outside(tmp_path))
        with pytest.raises(CheckpointError) as caught:
            workload.restore(**{**inside(tmp_path), **changes})
        assert sentence in str(caught.value)
        assert host_mounts(tmp_path) == before
        assert not (tmp_path / "root/run/sub").exists()
        workload.restore(**inside(tmp_path))
        workload.check()


def test_mounts_are_left_out_or_made_anew_on_request(tmp_path: Path) -> None:
    with Workload("mounts_left_out", tmp_path, prefix=NEW_NAMESPACE) as workload:
        with pytest.raises(Refused, match=r"mount /odd .* or have it mounted anew with --enable-fs ramfs"):
            workload.dump(**outside(tmp_path), skip_mnt=["/aside"])
        workload.dump(**outside(tmp_path), skip_mnt=["/aside"], enable_fs=["ramfs,odd"])
        workload.restore(**inside(tmp_path), enable_fs=["ramfs"])
        workload.check()


def test_mounts_can_be_left_out_at_restore_too(tmp_path: Path) -> None:
    with Workload("mounts_left_out", tmp_path, prefix=NEW_NAMESPACE) as workload:
        workload.dump(**outside(tmp_path), enable_fs=["all"])
        workload.restore(**inside(tmp_path), skip_mnt=["/aside/"])
        workload.check()


@contextlib.contextmanager
def loop_device(image: Path) -> Iterator[str]:
    """A block device with a filesystem on it."""
    if shutil.which("mkfs.ext2") is None:
        pytest.skip("this machine lacks mkfs.ext2")
    image.touch()
    os.truncate(image, 4 << 20)
    subprocess.run(["mkfs.ext2", "-q", "-F", str(image)], check=True)
    made = subprocess.run(["losetup", "-f", "--show", str(image)], capture_output=True, text=True)
    if made.returncode:
        pytest.skip("this kernel lacks loop devices")
    device = made.stdout.strip()
    try:
        yield device
    finally:
        subprocess.run(["losetup", "-d", device], check=True)


def test_a_block_device_is_named_and_handed_over(tmp_path: Path) -> None:
    with (
        loop_device(tmp_path / "disk") as device,
        Workload("mounts_left_out", tmp_path, [device], prefix=NEW_NAMESPACE) as workload,
    ):
        status = os.stat(device)
        name = f"dev[{os.major(status.st_rdev)}/{os.minor(status.st_rdev)}]:DISK"
        with pytest.raises(Refused, match=r"have its device mounted with --external dev\["):
            workload.dump(**outside(tmp_path), skip_mnt=["/aside"])
        common, there = outside(tmp_path)["external"], inside(tmp_path)
        workload.dump(external=[*common, name], skip_mnt=["/aside"])
        with pytest.raises(CheckpointError, match=r"name one with --external dev\[DISK\]:FILE"):
            workload.restore(**there)
        workload.restore(root=there["root"], external=[*there["external"], f"dev[DISK]:{device}"])  # type: ignore[misc]
        workload.check()


def test_namespaces_bound_to_paths_come_back_more_than_once(tmp_path: Path) -> None:
    with Workload("bound_namespaces", tmp_path, prefix=NEW_NAMESPACE) as workload:
        for _ in range(2):
            workload.dump(**outside(tmp_path))
            workload.restore(**inside(tmp_path))
        workload.check()


def test_a_namespace_bound_to_a_path_that_nobody_is_in_is_refused(tmp_path: Path) -> None:
    with (
        Workload("bound_namespaces", tmp_path, "lonely", prefix=NEW_NAMESPACE) as workload,
        pytest.raises(Refused, match=r"mount /ns/lonely .* keeps a net namespace that no task of the tree is in"),
    ):
        workload.dump(**outside(tmp_path))
