"""Fuzzes a reader with mutations of sound files, and keeps those that it does not answer as documented.

A finding is: any exception but the documented one, or that one in more than one line; memory that grows by more than
`GROWTH`, or an answer to not getting more than `ROOM`; more than `SLOW` seconds of computing for one file. A file that
kills the process is left as `current`.
"""

from __future__ import annotations

import ctypes
import gc
import random
import resource
import signal
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from simulation.mutations import raw
from simulation.targets import Target

GROWTH = 64 << 20  #: bytes of resident memory
LOSS = 2 << 10  #: beside it, a file: CPython's unpickler loses itself in one of twenty unsound pickles, 1 KB a file
SLOW = 1.0  #: seconds of this process; a stopped process takes none
ROOM = 2 << 30  #: bytes of address space beyond the present ones; a reader that asks for more gets MemoryError
HANG = 10  #: such seconds after which a file is given up
MOST_KINDS = 20  #: of findings that are kept: more of them would say nothing new


class _Hanging(BaseException):
    """Raised inside the reader, which may catch every Exception."""


@dataclass
class Found:
    """What came of it."""

    executions: int = 0
    read: int = 0  #: files that were taken for sound
    kinds: dict[str, Path] = field(default_factory=dict)  #: what is wrong -> the first file that shows it
    grown: int = 0  #: bytes, since the first thousand


def fuzz(target: Target, folder: Path, seed: int, seconds: float = 1e9, executions: int = 10**12) -> Found:
    """Until one of the limits is reached. One seed gives the same files again."""
    found, samples = Found(), target.samples()
    for content, _ in samples:
        (folder / "current").write_bytes(content)
        target.read(folder / "current")  # must be sound, or nothing of this means anything
    _forget_peak()
    end, base, most = time.monotonic() + seconds, 0, _peak()
    previous = signal.signal(signal.SIGVTALRM, _give_up)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + ROOM, limits[1]))
    try:
        while found.executions < executions and time.monotonic() < end and len(found.kinds) < MOST_KINDS:
            dice = random.Random(f"{seed} {found.executions}")
            content, mutation = dice.choice(samples)
            (folder / "current").write_bytes((mutation if dice.random() < 0.9 else raw)(dice, content))
            kind = _execute(target, folder / "current", found)
            if found.executions == 1_000:
                base = _peak()
            if _peak() > most + GROWTH + LOSS * found.executions:
                kind = f"memory grew by {(_peak() - most) >> 20} MiB; {kind}"
                most = _peak()
            if kind and kind not in found.kinds:
                kept = folder / f"finding-{len(found.kinds)}"
                (folder / "current").rename(kept)
                found.kinds[kind] = kept
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, previous)
        resource.setrlimit(resource.RLIMIT_AS, limits)
    found.grown = _peak() - base if base else 0
    (folder / "current").unlink(missing_ok=True)
    return found


def _execute(target: Target, path: Path, found: Found) -> str:
    """Reads one file; what is wrong with the answer, "" for nothing."""
    found.executions += 1
    begin = time.process_time()
    signal.setitimer(signal.ITIMER_VIRTUAL, HANG)
    try:
        target.read(path)
        found.read += 1
    except target.documented as error:
        text = str(error)
        if _ran_out_of_memory(error):
            return f"asks for more than {ROOM >> 30} GiB: {_where(error)}"
        if "\n" in text or not text:
            return f"a message that is not one line: {_where(error)}"
    except _Hanging as error:
        return f"hangs: {_where(error)}"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return f"{type(error).__name__}: {_where(error)}"
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    seconds = time.process_time() - begin
    return f"slow: {seconds:.0f} s" if seconds > SLOW else ""


def _ran_out_of_memory(error: BaseException | None) -> bool:
    """Whether that is what the reader has answered to."""
    return error is not None and (isinstance(error, MemoryError) or _ran_out_of_memory(error.__cause__))


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _where(error: BaseException) -> str:
    """The innermost line of Python, which identifies a bug."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"


def _give_up(_number: int, _frame: FrameType | None) -> None:
    raise _Hanging


def _peak() -> int:
    """The most resident bytes since `_forget_peak`; ru_maxrss would be that of whatever this process did before."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:", 1)[1].split(maxsplit=1)[0]) * 1024


def _forget_peak() -> None:
    """Gives free memory back first: what earlier work of the process left over would hide a growth."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
