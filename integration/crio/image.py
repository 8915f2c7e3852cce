"""The root that the other engines' tests import, as images in directories (containers-transports(5), dir:)."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from integration.podman.engine import write_image as write_root

IMAGE = "localhost/woodfrog/counter:latest"
PAUSE = "localhost/woodfrog/pause:latest"
_DOCKER = "application/vnd.docker."


def write_images(place: Path) -> str:
    """Both below `place`; the transport that turns their names into places."""
    write_root(place.with_suffix(".tar"))
    layer = place.with_suffix(".tar").read_bytes()
    for name in (IMAGE, PAUSE):
        _write(place / name, layer)
    return f"dir:{place}/"


def _write(directory: Path, layer: bytes) -> None:
    """Image manifest version 2, schema 2."""
    directory.mkdir(parents=True)
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/bash"]},
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
        }
    ).encode()
    blobs = []
    for kind, blob in (("container.image.v1+json", config), ("image.rootfs.diff.tar", layer)):
        digest = hashlib.sha256(blob).hexdigest()
        (directory / digest).write_bytes(blob)
        blobs.append({"mediaType": _DOCKER + kind, "digest": f"sha256:{digest}", "size": len(blob)})
    kind = _DOCKER + "distribution.manifest.v2+json"
    manifest = {"schemaVersion": 2, "mediaType": kind, "config": blobs[0], "layers": blobs[1:]}
    (directory / "manifest.json").write_text(json.dumps(manifest))
    (directory / "version").write_text("Directory Transport Version: 1.1\n")
