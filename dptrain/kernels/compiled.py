"""How kernels are compiled and chosen: target CPU, compile flags, cache directory, the decorators `kernel` and `twin`.

All code that Numba compiles goes through `kernel`. It never sets `fastmath`: LLVM then neither reorders nor contracts
float arithmetic, so the source determines the bits of a result.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from functools import wraps
from math import prod
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numba
import numba.core.config as numba_config
import numpy as np

from dptrain.errors import UsageError
from dptrain.kernels import isa
from dptrain.types import F32

P = ParamSpec("P")
R = TypeVar("R")

#: LLVM target of each level: (CPU, features). None means the host's own CPU. `generic` is plain x86-64: SSE2 vectors,
#: and fused multiply-add by libm's fmaf.
_TARGETS: dict[str, tuple[str | None, str | None]] = {
    "avx512": (None, None),
    "avx2": ("x86-64-v3", ""),
    "portable": ("generic", ""),
}


if numba_config.DISABLE_JIT:
    raise UsageError("NUMBA_DISABLE_JIT is set, but the kernels must be compiled: unset it")


def sources_digest() -> str:
    """SHA-256 (12 hex digits) over all files of this package: Numba's own cache misses edits in imported files."""
    h = hashlib.sha256()
    root = Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        h.update(path.relative_to(root).as_posix().encode())
        h.update(path.read_bytes())
    return h.hexdigest()[:12]


def _cache_root() -> Path:
    """`$DPTRAIN_CACHE`, else `$XDG_CACHE_HOME`/dptrain, else ~/.cache/dptrain, else a temporary folder of this user."""
    asked = os.environ.get("DPTRAIN_CACHE")
    home = os.environ.get("XDG_CACHE_HOME") or (os.environ.get("HOME", "") and f"{os.environ['HOME']}/.cache")
    for root in [asked, f"{home}/dptrain" if home else None]:
        if root and _writable(Path(root)):
            return Path(root)
    fallback = Path(tempfile.gettempdir()) / f"dptrain-cache-{os.getuid()}"
    fallback.mkdir(mode=0o700, parents=True, exist_ok=True)
    if fallback.stat().st_uid != os.getuid():  # another user's folder: its files would be executed
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
    """The folder with the compiled kernels of this version and CPU."""
    return str(numba_config.CACHE_DIR)


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Decorator: compiles `function` at its first call, releases the GIL inside, caches the result across processes."""
    compiled: Callable[P, R] = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    return compiled


def twin(reference: Callable[P, R]) -> Callable[[Callable[..., Any]], Callable[P, R]]:
    """Decorator for the compiled form of `reference`: float32 arrays run it, float64 arrays run the reference.

    The dtype of the first argument decides. Gradient checks run in float64, training in float32. The result has the
    signature of the reference and raises TypeError for any other dtype.
    """

    def decorate(compiled: Callable[..., Any]) -> Callable[P, R]:
        @wraps(reference)
        def dispatch(*args: Any, **kwargs: Any) -> R:  # noqa: ANN401  # both twins check their own arguments
            dtype = args[0].dtype
            if dtype == np.float32:
                result: R = compiled(*args, **kwargs)
                return result
            if dtype == np.float64:
                return reference(*args, **kwargs)
            raise TypeError(f"{reference.__name__} takes float32 or float64 arrays, not {dtype}")

        return dispatch

    return decorate


_CACHE_LINE = 64  #: bytes; a 64-byte vector load must not straddle two cache lines


def aligned_empty(shape: tuple[int, ...]) -> F32:
    """Uninitialised float32 array of `shape`, C order, first element on a 64-byte boundary."""
    size = 4 * prod(shape)
    raw = np.empty(size + _CACHE_LINE, np.uint8)
    at = -raw.ctypes.data % _CACHE_LINE
    return raw[at : at + size].view(np.float32).reshape(shape)


def aligned_zeros(shape: tuple[int, ...]) -> F32:
    """As `aligned_empty`, filled with zeros."""
    out = aligned_empty(shape)
    out.fill(0)
    return out
