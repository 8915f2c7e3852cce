"""The one table of options: command line, configuration files, RPC fields and help come from it.

A row is a field of `Options`: its type says what is accepted, its metadata the spellings, the commands it
belongs to and the sentence of the manual.  Names are those of criu(8).
"""

from __future__ import annotations

from collections.abc import Callable

from cr.option_row import Row
from cr.option_row import row as _row
from cr.values import dataclass, field, fields

DUMP = frozenset({"dump", "pre-dump"})
RESTORE = frozenset({"restore"})
CHECK = frozenset({"check"})
BOTH = DUMP | RESTORE
PAGE_SERVER = frozenset({"page-server"})
LAZY_PAGES = frozenset({"lazy-pages"})
SERVICE = frozenset({"service"})
DAEMONS = PAGE_SERVER | LAZY_PAGES | SERVICE
NETWORK = DUMP | PAGE_SERVER | LAZY_PAGES
EXEC = frozenset({"exec"})
CPUINFO = frozenset({"cpuinfo"})
IMAGES = BOTH | DAEMONS | CPUINFO | {"dedup"}
ALL = IMAGES | CHECK | EXEC
EVERY = frozenset({"*"})
"""The set of commands of a row that each command takes."""

Notify = Callable[[str, int, int | None], None]
"""(event, pid or 0, descriptor or None): called at each notification point; raises to abort."""


