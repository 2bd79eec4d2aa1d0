"""The throughput of dptrain beside that of another program, which runs in a Python of its own.

`python benchmarks/beside.py torch` compares training steps (or scores, or whole trainings) with PyTorch, `onnxruntime`
and `openvino` compare scores, `pyfunt CHECKOUT` compares with PyFunt. The programs alternate, because the speed of a
shared machine drifts. Nothing else should run on the machine meanwhile.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script finds only what lies in its own folder

from cyclopts import App, Parameter

from benchmarks.sides import ROUNDS, Ratio, Side, TorchJob, find_python, measure
from benchmarks.torch_step import shortcut_flags
from dptrain.cli import bench
from dptrain.cli.app import guarded
from dptrain.cli.flags import takes_settings, with_defaults
from dptrain.cli.help import Columns
from dptrain.data import open_dataset
from dptrain.errors import UsageError
from dptrain.recipefile import resolve
from dptrain.runs.manifest import git_revision
from dptrain.settings import Config

if TYPE_CHECKING:
    from dptrain.api.bench import Job

PROGRAM = "benchmarks/beside.py"
#: CPU features with which bfloat16 is the fastest mode of the other programs; without them it is their slowest.
_FAST_BF16 = {"avx512_bf16", "amx_bf16"}

#: Programs whose versions on both sides are printed.
_OURS = ("python", "numpy")
#: Engines for ONNX files, by the name of their command.
_ENGINES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}

_Python = Annotated[str, Parameter(help="the Python that can import the other program [this one]")]
_Steps = Annotated[int, Parameter(help="measured steps per program, 5 or more")]
_Inference = Annotated[bool, Parameter(negative=(), help="compare scores instead of training steps")]
_Json = Annotated[bool, Parameter("--json", negative=(), help="print one JSON object")]


@takes_settings(
    "n",
    "filters",
    "shortcut",
    "batch_size",
    "shard_size",
    "dataset",
    "data_dir",
    "augmenters",
    "isa",
    **bench.DEFAULTS,
)
def torch(  # noqa: PLR0913  # its flags
    *,
    python: _Python = "",
    image: Annotated[int, Parameter(help="height and width of the images")] = 32,
    channels: Annotated[int, Parameter(help="channels of the images")] = 3,
    classes: Annotated[int, Parameter(help="outputs of the last layer")] = 10,
    steps: _Steps = 15,
    inference: _Inference = False,
    workers: Annotated[str, Parameter(help="compare whole trainings with these numbers of processes: 1,2")] = "",
    json_lines: _Json = False,
    **flags: str | bool,
) -> int:
    """Compare with PyTorch: channels_last, eager and compiled, float32, and autocast to bfloat16 where the CPU has it.

    The fastest mode of each precision is the yardstick. One thread per program. With --workers: whole trainings with
    augmentation, PyTorch's by DistributedDataParallel over gloo, with one DataLoader process per training process.
    """
    given = with_defaults(bench.DEFAULTS, flags)
    config = resolve(environ=os.environ, flags=given)
    network = {"image": image, "channels": channels, "classes": classes}
    shape = bench.shape_of(config, network, steps, inference=inference)
    if inference and workers:
        raise UsageError("--inference and --workers are two different measurements: choose one")
    counts = bench.worker_counts(workers, network)
    if uneven := [count for count in counts if shape["batch"] % count]:
        raise UsageError(f"--workers {uneven[0]}: PyTorch's processes must divide a batch of {shape['batch']} evenly")
    theirs = shape | {"bf16": 0, "compile": 0} | shortcut_flags(config.model.shortcut)
    found = find_python(python)
    with bench.sigterm_as_ctrl_c():
        if counts:
            given = {"augment": bench.AUGMENT} | given | {"isa": config.deployment.isa}
            return _whole(found, counts, given, theirs, steps, json_lines=json_lines)
        others = {"torch": theirs, "torch compile": theirs | {"compile": 1}}
        if _multiplies_bf16():
            others |= {f"{name} bf16": mode | {"bf16": 1} for name, mode in others.items()}
        return _steps(config, shape, ("torch_step", found), others, steps, json_lines=json_lines)


def runtime(engine: str) -> Callable[..., int]:
    """The command that compares scores with an engine for ONNX files."""

    @takes_settings("n", "filters", "shortcut", "convolution", "batch_size", "isa", **bench.DEFAULTS)
    def command(
        *,
        python: _Python = "",
        image: Annotated[int, Parameter(help="height and width of the images")] = 32,
        channels: Annotated[int, Parameter(help="channels of the images")] = 3,
        classes: Annotated[int, Parameter(help="outputs of the last layer")] = 10,
        steps: _Steps = 15,
        json_lines: _Json = False,
        **flags: str | bool,
    ) -> int:
        given = with_defaults(bench.DEFAULTS | {"batch_size": "128"}, flags)
        config = resolve(environ=os.environ, flags=given | {"shard_size": given["batch_size"]})
        network = {"image": image, "channels": channels, "classes": classes}
        shape = bench.shape_of(config, network, steps, inference=True)
        found = find_python(python)
        with bench.sigterm_as_ctrl_c(), tempfile.TemporaryDirectory(prefix="dptrain-beside-") as folder:
            file = Path(folder) / "model.onnx"
            file.write_bytes(_onnx(config, (image, image, channels), classes))
            theirs: dict[str, int | str] = {**shape, "engine": engine, "file": str(file), "bf16": 0}
            others = {engine: theirs}
            if engine == "openvino" and _multiplies_bf16():
                others[f"{engine} bf16"] = theirs | {"bf16": 1}
            return _steps(config, shape, ("onnx_step", found), others, steps, json_lines=json_lines)

    command.__name__ = engine
    command.__doc__ = f"Compare scores with {_ENGINES[engine]}, which reads our ONNX file. One thread per program."
    return command


def _onnx(config: Config, image: tuple[int, int, int], classes: int) -> bytes:
    """The network with its first weights. The other program gets standardised images; we standardise ours."""
    from dptrain import nn
    from dptrain.interop.onnxfile import write_onnx
    from dptrain.model import ParamLayout

    network = nn.build_network(config.model, nn.ImageShape(*image), classes)
    params, buffers = ParamLayout(network.network.params), ParamLayout(network.network.buffers)
    arrays = params.views(nn.initial_params(params, 0)) | buffers.views(nn.initial_buffers(buffers))
    return write_onnx(network, arrays, None, {})


@takes_settings("n", "filters", "batch_size", "shard_size", "isa", n="3", batch_size="64")
def pyfunt(
    checkout: Annotated[Path, Parameter(help="folder with PyFunt and res_net.py, ported to Python 3")],
    /,
    *,
    python: _Python = "",
    steps: _Steps = 25,
    inference: _Inference = False,
    json_lines: _Json = False,
    **flags: str | bool,
) -> int:
    """Compare with PyFunt. benchmarks/pyfunt_step.py describes how to port a checkout. One thread per program."""
    config = resolve(
        environ=os.environ, flags=with_defaults({"n": "3", "batch_size": "64", "shortcut": "avgpool"}, flags)
    )
    network = {"image": 32, "channels": 3, "classes": 10}
    shape = bench.shape_of(config, network, steps, inference=inference)
    if not (checkout / "res_net.py").is_file():
        raise UsageError(f"{checkout}: has no res_net.py; give the folder that benchmarks/pyfunt_step.py describes")
    found = find_python(python)
    others: dict[str, dict[str, int | str]] = {"PyFunt": {**shape, "checkout": str(checkout.resolve())}}
    with bench.sigterm_as_ctrl_c():
        return _steps(config, shape, ("pyfunt_step", found), others, steps, json_lines=json_lines)


def _multiplies_bf16() -> bool:
    from dptrain.kernels import isa  # imports Numba: only now is the ISA known

    return bool(isa.cpu_flags() & _FAST_BF16)


def _steps(
    config: Config,
    shape: dict[str, int],
    script: tuple[str, str],
    others: Mapping[str, Mapping[str, int | str]],
    steps: int,
    *,
    json_lines: bool,
) -> int:
    """Measures steps; `script`: module and Python of the other program, `others`: its sides and their shapes."""
    from dptrain.api.bench import Speed, describe, make_runner
    from dptrain.api.compiling import terminal_line, word_about_compiling  # imports Numba: only now is the ISA known

    module, python = script
    sides: dict[str, Side] = {}
    missing: dict[str, str] = {}  #: sides that cannot run here, and why
    try:
        for name, theirs in others.items():
            sides[name] = Side(python, module, theirs)
            if theirs.get("compile"):
                try:
                    sides[name].run(1)
                except UsageError as error:  # such as: no C++ compiler
                    missing[name] = str(error)
                    del sides[name]
        ours = make_runner(config, shape)
        with word_about_compiling(terminal_line()):
            ours(1)
        seconds, ratios = measure({"dptrain": ours} | {name: side.run for name, side in sides.items()}, steps)
    finally:
        for side in sides.values():
            side.close()
    speeds = {name: Speed.of(values, shape["batch"]) for name, values in seconds.items()}
    found = bench.facts(describe(config, shape), _other_versions(sides))
    fastest = {_precision(name): name for name in sorted(sides, key=lambda name: speeds[name].median)}
    if json_lines:
        images = {name: speed._asdict() for name, speed in speeds.items()}
        pairs = {name: ratio._asdict() for name, ratio in ratios.items()}
        more = {"images_per_s": images, "ratio": pairs, "fastest": fastest, "not_measured": missing}
        print(json.dumps(found | more))
        return 0
    bench.print_facts(found)
    kind, width = "inference" if shape["inference"] else "training", max(map(len, speeds))
    for name, speed in speeds.items():
        bench.print_speed(f"{name:<{width}}", speed, f"{kind}, {_precision(name)}")
    for name, reason in missing.items():
        print(f"{name:<{width}} not measured: {reason}")
    for name, ratio in ratios.items():
        yardstick = f", their fastest {_precision(name)}" if name in fastest.values() else ""
        _print_ratio(ratio, f"dptrain over {name}{yardstick}", ROUNDS)
    return 0


def _precision(side: str) -> str:
    return "bf16" if side.endswith("bf16") else "fp32"


def _other_versions(sides: Mapping[str, Side]) -> dict[str, str]:
    """The commit of dptrain, and the versions of the other program, which are the same on all its sides."""
    theirs = next(iter(sides.values())).versions
    return {"commit": git_revision() or "unknown"} | {
        f"their {name}" if name in _OURS else name: version for name, version in theirs.items()
    }


def _whole(
    python: str,
    counts: list[int],
    flags: dict[str, str],
    shape: dict[str, int],
    steps: int,
    *,
    json_lines: bool,
) -> int:
    """Measures whole trainings with each of these numbers of processes."""
    from dptrain.api.bench import SKIPPED, whole_job  # imports Numba: only now is the ISA known

    config = resolve(environ=os.environ, flags=flags)
    dataset = open_dataset(config.data.dataset, config.deployment.data_dir)
    height, width, channels = dataset.image_shape
    images = {"images": len(dataset.train_images), "height": height, "width": width, "channels": channels}
    theirs = TorchJob(python, shape | images | {"classes": len(dataset.classes)}, SKIPPED)
    jobs = whole_job(counts, flags, steps, {"torch": theirs.run})
    ratios = _job_ratios(jobs)
    text = bench.whole_text(flags, steps)
    found = bench.facts({"text": text}, {"commit": git_revision() or "unknown", "torch": theirs.version})
    if json_lines:
        pairs = {str(workers): ratio._asdict() for workers, ratio in ratios.items()}
        print(json.dumps(found | {"jobs": [job._asdict() for job in jobs], "ratio": pairs}))
        return 0
    bench.print_facts(found)
    bench.print_jobs(jobs)
    for workers, ratio in ratios.items():
        _print_ratio(ratio, f"dptrain over torch, {workers} workers", len(jobs[0].runs))
    return 0


def _job_ratios(jobs: Sequence[Job]) -> dict[int, Ratio]:
    """Number of workers -> the ratio, turn by turn."""
    runs = {(job.side, job.workers): job.runs for job in jobs}
    return {
        workers: Ratio.of([ours / theirs for ours, theirs in zip(values, runs["torch", workers], strict=True)])
        for (side, workers), values in runs.items()
        if side == "dptrain"
    }


def _print_ratio(ratio: Ratio, pair: str, turns: int) -> None:
    print(f"ratio      {ratio.median:8.2f}  {pair}, median of {turns} turns ({ratio.low:.2f} to {ratio.high:.2f})")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line (default: sys.argv) and returns the exit code."""
    app = App(
        name=PROGRAM,
        help="Compares the throughput of dptrain with that of another program.",
        version_flags=[],
        help_format="plaintext",
        help_formatter=Columns(),
        result_action="return_value",
        suppress_keyboard_interrupt=False,
    )
    app.command(torch)
    app.command(pyfunt)
    for engine in _ENGINES:
        app.command(runtime(engine))
    tokens = sys.argv[1:] if argv is None else argv
    return guarded(lambda: app(tokens, exit_on_error=False, print_error=False), PROGRAM)


if __name__ == "__main__":
    raise SystemExit(main())
