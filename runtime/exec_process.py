"""The process of an exec: from process.json, or the container's own changed by the command line."""

from __future__ import annotations

from oci.config import load_process, without_nulls
from runtime.check import check_process
from runtime.errors import ContainerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from oci.types import Config, Process, User

_CAP_SETS = ("bounding", "effective", "permitted", "ambient")


def process_of(config: Config, values: dict[str, Any], args: list[str]) -> Process:
    """The process to run.  Raises ContainerError, InvalidDocument."""
    if values["process"]:
        loaded: Any = without_nulls(load_process(values["process"]))
        process: Process = loaded
    else:
        if not args:
            raise ContainerError("process args cannot be empty")
        process = changed(config["process"], values, args)
    if not process.get("args"):
        raise ContainerError("process args cannot be empty")
    check_process(process)
    return process


def changed(own: Process, values: dict[str, Any], args: list[str]) -> Process:
    """The container's own process with other arguments and what the options say."""
    process: Process = {**own, "args": args, "terminal": values["tty"]}
    process["env"] = [*(own.get("env") or []), *values["env"]]
    process.pop("consoleSize", None)
    if values["cwd"]:
        process["cwd"] = values["cwd"]
    if values["no_new_privs"]:
        process["noNewPrivileges"] = True
    if values["apparmor"]:
        process["apparmorProfile"] = values["apparmor"]
    if values["process_label"]:
        process["selinuxLabel"] = values["process_label"]
    if values["cap"]:
        _add_capabilities(process, values["cap"])
    process["user"] = _user(own.get("user") or {"uid": 0, "gid": 0}, values)
    return process


def _add_capabilities(process: Process, names: list[str]) -> None:
    """Into all sets but the inheritable one: a program without file capabilities must not hand them on."""
    sets: Any = dict(process.get("capabilities") or {})
    for kind in _CAP_SETS:
        sets[kind] = [*(sets.get(kind) or []), *names]
    process["capabilities"] = sets


def _user(own: User, values: dict[str, Any]) -> User:
    user: User = {**own}
    if values["user"]:
        uid, colon, gid = values["user"].partition(":")
        user["uid"] = _id(uid)
        user["gid"] = _id(gid) if colon else own["gid"]
    if values["additional_gids"]:
        user["additionalGids"] = [*(own.get("additionalGids") or []), *map(_id, values["additional_gids"])]
    return user


def _id(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:
        raise ContainerError(f'user and group ids are numbers from 0 to 4294967295, not "{text}"')
    return int(text)
