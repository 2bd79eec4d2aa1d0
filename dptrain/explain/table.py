"""A table of texts, written as aligned text, markdown or CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

_FIGURES = re.compile(r"[-+\d.,%± ]+(e[-+]?\d+)?")


@dataclass(frozen=True, slots=True)
class Table:
    """Headers and rows of equal length."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]

    def write(self, form: str) -> str:
        """As "text", "markdown" or "csv", with a newline at its end."""
        return {"text": self.text, "markdown": self.markdown, "csv": self.csv}[form]()

    def text(self) -> str:
        """Columns are aligned with spaces; columns of numbers to the right."""
        wide = self._widths()
        lines = [self._aligned(row, wide) for row in (self.heads, *self.rows)]
        return "".join(f"{'  '.join(line).rstrip()}\n" for line in lines)

    def markdown(self) -> str:
        """A table in GitHub's markdown, aligned."""
        clean = Table(self.heads, [[cell.replace("|", "\\|") for cell in row] for row in self.rows])
        wide = [max(3, width) for width in clean._widths()]
        rule = ["-" * (w - 1) + ":" if clean.is_figures(at) else "-" * w for at, w in enumerate(wide)]
        lines = [clean._aligned(row, wide) for row in (clean.heads, *clean.rows)]
        lines.insert(1, rule)
        return "".join(f"| {' | '.join(line)} |\n" for line in lines)

    def csv(self) -> str:
        """RFC 4180, with plain newlines."""
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows([self.heads, *self.rows])
        return out.getvalue()

    def _widths(self) -> list[int]:
        return [max(map(len, column)) for column in zip(self.heads, *self.rows, strict=True)]

    def _aligned(self, row: Sequence[str], wide: Sequence[int]) -> list[str]:
        return [
            cell.rjust(width) if self.is_figures(at) else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, wide, strict=True))
        ]

    def is_figures(self, column: int) -> bool:
        """Whether a column holds numbers only."""
        cells = [row[column] for row in self.rows if row[column]]
        return bool(cells) and all(_FIGURES.fullmatch(cell) for cell in cells)
