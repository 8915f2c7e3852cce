"""Lines of /proc/PID/mountinfo, what each mount is, and the plan that brings them back."""

from __future__ import annotations

import pytest

from cr.kernel import mounts as sys
from cr.kernel.mountinfo import Mount, parse_line
from cr.model import BadImages, CheckpointError
from cr.resources.mounts.machinery.external import AUTODETECTED, MountOptions
from cr.resources.mounts.machinery.nodes import MountPlan, walk
from cr.resources.mounts.machinery.plan import make_plan
from cr.resources.mounts.machinery.survey import Found, Kind, Survey
from images import messages as m


def line(text: str) -> Mount:
    return parse_line(text.encode())


ROOT = line("10 1 8:1 /images/root / rw,relatime - ext4 /dev/sda rw")
DEV = line("11 10 0:40 / /dev rw,nosuid shared:7 - tmpfs dev rw,size=64k,mode=755")
PTS = line("12 11 0:41 / /dev/pts rw,noexec,relatime - devpts pts rw,mode=620")
NULL = line("13 10 0:40 /null /masked ro,relatime - tmpfs dev rw")
HOSTS = line("14 10 8:1 /etc/hosts /etc/hosts rw,relatime - ext4 /dev/sda rw")
WORK = line("15 10 8:1 /images/root/work /bound rw,relatime - ext4 /dev/sda rw")


def test_a_line_says_everything() -> None:
    mount = line(r"36 35 98:0 /a\040b//deleted /m\134x ro,noatime,nodev shared:1 master:2 - tmpfs odd\011 ro,uid=5")
    assert (mount.id, mount.parent, mount.device, mount.device_name) == (36, 35, 98 << 20, "98:0")
    assert (mount.root, mount.deleted, mount.mountpoint, mount.source) == ("/a b", True, "/m\\x", "odd\t")
    expected = sys.MS_RDONLY | sys.MS_NOATIME | sys.MS_NODEV | sys.MS_SHARED | sys.MS_SLAVE
    assert (mount.flags, mount.shared, mount.master) == (expected, 1, 2)
    assert (mount.sb_flags, mount.options) == (sys.MS_RDONLY, "uid=5")


def test_neither_relatime_nor_noatime_is_strictatime() -> None:
    assert DEV.flags & sys.MS_STRICTATIME
    assert not ROOT.flags & sys.MS_STRICTATIME


def survey(*mounts: Mount, host: tuple[Mount, ...] = (), **options: object) -> Survey:
    found = Survey(MountOptions(**options), list(host))  # type: ignore[arg-type]
    found.look({1: list(mounts)})
    return found


def kinds(found: Survey) -> dict[str, Kind]:
    return {each.mount.mountpoint: each.kind for each in found.found[1]}


def test_every_mount_is_something() -> None:
    found = survey(ROOT, DEV, PTS, NULL, HOSTS, WORK, named={"/etc/hosts": "HOSTS"})
    assert not found.obstacles
    assert kinds(found) == {
        "/": Kind.ROOT,
        "/dev": Kind.MADE,
        "/dev/pts": Kind.MADE,
        "/masked": Kind.MADE,
        "/etc/hosts": Kind.EXTERNAL,
        "/bound": Kind.BOUND,
    }


def test_what_is_from_outside_is_refused_with_the_way_out() -> None:
    (sentence,) = survey(ROOT, HOSTS).obstacles
    assert "/etc/hosts (ext4)" in sentence
    assert "--external mnt[/etc/hosts]:NAME" in sentence


def test_other_filesystems_have_other_ways_out() -> None:
    disk = line("14 10 7:3 / /disk rw - xfs /dev/loop3 rw")
    ram = line("15 10 0:70 / /ram rw - ramfs ram rw")
    found = survey(ROOT, disk, ram)
    assert "--external dev[7/3]:NAME" in found.obstacles[0]
    assert "--enable-fs ramfs" in found.obstacles[1]
    assert "what is in a ramfs is not saved" in found.obstacles[1]
    found = survey(ROOT, disk, ram, devices={"7/3": "DISK"}, enabled=frozenset({"ramfs"}))
    assert not found.obstacles
    assert kinds(found) == {"/": Kind.ROOT, "/disk": Kind.DEVICE, "/ram": Kind.ENABLED}
    assert found.found[1][1].mount.source == "dev[DISK]"


def test_a_part_of_a_tmpfs_whose_root_is_not_mounted_is_refused() -> None:
    assert "/masked" in survey(ROOT, NULL).obstacles[0]


def test_a_skipped_mount_takes_what_is_on_it_along() -> None:
    found = survey(ROOT, DEV, PTS, skipped=frozenset({"/dev"}))
    assert list(kinds(found)) == ["/"]


def detected(mount: Mount, *host: Mount, **options: object) -> Found | str:
    found = survey(ROOT, mount, host=host, detect=True, **options)
    return found.obstacles[0] if found.obstacles else found.found[1][1]


