"""blkio on v1, io on v2: weights and rates of block devices.

Documentation/admin-guide/cgroup-v1/blkio-controller.rst, cgroup-v2.rst "IO".
"""

from __future__ import annotations

from collections.abc import Mapping

from cgroups.controllers.base import Controller, Resources, mapping, number, objects, set_values
from cgroups.errors import CgroupError
from cgroups.node import Node
from cgroups.stats import BlkioEntry, BlkioStats

WHERE = "linux.resources.blockIO"
THROTTLES = {
    "throttleReadBpsDevice": ("blkio.throttle.read_bps_device", "rbps"),
    "throttleWriteBpsDevice": ("blkio.throttle.write_bps_device", "wbps"),
    "throttleReadIOPSDevice": ("blkio.throttle.read_iops_device", "riops"),
    "throttleWriteIOPSDevice": ("blkio.throttle.write_iops_device", "wiops"),
}
"""Member of blockIO: (file on v1, key in io.max on v2)."""
V2_OPS = {
    "rbytes": "read",
    "wbytes": "write",
    "dbytes": "discard",
    "rios": "read",
    "wios": "write",
    "dios": "discard",
}


def weight_to_io(weight: int) -> int:
    """blkio.weight (10..1000) to io.weight (1..10000), linearly, as runc's cgroup v2 document has it."""
    return 1 + (weight - 10) * 9999 // 990


def _device(entry: Mapping[str, object], where: str) -> str:
    return f"{number(entry, 'major', where)}:{number(entry, 'minor', where)}"


class BlockIO(Controller):
    """Block devices."""

    section = "blockIO"
    keys = ("weight", "leafWeight", "weightDevice", *THROTTLES)
    v1 = "blkio"
    v2 = "io"

    def apply(self, node: Node, resources: Resources) -> None:
        section = mapping(resources.get("blockIO"), WHERE)
        self._weights(node, section)
        for key, (v1_file, v2_key) in THROTTLES.items():
            for entry in objects(section.get(key), f"{WHERE}.{key}"):
                rate = number(entry, "rate", f"{WHERE}.{key}") or 0
                device = _device(entry, f"{WHERE}.{key}")
                if node.version == 1:
                    node.write(v1_file, f"{device} {rate}")
                else:
                    node.write("io.max", f"{device} {v2_key}={rate or 'max'}")

    def _weights(self, node: Node, section: Mapping[str, object]) -> None:
        if weight := number(section, "weight", WHERE):
            self._weight(node, str(weight), weight)
        leaf = number(section, "leafWeight", WHERE)
        if leaf and node.version == 2:
            raise self.refuse("leafWeight", node, "remove it")
        if leaf:
            node.write("blkio.leaf_weight", leaf)
        for entry in objects(section.get("weightDevice"), f"{WHERE}.weightDevice"):
            device = _device(entry, f"{WHERE}.weightDevice")
            if weight := number(entry, "weight", f"{WHERE}.weightDevice"):
                self._device_weight(node, device, weight)
            if leaf := number(entry, "leafWeight", f"{WHERE}.weightDevice"):
                if node.version == 2:
                    raise self.refuse("weightDevice.leafWeight", node, "remove it")
                node.write("blkio.leaf_weight_device", f"{device} {leaf}")

    def _weight(self, node: Node, plain: str, weight: int) -> None:
        """The BFQ's file takes 1..1000 on both versions; blkio.weight was CFQ's, io.weight is iocost's."""
        if node.version == 1:
            written = node.write_if_there("blkio.weight", plain) or node.write_if_there("blkio.bfq.weight", plain)
        else:
            written = node.write_if_there("io.bfq.weight", plain) or node.write_if_there(
                "io.weight", weight_to_io(weight)
            )
        if not written:
            raise CgroupError(
                f"{WHERE}.weight is asked for, but {node.path} has no weight file; "
                "load an I/O scheduler with weights (bfq) or remove the limit"
            )

    def _device_weight(self, node: Node, device: str, weight: int) -> None:
        if node.version == 1:
            name = "blkio.weight_device" if node.exists("blkio.weight_device") else "blkio.bfq.weight_device"
            node.write(name, f"{device} {weight}")
        elif not node.write_if_there("io.bfq.weight", f"{device} {weight}"):
            node.write("io.weight", f"{device} {weight_to_io(weight)}")

    def read(self, node: Node) -> dict[str, object]:
        """The throttles (weights depend on the scheduler and are left out)."""
        if node.version == 1:
            rates = {key: _rates_v1(node, file) for key, (file, _) in THROTTLES.items()}
        else:
            table = node.nested("io.max")
            rates = {key: _rates_v2(table, v2_key) for key, (_, v2_key) in THROTTLES.items()}
        return set_values(**rates)

    def stats(self, node: Node) -> BlkioStats:
        if node.version == 1:
            prefix = "blkio.throttle." if node.exists("blkio.throttle.io_service_bytes") else "blkio.bfq."
            return BlkioStats(_entries_v1(node, prefix + "io_service_bytes"), _entries_v1(node, prefix + "io_serviced"))
        table = node.nested("io.stat")
        return BlkioStats(_entries_v2(table, "bytes"), _entries_v2(table, "ios"))


def _rate(device: str, rate: str) -> dict[str, int]:
    major, minor = device.split(":")
    return {"major": int(major), "minor": int(minor), "rate": int(rate)}


def _rates_v1(node: Node, name: str) -> list[dict[str, int]]:
    lines = node.read(name).splitlines() if node.exists(name) else []
    return [_rate(*line.split()) for line in lines]


def _rates_v2(table: Mapping[str, Mapping[str, str]], key: str) -> list[dict[str, int]]:
    return [_rate(device, row[key]) for device, row in table.items() if row.get(key, "max") != "max"]


def _entries_v1(node: Node, name: str) -> tuple[BlkioEntry, ...]:
    """Lines "major:minor op value"; the last one, "Total value", is the sum of all devices."""
    lines = (line.split() for line in node.read(name).splitlines()) if node.exists(name) else ()
    triples = [(*fields[0].split(":"), fields[1].lower(), fields[2]) for fields in lines if len(fields) == 3]
    return tuple(BlkioEntry(int(major), int(minor), op, int(value)) for major, minor, op, value in triples)


def _entries_v2(table: Mapping[str, Mapping[str, str]], suffix: str) -> tuple[BlkioEntry, ...]:
    entries = []
    for device, row in table.items():
        major, minor = device.split(":")
        for key, value in row.items():
            if key in V2_OPS and key.endswith(suffix):
                entries.append(BlkioEntry(int(major), int(minor), V2_OPS[key], int(value)))
    return tuple(entries)
