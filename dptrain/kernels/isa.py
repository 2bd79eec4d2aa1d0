"""The instruction sets of this CPU, the level that this process uses, and the name of the arithmetic.

The level changes the speed only: every kernel defines its order of additions, so all levels give the same bits
(tests/system/test_isa.py). `$DPTRAIN_ISA` chooses the level (`--isa` sets it before kernels are imported); "auto" takes
the best one.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from dptrain.errors import UsageError

#: The name of the order and kind of arithmetic in the kernels. Change it when any bit of a result may change.
NUMERICS = "fp32-v2"

LEVELS = ("avx512", "avx2", "portable")

_NEEDS = {
    "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd", "avx2", "fma"},
    "avx2": {"avx2", "fma"},
    "portable": set[str](),
}


@cache
def cpu_flags() -> frozenset[str]:
    """Feature flags of this CPU as Linux names them; empty if /proc/cpuinfo has none."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    for line in text.splitlines():
        if line.startswith("flags"):
            return frozenset(line.split(":", 1)[1].split())
    return frozenset()


def available() -> tuple[str, ...]:
    """The levels that this CPU can run, best first."""
    return tuple(level for level in LEVELS if cpu_flags() >= _NEEDS[level])


@cache
def level() -> str:
    """The level that this process uses. Raises UsageError if `$DPTRAIN_ISA` is unknown or not for this CPU."""
    asked = os.environ.get("DPTRAIN_ISA", "auto")
    if asked == "auto":
        return available()[0]
    if asked not in LEVELS:
        raise UsageError(f"isa {asked!r} is unknown; allowed: auto, {', '.join(LEVELS)}")
    if asked not in available():
        lacks = ", ".join(sorted(_NEEDS[asked] - cpu_flags()))
        raise UsageError(
            f"isa {asked!r} needs CPU features this machine lacks: {lacks}; it runs {', '.join(available())}"
        )
    return asked
