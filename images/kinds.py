"""The table of image files: names, magic numbers, messages, and what follows them; and bit values.

An image is a header (one or two 32-bit magic numbers), then entries. An entry is a little-endian 32-bit
size, that many bytes of one protobuf message, and for a few kinds a raw payload that the message describes.
Names here are file names without ids and extension, e.g. "core" for core-42.img.
"""

from __future__ import annotations

import re
from enum import Enum, IntFlag
from functools import cache
from typing import NamedTuple

COMMON_MAGIC = 0x54564319
SERVICE_MAGIC = 0x55105940


class Header(Enum):
    """What stands before the first entry."""

    COMMON = COMMON_MAGIC  # the common magic, then the file's own
    SERVICE = SERVICE_MAGIC  # the service magic, then the file's own
    OWN = None  # the file's own magic alone
    RAW = 0  # nothing: the file is not made of entries


class PayloadRule(Enum):
    """Which raw bytes follow an entry; `images.payload` computes their size."""

    NONE = "nothing"
    PIPE = "what a pipe or fifo held: entry.bytes"
    PACKET = "one packet of a socket's queue: entry.length"
    TCP = "receive queue, then send queue: entry.inq_len + entry.outq_len"
    SHM = "a System V segment: entry.size, padded to 4, absent if entry.in_pagemaps"
    SEM = "semaphore values: entry.nsems of 16 bits, padded to 8"
    MSG = "entry.qnum messages: an ipc_msg entry each, then its text padded to 8"
    BPF = "keys, then values: entry.keys_bytes + entry.values_bytes"
    GHOST = "contents of a deleted file: the rest of the image, or entry.len after each chunk entry"


@cache
def _ids(pattern: str) -> list[str]:
    """The forms of the ids in a pattern: u, d or x, with an l for long ones."""
    return re.findall(r"%(l?[uxd])", pattern)


class ImageKind(NamedTuple):
    """One row of the table. `head` is the message of the first entry where that differs from the others."""

    name: str
    pattern: str
    magic_name: str
    magic: int
    message: str
    head: str = ""
    payload: PayloadRule = PayloadRule.NONE
    header: Header = Header.COMMON

    @property
    def raw(self) -> bool:
        """True if the file is not made of entries (pages, archives, netlink dumps)."""
        return not self.message

    def filename(self, *ids: int) -> str:
        """The file's name for these ids; how many and in which base is the pattern's matter."""
        if len(ids) != len(_ids(self.pattern)) or any(number < 0 for number in ids):
            raise ValueError(f"an image name of the form {self.pattern} cannot be made from {ids}")
        return self.pattern.replace("%l", "%") % ids

    def match(self, filename: str) -> tuple[int, ...] | None:
        """The ids in `filename`, or None if it is not a name of this kind."""
        numbers = iter(_ids(self.pattern))
        regex = re.sub(
            r"%l?[uxd]",
            lambda _: "([0-9a-f]+)" if next(numbers) == "x" else "([0-9]+)",
            self.pattern.replace(".", r"\."),
        )
        found = re.fullmatch(regex, filename)
        if found is None:
            return None
        pairs = zip(found.groups(), _ids(self.pattern), strict=True)
        return tuple(int(text, 16 if base == "x" else 10) for text, base in pairs)


