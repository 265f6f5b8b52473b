"""Figures, aligned: text to the left, numbers to the right."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

__all__ = ["print_note", "print_table"]

Cell = str | float | None


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """Print rows below their columns' names. A float is shown to three digits, None as nothing."""
    shown = [[_show(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *shown, strict=True)]
    right = [any(isinstance(row[index], (int, float)) for row in rows) for index in range(len(columns))]
    print(f"\n{title}\n")
    for line in (columns, ["-" * width for width in widths], *shown):
        cells = (
            cell.rjust(width) if is_number else cell.ljust(width)
            for cell, width, is_number in zip(line, widths, right, strict=True)
        )
        print("  " + "  ".join(cells).rstrip())


def print_note(text: str) -> None:
    """Print a paragraph below a table."""
    print("\n" + textwrap.fill(" ".join(text.split()), 100, initial_indent="  ", subsequent_indent="  "))


def _show(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, str):
        return cell
    decimals = 0 if isinstance(cell, int) or abs(cell) >= 100 else 1 if abs(cell) >= 10 else 2
    return f"{cell:,.{decimals}f}"
