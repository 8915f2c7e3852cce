"""Filesystems whose files cannot be made again are dumped empty, or refused by what is in them."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cr.contract.filesystem import filesystem
from cr.kernel.mountinfo import parse_line


@pytest.mark.parametrize(("fsname", "way_out"), [("hugetlbfs", "remove these files"), ("pstore", "--skip-mnt /odd")])
def test_files_in_it_are_named(fsname: str, way_out: str, tmp_path: Path) -> None:
    refused: list[str] = []
    context: Any = SimpleNamespace(refuse=refused.append)
    mount = parse_line(f"15 10 0:70 / /odd rw - {fsname} odd rw".encode())
    resource = filesystem(fsname)
    assert resource is not None
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        resource.dump(mount, fd, context)
        assert not refused
        (tmp_path / "pages").touch()
        resource.dump(mount, fd, context)
    finally:
        os.close(fd)
    assert "mount /odd" in refused[0]
    assert "(pages)" in refused[0]
    assert way_out in refused[0]
