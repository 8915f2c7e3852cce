"""Options as criu_opts, the way back of requests.py: what a client of ours asks of any engine that speaks this RPC."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from cr.model import CheckpointError
from cr.options import rows
from cr.rpc.requests import CLONE_NEWNET

if TYPE_CHECKING:
    from images import messages as m

IMPLIED = {"restore_detached", "dry_run"}
"""A restore over RPC is always detached."""


def fill(opts: m.criu_opts, values: Mapping[str, Any]) -> None:
    """Put options, by their long names with underscores, into the message; CheckpointError for one that has no field.

    Directories must be descriptors already: `images_dir_fd`, `work_dir_fd`.
    """
    missing = []
    for name, value in values.items():
        if name in IMPLIED:
            continue
        if name in _WAYS:
            _WAYS[name](opts, value)
        elif (field := _field(name)) in opts.DESCRIPTOR.fields_by_name:
            _put(opts, field, value)
        elif value:
            missing.append("--" + name.replace("_", "-"))
    if missing:
        raise CheckpointError(f"{', '.join(missing)} cannot be asked for by RPC: leave it out")


def _field(name: str) -> str:
    found = next((row.rpc for row in rows() if row.name == name), ())
    return found[0] if len(found) == 1 else name


def _put(opts: Any, field: str, value: Any) -> None:
    if isinstance(value, list):
        getattr(opts, field).extend(value)
    elif value is not None:
        setattr(opts, field, value)


def _pair(text: str, what: str) -> tuple[str, str]:
    key, colon, value = text.partition(":")
    if not colon:
        raise CheckpointError(f"{what} {text!r}: a colon is missing")
    return key, value


def _ext_mount_map(opts: Any, entries: list[str]) -> None:
    for entry in entries:
        if entry == "auto":
            opts.auto_ext_mnt = True
        else:
            key, value = _pair(entry, "--ext-mount-map")
            opts.ext_mnt.add(key=key, val=value)


def _ext_unix_sk(opts: Any, value: str | None) -> None:
    if value is not None:
        opts.ext_unix_sk = True
        for inode in re.findall(r"\d+", value):
            opts.unix_sk_ino.add(inode=int(inode))


def _manage_cgroups(opts: Any, mode: str | None) -> None:
    from images import messages as m

    if mode is not None:
        name = {"": "DEFAULT", "none": "CG_NONE"}.get(mode, mode.upper())
        opts.manage_cgroups, opts.manage_cgroups_mode = True, m.criu_cg_mode.Value(name)


def _cgroup_root(opts: Any, entries: list[str]) -> None:
    for entry in entries:
        controller, colon, path = entry.rpartition(":/")
        if colon:
            opts.cg_root.add(ctrl=controller, path=f"/{path}")
        else:
            opts.cg_root.add(path=entry)


def _inherit_fd(opts: Any, entries: list[str]) -> None:
    for entry in entries:
        match = re.fullmatch(r"fd\[(\d+)\]:(.*)", entry, re.DOTALL)
        if match is None:
            raise CheckpointError(f"--inherit-fd {entry!r}: the form is fd[NUM]:RES")
        opts.inherit_fd.add(fd=int(match[1]), key=match[2])


def _join_ns(opts: Any, entries: list[str]) -> None:
    for entry in entries:
        kind, file = _pair(entry, "--join-ns")
        opts.join_ns.add(ns=kind, ns_file=file)


def _veth_pair(opts: Any, entries: list[str]) -> None:
    for entry in entries:
        inside, _, outside = entry.partition("=")
        opts.veths.add(if_in=inside, if_out=outside)


def _empty_ns(opts: Any, names: list[str]) -> None:
    if names:
        opts.empty_ns = CLONE_NEWNET


def _network_lock(opts: Any, method: str) -> None:
    from images import messages as m

    if method:
        opts.network_lock = m.criu_network_lock_method.Value(method.upper())


def _pre_dump_mode(opts: Any, mode: str) -> None:
    if mode:
        opts.pre_dump_mode = {"splice": 1, "read": 2}[mode]


def _page_server(opts: Any, wanted: bool) -> None:
    if wanted:
        opts.ps.SetInParent()


def _address(opts: Any, text: str) -> None:
    opts.ps.address = text


def _port(opts: Any, number: int) -> None:
    opts.ps.port = number


_WAYS: dict[str, Callable[[Any, Any], None]] = {
    "ext_mount_map": _ext_mount_map,
    "ext_unix_sk": _ext_unix_sk,
    "manage_cgroups": _manage_cgroups,
    "cgroup_root": _cgroup_root,
    "inherit_fd": _inherit_fd,
    "join_ns": _join_ns,
    "veth_pair": _veth_pair,
    "empty_ns": _empty_ns,
    "network_lock": _network_lock,
    "pre_dump_mode": _pre_dump_mode,
    "page_server": _page_server,
    "address": _address,
    "port": _port,
}
"""Options whose fields have another form."""
