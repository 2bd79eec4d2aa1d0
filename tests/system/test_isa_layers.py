"""Every layer and criterion of the library gives the same bits with AVX-512, AVX2 and portable code."""

import json
import os
import subprocess
import sys
from functools import cache

import pytest

from dptrain.kernels import isa

PROGRAM = """
import hashlib, json, numpy as np
from dptrain.kernels import isa
from dptrain.model import ParamLayout
from dptrain.nn import initial_params
from dptrain.nn.criterion import MEASURES
from dptrain.nn.gradcheck import EXAMPLES
from dptrain.nn.gradcheck import draws
from dptrain.nn.layer import Run
out = {}
for name, (layer, shape) in EXAMPLES.items():
    layout = ParamLayout(layer.params)
    run = Run(layout.views(initial_params(layout, 1)), {}, training=True)
    y, backward = layer(run, draws(shape).astype(np.float32))
    gradient = np.zeros(layout.size, np.float32)
    dx = backward(draws(y.shape, 1).astype(np.float32), layout.views(gradient))
    out[name] = [hashlib.sha256(np.ascontiguousarray(part).tobytes()).hexdigest() for part in (y, dx, gradient)]
for name, criterion in MEASURES.items():
    losses, gradient = criterion(draws((6, 10)).astype(np.float32), np.arange(6))
    out[name] = hashlib.sha256(losses.tobytes() + gradient.tobytes()).hexdigest()
print(json.dumps([isa.level(), out]))
"""


@cache
def digests(level):
    environment = os.environ | {"DPTRAIN_ISA": level}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    used, out = json.loads(done.stdout)
    assert used == level
    return out


@pytest.mark.timeout(300)
@pytest.mark.parametrize("level", ["avx512", "avx2"])
def test_outputs_and_gradients_have_the_bits_of_portable_code(level):
    if level not in isa.available():
        pytest.skip(f"this CPU cannot run {level}")
    ours, portable = digests(level), digests("portable")
    assert [name for name in ours if ours[name] != portable[name]] == []
