"""Convolutions on matrix tiles: they equal the definition, for every geometry, and they compile to the instructions."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from dptrain.kernels import aligned
from dptrain.kernels._jit import kernel
from dptrain.kernels.conv import reference as conv
from dptrain.kernels.fused import tiled, tileweights
from dptrain.kernels.fused.convolution import even
from dptrain.kernels.intrinsics import strips
from dptrain.kernels.intrinsics.tiled import convolve_tiles
from dptrain.kernels.intrinsics.tilesums import pair_image, sum_tiles, transpose_image
from dptrain.kernels.tiles import narrow, widen

#: images, height, width, channels in, out, stride
SHAPES = [
    (2, 16, 16, 16, 16, 1),
    (2, 8, 8, 32, 64, 1),
    (2, 9, 7, 8, 8, 1),
    (2, 5, 90, 3, 16, 1),
    (3, 14, 14, 16, 32, 2),
    (2, 4, 6, 24, 40, 2),
    (2, 2, 2, 16, 16, 1),  # the last tap reads lines beyond what is transposed
    (1, 6, 62, 8, 8, 2),  # so does a row of them
]


def framed(x):
    n, h, w, c = x.shape
    out = aligned.zeros_bf16((n + 2, even(h) + 2, even(w) + 2, c))
    out[:n, 1 : 1 + h, 1 : 1 + w] = narrow(np.ascontiguousarray(x, np.float32))
    return out


def random(seed, *shape):
    return widen(narrow(np.random.default_rng(seed).normal(size=shape).astype(np.float32)))


def packed(weights):
    k, c = weights.shape[:2]
    out = aligned.zeros_bf16((strips.blocks(k, 16), 3, strips.blocks(3 * c, 32), 16, 16, 2))
    tileweights.pack(weights, out, np.zeros(out.size, np.float32), 0, 0, 1, 3, False)
    return out.reshape(-1)


def relative(a, b):
    return np.abs(a - b).max() / np.abs(b).max()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_outputs_their_rounding_and_their_moments(shape):
    n, h, w, C, K, stride = shape
    P, Q = -(-h // stride), -(-w // stride)
    x, weights = random(1, n, h, w, C), random(2, K, C, 3, 3)
    frame, u = framed(x), packed(weights)
    exact, kept = aligned.zeros((n, even(P), even(Q), K)), aligned.zeros_bf16((n, even(P), even(Q), K))
    norm, total = np.zeros(5 * K, np.float32), np.zeros(2 * K)
    norm[2 * K : 3 * K] = 0.25
    m, sums = aligned.zeros((16 * 256,)), aligned.zeros((64 * strips.blocks(K, 16),))
    AROW = (even(w) + 2) * C
    AIMAGE, YROW, YIMAGE, STEP, DOWN, SPAN = frame[0].size, even(Q) * K, exact[0].size, stride * C, stride * AROW, 3 * C
    AMX, TAPS, NO, YES = 0, 3, 0, 1

    @kernel
    def run(a, u, exact, kept, norm, m, sums, total):
        for i in range(n):
            convolve_tiles(
                a, i * AIMAGE, u, 0, m, exact, i * YIMAGE, norm, sums,
                AMX, K, TAPS, SPAN, AROW, STEP, DOWN, P, Q, YROW, K, NO,
            )  # fmt: skip
            convolve_tiles(
                a, i * AIMAGE, u, 0, m, kept, i * YIMAGE, norm, sums,
                AMX, K, TAPS, SPAN, AROW, STEP, DOWN, P, Q, YROW, K, YES,
            )  # fmt: skip
            tiled._add_moments(sums, total, K)

    run(frame.reshape(-1), u, exact.reshape(-1), kept.reshape(-1), norm, m, sums, total)
    inside, rounded = (np.ascontiguousarray(y[:, :P, :Q]) for y in (exact, kept))
    assert relative(inside, conv.forward(x.astype(np.float64), weights.astype(np.float64), stride, 1)) < 1e-6
    assert np.array_equal(rounded, narrow(inside))
    distance = widen(rounded).astype(np.float64) - 0.25
    assert np.allclose(total[:K], distance.sum((0, 1, 2)), rtol=1e-5, atol=1e-5 * np.abs(distance).sum((0, 1, 2)))
    assert np.allclose(total[K:], (distance**2).sum((0, 1, 2)), rtol=1e-5)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_weight_gradients_whatever_was_in_the_scratch_before(shape):
    n, h, w, C, K, stride = shape
    P, Q = -(-h // stride), -(-w // stride)
    x, dy = random(3, n, h, w, C), random(4, n, P, Q, K)
    a, d = framed(x), framed(dy)
    line = strips.line(C, P, Q, stride)
    TIMAGE, PIMAGE, AIMAGE, DIMAGE = line.inputs, line.gradients(K), a[0].size, d[0].size
    INNER, AMX = (even(Q) + 3) * K, 0
    xt, pairs = np.full(n * TIMAGE + 32, 0x7FC0, np.uint16), np.full(n * PIMAGE, 0x7FC0, np.uint16)  # NaN
    sums = aligned.zeros((strips.blocks(C, 16), strips.blocks(K, 16), 3, 3, 16, 16))

    @kernel
    def run(a, d, xt, pairs, sums):
        for i in range(n):
            transpose_image(a, i * AIMAGE, xt, i * TIMAGE, C, P, Q, stride)
            pair_image(d, i * DIMAGE + INNER, pairs, i * PIMAGE, K, P, Q)
        sum_tiles(xt, pairs, sums, n, AMX, C, K, P, Q, stride)

    run(a.reshape(-1), d.reshape(-1), xt, pairs, sums.reshape(-1))
    dw = np.empty((K, C, 3, 3), np.float32)
    tileweights.unpack(sums, dw)
    exact = conv.weight_gradient(x.astype(np.float64), dy.astype(np.float64), (3, 3), stride, 1)
    assert relative(dw, exact) < 1e-6


@pytest.mark.parametrize("width", range(1, 100, 3))
def test_a_strip_covers_its_rows_and_no_more_tiles_than_there_are(width):
    rows, pitch = 9, width + width % 2 + 2
    cut = strips.strip(width, rows, pitch)
    assert 1 <= cut.rows <= rows
    assert cut.tiles <= max(strips.MOST, strips.blocks(width, 16))
    last = (cut.rows - 1) * cut.pitch + width  # pixels of the tiles, row by row
    assert last <= cut.tiles * 16


#: Compiles, and runs nothing: the target is a CPU with tiles, whatever this one is.
PROGRAM = """
import json, re, tempfile
import numba.core.config as config
from dptrain.kernels import _jit, amx
amx.tiles = lambda: amx.INSTRUCTIONS
config.CPU_NAME, config.CPU_FEATURES = "sapphirerapids", "+amx-tile,+amx-bf16"
config.CACHE_DIR = tempfile.mkdtemp()
from numba import types as t
from dptrain.kernels.fused import tiled
f, d, h, i, n = (t.Array(x, 1, "C") for x in (t.float32, t.float64, t.uint16, t.int64, t.uint8))
n, pixels, table = t.intp, t.Array(t.uint8, 4, "C"), t.Array(t.uint16, 2, "C")
kernels = {
    "stem": (tiled.stem_forward(3, 16, 16, 16), (pixels, table, h, h, h, n, f, d, n, f, f)),
    "stem back": (tiled.stem_backward(3, 16, 16, 16), (pixels, table, h, h, h, f, f, h, n, h, h)),
    "layer": (tiled.forward(16, 32, 16, 16, 2, 0, 0), (n, n, h, f, h, n, h, h, h, n, f, d, n, f, f)),
    "layer back": (tiled.backward(32, 32, 8, 8, 1, 0, 2), (n, n, h, h, f, f, h, h, h, h, h, i, f, d, n, h, f, h, h, f)),
}
found = {}
for name, (kernel, signature) in kernels.items():
    kernel.compile(signature)
    text = "".join(kernel.inspect_asm().values())
    found[name] = sorted(set(re.findall(r"\\t(tdpbf16ps|tileloadd|tilestored|ldtilecfg|tilerelease)\\b", text)))
print(json.dumps(found))
"""


@pytest.mark.timeout(300)
def test_kernels_compile_to_tile_instructions_for_a_cpu_that_has_them():
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    always = ["ldtilecfg", "tdpbf16ps", "tileloadd", "tilerelease", "tilestored"]
    assert found == dict.fromkeys(["stem", "stem back", "layer", "layer back"], always)
