"""What the global options say, for all verbs."""

from __future__ import annotations

import os

from runtime.checkpoints import default_place
from runtime.ownership import owner_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runtime.report import Reporter


class Context:
    """Where state is kept, where messages go, and whether we lack privileges."""

    def __init__(
        self, root: str, reporter: Reporter, systemd_cgroup: bool, rootless: bool, criu: str = "", checkpoints: str = ""
    ) -> None:
        self.root = root
        self.reporter = reporter
        self.systemd_cgroup = systemd_cgroup
        self.rootless = rootless
        self.criu = criu
        self.checkpoints = checkpoints or default_place()

    @classmethod
    def of(cls, values: dict[str, Any], reporter: Reporter) -> Context:
        """From the values of the global options."""
        root = os.path.abspath(values["root"] or default_root())
        unprivileged = os.geteuid() != 0 or owner_of(root) is not None
        rootless = unprivileged if values["rootless"] == "auto" else values["rootless"] == "true"
        return cls(root, reporter, values["systemd_cgroup"], rootless, values["criu"], values["checkpoints"])


def default_root() -> str:
    """/run/woodfrog, and for a user without privileges the same in the runtime directory of the session."""
    session = os.environ.get("XDG_RUNTIME_DIR")
    return f"{session}/woodfrog" if os.geteuid() != 0 and session else "/run/woodfrog"
