"""Parts of the runtime that are plain functions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cr.kernel import mounts as m
from cr.kernel import namespaces as ns
from cr.kernel.capabilities import NAMES, as_names, as_set
from oci.spec import default_config
from runtime.cgroup import resources_of
from runtime.check import check_process, check_terminal
from runtime.errors import ContainerError, reason
from runtime.events import duration
from runtime.exec_process import changed
from runtime.foreground import exit_code
from runtime.init.identity import CapabilitySets
from runtime.mount_options import Options, is_bind
from runtime.namespaces import Namespaces, check
from runtime.report import Reporter
from runtime.signals import number_of
from runtime.store import Store, all_ids, check_id
from runtime.verbs.exec import VERB as EXEC
from runtime.verbs.ps import select
from runtime.verbs.update import VERB as UPDATE
from runtime.verbs.update import from_flags


def test_mount_options() -> None:
    options = Options(["rbind", "ro", "nosuid", "suid", "rprivate", "mode=755", "size=1k", "rro", "tmpcopyup"])
    assert options.flags == m.MS_BIND | m.MS_REC | m.MS_RDONLY
    assert options.cleared == m.MS_NOSUID
    assert options.propagation == [m.MS_PRIVATE | m.MS_REC]
    assert options.data == "mode=755,size=1k"
    assert options.tree == (m.MOUNT_ATTR_RDONLY, 0)
    assert options.copy_up


def test_attributes_of_a_bind_mount() -> None:
    follow = m.MOUNT_ATTR_NOSYMFOLLOW
    assert Options(["bind", "ro", "noexec"]).demanded() == (m.MOUNT_ATTR_RDONLY | m.MOUNT_ATTR_NOEXEC, follow)
    assert Options(["bind", "rw", "dev"]).demanded() == (0, m.MOUNT_ATTR_RDONLY | m.MOUNT_ATTR_NODEV | follow)
    assert Options(["bind", "noatime"]).demanded() == (m.MOUNT_ATTR_NOATIME, m.MOUNT_ATTR__ATIME | follow)
    assert Options(["bind", "nosymfollow"]).demanded() == (follow, 0)
    rest = m.MOUNT_ATTR_NOSUID | m.MOUNT_ATTR_NODEV | m.MOUNT_ATTR_NOSYMFOLLOW
    assert Options(["bind", "ro", "noexec"]).attributes() == (m.MOUNT_ATTR_RDONLY | m.MOUNT_ATTR_NOEXEC, rest)
    assert Options(["bind"]).attributes() == (0, 0)


def test_later_tree_options_win() -> None:
    assert Options(["rro", "rrw"]).tree == (0, m.MOUNT_ATTR_RDONLY)
    assert Options(["rnoatime", "rrelatime"]).tree[0] & m.MOUNT_ATTR_NOATIME == 0


def test_what_a_bind_mount_is() -> None:
    assert is_bind({"destination": "/x", "type": "bind"})
    assert is_bind({"destination": "/x", "type": "none", "options": ["rbind"]})
    assert not is_bind({"destination": "/x", "type": "tmpfs", "options": ["ro"]})


def test_namespaces_new_and_joined() -> None:
    spaces = Namespaces(
        {"namespaces": [{"type": "mount"}, {"type": "user", "path": "/u"}, {"type": "pid", "path": "/p"}]}
    )
    assert spaces.new == {"mount"}
    assert spaces.joins() == [(ns.CLONE_NEWUSER, "/u"), (ns.CLONE_NEWPID, "/p")]
    assert spaces.staged
    assert spaces.clone_flags() == ns.CLONE_NEWNS
    plain = Namespaces({"namespaces": [{"type": "mount"}, {"type": "cgroup"}, {"type": "network"}]})
    assert not plain.staged
    assert plain.clone_flags() == ns.CLONE_NEWNS | ns.CLONE_NEWNET


def test_a_namespace_twice() -> None:
    with pytest.raises(ContainerError, match="duplicated ns 'pid'"):
        Namespaces({"namespaces": [{"type": "pid"}, {"type": "pid"}]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hostname": "x", "kinds": ["mount"]}, "without a private UTS namespace"),
        ({"kinds": ["uts"]}, "needs a mount namespace"),
        ({"kinds": ["mount", "uts", "user"]}, "no mapping is configured"),
        ({"sysctl": {"kernel.panic": "1"}}, "not in a separate kernel namespace"),
        ({"sysctl": {"net.core.somaxconn": "1"}, "kinds": ["mount", "uts"]}, "hosts network namespace"),
        ({"sysctl": {"kernel.shmmax": "1"}, "kinds": ["mount", "uts"]}, "hosts ipc namespace"),
        ({"sysctl": {"kernel/hostname": "x"}}, "conflicts with the field hostname"),
        ({"timeOffsets": {"boottime": {"secs": 1}}}, "no new time namespace"),
        ({"netDevices": {"eth0": {}}}, "linux.netDevices is not supported"),
        ({"intelRdt": {"closID": "x"}}, "linux.intelRdt is not supported"),
    ],
)
def test_what_would_touch_the_host_is_refused(change: dict[str, Any], message: str) -> None:
    config = default_config()
    linux: Any = config["linux"]
    if "kinds" in change:
        linux["namespaces"] = [{"type": kind} for kind in change.pop("kinds")]
    linux.update(change)
    with pytest.raises(ContainerError, match=message):
        check(config, Namespaces(linux))


def test_the_default_configuration_passes() -> None:
    config = default_config()
    check(config, Namespaces(config["linux"]))


@pytest.mark.parametrize(
    ("text", "number"), [("9", 9), ("KILL", 9), ("sigkill", 9), ("RTMIN+3", 37), ("SIGRTMAX-1", 63), ("0", 0)]
)
def test_signals(text: str, number: int) -> None:
    assert number_of(text) == number


@pytest.mark.parametrize("text", ["FOO", "-1", "99", "KILL+x", ""])
def test_unknown_signals(text: str) -> None:
    with pytest.raises(ContainerError, match=f'unknown signal "{text.replace("+", ".")}"'):
        number_of(text)


def test_capability_names() -> None:
    assert as_names(as_set(["CAP_KILL", "CAP_CHOWN"])) == ["CAP_CHOWN", "CAP_KILL"]
    assert as_names(1 << 63) == ["CAP_63"]
    with open("/proc/sys/kernel/cap_last_cap") as stream:
        assert int(stream.read()) <= len(NAMES)


def test_capability_sets_are_cut_to_what_there_is() -> None:
    sets = CapabilitySets(
        {"bounding": ["CAP_KILL", "CAP_NOPE", "CAP_BPF"], "permitted": ["CAP_KILL"], "ambient": ["CAP_KILL"]},
        as_set(["CAP_KILL"]),
    )
    assert sets.unavailable == ["CAP_BPF", "CAP_NOPE"]
    assert sets.bounding == sets.permitted == as_set(["CAP_KILL"])
    assert sets.ambient == 0, "not inheritable, so the kernel would refuse it"


def test_exec_process_from_options() -> None:
    words = [
        "-e",
        "A=1",
        "--cwd",
        "/tmp",
        "-u",
        "5:6",
        "-g",
        "7",
        "-c",
        "CAP_KILL",
        "--no-new-privs",
        "-t",
        "c1",
        "id",
        "-u",
    ]
    values, arguments = EXEC.parse(words)
    own = default_config()["process"]
    process = changed(own, values, arguments[1:])
    assert process["args"] == ["id", "-u"]
    assert process["user"] == {"uid": 5, "gid": 6, "additionalGids": [7]}
    assert (process["cwd"], process["terminal"], process["noNewPrivileges"]) == ("/tmp", True, True)
    assert process["env"][-1] == "A=1"
    assert "CAP_KILL" not in process["capabilities"].get("inheritable", [])
    assert own["args"] == ["sh"], "the container's own process is not changed"


def test_exec_with_a_user_by_name() -> None:
    values, _ = EXEC.parse(["-u", "root", "c1", "id"])
    with pytest.raises(ContainerError, match='not "root"'):
        changed(default_config()["process"], values, ["id"])


@pytest.mark.parametrize(
    ("process", "message"),
    [
        ({"args": []}, "args must not be empty"),
        ({"args": ["x"], "selinuxLabel": "x"}, "selinux is disabled or not supported"),
        ({"args": ["x"], "apparmorProfile": "x"}, "apparmor is disabled or not supported"),
        ({"args": ["x"], "rlimits": [{"type": "RLIMIT_FOO", "soft": 1, "hard": 1}]}, "wrong rlimit value: RLIMIT_FOO"),
    ],
)
def test_processes_that_cannot_be(process: Any, message: str) -> None:
    with pytest.raises(ContainerError, match=message):
        check_process({"cwd": "/", **process})


def test_terminals_need_someone() -> None:
    check_terminal(True, "", False)
    check_terminal(True, "/sock", True)
    with pytest.raises(ContainerError, match="without setting console socket"):
        check_terminal(True, "", True)
    with pytest.raises(ContainerError, match="cannot use console socket"):
        check_terminal(False, "/sock", True)


def test_device_rules_follow_the_configured_ones() -> None:
    config = default_config()
    rules = resources_of(config)["devices"]
    assert rules[0] == {"allow": False, "access": "rwm"}
    assert {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"} in rules


def test_no_device_rules_where_none_are_configured() -> None:
    assert resources_of({"ociVersion": "1.0.0"}) == {}


def test_update_flags() -> None:
    words = ["--memory", "64m", "--cpu-quota", "-1", "--cpuset-cpus", "0-1", "--pids-limit", "5", "c"]
    assert from_flags(UPDATE.parse(words)[0]) == {
        "memory": {"limit": 64 << 20},
        "cpu": {"quota": -1, "cpus": "0-1"},
        "pids": {"limit": 5},
    }
    with pytest.raises(ContainerError, match="invalid value for memory: lots"):
        from_flags(UPDATE.parse(["--memory", "lots", "c"])[0])


@pytest.mark.parametrize(("text", "seconds"), [("5s", 5), ("100ms", 0.1), ("1m30s", 90), ("1.5h", 5400)])
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "0s", "s", "-1s", "5s!"])
def test_bad_durations(text: str) -> None:
    with pytest.raises(ContainerError, match="must be greater than 0"):
        duration(text)


def test_ps_lines() -> None:
    lines = ["UID  PID CMD", "root 12 a", "root 13 b 12"]
    assert select(lines, {12}) == lines[:2]
    with pytest.raises(ContainerError, match="PID field"):
        select(["USER CMD"], {1})


def test_exit_codes() -> None:
    assert exit_code(7 << 8) == 7
    assert exit_code(9) == 137


def test_text_and_json_messages(tmp_path: Path) -> None:
    text, json_ = tmp_path / "t", tmp_path / "j"
    Reporter(str(text)).write("error", 'a "b"')
    Reporter(str(json_), "json").write("error", 'a "b"')
    assert text.read_text().endswith('level=error msg="a \\"b\\""\n')
    assert json_.read_text().startswith('{"level":"error","msg":"a \\"b\\"","time":"20')
    Reporter(str(text)).debug("quiet")
    assert "quiet" not in text.read_text()


def test_reasons() -> None:
    assert reason(FileNotFoundError(2, "No such file or directory", "/x")) == "/x: no such file or directory"
    assert reason(OSError(1, "mount: Operation not permitted")) == "mount: operation not permitted"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "a\n", "ä"])
def test_bad_ids(name: str) -> None:
    with pytest.raises(ContainerError, match="invalid container ID format"):
        check_id(name)


def test_store(tmp_path: Path) -> None:
    root = str(tmp_path / "root")
    store = Store(root, "c1")
    store.make()
    with pytest.raises(ContainerError, match="already exists"):
        Store(root, "c1").make()
    store.save({"a": 1})
    assert Store(root, "c1").load() == {"a": 1}
    assert all_ids(root) == ["c1"]
    (tmp_path / "root/c1/state.json").write_text("{")
    with pytest.raises(ContainerError, match=r"damaged.*delete --force"):
        store.load()
    store.remove()
    assert all_ids(root) == []
    with pytest.raises(ContainerError, match="container does not exist"):
        store.load()


def test_a_held_lock_is_waited_for_in_vain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    holder, other = Store(str(tmp_path), "c1"), Store(str(tmp_path), "c1")
    holder.make()
    monkeypatch.setattr("runtime.store.LOCK_DEADLINE", 0.02)
    with pytest.raises(ContainerError, match="held by another command"):
        other.lock()
    holder.forget_lock()
    other.lock()
    other.forget_lock()
