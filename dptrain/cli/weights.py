"""`dptrain reestimate` and `dptrain import` make checkpoints without training; `dptrain export` writes other files."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from dptrain.cli.flags import Recipe, takes_settings, texts, use_deployment
from dptrain.errors import UsageError
from dptrain.recipefile import gather
from dptrain.settings import SETTINGS, build, check

_IDENTITY = tuple(name for name, each in SETTINGS.items() if each.identity)


@takes_settings("data_dir", "isa", "networks")
def reestimate(
    checkpoint: Annotated[Path, Parameter(help="run directory, or .safetensors file")],
    /,
    *,
    out: Annotated[Path | None, Parameter(["--out", "-o"], help="file [RUN/reestimated.safetensors]")] = None,
    over: Annotated[int, Parameter(help="training images to measure over; 0: all")] = 0,
    **flags: str | bool,
) -> int:
    """Measure the running statistics of BatchNorm again, over training images and with fixed weights.

    The checkpoint stays as it is; the result is another one, for eval, predict and explain.
    """
    deployment = use_deployment(flags)
    from dptrain.api import weights  # imports Numba: only now is the ISA known

    usual = (checkpoint if checkpoint.is_dir() else checkpoint.parent) / "reestimated.safetensors"
    written = weights.reestimate(checkpoint, out or usual, over, deployment)
    sys.stdout.write(f"{written.path}: {written.about}\n")
    return 0


@takes_settings(*_IDENTITY, "data_dir", "isa", "networks")
def import_weights(
    weights: Annotated[Path, Parameter(help="PyFunt's model.npy, or PyTorch's .pt, .pth, .th or .safetensors")],
    /,
    *,
    out: Annotated[Path | None, Parameter(["--out", "-o"], help="file [WEIGHTS.safetensors]")] = None,
    recipe: Recipe = "",
    over: Annotated[int, Parameter(help="training images to measure BatchNorm's statistics over; 0: all")] = 0,
    right_relu: Annotated[
        bool, Parameter(negative=(), help="PyFunt: its ReLU was fixed before this network was trained")
    ] = False,
    **flags: str | bool,
) -> int:
    """Make a checkpoint from weights of another program, for eval, predict and explain.

    Flags name the data set, its normalisation and the network. A model.npy describes its network itself.

    The statistics of BatchNorm are measured where the file has none.
    """
    given = gather(recipe, os.environ, texts(flags))
    config = build(given.values)
    check(config)
    os.environ["DPTRAIN_ISA"] = config.deployment.isa
    from dptrain.api import weights as api  # imports Numba: only now is the ISA known

    if weights.suffix == ".npy":
        for name in api.FROM_NPY:
            if given.origin.get(name) == "the command line":
                raise UsageError(f"{SETTINGS[name].flag}: {weights} determines this itself; leave it out")
    written = api.import_weights(
        weights, out or weights.with_suffix(".safetensors"), config, over, right_relu=right_relu
    )
    sys.stdout.write(f"{written.path}: {written.about}\n")
    return 0


@takes_settings("isa", "networks")
def export(
    checkpoint: Annotated[Path, Parameter(help="run directory, or .safetensors file of dptrain")],
    file: Annotated[Path, Parameter(help="FILE.onnx, FILE.pt (PyTorch's state_dict) or FILE.safetensors")],
    /,
    *,
    inputs: Annotated[
        Literal["uint8", "normalised"] | None, Parameter(help="what an ONNX file takes; [uint8]", show_default=False)
    ] = None,
    **flags: str | bool,
) -> int:
    """Write trained weights for other programs, and a model card, FILE.md.

    An ONNX file has the normalisation and the softmax inside. The other files hold the weights, under PyTorch's names.
    """
    deployment = use_deployment(flags)
    from dptrain.api import export as api  # imports Numba: only now is the ISA known

    written = api.export(checkpoint, file, deployment.networks, inputs=inputs or "")
    sys.stdout.write(f"{written.path}: {written.about}; model card {written.card}\n")
    return 0
