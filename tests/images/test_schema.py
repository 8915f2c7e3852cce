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


@pytest.mark.parametrize(
    ("name", "loaded"),
    [("criu_req", ["rpc"]), ("stats_entry", ["stats"]), ("inventory_entry", ["common", "inventory"])],
)
def test_light_messages_load_few_modules(name: str, loaded: list[str]) -> None:
    script = (
        "import sys\n"
        f"from images import messages as m; m.{name}\n"
        "print(*sorted(x.split('.')[-1][:-4] for x in sys.modules if x.endswith('_pb2') and 'schema' in x))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == loaded
