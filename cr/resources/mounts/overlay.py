"""overlay (Documentation/filesystems/overlayfs.rst): layers that are in the container themselves."""

from __future__ import annotations

from cr.contract.filesystem import FilesystemResource


class Overlay(FilesystemResource):
    """Mounted again from the same layers; a container's root that is an overlay is given with --root instead."""

    names = ("overlay", "overlayfs")
    code = 17
    last = True
