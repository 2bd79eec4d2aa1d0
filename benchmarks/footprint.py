"""What a run costs before it learns: seconds from the command to the first step, and the memory of a worker.

`python benchmarks/footprint.py` measures ResNet-20 with shards of 32 on the embedded part of Fashion-MNIST, in one
process and with 2 workers: one start with an empty cache of kernels, several with a full one. Arguments are passed on
to `dptrain train`: `python benchmarks/footprint.py --dataset cifar10 --data-dir DIR`. It needs Linux (/proc). Nothing
else should run on the machine meanwhile.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

WARM = 5  #: starts with a full cache
STEPS = 40  #: of the run whose memory is read
IDLE = "import numba; print(open('/proc/self/status').read())"


def command(folder: Path, name: str, workers: int, steps: int) -> list[str]:
    """The command of a run of so many steps."""
    network = ["--n", "3", "--augment", "crop:4,flip", "--validation", "0", *sys.argv[1:]]
    place = ["--workers", str(workers), "--runs", str(folder), "--name", name, "--log-format", "quiet"]
    return [sys.executable, "-m", "dptrain", "train", *network, *place, "--max-steps", str(steps)]


def seconds_to_first_step(folder: Path, name: str, workers: int, cache: Path) -> float:
    """Seconds from the command to its first record of a step."""
    records = folder / name / "metrics.jsonl"
    begin = time.perf_counter()
    with subprocess.Popen(command(folder, name, workers, 1), env=os.environ | {"XDG_CACHE_HOME": str(cache)}) as run:
        while run.poll() is None and not (records.exists() and '"kind": "step"' in records.read_text()):
            time.sleep(0.005)
        taken = time.perf_counter() - begin
        if run.wait():
            sys.exit(f"{name}: exit code {run.returncode}")
    return taken


class Memory(NamedTuple):
    """Resident memory of a process, MB."""

    own: float
    files: float  #: mapped files, data sets too: processes share one copy

    @classmethod
    def of(cls, status: str) -> Memory:
        """From the text of /proc/PID/status."""
        sizes = {line.split()[0]: int(line.split()[1]) / 1e3 for line in status.splitlines() if line.startswith("Rss")}
        return cls(sizes["RssAnon:"] + sizes["RssShmem:"], sizes["RssFile:"])


def workers_memory(folder: Path, cache: Path) -> Memory:
    """The largest memory of a worker in a run of STEPS steps."""
    largest = Memory(0, 0)
    with subprocess.Popen(command(folder, "memory", 2, STEPS), env=os.environ | {"XDG_CACHE_HOME": str(cache)}) as run:
        while run.poll() is None:
            for process in Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split():
                try:
                    command_line = Path(f"/proc/{process}/cmdline").read_text()
                    status = Path(f"/proc/{process}/status").read_text()
                except OSError:  # it has just ended
                    continue
                if "dptrain.workers.gradient" in command_line.split("\0") and "RssAnon:" in status:
                    largest = max(largest, Memory.of(status))
            time.sleep(0.02)
    return largest


def main() -> None:
    """Prints one line per figure."""
    with tempfile.TemporaryDirectory(prefix="dptrain-footprint-") as name:
        folder = Path(name)
        for workers in (0, 2):
            cache = folder / f"cache{workers}"
            cold = seconds_to_first_step(folder, f"cold{workers}", workers, cache)
            warm = [seconds_to_first_step(folder, f"warm{workers}-{i}", workers, cache) for i in range(WARM)]
            times = ", ".join(f"{seconds:.2f}" for seconds in sorted(warm))
            print(f"{workers} workers: {cold:.1f} s to the first step with no compiled kernels; {times} s with them")
        idle = Memory.of(
            subprocess.run([sys.executable, "-c", IDLE], capture_output=True, text=True, check=True).stdout
        )
        worker = workers_memory(folder, folder / "cache2")
        print(f"a worker: {worker.own:.0f} MB and {worker.files:.0f} MB of mapped files, data sets included")
        print(f"`import numba`, idle: {idle.own:.0f} MB and {idle.files:.0f} MB: {worker.own - idle.own:.0f} MB less")


if __name__ == "__main__":
    main()
