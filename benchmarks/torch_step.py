"""PyTorch in `python benchmarks/beside.py torch`: runs in a Python that has PyTorch and never imports dptrain.

Reads one JSON line with the shape of the network and answers with one that names the versions. Then it answers every
line "N" with the seconds of N steps. The network is the residual network with the shortcuts asked for, in float32 or
under autocast to bfloat16, eager or by torch.compile, channels_last, one thread. A training step is SGD with Nesterov
momentum; BatchNorm uses the statistics of the whole batch. An inference step computes scores with running statistics,
in inference_mode.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeAlias

Tensor: TypeAlias = Any  #: torch is imported by name, when the script runs


def shortcut_flags(shortcut: str) -> dict[str, int]:
    """A shortcut of dptrain.nn.resnet as the entries of a shape that `make_network` reads."""
    return {
        "average": int(shortcut.startswith("avgpool")),
        "at_end": int(shortcut.endswith("-end")),
        "project": {"B": 1, "C": 2}.get(shortcut, 0),
    }


def make_network(shape: dict[str, int]) -> tuple[list[Tensor], Callable[[Tensor], Tensor]]:
    """(weights, scores): the residual network as a function of (n, c, h, w) images.

    Its shortcuts: `average` 2x2 pixels instead of taking every second one; append the zero channels `at_end`; `project`
    by 1x1 convolutions (1: where the shape changes, 2: always).
    """
    torch: Any = import_module("torch")
    functional: Any = torch.nn.functional
    weights: list[Tensor] = []
    last, training = torch.channels_last, not shape["inference"]

    def leaf(tensor: Tensor) -> Tensor:
        weights.append(torch.nn.Parameter(tensor))
        return weights[-1]

    def conv_norm(inputs: int, outputs: int, stride: int, taps: int = 3) -> Callable[[Tensor], Tensor]:
        filters = torch.empty(outputs, inputs, taps, taps)
        torch.nn.init.kaiming_normal_(filters)
        kernel = leaf(filters.to(memory_format=last))
        scale, shift = leaf(torch.ones(outputs)), leaf(torch.zeros(outputs))
        mean, variance = torch.zeros(outputs), torch.ones(outputs)
        return lambda x: functional.batch_norm(
            functional.conv2d(x, kernel, None, stride, taps // 2), mean, variance, scale, shift, training=training
        )

    def shortcut(inputs: int, outputs: int, stride: int) -> Callable[[Tensor], Tensor]:
        if shape["project"] == 2 or (shape["project"] and stride == 2):
            return conv_norm(inputs, outputs, stride, taps=1)
        if stride == 1:
            return lambda x: x
        before = 0 if shape["at_end"] else (outputs - inputs) // 2
        around = (0, 0, 0, 0, before, outputs - inputs - before)

        def halve(x: Tensor) -> Tensor:
            seen = functional.avg_pool2d(x, 2) if shape["average"] else x[:, :, ::2, ::2]
            return functional.pad(seen, around)

        return halve

    def block(inputs: int, outputs: int, stride: int) -> Callable[[Tensor], Tensor]:
        first, second = conv_norm(inputs, outputs, stride), conv_norm(outputs, outputs, 1)
        aside = shortcut(inputs, outputs, stride)
        return lambda x: functional.relu(second(functional.relu(first(x))) + aside(x))

    width = shape["filters"]
    stem = conv_norm(shape["channels"], width, 1)
    blocks = []
    inputs = width
    for stage in range(3):
        for at in range(shape["n"]):
            blocks.append(block(inputs, width << stage, 2 if stage and not at else 1))
            inputs = width << stage
    head = leaf(torch.randn(shape["classes"], inputs) * 0.1)
    bias = leaf(torch.zeros(shape["classes"]))

    def scores(x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bool(shape["bf16"])):
            z = functional.relu(stem(x))
            for forward in blocks:
                z = forward(z)
            return functional.linear(z.mean((2, 3)), head, bias)

    return weights, scores


def make_optimizer(weights: list[Tensor]) -> Tensor:
    """SGD with Nesterov momentum and weight decay, all weights in one call per step."""
    torch: Any = import_module("torch")
    return torch.optim.SGD(weights, lr=0.01, momentum=0.9, weight_decay=5e-4, nesterov=True, foreach=True)


def make_step(shape: dict[str, int]) -> Callable[[], None]:
    """One step over a fixed random batch: forward, backward, update; or, for inference, scores."""
    torch: Any = import_module("torch")
    weights, scores = make_network(shape)
    optimizer = make_optimizer(weights)
    if shape["compile"]:
        scores = torch.compile(scores)
    x = torch.randn(shape["batch"], shape["channels"], shape["image"], shape["image"])
    x = x.to(memory_format=torch.channels_last)
    y = torch.randint(0, shape["classes"], (shape["batch"],))

    def train() -> None:
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(scores(x).float(), y).backward()
        optimizer.step()

    def infer() -> None:
        with torch.inference_mode():
            scores(x)

    return infer if shape["inference"] else train


def answer(value: object) -> None:
    """Writes one JSON line to stdout."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def serve(step: Callable[[], object], versions: dict[str, str]) -> None:
    """Answers with the versions; then, for every line "N" of stdin, runs N steps and answers with their seconds."""
    answer(versions)
    for line in sys.stdin:
        seconds = []
        for _ in range(int(line)):
            begin = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - begin)
        answer(seconds)


def main() -> None:
    """Serves one comparison, until stdin ends."""
    shape = json.loads(sys.stdin.readline())
    torch: Any = import_module("torch")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    serve(make_step(shape), {"torch": torch.__version__, "python": sys.version.split()[0]})


if __name__ == "__main__":
    main()
