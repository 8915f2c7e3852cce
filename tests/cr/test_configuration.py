"""Options come from configuration files, the command line wins."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cr.cli import main, understand
from cr.configuration import gather, places, words
from cr.model import CheckpointError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "c.conf"
    path.write_text('# a comment\ntcp-established\n\nwork-dir "/a b"   # blanks\nghost-limit 2M\nexternal mnt[/x]:y\n')
    return path


def test_lines_become_options(file: Path) -> None:
    assert list(words(str(file))) == [
        "--tcp-established",
        "--work-dir=/a b",
        "--ghost-limit=2M",
        "--external=mnt[/x]:y",
    ]


def test_the_command_line_wins(file: Path) -> None:
    line = ["dump", "-t", "7", "--config", str(file), "--no-tcp-established", "--ghost-limit", "1K", "--external", "a"]
    _, found = understand([*line, "--no-default-config"])
    assert (found.tcp_established, found.ghost_limit, found.work_dir) == (False, 1024, "/a b")
    assert found.external == ["mnt[/x]:y", "a"]


def test_order_of_the_files(tmp_path: Path, file: Path) -> None:
    home = tmp_path / ".criu"
    home.mkdir()
    (home / "default.conf").write_text("log-file first\n")
    (tmp_path / "env.conf").write_text("log-file second\n")
    environment = {"HOME": str(tmp_path), "CRIU_CONFIG_FILE": str(tmp_path / "env.conf")}
    found = gather(str(file), defaults=True, environment=environment)
    assert found[:3] == ["--log-file=first", "--log-file=second", "--tcp-established"]
    (tmp_path / ".woodfrog").mkdir()
    (tmp_path / ".woodfrog" / "criu.conf").write_text("log-file ours\n")
    both = places(str(file), defaults=True, environment=environment)
    personal = [str(home / "default.conf"), f"{tmp_path}/.woodfrog/criu.conf"]
    assert both[-4:] == [*personal, f"{tmp_path}/env.conf", str(file)]
    assert places("", defaults=False, environment=environment) == [f"{tmp_path}/env.conf"]
    assert gather("", defaults=False, environment={"HOME": str(tmp_path)}) == []


def test_a_missing_or_broken_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dump", "--config", str(tmp_path / "none")]) == 1
    assert "none cannot be read" in capsys.readouterr().err
    (tmp_path / "bad").write_text('log-file "open\n')
    with pytest.raises(CheckpointError, match="bad, line 1"):
        list(words(str(tmp_path / "bad")))


@pytest.mark.parametrize(
    ("line", "word"),
    [
        (r'work-dir "/home/x/my \"work\" directory"', '--work-dir=/home/x/my "work" directory'),
        (r'cgroup-props "a\n b"', r"--cgroup-props=a\n b"),
        ("no-restore-sibling\t# another comment", "--no-restore-sibling"),
        ("external mnt[/x]:y'z", "--external=mnt[/x]:y'z"),
        ("  # only a comment", None),
        ("log-file a#b", "--log-file=a#b"),
        ("log-file=a", "--log-file=a"),
    ],
)
def test_the_syntax_of_the_manual(line: str, word: str | None, tmp_path: Path) -> None:
    (tmp_path / "c").write_text(line + "\n")
    assert list(words(str(tmp_path / "c"))) == ([] if word is None else [word])


@pytest.mark.parametrize("line", ["--tcp-close", 'log-file a"b"', 'log-file "a'])
def test_lines_that_are_wrong(line: str, tmp_path: Path) -> None:
    (tmp_path / "c").write_text(f"\n{line}\n")
    with pytest.raises(CheckpointError, match="c, line 2"):
        list(words(str(tmp_path / "c")))


def test_an_unknown_option_is_told_with_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c").write_text("nonsense\n")
    assert main(["dump", "-t", "1", "--no-default-config", "--config", str(tmp_path / "c")]) == 1
    assert "there is no option --nonsense" in capsys.readouterr().err


def test_the_version_begins_as_callers_of_criu_read_it(capfd: pytest.CaptureFixture[str]) -> None:
    """LXC reads "Version: %d.%d" in the first line."""
    assert main(["--version"]) == 0
    first, second = capfd.readouterr().out.splitlines()
    assert re.fullmatch(r"Version: 4\.\d+", first)
    assert second.startswith("Woodfrog: ")
