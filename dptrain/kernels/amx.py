"""Whether this process may use the CPU's matrix tiles (Intel AMX), which bf16 is made for, and what it lacks if not.

Where they are missing, `intrinsics/tile.py` computes the same numbers with ordinary vectors, slower than fp32 would be.
That is done only where an instruction level was asked for by name (`--isa portable`): for tests, and for looking at
what was trained in bf16 elsewhere.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

from dptrain.errors import UsageError
from dptrain.kernels import isa

FEATURES = ("amx_tile", "amx_bf16")  #: as /proc/cpuinfo names them

CHECKED, INSTRUCTIONS, FLUSHING = 0, 1, 2  #: plain ints: kernels close over them

#: Linux keeps the tiles' state (8 KB a thread) only for processes that asked: Documentation/arch/x86/xstate.rst.
_SYS_ARCH_PRCTL, _REQUEST_PERMISSION, _XTILEDATA = 158, 0x1023, 18


@cache
def lacks() -> str:
    """What stands between this process and the tiles; "" where nothing does."""
    missing = [feature for feature in FEATURES if feature not in isa.cpu_flags()]
    if missing:
        return f"the CPU feature{'s' if len(missing) > 1 else ''} {' and '.join(missing)}"
    if isa.level() != "avx512":
        return f"the instruction level avx512 (in use: {isa.level()})"
    if not _permitted():
        return "Linux's permission to use tiles (arch_prctl ARCH_REQ_XCOMP_PERM XTILEDATA; Linux 5.16 or newer)"
    return ""


def tiles() -> int:
    """What kernels make tiles of: the instructions, or one of their emulations (intrinsics/tile.py)."""
    if not lacks():
        return INSTRUCTIONS
    return CHECKED if isa.level() == "portable" else FLUSHING


def bf16_obstacle() -> str:
    """Why bf16 cannot be used here as things are; "" where it can."""
    forced = os.environ.get("DPTRAIN_ISA", "auto") != "auto"
    return "" if forced or not lacks() else lacks()


def require() -> None:
    """Raises UsageError where bf16 cannot be used."""
    if obstacle := bf16_obstacle():
        raise UsageError(
            f"precision bf16 needs {obstacle}, which this machine lacks: use --precision fp32, "
            f"or --isa {isa.level()}, which emulates the tiles (slower than fp32)"
        )


def numerics(precision: str) -> str:
    """The name of the arithmetic of a run in this precision."""
    return isa.NUMERICS if precision == "fp32" else BF16


def spoken() -> str:
    """Every arithmetic this process can compute in, separated by spaces: what a worker says in Hello."""
    return isa.NUMERICS if bf16_obstacle() else f"{isa.NUMERICS} {BF16}"


#: Names the arithmetic of bf16: kernels/tiles/reference.py and the order of products in intrinsics/tiled.py.
BF16 = "bf16-v1"


@cache
def _permitted() -> bool:
    """Asks once for the process; every thread started later has it too."""
    if not sys.platform.startswith("linux"):
        return False
    return bool(ctypes.CDLL(None).syscall(_SYS_ARCH_PRCTL, _REQUEST_PERMISSION, _XTILEDATA) == 0)
