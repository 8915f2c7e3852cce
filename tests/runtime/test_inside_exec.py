"""A further process in a container, and terminals of both."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path

import pytest

from tests.runtime.bundle import Bundle, environment

pytestmark = pytest.mark.root


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
