"""What this CPU can do, what the run is allowed to use of it, and the name of the arithmetic.

The level changes speed only: every kernel writes down its order of additions, so all levels give the same bits
(tests/system/test_isa.py). `$DPTRAIN_ISA` (set by `--isa` before kernels are imported) chooses; "auto" takes the best.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from dptrain.errors import UsageError

#: Names the order and kind of arithmetic of the fp32 kernels. Change it when any bit of a result may change.
NUMERICS = "fp32-v2"

LEVELS = ("avx512", "avx2", "portable")

_NEEDS = {
    "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd", "avx2", "fma"},
    "avx2": {"avx2", "fma"},
    "portable": set[str](),
}


@cache
def cpu_flags() -> frozenset[str]:
    """Feature flags of this CPU as Linux names them; empty where /proc/cpuinfo does not say."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    for line in text.splitlines():
        if line.startswith("flags"):
            return frozenset(line.split(":", 1)[1].split())
    return frozenset()


def available() -> tuple[str, ...]:
    """The levels this CPU can run, best first."""
    return tuple(level for level in LEVELS if cpu_flags() >= _NEEDS[level])


@cache
def level() -> str:
    """The level in use in this process. Raises UsageError where `$DPTRAIN_ISA` asks for what the CPU lacks."""
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
