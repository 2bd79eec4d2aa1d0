"""Learning curves in two panels, as in the predecessors: loss by step, error by epoch; several runs in one figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dptrain.explain.drawing import COLOURS, figure, from_zero, looks, whole_epochs
from dptrain.types import F64

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Curve:
    """The history of one training; a list may be empty."""

    name: str
    loss: Sequence[tuple[int, float]]  #: (step, loss of its batch)
    train: Sequence[tuple[int, float]]  #: (epoch, accuracy)
    validation: Sequence[tuple[int, float]]


def moving_average(values: Sequence[float], window: int) -> F64:
    """(n,) -> (n,): the mean of each value and of up to `window` - 1 values before it.

    At the beginning it is the mean of the later half of the values so far. A window over all of them would drop the
    high first losses at once when it is full, and the curve would bend where the training does not.
    """
    total = np.concatenate([[0.0], np.cumsum(np.asarray(values, np.float64))])
    last = np.arange(1, len(values) + 1)
    first = np.maximum(last - window, last / 2)  # fractions of values: whole ones would make the curve jagged
    mean: F64 = (total[last] - np.interp(first, np.arange(len(total)), total)) / (last - first)
    return mean


def usual_window(curves: Sequence[Curve]) -> int:
    """Steps over which a loss is averaged: a fiftieth of the longest training (one or two millimetres of the figure),
    at least 10.
    """
    return max(10, max((len(curve.loss) for curve in curves), default=0) // 50)


def draw_curves(curves: Sequence[Curve], window: int) -> Figure:
    """Left: loss, a moving average over `window` steps. Right: error, training dashed. One legend for both."""
    with looks():
        drawn = figure(9.0, 3.6 + 0.22 * len(curves))
        left, right = drawn.subplots(1, 2)
        for at, curve in enumerate(curves):
            colour = COLOURS[at % len(COLOURS)]
            if curve.loss:
                steps, losses = zip(*curve.loss, strict=True)
                left.plot(steps, moving_average(losses, window), color=colour, linewidth=1.2, label=curve.name)
            _errors(right, curve, colour)
        left.set(
            xlabel="step",
            ylabel="loss",
            title=f"loss (mean of the last {window} steps)" if window > 1 else "loss",
        )
        from_zero(left)
        right.set(xlabel="epoch", ylabel="error", title="error: held out solid, training dashed, hollow")
        from_zero(right)
        whole_epochs(right)
        handles, labels = (left if left.has_data() else right).get_legend_handles_labels()
        drawn.legend(handles, labels, loc="outside lower center", ncols=max(1, min(len(labels), 3)))
        return drawn


def _errors(axes: Axes, curve: Curve, colour: str) -> None:
    for points, style, fill, label in ((curve.validation, "-", colour, curve.name), (curve.train, "--", "white", None)):
        if points:
            epochs, accuracies = zip(*points, strict=True)
            marker = "o" if len(points) < 30 else None
            errors = [1.0 - accuracy for accuracy in accuracies]
            how: Any = {"color": colour, "linewidth": 1.4, "marker": marker, "markersize": 3, "markerfacecolor": fill}
            axes.plot(epochs, errors, style, label=label, **how)