# fmt: off
_TABLE = (
    ImageKind("inventory", "inventory.img", "INVENTORY", 0x58313116, "inventory_entry",
              header=Header.OWN),
    ImageKind("fdinfo", "fdinfo-%u.img", "FDINFO", 0x56213732, "fdinfo_entry"),
    ImageKind("pagemap", "pagemap-%lu.img", "PAGEMAP", 0x56084025, "pagemap_entry",
              head="pagemap_head"),
    ImageKind("pagemap-shmem", "pagemap-shmem-%lu.img", "SHMEM_PAGEMAP", 0x56084025, "pagemap_entry",
              head="pagemap_head"),
    ImageKind("reg-files", "reg-files.img", "REG_FILES", 0x50363636, "reg_file_entry"),
    ImageKind("ext-files", "ext-files.img", "EXT_FILES", 0x59255641, "ext_file_entry"),
    ImageKind("ns-files", "ns-files.img", "NS_FILES", 0x61394011, "ns_file_entry"),
    ImageKind("eventfd", "eventfd.img", "EVENTFD_FILE", 0x44523722, "eventfd_file_entry"),
    ImageKind("eventpoll", "eventpoll.img", "EVENTPOLL_FILE", 0x45023858, "eventpoll_file_entry"),
    ImageKind("eventpoll-tfd", "eventpoll-tfd.img", "EVENTPOLL_TFD", 0x44433746, "eventpoll_tfd_entry"),
    ImageKind("signalfd", "signalfd.img", "SIGNALFD", 0x57323820, "signalfd_entry"),
    ImageKind("inotify", "inotify.img", "INOTIFY_FILE", 0x48424431, "inotify_file_entry"),
    ImageKind("inotify-wd", "inotify-wd.img", "INOTIFY_WD", 0x54562009, "inotify_wd_entry"),
    ImageKind("fanotify", "fanotify.img", "FANOTIFY_FILE", 0x55096122, "fanotify_file_entry"),
    ImageKind("fanotify-mark", "fanotify-mark.img", "FANOTIFY_MARK", 0x56506035, "fanotify_mark_entry"),
    ImageKind("core", "core-%u.img", "CORE", 0x55053847, "core_entry"),
    ImageKind("ids", "ids-%u.img", "IDS", 0x54432030, "task_kobj_ids_entry"),
    ImageKind("mm", "mm-%u.img", "MM", 0x57492820, "mm_entry"),
    ImageKind("vmas", "vmas-%u.img", "VMAS", 0x54123737, "vma_entry"),
    ImageKind("pipes", "pipes.img", "PIPES", 0x56513555, "pipe_entry"),
    ImageKind("pipes-data", "pipes-data.img", "PIPES_DATA", 0x56453709, "pipe_data_entry",
              payload=PayloadRule.PIPE),
    ImageKind("fifo", "fifo.img", "FIFO", 0x58364939, "fifo_entry"),
    ImageKind("fifo-data", "fifo-data.img", "FIFO_DATA", 0x59333054, "pipe_data_entry",
              payload=PayloadRule.PIPE),
    ImageKind("pstree", "pstree.img", "PSTREE", 0x50273030, "pstree_entry"),
    ImageKind("sigacts", "sigacts-%u.img", "SIGACT", 0x55344201, "sa_entry"),
    ImageKind("unixsk", "unixsk.img", "UNIXSK", 0x54373943, "unix_sk_entry"),
    ImageKind("inetsk", "inetsk.img", "INETSK", 0x56443851, "inet_sk_entry"),
    ImageKind("packetsk", "packetsk.img", "PACKETSK", 0x60454618, "packet_sock_entry"),
    ImageKind("netlinksk", "netlinksk.img", "NETLINK_SK", 0x58005614, "netlink_sk_entry"),
    ImageKind("sk-queues", "sk-queues.img", "SK_QUEUES", 0x56264026, "sk_packet_entry",
              payload=PayloadRule.PACKET),
    ImageKind("itimers", "itimers-%u.img", "ITIMERS", 0x57464056, "itimer_entry"),
    ImageKind("posix-timers", "posix-timers-%u.img", "POSIX_TIMERS", 0x52603957, "posix_timer_entry"),
    ImageKind("creds", "creds-%u.img", "CREDS", 0x54023547, "creds_entry"),
    ImageKind("utsns", "utsns-%u.img", "UTSNS", 0x54473203, "utsns_entry"),
    ImageKind("ipcns-var", "ipcns-var-%u.img", "IPC_VAR", 0x53115007, "ipc_var_entry"),
    ImageKind("ipcns-shm", "ipcns-shm-%u.img", "IPCNS_SHM", 0x46283044, "ipc_shm_entry",
              payload=PayloadRule.SHM),
    ImageKind("ipcns-msg", "ipcns-msg-%u.img", "IPCNS_MSG", 0x55453737, "ipc_msg_entry",
              payload=PayloadRule.MSG),
    ImageKind("ipcns-sem", "ipcns-sem-%u.img", "IPCNS_SEM", 0x59573019, "ipc_sem_entry",
              payload=PayloadRule.SEM),
    ImageKind("fs", "fs-%u.img", "FS", 0x51403912, "fs_entry"),
    ImageKind("remap-fpath", "remap-fpath.img", "REMAP_FPATH", 0x59133954, "remap_file_path_entry"),
    ImageKind("ghost-file", "ghost-file-%x.img", "GHOST_FILE", 0x52583605, "ghost_chunk_entry",
              head="ghost_file_entry", payload=PayloadRule.GHOST),
    ImageKind("memfd", "memfd.img", "MEMFD_INODE", 0x48453499, "memfd_inode_entry"),
    ImageKind("tcp-stream", "tcp-stream-%x.img", "TCP_STREAM", 0x51465506, "tcp_stream_entry",
              payload=PayloadRule.TCP),
    ImageKind("mountpoints", "mountpoints-%u.img", "MNTS", 0x55563928, "mnt_entry"),
    ImageKind("netdev", "netdev-%u.img", "NETDEV", 0x57373951, "net_device_entry"),
    ImageKind("netns", "netns-%u.img", "NETNS", 0x55933752, "netns_entry"),
    ImageKind("ifaddr", "ifaddr-%u.img", "IFADDR", 0x00000000, "", header=Header.RAW),
    ImageKind("route", "route-%u.img", "ROUTE", 0x00000000, "", header=Header.RAW),
    ImageKind("route6", "route6-%u.img", "ROUTE6", 0x00000000, "", header=Header.RAW),
    ImageKind("rule", "rule-%u.img", "RULE", 0x00000000, "", header=Header.RAW),
    ImageKind("iptables", "iptables-%u.img", "IPTABLES", 0x00000000, "", header=Header.RAW),
    ImageKind("ip6tables", "ip6tables-%u.img", "IP6TABLES", 0x00000000, "", header=Header.RAW),
    ImageKind("nftables", "nftables-%u.img", "NFTABLES", 0x00000000, "", header=Header.RAW),
    ImageKind("tmpfs", "tmpfs-%u.tar.gz.img", "TMPFS_IMG", 0x00000000, "", header=Header.RAW),
    ImageKind("tmpfs-dev", "tmpfs-dev-%u.tar.gz.img", "TMPFS_DEV", 0x00000000, "",
              header=Header.RAW),
    ImageKind("autofs", "autofs-%u.img", "AUTOFS", 0x49353943, "autofs_entry"),
    ImageKind("binfmt-misc-old", "binfmt-misc-%u.img", "BINFMT_MISC_OLD", 0x67343323, "",
              header=Header.OWN),
    ImageKind("binfmt-misc", "binfmt-misc.img", "BINFMT_MISC", 0x67343323, "binfmt_misc_entry"),
    ImageKind("tty", "tty.img", "TTY_FILES", 0x59433025, "tty_file_entry"),
    ImageKind("tty-info", "tty-info.img", "TTY_INFO", 0x59453036, "tty_info_entry"),
    ImageKind("tty-data", "tty-data.img", "TTY_DATA", 0x59413026, "tty_data_entry"),
    ImageKind("filelocks", "filelocks.img", "FILE_LOCKS", 0x54323616, "file_lock_entry"),
    ImageKind("rlimit", "rlimit-%u.img", "RLIMIT", 0x57113925, "rlimit_entry"),
    ImageKind("pages", "pages-%u.img", "PAGES", 0x00000000, "", header=Header.RAW),
    ImageKind("pages-old", "pages-%d.img", "PAGES_OLD", 0x56084025, "", header=Header.OWN),
    ImageKind("pages-shmem-old", "pages-shmem-%ld.img", "SHM_PAGES_OLD", 0x56084025, "",
              header=Header.OWN),
    ImageKind("signal-s", "signal-s-%u.img", "SIGNAL", 0x59255647, "siginfo_entry"),
    ImageKind("signal-p", "signal-p-%u.img", "PSIGNAL", 0x59255647, "siginfo_entry"),
    ImageKind("tunfile", "tunfile.img", "TUNFILE", 0x57143751, "tunfile_entry"),
    ImageKind("cgroup", "cgroup.img", "CGROUP", 0x59383330, "cgroup_entry"),
    ImageKind("timerfd", "timerfd.img", "TIMERFD", 0x50493712, "timerfd_entry"),
    ImageKind("cpuinfo", "cpuinfo.img", "CPUINFO", 0x61404013, "cpuinfo_entry"),
    ImageKind("seccomp", "seccomp.img", "SECCOMP", 0x64413049, "seccomp_entry"),
    ImageKind("userns", "userns-%u.img", "USERNS", 0x55474906, "userns_entry"),
    ImageKind("netns-ct", "netns-ct-%u.img", "NETNF_CT", 0x00000000, "", header=Header.RAW),
    ImageKind("netns-exp", "netns-exp-%u.img", "NETNF_EXP", 0x00000000, "", header=Header.RAW),
    ImageKind("files", "files.img", "FILES", 0x56303138, "file_entry"),
    ImageKind("timens", "timens-%u.img", "TIMENS", 0x43114433, "timens_entry"),
    ImageKind("pidns", "pidns-%u.img", "PIDNS", 0x61157326, "pidns_entry"),
    ImageKind("bpfmap-file", "bpfmap-file.img", "BPFMAP_FILE", 0x57506142, "bpfmap_file_entry"),
    ImageKind("bpfmap-data", "bpfmap-data.img", "BPFMAP_DATA", 0x64324033, "bpfmap_data_entry",
              payload=PayloadRule.BPF),
    ImageKind("apparmor", "apparmor.img", "APPARMOR", 0x59423047, "apparmor_entry"),
    ImageKind("pidfd", "pidfd.img", "PIDFD", 0x54435556, "pidfd_entry"),
    ImageKind("stats-dump", "stats-dump", "STATS", 0x57093306, "stats_entry",
              header=Header.SERVICE),
    ImageKind("stats-restore", "stats-restore", "STATS", 0x57093306, "stats_entry",
              header=Header.SERVICE),
    ImageKind("irmap-cache", "irmap-cache", "IRMAP_CACHE", 0x57004059, "irmap_cache_entry",
              header=Header.SERVICE),
    ImageKind("woodfrog-autofs", "woodfrog-autofs-%u.img", "WOODFROG_AUTOFS", 0x57464146, "woodfrog_autofs_entry"),
    ImageKind("woodfrog-files", "woodfrog-files.img", "WOODFROG_FILES", 0x57464649, "woodfrog_file_entry"),
    ImageKind("woodfrog-io-uring", "woodfrog-io-uring.img", "WOODFROG_IO_URING", 0x57464952,
              "woodfrog_io_uring_entry"),
    ImageKind("woodfrog-userfaultfd", "woodfrog-userfaultfd.img", "WOODFROG_USERFAULTFD", 0x57465546,
              "woodfrog_userfaultfd_entry"),
    ImageKind("woodfrog-mqueue", "woodfrog-mqueue-%u.img", "WOODFROG_MQUEUE", 0x57464D51, "woodfrog_message_queue"),
    ImageKind("woodfrog-mqueue-files", "woodfrog-mqueue-files.img", "WOODFROG_MQUEUE_FILES", 0x57464D46,
              "woodfrog_message_queue_file"),
    ImageKind("woodfrog-sk-senders", "woodfrog-sk-senders.img", "WOODFROG_SK_SENDERS", 0x57465353,
              "woodfrog_sk_sender"),
    ImageKind("woodfrog-sockets", "woodfrog-sockets.img", "WOODFROG_SOCKETS", 0x5746534B, "woodfrog_socket_entry"),
    ImageKind("woodfrog-netns", "woodfrog-netns-%u.img", "WOODFROG_NETNS", 0x57464E45, "woodfrog_netns_entry"),
    ImageKind("woodfrog-sk-backlog", "woodfrog-sk-backlog.img", "WOODFROG_SK_BACKLOG", 0x5746424C,
              "woodfrog_sk_backlog"),
    ImageKind("woodfrog-network-lock", "woodfrog-network-lock.img", "WOODFROG_NETWORK_LOCK", 0x57464E4C,
              "woodfrog_network_lock"),
    ImageKind("woodfrog-sent", "woodfrog-sent-%u.img", "WOODFROG_SENT", 0x57465354, "pagemap_entry"),
    ImageKind("woodfrog-namespaces", "woodfrog-namespaces.img", "WOODFROG_NAMESPACES", 0x57464E53,
              "woodfrog_namespace_entry"),
    ImageKind("woodfrog-pids", "woodfrog-pids.img", "WOODFROG_PIDS", 0x57465049, "woodfrog_pid_entry"),
    ImageKind("woodfrog-plugin", "woodfrog-plugin.img", "WOODFROG_PLUGIN", 0x57464B03, "woodfrog_plugin_entry"),
    ImageKind("woodfrog-task", "woodfrog-task-%u.img", "WOODFROG_TASK", 0x57464B01, "woodfrog_task_entry"),
)
# fmt: on

