"""The words in the `options` of a mount: flags, propagation, attributes of whole trees, and data.

Tables of names as mount(8) and the runtime specification give them; what is in no table is data for the
filesystem, in its order.
"""

from __future__ import annotations

from cr.kernel import mounts as m

TYPE_CHECKING = False
if TYPE_CHECKING:
    from oci.types import Mount

SET: dict[str, int] = {
    "acl": m.MS_POSIXACL,
    "bind": m.MS_BIND,
    "rbind": m.MS_BIND | m.MS_REC,
    "dirsync": m.MS_DIRSYNC,
    "iversion": m.MS_I_VERSION,
    "lazytime": m.MS_LAZYTIME,
    "mand": m.MS_MANDLOCK,
    "noatime": m.MS_NOATIME,
    "nodev": m.MS_NODEV,
    "nodiratime": m.MS_NODIRATIME,
    "noexec": m.MS_NOEXEC,
    "nosuid": m.MS_NOSUID,
    "nosymfollow": m.MS_NOSYMFOLLOW,
    "relatime": m.MS_RELATIME,
    "remount": m.MS_REMOUNT,
    "ro": m.MS_RDONLY,
    "silent": m.MS_SILENT,
    "strictatime": m.MS_STRICTATIME,
    "sync": m.MS_SYNCHRONOUS,
}
CLEAR: dict[str, int] = {
    "async": m.MS_SYNCHRONOUS,
    "atime": m.MS_NOATIME,
    "defaults": 0,
    "dev": m.MS_NODEV,
    "diratime": m.MS_NODIRATIME,
    "exec": m.MS_NOEXEC,
    "loud": m.MS_SILENT,
    "noacl": m.MS_POSIXACL,
    "noiversion": m.MS_I_VERSION,
    "nolazytime": m.MS_LAZYTIME,
    "nomand": m.MS_MANDLOCK,
    "norelatime": m.MS_RELATIME,
    "nostrictatime": m.MS_STRICTATIME,
    "rw": m.MS_RDONLY,
    "suid": m.MS_NOSUID,
    "symfollow": m.MS_NOSYMFOLLOW,
}
PROPAGATION: dict[str, int] = {
    "private": m.MS_PRIVATE,
    "rprivate": m.MS_PRIVATE | m.MS_REC,
    "shared": m.MS_SHARED,
    "rshared": m.MS_SHARED | m.MS_REC,
    "slave": m.MS_SLAVE,
    "rslave": m.MS_SLAVE | m.MS_REC,
    "unbindable": m.MS_UNBINDABLE,
    "runbindable": m.MS_UNBINDABLE | m.MS_REC,
}
_ATIME = m.MOUNT_ATTR__ATIME
# name: (attributes to set, attributes to clear)
TREE: dict[str, tuple[int, int]] = {
    "rro": (m.MOUNT_ATTR_RDONLY, 0),
    "rrw": (0, m.MOUNT_ATTR_RDONLY),
    "rnosuid": (m.MOUNT_ATTR_NOSUID, 0),
    "rsuid": (0, m.MOUNT_ATTR_NOSUID),
    "rnodev": (m.MOUNT_ATTR_NODEV, 0),
    "rdev": (0, m.MOUNT_ATTR_NODEV),
    "rnoexec": (m.MOUNT_ATTR_NOEXEC, 0),
    "rexec": (0, m.MOUNT_ATTR_NOEXEC),
    "rnodiratime": (m.MOUNT_ATTR_NODIRATIME, 0),
    "rdiratime": (0, m.MOUNT_ATTR_NODIRATIME),
    "rrelatime": (m.MOUNT_ATTR_RELATIME, _ATIME),
    "rnorelatime": (m.MOUNT_ATTR_STRICTATIME, _ATIME),
    "rnoatime": (m.MOUNT_ATTR_NOATIME, _ATIME),
    "ratime": (m.MOUNT_ATTR_RELATIME, _ATIME),
    "rstrictatime": (m.MOUNT_ATTR_STRICTATIME, _ATIME),
    "rnostrictatime": (m.MOUNT_ATTR_RELATIME, _ATIME),
    "rnosymfollow": (m.MOUNT_ATTR_NOSYMFOLLOW, 0),
    "rsymfollow": (0, m.MOUNT_ATTR_NOSYMFOLLOW),
}
IDMAP = ("idmap", "ridmap")
NAMES = sorted({*SET, *CLEAR, *PROPAGATION, *TREE, "tmpcopyup", *IDMAP})

