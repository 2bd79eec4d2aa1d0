"""The training that the disturbances hit, and the undisturbed run that it is compared with."""

from __future__ import annotations

from pathlib import Path

from simulation import traces
from simulation.processes import Group

#: Embedded images, 30 steps an epoch of 4 shards, about 50 ms of arithmetic a step. Eight filters: fewer are not
#: lowered by the engine, and the engine is what users train with.
FLAGS: list[object] = ["--dataset", "fashion-mini", "--augment", "crop:2,flip", "--filters", 8]
FLAGS += ["--batch-size", 180, "--shard-size", 45, "--log-format", "plain", "--log-interval", 2]
LIMIT = 600.0  #: seconds for the undisturbed run: kernels may have to be compiled


def undisturbed(folder: Path, name: str, *flags: object, limit: float = LIMIT) -> Path:
    """The run directory of an undisturbed run in one process."""
    group = Group(folder)
    try:
        process = group.start("train", *FLAGS, *flags, "--name", name, "--workers", 0, name=name)
        if process.wait(limit):
            raise RuntimeError(f"the undisturbed run failed:\n{group.output(name)}")
    finally:
        group.end()
    return folder / "runs" / name


def other_hashes(run: Path, reference: Path) -> list[int]:
    """The steps after which two runs do not have the same bits."""
    mine, other = traces.hashes(run), traces.hashes(reference)
    return [step for step in sorted(mine.keys() & other.keys()) if mine[step] != other[step]]


def differences(run: Path, reference: Path) -> list[str]:
    """What is not the same in two runs: a hash, a record, or a step that is missing or there twice; [] for nothing."""
    found = [f"step {step} has another hash" for step in other_hashes(run, reference)]
    mine, other = traces.hashes(run), traces.hashes(reference)
    if mine.keys() != other.keys():
        found.append(f"hashed steps {min(mine, default=0)}-{max(mine, default=0)}, not all of {max(other)}")
    if traces.records(run) != traces.records(reference):
        found.append("metrics.jsonl differs")
    return found[:3]
