r"""PyFunt in `python benchmarks/beside.py pyfunt CHECKOUT --python PYTHON`: runs in PYTHON and never imports dptrain.

CHECKOUT holds the functional generation of PyFunt (v0.1b, June 2016: `pyfunt/`) and the `res_net.py` written for it
(deep-residual-networks-pyfunt), ported to Python 3. PYTHON can import both: 3.11 with NumPy 1, Cython and setuptools.
These commands port a checkout in place and leave its arithmetic alone:

    python -m lib2to3 -w -n pyfunt/layers res_net.py
    sed -i -E 's#(n_in_channels\)|filter_size - 1\)|input_dim\[-1\]) ?/#\1 //#; s# / (stride|pool_[hw])# // \1#;
        s#from im2col_cython#from .im2col_cython#' pyfunt/layers/*.py res_net.py  # integer division; relative imports
    CFLAGS=-I$(python -c 'import numpy; print(numpy.get_include())') cythonize -i -2 pyfunt/layers/im2col_cython.pyx

Inference is PyFunt's `loss(x)`, a training step its `loss(x, y)`, which ends with the gradients; both normalise by the
statistics of the batch. A training step of dptrain is more: shards of 32, the sum of their gradients, the update. The
networks differ in the place of one ReLU (PyFunt: before the addition), not in the amount of arithmetic.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from benchmarks.torch_step import serve


def make_step(shape: dict[str, Any]) -> Callable[[], object]:
    """One step over a fixed batch. The values of the images do not matter: a BatchNorm precedes the first ReLU."""
    numpy: Any = import_module("numpy")
    sys.path.insert(0, shape["checkout"])
    network: Any = import_module("res_net").ResNet
    model = network(n_size=shape["n"], num_starting_filters=shape["filters"], dtype=numpy.float32)
    size = (shape["batch"], shape["channels"], shape["image"], shape["image"])
    x = numpy.sin(numpy.arange(numpy.prod(size), dtype=numpy.float32)).reshape(size)
    y = numpy.arange(shape["batch"]) % shape["classes"]
    return (lambda: model.loss(x)) if shape["inference"] else (lambda: model.loss(x, y))


def main() -> None:
    """Serves one comparison, until stdin ends."""
    step = make_step(json.loads(sys.stdin.readline()))
    numpy: Any = import_module("numpy")
    serve(step, {"python": sys.version.split()[0], "numpy": numpy.__version__})


if __name__ == "__main__":
    main()
