"""`dptrain verify`: do two runs have the same bits? Compares hashes.jsonl; if they differ, the configurations too."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dptrain.errors import ExitCode, RunDirectoryError, UsageError
from dptrain.runs.directory import stored_config
from dptrain.runs.metrics import Record, read
from dptrain.settings import identity_differences

SAME, DIFFERENT, INCOMPARABLE = ExitCode.DONE, ExitCode.FAULT_FOUND, ExitCode.NOTHING_TO_COMPARE


def verify(
    run_a: Annotated[Path, Parameter(help="run directory")],
    run_b: Annotated[Path, Parameter(help="run directory")],
    /,
) -> int:
    """Compare the state hashes of two runs, step by step: exit 0 equal, 1 different, 2 nothing to compare.

    Make them with --hash-every 1.
    """
    a, b = _hashes(run_a), _hashes(run_b)
    common = sorted(a.keys() & b.keys())
    if not common:
        sys.stderr.write(f"dptrain: error: {_why_not(run_a, a, run_b, b)}\n")
        return INCOMPARABLE
    for step in common:
        if a[step]["sha256"] != b[step]["sha256"]:
            print(f"different from step {step} on: {_first_tensor(a[step], b[step])}; {_before(common, step)}")
            sys.stdout.write(_asked_for(run_a, run_b))
            return DIFFERENT
    print(f"identical over {len(common)} common step{'s' if len(common) > 1 else ''} ({common[0]} to {common[-1]})")
    return SAME


def _hashes(run: Path) -> dict[int, Record]:
    path = run / "hashes.jsonl"
    if not path.is_file():
        raise UsageError(f"{run} is no run directory, or has no hashes.jsonl: give a directory below runs/")
    found = {record["step"]: record for record in read(path)}
    if not found and path.stat().st_size and not path.read_bytes().startswith(b"{"):
        raise RunDirectoryError(f"{path} is damaged: it holds no record, not even the beginning of one")
    for step, record in found.items():
        if not isinstance(record.get("sha256"), str) or not isinstance(record.get("tensors"), dict):
            raise RunDirectoryError(f"{path} is damaged: its record of step {step} holds no hash")
    return found


def _why_not(run_a: Path, a: dict[int, Record], run_b: Path, b: dict[int, Record]) -> str:
    for run, hashes in ((run_a, a), (run_b, b)):
        if not hashes:
            return f"{run} holds no state hash: nothing to compare; train with --hash-every 1"
    spans = [f"{run}: {len(h)} from {min(h)} to {max(h)}" for run, h in ((run_a, a), (run_b, b))]
    return f"the runs have no hashed step in common ({'; '.join(spans)}): train both with the same --hash-every"


def _first_tensor(a: Record, b: Record) -> str:
    left, right = a["tensors"], b["tensors"]
    if left.keys() != right.keys():
        return f"tensor {min(left.keys() ^ right.keys())} is in one run only"
    for name, digest in left.items():
        if digest != right[name]:
            return f"first tensor {name} ({digest} and {right[name]})"
    return "no tensor differs, so the step or the order of the tensors does"


def _asked_for(run_a: Path, run_b: Path) -> str:
    """A line about what the runs were told to do differently, or nothing."""
    try:
        differences = identity_differences(stored_config(run_a), stored_config(run_b))
    except RunDirectoryError:  # hashes that were copied without their run can be compared all the same
        return ""
    return f"the configurations differ: {', '.join(differences)}\n" if differences else ""


def _before(common: list[int], step: int) -> str:
    at = common.index(step)
    return f"step {common[at - 1]} was still equal" if at else "it is the first common step"
