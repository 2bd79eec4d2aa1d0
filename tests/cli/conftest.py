"""`dptrain ...` as a real process, in an empty directory."""

import os
import subprocess
import sys
from typing import NamedTuple

import pytest


class Ran(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def dptrain(tmp_path):
    """dptrain("train", "--lr", "1") -> Ran. `environ` is added to this process's."""

    def run(*arguments, environ=None, cwd=tmp_path, timeout=60):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", "dptrain", *map(str, arguments)],
            cwd=cwd,
            env=os.environ | {"COLUMNS": "100", "PYTHONUNBUFFERED": "1"} | (environ or {}),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return run
