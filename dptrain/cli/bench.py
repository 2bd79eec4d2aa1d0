"""`dptrain bench`: the throughput of this machine. benchmarks/beside.py compares it with other programs."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from dptrain.cli.flags import takes_settings, with_defaults
from dptrain.errors import UsageError
from dptrain.recipefile import resolve
from dptrain.runs.manifest import cpu, versions
from dptrain.settings import Config

if TYPE_CHECKING:
    from dptrain.api.bench import Job, Speed

DEFAULTS = {"n": "3", "dataset": "shapes32"}  #: ResNet-20; images of CIFAR's shape that need no download
AUGMENT = "crop:4,flip"  #: augmentation of a whole training, unless --augment names another
WARM_UP = 2  #: steps before the first measured one: they compile and fill caches


@takes_settings(
    "n",
    "filters",
    "shortcut",
    "convolution",
    "precision",
    "batch_size",
    "shard_size",
    "dataset",
    "data_dir",
    "augment",
    "augmenters",
    "isa",
    **DEFAULTS,
)
def bench(  # noqa: PLR0913  # its flags
    *,
    image: Annotated[int, Parameter(help="height and width of the images")] = 32,
    channels: Annotated[int, Parameter(help="channels of the images")] = 3,
    classes: Annotated[int, Parameter(help="outputs of the last layer")] = 10,
    steps: Annotated[int, Parameter(help="measured steps, 5 or more")] = 15,
    inference: Annotated[bool, Parameter(negative=(), help="measure scores instead of training steps")] = False,
    layers: Annotated[
        bool, Parameter(negative=(), help="time every pass of the engine, and print its lower bound")
    ] = False,
    workers: Annotated[str, Parameter(help="measure whole trainings with these numbers of workers: 1,2")] = "",
    json_lines: Annotated[bool, Parameter("--json", negative=(), help="print one JSON object")] = False,
    **flags: str | bool,
) -> int:
    """Measure a training step in one thread: forward, backward, sum of the shards, update. The default is ResNet-20."""
    given = with_defaults(DEFAULTS, flags)
    config = resolve(environ=os.environ, flags=given)
    network = {"image": image, "channels": channels, "classes": classes}
    shape = shape_of(config, network, steps, inference=inference)
    if sum((inference, layers, bool(workers))) > 1:
        raise UsageError("--inference, --layers and --workers are three different measurements: choose one")
    counts = worker_counts(workers, network)
    if "augment" in flags and not counts:
        raise UsageError("--augment has an effect on whole trainings only: add --workers 1")
    with sigterm_as_ctrl_c():
        if counts:
            given = {"augment": AUGMENT} | given | {"isa": config.deployment.isa}
            return _print_jobs(counts, given, steps, json_lines=json_lines)
        if layers:
            return _print_layers(config, shape, steps, json_lines=json_lines)
        return _print_steps(config, shape, steps, json_lines=json_lines)


def shape_of(config: Config, network: dict[str, int], steps: int, *, inference: bool) -> dict[str, int]:
    """What is measured, as numbers: the network (`network`: its image, channels, classes), the batch, the kind of step.

    Chooses the kernels of --isa for this process. Raises UsageError where a number is out of range.
    """
    ranges = {"image": (4, 1024), "channels": (1, 64), "classes": (2, 100_000), "steps": (5, 100_000)}
    for name, value in (network | {"steps": steps}).items():
        low, high = ranges[name]
        if not low <= value <= high:
            raise UsageError(f"--{name} {value}: must be a whole number from {low} to {high}")
    os.environ["DPTRAIN_ISA"] = config.deployment.isa
    size = {"n": config.model.n, "filters": config.model.filters, "batch": config.training.batch_size}
    return size | network | {"inference": int(inference)}


def worker_counts(text: str, network: dict[str, int]) -> list[int]:
    """Numbers of workers, from "1,2"; "" is none. Raises UsageError, also where `network` has another shape of images.

    A whole training takes the shape and the classes from its data set.
    """
    if not text:
        return []
    found = text.split(",")
    if not all(count.isdecimal() and 0 < int(count) <= 1024 for count in found):
        raise UsageError(f"--workers {text}: must be whole numbers from 1 to 1024 with commas, as 1,2")
    if network != {"image": 32, "channels": 3, "classes": 10}:
        raise UsageError("--image, --channels and --classes: with --workers, the --dataset determines them")
    return [int(count) for count in found]


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """SIGTERM unwinds the stack as Ctrl-C does: processes started for the measurement end, their folder is removed."""

    def leave(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def facts(model: dict[str, Any], more: dict[str, str]) -> dict[str, Any]:
    """The conditions of a measurement; `more`: versions of other programs."""
    from dptrain.kernels import isa  # imports Numba

    found = cpu()
    machine = f"{found['model']}, {found['usable']} of {found['count']} CPUs usable, isa {isa.level()}"
    return {"machine": machine, "model": model, "versions": versions() | more, "argv": sys.argv[1:]}


def print_facts(found: dict[str, Any]) -> None:
    """The first three lines of every measurement."""
    print(f"machine  {found['machine']}")
    print(f"versions {', '.join(f'{name} {version}' for name, version in found['versions'].items())}")
    print(f"model    {found['model']['text']}")


def print_speed(side: str, speed: Speed, kind: str) -> None:
    """The line of one program; `kind` says which steps were measured."""
    spread = f"quartiles {speed.low} to {speed.high}, {speed.steps} steps"
    print(f"{side:<10} {speed.median:8.1f} images/s  {kind}, 1 thread, median ({spread})")


def print_jobs(jobs: Sequence[Job]) -> None:
    """One line per program and number of workers, then the coordinator's share of a step."""
    first = {job.side: job.images for job in reversed(jobs)}
    for job in jobs:
        speed = f"{job.images:8.1f} images/s ({job.low} to {job.high})"
        print(f"{job.side:<8} {job.workers:>3} workers {speed}, {job.images / first[job.side]:.2f} times the first")
    for job in jobs:
        if job.coordinator_ms:
            between = (
                f"{job.coordinator_ms:.2f} ms between the last gradient received and the next weights sent, median"
            )
            print(f"share    {job.workers:>3} workers {between}")


