"""AVX-512, AVX2 and portable code give the same bits: one flag, one test."""

import json
import os
import subprocess
import sys
from functools import cache

import pytest

from dptrain.kernels import isa

PROGRAM = """
import json, sys, numpy as np
from dptrain import engine, nn
from dptrain.settings import ModelConfig
from dptrain.kernels import isa
out = {}
for name, options, size, channels in [
    ("resnet8-f8", {"n": 1, "filters": 8}, 32, 3),  # test_same_bits trains it at every level
    ("resnet8-f16", {"n": 1, "filters": 16}, 32, 3),
    ("resnet8-f8-avgpool", {"n": 1, "filters": 8, "shortcut": "avgpool", "hidden": (12,)}, 12, 1),
    ("plain8-f4", {"n": 1, "filters": 4, "residual": False}, 10, 3),  # layer by layer: as test_isa_layers
]:
    if name not in sys.argv[1:]:
        continue
    image, pixels = (size, size, channels), ([120.0] * channels, [60.0] * channels)
    model = engine.build(ModelConfig(**options), image, 10, *pixels)
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (5, size, size, channels), dtype=np.uint8), rng.integers(0, 10, 5)
    params, buffers = nn.initial_params(model.params, 0), nn.initial_buffers(model.buffers)
    out[name] = [model.gradient(params, x, y).digest(), model.logits(params, buffers, x).tobytes().hex()]
print(json.dumps([isa.level(), out]))
"""


@cache
def digests(level, names):
    environment = os.environ | {"DPTRAIN_ISA": level}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *names], env=environment, capture_output=True, text=True, check=True
    )
    used, out = json.loads(done.stdout)
    assert used == level
    return out


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "names",
    [("resnet8-f8",), pytest.param(("resnet8-f16", "resnet8-f8-avgpool", "plain8-f4"), marks=pytest.mark.slow)],
    ids="-".join,
)
@pytest.mark.parametrize("level", ["avx512", "avx2"])
def test_gradients_and_scores_have_the_bits_of_portable_code(level, names):
    if level not in isa.available():
        pytest.skip(f"this CPU cannot run {level}")
    found = digests(level, names)
    assert set(found) == set(names)
    assert found == digests("portable", names)


def test_a_level_this_cpu_lacks_or_an_unknown_one_is_refused():
    environment = os.environ | {"DPTRAIN_ISA": "mmx"}
    done = subprocess.run(
        [sys.executable, "-c", "import dptrain.nn"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "isa 'mmx' is unknown; allowed: auto, avx512, avx2, portable" in done.stderr