def test_detection_finds_the_path_on_the_host() -> None:
    etc = line("2 1 8:1 /etc /host/etc rw - ext4 /dev/sda rw")
    found = detected(HOSTS, line("1 0 8:1 / / rw - ext4 /dev/sda rw"), etc)
    assert isinstance(found, Found)
    assert (found.kind, found.key, found.mount.source) == (Kind.EXTERNAL, AUTODETECTED, "/host/etc/hosts")


def test_detection_respects_the_flags() -> None:
    host = line("1 0 0:50 / /srv rw shared:3 - nfs srv rw")
    slave = line("14 10 0:50 / /srv rw master:3 - nfs srv rw")
    shared = line("14 10 0:50 / /srv rw shared:3 - nfs srv rw")
    assert "--enable-external-masters" in str(detected(slave, host))
    assert isinstance(detected(slave, host, masters=True), Found)
    assert "--enable-external-sharing" in str(detected(shared, host))
    assert isinstance(detected(shared, host, sharing=True), Found)


def test_a_slave_of_something_outside_is_refused() -> None:
    slave = line("14 10 0:50 / /srv rw master:3 - tmpfs srv rw")
    assert "master:3" in survey(ROOT, slave).obstacles[0]


def entry(mnt_id: int, parent: int, mountpoint: str, **fields: object) -> m.mnt_entry:
    values: dict[str, object] = {"fstype": 5, "root_dev": 40, "flags": 0, "root": "/", "source": "x", "options": ""}
    return m.mnt_entry(mnt_id=mnt_id, parent_mnt_id=parent, mountpoint=mountpoint, **{**values, **fields})


def plan(*entries: m.mnt_entry, root: str = "/srv/root", **options: object) -> MountPlan:
    return make_plan({1: list(entries)}, MountOptions(**options), root)  # type: ignore[arg-type]


BASE = entry(1, 0, "/", fstype=0, root_dev=8, root="/images/root")


def test_deep_mountpoints_come_before_those_that_hide_them() -> None:
    made = plan(BASE, entry(2, 1, "/a"), entry(3, 1, "/a/b/c", root_dev=41), entry(4, 2, "/a/x"), entry(5, 1, "/"))
    assert [node.entry.mnt_id for node in walk(made.roots[1])] == [1, 3, 2, 4, 5]


def test_parts_are_taken_from_the_source_that_has_them() -> None:
    bound = entry(3, 1, "/b", root_dev=8, fstype=0, root="/images/root/work")
    part = entry(4, 1, "/c", root="/null")
    made = plan(BASE, part, entry(2, 1, "/dev", options="size=1m"), bound)
    nodes = {node.entry.mountpoint: node for node in made.nodes}
    assert (nodes["/b"].source.path, nodes["/b"].part) == ("/srv/root", "work")
    assert nodes["/c"].source is nodes["/dev"].source
    assert (nodes["/c"].part, nodes["/c"].source.options) == ("null", "size=1m")


def test_masters_are_made_before_their_slaves() -> None:
    slave = entry(2, 1, "/a", shared_id=9, master_id=8)
    made = plan(BASE, slave, entry(3, 1, "/b", shared_id=8), entry(4, 1, "/c", master_id=9))
    assert [(group.shared, group.master) for group in made.groups] == [(8, 0), (9, 8), (0, 9)]
    assert made.groups[2].master_group is made.groups[1]


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ([entry(2, 1, "/a")], "has no root"),
        ([BASE, entry(2, 7, "/a")], "stands on no other mount"),
        ([BASE, entry(2, 3, "/a"), entry(3, 2, "/a")], "in a circle"),
        ([BASE, entry(2, 1, "/a", root="/../etc")], "leads upwards"),
        ([BASE, entry(2, 1, "/../a")], "leads upwards"),
        ([BASE, entry(2, 1, "/a", fstype=0, root_dev=9)], "say nothing of what is mounted there"),
        ([BASE, entry(2, 1, "/a", shared_id=3, master_id=3)], "its own master"),
    ],
)
def test_images_that_contradict_themselves_are_refused(entries: list[m.mnt_entry], sentence: str) -> None:
    with pytest.raises(BadImages, match=sentence):
        plan(*entries)


def test_what_the_user_must_say_is_asked_for() -> None:
    with pytest.raises(CheckpointError, match="--root"):
        plan(BASE, root="")
    outside = entry(2, 1, "/a", ext_key="DATA")
    with pytest.raises(CheckpointError, match=r"--external mnt\[DATA\]:PATH"):
        plan(BASE, outside)
    device = entry(2, 1, "/a", fstype=16, fsname="ext4", source="dev[disk]", ext_key="CRIU:EXTERNAL_DEV")
    with pytest.raises(CheckpointError, match=r"--external dev\[disk\]:FILE"):
        plan(BASE, device)
    made = plan(BASE, device, devices={"disk": "/dev/sdb"})
    assert (made.sources[1].device_file, made.sources[1].fsname) == ("/dev/sdb", "ext4")
