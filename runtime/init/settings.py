"""Settings of new namespaces: host name, sysctls, clock offsets."""

from __future__ import annotations

import os

from cr.kernel.namespaces import set_domain_name, set_host_name
from runtime.errors import ContainerError, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from oci.types import Config


def apply(config: Config) -> None:
    """Host and domain name, then linux.sysctl; /proc is still the host's, and shows our namespaces."""
    if config.get("hostname"):
        set_host_name(config["hostname"])
    if config.get("domainname"):
        set_domain_name(config["domainname"])
    for name, value in ((config.get("linux") or {}).get("sysctl") or {}).items():
        write_sysctl(name, value)


def write_sysctl(name: str, value: str) -> None:
    """Write one; "a.b.c" is a/b/c below /proc/sys, and with "/" in the name dots belong to it."""
    path = "/proc/sys/" + (name if "/" in name else name.replace(".", "/"))
    if ".." in path.split("/"):
        raise ContainerError(f'sysctl "{name}" leads out of /proc/sys')
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)
    except OSError as err:
        raise ContainerError(f"cannot set {path} to {value!r}: {os.strerror(err.errno or 0).lower()}") from err


def set_clock_offsets(pid: int, config: Config) -> None:
    """linux.timeOffsets into the time namespace that the children of `pid` will be in (time_namespaces(7))."""
    offsets = (config.get("linux") or {}).get("timeOffsets") or {}
    lines = [f"{clock} {o.get('secs', 0)} {o.get('nanosecs', 0)}\n" for clock, o in offsets.items()]
    if not lines:
        return
    try:
        with open(f"/proc/{pid}/timens_offsets", "w") as stream:
            stream.write("".join(lines))
    except OSError as err:
        raise ContainerError(f"cannot set linux.timeOffsets: {reason(err)}") from err
