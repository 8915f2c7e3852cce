"""The `woodfrog-crit` command: look into images, and change them by way of JSON."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from images import crit_image
from images.crit_explore import TABLES, Snapshot
from images.directory import ImageDirectory
from images.entry import read_entries
from images.errors import ImageError
from images.file import ImageFile


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 1 if an image cannot be read or written."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has seen enough; keep Python from complaining once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ImageError, OSError) as err:
        print(f"woodfrog-crit: {err}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="woodfrog-crit", description="Look into images of a snapshot.")
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    decode = commands.add_parser("decode", help="an image to JSON")
    decode.add_argument("--pretty", action="store_true", help="with names for numbers")
    _add_in_out(decode)
    decode.set_defaults(run=_decode, data=True)
    encode = commands.add_parser("encode", help="JSON to an image")
    _add_in_out(encode)
    encode.set_defaults(run=_encode)
    show = commands.add_parser("show", help="an image to JSON for people")
    show.add_argument("input", metavar="FILE")
    show.add_argument("--nopl", dest="data", action="store_false", help="leave out raw data")
    show.set_defaults(run=_decode, pretty=True, output=None)
    info = commands.add_parser("info", help="the kind of an image and how many entries it has")
    info.add_argument("input", metavar="FILE")
    info.set_defaults(run=_info)
    explore = commands.add_parser("x", help="tables out of a whole snapshot")
    explore.add_argument("directory", metavar="DIR")
    explore.add_argument("what", choices=list(TABLES))
    explore.set_defaults(run=_explore)
    return parser


def _add_in_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-i", "--in", dest="input", metavar="FILE", help="standard input if not given")
    parser.add_argument("-o", "--out", dest="output", metavar="FILE", help="standard output if not given")


def _version() -> str:
    try:
        return version("woodfrog")
    except PackageNotFoundError:
        return "not installed"


def _decode(options: argparse.Namespace) -> None:
    image = crit_image.decode(_open(options.input), options.pretty, options.data)
    indent = 4 if options.pretty else None
    if options.output is None:
        json.dump(image, sys.stdout, indent=indent)
        print()
    else:
        with Path(options.output).open("w") as out:
            json.dump(image, out, indent=indent)


def _encode(options: argparse.Namespace) -> None:
    image = _read_json(options.input)
    if options.output is None:
        sys.stdout.flush()
        crit_image.encode(image, sys.stdout.fileno(), "standard output")
    else:
        with Path(options.output).open("wb") as out:
            crit_image.encode(image, out.fileno(), options.output)


def _read_json(name: str | None) -> Any:
    try:
        text = sys.stdin.buffer.read() if name is None else Path(name).read_bytes()
        return json.loads(text)
    except (ValueError, RecursionError) as err:
        raise ImageError(name or "standard input", f"is no JSON ({err})") from err


def _info(options: argparse.Namespace) -> None:
    file = _open(options.input)
    kind = crit_image.image_kind(file)
    count = sum(1 for _ in read_entries(file, kind))
    if kind.head == "pagemap_head":
        count -= 1
    print(json.dumps({"magic": kind.magic_name, "count": count}, indent=4))


def _explore(options: argparse.Namespace) -> None:
    with ImageDirectory.open(options.directory) as directory:
        for line in TABLES[options.what](Snapshot(directory)):
            print(line)


def _open(name: str | None) -> ImageFile:
    """A file as it is; standard input, which may be a pipe, by way of a file in memory."""
    if name is not None:
        return ImageFile(os.open(name, os.O_RDONLY | os.O_CLOEXEC), name)
    fd = os.memfd_create("image", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(fd), "wb") as copy:
        shutil.copyfileobj(sys.stdin.buffer, copy)
    return ImageFile(fd, "standard input")


if __name__ == "__main__":
    sys.exit(main())
