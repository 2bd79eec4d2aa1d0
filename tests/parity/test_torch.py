"""Against PyTorch (extra `parity`): same weights, same images, same numbers to within float32 rounding."""

from pathlib import Path

import numpy as np
import pytest

from dptrain import engine, nn
from dptrain.interop.torchfile import read_torch
from dptrain.model import ParamLayout, ParamSpec
from dptrain.optim.optimizer import make_optimizer, rate_factors
from dptrain.optim.schedule import make_schedule
from dptrain.settings import ModelConfig, TrainingConfig

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'dptrain[parity]'")

MEAN, STD = np.array([123.7, 116.3, 103.5], np.float32), np.array([58.4, 57.1, 57.4], np.float32)
AKAMASTER = Path(__file__).parents[3] / "shared/data/akamaster/resnet20-12fca82f.th"


class Block(torch.nn.Module):
    """Basic block with the option A shortcut."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(outputs)
        self.conv2 = torch.nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = torch.nn.BatchNorm2d(outputs)
        self.stride, self.extra = stride, outputs - inputs

    def forward(self, x):
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        if self.extra:
            x = torch.nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.extra // 2, self.extra // 2))
        return torch.relu(x + y)


class Network(torch.nn.Module):
    """The same network as dptrain.nn.resnet, under the same names."""

    def __init__(self, n):
        super().__init__()
        self.conv1, self.bn1 = torch.nn.Conv2d(3, 16, 3, 1, 1, bias=False), torch.nn.BatchNorm2d(16)
        for stage, (inputs, outputs) in enumerate([(16, 16), (16, 32), (32, 64)]):
            blocks = [Block(inputs if i == 0 else outputs, outputs, 2 if stage and i == 0 else 1) for i in range(n)]
            setattr(self, f"layer{stage + 1}", torch.nn.Sequential(*blocks))
        self.linear = torch.nn.Linear(64, 10)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        return self.linear(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def model(convolution="f4", smoothing=0.0):
    config = ModelConfig(n=3, filters=16, convolution=convolution, label_smoothing=smoothing)
    return engine.build(config, (32, 32, 3), 10, MEAN.tolist(), STD.tolist())


def load(network, views):
    """Our named arrays into a PyTorch network."""
    state = {name: torch.from_numpy(np.array(view)) for name, view in views.items()}
    missing, unexpected = network.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(name.endswith(("num_batches_tracked", "running_mean", "running_var")) for name in missing)
    return network


def as_input(images, dtype):
    pixels, mean, std = (torch.from_numpy(array).to(dtype) for array in (images, MEAN, STD))
    return ((pixels - mean) / std).permute(0, 3, 1, 2)


def shard(seed, n=32):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8), rng.integers(0, 10, n)


def torch_gradient(views, images, labels, dtype):
    network = load(Network(3).to(dtype), views).train()
    logits = network(as_input(images, dtype))
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels), reduction="sum")
    loss.backward()
    gradients = {name: p.grad.numpy().astype(np.float64) for name, p in network.named_parameters()}
    return loss.item(), gradients


def distance(one, exact):
    return np.linalg.norm(one.astype(np.float64) - exact)


def test_loss_and_every_gradient_are_as_near_to_float64_as_pytorchs_are():
    """Distances are pooled over eight shards: among millions of ReLUs, one or two a shard lie so near 0 that float32,
    ours or PyTorch's, puts them on the other side than float64 does. Whose shard that is, is luck, and it moves a whole
    tensor.
    """
    ours = model()
    loss_errors, squares = np.zeros(2), {spec.name: np.zeros(2) for spec in ours.params.specs}
    for seed in range(8):
        params, (images, labels) = nn.initial_params(ours.params, seed), shard(seed)
        views = ours.params.views(params)
        exact_loss, exact = torch_gradient(views, images, labels, torch.float64)
        their_loss, theirs = torch_gradient(views, images, labels, torch.float32)
        result = ours.gradient(params, images, labels)
        got = ours.params.views(result.gradient)
        loss_errors += np.abs([result.loss - exact_loss, their_loss - exact_loss])
        for name, want in exact.items():
            size = np.linalg.norm(want)
            squares[name] += (distance(got[name], want) / size) ** 2, (distance(theirs[name], want) / size) ** 2
    assert loss_errors[0] <= 2 * loss_errors[1]
    far = {name: float(np.sqrt(mine / other)) for name, (mine, other) in squares.items() if mine > 4 * other}
    assert not far, f"distance from float64 over PyTorch's own, by tensor: {far}"


@pytest.mark.parametrize(("convolution", "times"), [("f2", 2), ("f4", 3)])
def test_logits_are_as_near_to_float64_as_pytorchs_are(convolution, times):
    """Measured with F(4x4, 3x3): 2.7. Each of its layers may have 2.5 times the error (test_torch_winograd.py)."""
    ours = model(convolution)
    params, buffers = nn.initial_params(ours.params, 3), nn.initial_buffers(ours.buffers)
    buffers += np.random.default_rng(0).uniform(0, 0.5, buffers.size).astype(np.float32)
    images, _ = shard(3)
    views = ours.params.views(params) | ours.buffers.views(buffers)
    with torch.inference_mode():
        exact = load(Network(3).double(), views).eval()(as_input(images, torch.float64)).numpy()
        theirs = load(Network(3), views).eval()(as_input(images, torch.float32)).numpy()
    assert distance(ours.logits(params, buffers, images), exact) <= times * distance(theirs, exact)


def our_weights(training, steps, smoothing=0.0):
    """Our weights after this many steps on fixed shards."""
    ours = model(smoothing=smoothing)
    params = nn.initial_params(ours.params, 0)
    optimizer = make_optimizer(training, ours.params)
    state = optimizer.init(params.size)
    for step in range(steps):
        images, labels = shard(100 + step)
        gradient = ours.gradient(params, images, labels).gradient / np.float32(len(labels))
        optimizer.update(params, gradient, state, training.lr, step)
    return params


def their_weights(training, steps, dtype, smoothing=0.0):
    """PyTorch's after the same steps."""
    layout = model().params
    network = load(Network(3).to(dtype), layout.views(nn.initial_params(layout, 0))).train()
    factors = dict(zip((s.name for s in layout.specs), rate_factors(training, layout), strict=True))
    for name, array in network.named_parameters():
        array.requires_grad = factors[name] > 0
    groups = [
        {"params": [array], "lr": training.lr * factors[name]}
        for name, array in network.named_parameters()
        if factors[name]
    ]
    rule = torch.optim.AdamW(groups, training.lr, weight_decay=training.weight_decay)
    if training.optimizer == "sgd":
        rule = torch.optim.SGD(
            groups,
            training.lr,
            training.momentum,
            nesterov=training.nesterov,
            weight_decay=training.weight_decay,
        )
    for step in range(steps):
        images, labels = shard(100 + step)
        rule.zero_grad()
        scores = network(as_input(images, dtype))
        loss = torch.nn.functional.cross_entropy(scores, torch.from_numpy(labels), label_smoothing=smoothing)
        loss.backward()
        if training.clip_norm:
            torch.nn.utils.clip_grad_norm_(network.parameters(), training.clip_norm)
        rule.step()
    return np.concatenate([network.get_parameter(s.name).detach().numpy().ravel() for s in layout.specs])