@dataclass
class Options:
    """What a dump, a restore or a check is asked to do."""

    tree: int = _row(
        "number",
        DUMP,
        "checkpoint the process tree that starts at PID",
        short="-t",
        metavar="PID",
        default=0,
        rpc="pid",
    )
    images_dir: str = _row(
        "text",
        IMAGES,
        "directory of the image files",
        short="-D",
        metavar="DIR",
        default=".",
        rpc="images_dir images_dir_fd",
    )
    work_dir: str = _row(
        "text",
        ALL,
        "directory for logs, pid files and statistics (default: --images-dir)",
        short="-W",
        metavar="DIR",
        default="",
        rpc="work_dir_fd",
    )
    log_file: str = _row("text", ALL, "write log messages to FILE", short="-o", metavar="FILE", default="")
    log_pid: bool = _row("flag", BOTH, "write what concerns one task to FILE.PID, with --log-file FILE")
    verbosity: int = _row(
        "verbosity",
        ALL,
        "log level: 0 nothing, 1 errors, 2 warnings, 3 information, 4 debug",
        short="-v",
        metavar="NUM",
        default=2,
        rpc="log_level",
    )
    pidfile: str = _row(
        "text", IMAGES, "write the pid of the root task or of the daemon to FILE", metavar="FILE", default=""
    )
    leave_running: bool = _row("flag", DUMP, "let the tasks run on after the dump", short="-R")
    snapshot: str = _row(
        "text",
        DUMP,
        "with --leave-running, write memory from copy-on-write copies while the tasks run on: auto, always or never",
        metavar="WHEN",
        default="auto",
        choices=("auto", "always", "never"),
    )
    leave_stopped: bool = _row("flag", BOTH, "leave the tasks stopped (SIGSTOP) afterwards", short="-s")
    restore_detached: bool = _row("flag", RESTORE, "return once everything is restored", short="-d")
    exec_cmd: bool = _row(
        "flag", RESTORE, "become the command that stands behind --, as the parent of the root task, after the restore"
    )
    restore_sibling: bool = _row(
        "flag", RESTORE, "make the root task a sibling of the engine (with -d)", short="-S", rpc="rst_sibling"
    )
    shell_job: bool = _row("flag", BOTH, "allow a task whose session or terminal is outside of the tree", short="-j")
    root: str = _row(
        "text",
        BOTH,
        "root file system of the container as the host sees it",
        short="-r",
        metavar="PATH",
        default="",
    )
    orphan_pts_master: bool = _row(
        "flag",
        BOTH,
        "allow terminals whose masters are outside of the tree; new masters are handed over by a notification",
    )
    external: list[str] = _row(
        "list",
        BOTH,
        "a resource that stays outside: mnt[], dev[], file[], tty[], unix[], net[], pid[], veth[], macvlan[], netdev[]",
        metavar="RES",
    )
    ext_mount_map: list[str] = _row(
        "list",
        BOTH,
        "external mounts: MOUNTPOINT:NAME (dump), NAME:PATH (restore), or auto",
        short="-M",
        metavar="KEY:VAL",
        rpc="ext_mnt auto_ext_mnt",
    )
    enable_external_sharing: bool = _row(
        "flag", BOTH, "with --ext-mount-map auto: allow mounts shared with outside", rpc="ext_sharing"
    )
    enable_external_masters: bool = _row(
        "flag", BOTH, "with --ext-mount-map auto: allow mounts slave to outside", rpc="ext_masters"
    )
    skip_mnt: list[str] = _row("list", BOTH, "leave the mount at PATH and everything on it out", metavar="PATH")
    enable_fs: list[str] = _row(
        "list", BOTH, "mount these types of filesystem anew at restore (all: any), without content", metavar="FS,..."
    )
    mntns_compat_mode: bool = _row("flag", RESTORE, "accepted for compatibility, changes nothing")
    inherit_fd: list[str] = _row(
        "list",
        RESTORE,
        "use our open descriptor NUM for what the image calls RES: fd[NUM]:RES",
        metavar="fd[NUM]:RES",
    )
    ext_unix_sk: str | None = _row(
        "optional",
        BOTH,
        "allow unix sockets whose peer is outside of the tree",
        short="-x",
        metavar="INODES",
        rpc="ext_unix_sk unix_sk_ino",
    )
    file_locks: bool = _row("flag", BOTH, "dump and restore file locks", short="-l")
    link_remap: bool = _row("flag", DUMP, "link deleted files that have other names back for the restore")
    ghost_limit: int = _row(
        "size", DUMP, "largest deleted file that goes into the images", metavar="SIZE", default=1 << 20
    )
    ghost_fiemap: bool = _row("flag", DUMP, "accepted for criu's sake: the holes of deleted files are always kept")
    force_irmap: bool = _row("flag", DUMP, "look for what inotify watches by its name, not by file handles")
    file_validation: str = _row(
        "text",
        BOTH,
        "how files are known again: by their size (filesize), programs and libraries also by their build id (buildid, "
        "the default)",
        metavar="METHOD",
        default="",
        choices=("filesize", "buildid"),
    )
    skip_file_rwx_check: bool = _row("flag", RESTORE, "accept files whose permissions are others now")
    accept_grown: bool = _row(
        "flag", RESTORE, "accept files that are larger now, as logs are that others go on writing to"
    )
    stub: list[str] = _row(
        "list",
        DUMP,
        "replace descriptors that cannot be dumped and whose link in /proc/PID/fd matches PATTERN (as a shell would "
        "match it; all: any of them) by an eventfd that does nothing",
        metavar="PATTERN",
    )
    irmap_scan_path: list[str] = _row(
        "list", DUMP, "look for what inotify watches below PATH first", metavar="PATH", rpc="irmap_scan_paths"
    )
    tcp_established: bool = _row("flag", BOTH, "dump and restore established TCP connections")
    skip_in_flight: bool = _row(
        "flag", DUMP, "drop TCP connections that are not accepted yet", rpc="tcp_skip_in_flight"
    )
    tcp_close: bool = _row("flag", BOTH, "drop established TCP connections, the sockets come back closed")
    remap_ip: list[str] = _row(
        "list",
        RESTORE,
        "an address, or a whole network, of the tasks is another one now: sockets, links and routes go along",
        metavar="OLD=NEW",
    )
    remap_port: list[str] = _row(
        "list", RESTORE, "a port that sockets of the tasks are bound to is another one now", metavar="OLD=NEW"
    )
    hostname: str = _row("text", RESTORE, "the tasks' host name is NAME now", metavar="NAME", default="")
    manage_cgroups: str | None = _row(
        "optional",
        BOTH,
        "what is restored of cgroups: none, props, soft (new ones with their properties), full, strict or ignore",
        metavar="MODE",
        choices=("none", "props", "soft", "full", "strict", "ignore", "default"),
        rpc="manage_cgroups manage_cgroups_mode",
    )
    cgroup_root: list[str] = _row(
        "list", BOTH, "[CONTROLLER:]/PATH: the cgroup under which cgroups are restored", metavar="ROOT", rpc="cg_root"
    )
    cgroup_props: str = _row(
        "text", BOTH, "YAML that says which cgroup files are saved besides the usual ones", metavar="STRING", default=""
    )
    cgroup_props_file: str = _row("text", BOTH, "the same, from FILE", metavar="FILE", default="")
    cgroup_props_ignore_default: bool = _row("flag", BOTH, "save only what --cgroup-props names")
    cgroup_dump_controller: list[str] = _row(
        "list", DUMP, "save the cgroups of this controller only (may be repeated)", metavar="NAME"
    )
    cgroup_yard: str = _row(
        "text", BOTH, "directory with the cgroup hierarchies mounted in it", metavar="DIR", default=""
    )
    freeze_cgroup: str = _row("text", DUMP, "freeze with the cgroup freezer at PATH", metavar="PATH", default="")
    action_script: list[str] = _row("list", BOTH, "run SCRIPT at every notification point", metavar="SCRIPT")
    status_fd: int = _row(
        "number",
        DUMP,
        "write a zero byte to this descriptor of ours, and close it, once the images are complete",
        metavar="FD",
        default=-1,
    )
    timeout: int = _row("number", DUMP, "give up when freezing takes longer (seconds)", metavar="SECONDS", default=10)
    display_stats: bool = _row("flag", BOTH, "print the statistics at the end")
    veth_pair: list[str] = _row(
        "list",
        RESTORE,
        "the outer end of a veth device of the tree, as --external veth[IN]:OUT",
        metavar="IN=OUT",
        rpc="veths",
    )
    empty_ns: list[str] = _row("list", BOTH, "create the namespace but leave its content alone: net", metavar="NS")
    join_ns: list[str] = _row(
        "list", RESTORE, "NS:PID|PATH: restore into this existing namespace", short="-J", metavar="NS:FILE"
    )
    network_lock: str = _row(
        "text",
        BOTH,
        "how the network is held while frozen: nftables, iptables or skip",
        metavar="METHOD",
        default="",
        choices=("nftables", "iptables", "skip"),
    )
    pre_dump_mode: str = _row(
        "text",
        DUMP,
        "accepted for compatibility (splice or read): memory is always read by process_vm_readv(2)",
        metavar="MODE",
        default="",
        choices=("splice", "read"),
    )
    prev_images_dir: str = _row(
        "text",
        DUMP | PAGE_SERVER,
        "write only what changed since the snapshot in DIR (relative to --images-dir)",
        metavar="DIR",
        default="",
        rpc="parent_img",
    )
    track_mem: bool = _row("flag", DUMP, "keep track of what the tasks write from now on, for the next dump")
    auto_dedup: bool = _row("flag", IMAGES, "free pages of images: those that a dump replaces, those that are restored")
    page_server: bool = _row(
        "flag", DUMP | LAZY_PAGES, "send pages to the page server at --address and --port, or get them from there"
    )
    address: str = _row(
        "text", NETWORK | SERVICE, "address of the page server; service: path of its socket", metavar="ADDR", default=""
    )
    port: int = _row("number", NETWORK, "TCP port of the page server", metavar="PORT", default=0)
    ps_socket: int = _row(
        "number", NETWORK, "use this descriptor of ours as the connection to the other side", metavar="FD", default=-1
    )
    daemon: bool = _row("flag", DAEMONS, "run in the background once connections are accepted", short="-d")
    lazy_pages: bool = _row(
        "flag",
        BOTH | PAGE_SERVER,
        "dump: keep the pages until a lazy-pages daemon has fetched them; restore: let that daemon bring the pages; "
        "page-server: lend the pages of the images",
    )
    tls: bool = _row("flag", NETWORK, "encrypt the connection to the other side")
    tls_cacert: str = _row(
        "text",
        NETWORK,
        "trust certificates signed by this CA (/etc/pki/CA/cacert.pem)",
        metavar="FILE",
        default="",
    )
    tls_cacrl: str = _row("text", NETWORK, "list of revoked certificates", metavar="FILE", default="")
    tls_cert: str = _row("text", NETWORK, "our certificate (/etc/pki/criu/cert.pem)", metavar="FILE", default="")
    tls_key: str = _row("text", NETWORK, "its key (/etc/pki/criu/private/key.pem)", metavar="FILE", default="")
    tls_no_cn_verify: bool = _row("flag", NETWORK, "do not look whether the server's certificate is of its name")
    cpu_cap: str | None = _row(
        "optional",
        BOTH | CPUINFO,
        "what of the processor is noted or must be alike: fpu, cpu, ins, all or none, ^ for all but; default fpu,ins",
        metavar="CAP,..",
    )
    libdir: str = _row(
        "text",
        ALL,
        "use the plug-ins (Python files) in DIR too, besides those that are installed as entry points",
        short="-L",
        metavar="DIR",
        default="",
    )
    weak_sysctls: bool = _row("flag", RESTORE, "leave out settings of /proc/sys that this kernel lacks")
    lsm_profile: str = _row(
        "text",
        RESTORE,
        "confine all tasks by this AppArmor profile or SELinux context instead of their own",
        metavar="TYPE:NAME",
        default="",
    )
    lsm_mount_context: str = _row(
        "text",
        RESTORE,
        "the SELinux context for filesystems that were mounted with context=",
        metavar="CONTEXT",
        default="",
    )
    unprivileged: bool = _row(
        "flag",
        ALL,
        "run without being root: CAP_CHECKPOINT_RESTORE and CAP_SYS_PTRACE must do",
    )
    pidfd_store: int = _row(
        "number",
        DUMP,
        "accepted for compatibility: a pid that was given to another task is told by the time that it started",
        metavar="FD",
        default=-1,
        rpc="pidfd_store_sk",
    )
    allow_uprobes: bool = _row(
        "flag", BOTH, "dump tasks that are or were probed (uprobes), and restore them: the probes must be there again"
    )
    evasive_devices: bool = _row("flag", BOTH, "use any path to a device file when its own is gone")
    close: list[str] = _row("list", ALL, "close our descriptor FD before anything is done", metavar="FD")
    stream: bool = _row("flag", BOTH, "refused: images are not streamed, use woodfrog's archives instead")
    dry_run: bool = _row("flag", RESTORE, "print the steps of the restore and do nothing")
    feature: list[str] = _row("list", CHECK, "check for this feature only; list shows the names", metavar="NAME")
    extra: bool = _row("flag", CHECK, "check also what only some trees need (category 2)")
    experimental: bool = _row("flag", CHECK, "check also experimental features (category 3)")
    all: bool = _row("flag", CHECK, "check all categories")
    config: str = _row("text", EVERY, "read options from FILE too", metavar="FILE", default="")
    no_default_config: bool = _row("flag", EVERY, "do not read the default configuration files")
    help: bool = _row("flag", EVERY, "print this, and exit", short="-h")
    version: bool = _row("flag", EVERY, "print the version, and exit", short="-V")
    operands: list[str] = field(default_factory=list)
    notify: Notify | None = None
    service_socket: int = 0
    """Inode of our end of the connection to a task that asks to be dumped itself."""

    def notification(self, event: str, pid: int = 0, fd: int | None = None) -> None:
        if self.notify is not None:
            self.notify(event, pid, fd)


_ROWS: list[Row] = []


def rows() -> list[Row]:
    """All options that users can spell, in the order of the table."""
    if not _ROWS:
        _ROWS.extend(Row(f.name, **f.metadata) for f in fields(Options) if f.metadata)
    return _ROWS
