"""`woodfrog-criu check`: names, sentences, exit statuses."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

import cr.check
from cr.arguments import parse
from cr.check.feature import EXPERIMENTAL, EXTRA, NEEDED, Feature, apart, problem
from cr.options import Options

CRIU = """
mnt_id mem_dirty_track aio_remap timerfd tun tun_ns userns fdinfo_lock seccomp_suspend seccomp_filters loginuid
cgroupns autofs tcp_half_closed compat_cr uffd uffd-noncoop can_map_vdso sk_ns sk_unix_file net_diag_raw nsid
link_nsid kcmp_epoll timens external_net_ns clone3_set_tid newifindex nftables has_ipt_legacy pidfd_store ns_pid
apparmor_stacking network_lock_nftables sockopt_buf_lock memfd_hugetlb move_mount_set_group openat2 get_rseq_conf
ipv6_freebind pagemap_scan timer_cr_ids overlayfs_maps breakpoints pagemap_scan_guard_pages
"""
"""What criu 4.2 lists."""


def lacking() -> None:
    raise OSError(errno.ENOSYS, "it is not there")


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> dict[str, Feature]:
    table = {"base": Feature("base", lambda: None, NEEDED), "more": Feature("more", lacking, EXTRA)}
    monkeypatch.setattr(cr.check, "features", lambda: table)
    return table


def check(*words: str) -> int:
    return cr.check.run(parse(["check", *words])[1])


def test_every_name_of_criu_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert check("--feature", "list") == 0
    listed = capsys.readouterr().out.split()
    assert not set(CRIU.split()) - set(listed)
    assert len(listed) == len(set(listed))


@pytest.mark.root
def test_this_kernel_is_good_enough(capsys: pytest.CaptureFixture[str]) -> None:
    assert check() == 0
    assert capsys.readouterr().out == "Looks good.\n"


@pytest.mark.root
@pytest.mark.parametrize("name", ["userns", "sk_ns", "overlayfs_maps", "seccomp_filters", "network_lock_nftables"])
def test_single_features(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert check("--feature", name) == 0
    assert capsys.readouterr().out == f"{name} is supported\n"


@pytest.mark.root
def test_probes_leave_nothing_behind() -> None:
    before = set(os.listdir("/proc/self/fd"))
    for feature in cr.check.features().values():
        problem(feature)
    assert set(os.listdir("/proc/self/fd")) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, 0)


@pytest.mark.usefixtures("table")
def test_categories_and_verdicts(capsys: pytest.CaptureFixture[str]) -> None:
    assert check() == 0
    assert capsys.readouterr().out == "Looks good.\n"
    assert check("--extra") == 1
    shown = capsys.readouterr().out
    assert "Needed for trees that use it: 0 of 1 are there\n  more: it is not there\nLooks good but" in shown
    assert check("--all") == check("--extra")


def test_what_every_tree_needs(table: dict[str, Feature], capsys: pytest.CaptureFixture[str]) -> None:
    table["base"] = Feature("base", lacking, NEEDED)
    table["odd"] = Feature("odd", lacking, EXPERIMENTAL)
    assert check() == 1
    assert capsys.readouterr().out.endswith("base: it is not there\nDoes not look good.\n")


def test_unknown_and_missing_names(table: dict[str, Feature], capsys: pytest.CaptureFixture[str]) -> None:
    assert check("--feature", "more") == 1
    assert check("--feature", "nonsense") == 1
    assert check("--feature", "base", "--feature", "more") == 1
    assert "nonsense: there is no feature of that name" in capsys.readouterr().err
    assert table


def test_a_probe_in_a_child() -> None:
    def kill() -> None:
        os._exit(3)

    assert problem(Feature("gone", apart(kill))) == "the process that tried it was killed"
    assert problem(Feature("lacking", apart(lacking))) == "it is not there"
    assert problem(Feature("fine", apart(lambda: None))) == ""
    assert Options().feature == []


@pytest.mark.root
def test_autofs_is_tried_where_our_process_group_has_no_number() -> None:
    """As in a pid namespace whose first process is of its parent's group."""
    command = [sys.executable, "-m", "cr.cli", "check", "--feature", "autofs"]
    done = subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", *command], capture_output=True, check=False)
    assert (done.returncode == 0) == ("autofs" in Path("/proc/filesystems").read_text())