def relative(one, other):
    return np.linalg.norm(one.astype(np.float64) - other) / np.linalg.norm(other)


def test_twenty_steps_of_sgd_end_at_pytorchs_weights():
    training = TrainingConfig(lr=0.01, momentum=0.0, nesterov=False, weight_decay=5e-4)
    assert relative(our_weights(training, 20), their_weights(training, 20, torch.float32)) < 1e-4


def test_twenty_steps_of_adamw_drift_no_further_from_float64_than_pytorchs_do():
    """Adam divides by the size of the gradient, so a gradient that is only rounding moves a weight as any other."""
    training = TrainingConfig(optimizer="adamw", lr=1e-4, weight_decay=0.5, lr_scale=("linear:10",))
    exact = their_weights(training, 20, torch.float64)
    assert relative(our_weights(training, 20), exact) <= 2 * relative(their_weights(training, 20, torch.float32), exact)


def test_twenty_steps_of_adamw_with_the_same_gradients_end_at_pytorchs_weights():
    training = TrainingConfig(optimizer="adamw", lr=0.01, weight_decay=0.5)
    layout = ParamLayout((ParamSpec("weight", (1000,)),))
    rng = np.random.default_rng(0)
    ours, gradients = (rng.standard_normal(shape).astype(np.float32) for shape in (1000, (20, 1000)))
    theirs = torch.from_numpy(ours.copy()).requires_grad_()
    mine, rule = make_optimizer(training, layout), torch.optim.AdamW([theirs], 0.01, weight_decay=0.5)
    state = mine.init(1000)
    for step, gradient in enumerate(gradients):
        mine.update(ours, gradient, state, 0.01, step)
        theirs.grad = torch.from_numpy(gradient)
        rule.step()
    assert relative(ours, theirs.detach().numpy()) < 1e-6


