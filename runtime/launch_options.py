"""Options that create and run share."""

from __future__ import annotations

from runtime.options import Option

CREATE = (
    Option("bundle", "path to the bundle, defaults to the current directory", short="b"),
    Option("console-socket", "path to an AF_UNIX socket which receives the master of the terminal"),
    Option("pid-file", "the file to write the process id to"),
    Option("pidfd-socket", "path to an AF_UNIX socket which receives a pidfd of the container's process"),
    Option("no-pivot", "do not use pivot_root; for a rootfs on a ramdisk", "flag"),
    Option("no-new-keyring", "keep the caller's session keyring", "flag"),
    Option("preserve-fds", "pass N more descriptors (stdio + $LISTEN_FDS + N in total)", "int"),
)
RUN = (
    Option("detach", "detach from the container's process", "flag", short="d"),
    Option("keep", "do not delete the container after it exits", "flag"),
    Option("no-subreaper", "do not become the parent of orphaned processes of the container", "flag"),
)
