"""How --help is laid out: two columns of plain text, as wide as the terminal; no boxes, no colours."""

from __future__ import annotations

import textwrap
from io import StringIO

from cyclopts.help import HelpEntry, HelpPanel
from cyclopts.help.formatters import PlainFormatter
from rich.console import Console, ConsoleOptions

_COLUMN = 26  #: where the second column begins; a longer name has a line of its own


class Columns(PlainFormatter):
    """cyclopts' plain formatter but for the panels, whose long lines it would break at the left margin."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Prints one panel: its title, a line or more an entry."""
        if not panel.entries:
            return
        lines = [f"{panel.title}:"] if panel.title else []
        for entry in panel.entries:
            name = ", ".join(entry.display_labels_with_metavar or entry.display_labels)
            lines += row(name, _description(entry), options.max_width)
        console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)
        console.print()


def _description(entry: HelpEntry) -> str:
    # It is a thing for rich to draw: drawn on one endless line.
    paper = Console(file=StringIO(), width=100_000, force_terminal=False, no_color=True)
    with paper.capture() as drawn:
        paper.print(entry.description or "", end="", highlight=False)
    marks = [f"[choices: {', '.join(entry.choices)}]"] if entry.choices else []
    marks += [f"[default: {entry.default}]"] if entry.default not in (None, '""', "False") else []
    marks += ["[required]"] if entry.required else []
    return " ".join([*drawn.get().split(), *marks])


def row(name: str, text: str, width: int) -> list[str]:
    """The lines of one name and what it is."""
    body = textwrap.wrap(text, max(40, width - _COLUMN), break_on_hyphens=False) or [""]
    head = f"  {name}"
    lines = [" " * _COLUMN + line for line in body]
    if len(head) <= _COLUMN - 2:
        return [(head.ljust(_COLUMN) + body[0]).rstrip(), *lines[1:]]
    return [head, *(lines if text else [])]
