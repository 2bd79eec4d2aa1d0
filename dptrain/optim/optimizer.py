"""The update rules: SGD, Adam, Adagrad, Adadelta, RMSprop, and SGDW and AdamW; `Groups`: arrays with learning rates of
their own.

Every operation rounds each element to float32 once, in the order written, so the bits are the same on every machine. An
instance has scratch arrays and is for one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from math import sqrt
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np

from dptrain.errors import UsageError
from dptrain.kernels.descent import descend, sum_of_squares
from dptrain.model import ParamLayout, within
from dptrain.optim.exact import power
from dptrain.settings import TrainingConfig
from dptrain.types import F32


class Optimizer(Protocol):
    """Changes the parameters by a gradient. All state is in the arrays of `state`; the rule itself has none."""

    def init(self, size: int) -> dict[str, F32]:
        """The state before the first update, for `size` parameters: named arrays (size,) float32."""
        ...

    def update(self, params: F32, gradient: F32, state: dict[str, F32], lr: float, step: int) -> None:
        """One update after `step` others; all arrays (layout.size,). Changes `params` and `state` in place."""
        ...


Rule: TypeAlias = Callable[[TrainingConfig, ParamLayout], Optimizer]


class Decay:
    """gradient + weight_decay * params, for all parameters or for those whose spec says `decay`."""

    def __init__(self, training: TrainingConfig, layout: ParamLayout) -> None:
        spares = {"all": False, "weights": True}[training.decay]
        #: (layout.size,), one factor per parameter; (0,) without decay
        self.factors: F32 = np.full(layout.size if training.weight_decay else 0, training.weight_decay, np.float32)
        if spares and training.weight_decay:
            for spec, offset in layout.items():
                if not spec.decay:
                    self.factors[offset : offset + spec.size] = 0.0
        self._sum: F32 = np.zeros(layout.size, np.float32)  #: returned by `added`; the next call overwrites it

    def added(self, params: F32, gradient: F32) -> F32:
        """The sum (layout.size,). The caller may change it; the next call overwrites it."""
        if self.factors.size:
            np.multiply(params, self.factors, out=self._sum)
            np.add(gradient, self._sum, out=self._sum)
        else:
            np.copyto(self._sum, gradient)
        return self._sum


class SGD:
    """g += decay * p;  v = momentum * v + g;  p -= lr * (g + momentum * v if Nesterov else v).

    v is 0 before the first update, so the first v is g, as in PyTorch. Without momentum there is no v. In place of
    `decay` there is the factor that `Decay` has for each parameter.
    """

    def __init__(self, training: TrainingConfig, layout: ParamLayout) -> None:
        self._momentum = np.float32(training.momentum)
        self._nesterov = training.nesterov
        self._decay = Decay(training, layout)
        self._none: F32 = np.zeros(0, np.float32)

    def init(self, size: int) -> dict[str, F32]:
        """{"velocity": zeros}, or nothing without momentum."""
        return {"velocity": np.zeros(size, np.float32)} if self._momentum else {}

    def update(self, params: F32, gradient: F32, state: dict[str, F32], lr: float, step: int) -> None:
        velocity, decay = state.get("velocity", self._none), self._decay.factors
        descend(params, gradient, velocity, decay, np.float32(lr), self._momentum, nesterov=self._nesterov)


def _move(mean: F32, rate: float, value: F32, scratch: F32) -> None:
    """mean = rate * mean + (1 - rate) * value."""
    np.multiply(mean, np.float32(rate), out=mean)
    np.multiply(value, np.float32(1.0 - rate), out=scratch)
    np.add(mean, scratch, out=mean)


def _move_square(mean: F32, rate: float, value: F32, scratch: F32) -> None:
    """mean = rate * mean + (1 - rate) * value * value; the factor is multiplied first, as in PyTorch."""
    np.multiply(mean, np.float32(rate), out=mean)
    np.multiply(value, np.float32(1.0 - rate), out=scratch)
    np.multiply(scratch, value, out=scratch)
    np.add(mean, scratch, out=mean)


class Adam:
    """m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  p -= lr / (1 - b1^t) m / (sqrt(v) / sqrt(1 - b2^t) + epsilon).

    t = step + 1. Source: Kingma & Ba 2015. Without the correction the first step would be
    (1 - b1) / sqrt(1 - b2) = 3.2 times lr.
    """

    def __init__(self, training: TrainingConfig, layout: ParamLayout) -> None:
        self._betas = training.beta1, training.beta2
        self._epsilon = np.float32(training.epsilon)
        self._decay = Decay(training, layout)
        self._scratch: F32 = np.zeros(layout.size, np.float32)

    def init(self, size: int) -> dict[str, F32]:
        """Running means of the gradient and of its squares, 0."""
        return {"mean": np.zeros(size, np.float32), "square": np.zeros(size, np.float32)}

    def update(self, params: F32, gradient: F32, state: dict[str, F32], lr: float, step: int) -> None:
        g, scratch = self._decay.added(params, gradient), self._scratch
        (beta1, beta2), mean, square = self._betas, state["mean"], state["square"]
        _move(mean, beta1, g, scratch)
        _move_square(square, beta2, g, scratch)
        np.sqrt(square, out=scratch)
        np.divide(scratch, np.float32(sqrt(1.0 - power(beta2, step + 1))), out=scratch)
        np.add(scratch, self._epsilon, out=scratch)
        np.divide(mean, scratch, out=scratch)
        np.multiply(scratch, np.float32(lr / (1.0 - power(beta1, step + 1))), out=scratch)
        np.subtract(params, scratch, out=params)


class Adagrad:
    """s += g^2;  p -= lr * g / (sqrt(s) + epsilon). Source: Duchi, Hazan, Singer 2011."""

    def __init__(self, training: TrainingConfig, layout: ParamLayout) -> None:
        self._epsilon = np.float32(training.epsilon)
        self._decay = Decay(training, layout)
        self._scratch: F32 = np.zeros(layout.size, np.float32)

    def init(self, size: int) -> dict[str, F32]:
        """Sum of squares, 0."""
        return {"squares": np.zeros(size, np.float32)}

    def update(self, params: F32, gradient: F32, state: dict[str, F32], lr: float, step: int) -> None:
        g, scratch, squares = self._decay.added(params, gradient), self._scratch, state["squares"]
        np.multiply(g, g, out=scratch)
        np.add(squares, scratch, out=squares)
        np.sqrt(squares, out=scratch)
        np.add(scratch, self._epsilon, out=scratch)
        np.divide(g, scratch, out=scratch)
        np.multiply(scratch, np.float32(lr), out=scratch)
        np.subtract(params, scratch, out=params)


class Adadelta:
    """s = rho s + (1 - rho) g^2;  d = sqrt(u + epsilon) / sqrt(s + epsilon) g;  u = rho u + (1 - rho) d^2;  p -= lr d.

    Source: Zeiler 2012, where lr is 1.
    """

    def __init__(self, training: TrainingConfig, layout: ParamLayout) -> None:
        self._rho, self._epsilon = training.rho, np.float32(training.epsilon)
        self._decay = Decay(training, layout)
        self._delta: F32 = np.zeros(layout.size, np.float32)  #: scratch
        self._scratch: F32 = np.zeros(layout.size, np.float32)

    def init(self, size: int) -> dict[str, F32]:
        """Running means of the squared gradient and of the squared change, 0."""
        return {"square": np.zeros(size, np.float32), "change": np.zeros(size, np.float32)}

    def update(self, params: F32, gradient: F32, state: dict[str, F32], lr: float, step: int) -> None:
        g, delta, scratch = self._decay.added(params, gradient), self._delta, self._scratch
        square, change = state["square"], state["change"]
        _move_square(square, self._rho, g, scratch)
        np.add(change, self._epsilon, out=delta)
        np.sqrt(delta, out=delta)
        np.add(square, self._epsilon, out=scratch)
        np.sqrt(scratch, out=scratch)
        np.divide(delta, scratch, out=delta)
        np.multiply(delta, g, out=delta)
        _move_square(change, self._rho, delta, scratch)
        np.multiply(delta, np.float32(lr), out=delta)
        np.subtract(params, delta, out=params)


class RMSprop:
    """s = rho s + (1 - rho) g^2;  p -= lr * g / (sqrt(s) + epsilon). Source: Tieleman & Hinton 2012."""

    def __init__(self, training: TrainingConfig, layout: ParamLayout) -> None:
        self._rho, self._epsilon = training.rho, np.float32(training.epsilon)
        self._decay = Decay(training, layout)
        self._scratch: F32 = np.zeros(layout.size, np.float32)

    def init(self, size: int) -> dict[str, F32]:
        """Running mean of squares, 0."""
        return {"square": np.zeros(size, np.float32)}

    def update(self, params: F32, gradient: F32, state: dict[str, F32], lr: float, step: int) -> None:
        g, scratch = self._decay.added(params, gradient), self._scratch
        _move_square(state["square"], self._rho, g, scratch)
        np.sqrt(state["square"], out=scratch)
        np.add(scratch, self._epsilon, out=scratch)
        np.divide(g, scratch, out=scratch)
        np.multiply(scratch, np.float32(lr), out=scratch)
        np.subtract(params, scratch, out=params)


class Decoupled:
    """p *= 1 - lr * weight_decay, for the parameters that decay; then `rule` without weight decay.

    With Adam this is AdamW, with SGD it is SGDW: neither momentum nor running means see the decay. Source: Loshchilov &
    Hutter 2019 (arXiv 1711.05101), with the learning rate in the place of their schedule multiplier, as in PyTorch.
    """

    def __init__(self, rule: Rule, training: TrainingConfig, layout: ParamLayout) -> None:
        self._rule = rule(replace(training, weight_decay=0.0), layout)
        self._weight_decay = training.weight_decay
        factors = Decay(training, layout).factors
        #: of the flat vector: the arrays that decay; empty without decay
        self._spans = [slice(at, at + spec.size) for spec, at in layout.items() if factors[at : at + spec.size].any()]

    def init(self, size: int) -> dict[str, F32]:
        """As that of the rule."""
        return self._rule.init(size)

    def update(self, params: F32, gradient: F32, state: dict[str, F32], lr: float, step: int) -> None:
        kept = np.float32(1.0 - lr * self._weight_decay)
        for span in self._spans:
            np.multiply(params[span], kept, out=params[span])
        self._rule.update(params, gradient, state, lr, step)


OPTIMIZERS: dict[str, Rule] = {
    "sgd": SGD,
    "adam": Adam,
    "rmsprop": RMSprop,
    "adagrad": Adagrad,
    "adadelta": Adadelta,
    "sgdw": partial(Decoupled, SGD),
    "adamw": partial(Decoupled, Adam),
}


class _Stretch(NamedTuple):
    """Arrays that lie one after another and have one factor."""

    span: slice  #: of the flat vectors
    factor: float
    rule: Optimizer


class Groups:
    """The update rule of the run, for each stretch of arrays with the learning rate lr * factor. Every rule works value
    by value, so a factor of 1 gives the bits of the rule itself.

    Frozen arrays (factor 0) are in no stretch: neither a gradient nor weight decay moves them, and their state stays 0.
    """

    def __init__(self, training: TrainingConfig, layout: ParamLayout, factors: Sequence[float]) -> None:
        self._stretches: list[_Stretch] = []
        of_factor = groupby(zip(layout.items(), factors, strict=True), key=lambda pair: pair[1])
        for factor, members in of_factor:
            items = [item for item, _ in members]
            begin, end = items[0][1], items[-1][1] + items[-1][0].size
            if factor:
                rule = OPTIMIZERS[training.optimizer](training, ParamLayout(tuple(spec for spec, _ in items)))
                self._stretches.append(_Stretch(slice(begin, end), factor, rule))

    def init(self, size: int) -> dict[str, F32]:
        """As that of the rule."""
        return self._stretches[0].rule.init(size)

    def update(self, params: F32, gradient: F32, state: dict[str, F32], lr: float, step: int) -> None:
        for span, factor, rule in self._stretches:
            own = {kind: flat[span] for kind, flat in state.items()}
            rule.update(params[span], gradient[span], own, lr * factor, step)


class Clipped:
    """Scales a gradient whose Euclidean norm is above `limit` down to it; then `rule`.

    The norm is that of the mean gradient over the whole step, of the arrays that are trained (`spans` of the flat
    vector), before weight decay. The factor is limit / (norm + 1e-6), as in torch.nn.utils.clip_grad_norm_. Source:
    Pascanu, Mikolov, Bengio 2013.
    """

    def __init__(self, rule: Optimizer, limit: float, spans: Sequence[slice], size: int) -> None:
        self._rule, self._limit, self._spans = rule, limit, spans
        self._scaled: F32 = np.zeros(size, np.float32)

    def init(self, size: int) -> dict[str, F32]:
        """As that of the rule: clipping has no state."""
        return self._rule.init(size)

    def update(self, params: F32, gradient: F32, state: dict[str, F32], lr: float, step: int) -> None:
        squares = 0.0
        for span in self._spans:  # not sum(): from Python 3.12 on it rounds differently
            squares += sum_of_squares(gradient[span])
        factor = self._limit / (sqrt(squares) + 1e-6)
        if factor < 1.0:
            gradient = np.multiply(gradient, np.float32(factor), out=self._scaled)
        self._rule.update(params, gradient, state, lr, step)


def rate_factors(training: TrainingConfig, layout: ParamLayout) -> list[float]:
    """The factor of the learning rate of each array, in order; 0: it is frozen. The longest name in `lr_scale` wins.

    Raises UsageError for a name that no array has, and if nothing is left to train.
    """
    scales = dict(entry.split(":") for entry in training.lr_scale)
    if len(scales) < len(training.lr_scale):
        raise UsageError(f"lr_scale = {list(training.lr_scale)}: each name may be given once")
    names = [spec.name for spec in layout.specs]
    trained = [name for name in names if not within(name, training.freeze)]
    for what, given, known in (("freeze", training.freeze, names), ("lr_scale", scales, trained)):
        for prefix in given:
            if not any(within(name, (prefix,)) for name in known):
                frozen = " that is not frozen" if any(within(name, (prefix,)) for name in names) else ""
                layers = ", ".join(dict.fromkeys(name.split(".")[0] for name in names))
                raise UsageError(f"{what}: the network has no array {prefix!r}{frozen}; its layers: {layers}")
    if not trained:
        raise UsageError(f"freeze = {list(training.freeze)}: no array is left to train")
    factors = {name: float(scales.get(within(name, tuple(scales)), 1.0)) for name in trained}
    return [factors.get(name, 0.0) for name in names]


def make_optimizer(training: TrainingConfig, layout: ParamLayout) -> Optimizer:
    """The update rule of a run. The rules of the configuration have checked its name. Raises UsageError, see above."""
    factors, rule = [1.0] * len(layout.specs), OPTIMIZERS[training.optimizer]
    if training.freeze or training.lr_scale:
        factors = rate_factors(training, layout)
        rule = partial(Groups, factors=factors)
    if not training.clip_norm:
        return rule(training, layout)
    spans = [slice(at, at + spec.size) for (spec, at), rate in zip(layout.items(), factors, strict=True) if rate]
    return Clipped(rule(training, layout), training.clip_norm, spans, layout.size)
