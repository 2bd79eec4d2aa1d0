"""The one door to Numba: target CPU, compile flags, cache directory, the `kernel` decorator.

No fastmath anywhere: LLVM then neither reorders nor contracts float arithmetic, so the source says the bits.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import numba
import numba.core.config as numba_config

from dptrain.kernels import isa

P = ParamSpec("P")
R = TypeVar("R")

#: LLVM target of each level: (cpu, features). None: the host's own. `generic`: plain x86-64 (SSE2, fma by libm's fmaf).
_TARGETS: dict[str, tuple[str | None, str | None]] = {
    "avx512": (None, None),
    "avx2": ("x86-64-v3", ""),
    "portable": ("generic", ""),
}


def sources_digest() -> str:
    """SHA-256 (12 hex digits) over kernels/**: an edit in one file must not hit the cache of another."""
    h = hashlib.sha256()
    root = Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        h.update(path.relative_to(root).as_posix().encode())
        h.update(path.read_bytes())
    return h.hexdigest()[:12]


def _cache_root() -> Path:
    """`$DPTRAIN_CACHE`, else `$XDG_CACHE_HOME`/dptrain, else ~/.cache/dptrain; else a user's temporary one."""
    asked = os.environ.get("DPTRAIN_CACHE")
    home = os.environ.get("XDG_CACHE_HOME") or (os.environ.get("HOME", "") and f"{os.environ['HOME']}/.cache")
    for root in [asked, f"{home}/dptrain" if home else None]:
        if root and _writable(Path(root)):
            return Path(root)
    fallback = Path(tempfile.gettempdir()) / f"dptrain-cache-{os.getuid()}"
    fallback.mkdir(mode=0o700, parents=True, exist_ok=True)
    if fallback.stat().st_uid != os.getuid():  # somebody else's directory: its files would be executed
        return Path(tempfile.mkdtemp(prefix="dptrain-cache-"))
    return fallback


def _writable(path: Path) -> bool:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(path, os.W_OK | os.X_OK)


def _target() -> None:
    cpu, features = _TARGETS[isa.level()]
    numba_config.CPU_NAME = cpu
    numba_config.CPU_FEATURES = features
    flags = hashlib.sha256(" ".join(sorted(isa.cpu_flags())).encode()).hexdigest()[:8]
    numba_config.CACHE_DIR = str(_cache_root() / "numba" / f"{sources_digest()}-{isa.level()}-{flags}")


_target()


def cache_directory() -> str:
    """Where compiled kernels of this version and CPU lie."""
    return str(numba_config.CACHE_DIR)


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compiles at first call; the GIL is released inside; hits a cache across processes."""
    compiled: Callable[P, R] = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    return compiled
