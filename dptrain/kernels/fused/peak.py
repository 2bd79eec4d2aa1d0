"""What this core can do at best: the floor beside which `dptrain bench --layers` puts the passes."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache

from dptrain.kernels import aligned, amx
from dptrain.kernels._jit import kernel
from dptrain.kernels.intrinsics.correlate import correlate_rows
from dptrain.kernels.intrinsics.tiled import begin_tiles, convolve_tiles, end_tiles
from dptrain.types import F32, U16

_TIMES = 2000
_TAKES = 7
_COPIED = 1 << 16  #: elements: 256 KB read, 256 KB written, in the second cache


@kernel
def _products(x: F32, w: F32, y: F32, times: int) -> None:
    for _ in range(times):
        correlate_rows(x, 0, 64, w, 0, y, 0, 256, 1, 64, 16, 1, 1, 64, 64, 16, 16)


@cache
def _tiles(TILES: int) -> Callable[[U16, U16, F32, F32, int], None]:
    @kernel
    def run(x: U16, w: U16, y: F32, m: F32, times: int) -> None:
        begin_tiles(TILES)
        for _ in range(times):
            convolve_tiles(x, 0, w, 0, m, y, 0, y, y, TILES, 16, 1, 512, 512, 32, 512, 1, 80, 1280, 16, 0)
        end_tiles(TILES)

    return run


@kernel
def _copy(x: F32, y: F32, times: int) -> None:
    for _ in range(times):
        for i in range(len(x)):
            y[i] = x[i]


def fma_gflops() -> float:
    """GFLOP/s of a register block with everything in the first cache: fused multiply-adds, two each."""
    x, w, y = aligned.zeros((16 * 64,)), aligned.zeros((64 * 16,)), aligned.zeros((256,))
    return 2e-9 * 16 * 64 * 16 * _TIMES / best(lambda: _products(x, w, y, _TIMES))


def tile_gflops() -> float:
    """GFLOP/s of a strip of five tiles, 16 products deep, everything read anew; instructions or emulation."""
    x, w = aligned.zeros_bf16((80 * 32 + 512,)), aligned.zeros_bf16((16 * 512,))
    y, m, times, run = aligned.zeros((1280,)), aligned.zeros((1280,)), _TIMES // 20, _tiles(amx.tiles())
    return 2e-9 * 80 * 16 * 512 * times / best(lambda: run(x, w, y, m, times))


def copy_gbytes() -> float:
    """GB/s, read and written, of a copy in the second cache."""
    x, y = aligned.zeros((_COPIED,)), aligned.zeros((_COPIED,))
    times = _TIMES // 20
    return 8e-9 * _COPIED * times / best(lambda: _copy(x, y, times))


def best(run: Callable[[], None], takes: int = _TAKES) -> float:
    """Seconds of the fastest of some takes, after one that may compile."""
    run()
    seconds = []
    for _ in range(takes):
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)
