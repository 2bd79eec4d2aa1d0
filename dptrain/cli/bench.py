"""`dptrain bench`: images/s of a training step, one worker, one thread; in turns with PyTorch, where there is one."""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

from cyclopts import Parameter

from dptrain.cli.flags import takes_config, texts
from dptrain.cli.torch_side import TorchSide, find_python
from dptrain.configfile import resolve
from dptrain.errors import UsageError
from dptrain.run.manifest import cpu, versions

_ROUNDS = 5  #: turns each side takes: a neighbour on the machine then hits both
_WARM_UP = 2  #: steps that are not counted: compilation, caches


class Speed(NamedTuple):
    """Images/s over the steps of one side."""

    median: float
    low: float  #: lower quartile
    high: float
    steps: int


@takes_config("n", "filters", "shortcut", "batch_size", "shard_size", "isa")
def bench(
    *,
    image: Annotated[int, Parameter(help="height and width")] = 32,
    channels: Annotated[int, Parameter(help="of the images")] = 3,
    classes: Annotated[int, Parameter(help="of the last layer")] = 10,
    steps: Annotated[int, Parameter(help="measured training steps a side")] = 15,
    against_torch: Annotated[str, Parameter(help="Python that has PyTorch; default: this one, if it has")] = "",
    json_lines: Annotated[bool, Parameter("--json", negative=(), help="one JSON object")] = False,
    **flags: str | bool,
) -> int:
    """Measure a training step, in one thread: forward, backward, tree, update. ResNet-20 unless told otherwise."""
    config = resolve(environ=os.environ, flags={"n": "3"} | texts(flags))
    for name, value, low, high in (
        ("image", image, 4, 1024),
        ("channels", channels, 1, 64),
        ("classes", classes, 2, 100_000),
        ("steps", steps, _ROUNDS, 100_000),
    ):
        if not low <= value <= high:
            raise UsageError(f"--{name} {value}: must be a whole number from {low} to {high}")
    python = find_python(against_torch)
    os.environ["DPTRAIN_ISA"] = config.deployment.isa
    from dptrain.cli.training_step import describe, make_runner  # imports Numba: only now is the ISA known

    shape = {
        "n": config.model.n,
        "filters": config.model.filters,
        "channels": channels,
        "classes": classes,
        "image": image,
        "batch": config.training.batch_size,
    }
    torch = TorchSide(python, shape) if python else None
    try:
        ours, theirs = _measure(make_runner(config, shape), torch, steps)
    finally:
        if torch:
            torch.close()
    facts = {"machine": _machine(), "model": describe(config, shape), "versions": versions() | _torch_versions(torch)}
    _print(facts, ours, theirs, json_lines=json_lines)
    return 0


def _measure(run: Callable[[int], list[float]], torch: TorchSide | None, steps: int) -> tuple[list[float], list[float]]:
    """Seconds of the steps of both sides, taken in turns."""
    run(_WARM_UP)
    if torch:
        torch.run(_WARM_UP)
    ours: list[float] = []
    theirs: list[float] = []
    for turn in range(_ROUNDS):
        share = steps * (turn + 1) // _ROUNDS - steps * turn // _ROUNDS
        ours += run(share)
        if torch:
            theirs += torch.run(share)
    return ours, theirs


def _speed(seconds: list[float], batch: int) -> Speed:
    low, median, high = statistics.quantiles([batch / s for s in seconds], n=4)
    return Speed(round(median, 1), round(low, 1), round(high, 1), len(seconds))


def _machine() -> str:
    from dptrain.kernels import isa

    found = cpu()
    return f"{found['model']}, {found['usable']} of {found['count']} CPUs usable, isa {isa.level()}"


def _torch_versions(torch: TorchSide | None) -> dict[str, str]:
    return {"torch": torch.versions["torch"]} if torch else {}


def _print(facts: dict[str, Any], ours: list[float], theirs: list[float], *, json_lines: bool) -> None:
    batch = facts["model"]["batch"]
    speeds = {"dptrain": _speed(ours, batch)} | ({"torch": _speed(theirs, batch)} if theirs else {})
    ratio = round(speeds["dptrain"].median / speeds["torch"].median, 3) if theirs else None
    if json_lines:
        images = {side: speed._asdict() for side, speed in speeds.items()}
        print(json.dumps(facts | {"argv": sys.argv[1:], "images_per_s": images, "ratio": ratio}))
        return
    print(f"machine  {facts['machine']}")
    print(f"versions {', '.join(f'{name} {version}' for name, version in facts['versions'].items())}")
    print(f"model    {facts['model']['text']}")
    for side, speed in speeds.items():
        spread = f"quartiles {speed.low} to {speed.high}, {speed.steps} steps"
        print(f"{side:<8} {speed.median:8.1f} images/s  fp32, 1 thread, median ({spread})")
    if ratio is None:
        print("torch    not measured: give --against-torch PYTHON, a Python that has torch")
    else:
        print(f"ratio    {ratio:.2f}")
