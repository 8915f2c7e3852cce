"""The plug-ins of this dump or restore: found, asked, and what they said kept in woodfrog-plugin.img."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from cr import log
from cr.kernel import files
from cr.model import CheckpointError
from cr.plugin import GROUP, DeviceMapping, File, MountPoint, Plugin

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, OpenFile
    from cr.contract.restoring import RestoreContext
    from cr.kernel.mountinfo import Mount
    from cr.kernel.proc import Mapping
    from cr.options import Options
    from images import messages as m

_ACTIVE: list[Plugin] = []
_MOUNT = "plugin:"
"""how the names of mounts that plug-ins keep begin in the images"""


def active() -> list[Plugin]:
    """The plug-ins at work, in the order in which they are asked."""
    return _ACTIVE


@contextmanager
def plugged(options: Options, stage: str) -> Iterator[None]:
    """Inside the block plug-ins are asked."""
    _ACTIVE[:] = [*_installed(), *_in_directory(options.libdir)]
    succeeded = False
    try:
        for plugin in _ACTIVE:
            call(plugin, "begin", stage, os.path.realpath(options.images_dir))
        yield
        succeeded = True
    finally:
        for plugin in _ACTIVE:
            _quietly(plugin, "end", stage, succeeded)
        _ACTIVE.clear()


def _installed() -> Iterator[Plugin]:
    """By entry points; importlib.metadata costs 20 ms, so it is asked only where there are some."""
    if not any_installed():
        return
    from importlib.metadata import entry_points

    for point in entry_points(group=GROUP):
        yield _made(point.load(), f"the entry point {point.name}")


@cache
def any_installed() -> bool:
    """Whether a distribution has plug-ins of ours; this alone takes 3 ms, and a program with a snapshot knows it."""
    marker = f"[{GROUP}]"
    return any(marker in text for text in _entry_point_files())


def _entry_point_files() -> Iterator[str]:
    for place in sys.path:
        try:
            names = [name for name in os.listdir(place or ".") if name.endswith((".dist-info", ".egg-info"))]
        except OSError:
            continue  # an archive, or nothing at all
        for name in names:
            try:
                with open(os.path.join(place, name, "entry_points.txt"), encoding="utf-8") as file:
                    yield file.read()
            except OSError:
                continue


def _in_directory(path: str) -> Iterator[Plugin]:
    """The classes of the Python files in --libdir; other files are of other engines."""
    if not path:
        return
    try:
        names = sorted(name for name in os.listdir(path) if name.endswith(".py"))
    except OSError as error:
        raise CheckpointError(f"--libdir {path}: {error.strerror}") from error
    for name in names:
        for found in _load(os.path.join(path, name)):
            yield _made(found, name)


def _load(path: str) -> list[type[Plugin]]:
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location(f"woodfrog_plugin_{os.path.basename(path)[:-3]}", path)
    if spec is None or spec.loader is None:
        return []
    module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise CheckpointError(f"the plug-in {path} cannot be loaded: {error}") from error
    values = vars(module).values()
    return [each for each in values if isinstance(each, type) and issubclass(each, Plugin) and each is not Plugin]


def _made(found: Any, where: str) -> Plugin:
    if not (isinstance(found, type) and issubclass(found, Plugin)):
        raise CheckpointError(f"{where} gives no subclass of cr.plugin.Plugin")
    plugin = found()
    plugin.name = plugin.name or found.__name__
    log.info(f"plug-in {plugin.name} of {where}")
    return plugin


def call(plugin: Plugin, hook: str, *arguments: Any) -> Any:
    """Ask; whatever goes wrong in a plug-in is one sentence that names it."""
    try:
        return getattr(plugin, hook)(*arguments)
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(f"the plug-in {plugin.name} failed in {hook}: {error or type(error).__name__}") from error


def _quietly(plugin: Plugin, hook: str, *arguments: Any) -> None:
    try:
        call(plugin, hook, *arguments)
    except CheckpointError as error:
        log.warning(str(error))


def _who(hook: str, thing: Any) -> Plugin | None:
    """The first plug-in that knows a thing."""
    return next((plugin for plugin in _ACTIVE if call(plugin, hook, thing)), None)


def knows(kind: str, file: OpenFile) -> bool:
    """Whether a plug-in takes care of an open file ("file") or a unix socket ("socket")."""
    return bool(_ACTIVE) and _who(f"knows_{kind}", _facade(file)) is not None


def dump(kind: str, file: OpenFile, context: DumpContext) -> bool:
    """Let a plug-in save a file or socket under the id that it has; False where none knows it."""
    facade = _facade(file)
    plugin = _who(f"knows_{kind}", facade) if _ACTIVE else None
    if plugin is None:
        return False
    from images import messages as m

    data = call(plugin, f"dump_{kind}", facade)
    entries: list[m.woodfrog_plugin_entry] = context.once("plug-in data", list)
    entries.append(m.woodfrog_plugin_entry(id=file.id, plugin=plugin.name, data=data, flags=file.flags))
    return True


def _facade(file: OpenFile) -> File:
    return File(file.task.pid, file.fd, file.link, file.stat, file.flags, lambda: file.local)


def write(context: DumpContext) -> None:
    """What the plug-ins have saved."""
    entries: list[m.woodfrog_plugin_entry] = context.once("plug-in data", list)
    if entries:
        context.images.write("woodfrog-plugin", entries=entries)


def restore(kind: str, file_id: int, context: RestoreContext) -> int | None:
    """A new descriptor of a file or socket that a plug-in has saved; None where none has."""
    entry = context.once("plug-in data", lambda: _read(context)).get(file_id)
    if entry is None:
        return None
    fd: int = call(_named(entry.plugin, f"file {file_id:#x}"), f"restore_{kind}", entry.data)
    os.set_inheritable(fd, False)
    if entry.HasField("flags"):
        files.set_status_flags(fd, entry.flags)
    return fd


def _read(context: RestoreContext) -> dict[int, m.woodfrog_plugin_entry]:
    found = context.images.read("woodfrog-plugin") if context.images.exists("woodfrog-plugin") else []
    return {entry.id: entry for entry in found}


def _named(name: str, what: str) -> Plugin:
    for plugin in _ACTIVE:
        if plugin.name == name:
            return plugin
    raise CheckpointError(f"{what} was saved by the plug-in {name}, which is not here: install it, or use --libdir")


def mount_name(mount: Mount) -> str | None:
    """The name in the images of a mount that a plug-in keeps."""
    point = MountPoint(mount.mountpoint, mount.fsname, mount.source, mount.root, mount.options)
    plugin = _who("knows_mount", point)
    return None if plugin is None else f"{_MOUNT}{plugin.name}:{call(plugin, 'dump_mount', point)}"


def mount_path(key: str) -> str | None:
    """Where a plug-in has it on the host now; None for a name that is no plug-in's."""
    if not key.startswith(_MOUNT):
        return None
    owner, _, name = key.removeprefix(_MOUNT).partition(":")
    path: str = call(_named(owner, f"the mount {name}"), "restore_mount", name)
    return path


def knows_mapping(mapping: Mapping, pid: int) -> bool:
    """Whether a plug-in keeps that device memory."""
    return (
        _who("knows_mapping", DeviceMapping(pid, mapping.start, mapping.end, mapping.offset, mapping.path)) is not None
    )


def mapping(path: str, start: int, offset: int) -> tuple[int, int] | None:
    """What to map at an address instead of a file at an offset."""
    answers = (call(plugin, "restore_mapping", path, start, offset) for plugin in _ACTIVE)
    return next((answer for answer in answers if answer is not None), None)


def pause(pids: Iterable[int]) -> None:
    _tell("pause", pids)


def checkpoint(pids: Iterable[int]) -> None:
    _tell("checkpoint", pids)


def _tell(hook: str, pids: Iterable[int]) -> None:
    for pid in pids if _ACTIVE else ():
        for plugin in _ACTIVE:
            call(plugin, hook, pid)


def resume(pids: Iterable[int]) -> None:
    """Nothing can be taken back any more: what goes wrong is noted."""
    for pid in pids if _ACTIVE else ():
        for plugin in _ACTIVE:
            _quietly(plugin, "resume", pid)
