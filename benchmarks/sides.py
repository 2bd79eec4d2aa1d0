"""The other programs of a comparison: processes of another Python that compute only while we wait for their answer."""

from __future__ import annotations

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from dptrain.cli.bench import WARM_UP
from dptrain.errors import UsageError

Reply: TypeAlias = Any  #: what JSON holds: versions, or seconds
Runner: TypeAlias = Callable[[int], list[float]]  #: so many steps -> the seconds of each

ROUNDS = 5  #: turns of each program: what slows the machine down for a while then slows every program
_ROOT = Path(__file__).resolve().parents[1]
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class Ratio(NamedTuple):
    """Throughput of dptrain divided by that of another program, turn by turn."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, ratios: list[float]) -> Ratio:
        """From the ratio of each turn."""
        return cls(*(round(f(ratios), 3) for f in (statistics.median, min, max)))


def find_python(named: str) -> str:
    """Absolute path of the Python --python names; "" is the one that runs us. Raises UsageError if there is none."""
    found = shutil.which(named or sys.executable)
    if found is None:
        raise UsageError(
            f"--python {named}: no such program; give the path of a Python that can import the other program"
        )
    return os.path.abspath(found)


class Side:
    """A running `benchmarks.MODULE` in another Python; `close` ends it."""

    def __init__(self, python: str, module: str, shape: Mapping[str, int | str]) -> None:
        self._process = subprocess.Popen(
            [python, "-m", f"benchmarks.{module}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=_ROOT,
            env=os.environ | _ONE_THREAD,
        )
        self._python = python
        try:
            self.versions: dict[str, str] = self._ask(json.dumps(shape))
        except BaseException:
            self.close()
            raise

    def run(self, steps: int) -> list[float]:
        """Seconds of each of so many steps."""
        seconds: list[float] = self._ask(str(steps))
        return seconds

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        if self._process.stdout and not self._process.stdout.closed:
            self._process.communicate()

    def _ask(self, line: str) -> Reply:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        with suppress(BrokenPipeError):  # it has ended; what it said before may tell why
            stdin.write(line + "\n")
            stdin.flush()
        reply = stdout.readline()
        if not reply:
            self._process.kill()
            _, words = self._process.communicate()
            raise _failed(self._python, words)
        try:
            return json.loads(reply)
        except ValueError as error:
            raise _failed(self._python, f"it is no Python: it answers {reply.strip()[:60]!r}") from error


def measure(sides: Mapping[str, Runner], steps: int) -> tuple[dict[str, list[float]], dict[str, Ratio]]:
    """Seconds of so many steps of every program, and the ratio of the first program's throughput to each other's.

    The programs alternate for ROUNDS turns; in every second turn they run in the opposite order. A ratio compares the
    medians of one turn.
    """
    first, *others = sides
    for run in sides.values():
        run(WARM_UP)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    ratios: dict[str, list[float]] = {name: [] for name in others}
    for turn in range(ROUNDS):
        share = steps * (turn + 1) // ROUNDS - steps * turn // ROUNDS
        taken = {name: sides[name](share) for name in (list(sides)[::-1] if turn % 2 else sides)}
        for name, values in taken.items():
            seconds[name] += values
        for name in others:
            ratios[name].append(statistics.median(taken[name]) / statistics.median(taken[first]))
    return seconds, {name: Ratio.of(values) for name, values in ratios.items()}


class TorchJob:
    """Whole trainings of PyTorch, `benchmarks.torch_job`, each by new processes."""

    def __init__(self, python: str, shape: Mapping[str, int], skipped: int) -> None:
        self._python, self._shape, self._skipped = python, shape, skipped
        command = [python, "-c", "import torch; print(torch.__version__)"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        self.version = done.stdout.strip()
        if done.returncode or not self.version:
            raise _failed(python, done.stderr)

    def run(self, processes: int, steps: int) -> float:
        """Images/s of so many steps, after `skipped` steps that are not counted.

        Raises UsageError where the other Python fails.
        """
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        shape = {**self._shape, "processes": processes, "steps": steps + self._skipped, "port": port}
        command = [self._python, "-m", "benchmarks.torch_job", json.dumps(shape)]
        environment = os.environ | _ONE_THREAD
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=_ROOT, env=environment)
        if done.returncode:
            raise _failed(self._python, done.stderr)
        try:
            reply = json.loads(done.stdout.splitlines()[-1])
        except (ValueError, IndexError) as error:
            raise _failed(self._python, f"it is no Python: it answers {done.stdout.strip()[:60]!r}") from error
        return float(self._shape["batch"] * steps / sum(reply["seconds"][self._skipped :]))


def _failed(python: str, words: str) -> UsageError:
    reason = (words.strip().splitlines() or ["it ended without a message"])[-1]
    advice = "; give the path of a Python that has it" if reason.startswith("ModuleNotFoundError") else ""
    return UsageError(f"--python {python}: {reason}{advice}")
