"""Every layer, criterion and update rule that PyTorch has, too: the same numbers, forward and backward, in float64."""

import numpy as np
import pytest

from dptrain.model import ParamLayout, ParamSpec
from dptrain.nn import initial_params
from dptrain.nn.activations import LogSoftMax, MulConstant, ReLU, Sigmoid, SoftMax, Tanh, Threshold
from dptrain.nn.convolution import Convolution, FullConvolution, Linear
from dptrain.nn.criterion import make_criterion
from dptrain.nn.gradcheck import draws
from dptrain.nn.layer import Run
from dptrain.nn.norm import BatchNorm
from dptrain.nn.pooling import (
    AveragePooling,
    GlobalAverage,
    MaxPooling,
    Padding,
    ReflectionPadding,
    ReplicationPadding,
    UpSampling,
)
from dptrain.optim.optimizer import make_optimizer
from dptrain.settings import TrainingConfig

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'dptrain[parity]'")
tnn = torch.nn

IMAGE, ODD, FLAT = (3, 6, 5, 4), (2, 7, 9, 3), (5, 7)
PAIRS = {
    "Convolution": (Convolution("a", 4, 3), lambda: tnn.Conv2d(4, 3, 3, padding=1, bias=False), IMAGE),
    "Convolution, 5x3, stride 2x3, pad 2x0": (
        Convolution("a", 3, 2, (5, 3), (2, 3), (2, 0), bias=True),
        lambda: tnn.Conv2d(3, 2, (5, 3), (2, 3), (2, 0)),
        ODD,
    ),
    "FullConvolution": (
        FullConvolution("a", 4, 3, stride=2, pad=1, extra=1),
        lambda: tnn.ConvTranspose2d(4, 3, 3, 2, 1, 1),
        IMAGE,
    ),
    "FullConvolution, 3x2, stride 3, extra 2x0": (
        FullConvolution("a", 3, 2, (3, 2), 3, extra=(2, 0)),
        lambda: tnn.ConvTranspose2d(3, 2, (3, 2), 3, 0, (2, 0)),
        ODD,
    ),
    "Linear": (Linear("a", 7, 4), lambda: tnn.Linear(7, 4), FLAT),
    "BatchNorm, images": (BatchNorm("a", 4), lambda: tnn.BatchNorm2d(4), IMAGE),
    "BatchNorm, flat": (BatchNorm("a", 7), lambda: tnn.BatchNorm1d(7), FLAT),
    "BatchNorm, not affine": (BatchNorm("a", 4, affine=False), lambda: tnn.BatchNorm2d(4, affine=False), IMAGE),
    "ReLU": (ReLU(), tnn.ReLU, IMAGE),
    "Threshold": (Threshold(0.3, -1.5), lambda: tnn.Threshold(0.3, -1.5), IMAGE),
    "Sigmoid": (Sigmoid(), tnn.Sigmoid, FLAT),
    "Tanh": (Tanh(), tnn.Tanh, FLAT),
    "SoftMax": (SoftMax(), lambda: tnn.Softmax(1), FLAT),
    "SoftMax, channels": (SoftMax(), lambda: tnn.Softmax(1), IMAGE),
    "LogSoftMax": (LogSoftMax(), lambda: tnn.LogSoftmax(1), FLAT),
    "MaxPooling": (MaxPooling(3, 2, 1, ceil=True), lambda: tnn.MaxPool2d(3, 2, 1, ceil_mode=True), ODD),
    "MaxPooling, 2x3": (MaxPooling((2, 3), (1, 2)), lambda: tnn.MaxPool2d((2, 3), (1, 2)), ODD),
    "AveragePooling": (AveragePooling(3, 2, 1, ceil=True), lambda: tnn.AvgPool2d(3, 2, 1, ceil_mode=True), ODD),
    "AveragePooling, without the frame": (
        AveragePooling((3, 2), 2, 1, ceil=True, count_pad=False),
        lambda: tnn.AvgPool2d((3, 2), 2, 1, ceil_mode=True, count_include_pad=False),
        ODD,
    ),
    "GlobalAverage": (GlobalAverage(), lambda: tnn.Sequential(tnn.AdaptiveAvgPool2d(1), tnn.Flatten()), IMAGE),
    "MulConstant": (MulConstant(-2.5), lambda: _Times(-2.5), IMAGE),
    "Padding": (Padding(2, 2, 1, 0.5), lambda: tnn.ConstantPad2d((2, 1, 0, 0), 0.5), IMAGE),
    "ReflectionPadding": (ReflectionPadding(2, 1, 3, 0), lambda: tnn.ReflectionPad2d((2, 1, 3, 0)), IMAGE),
    "ReplicationPadding": (ReplicationPadding(2, 1, 3, 0), lambda: tnn.ReplicationPad2d((2, 1, 3, 0)), IMAGE),
    "UpSampling": (UpSampling(3), lambda: tnn.UpsamplingNearest2d(scale_factor=3), IMAGE),
}


class _Times(tnn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return self.factor * x


def channels_first(x):
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))


def channels_last(x):
    return np.moveaxis(x.detach().numpy(), 1, -1)


