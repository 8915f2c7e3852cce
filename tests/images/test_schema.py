"""The generated modules are what the .proto files say, and load lazily."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from images import messages as m
from images.kinds import KINDS
from images.regenerate import ROOT, regenerate


def generated(root: Path) -> dict[str, str]:
    """Every generated file, without the version of the generator."""
    files = [*(root / "images/schema").glob("*_pb2.py*"), root / "images/schema/index.py"]
    files.append(root / "images/messages.pyi")
    return {str(path.relative_to(root)): without_version(path.read_text()) for path in files}


def without_version(text: str) -> str:
    text = re.sub(r"Protobuf Python Version: .*", "", text)
    return re.sub(r"PUBLIC,\n +\d+,\n +\d+,\n +\d+,", "PUBLIC,", text)


def test_generated_files_are_up_to_date(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools", reason="grpcio-tools is needed to generate the modules again")
    regenerate(tmp_path)
    assert generated(tmp_path) == generated(ROOT)


def test_every_name_resolves() -> None:
    for name in dir(m):
        assert getattr(m, name).DESCRIPTOR.name == name


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no message or enum named 'nothing'"):
        m.nothing  # type: ignore[attr-defined]  # noqa: B018


def test_the_table_of_files_names_messages_that_exist() -> None:
    for kind in KINDS.values():
        assert not kind.message or hasattr(m, kind.message)
        assert not kind.head or hasattr(m, kind.head)


def test_messages_do_without_the_generated_modules() -> None:
    """They cost three times as much to import."""
    script = (
        "import sys\n"
        "from images import messages as m; m.core_entry(mtype=m.core_entry.march.X86_64); m.fd_types.PIPE\n"
        "print(*(x for x in sys.modules if x.endswith('_pb2') or 'text_format' in x))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_both_forms_of_a_message_are_the_same_bytes() -> None:
    from images.schema import process_pb2

    ours = m.pstree_entry(pid=7, ppid=1, pgid=7, sid=7, threads=[7, 8])
    theirs = process_pb2.pstree_entry(pid=7, ppid=1, pgid=7, sid=7, threads=[7, 8])
    assert ours.SerializeToString() == theirs.SerializeToString()
