"""One container's cgroup in all hierarchies: make, limit, enter, list, freeze, kill, measure, remove."""

from __future__ import annotations

import errno
import os
import posixpath
from collections.abc import Callable, Iterator, Mapping

from cgroups import freezer, killer, oom
from cgroups.controllers import Controller, Resources, all_controllers, cpuset
from cgroups.delegation import enable_controllers
from cgroups.errors import CgroupError, from_os
from cgroups.hierarchies import Hierarchy, Layout
from cgroups.hierarchies import layout as this_layout
from cgroups.node import Node, read_ids, subtree, write_file
from cgroups.pause import Pause
from cgroups.removal import remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cgroups.stats import Stats

ATTACH_DEADLINE = 1.0


class Manager:
    """The cgroups of one container.

    `path` that begins with "/" counts from each hierarchy's mountpoint; another one counts from the caller's
    own cgroup (on v2 from its parent, since a cgroup with tasks may not have children with controllers).
    With `rootless`, hierarchies that may not be written are left out, as long as no limit needs them.
    """

    def __init__(self, path: str, layout: Layout | None = None, rootless: bool = False) -> None:
        if not path.strip("/") or ".." in path.split("/"):
            raise CgroupError(f"cgroup path {path!r} must name a cgroup below the root, without '..'")
        if path.count(":") == 2 and "/" not in path:
            raise CgroupError(
                f"cgroup path {path!r} is in the form of the systemd driver (slice:prefix:name); give a path"
            )
        self.path = path
        self.rootless = rootless
        self.layout = layout or this_layout()
        self._refused: set[str] = set()

    # -- where --

    def directory(self, hierarchy: Hierarchy) -> str:
        """The directory in one hierarchy."""
        if self.path.startswith("/"):
            return hierarchy.below_mount(self.path)
        own = hierarchy.own if hierarchy.version == 1 else posixpath.dirname(hierarchy.own)
        return posixpath.join(hierarchy.directory(own), self.path)

    def _nodes(self) -> Iterator[tuple[Hierarchy, Node]]:
        for hierarchy in self.layout.hierarchies:
            if hierarchy.name not in self._refused:
                yield hierarchy, Node(self.directory(hierarchy), hierarchy.version)

    def paths(self) -> dict[str, str]:
        """{name in /proc/pid/cgroup ("" for v2): directory}, whether it exists or not."""
        return {hierarchy.name: node.path for hierarchy, node in self._nodes()}

    def exists(self) -> bool:
        """Whether any of the directories is there."""
        return any(node.exists() for _, node in self._nodes())

    def _node_of(self, controller: Controller) -> Node | None:
        """The directory where this controller's files are; None where it is not available."""
        for hierarchy, node in self._nodes():
            name = controller.v1 if hierarchy.version == 1 else controller.v2
            if name is not None and name in hierarchy.controllers:
                return node
        unified = self.layout.unified()
        # devices and `unified` need no controller on v2; hybrid layouts have devices on v1
        if unified is None or controller.v2 is not None or controller.section not in ("devices", "unified"):
            return None
        return Node(self.directory(unified), 2)

    # -- life --

    def create(self) -> None:
        """Make the directories (those that exist are used) and switch controllers on.

        A failure removes what was made.  Raises CgroupError.
        """
        made: list[str] = []
        try:
            for hierarchy in self.layout.hierarchies:
                self._create_in(hierarchy, made)
        except BaseException:
            for path in reversed(made):
                remove_tree(path)
            raise

    def _create_in(self, hierarchy: Hierarchy, made: list[str]) -> None:
        path = self.directory(hierarchy)
        try:
            _make(path, hierarchy, made)
        except CgroupError as err:
            if not (self.rootless and err.errno in (errno.EACCES, errno.EPERM, errno.EROFS)):
                raise
            self._refused.add(hierarchy.name)
            return
        if "cpuset" in hierarchy.controllers and hierarchy.version == 1:
            cpuset.inherit(hierarchy.mountpoint, path)

    def delete(self, deadline: float = 10.0) -> None:
        """Remove the directories and all below; a busy one is tried again until the deadline (seconds)."""
        for _, node in self._nodes():
            remove_tree(node.path, deadline)

    # -- limits --

    def apply(self, resources: Resources) -> None:
        """Write linux.resources.  Raises CgroupError that names the missing controller, or the file."""
        for controller in all_controllers():
            if not resources.get(controller.section):
                continue
            node = self._node_of(controller)
            if node is not None:
                controller.apply(node, resources)
            elif controller.asked(resources):
                raise CgroupError(
                    f"linux.resources.{controller.section} asks for a limit of the cgroup controller "
                    f"{controller.name}, which this host does not have in its {self.layout.kind} hierarchy; "
                    "enable the controller or remove the limit"
                )

    def read(self) -> dict[str, object]:
        """The limits in force, in the shape of linux.resources."""
        result: dict[str, object] = {}
        for controller in all_controllers():
            node = self._node_of(controller)
            values = controller.read(node) if node is not None and node.exists() else {}
            if controller.section in values:  # a section that is a list
                result.update(values)
            elif values:
                old = result.get(controller.section)
                result[controller.section] = {**(old if isinstance(old, Mapping) else {}), **values}
        return result

    def stats(self) -> Stats:
        """What was used; parts are None for controllers that are not there."""
        from cgroups.measure import measure

        return measure(self._node_of)

    # -- tasks --

    def attach(self, pid: int, deadline: float = ATTACH_DEADLINE) -> None:
        """Move a process with all its threads into the cgroup, in all hierarchies."""
        for _, node in self._nodes():
            if node.exists():
                _attach(node, pid, deadline)

    def occupants(self) -> list[int]:
        """The processes in the cgroup and below, in any hierarchy, sorted; a 0 for those of foreign pid namespaces."""
        found: set[int] = set()
        for _, node in self._nodes():
            for directory in subtree(node.path):
                found.update(read_ids(directory, "cgroup.procs"))
        return sorted(found)

    def pids(self) -> list[int]:
        """The same without those of foreign pid namespaces."""
        return [pid for pid in self.occupants() if pid]

    def freezer_path(self) -> str:
        """The directory that freezes: of the v1 freezer, else of v2.  Raises CgroupError without either."""
        hierarchy = self.layout.holding("freezer") or self.layout.unified()
        if hierarchy is None or hierarchy.name in self._refused:
            raise CgroupError(
                f"cgroup {self.path} cannot be frozen: this host has neither the v1 freezer nor cgroup v2"
            )
        return self.directory(hierarchy)

    def freeze(self, deadline: float = freezer.DEADLINE) -> bool:
        """Freeze all tasks; answers whether they were frozen before (see `freezer.freeze`)."""
        return freezer.freeze(self.freezer_path(), deadline)

    def thaw(self, deadline: float = freezer.DEADLINE) -> None:
        """Let all tasks run again."""
        freezer.thaw(self.freezer_path(), deadline)

    def frozen(self) -> bool:
        """Whether all tasks are frozen."""
        return freezer.frozen(self.freezer_path())

    def kill(self, some: Callable[[], list[int]] | None = None, deadline: float = 10.0) -> None:
        """SIGKILL every task, frozen ones too, and wait until none is left; with `some` only those that it lists."""
        whole = [] if some else [node.path for _, node in self._nodes()]
        killer.kill_all(whole, some or self.pids, self._thaw_quietly, deadline)

    def _thaw_quietly(self) -> None:
        """A dead task leaves a frozen v1 cgroup only once it is thawed."""
        hierarchy = self.layout.holding("freezer")
        if hierarchy is not None and os.path.isdir(self.directory(hierarchy)):
            for directory in subtree(self.directory(hierarchy)):
                write_file(posixpath.join(directory, "freezer.state"), "THAWED")

    def oom_watch(self) -> oom.OomWatch:
        """A descriptor to poll for OOM kills.  Raises CgroupError without the memory controller."""
        hierarchy = self.layout.holding("memory")
        if hierarchy is None:
            raise CgroupError(f"cgroup {self.path} has no OOM events: this host has no cgroup controller memory")
        return oom.watch(Node(self.directory(hierarchy), hierarchy.version))


def _make(path: str, hierarchy: Hierarchy, made: list[str]) -> None:
    """mkdir -p below the mountpoint; on v2 each parent hands its controllers down."""
    current = hierarchy.mountpoint
    for part in posixpath.relpath(path, hierarchy.mountpoint).split("/"):
        if hierarchy.version == 2:
            enable_controllers(current)
        current = posixpath.join(current, part)
        try:
            os.mkdir(current, 0o755)
        except FileExistsError:
            continue
        except OSError as err:
            raise from_os(f"create cgroup {current}", err) from err
        made.append(current)


def _attach(node: Node, pid: int, deadline: float) -> None:
    """Write cgroup.procs; EINVAL is given for a task that is only just being made, so try again."""
    pause = Pause(deadline)
    while True:
        try:
            node.write("cgroup.procs", pid)
        except CgroupError as err:
            if err.errno != errno.EINVAL or pause.over():
                raise
            pause()
        else:
            return
