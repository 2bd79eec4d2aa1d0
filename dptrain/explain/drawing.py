"""matplotlib, imported only when something is drawn: a figure of our looks, and its bytes.

No pyplot: a figure without a window needs no display, and one drawn twice has the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dptrain.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Okabe and Ito's colours: told apart by everybody, and in this order also in grey.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
RIGHT, WRONG, OTHER = "#007a55", "#c04a00", "#666666"  #: text about the true class, the guess, the second guess

_LOOKS: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same picture everywhere
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "svg.hashsalt": "dptrain",  # SVG ids are hashed: with a salt of our own they are the same every time
    "svg.fonttype": "path",
}


@contextmanager
def looks() -> Iterator[None]:
    """Our settings of matplotlib while something is drawn or saved. Raises UsageError where it is not installed."""
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise UsageError("pictures need matplotlib, which is not installed: pip install 'dptrain[plot]'") from error
    with mpl.rc_context(_LOOKS):
        yield


def figure(width: float, height: float) -> Figure:
    """An empty figure, sizes in inches. Call it within `looks`."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def bare(axes: Axes) -> None:
    """An image needs no ticks, grid or frame."""
    axes.set_axis_off()


def whole_epochs(axes: Axes) -> None:
    """There is no half epoch to put a tick at."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    low, high = axes.get_xlim()
    if high - low < 1:  # a single epoch
        axes.set_xlim(round(low) - 0.5, round(low) + 0.5)
        axes.set_xticks([round(low)])


def from_zero(axes: Axes) -> None:
    """Heights begin at 0, and the highest keeps its distance from the edge, also where there is one only."""
    if axes.has_data():
        axes.update_datalim([(0.0, 0.0)], updatex=False)
        axes.autoscale_view(scalex=False)
    axes.set_ylim(bottom=0)


def render(drawn: Figure, form: str) -> bytes:
    """The file's content; `form` is "png" or "svg". No date in it."""
    out = io.BytesIO()
    with looks():
        drawn.savefig(out, format=form, metadata={"Date": None} if form == "svg" else {"Software": "dptrain"})
    return out.getvalue()
