"""Our dataclasses behave as the standard library's, in what is used of them."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any, ClassVar

import pytest

from cr import values


@values.dataclass(frozen=True)
class Ours:
    name: str
    size: int = 7
    kind: ClassVar[str] = "x"

    @property
    def double(self) -> int:
        return self.size * 2


@dataclasses.dataclass(frozen=True)
class Theirs:
    name: str
    size: int = 7
    kind: ClassVar[str] = "x"


@values.dataclass
class Open:
    items: list[int] = values.field(default_factory=list)
    note: str = values.field(default="n", metadata={"help": "h"})


@values.dataclass
class Derived(Open):
    extra: int = 3


@pytest.mark.parametrize("cls", [Ours, Theirs])
def test_like_the_standard_library(cls: Any) -> None:
    assert cls("a") == cls("a", 7) == cls(name="a", size=7)
    assert cls("a") != cls("b")
    assert hash(cls("a")) == hash(cls("a"))
    assert repr(cls("a")) == f"{cls.__name__}(name='a', size=7)"
    assert values.replace(cls("a"), size=1) == cls("a", 1)
    assert pickle.loads(pickle.dumps(cls("a"))) == cls("a")
    with pytest.raises(AttributeError):
        cls("a").size = 3
    for wrong in (lambda: cls(), lambda: cls("a", 1, 2), lambda: cls("a", name="b"), lambda: cls("a", other=1)):
        with pytest.raises(TypeError):
            wrong()


def test_a_class_that_is_used_often() -> None:
    """It has an `__init__` of its own by then, which does the same."""

    @values.dataclass(frozen=True)
    class Often(Ours):
        tags: list[int] = values.field(default_factory=list)
        late: int = values.field()

    made = [Often("a", late=number) for number in range(200)]
    assert "__init__" in vars(Often)
    assert Often.__init__ is not Open.__init__
    assert [each.late for each in made] == list(range(200))
    assert made[0] == Often("a", 7, [], 0) == Often(name="a", size=7, tags=[], late=0)
    assert made[0].tags is not made[1].tags
    test_like_the_standard_library(Ours)
    for wrong in (lambda: Often("a"), lambda: Often("a", 1, [], 2, 3), lambda: Often("a", name="b", late=1)):
        with pytest.raises(TypeError):
            wrong()


def test_defaults_are_each_objects_own() -> None:
    first, second = Open(), Open()
    first.items.append(1)
    assert second.items == []
    assert [field.name for field in values.fields(Open)] == ["items", "note"]
    assert values.fields(Open)[1].metadata == {"help": "h"}
    with pytest.raises(TypeError):
        hash(first)


def test_fields_are_inherited() -> None:
    assert Derived(extra=4) == Derived([], "n", 4)
    assert Ours("a").double == 14