def whole_text(flags: dict[str, str], steps: int) -> str:
    """What a whole training is, in one line."""
    return f"whole trainings of {steps} steps: {' '.join(f'{name}={value}' for name, value in flags.items())}"


def _print_steps(config: Config, shape: dict[str, int], steps: int, *, json_lines: bool) -> int:
    from dptrain.api.bench import Speed, describe, make_runner  # imports Numba: only now is the ISA known
    from dptrain.api.compiling import terminal_line, word_about_compiling

    run = make_runner(config, shape)
    with word_about_compiling(terminal_line()):
        run(WARM_UP)
    speed = Speed.of(run(steps), shape["batch"])
    found = facts(describe(config, shape), {})
    if json_lines:
        print(json.dumps(found | {"images_per_s": {"dptrain": speed._asdict()}}))
        return 0
    print_facts(found)
    kind = "inference" if shape["inference"] else "training"
    print_speed("dptrain", speed, f"{kind}, {config.training.precision}")
    return 0


def _print_layers(config: Config, shape: dict[str, int], takes: int, *, json_lines: bool) -> int:
    from dptrain.api.bench import describe, layers  # imports Numba: only now is the ISA known

    lines = layers(config, shape, takes)
    found = facts(describe(config, shape), {})
    if json_lines:
        print(json.dumps(found | {"layers": [line._asdict() for line in lines]}))
        return 0
    print_facts(found)
    print(f"{'pass, per image':<60} {'us':>7} {'floor':>7} {'GFLOP/s':>8} {'GB/s':>6}")
    for line in lines:
        rates = f"{line.floor:7.1f} {line.gflops:8.1f} {line.gbytes:6.1f}" if line.floor else ""
        print(f"{line.name:<60} {line.microseconds:7.1f} {rates}")
    print(f"{'all':<60} {sum(line.microseconds for line in lines):7.1f} {sum(line.floor for line in lines):7.1f}")
    return 0


def _print_jobs(counts: list[int], flags: dict[str, str], steps: int, *, json_lines: bool) -> int:
    from dptrain.api.bench import whole_job  # imports Numba: only now is the ISA known

    jobs = whole_job(counts, flags, steps)
    found = facts({"text": whole_text(flags, steps)}, {})
    if json_lines:
        print(json.dumps(found | {"jobs": [job._asdict() for job in jobs]}))
        return 0
    print_facts(found)
    print_jobs(jobs)
    return 0
