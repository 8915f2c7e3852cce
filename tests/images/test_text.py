"""Text that is no UTF-8 goes into messages and comes back."""

from __future__ import annotations

import os

import pytest

from images import messages as m
from images.text import get_text, set_text


@pytest.mark.parametrize("name", [b"plain", "größer".encode(), b"\xff\xfe caf\xe9", b"x" * 300])
def test_any_bytes(name: bytes) -> None:
    entry = m.utsns_entry(nodename="before", domainname="d")
    set_text(entry, "nodename", os.fsdecode(name))
    again = m.utsns_entry.FromString(entry.SerializeToString())
    assert os.fsencode(get_text(again, "nodename")) == name
    assert again.domainname == "d"