def test_twenty_steps_with_smoothed_labels_end_at_pytorchs_weights():
    training = TrainingConfig(lr=0.01, momentum=0.0, nesterov=False, weight_decay=0.0)
    assert relative(our_weights(training, 20, 0.2), their_weights(training, 20, torch.float32, 0.2)) < 1e-4


@pytest.mark.parametrize("clip_norm", [0.0, 0.5])
def test_twenty_steps_with_frozen_layers_and_rates_of_their_own_end_at_pytorchs_weights(clip_norm):
    """Parameter groups of torch.optim, and requires_grad = False: weight decay does not move frozen arrays either."""
    training = TrainingConfig(
        lr=0.01,
        momentum=0.0,
        nesterov=False,
        weight_decay=5e-4,
        freeze=("conv1", "bn1", "layer1"),
        lr_scale=("linear:10", "layer3.0:0.5"),
        clip_norm=clip_norm,
    )
    ours, theirs = our_weights(training, 20), their_weights(training, 20, torch.float32)
    assert relative(ours, theirs) < 1e-4
    layout = model().params
    frozen = slice(0, next(at for spec, at in layout.items() if spec.name.startswith("layer2")))
    assert ours[frozen].tobytes() == nn.initial_params(layout, 0)[frozen].tobytes()


def test_twenty_steps_with_nesterov_momentum_drift_no_further_from_float64_than_pytorchs_do():
    """Momentum amplifies rounding: PyTorch's own float32 is 1e-3 from its float64 after 20 steps, not 1e-4."""
    training = TrainingConfig(lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)
    exact = their_weights(training, 20, torch.float64)
    assert relative(our_weights(training, 20), exact) <= 2 * relative(their_weights(training, 20, torch.float32), exact)


THEIR_SCHEDULES = {
    "linear": lambda rule, lr: lr.LinearLR(rule, 1.0, end_factor=0.25, total_iters=20),
    "restarts": lambda rule, lr: lr.CosineAnnealingWarmRestarts(rule, T_0=6, T_mult=2, eta_min=0.5 * 0.25),
    "polynomial": lambda rule, lr: lr.PolynomialLR(rule, total_iters=20, power=3),  # it has no final rate
    "triangular": lambda rule, lr: lr.OneCycleLR(  # its first step is number 1 of 21, and its last one has the end rate
        rule,
        0.5,
        21,
        pct_start=6 / 21,
        anneal_strategy="linear",
        cycle_momentum=False,
        div_factor=5,
        final_div_factor=0.8,
    ),
}


@pytest.mark.parametrize("name", THEIR_SCHEDULES)
def test_twenty_learning_rates_of_a_schedule_are_pytorchs(name):
    final = 0.0 if name == "polynomial" else 0.25
    training = TrainingConfig(
        lr=0.5, warmup=0.0, schedule=name, final=final, exponent=3, period=3, stretch=2, initial=0.2, rise=0.25
    )
    ours = make_schedule(training, 2, 20)
    rule = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.5)
    theirs, rates = THEIR_SCHEDULES[name](rule, torch.optim.lr_scheduler), []
    for _ in range(20):
        rates.append(rule.param_groups[0]["lr"])
        rule.step()
        theirs.step()
    assert [ours(step) for step in range(20)] == pytest.approx(rates, rel=1e-9)


@pytest.mark.skipif(not AKAMASTER.exists(), reason="the pretrained weights lie in ../shared/data, which is not here")
def test_pretrained_weights_read_without_torch_score_as_in_torch():
    ours = model()
    arrays = read_torch(AKAMASTER)
    params = np.concatenate([arrays[s.name].ravel() for s in ours.params.specs])
    buffers = np.concatenate([arrays[s.name].ravel() for s in ours.buffers.specs])
    images, _ = shard(0, n=100)
    raw = torch.load(AKAMASTER, map_location="cpu", weights_only=True)["state_dict"]
    theirs = Network(3).eval()
    theirs.load_state_dict({k.removeprefix("module."): v for k, v in raw.items()}, strict=False)
    with torch.inference_mode():
        want = theirs(as_input(images, torch.float32)).numpy()
    assert np.abs(ours.logits(params, buffers, images) - want).max() < 1e-4
