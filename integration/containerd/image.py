"""An image in OCI's layout: the root that the other engines' tests import as a bare tar."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

from integration.podman.engine import write_image as write_root

IMAGE = "woodfrog.test/counter:latest"
_OCI = "application/vnd.oci.image."


def write_image(path: Path) -> None:
    """A tar file that `ctr images import` takes."""
    write_root(path)
    layer = path.read_bytes()
    config = _json(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/bash"]},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        }
    )
    layers = [_descriptor("layer.v1.tar", layer)]
    manifest = _json({"schemaVersion": 2, "config": _descriptor("config.v1+json", config), "layers": layers})
    entry = _descriptor("manifest.v1+json", manifest)
    entry["annotations"] = {"io.containerd.image.name": IMAGE}
    with tarfile.open(path, "w") as tar:
        _add(tar, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(tar, "index.json", _json({"schemaVersion": 2, "manifests": [entry]}))
        for blob in (layer, config, manifest):
            _add(tar, "blobs/sha256/" + _digest(blob).partition(":")[2], blob)


def _descriptor(kind: str, blob: bytes) -> dict[str, Any]:
    return {"mediaType": _OCI + kind, "digest": _digest(blob), "size": len(blob)}


def _digest(blob: bytes) -> str:
    return "sha256:" + hashlib.sha256(blob).hexdigest()


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    file = tarfile.TarInfo(name)
    file.size = len(data)
    tar.addfile(file, io.BytesIO(data))
