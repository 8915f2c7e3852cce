"""Running hooks: in order, the state on standard input, each with its environment and time limit."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from oci.types import Hook, Hooks, State

KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


class HookFailed(Exception):
    """A hook could not be started, took too long or ended with an error."""


def run_hooks(hooks: Hooks, kind: str, state: State, environment: dict[str, str] | None = None) -> None:
    """Run all hooks of one kind; the first failure ends it.  Raises HookFailed.

    `environment` is that of a hook which names none.
    """
    import json

    listed: list[Hook] = hooks.get(kind) or []  # type: ignore[assignment]
    for number, hook in enumerate(listed):
        try:
            run_hook(hook, json.dumps(state).encode(), environment)
        except HookFailed as err:
            raise HookFailed(f"error running {kind} hook #{number}: {err}") from err


def run_hook(hook: Hook, state: bytes, environment: dict[str, str] | None = None) -> None:
    """Run one program.  Its environment is exactly `env`; without that the given one, or ours, as with runc.

    Without `args`, argv is the path alone.
    """
    import subprocess

    named = hook.get("env")
    env = environment if named is None else dict(entry.partition("=")[::2] for entry in named)
    argv = hook.get("args") or [hook["path"]]
    timeout = hook.get("timeout")
    try:
        done = subprocess.run(
            argv,
            executable=hook["path"],
            env=env,
            input=state,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as err:
        raise HookFailed(f"{hook['path']} ran for longer than its timeout of {timeout} s") from err
    except OSError as err:
        raise HookFailed(f"cannot run {hook['path']}: {(err.strerror or str(err)).lower()}") from err
    if done.returncode != 0:
        code = _ending(done.returncode)
        output = f"stdout: {_text(done.stdout)}, stderr: {_text(done.stderr)}"
        raise HookFailed(f"{hook['path']}: {code}, {output}")


def _ending(code: int) -> str:
    """ "exit status 1", or "signal: killed" for a negative code."""
    import signal

    return f"exit status {code}" if code > 0 else f"signal: {(signal.strsignal(-code) or str(-code)).lower()}"


def _text(output: bytes) -> str:
    return output[-2048:].decode(errors="replace").strip()
