"""devices: which device files may be opened or made.

On v1 the rules go to devices.allow and devices.deny in their order; on v2 they become one BPF program that
gives the same answers.  Documentation/admin-guide/cgroup-v1/devices.rst, cgroup-v2.rst "Device controller".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cgroups import spy
from cgroups.controllers.base import Controller, Resources, number, objects
from cgroups.errors import CgroupError
from cgroups.node import Node
from values import dataclass, field

WHERE = "linux.resources.devices"
ANY = -1
Key = tuple[str, int, int]


@dataclass(frozen=True)
class Rule:
    """One rule: `kind` a, b or c; `major`, `minor` of -1 mean any; `access` letters of "rwm"."""

    allow: bool
    kind: str = "a"
    major: int = ANY
    minor: int = ANY
    access: str = "rwm"

    def text(self) -> str:
        """As devices.allow wants it; "a" alone, since v1 ignores what follows it."""
        if self.is_all():
            return "a"
        wild = ["*" if part == ANY else str(part) for part in (self.major, self.minor)]
        return f"{self.kind} {wild[0]}:{wild[1]} {self.access}"

    def is_all(self) -> bool:
        return self.kind == "a"


@dataclass
class Emulated:
    """The state of the v1 device controller: a default and the exceptions from it, in order.

    Allowed by default: an access is refused if it shares any letter with a matching exception.
    Refused by default: an access is allowed if one matching exception holds all its letters.
    """

    allow: bool = True
    exceptions: dict[Key, set[str]] = field(default_factory=dict)

    def add(self, rule: Rule) -> None:
        """Take one write to devices.allow or devices.deny."""
        key = (rule.kind, rule.major, rule.minor)
        if rule.is_all():
            self.allow, self.exceptions = rule.allow, {}
        elif rule.allow != self.allow:
            self.exceptions.setdefault(key, set()).update(rule.access)
        elif key in self.exceptions:
            self.exceptions[key] -= set(rule.access)
            if not self.exceptions[key]:
                del self.exceptions[key]


def parse_rules(value: object) -> list[Rule]:
    """linux.resources.devices as rules.  Raises CgroupError for one that the kernel would not take."""
    return [_parse_rule(entry, f"{WHERE}[{n}]") for n, entry in enumerate(objects(value, WHERE))]


def _parse_rule(entry: Mapping[str, object], where: str) -> Rule:
    kind, access = str(entry.get("type") or "a"), str(entry.get("access") or "rwm")
    if kind not in ("a", "b", "c"):
        raise CgroupError(f"{where}.type is {kind!r}; it must be a, b or c")
    access = "".join(letter for letter in "rwm" if letter in access)  # others mean nothing to any kernel
    if not access:
        raise CgroupError(f"{where}.access is {entry.get('access')!r}; it must have one of r, w and m")
    major, minor = number(entry, "major", where), number(entry, "minor", where)
    wild = [ANY if part is None or part < 0 else part for part in (major, minor)]
    return Rule(bool(entry.get("allow")), kind, wild[0], wild[1], access)


def emulate(rules: Iterable[Rule]) -> Emulated:
    """Run rules through the v1 controller's logic."""
    state = Emulated()
    for rule in rules:
        state.add(rule)
    return state


class Devices(Controller):
    """Device files."""

    section = "devices"
    v1 = "devices"
    v2 = None

    def apply(self, node: Node, resources: Resources) -> None:
        rules = parse_rules(resources.get("devices"))
        if node.version == 2:
            from cgroups import bpf

            state = emulate(rules)
            bpf.replace_device_program(node.path, bpf.device_program(state.allow, state.exceptions))
            return
        for rule in rules:
            node.write("devices.allow" if rule.allow else "devices.deny", rule.text())

    def read(self, node: Node) -> dict[str, object]:
        """v1 only: a BPF program does not tell its rules."""
        if node.version == 2:
            return {}
        entries = [_from_spy(access) for access in spy.devices(node.path).list or ()]
        return {"devices": entries}


def _from_spy(access: object) -> dict[str, object]:
    """cgroupspy's DeviceAccess as a rule of config.json."""
    kind, numbers, letters = str(access).split()
    rule: dict[str, object] = {"allow": True, "type": "a" if kind == "all" else kind, "access": letters}
    for name, text in zip(("major", "minor"), numbers.split(":"), strict=True):
        if text != "*":
            rule[name] = int(text)
    return rule
