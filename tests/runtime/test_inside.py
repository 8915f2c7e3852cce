"""What a container's process sees: identity, mounts, devices, limits, namespaces, hooks, terminals."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.bundle import Bundle, environment, wait_for

pytestmark = pytest.mark.root

NR_MAX = 450


def _syscalls() -> list[str]:
    """All names that this libseccomp has for the first calls of this architecture."""
    library = pytest.importorskip("pyseccomp")
    found = []
    for number in range(NR_MAX):
        try:
            found.append(library.resolve_syscall(library.Arch.NATIVE, number).decode())
        except ValueError:
            continue  # a gap in the table
    return found


SYSCALLS = _syscalls()


def inside(bundle: Bundle, script: str) -> str:
    bundle.shell(script)
    return bundle.ok("run", bundle.id)


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


def test_devices_and_links(bundle: Bundle) -> None:
    listing = inside(bundle, "ls -l /dev | tr -s ' '; head -c 3 /dev/zero | wc -c; echo x > /dev/null; cat /dev/fd/0")
    for text in ("fd -> /proc/self/fd", "ptmx -> pts/ptmx", "1, 3 ", "5, 0 "):
        assert text in listing
    assert "3" in listing.splitlines()


def test_a_configured_device(bundle: Bundle) -> None:
    bundle.config["linux"]["devices"] = [
        {"path": "/dev/mynull", "type": "c", "major": 1, "minor": 3, "fileMode": 0o602, "uid": 7, "gid": 8}
    ]
    assert inside(bundle, "stat -c '%a %u %g %t %T' /dev/mynull; echo hi > /dev/mynull").split() == [
        "602",
        "7",
        "8",
        "1",
        "3",
    ]


def test_read_only_root_masked_and_readonly_paths(bundle: Bundle) -> None:
    out = inside(
        bundle,
        "touch /x 2>/dev/null || echo root; echo 1 > /proc/sys/kernel/panic 2>/dev/null || echo sysctl;"
        "wc -c < /proc/timer_list; ls /sys/firmware | wc -l",
    )
    assert out.split() == ["root", "sysctl", "0", "0"]


def mounts_of(text: str) -> dict[str, list[str]]:
    """{mount point: options and propagation fields} of a mountinfo text."""
    return {line.split()[4]: line.split()[5:] for line in text.splitlines()}


def add_mount(bundle: Bundle, destination: str, kind: str, source: str, *options: str) -> None:
    mount = {"destination": destination, "type": kind, "source": source, "options": list(options)}
    bundle.config["mounts"].append(mount)


def test_mount_options(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "file").write_text("content\n")
    add_mount(bundle, "/a", "bind", str(tmp_path / "src"), "rbind", "ro", "nosuid", "noexec", "rshared")
    add_mount(bundle, "/deep/er/file", "bind", str(tmp_path / "file"), "bind")
    add_mount(bundle, "/t", "tmpfs", "tmpfs", "size=64k", "mode=700", "nodev", "ro")
    out = inside(bundle, "cat /proc/self/mountinfo; cat /deep/er/file; stat -c %a /t")
    found = mounts_of("\n".join(line for line in out.splitlines() if " - " in line))
    assert {"ro", "nosuid", "noexec"} <= set(found["/a"][0].split(","))
    assert any(word.startswith("shared:") for word in found["/a"])
    assert {"ro", "nodev"} <= set(found["/t"][0].split(","))
    assert "size=64k" in found["/t"][-1]
    assert out.splitlines()[-2:] == ["content", "700"]


def test_tmpcopyup(bundle: Bundle) -> None:
    (bundle.rootfs / "etc/dir").mkdir()
    (bundle.rootfs / "etc/dir/f").write_text("below\n")
    (bundle.rootfs / "etc/link").symlink_to("dir/f")
    add_mount(bundle, "/etc", "tmpfs", "tmpfs", "tmpcopyup")
    assert inside(bundle, "cat /etc/link; echo new > /etc/dir/f; cat /etc/dir/f") == "below\nnew\n"
    assert (bundle.rootfs / "etc/dir/f").read_text() == "below\n"


def test_propagation_of_the_root(bundle: Bundle) -> None:
    bundle.config["linux"]["rootfsPropagation"] = "shared"
    fields = mounts_of(inside(bundle, "cat /proc/self/mountinfo"))["/"]
    assert any(word.startswith("shared:") for word in fields)


def test_symlinks_in_the_root_cannot_lead_out(bundle: Bundle, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (bundle.rootfs / "evil").symlink_to(outside)
    (bundle.rootfs / "up").symlink_to("../../../../../../../.." + str(outside))
    add_mount(bundle, "/evil/a", "tmpfs", "tmpfs")
    add_mount(bundle, "/up/b", "tmpfs", "tmpfs")
    found = mounts_of(inside(bundle, "cat /proc/self/mountinfo"))
    assert {f"{outside}/a", f"{outside}/b"} <= set(found), "the links count from the container's root"
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("kind", ["proc", "sysfs"])
def test_proc_and_sysfs_need_a_plain_directory(bundle: Bundle, kind: str) -> None:
    (bundle.rootfs / "link").symlink_to("/tmp")
    add_mount(bundle, "/link", kind, kind)
    assert "without symbolic links" in bundle.fails("run", bundle.id)


def test_nothing_but_procfs_at_proc(bundle: Bundle, tmp_path: Path) -> None:
    add_mount(bundle, "/proc", "bind", str(tmp_path), "bind")
    assert "only procfs may be mounted at /proc" in bundle.fails("run", bundle.id)
    bundle.config["mounts"].pop()
    add_mount(bundle, "/proc/sys", "tmpfs", "tmpfs")
    assert "inside of /proc" in bundle.fails("run", bundle.id)


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


@pytest.mark.parametrize(
    ("flags", "expected"),
    [(None, 4), ([], 0), (["SECCOMP_FILTER_FLAG_LOG"], 2), (["SECCOMP_FILTER_FLAG_SPEC_ALLOW"], 4)],
)
def test_seccomp_flags(bundle: Bundle, flags: list[str] | None, expected: int) -> None:
    """Without a word about them, seccomp does not slow the container down (SPEC_ALLOW)."""
    profile: Any = {"defaultAction": "SCMP_ACT_ALLOW", **({} if flags is None else {"flags": flags})}
    bundle.config["linux"]["seccomp"] = profile
    bundle.shell("true")
    assert f"seccomp filter flags: {expected}" in bundle.verb("--debug", "run", bundle.id).stderr


def test_seccomp(bundle: Bundle) -> None:
    bundle.config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "flags": ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG"],
        "syscalls": [
            {"names": ["mkdir", "mkdirat", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
            {
                "names": ["kill"],
                "action": "SCMP_ACT_ERRNO",
                "args": [{"index": 1, "value": 10, "op": "SCMP_CMP_EQ"}],
            },
        ],
    }
    script = "mkdir /tmp/x 2>&1; kill -USR1 $$ 2>/dev/null || echo refused; kill -0 $$ && echo allowed;"
    script += "grep Seccomp: /proc/self/status"
    bundle.config["root"]["readonly"] = False
    for privileges in (True, False):
        bundle.config["process"]["noNewPrivileges"] = privileges
        out = inside(bundle, script)
        assert "Function not implemented" in out
        assert "refused\nallowed" in out
        assert out.split()[-1] == "2"


def test_hostname_sysctl_loopback_and_time(bundle: Bundle) -> None:
    bundle.namespaces("pid", "network", "ipc", "uts", "mount", "cgroup", "time")
    bundle.config.update(hostname="frog", domainname="pond")
    bundle.config["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.shmmni": "77"}
    bundle.config["linux"]["timeOffsets"] = {"boottime": {"secs": 10_000_000}}
    out = inside(
        bundle,
        "hostname; cat /proc/sys/kernel/domainname /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmni;"
        "cat /sys/class/net/lo/flags; cut -d. -f1 /proc/uptime; cat /proc/self/cgroup",
    ).split()
    assert out[:5] == ["frog", "pond", "1", "77", "0x9"]
    assert int(out[5]) > 10_000_000
    assert all(line.endswith(":/") for line in out[6:])


def test_a_user_namespace(bundle: Bundle, tmp_path: Path) -> None:
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == 0 and path != Path("/") and not path.stat().st_mode & 1:
            path.chmod(path.stat().st_mode | 0o11)
    bundle.config["linux"]["namespaces"].append({"type": "user"})
    for path in (bundle.rootfs, *bundle.rootfs.iterdir()):
        os.chown(path, 200_000, 200_000, follow_symlinks=False)
    for kind in ("uidMappings", "gidMappings"):
        bundle.config["linux"][kind] = [{"containerID": 0, "hostID": 200_000, "size": 1000}]
    bundle.config["process"]["user"] = {"uid": 5, "gid": 6, "additionalGids": [7]}
    out = inside(bundle, "cat /proc/self/uid_map; id -u; id -G; cat /proc/self/setgroups; echo > /dev/null && echo dev")
    assert out.split() == ["0", "200000", "1000", "5", "6", "7", "allow", "dev"]


def test_joined_namespaces(bundle: Bundle) -> None:
    holder = subprocess.Popen(
        ["unshare", "--uts", "--ipc", "--net", "sh", "-c", "hostname joined; read x"], stdin=subprocess.PIPE
    )
    try:
        uts = Path(f"/proc/{holder.pid}/ns/uts")
        wait_for(lambda: uts.readlink() != Path("/proc/self/ns/uts").readlink(), "unshare")
        wait_for(lambda: "joined" in _hostname_of(holder.pid), "the name")
        bundle.config.pop("hostname")
        bundle.config["linux"]["namespaces"] = [
            {"type": "mount"},
            {"type": "pid"},
            {"type": "uts", "path": str(uts)},
            {"type": "network", "path": f"/proc/{holder.pid}/ns/net"},
        ]
        out = inside(bundle, "hostname; readlink /proc/self/ns/net; echo $$").split()
        assert out == ["joined", str(Path(f"/proc/{holder.pid}/ns/net").readlink()), "1"]
        bundle.config["linux"]["namespaces"][-1]["path"] = "/proc/none/ns/net"
        assert "cannot open the namespace /proc/none/ns/net" in bundle.fails("run", bundle.id)
        bundle.config["linux"]["namespaces"][-1]["path"] = "/proc/self/ns/uts"
        assert "cannot join the namespace /proc/self/ns/uts" in bundle.fails("run", bundle.id)
    finally:
        holder.communicate()


def _hostname_of(pid: int) -> str:
    done = subprocess.run(["nsenter", "-t", str(pid), "-u", "hostname"], capture_output=True, text=True, check=False)
    return done.stdout


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


def test_exec(bundle: Bundle) -> None:
    bundle.shell("exec sleep 1000")
    bundle.detached("create", bundle.id)
    assert bundle.ok("exec", bundle.id, "/bin/sh", "-c", "cat /proc/1/comm") == "woodfrog:init\n"
    bundle.ok("start", bundle.id)
    script = "id -u; id -G; pwd; echo $A $HOME; readlink /proc/self/ns/*"
    out = bundle.ok("exec", "-e", "A=b", "--cwd", "/tmp", "-u", "3:4", "-g", "5", bundle.id, "/bin/sh", "-c", script)
    assert out.split()[:6] == ["3", "4", "5", "/tmp", "b", "/"]
    pid = bundle.state()["pid"]
    for kind in ("mnt", "pid", "net", "uts", "ipc", "cgroup"):
        assert os.readlink(f"/proc/{pid}/ns/{kind}") in out
    assert bundle.verb("exec", bundle.id, "/bin/sh", "-c", "exit 9").returncode == 9
    assert bundle.verb("exec", bundle.id, "/bin/sh", "-c", "kill -15 $$").returncode == 143
    assert "executable file not found in $PATH" in bundle.fails("exec", bundle.id, "nosuch", code=255)
    assert "process args cannot be empty" in bundle.fails("exec", bundle.id, code=255)


def test_exec_from_a_file_detached_in_the_cgroup(bundle: Bundle, tmp_path: Path) -> None:
    bundle.shell("exec sleep 1000")
    bundle.detached("run", "-d", bundle.id)
    process = {"cwd": "/", "args": ["/bin/sleep", "1001"], "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}}
    (tmp_path / "p.json").write_text(json.dumps(process))
    bundle.detached("exec", "-d", "-p", str(tmp_path / "p.json"), "--pid-file", str(tmp_path / "pid"), bundle.id)
    pid = int((tmp_path / "pid").read_text())
    assert Path(f"/proc/{pid}/cmdline").read_bytes() == b"/bin/sleep\x001001\0"
    assert pid in json.loads(bundle.ok("ps", "-f", "json", bundle.id))
    assert f"/{bundle.id}\n" in Path(f"/proc/{pid}/cgroup").read_text()
    process["cwd"] = "x"
    (tmp_path / "p.json").write_text(json.dumps(process))
    assert "$.cwd" in bundle.fails("exec", "-p", str(tmp_path / "p.json"), bundle.id, code=255)


def receive(server: socket.socket) -> int:
    connection, _ = server.accept()
    with connection:
        _, fds, _, _ = socket.recv_fds(connection, 4096, 1)
    return fds[0]


def read_all(fd: int) -> bytes:
    data = b""
    while True:
        try:
            piece = os.read(fd, 4096)
        except OSError:
            return data  # EIO: the last slave is closed
        data += piece


def test_a_terminal_by_console_socket(bundle: Bundle, tmp_path: Path) -> None:
    bundle.config["process"].update(terminal=True, consoleSize={"height": 12, "width": 34})
    bundle.shell("tty; stty size; ls -l /dev/console | cut -c1; exit")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen(1)
        server.settimeout(20)
        bundle.detached("create", "--console-socket", str(tmp_path / "s"), bundle.id)
        master = receive(server)
    bundle.ok("start", bundle.id)
    assert read_all(master).split() == [b"/dev/pts/0", b"12", b"34", b"c"]
    os.close(master)
    assert "without setting console socket" in bundle.fails("create", "other")


def test_a_terminal_in_the_foreground(bundle: Bundle) -> None:
    bundle.config["process"]["terminal"] = True
    bundle.shell("tty; read x; echo [$x]; exit 5")
    bundle.save()
    done = subprocess.run(
        bundle.command("run", bundle.id),
        cwd=bundle.path,
        env=environment(),
        input=b"word\n",
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 5, done.stderr
    assert sorted(done.stdout.split()) == [b"/dev/pts/0", b"[word]", b"word"], "the terminal echoes what it gets"


def test_exec_on_a_terminal(bundle: Bundle) -> None:
    bundle.shell("exec sleep 1000")
    bundle.detached("run", "-d", bundle.id)
    assert bundle.ok("exec", "-t", bundle.id, "/usr/bin/tty").strip() == "/dev/pts/0"


def test_exec_into_a_user_namespace(bundle: Bundle) -> None:
    bundle.config["linux"]["namespaces"].append({"type": "user"})
    for kind in ("uidMappings", "gidMappings"):
        bundle.config["linux"][kind] = [{"containerID": 0, "hostID": 0, "size": 1000}]
    bundle.shell("exec sleep 1000")
    bundle.detached("run", "-d", bundle.id)
    assert bundle.ok("exec", bundle.id, "/bin/sh", "-c", "id -u; cat /proc/self/uid_map").split() == [
        "0",
        "0",
        "0",
        "1000",
    ]


def test_exec_into_sub_cgroups(bundle: Bundle) -> None:
    bundle.shell("exec sleep 1000")
    bundle.detached("run", "-d", bundle.id)
    assert ".. is not a sub cgroup path" in bundle.fails("exec", "--cgroup", "..", bundle.id, "true", code=255)
    assert "unknown controller nope" in bundle.fails("exec", "--cgroup", "nope:x", bundle.id, "true", code=255)
    message = bundle.fails("exec", "--cgroup", "none", bundle.id, "true", code=255)
    assert "/none/cgroup.procs: no such file or directory" in message


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


def test_calls_that_a_profile_is_too_old_for(bundle: Bundle) -> None:
    """ENOSYS, so that libc falls back; what the profile knows and does not allow stays EPERM."""
    names = [name for name in SYSCALLS if name != "sethostname"]
    bundle.config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}],
    }
    script = (
        "import ctypes; c = ctypes.CDLL(None, use_errno=True)\n"
        "for n in (4000, 170):\n  c.syscall(n, 0, 0); print(ctypes.get_errno())"
    )
    bundle.config["process"]["args"] = ["/usr/bin/python3", "-c", script]
    assert bundle.ok("run", bundle.id).split() == ["38", "1"]


REACH = """
import os, sys
link = os.readlink("/proc/self/exe")
try:
    os.open("/proc/self/exe", os.O_RDWR | os.O_TRUNC)
    print("writable", link)
