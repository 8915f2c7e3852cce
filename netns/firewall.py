"""nftables and iptables rule sets as text: by libnftables or the program nft, and by iptables-save."""

from __future__ import annotations

import contextlib
import ctypes
import re
import shutil
from pathlib import Path

from netns import nft, wire
from netns.enter import run_in
from netns.errors import NetnsError
from netns.iptables import run
from netns.model import Firewall
from netns.wire import Socket, attributes

LIBRARY = "libnftables.so.1"
FAMILIES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
OURS = "WOODFROG-"
_EMPTY = re.compile(
    r"table ip6? filter \{\n"
    r"(\tchain (INPUT|FORWARD|OUTPUT) \{\n\t\ttype filter hook \w+ priority filter; policy accept;\n\t\}\n\n?)*\}\n"
)
IPTABLES = {"ip": "iptables", "ip6": "ip6tables"}
IPTABLES_NAMES = frozenset({"filter", "nat", "mangle", "raw", "security"})
"""Tables that iptables makes by nftables: it does not know them again when nft has loaded them."""
_XTABLES = re.compile(r"^\t\t.*\bxt (match|target)\b", re.MULTILINE)
LEGACY = {"iptables": "ip_tables_names", "ip6tables": "ip6_tables_names"}


def tables(netns_fd: int | None) -> list[tuple[str, str]]:
    """(family, name) of every nftables table but network locks; none where the kernel has no nf_tables."""
    try:
        with run_in(netns_fd, lambda: Socket(wire.NETFILTER)) as sock:
            found = sock.dump(nft.SUBSYSTEM << 8 | nft.GETTABLE, nft.nfgen(0), "list nftables tables")
    except (NetnsError, OSError):
        if _has_nf_tables():
            raise
        return []
    named = [(FAMILIES[m.body[0]], dict(attributes(m.body[4:]))[1].rstrip(b"\0").decode()) for m in found]
    return [(family, name) for family, name in named if not name.startswith(OURS)]


def _has_nf_tables() -> bool:
    return Path("/sys/module/nf_tables").exists()


def nft_command(netns_fd: int | None, text: str) -> str:
    """Run nft commands inside a namespace; gives what they print.  Raises NetnsError with what nft said."""
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        library = None
    if library is not None:
        return run_in(netns_fd, lambda: _by_library(library, text))
    if shutil.which("nft") is None:
        raise NetnsError(f"neither {LIBRARY} nor the program nft is installed")
    return run(netns_fd, "nft", ["-f", "-"], text)


def _by_library(library: ctypes.CDLL, text: str) -> str:
    """libnftables(3): a context, its two buffers, one command."""
    library.nft_ctx_new.restype = ctypes.c_void_p
    for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
        getattr(library, name).restype = ctypes.c_char_p
    context = ctypes.c_void_p(library.nft_ctx_new(0))
    try:
        library.nft_ctx_buffer_output(context)
        library.nft_ctx_buffer_error(context)
        if library.nft_run_cmd_from_buffer(context, text.encode()):
            said = " ".join((library.nft_ctx_get_error_buffer(context) or b"").decode(errors="replace").split())
            raise NetnsError(f"nftables refused its rules: {said}")
        output: bytes = library.nft_ctx_get_output_buffer(context) or b""
        return output.decode()
    finally:
        library.nft_ctx_free(context)


def dump(netns_fd: int | None) -> Firewall:
    """The rule sets of a namespace.

    Where there are rules but no program to save them, raises NetnsError that names both.
    """
    native, foreign = _dump_nft(netns_fd)
    texts = {kind: (_dump_legacy(netns_fd, kind) or "") + foreign.get(kind, "") for kind in LEGACY}
    return Firewall(native or None, texts["iptables"] or None, texts["ip6tables"] or None)


