"""Regular expressions that are compiled at their first use: most commands need few of them, and each costs 0.3 ms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, AnyStr, cast

if TYPE_CHECKING:
    import re


class Pattern:
    """Stands for an re.Pattern until something of it is wanted; takes over its methods then."""

    def __init__(self, text: str | bytes, flags: int) -> None:
        self._text, self._flags = text, flags

    def compiled(self) -> Any:
        import re

        return re.compile(self._text, self._flags)  # the library keeps what it has compiled

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.compiled(), name)
        setattr(self, name, value)
        return value


def pattern(text: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """re.compile(), later."""
    return cast("re.Pattern[AnyStr]", Pattern(text, flags))
