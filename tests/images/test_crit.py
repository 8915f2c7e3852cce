"""The woodfrog-crit command without an oracle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from images import messages as m
from images.crit import main
from images.crit_values import from_json, to_json
from images.directory import ImageDirectory
from images.regenerate import ROOT


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    with ImageDirectory.create(tmp_path / "snapshot") as directory:
        with directory.writer("pipes-data") as image:
            image.add(m.pipe_data_entry(pipe_id=1, bytes=5000), bytes(5000))
        directory.write("pstree", entries=[m.pstree_entry(pid=1, ppid=0, pgid=1, sid=1)])
        core = m.core_entry(mtype=m.core_entry.X86_64)
        core.tc.CopyFrom(
            m.task_core_entry(task_state=3, exit_code=0, personality=0, flags=0, blk_sigset=0, comm="gone")
        )
        directory.write("core", 1, entries=[core])
    return tmp_path / "snapshot"


def test_decode_and_encode(snapshot: Path, tmp_path: Path) -> None:
    text, back = tmp_path / "text", tmp_path / "back"
    assert main(["decode", "-i", str(snapshot / "pipes-data.img"), "-o", str(text)]) == 0
    assert main(["encode", "-i", str(text), "-o", str(back)]) == 0
    assert back.read_bytes() == (snapshot / "pipes-data.img").read_bytes()


def test_show_without_data(snapshot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "--nopl", str(snapshot / "pipes-data.img")]) == 0
    [entry] = json.loads(capsys.readouterr().out)["entries"]
    assert entry == {"pipe_id": 1, "bytes": 5000, "extra": "... <4.9KB>"}


def test_info(snapshot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(snapshot / "pipes-data.img")]) == 0
    assert capsys.readouterr().out == '{\n    "magic": "PIPES_DATA",\n    "count": 1\n}\n'


@pytest.mark.parametrize("what", ["fds", "mems", "rss"])
def test_a_zombie_has_nothing_to_list(snapshot: Path, capsys: pytest.CaptureFixture[str], what: str) -> None:
    assert main(["x", str(snapshot), what]) == 0
    assert capsys.readouterr().out == "1\n"


def test_the_tree(snapshot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["x", str(snapshot), "ps"]) == 0
    assert capsys.readouterr().out == "    PID   PGID    SID   COMM\n      1      1      1   gone\n"


def test_through_pipes(snapshot: Path) -> None:
    image = (snapshot / "pstree.img").read_bytes()
    text = crit(["decode"], image)
    assert text == (b'{"magic": "PSTREE", "entries": [{"pid": 1, "ppid": 0, "pgid": 1, "sid": 1}]}\n')
    assert crit(["encode"], text) == image


def crit(arguments: list[str], given: bytes) -> bytes:
    command = [sys.executable, "-W", "error", "-m", "images.crit", *arguments]
    return subprocess.run(command, cwd=ROOT, input=given, stdout=subprocess.PIPE, check=True).stdout


BAD_JSON = {
    "no JSON": ("[1,", "is no JSON"),
    "no image": ("[1]", '"magic" and "entries"'),
    "another magic": ('{"magic": "NOTHING", "entries": []}', "no image with the magic name NOTHING"),
    "an unknown field": ('{"magic": "PSTREE", "entries": [{"pidd": 1}]}', "pstree_entry has no field pidd"),
    "a missing field": ('{"magic": "PSTREE", "entries": [{"pid": 1}]}', "lacks ppid, pgid, sid"),
    "no number": ('{"magic": "PSTREE", "entries": [{"pid": "one"}]}', "pstree_entry.pid: invalid literal"),
    "too large": ('{"magic": "PSTREE", "entries": [{"pid": 99999999999}]}', "pstree_entry.pid: "),
    "no data": ('{"magic": "PIPES_DATA", "entries": [{"pipe_id": 1, "bytes": 2}]}', 'has no "extra"'),
    "other data": (
        '{"magic": "PIPES_DATA", "entries": [{"pipe_id": 1, "bytes": 2, "extra": "YWJj"}]}',
        "3 bytes of data after a pipe_data_entry that promises 2",
    ),
    "no base64": (
        '{"magic": "PIPES_DATA", "entries": [{"pipe_id": 1, "bytes": 2, "extra": "!"}]}',
        "entry 0",
    ),
}


@pytest.mark.parametrize("case", BAD_JSON)
def test_bad_json_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str) -> None:
    text, reason = BAD_JSON[case]
    (tmp_path / "in").write_text(text)
    assert main(["encode", "-i", str(tmp_path / "in"), "-o", str(tmp_path / "out")]) == 1
    printed = capsys.readouterr().err
    assert reason in printed
    assert printed.count("\n") == 1


def test_an_unknown_magic_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pages-1.img").write_bytes(bytes(4096))
    assert main(["show", str(tmp_path / "pages-1.img")]) == 1
    assert "byte 0: unknown magic 0x0; images of raw data" in capsys.readouterr().err


PRETTY: list[tuple[Any, dict[str, Any]]] = [
    (
        m.pagemap_entry(vaddr=4096, compat_nr_pages=0, flags=6),
        {"vaddr": "0x1000", "flags": "PE_LAZY | PE_PRESENT"},
    ),
    (
        m.ghost_file_entry(uid=0, gid=0, mode=8624, dev=0x800001, rdev=os.makedev(4, 300)),
        {"dev": "8:1", "rdev": "4:300"},
    ),
    (
        m.vma_entry(prot=5, flags=0x4022, status=0x10201),
        {
            "prot": "PROT_READ | PROT_EXEC",
            "flags": "MAP_PRIVATE | MAP_ANON | 0x4000",
            "status": "VMA_AREA_REGULAR | VMA_ANON_PRIVATE | 0x10000",
        },
    ),
    (
        m.inet_sk_entry(family=2, type=1, proto=132, state=10, src_addr=[0x0100007F], dst_addr=[0, 0, 0, 0x01000000]),
        {
            "family": "INET",
            "type": "STREAM",
            "proto": 132,
            "state": "LISTEN",
            "src_addr": ["127.0.0.1"],
            "dst_addr": ["::1"],
        },
    ),
    (m.unix_sk_entry(name=b"\0abstract=name"), {"name": "=00abstract=3Dname"}),
    (m.task_core_entry(task_state=6, blk_sigset=255), {"task_state": "Stopped", "blk_sigset": "0xff"}),
]


@pytest.mark.parametrize(("message", "expected"), PRETTY)
def test_pretty_values(message: Any, expected: dict[str, Any]) -> None:
    values = to_json(message, pretty=True)
    assert {name: values[name] for name in expected} == expected
    again = type(message)()
    from_json(values, again)
    assert again == message


def test_names_that_are_no_utf_8_survive() -> None:
    message = m.utsns_entry.FromString(b"\x0a\x02\xff\xfe\x12\x01d")
    again = m.utsns_entry()
    from_json(json.loads(json.dumps(to_json(message, pretty=False))), again)
    assert again.SerializeToString() == message.SerializeToString()
