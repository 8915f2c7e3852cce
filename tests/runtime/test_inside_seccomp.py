"""What system calls a container's process may make."""

from __future__ import annotations

from typing import Any

import pytest

from tests.runtime.bundle import Bundle, inside

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