KINDS: dict[str, ImageKind] = {kind.name: kind for kind in _TABLE}
"""Every kind of image file by its name."""


def kind_by_magic(magic: int) -> ImageKind | None:
    """The kind that a file's own magic stands for; where several share one, the first in the table."""
    return next((kind for kind in _TABLE if kind.magic == magic and not kind.raw), None)


def kind_by_magic_name(name: str) -> ImageKind | None:
    """The kind whose magic is called `name`, e.g. "PSTREE"."""
    return next((kind for kind in _TABLE if kind.magic_name == name and not kind.raw), None)


def kind_of_file(filename: str) -> tuple[ImageKind, tuple[int, ...]] | None:
    """Which kind a file name belongs to and the ids in it, or None for a file that is no image."""
    for kind in _TABLE:
        if (ids := kind.match(filename)) is not None:
            return kind, ids
    return None


class VmaStatus(IntFlag):
    """Bits of vma_entry.status: what backs a mapping."""

    REGULAR = 1 << 0  # dumped and restored; others are the kernel's own
    STACK = 1 << 1
    VSYSCALL = 1 << 2
    VDSO = 1 << 3
    HEAP = 1 << 5
    FILE_PRIVATE = 1 << 6
    FILE_SHARED = 1 << 7
    ANON_SHARED = 1 << 8
    ANON_PRIVATE = 1 << 9
    SYSVIPC = 1 << 10
    SOCKET = 1 << 11
    VVAR = 1 << 12
    AIORING = 1 << 13
    MEMFD = 1 << 14
    SHSTK = 1 << 15
    GUARD = 1 << 16
    UPROBES = 1 << 17
    EXT_PLUGIN = 1 << 27


class PageFlag(IntFlag):
    """Bits of pagemap_entry.flags: where the bytes of a run of pages are."""

    PARENT = 1 << 0  # in the parent snapshot
    LAZY = 1 << 1  # may be sent later, on demand
    PRESENT = 1 << 2  # in this snapshot's pages file
