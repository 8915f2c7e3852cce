"""update: change the limits of a container that exists."""

from __future__ import annotations

from runtime.container import Container
from runtime.errors import ContainerError
from runtime.options import Option, Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runtime.context import Context

# option: (section of linux.resources, member, whether it is a number)
_FLAGS: dict[str, tuple[str, str, bool]] = {
    "blkio-weight": ("blockIO", "weight", True),
    "cpu-period": ("cpu", "period", True),
    "cpu-quota": ("cpu", "quota", True),
    "cpu-burst": ("cpu", "burst", True),
    "cpu-idle": ("cpu", "idle", True),
    "cpu-share": ("cpu", "shares", True),
    "cpu-rt-period": ("cpu", "realtimePeriod", True),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime", True),
    "cpuset-cpus": ("cpu", "cpus", False),
    "cpuset-mems": ("cpu", "mems", False),
    "memory": ("memory", "limit", True),
    "memory-reservation": ("memory", "reservation", True),
    "memory-swap": ("memory", "swap", True),
    "pids-limit": ("pids", "limit", True),
}
_SUFFIXES = {"k": 10, "m": 20, "g": 30, "t": 40}

VERB = Verb(
    "update",
    "update container resource constraints",
    "<container-id>",
    options=(
        Option("resources", "a file with linux.resources as JSON, or '-' for standard input", short="r"),
        *(Option(name, f"linux.resources.{section}.{member}") for name, (section, member, _) in _FLAGS.items()),
    ),
)


def run(context: Context, values: dict[str, Any], arguments: list[str]) -> int:
    """Write the limits into the cgroup, and into the record that later commands read."""
    from cgroups import CgroupError

    container = Container.load(context, arguments[0], lock=True)
    if container.status() == "stopped":
        raise ContainerError("container not running")
    resources = from_file(values["resources"]) if values["resources"] else from_flags(values)
    try:
        container.manager().apply(resources)
    except CgroupError as err:
        raise ContainerError(str(err)) from err
    linux: Any = container.config.setdefault("linux", {})
    old = linux.get("resources") or {}
    merged = {s: {**(old.get(s) or {}), **part} for s, part in resources.items() if isinstance(part, dict)}
    linux["resources"] = {**old, **resources, **merged}
    container.save()
    return 0


def from_file(path: str) -> dict[str, Any]:
    """The resources in a file, or on standard input.  Raises ContainerError, InvalidDocument."""
    from oci.config import without_nulls
    from oci.validate import read_json, validate

    source = "/dev/stdin" if path == "-" else path
    resources: Any = read_json(source)
    validate(resources, "resources.json", "standard input" if path == "-" else path)
    cleaned: Any = without_nulls(resources)
    return {section: part for section, part in cleaned.items() if part not in ({}, [])}


def from_flags(values: dict[str, Any]) -> dict[str, Any]:
    """The resources that the options name."""
    resources: dict[str, Any] = {}
    for name, (section, member, numeric) in _FLAGS.items():
        text = values[name.replace("-", "_")]
        if text:
            resources.setdefault(section, {})[member] = number(name, text) if numeric else text
    return resources


def number(name: str, text: str) -> int:
    """A count, or bytes with a suffix k, m, g or t."""
    shift = _SUFFIXES.get(text[-1:].lower(), 0)
    digits = text[:-1] if shift else text
    if not digits.removeprefix("-").isdecimal():
        raise ContainerError(f"invalid value for {name}: {text}")
    return int(digits) << shift
