"""Bind mounts whose sources earlier mounts of the container have made, and that its process may not open itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runtime.bundle import Bundle, inside

pytestmark = pytest.mark.root

MAPPINGS = [{"containerID": 0, "hostID": 100000, "size": 65536}]


def give_user_namespace(bundle: Bundle, tmp_path: Path) -> None:
    """One whose root can reach the bundle, and may write to the container's root."""
    bundle.config["linux"]["namespaces"].append({"type": "user"})
    bundle.config["linux"].update(uidMappings=MAPPINGS, gidMappings=MAPPINGS)
    for path in (tmp_path, *tmp_path.parents[:2], bundle.path, *bundle.rootfs.iterdir(), bundle.rootfs):
        if not path.is_symlink():
            path.chmod(0o777)


def bind(bundle: Bundle, source: Path, destination: str, idmap: bool = False) -> None:
    mount = {"source": str(source), "destination": destination, "options": ["rbind"]}
    if idmap:
        mount.update(uidMappings=MAPPINGS, gidMappings=MAPPINGS)
    bundle.config["mounts"].append(mount)


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """On the host, out of the container's reach: a directory with a file and a link that leads out of a root."""
    (tmp_path / "closed/volume/below").mkdir(parents=True)
    (tmp_path / "closed/volume/below/file").write_text("kept\n")
    (tmp_path / "closed/volume/link").symlink_to("/etc")
    (tmp_path / "closed").chmod(0o700)
    return tmp_path / "closed/volume"


@pytest.mark.parametrize("idmap", [False, True])
@pytest.mark.parametrize("user_namespace", [False, True])
def test_what_an_earlier_mount_made(
    bundle: Bundle, tmp_path: Path, volume: Path, user_namespace: bool, idmap: bool
) -> None:
    if user_namespace:
        give_user_namespace(bundle, tmp_path)
    bind(bundle, volume, "/tmp/first")
    bind(bundle, bundle.rootfs / "tmp/first/below", "/tmp/again", idmap)
    bind(bundle, bundle.rootfs / "tmp/again", "/tmp/third")
    said = inside(bundle, "cat /tmp/again/file /tmp/third/file; stat -c %u /tmp/again")
    shown = 0 if user_namespace and idmap else 65534 if user_namespace else 100000 if idmap else 0
    assert said.split() == ["kept", "kept", str(shown)]


def test_links_of_an_earlier_mount_stay_in_the_root(bundle: Bundle, tmp_path: Path, volume: Path) -> None:
    give_user_namespace(bundle, tmp_path)
    bind(bundle, volume, "/tmp/first")
    bind(bundle, bundle.rootfs / "tmp/first/link", "/tmp/etc")
    assert inside(bundle, "ls /tmp/etc").split() == ["passwd"]


def test_a_source_that_no_mount_makes_is_named(bundle: Bundle, tmp_path: Path) -> None:
    give_user_namespace(bundle, tmp_path)
    bind(bundle, bundle.rootfs / "tmp/nothing", "/tmp/there")
    bundle.shell("true")
    said = bundle.fails("run", bundle.id)
    assert "/tmp/there" in said
    assert f"stat {bundle.rootfs}/tmp/nothing: no such file or directory" in said
