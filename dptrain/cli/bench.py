"""`dptrain bench`: how fast this machine trains, in turns with PyTorch where there is one."""

from __future__ import annotations

import json
import os
import signal
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NamedTuple

from cyclopts import Parameter

from dptrain.cli.flags import takes_config, texts
from dptrain.cli.torch_side import TorchJob, TorchSide, find_python, told
from dptrain.cli.whole_job import whole_job
from dptrain.config import Config
from dptrain.configfile import resolve
from dptrain.data import open_dataset
from dptrain.errors import UsageError
from dptrain.run.manifest import cpu, versions

_ROUNDS = 5  #: turns each side takes: a neighbour on the machine then hits both
_DEFAULTS = {"n": "3", "dataset": "shapes32"}  #: ResNet-20, and images of CIFAR's form that are always there
_TORCHS = "crop:4,flip"  #: what torch_job.py does to its images
_WARM_UP = 2  #: steps that are not counted: compilation, caches
#: CPU features with which PyTorch's autocast to bfloat16 is its fastest mode; without them it is its slowest
_FAST_BF16 = {"avx512_bf16", "amx_bf16"}


class Speed(NamedTuple):
    """Images/s over the steps of one side."""

    median: float
    low: float  #: lower quartile
    high: float
    steps: int


class Ratio(NamedTuple):
    """Ours over theirs, turn by turn."""

    median: float
    low: float
    high: float


@takes_config(
    "n",
    "filters",
    "shortcut",
    "precision",
    "batch_size",
    "shard_size",
    "dataset",
    "data_dir",
    "augment",
    "augmenters",
    "isa",
    **_DEFAULTS,
)
def bench(  # noqa: PLR0913  # its flags
    *,
    image: Annotated[int, Parameter(help="height and width")] = 32,
    channels: Annotated[int, Parameter(help="of the images")] = 3,
    classes: Annotated[int, Parameter(help="of the last layer")] = 10,
    steps: Annotated[int, Parameter(help="measured steps a side, 5 or more")] = 15,
    inference: Annotated[bool, Parameter(negative=(), help="scores instead of training steps")] = False,
    layers: Annotated[bool, Parameter(negative=(), help="every pass of the engine beside its floor")] = False,
    workers: Annotated[str, Parameter(help="whole trainings instead, with so many workers each: 1,2")] = "",
    against: Annotated[str, Parameter(help="torch: PyTorch too, in turns; or the path of a Python that has it")] = "",
    json_lines: Annotated[bool, Parameter("--json", negative=(), help="one JSON object")] = False,
    **flags: str | bool,
) -> int:
    """Measure a training step, in one thread: forward, backward, tree, update. ResNet-20 unless told otherwise."""
    given = _DEFAULTS | texts(flags)
    config = resolve(environ=os.environ, flags=given)
    for name, value, low, high in (
        ("image", image, 4, 1024),
        ("channels", channels, 1, 64),
        ("classes", classes, 2, 100_000),
        ("steps", steps, _ROUNDS, 100_000),
    ):
        if not low <= value <= high:
            raise UsageError(f"--{name} {value}: must be a whole number from {low} to {high}")
    if sum((inference, layers, bool(workers))) > 1:
        raise UsageError("--inference, --layers and --workers are three different measurements: choose one")
    if layers and against:
        raise UsageError("--layers measures passes PyTorch has not: leave --against out")
    if "augment" in flags and not workers:
        raise UsageError("--augment belongs to whole trainings: --workers 1, say")
    os.environ["DPTRAIN_ISA"] = config.deployment.isa
    shape = {
        "n": config.model.n,
        "filters": config.model.filters,
        "channels": channels,
        "classes": classes,
        "image": image,
        "batch": config.training.batch_size,
        "inference": int(inference),
        "bf16": int(config.training.precision == "bf16"),
        **told(config.model.shortcut),
    }
    python = "" if layers else find_python(against)
    with _sigterm_as_ctrl_c():
        if workers:
            counts = _counts(workers)
            if (image, channels, classes) != (32, 3, 10):
                raise UsageError("--image, --channels, --classes: a whole training has those of its --dataset")
            given = {"augment": _TORCHS} | given
            if python:
                _check_comparable(given["augment"], config.training.batch_size, counts)
            return _print_jobs(counts, given, shape, python, steps, json_lines=json_lines)
        if layers:
            return _print_layers(config, shape, steps, json_lines=json_lines)
        return _print_steps(config, shape, python, steps, json_lines=json_lines)


