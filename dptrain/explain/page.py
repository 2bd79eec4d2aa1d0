"""One self-contained HTML page: pictures are inside it, and there is no script."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING

from dptrain.explain.drawing import render
from dptrain.explain.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24; background: #fff; max-width: 68rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; border-bottom: 1px solid #ddd; }
p.lead { color: #57606a; margin: 0 0 1rem; overflow-wrap: anywhere; }
nav a { margin-right: 1rem; } a { color: #0072b2; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px; }
th, td { padding: .2rem .7rem; border-bottom: 1px solid #e5e5e5; text-align: left; vertical-align: top; }
td.figure, th.figure { text-align: right; }
div.wide { overflow-x: auto; }
img { max-width: 100%; height: auto; }
pre { background: #f6f8fa; padding: .8rem; overflow-x: auto; font-size: 12.5px; }
dl { display: flex; flex-wrap: wrap; gap: .6rem 2rem; margin: 0; } dt { color: #57606a; font-size: 12px; }
dd { margin: 0; font-size: 1.35rem; font-variant-numeric: tabular-nums; }
@media print { nav { display: none; } h2 { break-after: avoid; } img, table { break-inside: avoid; } }
"""


@dataclass(slots=True)
class Page:
    """A page; sections are shown in the order in which they are added. Every text is escaped."""

    title: str
    lead: str
    _parts: list[str] = field(default_factory=list)
    _names: list[str] = field(default_factory=list)

    def section(self, name: str, text: str = "") -> None:
        """Adds a heading, and a paragraph if there is text."""
        self._names.append(name)
        self._parts.append(f'<h2 id="s{len(self._names)}">{escape(name)}</h2>')
        if text:
            self._parts.append(f"<p>{escape(text)}</p>")

    def facts(self, facts: Sequence[tuple[str, str]]) -> None:
        """Adds the most important numbers: (name, value)."""
        cells = "".join(f"<div><dt>{escape(what)}</dt><dd>{escape(value)}</dd></div>" for what, value in facts)
        self._parts.append(f"<dl>{cells}</dl>")

    def table(self, table: Table) -> None:
        """Adds a table; columns of numbers are right-aligned."""
        right = [' class="figure"' if table.is_figures(at) else "" for at in range(len(table.heads))]

        def row(kind: str, cells: Sequence[str]) -> str:
            made = (f"<{kind}{side}>{escape(cell)}</{kind}>" for cell, side in zip(cells, right, strict=True))
            return f"<tr>{''.join(made)}</tr>"

        body = "".join(row("td", cells) for cells in table.rows)
        head = row("th", table.heads)
        self._parts.append(f'<div class="wide"><table><thead>{head}</thead><tbody>{body}</tbody></table></div>')

    def picture(self, drawn: Figure, words: str) -> None:
        """Adds a picture as PNG; `words` describe it."""
        content = base64.b64encode(render(drawn, "png")).decode()
        width = round(96 * drawn.get_figwidth())  # in CSS pixels, so that the text of all pictures has one size
        source = f"data:image/png;base64,{content}"
        self._parts.append(f'<p><img width="{width}" alt="{escape(words)}" src="{source}"></p>')

    def verbatim(self, text: str) -> None:
        """Adds a text as it is, in a box."""
        self._parts.append(f"<pre>{escape(text)}</pre>")

    def html(self) -> bytes:
        """The bytes of the HTML file."""
        links = "".join(f'<a href="#s{at}">{escape(name)}</a>' for at, name in enumerate(self._names, 1))
        lines = [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(self.title)}</title><style>{_STYLE}</style></head><body>",
            f'<h1>{escape(self.title)}</h1><p class="lead">{escape(self.lead)}</p><nav>{links}</nav>',
            *self._parts,
            "</body></html>",
        ]
        return ("\n".join(lines) + "\n").encode()
