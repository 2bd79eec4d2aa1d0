"""How much does a worker that is ten times slower cost? Real processes; it is stopped nine tenths of the time."""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from simulation import traces
from simulation.processes import Group, free_port, hit, until
from simulation.recipe import FLAGS, differences, undisturbed

RUN = ["--epochs", 100_000, "--eval-every", 100_000, "--hash-every", 20]
PERIOD = 0.1  #: seconds of a stop and a go
LIMIT = 300.0  #: seconds for so many steps, or until a worker is admitted
WARM = 20  #: steps after every change that are not counted
MOST = 1.5  #: times the step without it


def slow(folder: Path, fast: int, times: float, steps: int, turns: int) -> dict[str, Any]:
    """`turns` times `steps` steps of `fast` workers, and as many with one more that is slower: the figures."""
    undisturbed(folder, "warm", *RUN, "--max-steps", 1)  # compiles
    bench = _Bench(folder, fast)
    try:
        without, beside = [], []
        for _ in range(turns):
            without += bench.times(steps)
            with bench.slow_worker(times):
                beside += bench.times(steps)
        bench.stop()
    finally:
        bench.group.end()
    reference = undisturbed(folder, "undisturbed", *RUN, "--max-steps", traces.step(bench.directory), limit=3600.0)
    alone, both = statistics.median(without), statistics.median(beside)
    return {
        "fast_workers": fast,
        "times_slower": times,
        "steps": len(beside),
        "median_ms_without": round(1000 * alone, 1),
        "median_ms_with": round(1000 * both, 1),
        "ratio": round(both / alone, 3),
        "mean_ratio": round(statistics.mean(beside) / statistics.mean(without), 3),
        "differences": differences(bench.directory, reference),
    }


class _Bench:
    def __init__(self, folder: Path, fast: int) -> None:
        self.group, self.directory = Group(folder), folder / "runs" / "slow"
        self._address = f"tcp://127.0.0.1:{free_port()}"
        flags = ["--bind", self._address, "--name", "slow"]
        self._coordinator = self.group.start("coordinator", *FLAGS, *RUN, *flags, name="coordinator")
        for number in range(fast):
            self._join(f"fast{number}")

    def _join(self, name: str) -> subprocess.Popen[bytes]:
        process = self.group.start("worker", "--connect", self._address, "--name", name, name=name)
        until(lambda: f"worker {name} admitted" in self._said(), LIMIT, self._said)
        return process

    def _said(self) -> str:
        return self.group.output("coordinator")

    def times(self, steps: int) -> list[float]:
        """Seconds of the next steps, some left out first."""
        first = self._steps() + WARM
        until(lambda: self._steps() >= first + steps, LIMIT, self._said)
        return self._seconds()[first : first + steps]

    def _seconds(self) -> list[float]:
        lines = (self.directory / "metrics.jsonl").read_bytes().split(b"\n")[:-1]
        return [record["time/step_s"] for record in map(json.loads, lines) if record["kind"] == "step"]

    def _steps(self) -> int:
        return len(self._seconds()) if (self.directory / "metrics.jsonl").exists() else 0

    def slow_worker(self, times: float) -> _SlowWorker:
        """One that takes part at full speed first, then gets one part in `times` of it; a context manager."""
        return _SlowWorker(self._join(f"slow{time.monotonic_ns()}"), times)

    def stop(self) -> None:
        """In good order: the hash of the last step is written."""
        self._coordinator.send_signal(signal.SIGTERM)
        self._coordinator.wait(60)


class _SlowWorker:
    def __init__(self, process: subprocess.Popen[bytes], times: float) -> None:
        self._process, self._go = process, PERIOD / times
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._throttle)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._process.kill()
        self._process.wait()

    def _throttle(self) -> None:
        while not self._over.is_set():
            hit(self._process.pid, signal.SIGCONT)
            time.sleep(self._go)
            hit(self._process.pid, signal.SIGSTOP)
            self._over.wait(PERIOD - self._go)