@pytest.mark.parametrize("name", PAIRS)
def test_a_layer_gives_pytorchs_numbers_forward_and_backward(name):
    ours, theirs, shape = PAIRS[name]
    layout = ParamLayout(ours.params)
    params = initial_params(layout, 1).astype(np.float64) + 0.1 * draws((layout.size,), 3)
    module, x = theirs().double().train(), draws(shape)
    with torch.no_grad():
        for part, view in layout.views(params).items():
            module.get_parameter(part.removeprefix("a.")).copy_(torch.from_numpy(view))
    run = Run(layout.views(params), {}, training=True)
    y, backward = ours(run, x)
    tx = channels_first(x).requires_grad_()
    ty = module(tx)
    np.testing.assert_allclose(y, channels_last(ty), rtol=1e-9, atol=1e-9)
    dy, gradient = draws(y.shape, 1), np.zeros(layout.size)
    dx = backward(dy, layout.views(gradient))
    ty.backward(channels_first(dy))
    np.testing.assert_allclose(dx, channels_last(tx.grad), rtol=1e-9, atol=1e-9)
    for part, view in layout.views(gradient).items():
        theirs_gradient = module.get_parameter(part.removeprefix("a.")).grad.numpy()
        np.testing.assert_allclose(view, theirs_gradient, rtol=1e-9, atol=1e-9)
    for buffer, value in run.statistics.items():  # torch: 0.9 * first value + 0.1 * of the batch
        first = 1.0 if buffer.endswith("var") else 0.0
        moved = module.get_buffer(buffer.removeprefix("a.")).numpy()
        np.testing.assert_allclose(0.9 * first + 0.1 * value, moved, rtol=1e-9)


WEIGHTS = (0.5, 2.0, 1.0, 3.0)


def hinge(scores, labels):
    """torch.nn.MultiMarginLoss divides by the classes."""
    return tnn.functional.multi_margin_loss(scores, labels, reduction="sum") * scores.shape[1]


def bce(scores, labels):
    wanted = tnn.functional.one_hot(labels, scores.shape[1]).double()
    return tnn.functional.binary_cross_entropy_with_logits(scores, wanted, reduction="sum")


CRITERIA = {
    "cross-entropy": lambda s, y: tnn.functional.cross_entropy(s, y, reduction="sum"),
    "nll": lambda s, y: tnn.functional.nll_loss(s, y, reduction="sum"),
    "hinge": hinge,
    "bce": bce,
}


@pytest.mark.parametrize("name", CRITERIA)
def test_a_criterion_gives_pytorchs_sum_and_gradient(name):
    scores, labels = draws((6, 4)), np.array([0, 3, 1, 2, 2, 0])
    losses, gradient = make_criterion(name, (), 4)(scores, labels)
    ts = torch.from_numpy(scores).requires_grad_()
    total = CRITERIA[name](ts, torch.from_numpy(labels))
    total.backward()
    assert losses.sum() == pytest.approx(total.item(), rel=1e-12)
    np.testing.assert_allclose(gradient, ts.grad.numpy(), rtol=1e-12, atol=1e-12)


def test_class_weights_are_pytorchs():
    scores, labels = draws((6, 4)), np.array([0, 3, 1, 2, 2, 0])
    losses, _ = make_criterion("cross-entropy", WEIGHTS, 4)(scores, labels)
    weights = torch.tensor(WEIGHTS, dtype=torch.float64)
    theirs = tnn.functional.cross_entropy(torch.from_numpy(scores), torch.from_numpy(labels), weights, reduction="none")
    np.testing.assert_allclose(losses, theirs.numpy(), rtol=1e-12)


def test_the_weighted_mean_is_pytorchs_also_where_it_is_summed_shard_by_shard():
    scores, labels = draws((6, 4)), np.array([0, 3, 1, 2, 2, 0])
    criterion = make_criterion("nll", WEIGHTS, 4)
    ts = torch.from_numpy(scores).requires_grad_()
    mean = tnn.functional.nll_loss(ts, torch.from_numpy(labels), torch.tensor(WEIGHTS, dtype=torch.float64))
    mean.backward()
    halves = [criterion(scores[part], labels[part]) for part in (slice(0, 2), slice(2, 6))]
    counted = criterion.count(labels)
    assert sum(losses.sum() for losses, _ in halves) / counted == pytest.approx(mean.item(), rel=1e-12)
    ours = np.concatenate([gradient for _, gradient in halves]) / counted
    np.testing.assert_allclose(ours, ts.grad.numpy(), rtol=1e-12, atol=1e-12)


LAYOUT = ParamLayout((ParamSpec("w", (50,)),))
RULES = {
    "adam": lambda p, c: torch.optim.Adam(p, c.lr, (c.beta1, c.beta2), c.epsilon, c.weight_decay),
    "rmsprop": lambda p, c: torch.optim.RMSprop(p, c.lr, c.rho, c.epsilon, c.weight_decay),
    "adagrad": lambda p, c: torch.optim.Adagrad(p, c.lr, 0, c.weight_decay, 0, c.epsilon),
    "adadelta": lambda p, c: torch.optim.Adadelta(p, c.lr, c.rho, c.epsilon, c.weight_decay),
    "sgd": lambda p, c: torch.optim.SGD(p, c.lr, c.momentum, 0, c.weight_decay, nesterov=c.nesterov),
}


@pytest.mark.parametrize("name", RULES)
def test_fifty_updates_end_at_pytorchs_weights(name):
    training = TrainingConfig(optimizer=name, lr=0.01, weight_decay=0.01, epsilon=1e-6)
    start, gradients = draws((50,)).astype(np.float32), draws((50, 50), 1).astype(np.float32)
    params, optimizer = start.copy(), make_optimizer(training, LAYOUT)
    state = optimizer.init(50)
    theirs = torch.nn.Parameter(torch.from_numpy(start.copy()))
    rule = RULES[name]([theirs], training)
    for step, gradient in enumerate(gradients):
        optimizer.update(params, gradient, state, training.lr, step)
        theirs.grad = torch.from_numpy(gradient.copy())
        rule.step()
    np.testing.assert_allclose(params, theirs.detach().numpy(), rtol=2e-5, atol=2e-6)
