"""Settings, on a directory of plain files in place of /proc/sys/net."""

from __future__ import annotations

from pathlib import Path

import pytest

from netns import NetnsError, devconf, firewall, sysctl
from netns.model import Sysctls


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for device in ("all", "default", "eth0"):
        (tmp_path / "ipv4/conf" / device).mkdir(parents=True)
        (tmp_path / "ipv4/conf" / device / "forwarding").write_text("0\n")
    (tmp_path / "unix").mkdir()
    (tmp_path / "unix/max_dgram_qlen").write_text("10\n")
    (tmp_path / "ipv4/ip_forward").write_text("0\n")
    (tmp_path / "ipv4/ping_group_range").write_text("1\t0\n")
    monkeypatch.setattr(sysctl, "ROOT", str(tmp_path))
    return tmp_path


def test_settings_are_read_without_doubles(root: Path) -> None:
    seen = sysctl.dump()
    assert seen.conf4 == {name: {"forwarding": "0"} for name in ("all", "default", "eth0")}
    assert seen.ipv4 == {"ping_group_range": "1\t0"}
    assert seen.unix == {"max_dgram_qlen": "10"}
    assert seen.conf6 == {}


def test_all_is_written_before_the_devices(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    real = Path.write_text

    def record(path: Path, text: str) -> int:
        written.append(str(path.relative_to(root)))
        return real(path, text)

    monkeypatch.setattr(Path, "write_text", record)
    values = {"forwarding": "1"}
    sysctl.restore(Sysctls({"eth0": values, "default": values, "all": values}, unix={"max_dgram_qlen": "10"}))
    assert written == [f"ipv4/conf/{name}/forwarding" for name in ("all", "default", "eth0")]


def test_a_setting_that_is_missing_is_named_or_left_out(root: Path) -> None:
    saved = Sysctls({"gone": {"rp_filter": "1"}})
    with pytest.raises(NetnsError, match=r"conf/gone/rp_filter to '1': No such file.*--weak-sysctls"):
        sysctl.restore(saved)
    sysctl.restore(saved, weak=True)


def test_only_real_rules_count() -> None:
    empty = "*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n"
    assert not firewall.has_rules(empty)
    assert firewall.has_rules(empty.replace("ACCEPT", "DROP"))
    assert firewall.has_rules(empty + "-A INPUT -j DROP\n")
    assert firewall.has_rules("*filter\n:MINE - [0:0]\n")


@pytest.mark.parametrize(("order", "family"), [(devconf.CONF4, "ipv4"), (devconf.CONF6, "ipv6")])
def test_the_places_of_the_image_are_settings_of_the_kernel(order: tuple[str, ...], family: str) -> None:
    base = Path(f"/proc/sys/net/{family}/conf/lo")
    if not base.is_dir():
        pytest.skip(f"this kernel lacks {family}")
    assert len(set(order)) == len(order) == {"ipv4": 30, "ipv6": 42}[family]
    assert [name for name in order if not (base / name).exists()] == []


def test_places_keep_what_is_missing_empty() -> None:
    places = devconf.to_places(("a", "b", "c"), {"a": "1", "c": "3"})
    assert places == ["1", None, "3"]
    assert devconf.from_places(("a", "b", "c"), places) == {"a": "1", "c": "3"}
    assert devconf.from_places(("a", "b", "c"), ["1"]) == {"a": "1"}
