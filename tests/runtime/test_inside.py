"""What a container's process is: identity, capabilities, limits, descriptors, cgroups, hooks."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.bundle import Bundle, environment, inside

pytestmark = pytest.mark.root


def status_fields(text: str) -> dict[str, str]:
    return {k: v.strip() for k, v in (line.split(":", 1) for line in text.splitlines() if ":" in line)}


def test_identity(bundle: Bundle) -> None:
    bundle.config["process"]["user"] = {"uid": 1000, "gid": 1001, "additionalGids": [5, 6], "umask": 0o77}
    bundle.config["process"]["cwd"] = "/tmp/made/for/it"
    fields = status_fields(inside(bundle, "cat /proc/self/status; echo cwd: $(pwd); echo home: $HOME"))
    assert fields["Uid"].split() == ["1000"] * 4
    assert fields["Gid"].split() == ["1001"] * 4
    assert fields["Groups"].split() == ["5", "6"]
    assert (fields["Umask"], fields["cwd"], fields["home"]) == ("0077", "/tmp/made/for/it", "/")
    assert int(fields["CapEff"], 16) == 0
    assert int(fields["CapBnd"], 16) == 0x20000420
    assert fields["NoNewPrivs"] == "1"
    assert int(fields["SigIgn"], 16) == int(fields["SigBlk"], 16) == 0


def test_ambient_capabilities(bundle: Bundle) -> None:
    names = ["CAP_KILL"]
    bundle.config["process"]["capabilities"] = dict.fromkeys(
        ("bounding", "effective", "permitted", "inheritable", "ambient"), names
    )
    bundle.config["process"]["user"] = {"uid": 1000, "gid": 1000}
    fields = status_fields(inside(bundle, "cat /proc/self/status"))
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(fields[kind], 16) == 1 << 5, kind


def test_unknown_capabilities_are_told_and_left_out(bundle: Bundle) -> None:
    bundle.config["process"]["capabilities"] = {"bounding": ["CAP_NOPE"]}
    bundle.shell("true")
    done = bundle.verb("run", bundle.id)
    assert done.returncode == 0
    assert "ignoring unknown or unavailable capabilities: [CAP_NOPE]" in done.stderr


def test_no_descriptor_leaks(bundle: Bundle) -> None:
    assert inside(bundle, "ls /proc/self/fd").split() == ["0", "1", "2", "3"]  # 3 is the directory that ls reads


def test_preserved_descriptors(bundle: Bundle) -> None:
    read, write = os.pipe()
    high = fcntl.fcntl(write, fcntl.F_DUPFD_CLOEXEC, 100)

    def place() -> None:
        os.dup2(high, 3)
        os.dup2(high, 4)

    bundle.shell("echo via four >&4; echo $LISTEN_FDS $LISTEN_PID")
    bundle.save()
    done = subprocess.run(
        bundle.command("run", "--preserve-fds", "1", bundle.id),
        cwd=bundle.path,
        env={**environment(), "LISTEN_FDS": "1"},
        pass_fds=[3, 4],
        preexec_fn=place,
        capture_output=True,
        text=True,
        check=True,
    )
    assert os.read(read, 100) == b"via four\n"
    assert done.stdout == "1 1\n"
    for fd in (read, write, high):
        os.close(fd)
    assert "of --preserve-fds or LISTEN_FDS is not open" in bundle.fails("run", "--preserve-fds", "60", bundle.id)


def test_rlimits(bundle: Bundle) -> None:
    bundle.config["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 88}]
    assert inside(bundle, "ulimit -Sn; ulimit -Hn").split() == ["77", "88"]


def change(path: str, value: Any) -> Any:
    def apply(config: Any) -> None:
        *parents, last = path.split(".")
        for name in parents:
            config = config[name]
        config[last] = value

    return apply


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("root.path", "nope", "invalid rootfs: stat"),
        ("process.args", [], "args must not be empty"),
        ("process.args", ["nosuchprogram"], 'exec: \\"nosuchprogram\\": executable file not found in $PATH'),
        ("process.args", ["/nope"], 'exec: \\"/nope\\": stat /nope: no such file or directory'),
        ("process.args", ["/etc/passwd"], 'exec: \\"/etc/passwd\\": permission denied'),
        ("process.args", ["/etc"], 'exec: \\"/etc\\": permission denied'),
        ("process.cwd", "x", "$.process.cwd"),
        ("process.rlimits", [{"type": "RLIMIT_FOO", "soft": 1, "hard": 1}], "wrong rlimit value: RLIMIT_FOO"),
        ("process.selinuxLabel", "x", "selinux"),
        ("process.apparmorProfile", "x", "apparmor"),
        ("linux.sysctl", {"kernel.panic": "1"}, "is not in a separate kernel namespace"),
        ("linux.sysctl", {"net.ipv4.nope": "1"}, "/proc/sys/net/ipv4/nope"),
        ("linux.seccomp", {"defaultAction": "SCMP_ACT_FOO"}, "$.linux.seccomp.defaultAction"),
        ("linux.cgroupsPath", "a:b:c", "slice:prefix:name"),
        ("hooks", {"prestart": [{"path": "/bin/false"}]}, "prestart hook #0: /bin/false: exit status 1"),
        ("hooks", {"createContainer": [{"path": "/bin/false"}]}, "createContainer hook #0"),
        ("hooks", {"startContainer": [{"path": "/bin/false"}]}, "startContainer hook #0"),
        ("hooks", {"poststart": [{"path": "/bin/false"}]}, "poststart hook #0"),
    ],
)
def test_configurations_that_fail_leave_nothing(bundle: Bundle, path: str, value: Any, message: str) -> None:
    bundle.shell("exec sleep 1000")
    change(path, value)(bundle.config) if path != "hooks" else bundle.config.update(hooks=value)
    assert message in bundle.fails("run", bundle.id)
    assert not bundle.root.is_dir() or list(bundle.root.iterdir()) == []
    assert not bundle.cgroups()


def test_an_rlimit_that_may_not_be_raised(bundle: Bundle) -> None:
    with open("/proc/self/status") as stream:
        bounding = int(status_fields(stream.read())["CapEff"], 16)
    if bounding >> 24 & 1:
        pytest.skip("needs WOODFROG_TEST_ without CAP_SYS_RESOURCE: this user may raise limits")
    bundle.config["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 2**40, "hard": 2**40}]
    assert "needs CAP_SYS_RESOURCE" in bundle.fails("run", bundle.id)


def test_hooks_run_in_order_with_the_state(bundle: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "hooks"

    def hook(kind: str, place: Path) -> Any:
        script = f'cat >> {place}; echo " {kind}" >> {place}'
        return [{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}]

    (bundle.rootfs / "tmp").chmod(0o777)
    bundle.config["root"]["readonly"] = False
    kinds = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
    bundle.config["hooks"] = {kind: hook(kind, out) for kind in kinds}
    bundle.config["hooks"]["startContainer"] = hook("startContainer", Path("/tmp/inner"))
    bundle.config["annotations"] = {"k": "v"}
    inside(bundle, "true")
    rows = [line.rsplit(" ", 1) for line in out.read_text().splitlines()]
    assert [kind for _, kind in rows] == list(kinds)
    states = {kind: json.loads(text) for text, kind in rows}
    assert [states[kind]["status"] for kind in kinds] == ["created", "creating", "creating", "running", "stopped"]
    assert all(state["id"] == bundle.id and state["annotations"] == {"k": "v"} for state in states.values())
    assert states["createRuntime"]["pid"] > 1
    text, kind = (bundle.rootfs / "tmp/inner").read_text().strip().rsplit(" ", 1)
    assert (json.loads(text)["status"], kind) == ("created", "startContainer")


def test_cgroup_limits_and_mount(bundle: Bundle) -> None:
    bundle.config["linux"]["resources"]["pids"] = {"limit": 33}
    bundle.config["linux"]["namespaces"].remove({"type": "cgroup"})
    out = inside(bundle, "cat /proc/self/cgroup; cat /sys/fs/cgroup/pids/pids.max || cat /sys/fs/cgroup/pids.max")
    lines = out.splitlines()
    assert any(line.endswith(f":/{bundle.id}") for line in lines[:-1])
    assert lines[-1] == "33"


def test_a_frozen_cgroup_is_refused_and_left_alone(bundle: Bundle) -> None:
    bundle.shell("exec sleep 1000")
    bundle.detached("run", "-d", bundle.id)
    bundle.ok("pause", bundle.id)
    assert "container's cgroup unexpectedly frozen" in bundle.fails("run", f"{bundle.id}-2")
    bundle.ok("resume", bundle.id)
    assert bundle.state()["status"] == "running"


def test_a_cgroup_that_others_are_in_is_refused(bundle: Bundle) -> None:
    """They would share the limits, and end with the container."""
    bundle.shell("exec sleep 1000")
    bundle.detached("run", "-d", bundle.id)
    for verb in ("run", "create"):
        message = bundle.fails(verb, f"{bundle.id}-2")
        assert "container's cgroup is not empty: 1 process(es) found; name another" in message
        assert "container with given ID already exists" in bundle.fails(verb, bundle.id)
    assert bundle.state()["status"] == "running"


def test_no_descriptor_leaks_into_the_container(bundle: Bundle) -> None:
    bundle.config["process"]["args"] = ["/bin/ls", "/proc/self/fd"]
    first = bundle.ok("run", bundle.id).split()
    assert first == ["0", "1", "2", "3"], "3 is the directory that ls reads"
    bundle.shell("exec sleep 1000")
    bundle.detached("run", "-d", bundle.id)
    assert bundle.ok("exec", bundle.id, "ls", "/proc/self/fd").split() == first
    assert bundle.ok("exec", bundle.id, "ls", "/proc/1/fd").split() == ["0", "1", "2"]
