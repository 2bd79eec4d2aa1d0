"""Do two runs have the same bits? Compares their state hashes, and their settings where the hashes differ."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from dptrain.errors import RunDirectoryError, UsageError
from dptrain.identity import identity_differences
from dptrain.runs.directory import stored_config
from dptrain.runs.metrics import Record, read


class Comparison(NamedTuple):
    """Of two runs."""

    common: list[int]  #: steps of which both have a hash
    different: int | None  #: the first step whose hashes differ; None: no step
    tensor: str  #: what differs there; "" where nothing does
    settings: list[str]  #: settings that differ, where hashes do
    why_not: str  #: why there is nothing to compare; "" where there is


def compare(run_a: Path, run_b: Path) -> Comparison:
    """Step by step. Raises UsageError where a run has no hashes.jsonl, RunDirectoryError where it is damaged."""
    a, b = _hashes(run_a), _hashes(run_b)
    common = sorted(a.keys() & b.keys())
    why_not = "" if common else _why_not(run_a, a, run_b, b)
    for step in common:
        if a[step]["sha256"] != b[step]["sha256"]:
            return Comparison(common, step, _first_tensor(a[step], b[step]), _settings(run_a, run_b), "")
    return Comparison(common, None, "", [], why_not)


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


def _settings(run_a: Path, run_b: Path) -> list[str]:
    try:
        return identity_differences(stored_config(run_a), stored_config(run_b))
    except RunDirectoryError:  # hashes that were copied without their run can be compared all the same
        return []
