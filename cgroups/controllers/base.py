"""What every controller file offers, and how they are found."""

from __future__ import annotations

import functools
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence

from cgroups.errors import CgroupError
from cgroups.node import Node

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar

Resources = Mapping[str, object]


class Controller(ABC):
    """One controller of the kernel, the same shape on v1 and v2."""

    section: ClassVar[str]
    """The member of linux.resources it reads."""
    keys: ClassVar[tuple[str, ...]] = ()
    """The members of a section (an object) that are its; empty where the section is a list or all its own."""
    v1: ClassVar[str | None]
    """Name of the controller on v1; None where v1 has none."""
    v2: ClassVar[str | None]
    """Name of the controller on v2; None where v2 needs none (devices) or has none."""
    rank: ClassVar[int] = 0
    """Controllers are applied in the order of rank, then name."""

    registry: ClassVar[list[type[Controller]]] = []

    def __init_subclass__(cls) -> None:
        Controller.registry.append(cls)

    @property
    def name(self) -> str:
        return self.v1 or self.v2 or self.section

    def asked(self, resources: Resources) -> bool:
        """Whether linux.resources asks for anything of this controller."""
        section = resources.get(self.section)
        if isinstance(section, Mapping) and self.keys:
            return any(section.get(key) not in (None, "") for key in self.keys)
        return bool(section)

    @abstractmethod
    def apply(self, node: Node, resources: Resources) -> None:
        """Write what was asked for.  Raises CgroupError that names the file."""

    @abstractmethod
    def read(self, node: Node) -> dict[str, object]:
        """The limits in force, in the shape of the section of linux.resources; without those that are off."""

    def refuse(self, what: str, node: Node, hint: str) -> CgroupError:
        """The error for a limit that this version of cgroups cannot keep."""
        return CgroupError(f"linux.resources.{self.section}.{what} cannot be kept by cgroup v{node.version}: {hint}")


def _modules(place: str) -> list[str]:
    """The modules in a folder; in an archive pkgutil finds them, which costs 13 ms more."""
    if os.path.isdir(place):
        return sorted(n.removesuffix(".py") for n in os.listdir(place) if n.endswith(".py") and not n.startswith("_"))
    import pkgutil

    return [module.name for module in pkgutil.iter_modules([place])]


@functools.cache
def all_controllers() -> tuple[Controller, ...]:
    """One instance of every controller in this package, in the order of application."""
    import importlib

    for name in _modules(os.path.dirname(__file__)):
        importlib.import_module(f"cgroups.controllers.{name}")
    classes = sorted(Controller.registry, key=lambda cls: (cls.rank, cls.__name__))
    return tuple(cls() for cls in classes)


def mapping(value: object, where: str) -> Mapping[str, object]:
    """A JSON object, or {} for null."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise CgroupError(f"{where} must be an object, not {type(value).__name__}")
    return value


def objects(value: object, where: str) -> Sequence[Mapping[str, object]]:
    """A JSON array of objects, or () for null."""
    if value is None:
        return ()
    if isinstance(value, (str, Mapping)) or not isinstance(value, Iterable):
        raise CgroupError(f"{where} must be an array, not {type(value).__name__}")
    return [mapping(item, f"{where}[{index}]") for index, item in enumerate(value)]


def number(section: Mapping[str, object], key: str, where: str) -> int | None:
    """A JSON integer, or None where it is absent or null."""
    value = section.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise CgroupError(f"{where}.{key} must be an integer, not {value!r}")
    return value


def limit_text(value: int) -> str:
    """A limit for a v2 file: negative means "max"."""
    return "max" if value < 0 else str(value)


def set_values(**values: object) -> dict[str, object]:
    """The keyword arguments that are not None and not empty: what `Controller.read` answers."""
    return {key: value for key, value in values.items() if value is not None and value != []}