def _check_comparable(augment: str, batch: int, counts: list[int]) -> None:
    if augment != _TORCHS:
        raise UsageError(f"--augment {augment}: PyTorch's side has {_TORCHS}; leave --augment out, or --against")
    if rest := [count for count in counts if batch % count]:
        raise UsageError(f"--workers {rest[0]}: PyTorch's processes share a batch of {batch} equally, or not at all")


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """SIGTERM unwinds as Ctrl-C does: whoever was started for the measurement ends too, and its folder goes."""

    def leave(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _counts(text: str) -> list[int]:
    counts = text.split(",")
    if not all(count.isdecimal() and 0 < int(count) <= 1024 for count in counts):
        raise UsageError(f"--workers {text}: must be whole numbers from 1 to 1024 with commas, as 1,2")
    return [int(count) for count in counts]


def _measure(
    run: Callable[[int], list[float]], others: dict[str, TorchSide], steps: int
) -> tuple[dict[str, list[float]], dict[str, Ratio]]:
    """Seconds of the steps of every side, taken in turns, and the ratios to ours of each turn's medians."""
    from dptrain.api.compiling import terminal_line, word_about_compiling  # imports Numba

    sides = {"dptrain": run} | {name: other.run for name, other in others.items()}
    with word_about_compiling(terminal_line()):
        for side in sides.values():
            side(_WARM_UP)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    ratios: dict[str, list[float]] = {name: [] for name in others}
    for turn in range(_ROUNDS):
        share = steps * (turn + 1) // _ROUNDS - steps * turn // _ROUNDS
        taken = {name: side(share) for name, side in sides.items()}
        for name, values in taken.items():
            seconds[name] += values
        for name, values in ratios.items():
            values.append(statistics.median(taken[name]) / statistics.median(taken["dptrain"]))
    spreads = {name: (statistics.median(v), min(v), max(v)) for name, v in ratios.items()}
    return seconds, {name: Ratio(*(round(value, 3) for value in spread)) for name, spread in spreads.items()}


def _speed(seconds: list[float], batch: int) -> Speed:
    low, median, high = statistics.quantiles([batch / s for s in seconds], n=4)
    return Speed(round(median, 1), round(low, 1), round(high, 1), len(seconds))


def _machine() -> str:
    from dptrain.kernels import isa

    found = cpu()
    return f"{found['model']}, {found['usable']} of {found['count']} CPUs usable, isa {isa.level()}"


def _print_steps(config: Config, shape: dict[str, int], python: str, steps: int, *, json_lines: bool) -> int:
    from dptrain.cli.our_step import describe, make_runner  # imports Numba: only now is the ISA known
    from dptrain.kernels.isa import cpu_flags

    others: dict[str, TorchSide] = {}
    try:
        if python:
            others["torch"] = TorchSide(python, shape)
            if not shape["bf16"] and cpu_flags() & _FAST_BF16:
                others["torch bf16"] = TorchSide(python, shape | {"bf16": 1})
        seconds, ratios = _measure(make_runner(config, shape), others, steps)
    finally:
        for other in others.values():
            other.close()
    speeds = {side: _speed(values, shape["batch"]) for side, values in seconds.items()}
    facts = _facts(describe(config, shape), {"torch": others["torch"].versions["torch"]} if others else {})
    if json_lines:
        images = {side: speed._asdict() for side, speed in speeds.items()}
        print(
            json.dumps(facts | {"images_per_s": images, "ratio": {s: ratio._asdict() for s, ratio in ratios.items()}})
        )
        return 0
    _print_facts(facts)
    kind = "inference" if shape["inference"] else "training"
    for side, speed in speeds.items():
        precision = "bf16" if side.endswith("bf16") else config.training.precision
        spread = f"quartiles {speed.low} to {speed.high}, {speed.steps} steps"
        print(f"{side:<10} {speed.median:8.1f} images/s  {kind}, {precision}, 1 thread, median ({spread})")
    for side, ratio in ratios.items():
        over = f"dptrain over {side}, median of {_ROUNDS} turns ({ratio.low:.2f} to {ratio.high:.2f})"
        print(f"ratio      {ratio.median:8.2f}  {over}")
    if not ratios:
        print("torch      not measured: --against torch does that, or --against PYTHON for one that has PyTorch")
    return 0


def _print_layers(config: Config, shape: dict[str, int], takes: int, *, json_lines: bool) -> int:
    from dptrain.cli.our_step import describe, layers  # imports Numba: only now is the ISA known

    lines = layers(config, shape, takes)
    facts = _facts(describe(config, shape), {})
    if json_lines:
        print(json.dumps(facts | {"layers": [line._asdict() for line in lines]}))
        return 0
    _print_facts(facts)
    print(f"{'pass, an image':<60} {'us':>7} {'floor':>7} {'GFLOP/s':>8} {'GB/s':>6}")
    for line in lines:
        rates = f"{line.floor:7.1f} {line.gflops:8.1f} {line.gbytes:6.1f}" if line.gflops else ""
        print(f"{line.name:<60} {line.microseconds:7.1f} {rates}")
    print(f"{'all':<60} {sum(line.microseconds for line in lines):7.1f} {sum(line.floor for line in lines):7.1f}")
    return 0


def _print_jobs(
    counts: list[int], flags: dict[str, str], shape: dict[str, int], python: str, steps: int, *, json_lines: bool
) -> int:
    config = resolve(environ=os.environ, flags=flags)
    flags |= {"isa": config.deployment.isa}
    dataset = open_dataset(config.data.dataset, config.deployment.data_dir)
    height, width, channels = dataset.image_shape
    images = {"images": len(dataset.train_images), "height": height, "width": width, "channels": channels}
    torch = TorchJob(python, shape | images | {"classes": len(dataset.classes)}) if python else None
    jobs = whole_job(counts, flags, steps, torch)
    text = f"whole trainings of {steps} steps: {' '.join(f'{name}={value}' for name, value in flags.items())}"
    facts = _facts({"text": text}, {"torch": torch.version} if torch else {})
    if json_lines:
        print(json.dumps(facts | {"jobs": [job._asdict() for job in jobs]}))
        return 0
    _print_facts(facts)
    first = {job.side: job.images for job in reversed(jobs)}
    theirs = {job.workers: job.images for job in jobs if job.side == "torch"}
    for job in jobs:
        ratio = f"{job.images / first[job.side]:.2f} x the first"
        if job.side == "dptrain" and job.workers in theirs:
            ratio += f", {job.images / theirs[job.workers]:.2f} x torch's"
        print(f"{job.side:<8} {job.workers:>3} workers {job.images:8.1f} images/s ({job.low} to {job.high}), {ratio}")
    for job in jobs:
        if job.coordinator_ms:
            between = f"{job.coordinator_ms:.2f} ms from the last gradient in to the next weights out, median"
            print(f"share    {job.workers:>3} workers {between}")
    return 0


def _facts(model: dict[str, Any], more: dict[str, str]) -> dict[str, Any]:
    return {"machine": _machine(), "model": model, "versions": versions() | more, "argv": sys.argv[1:]}


def _print_facts(facts: dict[str, Any]) -> None:
    print(f"machine  {facts['machine']}")
    print(f"versions {', '.join(f'{name} {version}' for name, version in facts['versions'].items())}")
    print(f"model    {facts['model']['text']}")
