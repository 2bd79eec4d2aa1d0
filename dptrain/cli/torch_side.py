"""Talks to torch_step.py and torch_job.py in another Python: steps are run there only while we wait for them."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

from dptrain.errors import UsageError

Reply: TypeAlias = Any  #: what JSON holds: versions, or seconds
_STEP, _JOB = (Path(__file__).with_name(name) for name in ("torch_step.py", "torch_job.py"))
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def find_python(asked: str) -> str:
    """The Python to ask. "torch" means $DPTRAIN_TORCH, else this one; "" for none. UsageError where it cannot be."""
    named = os.environ.get("DPTRAIN_TORCH", sys.executable) if asked == "torch" else asked
    found = shutil.which(named) if named else ""
    if found is None:
        raise UsageError(f"--against {named}: no such program; give the path of a Python that has torch")
    if found == sys.executable and not find_spec("torch"):
        raise UsageError("--against torch: this Python has no PyTorch: install it, or give the path of one that has")
    return found


def told(shortcut: str) -> dict[str, int]:
    """A shortcut of dptrain.nn.shortcut, as torch_step.py is told of it."""
    return {
        "average": int(shortcut.startswith("avgpool")),
        "at_end": int(shortcut.endswith("-end")),
        "project": {"B": 1, "C": 2}.get(shortcut, 0),
    }


class TorchSide:
    """A running torch_step.py; `close` ends it."""

    def __init__(self, python: str, shape: dict[str, int]) -> None:
        self._process = subprocess.Popen(
            [python, str(_STEP)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | _ONE_THREAD,
        )
        self._python = python
        self.versions: dict[str, str] = self._ask(json.dumps(shape))

    def run(self, steps: int) -> list[float]:
        """Seconds of each of so many training steps."""
        seconds: list[float] = self._ask(str(steps))
        return seconds

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()

    def _ask(self, line: str) -> Reply:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(line + "\n")
            stdin.flush()
            reply = stdout.readline()
        except BrokenPipeError:
            reply = ""
        if not reply:
            self._process.kill()
            _, words = self._process.communicate()
            raise _failed(self._python, words)
        try:
            return json.loads(reply)
        except ValueError as error:
            self.close()
            raise _failed(self._python, f"it is no Python: it answers {reply.strip()[:60]!r}") from error


class TorchJob:
    """Whole trainings by torch_job.py, each by new processes."""

    def __init__(self, python: str, shape: dict[str, int]) -> None:
        self._python, self.shape = python, shape
        self.version = ""  #: of torch, once something has run

    def run(self, processes: int, steps: int) -> list[float]:
        """Seconds of each of so many steps. Raises UsageError where the other Python fails."""
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        shape = self.shape | {"processes": processes, "steps": steps, "port": port}
        command = [self._python, str(_JOB), json.dumps(shape)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | _ONE_THREAD)
        if done.returncode:
            raise _failed(self._python, done.stderr)
        reply = json.loads(done.stdout.splitlines()[-1])
        self.version = reply["torch"]
        seconds: list[float] = reply["seconds"]
        return seconds


def _failed(python: str, words: str) -> UsageError:
    reason = (words.strip().splitlines() or ["it ended without a word"])[-1]
    return UsageError(f"--against {python}: {reason}")
