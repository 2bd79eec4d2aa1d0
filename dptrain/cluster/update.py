"""One optimizer update: from the sums over a batch to new weights. The order of the arithmetic stands here."""

from __future__ import annotations

import numpy as np

from dptrain.cluster.state import TrainingState
from dptrain.model import ShardResult
from dptrain.optim.optimizer import Optimizer


def apply(
    state: TrainingState, optimizer: Optimizer, total: ShardResult, lr: float, take: float, counted: float
) -> None:
    """Divides the sums once, moves the running statistics and the weights, counts the step. Changes `state` in place.

    take: running = (1 - take) * running + take * (sum / samples), as torch.nn.BatchNorm2d with its momentum.
    counted: what the samples count together in the loss (`Job.divisor`).

    Every operation is one float32 rounding an element: gradient / samples, then the optimizer's own order.
    """
    statistics = np.divide(total.statistics, np.float32(total.samples))
    np.multiply(statistics, np.float32(take), out=statistics)
    np.multiply(state.buffers, np.float32(1.0 - take), out=state.buffers)
    np.add(state.buffers, statistics, out=state.buffers)
    optimizer.update(state.params, np.divide(total.gradient, np.float32(counted)), state.optimizer, lr, state.step)
    state.step += 1
    state.epoch_loss += total.loss * (total.samples / counted)  # the mean of the step, so many times
    state.epoch_hits += total.hits
    state.epoch_samples += total.samples