except OSError as err:
    print(os.strerror(err.errno), link)
"""


@pytest.mark.parametrize("shebang", [False, True])
def test_the_runtimes_own_program_is_out_of_reach(bundle: Bundle, shebang: bool) -> None:
    """CVE-2019-5736: a container whose program is /proc/self/exe, or a script that is run by it."""
    (bundle.rootfs / "tmp/reach.py").write_text(REACH)
    program = bundle.rootfs / "tmp/program"
    if shebang:
        program.write_text("#!/proc/self/exe\n" + REACH)
        program.chmod(0o755)
    else:
        program.symlink_to("/proc/self/exe")
    bundle.config["process"]["args"] = ["/tmp/program", "/tmp/reach.py"]
    bundle.config["process"]["env"].append("PYTHONHOME=/usr")
    done = bundle.verb("run", bundle.id)
    said = done.stdout.strip()
    assert said.startswith(("Text file busy /memfd:woodfrog", "Operation not permitted /memfd:woodfrog")), done
    bundle.shell("exec sleep 1000")
    bundle.detached("run", "-d", bundle.id)
    said = bundle.verb("exec", bundle.id, "/tmp/program", "/tmp/reach.py").stdout
    assert "/memfd:woodfrog" in said
    assert "writable" not in said


def test_no_descriptor_leaks_into_the_container(bundle: Bundle) -> None:
    bundle.config["process"]["args"] = ["/bin/ls", "/proc/self/fd"]
    first = bundle.ok("run", bundle.id).split()
    assert first == ["0", "1", "2", "3"], "3 is the directory that ls reads"
    bundle.shell("exec sleep 1000")
    bundle.detached("run", "-d", bundle.id)
    assert bundle.ok("exec", bundle.id, "ls", "/proc/self/fd").split() == first
    assert bundle.ok("exec", bundle.id, "ls", "/proc/1/fd").split() == ["0", "1", "2"]
