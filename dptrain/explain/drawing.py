"""matplotlib, imported only when something is drawn: figures in one style, and their bytes.

pyplot is not used: no figure needs a display, and a figure that is drawn twice has the same bytes.
"""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dptrain.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: The colours of Okabe and Ito: distinct for colour-blind readers, and in this order also in grey.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
RIGHT, WRONG, OTHER = "#007a55", "#c04a00", "#666666"  #: text about the true class, the guess, the second guess

#: Fonts with the characters of many languages.
_WIDE_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans",
    "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
    "IPAGothic",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "Noto Color Emoji",
    "Unifont",
)
_MISSING = re.compile(r"Glyph \d+ \((?:\\N\{)?(.*?)\}?\) missing from")  #: a warning of matplotlib
_said: list[str] = []  #: the first character that no font has
_log = logging.getLogger(__name__)
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
    "svg.hashsalt": "dptrain",  # SVG ids are hashed; a fixed salt makes them the same every time
    "svg.fonttype": "path",
}


@contextmanager
def looks() -> Iterator[None]:
    """Sets the style of matplotlib while something is drawn or saved. Raises UsageError if it is not installed.

    Characters that DejaVu Sans lacks come from another installed font; if none has them, one warning says so.
    """
    try:
        import matplotlib as mpl
        from matplotlib.font_manager import get_font_names
    except ImportError as error:
        raise UsageError("pictures need matplotlib, which is not installed: pip install 'dptrain[plot]'") from error
    installed = set(get_font_names())
    families = [_LOOKS["font.family"], *(name for name in _WIDE_FONTS if name in installed)]
    with warnings.catch_warnings(record=True) as caught, mpl.rc_context(_LOOKS | {"font.family": families}):
        warnings.simplefilter("always")
        yield
    for warning in caught:
        if lost := _MISSING.search(str(warning.message)):
            _say_missing(lost[1])
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def _say_missing(character: str) -> None:
    """Logs, once per process, that a character is drawn as a box."""
    if not _said:
        _said.append(character)
        _log.warning("no installed font has %s: it is drawn as a box; install one, such as fonts-noto-cjk", character)


def figure(width: float, height: float) -> Figure:
    """An empty figure, sizes in inches. Call it within `looks`."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def bare(axes: Axes) -> None:
    """Removes ticks, grid and frame: an image needs none."""
    axes.set_axis_off()


def whole_epochs(axes: Axes) -> None:
    """Puts ticks at whole epochs only."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    low, high = axes.get_xlim()
    if high - low < 1:  # a single epoch
        axes.set_xlim(round(low) - 0.5, round(low) + 0.5)
        axes.set_xticks([round(low)])


def from_zero(axes: Axes) -> None:
    """The y axis begins at 0; a margin stays above the highest value, even for a single value."""
    if axes.has_data():
        axes.update_datalim([(0.0, 0.0)], updatex=False)
        axes.autoscale_view(scalex=False)
    axes.set_ylim(bottom=0)


def render(drawn: Figure, form: str) -> bytes:
    """The bytes of the picture file, without a date; `form` is "png" or "svg"."""
    out = io.BytesIO()
    with looks():
        drawn.savefig(out, format=form, metadata={"Date": None} if form == "svg" else {"Software": "dptrain"})
    return out.getvalue()
