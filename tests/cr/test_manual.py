"""The manual page and --help come from the tables."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from cr.cli import main
from cr.commands import COMMANDS
from cr.contract.outside import FORMS
from cr.manual import page
from cr.options import rows

PAGE = Path(__file__).parents[2] / "docs" / "woodfrog-criu.8"


def test_the_page_is_what_the_tables_say() -> None:
    assert PAGE.read_text() == page(), "run: python -m cr.manual > docs/woodfrog-criu.8"


def test_everything_is_on_the_page() -> None:
    text = page().replace(r"\-", "-").replace(r"\&", "")
    for row in rows():
        assert re.search(rf"^\\fB(-\w, )?{re.escape(row.flag)}[ \[\\]", text, re.MULTILINE), row.flag
    for name in [*COMMANDS, *(form.written for form in FORMS.values())]:
        assert f"\\fB{name}" in text, name


def test_man_can_read_it() -> None:
    if shutil.which("groff") is None:
        pytest.skip("needs WOODFROG_TEST_GROFF: groff is not installed")
    done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", str(PAGE)], capture_output=True, text=True, check=True)
    assert not done.stderr
    assert "leave-running" in re.sub(r"\x1b\[\d*m|.\x08", "", done.stdout)


@pytest.mark.parametrize("name", list(COMMANDS))
def test_help_of_a_command(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"Usage: woodfrog-criu {name} [OPTION ...]")
    assert all((f"{row.flag}" in shown) >= row.of(name) for row in rows())
    assert max(map(len, shown.splitlines())) <= 100


def test_help_of_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in COMMANDS)
    assert main([]) == 1
    assert "Commands:" in capsys.readouterr().err
