"""Regular expressions that are compiled at their first use."""

from __future__ import annotations

import re

import pytest

from cr.kernel.patterns import pattern


def test_it_is_what_compile_gives() -> None:
    lazy = pattern(r"(\d+)-(?P<rest>.*)", re.DOTALL)
    assert lazy.fullmatch("12-a\nb").groups() == re.compile(r"(\d+)-(.*)", re.DOTALL).fullmatch("12-a\nb").groups()  # type: ignore[union-attr]
    assert (lazy.groups, lazy.pattern) == (2, r"(\d+)-(?P<rest>.*)")
    assert pattern(rb"\x0f\x05").search(b"..\x0f\x05").start() == 2  # type: ignore[union-attr]


def test_a_bad_one_fails_when_it_is_used() -> None:
    bad = pattern("(")
    with pytest.raises(re.error):
        bad.match("")