# mount(2) flags that a bind mount can have of its own, as attributes of mount_setattr(2)
_ATTRIBUTES: dict[int, tuple[int, int]] = {
    m.MS_RDONLY: (m.MOUNT_ATTR_RDONLY, 0),
    m.MS_NOSUID: (m.MOUNT_ATTR_NOSUID, 0),
    m.MS_NODEV: (m.MOUNT_ATTR_NODEV, 0),
    m.MS_NOEXEC: (m.MOUNT_ATTR_NOEXEC, 0),
    m.MS_NOSYMFOLLOW: (m.MOUNT_ATTR_NOSYMFOLLOW, 0),
    m.MS_NODIRATIME: (m.MOUNT_ATTR_NODIRATIME, m.MOUNT_ATTR_NODIRATIME),  # a time stamp's, like those below
    m.MS_NOATIME: (m.MOUNT_ATTR_NOATIME, _ATIME),
    m.MS_RELATIME: (m.MOUNT_ATTR_RELATIME, _ATIME),
    m.MS_STRICTATIME: (m.MOUNT_ATTR_STRICTATIME, _ATIME),
}


class Options:
    """`flags` for mount(2), those `cleared`, `propagation` in order, (set, clear) for `tree`, and `data`."""

    def __init__(self, words: list[str]) -> None:
        self.flags = 0
        self.cleared = 0
        self.propagation: list[int] = []
        self.tree = (0, 0)
        self.copy_up = False
        self.idmap = ""
        self._data: list[str] = []
        for word in words:
            self._take(word)
        self.data = ",".join(self._data)

    def _take(self, word: str) -> None:
        if word in SET:
            self.flags |= SET[word]
            self.cleared &= ~SET[word]
        elif word in CLEAR:
            self.flags &= ~CLEAR[word]
            self.cleared |= CLEAR[word]
        elif word in PROPAGATION:
            self.propagation.append(PROPAGATION[word])
        elif word in TREE:
            on, off = TREE[word]
            self.tree = (self.tree[0] & ~off | on, self.tree[1] & ~on | off)
        elif word == "tmpcopyup":
            self.copy_up = True
        elif word in IDMAP:
            self.idmap = word
        elif word:
            self._data.append(word)

    def attributes(self) -> tuple[int, int]:
        """The flags as (attributes to set, attributes to clear), for a bind mount.

        With any flag named, what is not named is cleared, as a remount does it; but the time stamps' group stays.
        With none, all stays as the source has it.
        """
        on = off = 0
        if not (self.flags & ~(m.MS_BIND | m.MS_REC) or self.cleared):
            return on, off
        for flag, (attribute, group) in _ATTRIBUTES.items():
            if self.flags & flag:
                on |= attribute
                off |= group
            elif not group:
                off |= attribute
        return on, off

    def demanded(self) -> tuple[int, int]:
        """The same, but cleared is only what the options name: for a user namespace, where a source's flags are
        not the container's to drop by the way (mount_namespaces(7), locked mounts).  nosymfollow is never locked.
        """
        on, off = self.attributes()
        named = sum(attribute for flag, (attribute, group) in _ATTRIBUTES.items() if self.cleared & flag and not group)
        named |= m.MOUNT_ATTR_NOSYMFOLLOW
        return on, off & (named | (_ATIME if on & _ATIME or self.flags & m.MS_RELATIME else 0))


def is_bind(mount: Mount) -> bool:
    """Whether a mount of the configuration is a bind mount: by its options, or its type "bind"."""
    return mount.get("type") == "bind" or any(word in ("bind", "rbind") for word in mount.get("options") or [])
