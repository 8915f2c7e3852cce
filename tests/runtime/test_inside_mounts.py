"""What a container's process finds in its root: devices, mounts, masked and read-only paths."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runtime.bundle import Bundle, inside

pytestmark = pytest.mark.root


def test_devices_and_links(bundle: Bundle) -> None:
    listing = inside(bundle, "ls -l /dev | tr -s ' '; head -c 3 /dev/zero | wc -c; echo x > /dev/null; cat /dev/fd/0")
    for text in ("fd -> /proc/self/fd", "ptmx -> pts/ptmx", "1, 3 ", "5, 0 "):
        assert text in listing
    assert "3" in listing.splitlines()


def test_a_configured_device(bundle: Bundle) -> None:
    bundle.config["linux"]["devices"] = [
        {"path": "/dev/mynull", "type": "c", "major": 1, "minor": 3, "fileMode": 0o602, "uid": 7, "gid": 8}
    ]
    assert inside(bundle, "stat -c '%a %u %g %t %T' /dev/mynull; echo hi > /dev/mynull").split() == [
        "602",
        "7",
        "8",
        "1",
        "3",
    ]


def test_read_only_root_masked_and_readonly_paths(bundle: Bundle) -> None:
    out = inside(
        bundle,
        "touch /x 2>/dev/null || echo root; echo 1 > /proc/sys/kernel/panic 2>/dev/null || echo sysctl;"
        "wc -c < /proc/timer_list; ls /sys/firmware | wc -l",
    )
    assert out.split() == ["root", "sysctl", "0", "0"]


def mounts_of(text: str) -> dict[str, list[str]]:
    """{mount point: options and propagation fields} of a mountinfo text."""
    return {line.split()[4]: line.split()[5:] for line in text.splitlines()}


def add_mount(bundle: Bundle, destination: str, kind: str, source: str, *options: str) -> None:
    mount = {"destination": destination, "type": kind, "source": source, "options": list(options)}
    bundle.config["mounts"].append(mount)


def test_mount_options(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "file").write_text("content\n")
    add_mount(bundle, "/a", "bind", str(tmp_path / "src"), "rbind", "ro", "nosuid", "noexec", "rshared")
    add_mount(bundle, "/deep/er/file", "bind", str(tmp_path / "file"), "bind")
    add_mount(bundle, "/t", "tmpfs", "tmpfs", "size=64k", "mode=700", "nodev", "ro")
    out = inside(bundle, "cat /proc/self/mountinfo; cat /deep/er/file; stat -c %a /t")
    found = mounts_of("\n".join(line for line in out.splitlines() if " - " in line))
    assert {"ro", "nosuid", "noexec"} <= set(found["/a"][0].split(","))
    assert any(word.startswith("shared:") for word in found["/a"])
    assert {"ro", "nodev"} <= set(found["/t"][0].split(","))
    assert "size=64k" in found["/t"][-1]
    assert out.splitlines()[-2:] == ["content", "700"]


def test_tmpcopyup(bundle: Bundle) -> None:
    (bundle.rootfs / "etc/dir").mkdir()
    (bundle.rootfs / "etc/dir/f").write_text("below\n")
    (bundle.rootfs / "etc/link").symlink_to("dir/f")
    add_mount(bundle, "/etc", "tmpfs", "tmpfs", "tmpcopyup")
    assert inside(bundle, "cat /etc/link; echo new > /etc/dir/f; cat /etc/dir/f") == "below\nnew\n"
    assert (bundle.rootfs / "etc/dir/f").read_text() == "below\n"


def test_propagation_of_the_root(bundle: Bundle) -> None:
    bundle.config["linux"]["rootfsPropagation"] = "shared"
    fields = mounts_of(inside(bundle, "cat /proc/self/mountinfo"))["/"]
    assert any(word.startswith("shared:") for word in fields)


def test_symlinks_in_the_root_cannot_lead_out(bundle: Bundle, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (bundle.rootfs / "evil").symlink_to(outside)
    (bundle.rootfs / "up").symlink_to("../../../../../../../.." + str(outside))
    add_mount(bundle, "/evil/a", "tmpfs", "tmpfs")
    add_mount(bundle, "/up/b", "tmpfs", "tmpfs")
    found = mounts_of(inside(bundle, "cat /proc/self/mountinfo"))
    assert {f"{outside}/a", f"{outside}/b"} <= set(found), "the links count from the container's root"
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("kind", ["proc", "sysfs"])
def test_proc_and_sysfs_need_a_plain_directory(bundle: Bundle, kind: str) -> None:
    (bundle.rootfs / "link").symlink_to("/tmp")
    add_mount(bundle, "/link", kind, kind)
    assert "without symbolic links" in bundle.fails("run", bundle.id)


def test_nothing_but_procfs_at_proc(bundle: Bundle, tmp_path: Path) -> None:
    add_mount(bundle, "/proc", "bind", str(tmp_path), "bind")
    assert "only procfs may be mounted at /proc" in bundle.fails("run", bundle.id)
    bundle.config["mounts"].pop()
    add_mount(bundle, "/proc/sys", "tmpfs", "tmpfs")
    assert "inside of /proc" in bundle.fails("run", bundle.id)
