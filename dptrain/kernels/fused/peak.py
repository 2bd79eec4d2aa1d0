"""The limits of this core, which `dptrain bench --layers` prints beside the passes. Not used in a run."""

from __future__ import annotations

import time
from collections.abc import Callable

from dptrain.kernels.codegen.correlate import correlate_rows
from dptrain.kernels.compiled import aligned_zeros, kernel
from dptrain.types import F32

_TIMES = 2000
_REPETITIONS = 7
_COPIED = 1 << 16  #: elements: 256 KB read, 256 KB written, in the second cache


@kernel
def _products(x: F32, w: F32, y: F32, times: int) -> None:
    for _ in range(times):
        correlate_rows(x, 0, 64, w, 0, y, 0, 256, 1, 64, 16, 1, 1, 64, 64, 16, 16)


@kernel
def _copy(x: F32, y: F32, times: int) -> None:
    for _ in range(times):
        for i in range(len(x)):
            y[i] = x[i]


def fma_gflops() -> float:
    """GFLOP/s of a register block with all operands in the first cache; a fused multiply-add counts as two."""
    x, w, y = aligned_zeros((16 * 64,)), aligned_zeros((64 * 16,)), aligned_zeros((256,))
    return 2e-9 * 16 * 64 * 16 * _TIMES / best(lambda: _products(x, w, y, _TIMES))


def copy_gbytes() -> float:
    """GB/s of a copy in the second cache, read plus written."""
    x, y = aligned_zeros((_COPIED,)), aligned_zeros((_COPIED,))
    times = _TIMES // 20
    return 8e-9 * _COPIED * times / best(lambda: _copy(x, y, times))


def best(run: Callable[[], None], repetitions: int = _REPETITIONS, before: Callable[[], None] = lambda: None) -> float:
    """Seconds of the fastest of some repetitions, after one that may compile. `before` precedes each, uncounted."""
    before()
    run()
    seconds = []
    for _ in range(repetitions):
        before()
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)
