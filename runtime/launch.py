"""The parent's side of a start: make the process in its namespaces, map ids, talk it through.

Two ways.  With new namespaces only, one clone makes the process.  Where others' namespaces are joined (or
clock offsets set), a process stands between: it joins, then clones the real one as our child (CLONE_PARENT).
"""

from __future__ import annotations

import os
import sys

from cr.kernel import prctl
from cr.kernel.namespaces import CLONE_NEWTIME, CLONE_NEWUSER, CLONE_PARENT, fork_into, setns, unshare
from runtime.errors import ContainerError, reason
from runtime.init import settings
from runtime.init.channel import Channel
from runtime.init.identity import become_root, setgroups_allowed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from oci.types import Config, IdMapping
    from runtime.namespaces import Namespaces

    Body = Callable[[Channel], None]


def start(config: Config, spaces: Namespaces, body: Body) -> tuple[int, Channel]:
    """Make the process that runs `body`; its pid (our child) and the channel to it.

    It has its id mappings; the namespaces by path are opened before anything is made.
    """
    joins = [(flag, _open_namespace(path)) for flag, path in spaces.joins()]
    try:
        if spaces.staged:
            return _start_staged(config, spaces, joins, body)
        return _start_plain(config, spaces, body)
    finally:
        for _, fd in joins:
            os.close(fd)


def _open_namespace(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as err:
        raise ContainerError(f"cannot open the namespace {reason(err)}") from err


def _start_plain(config: Config, spaces: Namespaces, body: Body) -> tuple[int, Channel]:
    channel = Channel()
    user = "user" in spaces.new
    pid = fork_into(spaces.clone_flags())
    if pid == 0:
        child(channel, body, user)
    channel.become_parent()
    if user:
        try:
            write_mappings(pid, config)
        except BaseException:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
            raise
        channel.go()
    return pid, channel


def child(channel: Channel, body: Body, user: bool) -> None:
    """Run the body; never returns.  Errors go to the parent as one sentence.

    From here on nothing can be imported: behind pivot_root or setns a module would be the container's file,
    run with our rights.
    """
    sys.meta_path.clear()
    try:
        channel.become_child()
        if user:
            channel.expect("go")
            become_root(setgroups_allowed("self"))
        body(channel)
    except (ContainerError, OSError) as err:
        _tell(channel, reason(err) if isinstance(err, OSError) else str(err))
    except BaseException as err:  # the child must never run on as a second parent
        _tell(channel, f"unexpected {type(err).__name__}: {err}")
    finally:
        os._exit(1)


def _tell(channel: Channel, text: str) -> None:
    """To the parent, or to standard error when it has gone."""
    try:
        channel.send(error=text)
    except BrokenPipeError:
        os.write(2, f"woodfrog: {text}\n".encode(errors="surrogateescape"))


def _start_staged(config: Config, spaces: Namespaces, joins: list[tuple[int, int]], body: Body) -> tuple[int, Channel]:
    channel, inner = Channel(), Channel()
    stage = os.fork()
    if stage == 0:
        child(channel, lambda talk: _stage(talk, inner, config, spaces, joins, body), False)
    channel.become_parent()
    inner.become_parent()
    try:
        if "user" in spaces.new:
            channel.expect("map")
            write_mappings(stage, config)
            channel.go()
        if "time" in spaces.new:
            channel.expect("clocks")
            settings.set_clock_offsets(stage, config)
            channel.go()
        pid: int = channel.expect("pid")["pid"]
    finally:
        channel.close()
        os.waitpid(stage, 0)
    return pid, inner


def _stage(
    channel: Channel,
    inner: Channel,
    config: Config,
    spaces: Namespaces,
    joins: list[tuple[int, int]],
    body: Body,
) -> None:
    """The process between: join, make the user and time namespaces, then clone the real one and end.

    Processes of a joined pid namespace must not look at us.  Without privileges our parent could not either,
    to map ids; but then nobody's namespaces but our own can be joined.
    """
    prctl.set_dumpable(os.geteuid() != 0)
    for flag, fd in _with_our_privileges(joins):
        _join(flag, fd, spaces)
        if flag == CLONE_NEWUSER:
            become_root(setgroups_allowed("self"))
    if "user" in spaces.new:
        unshare(CLONE_NEWUSER)
        channel.ask("map")
        become_root(setgroups_allowed("self"))
    if "time" in spaces.new:
        unshare(CLONE_NEWTIME)
        channel.ask("clocks")  # its file is out of our reach: we are not dumpable
    pid = fork_into(CLONE_PARENT | spaces.clone_flags_after_stage())
    if pid == 0:
        channel.close()
        child(inner, body, False)
    channel.send(kind="pid", pid=pid)
    os._exit(0)


def _with_our_privileges(joins: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join what we may before we are in another user namespace, which need not own the others; the rest is left."""
    if all(flag != CLONE_NEWUSER for flag, _ in joins):
        return joins
    left = []
    for flag, fd in joins:
        try:
            if flag != CLONE_NEWUSER:
                setns(fd, flag)
                continue
        except PermissionError:
            pass
        left.append((flag, fd))
    return left


def _join(flag: int, fd: int, spaces: Namespaces) -> None:
    try:
        setns(fd, flag)
    except OSError as err:
        path = next(path for f, path in spaces.joins() if f == flag)
        raise ContainerError(f"cannot join the namespace {path}: {reason(err)}") from err


def write_mappings(pid: int, config: Config) -> None:
    """uid_map and gid_map of a process in a new user namespace; by newuidmap where we lack privileges."""
    linux = config.get("linux") or {}
    uids, gids = linux.get("uidMappings") or [], linux.get("gidMappings") or []
    if os.geteuid() == 0:
        _write(pid, "gid_map", _lines(gids))
        _write(pid, "uid_map", _lines(uids))
        return
    _map_unprivileged(pid, "gid", gids, os.getegid())
    _map_unprivileged(pid, "uid", uids, os.geteuid())


def _lines(mappings: list[IdMapping]) -> str:
    return "".join(f"{m['containerID']} {m['hostID']} {m['size']}\n" for m in mappings)


def _map_unprivileged(pid: int, kind: str, mappings: list[IdMapping], own: int) -> None:
    """One id, our own: the kernel lets us (after giving up setgroups); more: the setuid helpers do it."""
    if len(mappings) == 1 and mappings[0]["size"] == 1 and mappings[0]["hostID"] == own:
        if kind == "gid":
            _write(pid, "setgroups", "deny")
        _write(pid, f"{kind}_map", _lines(mappings))
        return
    import shutil

    helper = shutil.which(f"new{kind}map")
    if helper is None:
        raise ContainerError(f"mapping several {kind}s without privileges needs new{kind}map (package uidmap)")
    words = [str(number) for m in mappings for number in (m["containerID"], m["hostID"], m["size"])]
    status = os.waitpid(os.posix_spawn(helper, [helper, str(pid), *words], os.environ), 0)[1]
    if status != 0:
        raise ContainerError(f"{helper} refused the {kind} mappings; see /etc/sub{kind}")


def _write(pid: int, name: str, text: str) -> None:
    try:
        fd = os.open(f"/proc/{pid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except OSError as err:
        raise ContainerError(
            f"cannot write {name} of the new user namespace: {text.strip()}: {os.strerror(err.errno or 0).lower()}"
        ) from err
