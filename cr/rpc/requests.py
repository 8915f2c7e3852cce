"""criu_opts as Options, by the one table of options (cr.options): a row's `rpc` names the fields that it comes from.

The order of criu(8): configuration files and the command line, then the fields of the request, then the file that its
`config_file` names.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from cr import log
from cr.arguments import apply, read
from cr.configuration import words
from cr.options import Options, rows
from cr.rpc.transport import BadRequest, Client
from cr.values import replace

if TYPE_CHECKING:
    from images import messages as m

DEFAULT_LOG = "criu.log"
CLONE_NEWNET = 0x40000000
KEEP: Any = object()
"""What a converter gives for a value that means nothing: the option stays what it was."""

ELSEWHERE = {
    "notify_scripts": "says whether there are notifications, see conversation.py",
    "config_file": "a file of options, which is read last",
    "ps": "address, port and connection of a page server, see _page_server",
    "log_to_stderr": "an empty log_file means that already, see _settle_log",
}
"""Fields of criu_opts that are no option of their own."""


def copy_of(options: Options) -> Options:
    """A copy whose lists can grow."""
    return replace(options, **{row.name: list(getattr(options, row.name)) for row in rows() if row.kind == "list"})


def merge(opts: m.criu_opts, client: Client, options: Options) -> None:
    """Put what the message asks for into `options`; BadRequest where it cannot be done."""
    known, given = set(ELSEWHERE), {field.name: value for field, value in opts.ListFields()}
    for row in rows():
        for name in row.rpc or (row.name,):
            known.add(name)
            if name in given and (value := _convert(name, given[name], client)) is not KEEP:
                setattr(options, row.name, [*getattr(options, row.name), *value] if row.kind == "list" else value)
    unknown = [name for name, value in given.items() if name not in known and value]
    if unknown:
        raise BadRequest(f"the engine does not support {', '.join(sorted(unknown))}; leave it out")
    if opts.HasField("ps"):
        _page_server(opts.ps, client, options)
    _settle_log(opts, options)
    if os.path.exists(opts.config_file):  # runc names one without looking whether it is there
        apply(read(words(opts.config_file)).settings, options)


def _page_server(info: m.criu_page_server_info, client: Client, options: Options) -> None:
    options.page_server = True
    options.address, options.port = info.address or options.address, info.port or options.port
    if info.HasField("fd"):
        options.ps_socket = client.lent(info.fd, "ps")


def _settle_log(opts: m.criu_opts, options: Options) -> None:
    """No subdirectories, by the rule of criu; its default name where nothing is said."""
    if opts.log_to_stderr:
        options.log_file = ""
    elif not options.log_file:
        options.log_file = DEFAULT_LOG


def _convert(name: str, value: Any, client: Client) -> Any:
    if name in CONVERTERS:
        return CONVERTERS[name](value, client)
    return value


def _directory(number: int, client: Client) -> Any:
    return client.directory(number, "images_dir_fd or work_dir_fd") if number >= 0 else KEEP


def _log_file(name: str, _: Client) -> str:
    if "/" in name:
        raise BadRequest(f"No subdirs are allowed in log_file name: {name!r}")
    return name


def _flag_mode(wanted: bool, _: Client) -> str | None:
    return "" if wanted else None


def _cgroup_mode(value: int, _: Client) -> str:
    from images import messages as m

    return {"CG_NONE": "none", "DEFAULT": ""}.get(name := m.criu_cg_mode.Name(value), name.lower())


def _pre_dump_mode(value: int, _: Client) -> str:
    return {1: "splice", 2: "read"}[value]


def _network_lock(value: int, _: Client) -> str:
    from images import messages as m

    return m.criu_network_lock_method.Name(value).lower()


def _empty_ns(flags: int, _: Client) -> list[str]:
    if flags & ~CLONE_NEWNET:
        raise BadRequest(f"empty_ns {flags:#x}: only the network namespace ({CLONE_NEWNET:#x}) can be left empty")
    return ["net"] if flags else []


def _join_ns(entries: Iterable[Any], _: Client) -> list[str]:
    return [f"{e.ns}:{e.ns_file}" + (f",{e.extra_opt}" if e.extra_opt else "") for e in entries]


def _cgroup_roots(entries: Iterable[Any], _: Client) -> list[str]:
    return [f"{e.ctrl}:{e.path}" if e.HasField("ctrl") else e.path for e in entries]


def _sibling(wanted: bool, client: Client) -> bool:
    if wanted and client.apart:
        raise BadRequest("rst_sibling: only over swrk does a tree become a child of the process that asks")
    return wanted


def _cpu_capabilities(bits: int, _: Client) -> str:
    return ",".join(name for name, bit in (("fpu", 1), ("cpu", 2), ("ins", 4)) if bits & bit) or "none"


def _sockets(entries: Iterable[Any], _: Client) -> str:
    return ",".join(str(entry.inode) for entry in entries)


CONVERTERS: dict[str, Callable[[Any, Client], Any]] = {
    "images_dir_fd": _directory,
    "work_dir_fd": _directory,
    "status_fd": lambda number, client: os.dup(client.open(number, os.O_WRONLY, "status_fd")),
    "log_file": _log_file,
    "exec_cmd": lambda *_: KEEP,  # the command itself, see actions.py
    "ext_unix_sk": _flag_mode,
    "unix_sk_ino": _sockets,
    "manage_cgroups": _flag_mode,
    "manage_cgroups_mode": _cgroup_mode,
    "cg_root": _cgroup_roots,
    "ext_mnt": lambda entries, _: [f"{entry.key}:{entry.val}" for entry in entries],
    "auto_ext_mnt": lambda wanted, _: ["auto"] if wanted else [],
    "veths": lambda entries, _: [f"{entry.if_in}={entry.if_out}" for entry in entries],
    "inherit_fd": lambda entries, client: [
        f"fd[{client.lent(entry.fd, 'inherit_fd')}]:{entry.key}" for entry in entries
    ],
    "rst_sibling": _sibling,
    "empty_ns": _empty_ns,
    "join_ns": _join_ns,
    "network_lock": _network_lock,
    "cpu_cap": _cpu_capabilities,
    "pre_dump_mode": _pre_dump_mode,
    "pidfd_store_sk": lambda number, client: client.lent(number, "pidfd_store_sk"),
}
"""Fields whose values are not yet those of the option: (value, client) to the option's value, a list for a list."""


def warn_of_unknown(opts: m.criu_opts) -> None:
    """Fields that a newer client knows and this engine does not."""
    from google.protobuf.unknown_fields import UnknownFieldSet

    unknown: Iterable[Any] = UnknownFieldSet(opts)  # type: ignore[assignment]  # the stubs lack its iterator
    for field in unknown:
        log.warning(f"field {field.field_number} of criu_opts is not known here, and left out")
