"""Reading config.json and process.json."""

from __future__ import annotations

import os

from oci.validate import InvalidDocument, read_json, validate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from oci.types import Config, Process


def load_config(bundle: str) -> Config:
    """The validated configuration of a bundle.  Raises InvalidDocument, FileNotFoundError."""
    path = os.path.join(bundle, "config.json")
    config: Config = read_json(path)
    validate(config, "config.json", path)
    return config


def load_process(path: str) -> Process:
    """The validated process.json of ``exec --process``."""
    process: Process = read_json(path)
    validate(process, "process.json", path)
    return process


def without_nulls(value: object) -> object:
    """The same document without members that are null: they mean what an absent member means."""
    if isinstance(value, dict):
        return {name: without_nulls(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


__all__ = ["InvalidDocument", "load_config", "load_process", "without_nulls"]
