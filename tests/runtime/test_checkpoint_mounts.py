"""Bind mounts in odd places across a checkpoint, and runc's configuration file of the engine."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from runtime.errors import ContainerError
from runtime.frozen.options import CONFIGURATION, configured
from tests.runtime.bundle import Bundle
from tests.runtime.freezing import checkpoint, counting, cycle, goes_on, images, restore, start

pytestmark = pytest.mark.root


def bind(bundle: Bundle, source: str, destination: str) -> None:
    bundle.config["mounts"].append({"destination": destination, "source": source, "options": ["bind", "rw"]})


def test_a_bind_mount_whose_destination_is_a_symlink(bundle: Bundle) -> None:
    counting(bundle)
    (bundle.rootfs / "real").mkdir()
    (bundle.rootfs / "link").symlink_to("/real")
    (bundle.path / "data").mkdir()
    (bundle.path / "data" / "file").write_text("here")
    bind(bundle, str(bundle.path / "data"), "/link/conf")
    start(bundle)
    cycle(bundle, times=2)
    assert bundle.ok("exec", bundle.id, "cat", "/real/conf/file") == "here"


def test_a_root_that_is_a_slave_of_the_host(bundle: Bundle) -> None:
    """Under Docker it is: what is mounted on the host later appears in the container, before and afterwards."""
    counting(bundle)
    (bundle.rootfs / "later").mkdir()
    root = str(bundle.rootfs)
    subprocess.run(["mount", "--bind", root, root], check=True)
    try:
        subprocess.run(["mount", "--make-shared", root], check=True)
        start(bundle)
        cycle(bundle, times=2)
        subprocess.run(["mount", "-t", "tmpfs", "later", f"{root}/later"], check=True)
        assert "later" in bundle.ok("exec", bundle.id, "cat", "/proc/mounts")
        bundle.ok("delete", "--force", bundle.id)
    finally:
        subprocess.run(["umount", "--recursive", root], check=True)


def test_a_slave_of_the_host_becomes_private_where_the_host_shares_nothing(bundle: Bundle) -> None:
    """What was mounted there with events to follow may lie on a machine without: said in the log, not an error."""
    counting(bundle)
    root = str(bundle.rootfs)
    subprocess.run(["mount", "--bind", root, root], check=True)
    try:
        subprocess.run(["mount", "--make-shared", root], check=True)
        start(bundle)
        assert "master:" in first_mount(bundle)
        checkpoint(bundle)
        subprocess.run(["mount", "--make-private", root], check=True)
        restore(bundle)
        goes_on(bundle)
        assert "master:" not in first_mount(bundle)
        assert "shared:" not in first_mount(bundle)
        log = Path(images(bundle), "restore.log").read_text()
        assert "mount / was a slave of the host's, which is not shared here: it becomes private" in log
        bundle.ok("delete", "--force", bundle.id)
    finally:
        subprocess.run(["umount", "--recursive", root], check=True)


def first_mount(bundle: Bundle) -> str:
    return bundle.ok("exec", bundle.id, "cat", "/proc/self/mountinfo").splitlines()[0]


def test_places_in_other_bind_mounts_are_made_again(bundle: Bundle) -> None:
    """Sources are relative to the bundle, and the one holds the place of the other."""
    counting(bundle)
    for name in ("outer", "inner"):
        (bundle.path / name).mkdir()
    (bundle.path / "inner" / "file").write_text("here")
    bind(bundle, "./outer", "/test")
    bind(bundle, "inner", "/test/for/nested")
    start(bundle)
    checkpoint(bundle)
    shutil.rmtree(bundle.path / "outer" / "for")
    restore(bundle)
    goes_on(bundle)
    assert bundle.ok("exec", bundle.id, "cat", "/test/for/nested/file") == "here"


def test_a_configuration_file_of_the_container(bundle: Bundle, tmp_path: Path) -> None:
    counting(bundle)
    (tmp_path / "conf").write_text("log-file=other.log\n")
    bundle.config["annotations"] = {CONFIGURATION: str(tmp_path / "conf")}
    start(bundle)
    checkpoint(bundle)
    assert (Path(images(bundle)) / "other.log").exists()
    assert not (Path(images(bundle)) / "dump.log").exists()
    (Path(images(bundle)) / "other.log").unlink()
    restore(bundle)
    assert (Path(images(bundle)) / "other.log").exists()


def test_what_a_configuration_file_says(tmp_path: Path) -> None:
    file = tmp_path / "conf"
    file.write_text("tcp-established\nexternal mnt[/a]:b\n")
    options = {"log_file": "dump.log", "external": ["mnt[/c]:d"]}
    assert configured(options, {CONFIGURATION: str(file)}) == {
        "log_file": "dump.log",
        "tcp_established": True,
        "external": ["mnt[/c]:d", "mnt[/a]:b"],
    }
    assert configured(options, {CONFIGURATION: ""}) == options
    with pytest.raises(ContainerError, match="cannot be read"):
        configured(options, {CONFIGURATION: str(tmp_path / "absent")})
    file.write_text("no-such-option\n")
    with pytest.raises(ContainerError, match="no-such-option"):
        configured(options, {CONFIGURATION: str(file)})
