"""runc's options of checkpoint and restore as options of the engine; pure."""

from __future__ import annotations

import os

from runtime.errors import ContainerError
from runtime.options import Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CONFIGURATION = "org.criu.config"
"""The annotation that names a file of the engine's options for this container; empty: none.  As runc has it."""
DEFAULT_CONFIGURATION = "/etc/criu/runc.conf"
MODES = ("soft", "full", "strict", "ignore", "none", "props")
EMPTY_NS = ("network", "net")

SHARED = (
    Option("image-path", "path of the image files"),
    Option("work-path", "path for work files and logs"),
    Option("tcp-established", "allow open tcp connections", "flag"),
    Option("ext-unix-sk", "allow external unix sockets", "flag"),
    Option("shell-job", "allow shell jobs", "flag"),
    Option("file-locks", "handle file locks, for safety", "flag"),
    Option("manage-cgroups-mode", "cgroups mode: 'soft' (default), 'full', 'strict' and 'ignore'"),
    Option("empty-ns", "create a namespace, but don't restore its properties", "list"),
    Option("own-network", "links, addresses and rules are the container's own: nobody outside makes them anew", "flag"),
    Option("auto-dedup", "deduplicate memory images", "flag"),
    Option("lazy-pages", "restore memory pages lazily by userfaultfd", "flag"),
)
CHECKPOINT = (
    *SHARED,
    Option("parent-path", "path of the previous image files in pre-dump"),
    Option("leave-running", "leave the process running after checkpointing", "flag"),
    Option("status-fd", "a \\0 is written to this descriptor once lazy-pages is ready", "int", default=-1),
    Option("page-server", "ADDRESS:PORT of the page server"),
    Option("pre-dump", "dump the container's memory only, leave the container running", "flag"),
)
RESTORE = (
    *SHARED,
    Option("bundle", "path to the root of the bundle directory", short="b"),
    Option("console-socket", "path to an AF_UNIX socket which receives the master of the terminal"),
    Option("detach", "detach from the container's process", "flag", short="d"),
    Option("pid-file", "the file to write the process id to"),
    Option("no-subreaper", "do not become the parent of orphaned processes", "flag"),
    Option("no-pivot", "accepted: the engine's way into the root does not depend on it", "flag"),
    Option("remap-ip", "OLD=NEW: an address, or a network, of the container is another one now", "list"),
    Option("remap-port", "OLD=NEW: a port of the container is another one now", "list"),
    Option("hostname", "the container's host name is another one now"),
    Option("lsm-profile", "an LSM profile to be used during restore in the form of TYPE:NAME"),
    Option("lsm-mount-context", "an LSM mount context to be used during restore"),
)
# flags that mean the same to the engine, by their name on the command line with underscores
_SAME = ("tcp_established", "shell_job", "file_locks", "auto_dedup", "lazy_pages", "leave_running", "pre_dump")


def shared_options(values: dict[str, Any]) -> dict[str, Any]:
    """What the command line says, for either direction; only what is not the default is in the result."""
    options: dict[str, Any] = {name: True for name in _SAME if values.get(name)}
    if values["ext_unix_sk"]:
        options["ext_unix_sk"] = ""
    if os.geteuid() != 0:
        options["unprivileged"] = True
    options["manage_cgroups"] = cgroup_mode(values["manage_cgroups_mode"])
    options["empty_ns"] = empty_namespaces(values["empty_ns"], values["own_network"])
    for name in ("lsm_profile", "lsm_mount_context", "remap_ip", "remap_port", "hostname"):
        if values.get(name):
            options[name] = values[name]
    if values["work_path"]:
        options["work_dir"] = values["work_path"]
    return options


def dump_options(values: dict[str, Any]) -> dict[str, Any]:
    """The further ones of checkpoint."""
    options = shared_options(values)
    if values["parent_path"]:
        options["prev_images_dir"] = values["parent_path"]
        options["track_mem"] = True
    if values["status_fd"] >= 0:
        options["status_fd"] = values["status_fd"]
    if values["page_server"]:
        address, port = page_server(values["page_server"])
        options.update(page_server=True, address=address, port=port)
    return options


def configured(options: dict[str, Any], annotations: dict[str, str]) -> dict[str, Any]:
    """The options with those of runc's configuration file, which is read last (see `CONFIGURATION`)."""
    named = annotations.get(CONFIGURATION)
    path = DEFAULT_CONFIGURATION if named is None else named
    if not path or (named is None and not os.path.exists(path)):
        return options
    from cr.arguments import apply, read
    from cr.configuration import words
    from cr.model import CheckpointError
    from cr.options import Options

    try:
        settings = read(words(path)).settings
        found = apply(settings, Options())
    except CheckpointError as err:
        raise ContainerError(str(err)) from err
    said = {setting.row.name: getattr(found, setting.row.name) for setting in settings}
    grown = {name: [*options[name], *value] for name, value in said.items() if isinstance(options.get(name), list)}
    return {**options, **said, **grown}


def cgroup_mode(text: str) -> str:
    """The mode, "soft" by default.  Raises ContainerError."""
    if text and text not in MODES:
        raise ContainerError(f"Invalid manage cgroups mode {text!r}; it is one of {', '.join(MODES)}")
    return text or "soft"


def empty_namespaces(names: list[str], own_network: bool) -> list[str]:
    """The network namespace is filled from outside, by hooks or engines above us, unless it is the container's own."""
    unknown = [name for name in names if name not in EMPTY_NS]
    if unknown:
        raise ContainerError(f"namespace {unknown[0]!r} is not supported by --empty-ns; only network is")
    if names and own_network:
        raise ContainerError("--own-network and --empty-ns network contradict each other")
    return [] if own_network else ["net"]


def page_server(text: str) -> tuple[str, int]:
    """ADDRESS:PORT.  Raises ContainerError."""
    address, colon, port = text.rpartition(":")
    if not colon or not address or not port.isdecimal():
        raise ContainerError("Use --page-server ADDRESS:PORT to specify page server")
    return address.strip("[]"), int(port)
