"""--external TYPE[KEY]:VALUE: what stays outside of the images, and where it is found again (criu(8))."""

from __future__ import annotations

from collections.abc import Iterable

from cr.options import Options


def external(options: Options, kind: str) -> dict[str, str]:
    """Key -> value of every --external option of one kind; the value is empty where none was given."""
    return dict(parse(text, kind) for text in options.external if text.startswith(f"{kind}["))


def parse(text: str, kind: str) -> tuple[str, str]:
    """("/dev", "NAME") of "mnt[/dev]:NAME"."""
    body = text[len(kind) + 1 :]
    key, bracket, value = body.partition("]:")
    return (key, value) if bracket else (body.removesuffix("]"), "")


def split_list(values: Iterable[str]) -> list[str]:
    """The words of comma separated options that may be given several times."""
    return [word for value in values for word in value.split(",") if word]
