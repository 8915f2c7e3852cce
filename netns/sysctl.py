"""The network settings below /proc/sys/net that belong to a namespace."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from netns import devconf
from netns.errors import NetnsError
from netns.model import Sysctls

ROOT = "/proc/sys/net"
DERIVED = frozenset({"ip_forward"})
"""ip_forward is conf/all/forwarding by another name."""
OTHERS = ("core", "ipv4", "ipv4/route", "ipv6", "ipv6/icmp", "ipv6/route", "mptcp", "netfilter", "unix")
"""Directories of settings that belong to a namespace, besides those of devices."""
FIRST = ("forwarding", "disable_ipv6")
"""Writing these changes others of the same device, so they go first."""


def _read(path: str) -> str | None:
    """A setting's text; None for one that cannot be read (write-only; a stable_secret not set gives EIO).

    There may be a thousand of these: plain descriptors take a quarter of the time of Path.read_text.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(fd, 1 << 16).decode().strip()
        finally:
            os.close(fd)
    except OSError as err:
        if err.errno in (errno.EACCES, errno.EPERM, errno.EIO, errno.ENOENT, errno.EINVAL):
            return None
        raise NetnsError(f"cannot read {path}: {err.strerror}", err.errno) from err


def _directory(path: str) -> dict[str, str]:
    """All settings of one directory that can be read."""
    found: dict[str, str] = {}
    if Path(path).is_dir():
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_file() and (value := _read(entry.path)) is not None:
                    found[entry.name] = value
    return found


def _conf(family: str) -> dict[str, dict[str, str]]:
    base = f"{ROOT}/{family}/conf"
    if not Path(base).is_dir():
        return {}
    with os.scandir(base) as entries:
        return {entry.name: _directory(entry.path) for entry in entries}


def dump() -> Sysctls:
    """The settings of the calling thread's namespace (use `netns.enter.run_in`)."""
    ipv4 = {name: value for name, value in _directory(f"{ROOT}/ipv4").items() if name not in DERIVED}
    return Sysctls(_conf("ipv4"), _conf("ipv6"), _directory(f"{ROOT}/unix"), ipv4, _directory(f"{ROOT}/core"))


def dump_named() -> Sysctls:
    """Only the settings that CRIU's images have a place for: a quarter of all, and of the time."""
    return Sysctls(
        _conf_named("ipv4", devconf.CONF4),
        _conf_named("ipv6", devconf.CONF6),
        _named(f"{ROOT}/unix", devconf.UNIX),
        _named(f"{ROOT}/ipv4", devconf.IPV4),
    )


def dump_others() -> dict[str, str]:
    """What `dump_named` leaves out and can be set, by path below /proc/sys/net."""
    found: dict[str, str] = {}
    for directory in OTHERS:
        found |= _settable(directory, frozenset(devconf.IPV4 if directory == "ipv4" else ()))
    for family, known in (("ipv4", devconf.CONF4), ("ipv6", devconf.CONF6)):
        base = f"{family}/conf"
        for device in os.listdir(f"{ROOT}/{base}") if Path(f"{ROOT}/{base}").is_dir() else ():
            found |= _settable(f"{base}/{device}", frozenset(known))
    return found


def _settable(directory: str, known: frozenset[str]) -> dict[str, str]:
    """The settings of one directory that are not known and that root may write."""
    found: dict[str, str] = {}
    if not Path(f"{ROOT}/{directory}").is_dir():
        return found
    with os.scandir(f"{ROOT}/{directory}") as entries:
        for entry in entries:
            if entry.name in known | DERIVED or not entry.is_file() or not entry.stat().st_mode & 0o200:
                continue
            if (value := _read(entry.path)) is not None:
                found[f"{directory}/{entry.name}"] = value
    return found


def restore_others(saved: Mapping[str, str]) -> list[str]:
    """Write those that differ; paths of those that this kernel lacks or does not let one write."""
    left = []
    for name, value in saved.items():
        path = f"{ROOT}/{name}"
        if _read(path) == value:
            continue
        try:
            Path(path).write_text(value)
        except OSError:
            left.append(path)
    return left


def _conf_named(family: str, names: Iterable[str]) -> dict[str, dict[str, str]]:
    base = f"{ROOT}/{family}/conf"
    if not Path(base).is_dir():
        return {}
    with os.scandir(base) as entries:
        return {entry.name: _named(entry.path, names) for entry in entries}


def _named(directory: str, names: Iterable[str]) -> dict[str, str]:
    values = ((name, _read(f"{directory}/{name}")) for name in names)
    return {name: value for name, value in values if value is not None}


def restore(saved: Sysctls, weak: bool = False) -> None:
    """Write the settings that differ: "all", then "default", then each device.

    `weak` (--weak-sysctls) leaves out those that this kernel lacks or does not let one write.  Raises
    NetnsError that names the file.
    """
    for family, conf in (("ipv4", saved.conf4), ("ipv6", saved.conf6)):
        for device in sorted(conf, key=_device_rank):
            _write_all(f"{ROOT}/{family}/conf/{device}", conf[device], weak)
    _write_all(f"{ROOT}/unix", saved.unix, weak)
    _write_all(f"{ROOT}/ipv4", saved.ipv4, weak)
    _write_all(f"{ROOT}/core", saved.core, weak)


def _device_rank(name: str) -> tuple[int, str]:
    return ({"all": 0, "default": 1}.get(name, 2), name)


def _write_all(directory: str, values: Mapping[str, str], weak: bool) -> None:
    for name in _ordered(values):
        path = f"{directory}/{name}"
        if _read(path) == values[name]:
            continue
        try:
            Path(path).write_text(values[name])
        except OSError as err:
            if weak or (err.errno == errno.ENOENT and values[name] in ("", "0")):
                continue
            raise NetnsError(
                f"cannot set {path} to {values[name]!r}: {err.strerror}; --weak-sysctls leaves it out",
                err.errno,
            ) from err


def _ordered(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name))
