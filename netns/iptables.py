"""The network lock by iptables-restore, where the programs are installed (iptables-restore(8))."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Iterable

from netns.enter import run_in
from netns.errors import NetnsError
from netns.nft import PASS_MARK, Connection

TIMEOUT = 30.0


def chain_name(table: str) -> str:
    """iptables wants at most 28 characters."""
    return table[:28]


def install_text(table: str, connections: Iterable[Connection] | None, family: int) -> str:
    """The input of iptables-restore --noflush: a chain of its own, and jumps to it from INPUT and OUTPUT."""
    name = chain_name(table)
    lines = ["*filter", f":{name} - [0:0]", f"-A {name} -m mark --mark {PASS_MARK:#x} -j ACCEPT"]
    if connections is None:
        lines.append(f"-A {name} -j DROP")
    for known in connections or ():
        if known.family == family:
            ends = ((known.local, known.local_port), (known.remote, known.remote_port))
            for (source, sport), (target, dport) in (ends, ends[::-1]):
                lines.append(f"-A {name} -p tcp -s {source} --sport {sport} -d {target} --dport {dport} -j DROP")
    lines += [f"-I {hook} 1 -j {name}" for hook in ("INPUT", "OUTPUT")]
    return "\n".join([*lines, "COMMIT", ""])


def remove_text(table: str) -> str:
    """The input of iptables-restore --noflush that takes the chain away again."""
    name = chain_name(table)
    lines = [f"-D {hook} -j {name}" for hook in ("INPUT", "OUTPUT")]
    return "\n".join(["*filter", *lines, f"-F {name}", f"-X {name}", "COMMIT", ""])


def run(netns_fd: int | None, program: str, arguments: list[str], given: str = "") -> str:
    """Run a program inside a namespace and give its output.  Raises NetnsError with what it said."""
    path = shutil.which(program)
    if path is None:
        raise NetnsError(f"the program {program} is not installed")
    command = [path, *arguments]
    result = run_in(
        netns_fd,
        lambda: subprocess.run(command, input=given, capture_output=True, text=True, timeout=TIMEOUT, check=False),
    )
    if result.returncode:
        said = " ".join((result.stderr or result.stdout).split())
        raise NetnsError(f"{program} failed with status {result.returncode}: {said}", result.returncode)
    return result.stdout


def install(netns_fd: int | None, table: str, connections: list[Connection] | None) -> bool:
    """Lock IPv4 and, where ip6tables is there, IPv6; answers whether the latter was.  Raises NetnsError."""
    run(netns_fd, "iptables-restore", ["--noflush", "-w"], install_text(table, connections, socket.AF_INET))
    if shutil.which("ip6tables-restore") is None:
        return False
    try:
        text = install_text(table, connections, socket.AF_INET6)
        run(netns_fd, "ip6tables-restore", ["--noflush", "-w"], text)
    except BaseException:
        remove(netns_fd, table, False)
        raise
    return True


def remove(netns_fd: int | None, table: str, ipv6: bool) -> None:
    """Unlock; a chain that is gone is fine.  Raises NetnsError."""
    name = chain_name(table)
    for program in ("iptables", "ip6tables") if ipv6 else ("iptables",):
        if f":{name} " in run(netns_fd, f"{program}-save", ["-t", "filter"]):
            run(netns_fd, f"{program}-restore", ["--noflush", "-w"], remove_text(table))


def remove_criu_rules(netns_fd: int | None, connections: Iterable[Connection]) -> None:
    """Take away the rules by which criu has locked single connections; those that are not there are fine."""
    for known in connections:
        program = "iptables" if known.family == socket.AF_INET else "ip6tables"
        here, there = (known.local, known.local_port), (known.remote, known.remote_port)
        for hook, (source, sport), (target, dport) in (("INPUT", there, here), ("OUTPUT", here, there)):
            mark = ["-m", "mark", "!", "--mark", str(PASS_MARK)]  # the matches must come in the order of the rule
            ports = ["-m", "tcp", "--sport", str(sport), "--dport", str(dport)]
            ends = ["-p", "tcp", "-s", source, "-d", target, *mark, *ports]
            with contextlib.suppress(NetnsError):
                run(netns_fd, program, ["-w", "-D", hook, *ends, "-j", "DROP"])
