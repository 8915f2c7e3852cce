"""What security advisories of container runtimes taught; each test names the one (CVE-2019-5736 is in test_inside)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.runtime.bundle import Bundle

pytestmark = pytest.mark.root


@pytest.fixture
def hostile(bundle: Bundle) -> Bundle:
    """A bundle whose root is the container's to write, and its image's author no friend."""
    bundle.config["root"]["readonly"] = False
    return bundle


@pytest.mark.parametrize("fd", range(3, 15))
def test_cve_2024_21626_a_working_directory_outside(hostile: Bundle, tmp_path: Path, fd: int) -> None:
    """cwd is a descriptor of ours that leads to the host: it must not be reached by it, neither by run nor by exec."""
    (tmp_path / "marker").write_text("host's")
    hostile.config["process"]["cwd"] = f"/proc/self/fd/{fd}"
    hostile.shell(f"cat ../../../../../../../../..{tmp_path}/marker; pwd -P")
    assert "host's" not in hostile.verb("run", hostile.id).stdout


def test_cve_2024_21626_exec(hostile: Bundle, tmp_path: Path) -> None:
    (tmp_path / "marker").write_text("host's")
    hostile.shell("exec sleep 1000")
    hostile.detached("run", "-d", hostile.id)
    script = f"cat ../../../../../../../../..{tmp_path}/marker; pwd -P"
    for fd in range(3, 15):
        done = hostile.verb("exec", "--cwd", f"/proc/self/fd/{fd}", hostile.id, "/bin/sh", "-c", script)
        assert "host's" not in done.stdout


def test_cve_2019_19921_proc_is_a_symlink(hostile: Bundle) -> None:
    """Also CVE-2023-27561, CVE-2023-28642 and, for sysctls, CVE-2025-52881: /proc must be where it seems to be."""
    (hostile.rootfs / "proc").rmdir()
    (hostile.rootfs / "proc").symlink_to("/tmp/fake")
    (hostile.rootfs / "tmp/fake").mkdir()
    hostile.shell("true")
    assert "must be mounted on ordinary directory" in hostile.fails("run", hostile.id)


def test_cve_2019_16884_something_else_at_proc(hostile: Bundle, tmp_path: Path) -> None:
    hostile.config["mounts"].append({"destination": "/proc", "source": str(tmp_path), "options": ["bind"]})
    hostile.shell("true")
    assert "only procfs may be mounted at /proc" in hostile.fails("run", hostile.id)


def test_cve_2021_30465_a_destination_leads_out(hostile: Bundle, tmp_path: Path) -> None:
    """Also CVE-2024-45310: neither mounts nor the directories made for them get out by a symlink."""
    outside, source = tmp_path / "outside", tmp_path / "source"
    outside.mkdir()
    source.mkdir()
    (source / "file").touch()
    (hostile.rootfs / "tmp/link").symlink_to(outside)
    mount = {"destination": "/tmp/link/new", "source": str(source), "options": ["bind"]}
    hostile.config["mounts"].append(mount)
    hostile.shell("ls /tmp/link/new")
    assert hostile.ok("run", hostile.id) == "file\n"
    assert list(outside.iterdir()) == []


def test_cve_2022_29162_inheritable_capabilities_of_exec(hostile: Bundle) -> None:
    hostile.shell("exec sleep 1000")
    hostile.detached("run", "-d", hostile.id)
    said = hostile.ok("exec", "--cap", "CAP_CHOWN", hostile.id, "grep", "-E", "Cap(Inh|Amb)", "/proc/self/status")
    assert [int(line.split()[1], 16) for line in said.splitlines()] == [0, 0]


def test_cve_2016_9962_init_cannot_be_looked_into(hostile: Bundle) -> None:
    """While it waits for its start it has descriptors of the host; its /proc belongs to root, not to its user."""
    hostile.config["process"]["user"] = {"uid": 1000, "gid": 1000}
    hostile.shell("true")
    hostile.detached("create", hostile.id)
    assert os.stat(f"/proc/{hostile.state()['pid']}/fd").st_uid == 0


def test_cve_2016_3697_a_user_whose_name_is_a_number(hostile: Bundle) -> None:
    (hostile.rootfs / "etc/passwd").write_text("1000:x:0:0:root:/root:/bin/sh\n")
    hostile.config["process"]["user"] = {"uid": 1000, "gid": 1000}
    hostile.shell("id -u; echo $HOME")
    assert hostile.ok("run", hostile.id).split() == ["1000", "/"]


def test_cve_2025_31133_masked_by_a_false_null(hostile: Bundle) -> None:
    """The image's /dev/null is a symlink; what hides a file is the host's device all the same."""
    hostile.config["mounts"] = [m for m in hostile.config["mounts"] if not m["destination"].startswith("/dev")]
    (hostile.rootfs / "dev/null").symlink_to("/proc/sysrq-trigger")
    hostile.config["linux"]["maskedPaths"] = ["/proc/uptime"]
    hostile.shell("stat -c %t:%T /proc/uptime")
    assert hostile.ok("run", hostile.id) == "1:3\n"


def test_cve_2025_52565_the_console_is_a_symlink(hostile: Bundle, tmp_path: Path) -> None:
    """The terminal is bound to a place in the container, wherever the image lets /dev/console lead."""
    target = tmp_path / "target"
    target.write_text("untouched")
    hostile.config["mounts"] = [m for m in hostile.config["mounts"] if m["destination"] != "/dev"]
    (hostile.rootfs / "dev/console").symlink_to(target)
    hostile.config["process"]["terminal"] = True
    hostile.shell("echo said > /dev/console; sleep 0.1")
    hostile.verb("run", hostile.id)
    assert target.read_text() == "untouched"
