"""Dataclasses that cost next to nothing to define.

The standard library's `dataclass` compiles the source of three or more methods for every class, 0.3 ms
each; the engine has over a hundred, and a dump of a small process takes less time than that.  This one shares
its methods among all classes.  The subset that is used here behaves the same: fields with defaults, factories and
metadata, `frozen`, equality, hash of frozen ones, `replace`, `fields`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from functools import cached_property as cached_property
    from typing import Any, TypeVar, dataclass_transform, overload

    T = TypeVar("T")
else:  # `typing` costs 5 ms

    def overload(function):  # noqa: F811
        return function

    def dataclass_transform(**kinds):
        return overload

    class cached_property:
        """functools.cached_property without its lock (Python 3.12 has dropped it): our objects have one thread."""

        def __init__(self, function):
            self.function = function
            self.__doc__ = function.__doc__

        def __set_name__(self, owner, name):
            self.name = name

        def __get__(self, instance, owner=None):
            if instance is None:
                return self
            value = instance.__dict__[self.name] = self.function(instance)
            return value


_MISSING: Any = object()


class Field:
    """One field of a class: its name, default and metadata."""

    __slots__ = ("default", "factory", "metadata", "name")

    def __init__(self, default: Any, factory: Any, metadata: dict[str, Any]) -> None:
        self.name = ""
        self.default, self.factory, self.metadata = default, factory, metadata


def field(*, default: Any = _MISSING, default_factory: Any = _MISSING, metadata: dict[str, Any] | None = None) -> Any:
    """A field with a default, a function that makes one, or metadata."""
    return Field(default, default_factory, metadata or {})


@overload
def dataclass(cls: type[T], /) -> type[T]: ...
@overload
def dataclass(*, frozen: bool = False, eq: bool = True) -> Callable[[type[T]], type[T]]: ...  # noqa: F811
@dataclass_transform(field_specifiers=(field,))
def dataclass(cls: Any = None, /, *, frozen: bool = False, eq: bool = True) -> Any:  # noqa: F811
    """Give a class `__init__`, `__repr__`, `__eq__` from its annotations, as the standard library's does."""

    def apply(target: Any) -> Any:
        return _equip(target, frozen, eq)

    return apply if cls is None else apply(cls)


def _equip(cls: Any, frozen: bool, eq: bool) -> Any:
    own = cls.__dict__
    found: dict[str, Field] = dict(getattr(cls, "__values__", {}))
    for name, annotation in own.get("__annotations__", {}).items():
        if str(annotation).startswith(("ClassVar", "typing.ClassVar")):
            continue
        value = own.get(name, _MISSING)
        entry = value if isinstance(value, Field) else Field(value, _MISSING, {})
        entry.name = name
        found[name] = entry
        if entry.default is not _MISSING:
            setattr(cls, name, entry.default)
        elif isinstance(value, Field):
            delattr(cls, name)
    cls.__values__ = found
    cls.__fixed__ = {name: entry.default for name, entry in found.items() if entry.default is not _MISSING}
    methods = [__init__, __repr__, *([__eq__] if eq else []), *([__setattr__] if frozen else [])]
    for method in methods:
        if method.__name__ not in own:
            setattr(cls, method.__name__, method)
    if eq and "__hash__" not in own:
        cls.__hash__ = __hash__ if frozen else None
    return cls


_OFTEN = 50
_made: dict[Any, int] = {}
"""how many objects of each class there have been, until it has an `__init__` of its own"""


def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
    cls = type(self)
    _made[cls] = count = _made.get(cls, 0) + 1
    if count == _OFTEN:
        specialise(cls)
    values = self.__dict__
    known = self.__values__
    values.update(self.__fixed__)
    values.update(zip(known, args, strict=False))
    if kwargs or len(args) > len(known):
        _check(self, len(args), kwargs, known)
        values.update(kwargs)
    if len(values) < len(known):
        _complete(self, values, known)


def _check(self: Any, count: int, kwargs: dict[str, Any], known: dict[str, Field]) -> None:
    if count > len(known):
        raise TypeError(f"{type(self).__name__} takes {len(known)} values, {count} were given")
    positional = list(known)[:count]
    for name in kwargs:
        if name not in known or name in positional:
            raise TypeError(f"{type(self).__name__} has no field {name}, or got it twice")


def _complete(self: Any, values: dict[str, Any], known: dict[str, Field]) -> None:
    for name, entry in known.items():
        if name not in values:
            if entry.factory is _MISSING:
                raise TypeError(f"{type(self).__name__} needs a value for {name}")
            values[name] = entry.factory()


def specialise(cls: Any) -> None:
    """Give a class an `__init__` of its own, which takes 0.2 ms to compile, and a sixth of the time each time after."""
    if cls.__init__ is not __init__:
        return
    names: dict[str, Any] = {"_MISSING": _MISSING, "_complete": _complete}
    parameters, lines, optional = ["self"], ["values = self.__dict__"], False
    for name, entry in cls.__values__.items():
        if entry.default is not _MISSING:
            names[f"_{name}"] = entry.default
        optional = optional or entry.default is not _MISSING or entry.factory is not _MISSING
        plain = entry.default is not _MISSING or not optional
        parameters.append(f"{name}=_{name}" if entry.default is not _MISSING else name if plain else f"{name}=_MISSING")
        lines.append(f"values[{name!r}] = {name}" if plain else f"if {name} is not _MISSING: values[{name!r}] = {name}")
    lines.append(f"if len(values) < {len(cls.__values__)}: _complete(self, values, self.__values__)")
    exec(f"def __init__({', '.join(parameters)}):\n " + "\n ".join(lines), names)
    cls.__init__ = names["__init__"]


def __repr__(self: Any) -> str:
    shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__values__)
    return f"{type(self).__name__}({shown})"


def __eq__(self: Any, other: Any) -> bool:
    if type(self) is not type(other):
        return NotImplemented
    return all(getattr(self, name) == getattr(other, name) for name in self.__values__)


def __hash__(self: Any) -> int:
    return hash(tuple(getattr(self, name) for name in self.__values__))


def __setattr__(self: Any, name: str, value: object) -> None:
    raise AttributeError(f"{type(self).__name__} is frozen: {name} cannot be set")


def fields(cls: Any) -> list[Field]:
    """The fields of a class or object, in order."""
    return list(cls.__values__.values())


def replace(value: T, **changes: Any) -> T:
    """A copy with some fields changed, of ours or of a dataclass of the standard library."""
    known: Any = value
    if not hasattr(value, "__values__"):
        import dataclasses

        copy: T = dataclasses.replace(known, **changes)
        return copy
    return type(value)(**{name: getattr(known, name) for name in known.__values__} | changes)
