"""Reads what a run has left behind: its state hashes, its records, its files, its sockets."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

#: The keys of metrics.jsonl that differ between two runs of one identity. Everything else is the same.
TIMED = {
    *("time/step_s", "time/coordinator_s", "time/epoch_s", "throughput/samples_per_s"),
    *("traffic/sent_bytes", "traffic/received_bytes"),
}


def hashes(run: Path) -> dict[int, str]:
    """Step -> SHA-256 over weights, momentum and statistics; as far as the run has come. A cut last line is skipped."""
    return {record["step"]: record["sha256"] for record in _records(run / "hashes.jsonl")}


def step(run: Path) -> int:
    """The last one applied, 0 before the first."""
    return max(hashes(run), default=0)


def records(run: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without what a clock has said."""
    return [{k: v for k, v in r.items() if k not in TIMED} for r in _records(run / "metrics.jsonl")]


def _records(path: Path) -> list[dict[str, Any]]:
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines]


def unfinished(folder: Path) -> list[str]:
    """Files that were being written when a process died, and sockets."""
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.name.endswith(".tmp") or path.is_socket() or path.is_fifo()
    )


def bound_sockets() -> dict[int, str]:
    """Inode -> name of every Unix socket of this machine that has a name; "@..." where that is no file."""
    words = (line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:])
    return {int(line[6]): line[7] for line in words if len(line) > 7}


def sockets_of(pids: list[int]) -> set[str]:
    """Names of the Unix sockets these processes hold."""
    names, found = bound_sockets(), set()
    for pid in pids:
        inodes = (int(link[8:-1]) for link in _open_files(pid) if link.startswith("socket:["))
        found |= {names[inode] for inode in inodes if inode in names}
    return found


def _open_files(pid: int) -> list[str]:
    """What its descriptors are; one that is closed meanwhile (a checkpoint's) hides none of the others."""
    links = []
    with suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                links.append(link.readlink().name)
    return links
