"""Checkpoint and restore: a container mapped onto the engine's options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cr import stdio as outside
from oci.spec import default_config
from runtime.container import Container
from runtime.engine import check_supported
from runtime.errors import ContainerError
from runtime.frozen import binds, freeze, stdio, thaw
from runtime.frozen.options import CHECKPOINT, RESTORE, dump_options, shared_options
from runtime.namespaces import Namespaces
from runtime.options import Verb
from runtime.store import Store

CGROUPS = [("cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct/c1"), ("name=systemd", "/sys/fs/cgroup/systemd/c1")]


def values(words: str, rows: Any = CHECKPOINT) -> dict[str, Any]:
    return Verb("v", "u", minimum=0, maximum=0, options=rows).parse(words.split())[0]


def config() -> Any:
    made: Any = default_config()
    made["mounts"].append({"destination": "/etc/hosts", "type": "bind", "source": "/h", "options": ["rbind"]})
    return made


def test_defaults_of_a_dump() -> None:
    assert dump_options(values("")) == {"manage_cgroups": "soft", "empty_ns": ["net"]}


def test_every_option_of_a_dump() -> None:
    words = (
        "--leave-running --tcp-established --ext-unix-sk --shell-job --lazy-pages --status-fd 7 --file-locks "
        "--page-server [::1]:27 --pre-dump --manage-cgroups-mode strict --empty-ns network --auto-dedup "
        "--parent-path ../old --work-path /w"
    )
    options = dump_options(values(words))
    assert options == {
        "leave_running": True,
        "tcp_established": True,
        "ext_unix_sk": "",
        "shell_job": True,
        "lazy_pages": True,
        "status_fd": 7,
        "file_locks": True,
        "page_server": True,
        "address": "::1",
        "port": 27,
        "pre_dump": True,
        "manage_cgroups": "strict",
        "empty_ns": ["net"],
        "auto_dedup": True,
        "prev_images_dir": "../old",
        "track_mem": True,
        "work_dir": "/w",
    }


def test_a_network_of_the_containers_own_is_not_left_empty() -> None:
    for rows in (CHECKPOINT, RESTORE):
        assert shared_options(values("--own-network", rows))["empty_ns"] == []


def test_every_option_of_a_restore() -> None:
    words = "--lsm-profile apparmor:x --lsm-mount-context y --tcp-established --lazy-pages"
    options = shared_options(values(words, RESTORE))
    assert options["lsm_profile"] == "apparmor:x"
    assert options["lsm_mount_context"] == "y"
    assert options["tcp_established"] and options["lazy_pages"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--manage-cgroups-mode odd", "Invalid manage cgroups mode 'odd'"),
        ("--empty-ns pid", "'pid' is not supported by --empty-ns"),
        ("--empty-ns network --own-network", "contradict each other"),
        ("--page-server host", "--page-server ADDRESS:PORT"),
        ("--page-server host:http", "--page-server ADDRESS:PORT"),
    ],
)
def test_bad_options(words: str, message: str) -> None:
    with pytest.raises(ContainerError, match=message):
        dump_options(values(words))


def test_externals_of_a_dump_are_named_as_runc_names_them() -> None:
    rows = binds.dump_externals(config(), CGROUPS, ["/proc/keys"])
    assert rows[:4] == [
        "mnt[/sys/fs/cgroup/cpu,cpuacct]:/sys/fs/cgroup/cpu,cpuacct",
        "mnt[/sys/fs/cgroup/systemd]:/sys/fs/cgroup/systemd",
        "mnt[/etc/hosts]:/etc/hosts",
        "mnt[/proc/keys]:/dev/null",
    ]
    assert "mnt[/dev/tty]:/dev/tty" in rows


def test_externals_of_a_restore() -> None:
    rows = binds.restore_externals(config(), CGROUPS)
    assert rows[:3] == [
        "mnt[/sys/fs/cgroup/cpu,cpuacct]:/sys/fs/cgroup/cpu,cpuacct/c1",
        "mnt[/sys/fs/cgroup/systemd]:/sys/fs/cgroup/systemd/c1",
        "mnt[/etc/hosts]:/h",
    ]
    assert rows.count("mnt[/dev/null]:/dev/null") == 1


def test_cgroup2_with_its_namespace_is_the_engines_own() -> None:
    made = config()
    assert binds.cgroup_places(made, [("", "/sys/fs/cgroup/c1")]) == []
    made["linux"]["namespaces"] = [{"type": "mount"}]
    assert binds.cgroup_places(made, [("", "/sys/fs/cgroup/c1")]) == [("/sys/fs/cgroup", "/sys/fs/cgroup/c1")]


def test_namespaces_by_path() -> None:
    spaces = Namespaces(
        {
            "namespaces": [
                {"type": "network", "path": "/n"},
                {"type": "pid", "path": "/p"},
                {"type": "ipc", "path": "/i"},
            ]
        }
    )
    numbers = {"/n": 11, "/p": 12}
    assert binds.dump_namespaces(spaces, numbers.__getitem__) == [
        "net[11]:extRootNetNS",
        "pid[12]:extRootPidNS",
    ]
    inherit, join = binds.restore_namespaces(spaces, numbers.__getitem__)
    assert inherit == ["fd[11]:extRootNetNS", "fd[12]:extRootPidNS"]
    assert join == ["ipc:/i"]


def test_a_joined_mount_namespace_cannot_be_restored() -> None:
    spaces = Namespaces({"namespaces": [{"type": "mount", "path": "/m"}]})
    with pytest.raises(ContainerError, match="joins the mount namespace /m cannot be restored"):
        binds.restore_namespaces(spaces, lambda path: 3)


def test_descriptors(tmp_path: Path) -> None:
    (tmp_path / stdio.NAME).write_text(json.dumps(["/dev/null", "pipe:[5]", "/var/log/x"]))
    assert stdio.read(str(tmp_path)) == ["", "pipe:[5]", ""]
    (tmp_path / outside.NAME).write_text(json.dumps(["", "", "file[1a:ff]"]))
    assert stdio.inherit(stdio.read(str(tmp_path))) == ["fd[1]:pipe:[5]", "fd[2]:file[1a:ff]"]
    assert stdio.read(str(tmp_path / "none")) == []
    (tmp_path / stdio.NAME).write_text("{")
    with pytest.raises(ContainerError, match="not valid JSON"):
        stdio.read(str(tmp_path))


def container(tmp_path: Path) -> Container:
    record = {"pid": 5, "rootfs": "/b/rootfs", "cgroup": {"freezer": "/f/c1"}, "config": config()}
    return Container(Store(str(tmp_path), "c1"), record)


def test_a_dump_request(tmp_path: Path) -> None:
    options = {"leave_running": True, "external": ["file[1:2]"]}
    request = freeze.compose(container(tmp_path), "/img", options, CGROUPS, [])
    assert (request.pid, request.directory) == (5, "/img")
    assert request.options["root"] == "/b/rootfs"
    assert request.options["freeze_cgroup"] == "/f/c1"
    assert request.options["log_file"] == "dump.log"
    assert request.options["leave_running"] is True
    assert "file[1:2]" in request.options["external"]
    assert "mnt[/etc/hosts]:/etc/hosts" in request.options["external"]


def test_a_restore_request() -> None:
    places = {"root": "/s/c1/criu-root", "inherit_fd": ["fd[0]:pipe:[1]"], "join_ns": []}
    roots = binds.cgroup_roots({"memory": "/a/c1", "": "/c1"})
    request = thaw.compose(config(), "/img", places, CGROUPS, roots, {"manage_cgroups": "soft"})
    assert request.options["root"] == "/s/c1/criu-root"
    assert request.options["cgroup_root"] == ["memory:/a/c1", ":/c1"]
    assert request.options["restore_detached"] is True
    assert "join_ns" not in request.options
    ignoring = thaw.compose(config(), "/img", places, CGROUPS, roots, {"manage_cgroups": "ignore"})
    assert "cgroup_root" not in ignoring.options


def test_options_that_the_engine_lacks_are_all_named() -> None:
    with pytest.raises(ContainerError, match="does not support --bogus, --other-one"):
        check_supported({"bogus": 1, "other_one": 1, "root": "/"})


def test_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = values("--work-path w")
    assert freeze.image_directory(given, create=True) == str(tmp_path / "checkpoint")
    assert (tmp_path / "checkpoint").stat().st_mode & 0o777 == 0o700
    assert given["work_path"] == str(tmp_path / "w")
    with pytest.raises(ContainerError, match="there is no image directory"):
        freeze.image_directory(values("--image-path none"), create=False)
    with pytest.raises(ContainerError, match="must be relative"):
        freeze.check_parent(str(tmp_path), "/abs")
    with pytest.raises(ContainerError, match=r"there is no directory .*/old"):
        freeze.check_parent(str(tmp_path), "../old")
