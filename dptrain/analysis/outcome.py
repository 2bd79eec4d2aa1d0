"""What came of an experiment: mean and spread over seeds, as a table and as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from dptrain.analysis.drawing import COLOURS, figure, from_zero, looks, whole_epochs
from dptrain.analysis.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Result:
    """Of one finished run."""

    seed: int
    test: float  #: error, 0 ... 1
    train: float  #: error of the last epoch
    curve: Sequence[tuple[int, float]]  #: (epoch, validation error; without a validation split, training error)
    seconds: float  #: a pass over the training set; median of the epochs


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one variant."""

    label: str
    parameters: int  #: of the network; 0: not known
    results: Sequence[Result]
    failed: Sequence[int] = ()  #: seeds whose training diverged
    published: str = ""  #: what others reached, as text


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (n - 1); 0 for one value."""
    mean = sum(values) / len(values)
    spread = sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1)) if len(values) > 1 else 0.0
    return mean, spread


def outcome_table(outcomes: Sequence[Outcome]) -> Table:
    """Errors in percent, mean ± standard deviation over seeds."""
    heads = ["variant", "parameters", "runs", "test error %", "train error %", "s/epoch"]
    published = any(outcome.published for outcome in outcomes)
    rows = []
    for o in outcomes:
        runs = f"{len(o.results)}{f' (+{len(o.failed)} diverged)' if o.failed else ''}"
        test = _percent([r.test for r in o.results])
        train = _percent([r.train for r in o.results])
        seconds = f"{np.median([r.seconds for r in o.results]):.1f}" if o.results else ""
        row = [o.label, f"{o.parameters:,}" if o.parameters else "", runs, test, train, seconds]
        rows.append(row + ([o.published] if published else []))
    return Table(heads + (["published %"] if published else []), rows)


def _percent(errors: Sequence[float]) -> str:
    if not errors:
        return ""
    mean, spread = mean_and_spread([100 * e for e in errors])
    return f"{mean:.2f} ± {spread:.2f}" if len(errors) > 1 else f"{mean:.2f}"


def draw_outcome(outcomes: Sequence[Outcome], title: str, what: str) -> Figure:
    """Left: error by epoch, mean of the seeds, and their range. Right: test error, a dot a seed, a line at the mean."""
    with looks():
        drawn = figure(9.5, max(3.6, 1.4 + 0.42 * len(outcomes)))
        drawn.suptitle(title)
        left, right = drawn.subplots(1, 2)
        for at, outcome in enumerate(outcomes):
            colour = COLOURS[at % len(COLOURS)]
            style = ("-", "--", ":")[at // len(COLOURS) % 3]
            _curve(left, outcome, colour, style)
            errors = [100 * r.test for r in outcome.results]
            right.plot(errors, [at] * len(errors), "o", color=colour, markersize=5, alpha=0.6)
            if errors:
                right.plot([mean_and_spread(errors)[0]] * 2, [at - 0.3, at + 0.3], color=colour, linewidth=2)
        left.set(xlabel="epoch", ylabel="error %", title=f"{what} error: mean, and range over seeds")
        from_zero(left)
        whole_epochs(left)
        if left.has_data():
            left.legend()
        right.set(xlabel="error %", title="test error: a dot a seed, line at the mean")
        right.set_yticks(range(len(outcomes)), [o.label for o in outcomes])
        right.set_ylim(len(outcomes) - 0.5, -0.5)
        return drawn


def _curve(axes: Axes, outcome: Outcome, colour: str, style: str) -> None:
    by_epoch: dict[int, list[float]] = {}
    for result in outcome.results:
        for epoch, error in result.curve:
            by_epoch.setdefault(epoch, []).append(100 * error)
    if not by_epoch:
        return
    epochs = sorted(by_epoch)
    means = [sum(by_epoch[e]) / len(by_epoch[e]) for e in epochs]
    axes.plot(epochs, means, style, color=colour, linewidth=1.6, label=outcome.label, marker="o", markersize=2.5)
    low, high = ([pick(by_epoch[e]) for e in epochs] for pick in (min, max))
    axes.fill_between(epochs, low, high, color=colour, alpha=0.15, linewidth=0)
