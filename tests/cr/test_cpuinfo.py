"""cpuinfo.img, `cpuinfo dump|check` and --cpu-cap."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from cr import cpuinfo
from cr.cli import main
from cr.cpuinfo import capabilities, mismatches
from cr.model import CheckpointError
from images import messages as m
from images.directory import ImageDirectory
from tests.cr.harness import Workload

CRIU = os.environ.get("WOODFROG_TEST_CRIU", "")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, {"fpu", "ins"}),
        ("", {"fpu", "cpu", "ins"}),
        ("all", {"fpu", "cpu", "ins"}),
        ("none", set()),
        ("cpu, fpu", {"fpu", "cpu"}),
        ("^cpu", {"fpu", "ins"}),
        ("all,^fpu", {"cpu", "ins"}),
    ],
)
def test_names_of_capabilities(text: str | None, found: set[str]) -> None:
    assert capabilities(text) == found


def test_an_unknown_capability() -> None:
    with pytest.raises(CheckpointError, match="--cpu-cap gpu: it is one of fpu, cpu, ins, all and none"):
        capabilities("gpu")


def entry(**changes: object) -> m.cpuinfo_x86_entry:
    result = cpuinfo.describe()
    for name, value in changes.items():
        setattr(result, name, value)
    return result


def test_the_same_processor_matches() -> None:
    assert mismatches(entry(), entry(), capabilities("all")) == []


def test_a_lesser_processor() -> None:
    here, there = entry(), entry()
    here.capability[9] &= ~(1 << 5)
    there.capability[9] |= 1 << 5
    assert mismatches(there, here, frozenset({"ins"})) == [
        "this processor lacks what that of the images has: avx2"
    ]  # fmt: skip
    assert mismatches(here, there, frozenset({"ins"})) == []
    assert mismatches(here, there, frozenset({"cpu"})) == ["this processor is not the same as that of the images: avx2"]
    assert mismatches(there, here, frozenset()) == []


def test_state_that_is_not_kept() -> None:
    there = entry(xfeatures_mask=0xFFFF0, xsave_size=99999)
    found = mismatches(there, entry(), frozenset({"fpu"}))
    assert "does not keep all the state" in found[0]
    assert "99999 bytes" in found[1]


def _command(*words: str) -> int:
    return main(["cpuinfo", *words])


def test_dump_and_check(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert _command("check", "-D", str(tmp_path)) == 1
    assert "has no cpuinfo.img" in capfd.readouterr().err
    assert _command("dump", "-D", str(tmp_path)) == 0
    assert _command("check", "-D", str(tmp_path), "--cpu-cap=all") == 0
    worse = entry()
    worse.capability[18] ^= 1 << 31
    with ImageDirectory.open(tmp_path) as images:
        images.write("cpuinfo", entries=[m.cpuinfo_entry(x86_entry=[worse])])
    assert _command("check", "-D", str(tmp_path), "--cpu-cap=cpu") == 1
    assert _command("check", "-D", str(tmp_path), "--cpu-cap=none") == 0
    assert _command("look", "-D", str(tmp_path)) == 1


@pytest.mark.root
def test_restore_on_another_processor(tmp_path: Path) -> None:
    with Workload("plain", tmp_path) as workload:
        workload.dump(cpu_cap="all")
        other = entry()
        other.capability[5] = 0
        other.capability[9] = 0xFFFFFFFF
        with ImageDirectory.open(workload.images) as images:
            images.write("cpuinfo", entries=[m.cpuinfo_entry(x86_entry=[other])])
        with pytest.raises(CheckpointError, match=r"this processor lacks what that of the images has.*--cpu-cap=none"):
            workload.restore()
        workload.restore(cpu_cap="none")
        workload.check()


@pytest.mark.skipif(not CRIU, reason="needs WOODFROG_TEST_CRIU")
def test_criu_sees_the_same(tmp_path: Path) -> None:
    def criu(verb: str) -> int:
        words = [CRIU, "cpuinfo", verb, "-D", str(tmp_path), "--cpu-cap=all"]
        return subprocess.run(words, capture_output=True).returncode

    assert criu("dump") == 0
    with ImageDirectory.open(tmp_path) as images:
        assert images.read_one("cpuinfo").x86_entry[0] == cpuinfo.describe()
    assert _command("dump", "-D", str(tmp_path)) == 0
    assert criu("check") == 0
