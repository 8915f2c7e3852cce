"""criu_opts become options by the one table."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cr.options import Options, rows
from cr.rpc.requests import CONVERTERS, ELSEWHERE, copy_of, merge
from cr.rpc.transport import BadRequest, Client
from images import messages as m


@pytest.fixture
def client() -> Iterator[Client]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        result = Client(ours)
        yield result
        result.close()


def options_of(opts: m.criu_opts, client: Client, base: Options) -> Options:
    options = copy_of(base)
    merge(opts, client, options)
    return options


def ask(client: Client, base: Options | None = None, **fields: Any) -> Options:
    return options_of(m.criu_opts(images_dir_fd=-1, **fields), client, base or Options())


def test_every_field_is_an_option_or_explained() -> None:
    fields = set(m.criu_opts.DESCRIPTOR.fields_by_name)
    mapped = {name for row in rows() for name in (row.rpc or (row.name,))}
    named = {name for row in rows() for name in row.rpc}
    assert named <= fields
    assert set(CONVERTERS) <= mapped & fields
    missing = fields - mapped - set(ELSEWHERE)
    assert not missing


def test_simple_fields(client: Client) -> None:
    options = ask(client, pid=7, leave_running=True, shell_job=False, log_level=4, root="/r", ghost_limit=9, timeout=3)
    assert (options.tree, options.leave_running, options.shell_job, options.verbosity) == (7, True, False, 4)
    assert (options.root, options.ghost_limit, options.timeout, options.log_file) == ("/r", 9, 3, "criu.log")


def test_lists_grow_and_the_base_stays(client: Client) -> None:
    base = Options(external=["mnt[/a]:a"])
    options = ask(client, base, external=["mnt[/b]:b"], ext_mnt=[m.ext_mount_map(key="k", val="v")], auto_ext_mnt=True)
    assert options.external == ["mnt[/a]:a", "mnt[/b]:b"]
    assert options.ext_mount_map == ["k:v", "auto"]
    assert base.external == ["mnt[/a]:a"]


@pytest.mark.parametrize(
    ("fields", "name", "value"),
    [
        ({"manage_cgroups": True}, "manage_cgroups", ""),
        ({"manage_cgroups": False}, "manage_cgroups", None),
        ({"manage_cgroups": True, "manage_cgroups_mode": 0}, "manage_cgroups", "ignore"),
        ({"manage_cgroups_mode": 1}, "manage_cgroups", "none"),
        ({"manage_cgroups_mode": 6}, "manage_cgroups", ""),
        ({"ext_unix_sk": True}, "ext_unix_sk", ""),
        ({"ext_unix_sk": False}, "ext_unix_sk", None),
        ({"unix_sk_ino": [{"inode": 5}, {"inode": 6}]}, "ext_unix_sk", "5,6"),
        ({"empty_ns": 0x40000000}, "empty_ns", ["net"]),
        ({"empty_ns": 0}, "empty_ns", []),
        ({"join_ns": [{"ns": "net", "ns_file": "12"}]}, "join_ns", ["net:12"]),
        ({"join_ns": [{"ns": "user", "ns_file": "/u", "extra_opt": "0,0"}]}, "join_ns", ["user:/u,0,0"]),
        ({"cg_root": [{"ctrl": "cpu", "path": "/c"}, {"ctrl": "", "path": "/d"}, {"path": "/e"}]}, "cgroup_root",
         ["cpu:/c", ":/d", "/e"]),
        ({"inherit_fd": [{"key": "pipe:[9]", "fd": 2}]}, "inherit_fd", ["fd[2]:pipe:[9]"]),
        ({"veths": [{"if_in": "eth0", "if_out": "veth7"}]}, "veth_pair", ["eth0=veth7"]),
        ({"network_lock": 2}, "network_lock", "nftables"),
        ({"pre_dump_mode": 2}, "pre_dump_mode", "read"),
        ({"images_dir": "/images"}, "images_dir", "/images"),
        ({"rst_sibling": True}, "restore_sibling", True),
        ({"tcp_skip_in_flight": True}, "skip_in_flight", True),
    ],
)  # fmt: skip
def test_fields_with_values_of_another_form(client: Client, fields: Any, name: str, value: object) -> None:
    assert getattr(ask(client, **fields), name) == value


def test_directories_are_those_of_the_client(client: Client, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    images, work = os.open(tmp_path, os.O_RDONLY), os.open(tmp_path / "work", os.O_RDONLY)
    options = options_of(m.criu_opts(images_dir_fd=images, work_dir_fd=work), client, Options())
    assert (options.images_dir, options.work_dir) == (str(tmp_path), str(tmp_path / "work"))
    os.rmdir(tmp_path / "work")
    options = options_of(m.criu_opts(images_dir_fd=images, work_dir_fd=work), client, Options())
    assert os.stat(options.work_dir).st_ino == os.fstat(work).st_ino
    os.close(images)
    os.close(work)
    with pytest.raises(BadRequest, match=rf"descriptor {images} of process {os.getpid()} cannot be opened"):
        options_of(m.criu_opts(images_dir_fd=images), client, Options())


def test_files_of_options_come_before_the_fields_and_after_them(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "late.conf"
    file.write_text(f"log-file={tmp_path}/late.log\nno-shell-job\n")
    base = Options(log_file="early", tcp_established=True, shell_job=True)
    assert ask(client, base).log_file == "early"
    assert ask(client, base, log_file="asked").log_file == "asked"
    options = ask(client, base, log_file="asked", shell_job=True, config_file=str(file))
    assert (options.log_file, options.shell_job, options.tcp_established) == (f"{tmp_path}/late.log", False, True)
    assert ask(client, base, config_file=str(tmp_path / "missing")) == ask(client, base)


def test_a_page_server(client: Client) -> None:
    info = m.criu_page_server_info(address="10.0.0.1", port=27)
    options = ask(client, ps=info, tls=True, tls_cert="/c")
    assert (options.page_server, options.address, options.port, options.ps_socket) == (True, "10.0.0.1", 27, -1)
    assert (options.tls, options.tls_cert) == (True, "/c")


def test_what_cannot_be_done_is_refused(client: Client) -> None:
    with pytest.raises(BadRequest, match="No subdirs are allowed in log_file"):
        ask(client, log_file="../x")
    with pytest.raises(BadRequest, match="0x20000000: only the network namespace"):
        ask(client, empty_ns=0x20000000)
    assert ask(client, lazy_pages=False, auto_dedup=False).tree == 0
