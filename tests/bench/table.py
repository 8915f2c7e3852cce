"""The figures as a table: of rich on a terminal, else in Markdown."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable

from tests.bench.measure import Figures


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.1f} ms"


def _mib(size: float) -> str:
    return f"{size / (1 << 20):,.1f} MiB"


COLUMNS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("frozen", "time frozen", _ms),
    ("dump", "whole dump", _ms),
    ("restore", "whole restore", _ms),
    ("images", "images", _mib),
    ("dump_peak", "peak, dump", _mib),
    ("restore_peak", "peak, restore", _mib),
)
HEAD = ("case", "engine", *(title for _, title, _ in COLUMNS))


def rows(title: str, results: dict[str, Figures]) -> Iterable[list[str]]:
    """One row an engine, then what the first takes in units of the last."""
    for engine, figures in results.items():
        yield [title, engine, *(show(getattr(figures, name)) for name, _, show in COLUMNS)]
        title = ""
    if len(results) > 1:
        ours, theirs = list(results.values())
        ratios = (getattr(ours, name) / max(getattr(theirs, name), 1e-9) for name, _, _ in COLUMNS)
        yield ["", "ratio", *(f"{ratio:.2f}" for ratio in ratios)]


def show(table: list[list[str]], head: tuple[str, ...] = HEAD) -> None:
    if sys.stdout.isatty():
        _show_rich(table, head)
        return
    widths = [max(len(row[i]) for row in [list(head), *table]) for i in range(len(head))]
    lines = [list(head), ["-" * width for width in widths], *table]
    for line in lines:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |")


def _show_rich(table: list[list[str]], head: tuple[str, ...]) -> None:
    from rich.console import Console
    from rich.table import Table

    shown = Table(*head)
    for row in table:
        shown.add_row(*row, style="dim" if row[1] == "ratio" else None)
    Console().print(shown)
