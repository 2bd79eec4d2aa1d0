r"""How fast we are beside PyFunt: images/s of ResNet-20, batch 64 of 3x32x32 float32, one thread each, in turns.

`python tools/beside_pyfunt.py CHECKOUT --python PYTHON` prints a table in Markdown. CHECKOUT holds PyFunt's functional
generation (v0.1b, June 2016: `pyfunt/`) and the `res_net.py` written for it (deep-residual-networks-pyfunt), ported;
PYTHON is one that can import both: 3.11 with NumPy 1, Cython and setuptools. Ported in place, numerics left alone, by

    python -m lib2to3 -w -n pyfunt/layers res_net.py
    sed -i -E 's#(n_in_channels\)|filter_size - 1\)|input_dim\[-1\]) ?/#\1 //#; s# / (stride|pool_[hw])# // \1#;
        s#from im2col_cython#from .im2col_cython#' pyfunt/layers/*.py res_net.py  # whole numbers; relative imports
    CFLAGS=-I$(python -c 'import numpy; print(numpy.get_include())') cythonize -i -2 pyfunt/layers/im2col_cython.pyx

Theirs is `loss(x)` and `loss(x, y)`, which ends with the gradients, and normalises by the batch in both. Ours is a step
of `dptrain bench`: scores with running statistics; shards of 32, their sum and the update with them. The networks
differ in a ReLU's place (theirs: before the addition), not in work. Beside nothing else, or it measures that.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeAlias

import numpy as np

Runner: TypeAlias = Callable[[int], list[float]]  #: so many steps -> the seconds of each
Answer: TypeAlias = Any  #: what JSON holds: versions, or seconds
BATCH = 64
TURNS, STEPS, WARM_UP = 7, 5, 2  #: of each side; of a turn; before the first
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")


def ours() -> list[Runner]:
    """The runners of `dptrain bench`, with PyFunt's shortcut."""
    from dptrain.cli.our_step import make_runner
    from dptrain.configfile import resolve

    config = resolve(flags={"n": "3", "batch_size": str(BATCH), "shortcut": "avgpool"})
    shape = {"image": 32, "channels": 3, "classes": 10}
    return [make_runner(config, shape | {"inference": inference}) for inference in (1, 0)]


def theirs(checkout: str) -> list[Runner]:
    """PyFunt's network over a fixed batch, whose values mean nothing: a BatchNorm comes before the first ReLU."""
    sys.path.insert(0, checkout)
    model: Any = import_module("res_net").ResNet(n_size=3, num_starting_filters=16, dtype=np.float32)
    x = np.sin(np.arange(BATCH * 3 * 32 * 32, dtype=np.float32)).reshape(BATCH, 3, 32, 32)
    return [timed(lambda: model.loss(x)), timed(lambda: model.loss(x, np.arange(BATCH) % 10))]


def timed(step: Callable[[], object]) -> Runner:
    """What runs a step so many times."""

    def once() -> float:
        begin = time.perf_counter()
        step()
        return time.perf_counter() - begin

    return lambda steps: [once() for _ in range(steps)]


def serve(runners: list[Runner]) -> None:
    """Says who it is; then for every line "KIND STEPS" runs them and answers with their seconds, until stdin ends."""
    print(json.dumps(f"Python {sys.version.split()[0]}, NumPy {np.__version__}"), flush=True)
    for line in sys.stdin:
        kind, steps = map(int, line.split())
        print(json.dumps(runners[kind](steps)), flush=True)


def start(python: str, checkout: str, side: str) -> subprocess.Popen[str]:
    """A process that serves one side; it ends with us."""
    command, pipe = [python, __file__, checkout, "--serve", side], subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=os.environ | ONE_THREAD)


def ask(process: subprocess.Popen[str], line: str = "") -> Answer:
    """What it answers."""
    assert process.stdin
    assert process.stdout
    process.stdin.write(line)
    process.stdin.flush()
    return json.loads(process.stdout.readline() or sys.exit(f"{process.args!r} ended"))


def main() -> None:
    """Prints the table; with --serve, is one of the sides."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", help="folder with PyFunt, ported")
    parser.add_argument("--python", default=sys.executable, help="that can import it")
    parser.add_argument("--serve", choices=("dptrain", "PyFunt"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        return serve(ours() if given.serve == "dptrain" else theirs(given.checkout))
    from dptrain.run.manifest import cpu, git_revision

    sides = {"dptrain": start(sys.executable, "", "dptrain"), "PyFunt": start(given.python, given.checkout, "PyFunt")}
    said = [f"{name}: {ask(process)}" for name, process in sides.items()]
    print(f"{cpu()['model']}, {cpu()['usable']} CPUs usable, one thread; commit {git_revision()}; {'; '.join(said)}\n")
    print(f"| ResNet-20, batch {BATCH} | dptrain, images/s | PyFunt, images/s | times |\n|---|---:|---:|---:|")
    for kind, name in enumerate(("forward", "forward and backward")):
        images: dict[str, list[float]] = {side: [] for side in sides}
        for turn in range(1 + TURNS):
            for side in sorted(sides, reverse=bool(turn % 2)):  # each is first every second time
                seconds = ask(sides[side], f"{kind} {STEPS if turn else WARM_UP}\n")
                images[side].append(BATCH / statistics.median(seconds))
        counted = [values[1:] for values in images.values()]
        times = [us / them for us, them in zip(*counted, strict=True)]
        cells = [f"{statistics.median(v):,.1f} ({min(v):,.1f} to {max(v):,.1f})" for v in (*counted, times)]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