def _dump_nft(netns_fd: int | None) -> tuple[str, dict[str, str]]:
    """The tables as nft lists them; those of iptables as that saves them: nft does not know all its extensions."""
    native, foreign = "", dict[str, str]()
    for family, name in tables(netns_fd):
        try:
            # one at a time: nft 1.0.6 finds nothing where the families of several lists differ
            listed = nft_command(netns_fd, f"list table {family} {name}\n")
            kind = IPTABLES.get(family, "")
            text = _by_iptables(netns_fd, kind, name) if kind and name in IPTABLES_NAMES else ""
            if _XTABLES.search(listed) and not text:
                raise NetnsError("it has extensions of iptables: install iptables-nft-save to save them")
            if text:
                foreign[kind] = foreign.get(kind, "") + text
            else:
                native += listed
        except NetnsError as err:
            raise NetnsError(
                f"cannot save the nftables rules of the network namespace ({family} {name}): {err}"
            ) from err
    return native, foreign


def _by_iptables(netns_fd: int | None, kind: str, table: str) -> str:
    """A table as iptables-nft-save gives it; "" where that is not installed, has nothing to say, or did not make it."""
    if shutil.which(f"{kind}-nft-save") is None:
        return ""
    text = run(netns_fd, f"{kind}-nft-save", ["-t", table])
    return text if has_rules(text) and "incompatible" not in text else ""


def does_nothing(table: str) -> bool:
    """Whether a table, as nft lists it, is one of iptables' own without any rule."""
    return _EMPTY.fullmatch(table) is not None


def drop_empty(netns_fd: int | None) -> None:
    """Remove the tables that iptables has made by nftables and that do nothing (any more)."""
    for family, name in tables(netns_fd):
        if name == "filter" and family in ("ip", "ip6"):
            with contextlib.suppress(NetnsError):  # without libnftables and nft it stays, and does nothing
                if does_nothing(nft_command(netns_fd, f"list table {family} {name}\n")):
                    nft_command(netns_fd, f"delete table {family} {name}\n")


def legacy_tables(netns_fd: int | None, kind: str) -> list[str]:
    """The tables that legacy iptables has made in this namespace."""
    path = Path("/proc/thread-self/net", LEGACY[kind])
    return run_in(netns_fd, lambda: path.read_text().split() if path.exists() else [])


def _dump_legacy(netns_fd: int | None, kind: str) -> str | None:
    if not legacy_tables(netns_fd, kind):
        return None
    # where iptables is a front of nftables, the legacy program has a name of its own
    program = f"{kind}-legacy-save" if shutil.which(f"{kind}-legacy-save") else f"{kind}-save"
    if shutil.which(program) is None:
        names = ", ".join(legacy_tables(netns_fd, kind))
        raise NetnsError(f"the network namespace has legacy {kind} tables ({names}); install {kind}-save to save them")
    text = run(netns_fd, program, [])
    return text if has_rules(text) else None


def has_rules(text: str) -> bool:
    """Whether the output of iptables-save holds a rule, a chain of its own, or a policy other than ACCEPT."""
    lines = [line for line in text.splitlines() if line[:1] in (":", "-")]
    return any(not line.startswith(":") or line.split()[1] != "ACCEPT" for line in lines)


def restore(netns_fd: int | None, saved: Firewall) -> None:
    """Load the rule sets.  Raises NetnsError with what the program said."""
    if saved.nftables and saved.nftables.strip():
        try:
            nft_command(netns_fd, saved.nftables)
        except NetnsError as err:
            raise NetnsError(f"cannot restore the nftables rules of the network namespace: {err}") from err
    for kind, text in (("iptables", saved.iptables), ("ip6tables", saved.ip6tables)):
        for part in re.split(r"^(?=# Generated by )", text or "", flags=re.MULTILINE):
            if part.strip():
                run(netns_fd, _loader(kind, part), ["-w"], part)


def _loader(kind: str, text: str) -> str:
    """The program that loads what was saved: by nftables, or by the older interface where both are there."""
    first = text.partition("\n")[0]
    flavour = "nft" if "-nft-save" in first or "(nf_tables)" in first else "legacy"
    special = f"{kind}-{flavour}-restore"
    return special if shutil.which(special) else f"{kind}-restore"
